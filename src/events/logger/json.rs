//! A log line as one JSON object, for programs that collect logs: `--log json`.
//!
//!     event=held commit=ab12 why="not \"known\""      {"time":"...","level":"ERROR","event":"held",
//!         cd /opt                                      "commit":"ab12","why":"not \"known\"","text":"cd /opt"}
//!
//! Every value is a string, so that a key has one type whatever an episode is called. Lines that follow the
//! first, such as those to paste, are the member `text`.

use log::Level;
use serde_json::{Map, Value};

/// The object, with the line break that ends it.
pub(super) fn line(time: &str, level: Level, message: &str) -> String {
    let (first, text) = message.split_once("\n    ").unwrap_or((message, ""));
    let mut members = Map::new();
    let mut add = |key: &str, value: String| {
        members.insert(key.to_owned(), Value::String(value));
    };
    add("time", time.to_owned());
    add("level", level.to_string());
    let mut rest = first;
    while let Some((key, value, after)) = next_pair(rest) {
        add(key, value);
        rest = after;
    }
    // What is not written as key=value is not lost.
    let text = text.replace("\n    ", "\n");
    let left: Vec<&str> = [rest, &text]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    if !left.is_empty() {
        add("text", left.join("\n"));
    }
    // serde_json escapes every control byte: the object is one line.
    format!("{}\n", Value::Object(members))
}

/// The key and the value at the beginning, and what follows the blank after them; `None` if the text does not
/// begin so.
fn next_pair(text: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = text.split_once('=')?;
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if key.is_empty() || !key.chars().all(is_key) {
        return None;
    }
    let (value, after) = match rest.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None => {
            let end = rest.find(' ').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        }
    };
    match after.strip_prefix(' ') {
        Some(after) => Some((key, value, after)),
        None => after.is_empty().then_some((key, value, after)),
    }
}

/// The text that `{:?}` has quoted, and what follows its closing quote; `None` if there is none.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = quoted;
    loop {
        let mut chars = rest.chars();
        let c = chars.next()?;
        rest = chars.as_str();
        match c {
            '"' => return Some((value, rest)),
            '\\' => {
                let escaped = chars.next()?;
                rest = chars.as_str();
                value.push(match escaped {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    '0' => '\0',
                    'u' => {
                        let (digits, after) = rest.strip_prefix('{')?.split_once('}')?;
                        rest = after;
                        char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                    }
                    other => other,
                });
            }
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(message: &str) -> Value {
        let line = line("T", Level::Warn, message);
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        let mut value: Value = serde_json::from_str(&line).unwrap();
        let object = value.as_object_mut().unwrap();
        assert_eq!(object.remove("time"), Some("T".into()));
        assert_eq!(object.remove("level"), Some("WARN".into()));
        value
    }

    #[test]
    fn each_key_is_a_member_and_every_value_a_string() {
        let nasty = "a \"quote\", a \\, a =\n, \u{1b}[2J, ä and \u{202e}";
        let message =
            format!("event=refused host=lab-1 status=412 path=\"/x y\" empty= why={nasty:?}");
        assert_eq!(
            members(&message),
            serde_json::json!({"event": "refused", "host": "lab-1", "status": "412", "path": "/x y", "empty": "", "why": nasty})
        );
        assert_eq!(
            members("event=held commit=ab\n    cd /opt\n    ls"),
            serde_json::json!({"event": "held", "commit": "ab", "text": "cd /opt\nls"})
        );
    }

    #[test]
    fn what_is_no_pair_is_kept_as_text() {
        for (message, rest) in [
            ("event=x and more", "and more"),
            ("event=x why=\"open", "why=\"open"),
            ("event=x why=\"a\"b", "why=\"a\"b"),
            ("event=x a-b=1", "a-b=1"),
        ] {
            let want = serde_json::json!({"event": "x", "text": rest});
            assert_eq!(members(message), want);
        }
        assert_eq!(members(""), serde_json::json!({}));
    }
}
