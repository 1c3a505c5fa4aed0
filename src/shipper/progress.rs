//! What a person at a terminal sees of work that takes longer than a second. A log sees nothing.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use crate::service;

const BEFORE_FIRST: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(200);

/// One line on stderr that is written over, and gone in the end.
pub struct Progress {
    doing: String,
    is_terminal: bool,
    next: Instant,
    shown: bool,
}

impl Progress {
    pub fn new(doing: String) -> Progress {
        Progress {
            doing,
            is_terminal: io::stderr().is_terminal(),
            next: Instant::now() + BEFORE_FIRST,
            shown: false,
        }
    }

    pub fn tell(&mut self, done: u64, total: u64) {
        service::alive();
        if !self.is_terminal || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + BETWEEN;
        self.shown = true;
        let percent = (done.min(total) * 100).checked_div(total).unwrap_or(100);
        eprint!(
            "\r{}: {} of {}, {percent} %\x1b[K",
            self.doing,
            bytes(done),
            bytes(total)
        );
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// A number of bytes as people read it: `999 B`, `1.5 MB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.95 would be shown as 1000.0.
    while amount >= 999.95 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_as_people_read_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (4 << 30, "4.3 GB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(super::bytes(bytes), text);
        }
    }
}
