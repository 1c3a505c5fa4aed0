//! The progress of a long command: one line that is drawn again and again, on a terminal only.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::{human, sys};

/// How often the line is drawn again.
const DRAW_EVERY: Duration = Duration::from_millis(200);
const BAR_CELLS_MAX: usize = 30;

/// The progress line. It goes to stderr: stdout is for the command's output.
pub(crate) struct Progress {
    on_terminal: bool,
    begun: Instant,
    drawn: Option<Instant>,
    done_bytes: u64,
    all_bytes: u64,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress {
            on_terminal: io::stderr().is_terminal(),
            begun: Instant::now(),
            drawn: None,
            done_bytes: 0,
            all_bytes: 0,
        }
    }

    /// Starts the clock of the rate. `all_bytes` are to be read.
    pub(crate) fn begin(&mut self, all_bytes: u64) {
        self.begun = Instant::now();
        self.all_bytes = all_bytes;
    }

    /// So many bytes more are to be read. The clock of the rate goes on.
    pub(crate) fn expect(&mut self, bytes: u64) {
        self.all_bytes = self.all_bytes.saturating_add(bytes);
    }

    /// Counts `bytes` that have been read, and draws the line if that is due.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.done_bytes += bytes;
        let is_due = self.drawn.is_none_or(|when| when.elapsed() >= DRAW_EVERY);
        if self.on_terminal && is_due {
            self.drawn = Some(Instant::now());
            let columns = sys::terminal_columns(&io::stderr()).map_or(80, usize::from);
            let line = line(
                self.done_bytes,
                self.all_bytes,
                self.begun.elapsed(),
                columns,
            );
            // Nobody depends on the line: if stderr cannot be written, it is left out.
            let _ = write!(io::stderr(), "\r{line}\x1b[K");
        }
    }

    /// Erases the line, so that other lines can be printed in its place.
    pub(crate) fn wipe(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// `[######----]  60 %  1.2 GB of 2.0 GB, 48.0 MB/s, 17 s left`; a narrow terminal gets less of it.
fn line(done: u64, all: u64, took: Duration, columns: usize) -> String {
    let all = all.max(done);
    let part = if all == 0 {
        1.0
    } else {
        done as f64 / all as f64
    };
    let per_second = done as f64 / took.as_secs_f64().max(0.001);
    let left = Duration::from_secs_f64(((all - done) as f64 / per_second.max(1.0)).min(1e9));
    let text = format!(
        "{:3.0} %  {} of {}, {}/s, {} left",
        (part * 100.0).floor(),
        human::bytes(done),
        human::bytes(all),
        human::bytes(per_second as u64),
        human::span(left),
    );
    // A terminal that has filled its last column goes to the next line, so the last one stays free.
    let cells = columns.saturating_sub(text.len() + 6).min(BAR_CELLS_MAX);
    if cells < 5 {
        return text.chars().take(columns.saturating_sub(1)).collect();
    }
    let full = (part * cells as f64) as usize;
    format!("[{}{}]  {text}", "#".repeat(full), "-".repeat(cells - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_rate_and_time_left_and_fits() {
        let ten_s = Duration::from_secs(10);
        assert_eq!(
            line(600_000_000, 1_000_000_000, ten_s, 80),
            "[################------------]   60 %  600.0 MB of 1.0 GB, 60.0 MB/s, 6 s left"
        );
        assert_eq!(line(5, 5, ten_s, 30), "100 %  5 B of 5 B, 0 B/s, 0 s");
        assert!(line(0, 0, Duration::ZERO, 80).contains("100 %"));
        for columns in [1, 20, 40, 79, 200] {
            let width = line(3 << 40, 9 << 40, ten_s, columns).chars().count();
            assert!(width < columns.max(2), "{columns}: {width}");
        }
    }
}
