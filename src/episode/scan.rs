//! Finds one member of a JSON object in a file that another program wrote.
//!
//! 1. All other members are skipped and not kept. In them any number may be too large for a float, a
//!    text need not be UTF-8, and brackets may be nested to any depth, since no function is recursive.
//! 2. `NaN`, `Infinity` and `-Infinity` are accepted outside the member. They are not JSON, but Python's
//!    `json` writes them for such floats. A byte order mark before the object is accepted too.
//! 3. Time and memory are proportional to the file: each byte is read once, and an open bracket takes
//!    one byte of memory.
//!
//! The road not taken is serde_json: it accepts neither the constants nor the mark, and does not
//! distinguish the faults.

use serde_json::Value;

const MARK: &[u8] = b"\xef\xbb\xbf";

/// Why the member cannot be read. Lines and columns are counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bytes are text in this encoding, which is not UTF-8.
    Encoding(&'static str),
    NotJson {
        line: usize,
        column: usize,
        what: String,
    },
    /// The member is there a second time, in this line.
    Twice { line: usize },
}

/// The value of the top-level member `name`, which must be plain ASCII; `None` if there is none.
///
/// Errors: the bytes are no JSON object, or it has the member twice.
pub(super) fn member(json: &[u8], name: &str) -> Result<Option<Value>, Fault> {
    if let Some(encoding) = wide_encoding(json) {
        return Err(Fault::Encoding(encoding));
    }
    let at = if json.starts_with(MARK) {
        MARK.len()
    } else {
        0
    };
    Scanner { json, at }.member(name)
}

/// The name of UTF-16 or UTF-32, recognised by the mark or by the NULs of the first character, which is
/// ASCII.
fn wide_encoding(json: &[u8]) -> Option<&'static str> {
    match *json {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [a, 0, 0, 0, ..] | [0, 0, 0, a, ..] if a != 0 => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [a, 0, ..] | [0, a, ..] if a != 0 => Some("UTF-16"),
        _ => None,
    }
}

struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn member(mut self, name: &str) -> Result<Option<Value>, Fault> {
        let mut found = None;
        if self.next() != Some(b'{') {
            return Err(self.not_json("an object was expected"));
        }
        self.at += 1;
        let mut is_over = self.is_closed_by(b'}');
        while !is_over {
            let key_at = self.skip_key()?;
            let is_it = is_name(&self.json[key_at.0..key_at.1], name);
            if is_it && found.is_some() {
                let (line, _) = self.place(key_at.0);
                return Err(Fault::Twice { line });
            }
            self.next();
            let begin = self.at;
            self.skip_value(!is_it)?;
            if is_it {
                found = Some(self.parse(begin)?);
            }
            is_over = self.is_last(b'}')?;
        }
        match self.next() {
            None => Ok(found),
            Some(_) => Err(self.not_json("there is more after the object")),
        }
    }

    /// Parses the bytes from `begin` to here, which were only skipped, by the strict rules of JSON.
    fn parse(&self, begin: usize) -> Result<Value, Fault> {
        serde_json::from_slice(&self.json[begin..self.at]).map_err(|error| {
            let (line, column) = self.place(begin);
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or("");
            Fault::NotJson {
                line: line + error.line().saturating_sub(1),
                column: match error.line() {
                    0 | 1 => column + error.column().saturating_sub(1),
                    _ => error.column(),
                },
                what: what.to_owned(),
            }
        })
    }

    /// Skips one value of any depth, up to its last byte.
    fn skip_value(&mut self, with_constants: bool) -> Result<(), Fault> {
        // The closing bracket of each bracket that is open.
        let mut closers = Vec::new();
        loop {
            match self.next() {
                Some(b'{') => {
                    self.at += 1;
                    if !self.is_closed_by(b'}') {
                        closers.push(b'}');
                        self.skip_key()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    if !self.is_closed_by(b']') {
                        closers.push(b']');
                        continue;
                    }
                }
                _ => self.skip_scalar(with_constants)?,
            }
            loop {
                let Some(&closer) = closers.last() else {
                    return Ok(());
                };
                if !self.is_last(closer)? {
                    if closer == b'}' {
                        self.skip_key()?;
                    }
                    break;
                }
                closers.pop();
            }
        }
    }

    fn skip_scalar(&mut self, with_constants: bool) -> Result<(), Fault> {
        let rest = &self.json[self.at..];
        let constant = ["NaN", "Infinity", "-Infinity"]
            .into_iter()
            .find(|word| rest.starts_with(word.as_bytes()));
        if let Some(word) = constant {
            if !with_constants {
                return Err(self.not_json(&format!("{word} is not JSON")));
            }
            self.at += word.len();
            return Ok(());
        }
        match self.next() {
            Some(b'"') => self.skip_text(),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            Some(b't') => self.skip_word("true"),
            Some(b'f') => self.skip_word("false"),
            Some(b'n') => self.skip_word("null"),
            _ => Err(self.not_json("a value was expected")),
        }
    }

    fn skip_word(&mut self, word: &str) -> Result<(), Fault> {
        if !self.json[self.at..].starts_with(word.as_bytes()) {
            return Err(self.not_json("a value was expected"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Skips a text, from its first quote to its last.
    fn skip_text(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            match self.json.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.skip_escape()?,
                Some(0..0x20) => {
                    return Err(self.not_json("a control character is in a text"));
                }
                Some(_) => self.at += 1,
                None => return Err(self.not_json("it ends within a text")),
            }
        }
    }

    fn skip_escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.json.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                let digits = self.json.get(self.at..self.at + 4).unwrap_or(b"");
                if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.not_json("\\u needs four hexadecimal digits"));
                }
                self.at += 4;
            }
            _ => return Err(self.not_json("a backslash is followed by what it cannot be")),
        }
        Ok(())
    }

    fn skip_number(&mut self) -> Result<(), Fault> {
        self.skip_if(b"-");
        let leading_zero = self.skip_if(b"0");
        if self.skip_digits() == leading_zero {
            return Err(self.not_json("a number is malformed"));
        }
        if self.skip_if(b".") && !self.skip_digits() {
            return Err(self.not_json("a number is malformed"));
        }
        if self.skip_if(b"eE") {
            self.skip_if(b"+-");
            if !self.skip_digits() {
                return Err(self.not_json("a number is malformed"));
            }
        }
        Ok(())
    }

    /// True if there was at least one.
    fn skip_digits(&mut self) -> bool {
        let begin = self.at;
        while self.json.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at > begin
    }

    fn skip_if(&mut self, one_of: &[u8]) -> bool {
        let is_there = self.json.get(self.at).is_some_and(|b| one_of.contains(b));
        self.at += usize::from(is_there);
        is_there
    }

    /// Skips a key and its colon. Returns where the key begins and ends, its quotes included.
    fn skip_key(&mut self) -> Result<(usize, usize), Fault> {
        if self.next() != Some(b'"') {
            return Err(self.not_json("a key in quotes was expected"));
        }
        let begin = self.at;
        self.skip_text()?;
        let end = self.at;
        if self.next() != Some(b':') {
            return Err(self.not_json("a colon was expected"));
        }
        self.at += 1;
        Ok((begin, end))
    }

    /// After a value: skips a comma and returns false, or skips the closing bracket and returns true.
    fn is_last(&mut self, closer: u8) -> Result<bool, Fault> {
        let next = self.next();
        if next != Some(b',') && next != Some(closer) {
            let wanted = format!("a comma or {:?} was expected", char::from(closer));
            return Err(self.not_json(&wanted));
        }
        self.at += 1;
        Ok(next == Some(closer))
    }

    /// Right after an opening bracket: skips the closing bracket if that is next.
    fn is_closed_by(&mut self, closer: u8) -> bool {
        let is_closed = self.next() == Some(closer);
        self.at += usize::from(is_closed);
        is_closed
    }

    /// The next byte that is not white space; `None` at the end. That byte is not skipped.
    fn next(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.json.get(self.at) {
            self.at += 1;
        }
        self.json.get(self.at).copied()
    }

    fn not_json(&self, what: &str) -> Fault {
        let what = match self.json.get(self.at) {
            None => "it ends too early",
            // After a power cut, a file that was not synced may be full of NULs.
            Some(0) => "a NUL byte",
            Some(_) => what,
        };
        let (line, column) = self.place(self.at);
        Fault::NotJson {
            line,
            column,
            what: what.to_owned(),
        }
    }

    /// The line and column of a byte, each from 1.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.json[..at];
        let before = before.strip_prefix(MARK).unwrap_or(before);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let begin = before.iter().rposition(|&byte| byte == b'\n');
        let in_line = &before[begin.map_or(0, |newline| newline + 1)..];
        // Of a character in UTF-8, all bytes but the first are 10xxxxxx.
        let characters = in_line.iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
        (line, characters + 1)
    }
}

/// Whether a key, in its quotes, spells `name`, in escapes or not.
fn is_name(quoted: &[u8], name: &str) -> bool {
    const ESCAPED_BYTES: usize = 6;
    if !quoted.contains(&b'\\') {
        return &quoted[1..quoted.len() - 1] == name.as_bytes();
    }
    quoted.len() <= ESCAPED_BYTES * name.len() + 2
        && serde_json::from_slice::<String>(quoted).is_ok_and(|key| key == name)
}

#[cfg(test)]
mod tests;
