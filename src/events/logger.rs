//! Where log lines go: to stderr, in the manner that its reader expects.
//!
//!     under systemd   <3>event=...                          journald has its own clock and its own levels
//!     elsewhere       2026-01-31T23:59:59Z ERROR event=...
//!     --log json      {"time":"2026-01-31T23:59:59Z","level":"ERROR","event":"...", ...}
//!
//! 1. One line, one write: lines of several threads do not mix.
//! 2. A line that cannot be written is lost, and nothing else: no reader may end the program.
//! 3. No control byte is written but line breaks, and after each of those four spaces: text from
//!    outside cannot pass for a line of ours.
//!
//! simple_logger decides which crates are heard. It does not write: it knows no journal levels, and would
//! need another crate for the time of day.

mod json;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, PanicHookInfo};
use std::str::FromStr;
use std::sync::OnceLock;
use std::thread;
use std::time::SystemTime;

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use super::manual;
use crate::clock;
use crate::terminal;

/// Log lines of ours have a target that begins so.
const OURS: &str = "cis490";
/// The HTTP server below the receiver, by its crate's name.
const SERVER_CRATE: &str = "may_minihttp";

/// From here on log lines and panics are written to stderr. The crates below us are heard only when
/// they warn, and the server crate not at all: it reports every peer that hangs up as an error.
pub(crate) fn start(format: Format) {
    let levels = SimpleLogger::new()
        .with_level(LevelFilter::Warn)
        .with_module_level(OURS, LevelFilter::Info)
        .with_module_level(SERVER_CRATE, LevelFilter::Off);
    log::set_max_level(levels.max_level());
    let manner = match format {
        Format::Text => Manner::of_stderr(),
        Format::Json => Manner::Json,
    };
    // An error means that a logger was set before, which is as good.
    let _ = log::set_boxed_logger(Box::new(Logger { levels, manner }));
    panic::set_hook(Box::new(log_panic));
}

/// The form of log lines that a person asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the reader of stderr expects.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err("accepts text or json".to_owned()),
        }
    }
}

/// Whether stderr is journald's: systemd names its device and inode to the programs that it starts.
pub(crate) fn is_journal() -> bool {
    static IS_JOURNAL: OnceLock<bool> = OnceLock::new();
    *IS_JOURNAL.get_or_init(|| {
        let journals = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        let ours = io::stderr().as_fd().try_clone_to_owned();
        let ours = ours.and_then(|stderr| File::from(stderr).metadata());
        ours.is_ok_and(|ours| journals == format!("{}:{}", ours.dev(), ours.ino()))
    })
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Journal,
    Plain,
    Coloured,
    Json,
}

impl Manner {
    fn of_stderr() -> Manner {
        if is_journal() {
            return Manner::Journal;
        }
        if io::stderr().is_terminal() && terminal::may_colour() {
            Manner::Coloured
        } else {
            Manner::Plain
        }
    }

    /// The text before each line.
    fn prefix(self, level: Level, now: SystemTime) -> String {
        match self {
            Manner::Journal => format!("<{}>", syslog_level(level)),
            Manner::Plain => format!("{} {level} ", clock::rfc3339(now)),
            // journald reads the level there and leaves it out.
            Manner::Json if is_journal() => format!("<{}>", syslog_level(level)),
            Manner::Json => String::new(),
            Manner::Coloured => {
                let colour = match level {
                    Level::Error => "\x1b[31m",
                    Level::Warn => "\x1b[33m",
                    _ => "\x1b[2m",
                };
                format!("{} {colour}{level}\x1b[0m ", clock::rfc3339(now))
            }
        }
    }

    /// The whole text of a message, ready to be written.
    fn render(self, level: Level, now: SystemTime, message: &str) -> String {
        if self == Manner::Json {
            return self.prefix(level, now) + &json::line(&clock::rfc3339(now), level, message);
        }
        let prefix = self.prefix(level, now);
        let mut text = prefix.clone();
        let mut lines = message.split("\n    ");
        escape_into(&mut text, lines.next().unwrap_or_default());
        // To journald each line is a message of its own, which needs its level again.
        let again = if self == Manner::Journal { &prefix } else { "" };
        for line in lines {
            text += &format!("\n{again}    ");
            escape_into(&mut text, line);
        }
        text.push('\n');
        text
    }
}

/// The levels of sd-daemon(3).
fn syslog_level(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn escape_into(text: &mut String, line: &str) {
    text.reserve(line.len() + 1);
    for c in line.chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
}

struct Logger {
    levels: SimpleLogger,
    manner: Manner,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.levels.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = message_of(record);
        let text = self
            .manner
            .render(record.level(), SystemTime::now(), &message);
        let _ = io::stderr().write_all(text.as_bytes());
    }

    fn flush(&self) {}
}

/// The line of a record: ours as they are, those of other crates as an event of ours.
fn message_of(record: &Record) -> String {
    let mut message = String::new();
    // Writing to a String cannot fail; a Display that fails has written what it could.
    let _ = write!(message, "{}", record.args());
    if record.target().starts_with(OURS) {
        return message;
    }
    let name = manual::event::library.name;
    let crate_name = record.target();
    format!("event={name} crate={crate_name:?} why={message:?}")
}

fn log_panic(panic: &PanicHookInfo) {
    let payload = panic.payload();
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    let why = payload.downcast_ref::<&str>().copied().or(owned);
    let place = panic.location().map_or("-".to_owned(), ToString::to_string);
    let thread = thread::current();
    super::panicked(
        thread.name().unwrap_or("-"),
        &place,
        why.unwrap_or("no words"),
    );
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_line_has_a_time_or_a_level_for_the_journal() {
        let at = UNIX_EPOCH + Duration::from_secs(951_782_399);
        let held = "event=held why=\"x\"\n    cd /opt\n    ls";
        assert_eq!(
            Manner::Plain.render(Level::Error, at, held),
            "2000-02-28T23:59:59Z ERROR event=held why=\"x\"\n    cd /opt\n    ls\n"
        );
        assert_eq!(
            Manner::Journal.render(Level::Error, at, held),
            "<3>event=held why=\"x\"\n<3>    cd /opt\n<3>    ls\n"
        );
        assert_eq!(Manner::Journal.render(Level::Warn, at, "a"), "<4>a\n");
        assert_eq!(Manner::Journal.render(Level::Info, at, "a"), "<6>a\n");
        assert_eq!(
            Manner::Coloured.render(Level::Warn, at, "a"),
            "2000-02-28T23:59:59Z \x1b[33mWARN\x1b[0m a\n"
        );
    }

    #[test]
    fn no_control_byte_gets_through() {
        let at = UNIX_EPOCH;
        let nasty = "event=x host=a\nevent=forged\r\x1b[2J\u{9b}\u{7f}\0";
        assert_eq!(
            Manner::Journal.render(Level::Info, at, nasty),
            "<6>event=x host=a\\nevent=forged\\r\\u{1b}[2J\\u{9b}\\u{7f}\\u{0}\n"
        );
    }
}
