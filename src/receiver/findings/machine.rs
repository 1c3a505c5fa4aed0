//! The receiver's process, its clock and its configuration.

use std::time::Duration;

use super::{Facts, Find, Finding, Kind};
use crate::human;

/// So many starts within an hour, none of them after a clean stop, are a finding.
const RESTARTS: usize = 5;
const RESTARTS_WITHIN_S: u64 = 3600;
/// A clock before this was never set: this program is younger.
const CLOCK_MIN_S: u64 = 1_767_225_600; // 2026-01-01
/// A row may be so far ahead before it counts.
const AHEAD_MIN_S: u64 = 300;
/// For so long a jump of the clock is shown.
const JUMP_SHOWN_S: u64 = 86_400;

const RECEIVER: &str = "receiver";
const SYNCHRONISE: &str = "synchronise it: timedatectl shows how it stands. Nothing is lost, since episodes are ordered by number; but ages may be wrong";

pub(super) fn judge(facts: &Facts, find: &mut Find) {
    restarts(facts, find);
    clock(facts, find);
    if !facts.waiting_keys.is_empty() {
        let finding = Finding::new(
            Kind::ConfigWaiting,
            RECEIVER,
            format!(
                "{}: changed, and needs a restart of the receiver",
                facts.waiting_keys.join(", ")
            ),
            "systemctl restart cis490-receiver: uploads under way may finish first".to_owned(),
        );
        find(Kind::ConfigWaiting, finding);
    }
}

fn restarts(facts: &Facts, find: &mut Find) {
    // One in the future is of a clock that was wrong then, and says nothing of this hour.
    let is_late = |at_s: &&u64| {
        let age_s = facts.now_s.checked_sub(**at_s);
        age_s.is_some_and(|age_s| age_s < RESTARTS_WITHIN_S)
    };
    let late: Vec<u64> = facts
        .restarts_at_s
        .iter()
        .filter(is_late)
        .copied()
        .collect();
    if late.len() < RESTARTS {
        return;
    }
    let finding = Finding::new(
        Kind::Restarts,
        RECEIVER,
        format!(
            "the receiver was started {} times within an hour after an end that was no clean stop",
            late.len()
        ),
        "find out what ends it: journalctl -u cis490-receiver -p warning; dmesg".to_owned(),
    );
    find(Kind::Restarts, finding.since(late.iter().min().copied()));
}

fn clock(facts: &Facts, find: &mut Find) {
    let since = facts.clock.jump.map(|(at_s, _)| at_s);
    let Some(words) = clock_words(facts) else {
        return;
    };
    let finding = Finding::new(Kind::Clock, RECEIVER, words, SYNCHRONISE.to_owned());
    find(Kind::Clock, finding.since(since));
}

fn clock_words(facts: &Facts) -> Option<String> {
    if facts.now_s < CLOCK_MIN_S {
        return Some("this machine's clock is not set".to_owned());
    }
    let newest_s = facts.clock.newest_row_at_s.unwrap_or(0);
    let ahead_s = newest_s.saturating_sub(facts.now_s);
    if ahead_s >= AHEAD_MIN_S {
        let ahead = human::span(Duration::from_secs(ahead_s));
        return Some(format!(
            "this machine's clock was set back: the newest upload is dated {ahead} ahead"
        ));
    }
    let (at_s, by_s) = facts.clock.jump?;
    if facts.now_s.saturating_sub(at_s) >= JUMP_SHOWN_S {
        return None;
    }
    let by = human::span(Duration::from_secs(by_s.unsigned_abs()));
    let way = if by_s < 0 { "back" } else { "ahead" };
    Some(format!("this machine's clock jumped {by} {way}"))
}
