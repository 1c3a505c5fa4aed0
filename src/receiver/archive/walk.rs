//! The index, row by row, from its beginning and on as it grows.

use std::collections::VecDeque;
use std::io;

use super::shelf::Shelf;
use crate::wire::Receipt;

/// Where one pass over the index is.
#[derive(Default)]
pub(super) struct Walk {
    /// Read and not passed yet.
    rows: VecDeque<Receipt>,
    /// Where the next part of the index begins.
    cursor: u64,
    /// How many rows were passed.
    passed: u64,
    /// The largest number of a row that was passed.
    last_seq: u64,
}

impl Walk {
    /// The row that comes next; `None` at the end of the index.
    ///
    /// Errors: the index cannot be read.
    pub(super) fn front(&mut self, shelf: &dyn Shelf) -> io::Result<Option<&Receipt>> {
        while self.rows.is_empty() {
            match shelf.rows(self.cursor)? {
                Some(part) if part.next == self.cursor => break,
                Some(part) => {
                    self.cursor = part.next;
                    self.rows.extend(part.rows);
                }
                // Another index is in its place.
                None => {
                    *self = Walk::default();
                    break;
                }
            }
        }
        Ok(self.rows.front())
    }

    /// Goes on behind the row that came next.
    pub(super) fn pass(&mut self) {
        if let Some(row) = self.rows.pop_front() {
            self.passed += 1;
            self.last_seq = self.last_seq.max(row.seq.unwrap_or(0));
        }
    }

    /// Whether a row was passed, by its number. A row without one may have been.
    pub(super) fn has_passed(&self, row: &Receipt) -> bool {
        row.seq.is_some_and(|seq| seq <= self.last_seq)
    }

    /// Whether this one is behind the other.
    pub(super) fn is_behind(&self, other: &Walk) -> bool {
        self.passed < other.passed
    }
}
