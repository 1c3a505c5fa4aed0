//! Commits that the gate refuses. No bytes are sent for one until the gate says yes to it.
//!
//! The gate is asked at growing intervals, at start and after SIGHUP. A commit that fell out of the
//! window never comes back by itself; but one that was not pushed yet does, and so does one whose
//! receiver gets a longer window.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::entry::Entry;
use super::state::Hold;
use crate::backoff::Backoff;
use crate::names::CommitHash;
use crate::wire::{Known, Problem};

/// As often as the receiver looks at Forgejo: a push that was late is seen at once.
const FIRST_ASK: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Holds {
    by_commit: BTreeMap<CommitHash, Held>,
    /// Of commits that were let go: one that is refused again is not asked about as if it were new,
    /// and not reported again for the same reason.
    released: BTreeMap<CommitHash, Released>,
}

struct Held {
    hold: Hold,
    backoff: Backoff,
}

#[derive(Default)]
struct Released {
    /// The asks so far.
    backoff: Backoff,
    /// Why it was held, as was reported; `None` once an upload of it was accepted.
    reason: Option<Known>,
}

impl Holds {
    /// The holds of an earlier run. The gate is asked about them first of all.
    pub(super) fn restore(holds: &[Hold]) -> Holds {
        let held = |hold: &Hold| Held {
            hold: hold.clone(),
            backoff: Backoff::default(),
        };
        Holds {
            by_commit: holds.iter().map(|hold| (hold.commit, held(hold))).collect(),
            released: BTreeMap::new(),
        }
    }

    /// Whether the gate refuses the commit of an episode; false while the commit is not known.
    pub(super) fn is_held(&self, entry: &Entry) -> bool {
        entry.commit().is_some_and(|commit| self.contains(&commit))
    }

    fn contains(&self, commit: &CommitHash) -> bool {
        self.by_commit.contains_key(commit)
    }

    /// Notes a refusal, and when to ask next. True if the refusal is to be logged: the commit was not
    /// held before, or was held for another reason, or had no remediation until now.
    pub(super) fn hold(&mut self, commit: CommitHash, problem: &Problem) -> bool {
        let fresh = Hold::new(commit, problem);
        if let Some(held) = self.by_commit.get_mut(&commit) {
            held.backoff.fail_calmly(FIRST_ASK);
            let before = held.hold.reason();
            let now = fresh.reason();
            // A commit that was an ancestor of the head stays one, also while the gate cannot ask
            // its source.
            if before == Known::Older && now == Known::Unknown {
                return false;
            }
            let has_lines_now = held.hold.remediation.is_none() && fresh.remediation.is_some();
            let since = std::mem::take(&mut held.hold.since);
            held.hold = Hold { since, ..fresh };
            return before != now || has_lines_now;
        }
        let Released {
            mut backoff,
            reason,
        } = self.released.remove(&commit).unwrap_or_default();
        backoff.fail_calmly(FIRST_ASK);
        let is_news = reason != Some(fresh.reason());
        self.by_commit.insert(
            commit,
            Held {
                hold: fresh,
                backoff,
            },
        );
        is_news
    }

    /// The gate could not be asked: later.
    pub(super) fn ask_later(&mut self, commit: &CommitHash) {
        if let Some(held) = self.by_commit.get_mut(commit) {
            held.backoff.fail_calmly(FIRST_ASK);
        }
    }

    pub(super) fn release(&mut self, commit: &CommitHash) {
        if let Some(held) = self.by_commit.remove(commit) {
            let reason = Some(held.hold.reason());
            let backoff = held.backoff;
            self.released.insert(*commit, Released { backoff, reason });
        }
    }

    /// An upload of the commit was accepted: its next refusal is news for any reason.
    pub(super) fn accepted(&mut self, commit: &CommitHash) {
        if let Some(released) = self.released.get_mut(commit) {
            released.reason = None;
        }
    }

