//! The timer thread: the only thread that asks the sources, and the only one that changes the window.
//!
//! 1. A refresh begins when the interval is over, or when a request asks: at most one a second, and
//!    after a failure not before the interval is over.
//! 2. A request that asked before a refresh began is answered after it; one that asked later waits for
//!    the next refresh.
//! 3. A refresh that fails or finds no commit leaves the window as it is.
//! 4. Forgejo decides while it answers. When it fails, git is asked in the same refresh. Git's list
//!    counts only if it is not older than the window and has nothing that Forgejo took back.
//! 5. Between two refreshes the thread asks about the commits that requests wait for: see `beyond.rs`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::beyond::{Beyond, Ground};
use super::disk::WindowFile;
use super::knowledge::Knowledge;
use super::sources::{Ended, Sources};
use super::{ASK_PATIENCE, Call, Change, Heard, Question, Refreshed};
use crate::wire::Known;

/// The least time between the beginnings of two refreshes, however many requests ask.
const ASKED_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a refresh that took longer than the interval, for a source that is slow.
const PAUSE: Duration = Duration::from_secs(1);

/// The interval while Forgejo names a head that it cannot list yet.
const NOT_YET_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct TimerThread {
    knowledge: Arc<Knowledge>,
    calls: Receiver<Call>,
    sources: Sources,
    beyond: Beyond,
    file: WindowFile,
    interval: Duration,
    /// Requests that wait for the refresh that begins next.
    waiting: Vec<Question>,
}

/// When the next refresh may begin.
struct Schedule {
    /// By the interval alone.
    due: Instant,
    /// If a request asks.
    asked: Instant,
    last: Refreshed,
}

impl TimerThread {
    pub(super) fn new(
        knowledge: Arc<Knowledge>,
        calls: Receiver<Call>,
        sources: Sources,
        file: WindowFile,
        interval: Duration,
    ) -> TimerThread {
        TimerThread {
            knowledge,
            calls,
            sources,
            beyond: Beyond::new(),
            file,
            interval,
            waiting: Vec::new(),
        }
    }

    /// Refreshes until the gate is dropped.
    pub(super) fn run(mut self) {
        let mut schedule = Schedule::at_start();
        while self.wait(&schedule) {
            let began = Instant::now();
            let waiting = &mut self.waiting;
            let knowledge = &*self.knowledge;
            let ended = self
                .sources
                .refresh(knowledge, &mut || answer_the_admitted(waiting, knowledge));
            schedule = self.schedule_after(ended, began);
            self.stand();
            match ended {
                Ended::Done => {
                    self.knowledge.refreshed(began);
                    self.answer(Refreshed::Done);
                    // After the answers: an SD card's fsync must not keep a request waiting.
                    if let Some(window) = self.knowledge.window() {
                        self.file.keep(&window, self.sources.withdrawn());
                    }
                }
                Ended::Failed => self.answer(Refreshed::Failed),
                // The requests wait for the next refresh, except those that have given up.
                Ended::NotYet => self
                    .waiting
                    .retain(|one| one.asked.elapsed() < ASK_PATIENCE),
            }
        }
    }

    fn schedule_after(&self, ended: Ended, began: Instant) -> Schedule {
        let (interval, last) = match ended {
            Ended::Done => (self.interval, Refreshed::Done),
            Ended::Failed => (self.interval, Refreshed::Failed),
            Ended::NotYet => (self.interval.min(NOT_YET_INTERVAL), Refreshed::Done),
        };
        Schedule {
            due: (began + interval).max(Instant::now() + PAUSE),
            asked: began + ASKED_INTERVAL,
            last,
        }
    }

