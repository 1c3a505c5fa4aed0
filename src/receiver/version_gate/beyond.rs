//! What is known of commits that the window lacks: older, on another branch, or never pushed.
//!
//! 1. The timer thread asks a source about at most one commit a second. An answer is kept until the
//!    head moves; "never pushed" is kept for a minute, since the commit may be pushed any time.
//! 2. A request waits for the answer as it waits for a refresh. If its time is up before its commit was
//!    asked about, its answer is `unknown`, since any other word might be wrong. The commit stays in
//!    the line: the lab host holds the episode, asks again within seconds, and then gets the answer.
//! 3. The line and the memory are bounded, whatever peers ask.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ASK_PATIENCE, Heard, Question, Refreshed};
use crate::names::CommitHash;
use crate::wire::Known;

/// The least time between two questions to a source.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most commits in the line.
const LINE_MAX: usize = 64;
/// The most answers that are kept.
const KEPT_MAX: usize = 1000;
/// How long "never pushed" is kept: somebody may push the commit to another branch, and the head stays.
const NEVER_PUSHED_HOLDS: Duration = Duration::from_secs(60);
/// How long a question that failed is not repeated.
const UNKNOWN_HOLDS: Duration = Duration::from_secs(10);

/// What a source has answered about commits, for one head.
pub type Kept = HashMap<CommitHash, Known>;

/// The conditions for which the answers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ground {
    pub head: CommitHash,
    /// Whether the source that decides is failing. An answer of git meanwhile is not that source's.
    pub failing: bool,
}

pub(super) struct Beyond {
    ground: Option<Ground>,
    kept: HashMap<CommitHash, (Known, Instant)>,
    /// The commits to ask about, each with the requests that wait for it.
    line: VecDeque<(CommitHash, Vec<(Question, Refreshed)>)>,
    next: Instant,
}

impl Beyond {
    pub(super) fn new() -> Beyond {
        Beyond {
            ground: None,
            kept: HashMap::new(),
            line: VecDeque::new(),
            next: Instant::now(),
        }
    }

    /// Forgets the answers that no longer hold. True if the conditions have changed. `still_older`: the
    /// new head is a descendant of the one before, so that what was older still is.
    pub(super) fn stand_on(&mut self, ground: Ground, still_older: bool) -> bool {
        let before = self.ground.replace(ground);
        if before == Some(ground) {
            return false;
        }
        let keeps_older = still_older || before.is_some_and(|before| before.head == ground.head);
        self.kept
            .retain(|_, (known, _)| keeps_older && *known == Known::Older);
        true
    }

    /// The head that the answers hold for.
    pub(super) fn head(&self) -> Option<CommitHash> {
        self.ground.map(|ground| ground.head)
    }

    pub(super) fn kept(&self, commit: &CommitHash) -> Option<Known> {
        let (known, asked) = self.kept.get(commit)?;
        let holds = match known {
            Known::Older | Known::Elsewhere => true,
            Known::NeverPushed => asked.elapsed() < NEVER_PUSHED_HOLDS,
            Known::Unknown => asked.elapsed() < UNKNOWN_HOLDS,
        };
        holds.then_some(*known)
    }

    /// A copy of all answers, for the threads that only read.
    pub(super) fn all_kept(&self) -> Arc<Kept> {
        let known = self
            .kept
            .iter()
            .map(|(commit, (known, _))| (*commit, *known));
        Arc::new(known.collect())
    }

    /// Lets a request wait until its commit was asked about. If the line is full, its answer is at once
    /// that nothing is known.
    pub(super) fn line_up(&mut self, question: Question, ended: Refreshed) {
        let commit = question.commit;
        if let Some((_, waiting)) = self.line.iter_mut().find(|(known, _)| *known == commit) {
            waiting.retain(|(one, _)| one.asked.elapsed() < ASK_PATIENCE);
            waiting.push((question, ended));
        } else if self.line.len() < LINE_MAX {
            self.line.push_back((commit, vec![(question, ended)]));
        } else {
            (question.done)(Heard::of(ended, Known::Unknown));
        }
    }