    /// Forgets the commits that no waiting episode has.
    pub(super) fn keep_only(&mut self, waiting: &BTreeSet<CommitHash>) {
        self.by_commit.retain(|commit, _| waiting.contains(commit));
        self.released.retain(|commit, _| waiting.contains(commit));
    }

    /// The gate is to be asked about all of them.
    pub(super) fn ask_now(&mut self) {
        for held in self.by_commit.values_mut() {
            held.backoff.retry_now();
        }
    }

    pub(super) fn due(&self, now: Instant) -> Vec<CommitHash> {
        let due = self
            .by_commit
            .iter()
            .filter(|(_, held)| held.backoff.is_due(now));
        due.map(|(commit, _)| *commit).collect()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.by_commit
            .values()
            .filter_map(|held| held.backoff.not_before())
            .min()
    }

    /// The holds as `state.json` has them.
    pub(super) fn to_state(&self) -> Vec<Hold> {
        self.by_commit
            .values()
            .map(|held| held.hold.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(detail: &str) -> Problem {
        serde_json::from_value(serde_json::json!({ "status": 412, "detail": detail })).unwrap()
    }

    #[test]
    fn a_hold_is_new_once_and_asked_about_ever_more_rarely() {
        let commit = CommitHash::parse(&"a".repeat(40)).unwrap();
        let mut holds = Holds::default();
        assert!(holds.hold(commit, &problem("one")));
        assert!(!holds.hold(commit, &problem("two")));
        assert_eq!(holds.to_state()[0].detail, "two");
        assert_eq!(holds.due(Instant::now()), []);
        holds.ask_now();
        assert_eq!(holds.due(Instant::now()), [commit]);

        // Released and refused again: the interval is where it was.
        (0..10).for_each(|_| holds.ask_later(&commit));
        holds.release(&commit);
        assert!(!holds.contains(&commit));
        assert!(!holds.hold(commit, &problem("three")), "nothing new");
        let wait = holds.next_due().unwrap() - Instant::now();
        assert!(wait > Duration::from_secs(100), "{wait:?}");

        // An upload of it was accepted in between.
        holds.release(&commit);
        holds.accepted(&commit);
        assert!(holds.hold(commit, &problem("four")));

        holds.keep_only(&BTreeSet::new());
        assert!(holds.to_state().is_empty());
    }

    #[test]
    fn each_reason_of_a_hold_is_news_once() {
        let commit = CommitHash::parse(&"a".repeat(40)).unwrap();
        let said = |known: Option<&str>| -> Problem {
            let lines = matches!(known, None | Some("older")).then_some("paste");
            serde_json::from_value(serde_json::json!({
                "status": 412, "known": known, "detail": known, "remediation": lines,
            }))
            .unwrap_or_else(|_| problem("as an older receiver"))
        };
        let mut holds = Holds::default();
        for (known, is_news, reason) in [
            (Some("unknown"), true, Known::Unknown),
            (Some("unknown"), false, Known::Unknown),
            (Some("never-pushed"), true, Known::NeverPushed),
            (Some("unknown"), true, Known::Unknown), // it may have been pushed since
            (Some("elsewhere"), true, Known::Elsewhere),
            (Some("older"), true, Known::Older),
            (Some("older"), false, Known::Older),
            (Some("unknown"), false, Known::Older), // older it stays
            (None, false, Known::Older),
            (Some("a-later-word"), false, Known::Older),
            (Some("never-pushed"), true, Known::NeverPushed),
            (Some("a-later-word"), true, Known::Unknown),
        ] {
            assert_eq!(holds.hold(commit, &said(known)), is_news, "{known:?}");
            assert_eq!(holds.to_state()[0].reason(), reason, "{known:?}");
        }
    }

    #[test]
    fn the_holds_of_an_earlier_run_are_asked_about_at_once() {
        let commit = CommitHash::parse(&"b".repeat(64)).unwrap();
        let holds = Holds::restore(&[Hold::new(commit, &problem("old"))]);
        assert_eq!(holds.due(Instant::now()), [commit]);
    }
}
