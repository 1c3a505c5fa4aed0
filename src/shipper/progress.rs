//! The progress of work that takes longer than a second, on a terminal alone.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::human::bytes;
use crate::service;

const BEFORE_FIRST: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(200);

/// One line on stderr that is overwritten, and removed at the end.
pub(super) struct Progress {
    doing: String,
    is_terminal: bool,
    next: Instant,
    shown: bool,
}

impl Progress {
    pub(super) fn new(doing: String) -> Progress {
        Progress {
            doing,
            is_terminal: io::stderr().is_terminal(),
            next: Instant::now() + BEFORE_FIRST,
            shown: false,
        }
    }

    pub(super) fn tell(&mut self, done: u64, total: u64) {
        service::alive();
        if !self.is_terminal || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + BETWEEN;
        self.shown = true;
        let percent = (done.min(total) * 100).checked_div(total).unwrap_or(100);
        let amount = format!("{} of {}", bytes(done), bytes(total));
        draw(&format!("\r{}: {amount}, {percent} %\x1b[K", self.doing));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            draw("\r\x1b[K");
        }
    }
}

/// Writes to stderr; a line that cannot be drawn is not missed.
fn draw(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
