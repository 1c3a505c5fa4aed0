//! Output for people: coloured where stdout is a terminal, plain where it is a file or a pipe. All
//! that commands print goes through this file, so that no closed pipe and no full disk ends their work.
//!
//! `NO_COLOR` and a terminal that cannot show colours make it plain as well.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use serde::Serialize;

use crate::failure::Failure;
use crate::sys;

/// Longer lines are hard to read, however wide the terminal is.
const READABLE_COLUMNS: usize = 100;
/// A narrower terminal breaks lines itself.
const COLUMNS_MIN: usize = 40;
/// The width for a file or a pipe.
const COLUMNS_WITHOUT_TERMINAL: usize = 80;

/// Prints a line of output, with the arguments of `format!`. Output that cannot be written never
/// ends the work; see [`say_line`].
macro_rules! say {
    ($($words:tt)*) => {
        $crate::terminal::say_line(format_args!($($words)*))
    };
}

/// Prints a line to stderr, with the arguments of `format!`. If it cannot be written, it is lost.
macro_rules! warn_user {
    ($($words:tt)*) => {
        $crate::terminal::warn_line(format_args!($($words)*))
    };
}

pub(crate) use {say, warn_user};

/// Why stdout accepts no more: the first error, after which nothing is written.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Prints a line of output. After the first line that cannot be written no other is tried, and
/// [`lost_output`] gives the reason. The work goes on, since it may be in the middle of a change.
pub(crate) fn say_line(words: fmt::Arguments<'_>) {
    write_out(&format!("{words}\n"));
}

/// Prints a value as a line of JSON. Its members are an interface: they are added, never renamed or removed.
pub(crate) fn say_json(value: &impl Serialize) {
    // Texts, numbers and lists of them always serialize.
    say!("{}", serde_json::to_string(value).unwrap_or_default());
}

/// Prints a line to stderr. An error is ignored.
pub(crate) fn warn_line(words: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{words}\n").as_bytes());
}

fn write_out(text: &str) {
    if LOST.get().is_some() {
        return;
    }
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    if let Err(error) = written.and_then(|()| stdout.flush()) {
        let _ = LOST.set(error);
    }
}

/// Whether output was lost: a command that only prints can then end.
pub(crate) fn is_closed() -> bool {
    LOST.get().is_some()
}

/// The failure to report if output was lost. A reader that has closed the pipe (`| head`) is not a
/// failure.
pub(crate) fn lost_output() -> Option<Failure> {
    let error = LOST.get()?;
    (error.kind() != ErrorKind::BrokenPipe).then(|| {
        Failure::new(
            format!("cannot write the output: {error}"),
            "look where stdout goes: is that disk full?",
        )
    })
}

/// Prints the whole text of a command that only prints.
///
/// Errors: stdout did not accept it, as on a full disk.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    write_out(text);
    lost_output().map_or(Ok(()), Err)
}

/// How many columns a line of output may have.
pub(crate) fn columns() -> usize {
    match sys::terminal_columns(&io::stdout()) {
        Some(columns) => usize::from(columns).clamp(COLUMNS_MIN, READABLE_COLUMNS),
        None => COLUMNS_WITHOUT_TERMINAL,
    }
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Colours if stdout is a terminal that may be given them.
    pub(crate) fn for_stdout() -> Paint {
        Paint {
            on: io::stdout().is_terminal() && may_colour(),
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Whether a terminal may be given colours: `NO_COLOR` is unset or empty, and `TERM` is not `dumb`.
pub(crate) fn may_colour() -> bool {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !no_colour && !is_dumb
}

/// Text from outside on one line: control characters, which could move the cursor, become spaces, and so do
/// those that hide or turn around what stands beside them.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if is_deceptive(c) { ' ' } else { c })
        .collect()
}

/// A control character, one without width, or one that changes the direction of writing.
pub(crate) fn is_deceptive(character: char) -> bool {
    let is_invisible = matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    character.is_control() || is_invisible
}

/// The text in lines of at most `columns`, each indented by `indent` spaces and ended by a newline.
/// A word that is longer has a line of its own.
pub(crate) fn wrapped(text: &str, indent: usize, columns: usize) -> String {
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
