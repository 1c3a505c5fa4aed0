//! When failed work is tried again, and why it failed: for `state.json`, and so for `cis490 status`.

use std::time::Instant;

use super::Mode;
use super::backlog::Backlog;
use super::entry::Entry;
use super::holds::Holds;
use super::pace::Pace;

/// When failed work is tried again, and why it failed. Held commits do not count: the gate is asked
/// about them, and nothing is tried.
pub(super) fn next_try(
    pace: &Pace,
    backlog: &Backlog,
    holds: &Holds,
    now: Instant,
) -> Option<(Instant, String)> {
    if pace.mode() == Mode::Once {
        return None;
    }
    let in_future = |at: Option<Instant>| at.filter(|at| *at > now);
    if let Some(at) = in_future(pace.away().not_before()) {
        return Some((at, pace.away_why().to_owned()));
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
    entries.chain(packing).min_by_key(|(at, _)| *at)
}