    /// When to ask about the next commit; `None` if none waits.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.line.is_empty()).then_some(self.next)
    }

    /// The commit whose turn it is.
    pub(super) fn first(&self) -> Option<CommitHash> {
        self.line.front().map(|(commit, _)| *commit)
    }

    /// Keeps the answer about the first commit of the line, and gives it to all requests that wait for
    /// that commit.
    pub(super) fn answered(&mut self, known: Known) {
        self.next = Instant::now() + INTERVAL;
        let Some((commit, waiting)) = self.line.pop_front() else {
            return;
        };
        if self.kept.len() >= KEPT_MAX {
            self.kept.clear();
        }
        self.kept.insert(commit, (known, Instant::now()));
        for (question, ended) in waiting {
            (question.done)(Heard::of(ended, known));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn commit(n: usize) -> CommitHash {
        CommitHash::parse(&format!("{n:040x}")).unwrap()
    }

    fn ground(head: usize) -> Ground {
        Ground {
            head: commit(head),
            failing: false,
        }
    }

    fn question(n: usize) -> (Question, mpsc::Receiver<Heard>) {
        let (sender, heard) = mpsc::channel();
        let question = Question {
            commit: commit(n),
            asked: Instant::now(),
            done: Box::new(move |answer| sender.send(answer).unwrap()),
        };
        (question, heard)
    }

    #[test]
    fn an_answer_reaches_all_who_wait_and_is_kept() {
        let mut beyond = Beyond::new();
        beyond.stand_on(ground(1), false);
        let (first, heard_first) = question(7);
        let (second, heard_second) = question(7);
        beyond.line_up(first, Refreshed::Done);
        beyond.line_up(second, Refreshed::Failed);
        assert_eq!(beyond.first(), Some(commit(7)));
        beyond.answered(Known::Elsewhere);
        assert_eq!(
            heard_first.try_recv(),
            Ok(Heard::of(Refreshed::Done, Known::Elsewhere))
        );
        assert_eq!(
            heard_second.try_recv(),
            Ok(Heard::of(Refreshed::Failed, Known::Elsewhere))
        );
        assert_eq!(beyond.kept(&commit(7)), Some(Known::Elsewhere));
        assert_eq!((beyond.first(), beyond.due()), (None, None));
        assert!(Instant::now() < beyond.next, "the next waits its second");
    }

    #[test]
    fn a_new_head_keeps_what_is_older_if_the_old_one_is_below_it() {
        let mut beyond = Beyond::new();
        for (still_older, kept) in [(true, Some(Known::Older)), (false, None)] {
            beyond.stand_on(ground(1), false);
            for (n, known) in [
                (7, Known::Older),
                (8, Known::Elsewhere),
                (9, Known::NeverPushed),
            ] {
                beyond.line_up(question(n).0, Refreshed::Done);
                beyond.line.front_mut().unwrap().1.clear();
                beyond.answered(known);
                assert_eq!(beyond.kept(&commit(n)), Some(known));
            }
            beyond.stand_on(ground(2), still_older);
            let all = [7, 8, 9].map(|n| beyond.kept(&commit(n)));
            assert_eq!(all, [kept, None, None]);
        }
    }

    #[test]
    fn line_and_memory_are_bounded() {
        let mut beyond = Beyond::new();
        beyond.stand_on(ground(1), false);
        let mut waiting = Vec::new();
        for n in 0..2 * LINE_MAX {
            let (question, heard) = question(n);
            beyond.line_up(question, Refreshed::Done);
            waiting.push(heard);
        }
        assert_eq!(beyond.line.len(), LINE_MAX);
        for heard in &waiting[LINE_MAX..] {
            assert_eq!(
                heard.try_recv(),
                Ok(Heard::of(Refreshed::Done, Known::Unknown))
            );
        }
        for n in 0..2 * KEPT_MAX {
            beyond.line.clear();
            beyond.line.push_back((commit(n), Vec::new()));
            beyond.answered(Known::NeverPushed);
        }
        assert!(beyond.kept.len() <= KEPT_MAX);
    }
}
