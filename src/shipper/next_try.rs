//! When failed work is tried again, and why it failed: for `state.json`, and so for `cis490 status`.

use std::time::Instant;

use super::Mode;
use super::backlog::Entry;
use super::cycle::Shipper;
use super::state::{self, NextTry};

impl Shipper {
    /// Writes to `state.json` when something is tried again, if that is another time than before.
    pub(super) fn note_next_try(&mut self) {
        let now = Instant::now();
        let next = self.next_try(now);
        let at = next.as_ref().map(|(at, _)| *at);
        if at == self.next_try_noted {
            return;
        }
        self.next_try_noted = at;
        let next_try = next.map(|(at, why)| NextTry {
            at: state::in_future(at.saturating_duration_since(now)),
            why,
        });
        self.state.update(|state| state.next_try = next_try);
    }

    /// When failed work is tried again, and why it failed. Held commits do not count: the gate is asked
    /// about them, and nothing is tried.
    fn next_try(&self, now: Instant) -> Option<(Instant, String)> {
        if self.mode == Mode::Once {
            return None;
        }
        let in_future = |at: Option<Instant>| at.filter(|at| *at > now);
        let away = in_future(self.away.not_before());
        if let Some(at) = away {
            return Some((at, self.away_why.1.clone()));
        }
        let is_held = |entry: &Entry| entry.commit().is_some_and(|c| self.holds.contains(&c));
        let of_entry = |entry: &Entry| {
            if is_held(entry) {
                return None;
            }
            let at = in_future(entry.backoff.not_before())?;
            let why = entry.why.as_ref().unwrap_or(&self.away_why.1);
            Some((at, why.clone()))
        };
        let entries = self
            .backlog
            .entries()
            .filter_map(|(_, entry)| of_entry(entry));
        let packing = in_future(self.packing.not_before())
            .map(|at| (at, "the disk of this lab host is full".to_owned()));
        entries.chain(packing).min_by_key(|(at, _)| *at)
    }
}
