//! What a person sees: text for a terminal, and the same text plain for everybody else.
//!
//! Colour comes only where stdout is a terminal that can show it and `NO_COLOR` is not set.

use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::failure::Failure;
use crate::sys;

/// Wider than this nobody likes to read.
const READABLE_COLUMNS: usize = 100;
const USUAL_COLUMNS: usize = 80;

/// Writes output. A reader that has gone away (`| head`) is no fault.
///
/// Errors: stdout took it not, as on a full disk.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            format!("cannot write the output: {error}"),
            "see where stdout goes: is that disk full?",
        )),
        _ => Ok(()),
    }
}

/// Columns to fill on stdout.
pub fn columns() -> usize {
    let told = sys::terminal_columns(&io::stdout()).map_or(USUAL_COLUMNS, usize::from);
    told.clamp(40, READABLE_COLUMNS)
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// As befits where stdout goes.
    pub fn for_stdout() -> Paint {
        Paint {
            on: io::stdout().is_terminal() && may_colour(),
        }
    }

    pub fn never() -> Paint {
        Paint { on: false }
    }

    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    pub fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        match self.on {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Whether a terminal may be given colours: `NO_COLOR` unset or empty, and not a dumb one.
pub fn may_colour() -> bool {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !no_colour && !is_dumb
}

/// Text from outside on one line, without what could move the cursor.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The text in lines of at most `columns`, each after `indent` spaces, the last one ended too.
/// A word that is longer stands alone.
pub fn wrapped(text: &str, indent: usize, columns: usize) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > columns {
            lines.push('\n');
            width = 0;
        }
        if width == 0 {
            lines.extend(std::iter::repeat_n(' ', indent));
            width = indent;
        } else {
            lines.push(' ');
            width += 1;
        }
        lines += word;
        width += length;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrapped("one two three", 2, 9), "  one two\n  three\n");
        assert_eq!(
            wrapped("one twothreefour five", 1, 8),
            " one\n twothreefour\n five\n"
        );
        assert_eq!(wrapped("", 4, 9), "\n");
    }

    #[test]
    fn plain_text_stays_plain() {
        assert_eq!(Paint { on: false }.bad("x"), "x");
        assert_eq!(Paint { on: true }.bad("x"), "\x1b[1;31mx\x1b[0m");
    }
}