    /// Waits until the next refresh must begin, and asks about commits meanwhile. False if the gate was
    /// dropped.
    fn wait(&mut self, schedule: &Schedule) -> bool {
        loop {
            let begin = schedule.begin(self.waiting.is_empty());
            let now = Instant::now();
            if begin <= now {
                return self.hear_all();
            }
            let of_beyond = self.beyond.due().unwrap_or(begin);
            if of_beyond <= now {
                self.ask_beyond();
                continue;
            }
            match self.calls.recv_timeout(begin.min(of_beyond) - now) {
                Ok(Call::Ping(pong)) => pong(),
                Ok(Call::Ask(question)) if schedule.is_hopeless() => {
                    self.answer_one(question, Refreshed::Failed);
                }
                Ok(Call::Ask(question)) => self.waiting.push(question),
                // A refresh begins at once.
                Ok(Call::Change(change)) => {
                    self.apply(*change);
                    return self.hear_all();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Collects all requests that have asked by now: the refresh that begins now answers them.
    fn hear_all(&mut self) -> bool {
        let calls: Vec<Call> = self.calls.try_iter().collect();
        for call in calls {
            match call {
                Call::Ask(question) => self.waiting.push(question),
                Call::Ping(pong) => pong(),
                Call::Change(change) => self.apply(*change),
            }
        }
        true
    }

    fn apply(&mut self, change: Change) {
        self.interval = change.interval;
        self.sources.replace_forgejo(change.forgejo);
    }

    fn answer(&mut self, ended: Refreshed) {
        for question in std::mem::take(&mut self.waiting) {
            self.answer_one(question, ended);
        }
    }

    /// Answers a request after a refresh: at once if something is known of its commit or no source can
    /// be asked about it; else the request waits until its commit was asked about.
    fn answer_one(&mut self, question: Question, ended: Refreshed) {
        let is_outside = self
            .knowledge
            .window()
            .is_some_and(|window| window.position(&question.commit).is_none());
        let can_say_more = self.sources.can_say_more(&self.knowledge);
        match self.beyond.kept(&question.commit) {
            Some(known) => (question.done)(Heard::of(ended, known)),
            None if is_outside && can_say_more => self.beyond.line_up(question, ended),
            None => (question.done)(Heard::of(ended, Known::Unknown)),
        }
    }

    fn ask_beyond(&mut self) {
        let (Some(commit), Some(window)) = (self.beyond.first(), self.knowledge.window()) else {
            return self.beyond.answered(Known::Unknown);
        };
        let known = self.sources.known(commit, &window, &self.knowledge);
        self.beyond.answered(known);
        self.publish_beyond();
    }

    /// Forgets the answers about commits that held only for the head before this one.
    fn stand(&mut self) {
        let Some(window) = self.knowledge.window() else {
            return;
        };
        let ground = Ground {
            head: window.head(),
            failing: self.knowledge.is_failing(),
        };
        let before = self.beyond.head();
        let still_older = before.is_some_and(|head| window.position(&head).is_some());
        if self.beyond.stand_on(ground, still_older) {
            self.publish_beyond();
        }
    }

    fn publish_beyond(&self) {
        self.knowledge.beyond.store(self.beyond.all_kept());
    }
}

/// Answers the requests whose commits are among the newest, before the whole list is here.
fn answer_the_admitted(waiting: &mut Vec<Question>, knowledge: &Knowledge) {
    let Some(window) = knowledge.window() else {
        return;
    };
    let is_in = |question: &mut Question| window.position(&question.commit).is_some();
    for question in waiting.extract_if(.., is_in) {
        (question.done)(Heard::of(Refreshed::Done, Known::Unknown));
    }
}

impl Schedule {
    fn at_start() -> Schedule {
        let now = Instant::now();
        Schedule {
            due: now,
            asked: now,
            last: Refreshed::Done,
        }
    }

    fn begin(&self, nobody_asked: bool) -> Instant {
        if nobody_asked || self.last == Refreshed::Failed {
            self.due
        } else {
            self.asked.min(self.due)
        }
    }

    /// Whether a request that asks now would give up before the next refresh.
    fn is_hopeless(&self) -> bool {
        self.last == Refreshed::Failed && Instant::now() + ASK_PATIENCE < self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(due_ms: u64, asked_ms: u64, last: Refreshed) -> (Schedule, Instant) {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let schedule = Schedule {
            due: at(due_ms),
            asked: at(asked_ms),
            last,
        };
        (schedule, now)
    }

    #[test]
    fn an_ask_is_heard_within_a_second_unless_the_last_refresh_failed() {
        let after = |(schedule, now): (Schedule, Instant), nobody_asked| {
            (schedule.begin(nobody_asked) - now).as_millis()
        };
        assert_eq!(after(schedule(5000, 1000, Refreshed::Done), true), 5000);
        assert_eq!(after(schedule(5000, 1000, Refreshed::Done), false), 1000);
        assert_eq!(after(schedule(500, 1000, Refreshed::Done), false), 500);
        assert_eq!(after(schedule(5000, 1000, Refreshed::Failed), false), 5000);
    }

    #[test]
    fn waiting_is_in_vain_only_after_a_failure_and_long_before_the_next() {
        assert!(schedule(60_000, 0, Refreshed::Failed).0.is_hopeless());
        assert!(!schedule(1500, 0, Refreshed::Failed).0.is_hopeless());
        assert!(!schedule(60_000, 0, Refreshed::Done).0.is_hopeless());
    }
}
