//! When failed work is tried again, and why it failed: for `state.json`, and so for `cis490 status`.

use std::time::Instant;

use super::Mode;
use super::backlog::Backlog;
use super::entry::Entry;
use super::holds::Holds;
use super::pace::Pace;

/// What comes next.
pub(super) struct Next {
    pub at: Instant,
    pub why: String,
    /// A reload does not make it sooner.
    pub is_fixed: bool,
}

impl Next {
    fn try_again(at: Instant, why: String) -> Next {
        Next {
            at,
            why,
            is_fixed: false,
        }
    }
}

/// When failed work is tried again, and why it failed. Held commits do not count: the gate is asked
/// about them, and nothing is tried.
pub(super) fn next_try(
    pace: &Pace,
    backlog: &Backlog,
    holds: &Holds,
    now: Instant,
) -> Option<Next> {
    if pace.mode() == Mode::Once {
        return None;
    }
    if let Some((wait, hours)) = pace.closed_for() {
        let is_waiting = |entry: &Entry| !holds.is_held(entry);
        let waits = backlog.entries().any(is_waiting);
        let why = format!("nothing is sent outside send_hours {hours}");
        let at = now + wait;
        return waits.then_some(Next {
            at,
            why,
            is_fixed: true,
        });
    }
    let in_future = |at: Option<Instant>| at.filter(|at| *at > now);
    if let Some(at) = in_future(pace.away().not_before()) {
        return Some(Next::try_again(at, pace.away_why().to_owned()));
    }
    let of_entry = |entry: &Entry| {
        if holds.is_held(entry) {
            return None;
        }
        let at = in_future(entry.backoff().not_before())?;
        let why = entry.why().unwrap_or(pace.away_why());
        Some((at, why.to_owned()))
    };
    let entries = backlog.entries().filter_map(of_entry);
    let packing = in_future(pace.packing().not_before())
        .map(|at| (at, "the disk of this lab host is full".to_owned()));
    let first = entries.chain(packing).min_by_key(|(at, _)| *at);
    first.map(|(at, why)| Next::try_again(at, why))
}
