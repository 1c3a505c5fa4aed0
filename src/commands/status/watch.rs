//! `status --watch` on a terminal: each page is cut to the pane, so that the problems, which come first, stay in
//! sight; and `q` ends it.

use std::process;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::clock;
use crate::failure::Failure;
use crate::sys::{self, KeyByKey};

/// As a shell shows an end by Ctrl-C.
const EXIT_BY_SIGNAL: i32 = 130;

/// The keyboard, if stdin is a terminal. While this is kept, a key is read when it is pressed, and is not echoed.
pub(super) struct Keys(Option<KeyByKey>);

impl Keys {
    /// Also starts the thread that gives the terminal back when a signal ends the process.
    ///
    /// Errors: the system gives no thread.
    pub(super) fn begin() -> Result<Keys, Failure> {
        let keys = KeyByKey::begin();
        let restore = keys.as_ref().map(KeyByKey::restorer);
        let end = move || {
            sys::wait_signal();
            if let Some(restore) = restore {
                restore();
            }
            process::exit(EXIT_BY_SIGNAL);
        };
        let thread = thread::Builder::new().name("signals".to_owned());
        match thread.spawn(end) {
            Ok(_) => Ok(Keys(keys)),
            Err(error) => Err(Failure::new(
                format!("cannot start the signal thread: {error}"),
                "raise the limit on threads (ulimit -u) or free memory",
            )),
        }
    }

    /// Waits so long. True as soon as `q` is pressed.
    pub(super) fn wait_for_q(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let key = match &self.0 {
                Some(keys) => keys.wait(left),
                None => {
                    thread::sleep(left);
                    None
                }
            };
            match key {
                Some(b'q' | b'Q') => return true,
                _ if until <= Instant::now() => return false,
                _ => {}
            }
        }
    }
}

/// The page with a line that says when it was made, cut to the pane that stdout is, if it is one.
pub(super) fn fitted(page: &str) -> String {
    let now = clock::rfc3339(SystemTime::now());
    let time = now.get(11..19).unwrap_or(&now);
    let text = format!("{time} UTC (q ends it)\n{page}");
    match sys::terminal_size(&std::io::stdout()) {
        Some((columns, rows)) => fit(&text, columns.into(), rows.into()),
        None => text,
    }
}

/// The first lines of a text, each cut to `columns`, so that they and the cursor's own line are `rows` at most.
fn fit(text: &str, columns: usize, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines.len() > room {
        room - 1
    } else {
        lines.len()
    };
    let mut fitted: String = lines[..shown]
        .iter()
        .map(|line| cut(line, columns) + "\n")
        .collect();
    if shown < lines.len() {
        let more = lines.len() - shown;
        fitted += &cut(&format!("({more} more lines)"), columns);
        fitted.push('\n');
    }
    fitted
}

/// The line without what is beyond `columns`. Colours take no column, and end with the line.
fn cut(line: &str, columns: usize) -> String {
    let mut kept = String::new();
    let mut width = 0;
    let mut has_colour = false;
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        if character == '\x1b' {
            has_colour = true;
            kept.push(character);
            // A colour's code ends with its m.
            for code in rest.by_ref() {
                kept.push(code);
                if code == 'm' {
                    break;
                }
            }
            continue;
        }
        if width == columns {
            break;
        }
        width += 1;
        kept.push(character);
    }
    if has_colour && !kept.ends_with("\x1b[0m") {
        kept += "\x1b[0m";
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_to_the_pane_and_its_first_lines_stay() {
        let page = "first\nsecond line\nthird\nfourth\n";
        assert_eq!(fit(page, 80, 24), page);
        assert_eq!(fit(page, 80, 5), page);
        assert_eq!(fit(page, 80, 4), "first\nsecond line\n(2 more lines)\n");
        assert_eq!(fit(page, 6, 3), "first\n(3 mor\n");
        assert_eq!(fit(page, 80, 1), "(4 more lines)\n");
        assert_eq!(fit(page, 80, 0), "(4 more lines)\n");
        assert_eq!(fit("", 80, 24), "");
    }

    #[test]
    fn colours_take_no_column_and_end_with_their_line() {
        assert_eq!(
            cut("\x1b[1;31mHELD\x1b[0m since", 4),
            "\x1b[1;31mHELD\x1b[0m"
        );
        assert_eq!(cut("\x1b[1;31mHELD\x1b[0m since", 2), "\x1b[1;31mHE\x1b[0m");
        assert_eq!(cut("äöü", 2), "äö");
        assert_eq!(cut("plain", 5), "plain");
    }
}
