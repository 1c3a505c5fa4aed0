//! What was so, and when: a model of the branch that never asks git or the gate, and the judge of
//! what the gate has said.
//!
//! A change happens at some instant between its beginning and its end, as the test sees them. So a
//! commit is *possibly* in the window from the beginning of the change that brings it to the end of
//! the one that takes it away, and *surely* between the end of the first and the beginning of the
//! second. Who gets in must have been possibly in; who is refused must not have been surely in.

use std::time::Duration;

/// On the run's own clock.
pub type Moment = Duration;

/// A failing refresh that is on its way when its source is well again, and the pause after it.
const SETTLE: Duration = Duration::from_secs(3);

/// The window after one change.
struct State {
    began: Moment,
    ended: Moment,
    /// Newest first.
    window: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The source does not answer, or answers nonsense.
    Failing,
    /// It answers well, and late.
    Slow,
    /// The receiver is down.
    Down,
}

/// One answer of the gate.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was asked the first time: an upload whose answer was lost may have been admitted then.
    pub asked: Moment,
    pub answered: Moment,
    pub commit: String,
    pub said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// With the place that it told, 1 being the head.
    Admitted(Option<usize>),
    Refused,
    /// 503.
    Later,
}

/// The worst that was within what is allowed.
#[derive(Default, Debug)]
pub struct Stats {
    pub admitted: usize,
    pub refused: usize,
    pub later: usize,
    /// Of `later`, those for which no trouble of ours can be named.
    pub later_while_calm: usize,
    /// Refused although surely in, while the source failed and could not have told.
    pub refused_unknown: usize,
    /// Surely in for less than two seconds, and admitted.
    pub admitted_fresh: usize,
    /// How long a commit was still admitted after it had left the window, while all was well.
    pub stale_max: Duration,
}

pub struct Truth {
    states: Vec<State>,
    troubles: Vec<(Moment, Moment, Trouble)>,
    /// Refresh plus grace.
    bound: Duration,
}

impl Truth {
    pub fn new(window: Vec<String>, bound: Duration) -> Truth {
        Truth {
            states: vec![State {
                began: Moment::ZERO,
                ended: Moment::ZERO,
                window,
            }],
            troubles: Vec::new(),
            bound,
        }
    }

    pub fn changed(&mut self, began: Moment, ended: Moment, window: Vec<String>) {
        self.states.push(State {
            began,
            ended,
            window,
        });
    }

    pub fn trouble(&mut self, began: Moment, ended: Moment, trouble: Trouble) {
        self.troubles.push((began, ended, trouble));
    }

    pub fn window(&self) -> &[String] {
        &self.states.last().unwrap().window
    }

    /// Panics with what is wrong about any of them.
    pub fn judge(&self, seen: &[Seen]) -> Stats {
        let mut figures = Stats::default();
        let faults: Vec<String> = seen
            .iter()
            .filter_map(|seen| {
                let fault = self.judge_one(seen, &mut figures).err()?;
                Some(format!("{fault}: {seen:?}\n{}", self.story(seen)))
            })
            .collect();
        let count = faults.len();
        let first = faults.into_iter().take(5).collect::<Vec<_>>().join("\n");
        assert!(count == 0, "{count} wrong answers\n{first}");
        figures
    }

    fn judge_one(&self, seen: &Seen, figures: &mut Stats) -> Result<(), String> {
        match seen.said {
            Said::Admitted(position) => {
                figures.admitted += 1;
                self.judge_place(seen, position)?;
                self.judge_admission(seen, figures)
            }
            Said::Refused => {
                figures.refused += 1;
                self.judge_refusal(seen, figures)
            }
            Said::Later => {
                figures.later += 1;
                let since = seen.asked.saturating_sub(self.bound);
                if self.is_calm(since, seen.answered, |_| true) {
                    figures.later_while_calm += 1;
                }
                Ok(())
            }
        }
    }

    fn judge_place(&self, seen: &Seen, position: Option<usize>) -> Result<(), String> {
        let Some(position) = position else {
            return Ok(());
        };
        let stands_there = |state: &State| {
            state
                .window
                .get(position - 1)
                .is_some_and(|c| *c == seen.commit)
        };
        let mut before = self.states.iter().filter(|s| s.began <= seen.answered);
        match before.any(stands_there) {
            true => Ok(()),
            false => Err(format!("it never stood at {position}")),
        }
    }

    /// Outside the window it may get in only as long as the gate could not know better.
    fn judge_admission(&self, seen: &Seen, figures: &mut Stats) -> Result<(), String> {
        let last_in = self.possibly_in_until(&seen.commit, seen.answered);
        let last_in = last_in.ok_or("it was never in the window")?;
        if self
            .surely_in_since(&seen.commit, seen.asked, seen.answered)
            .is_some_and(|since| seen.answered < since + Duration::from_secs(2))
        {
            figures.admitted_fresh += 1;
        }
        let stale = self.longest_calm(last_in, seen.asked, |_| true);
        figures.stale_max = figures.stale_max.max(stale);
        match stale < self.bound {
            true => Ok(()),
            false => Err(format!("it had left the window at {last_in:?}")),
        }
    }

    /// Inside the window it may be refused only if the source failed and the gate never knew of it.
    fn judge_refusal(&self, seen: &Seen, figures: &mut Stats) -> Result<(), String> {
        let Some(since) = self.surely_in_since(&seen.commit, seen.asked, seen.answered) else {
            return Ok(());
        };
        let fails = |trouble| trouble != Trouble::Slow;
        if self.is_calm(seen.asked.saturating_sub(SETTLE), seen.answered, fails) {
            return Err(format!("in the window since {since:?}, and nothing failed"));
        }
        if self.bound <= self.longest_calm(since, seen.asked, |_| true) {
            return Err(format!("in the window since {since:?}, and known to be"));
        }
        figures.refused_unknown += 1;
        Ok(())
    }

    /// The last moment up to `until` at which it may have been in the window.
    fn possibly_in_until(&self, commit: &String, until: Moment) -> Option<Moment> {
        let of_state = |(i, state): (usize, &State)| {
            let is_in = state.began <= until && state.window.contains(commit);
            is_in.then(|| {
                self.states
                    .get(i + 1)
                    .map_or(until, |next| next.ended.min(until))
            })
        };
        self.states.iter().enumerate().filter_map(of_state).max()
    }

    /// Since when it has been in the window all the time, if it surely was from `from` to `until`.
    fn surely_in_since(&self, commit: &String, from: Moment, until: Moment) -> Option<Moment> {
        let mut since = None;
        for (i, state) in self.states.iter().enumerate() {
            if !state.window.contains(commit) {
                since = None;
                continue;
            }
            let since_then = *since.get_or_insert(state.ended);
            let next = self.states.get(i + 1);
            let stays = next.is_none_or(|next| until <= next.began || next.window.contains(commit));
            let ends = next.is_none_or(|next| until <= next.began);
            if stays && ends {
                return (since_then <= from).then_some(since_then);
            }
        }
        None
    }

    fn is_calm(&self, from: Moment, until: Moment, counts: impl Fn(Trouble) -> bool) -> bool {
        let mut troubles = self
            .troubles
            .iter()
            .filter(|(.., trouble)| counts(*trouble));
        troubles.all(|(began, ended, _)| *ended <= from || until <= *began)
    }

    /// The longest time without trouble between two moments.
    fn longest_calm(
        &self,
        from: Moment,
        until: Moment,
        counts: impl Fn(Trouble) -> bool,
    ) -> Duration {
        let mut troubles: Vec<_> = self.troubles.iter().filter(|(.., t)| counts(*t)).collect();
        troubles.sort_by_key(|(began, ..)| *began);
        let (mut at, mut longest) = (from, Duration::ZERO);
        for (began, ended, _) in troubles {
            longest = longest.max((*began).min(until).saturating_sub(at));
            at = at.max(*ended);
        }
        longest.max(until.saturating_sub(at))
    }

    /// What happened around an answer, for the reader of a failure.
    fn story(&self, seen: &Seen) -> String {
        let near = |at: Moment| at + 4 * self.bound > seen.asked && at < seen.answered + self.bound;
        let mut lines: Vec<(Moment, String)> = Vec::new();
        for state in self.states.iter().filter(|state| near(state.ended)) {
            let place = state.window.iter().position(|c| *c == seen.commit);
            let head = &state.window[0];
            let (began, ended) = (state.began, state.ended);
            lines.push((
                began,
                format!("  {began:?}..{ended:?} head {head:.10}, it stands at {place:?} from 0"),
            ));
        }
        for (began, ended, trouble) in self.troubles.iter().filter(|(_, ended, _)| near(*ended)) {
            lines.push((*began, format!("  {began:?}..{ended:?} {trouble:?}")));
        }
        lines.sort();
        lines.into_iter().map(|(_, line)| line + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(6);

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn seen(asked_s: u64, commit: &str, said: Said) -> Seen {
        let (asked, answered) = (at(asked_s), at(asked_s) + Duration::from_millis(100));
        let commit = commit.to_owned();
        Seen {
            asked,
            answered,
            commit,
            said,
        }
    }

    /// `b` joins `a` at 20, `a` leaves at 40.
    fn truth() -> Truth {
        let window = |commits: &[&str]| commits.iter().map(ToString::to_string).collect();
        let mut truth = Truth::new(window(&["a"]), BOUND);
        truth.changed(at(20), at(21), window(&["b", "a"]));
        truth.changed(at(40), at(41), window(&["b"]));
        truth
    }

    fn is_right(truth: &Truth, seen: Seen) -> bool {
        truth.judge_one(&seen, &mut Stats::default()).is_ok()
    }

    #[test]
    fn the_judge_knows_right_from_wrong() {
        let calm = truth();
        for (asked_s, commit, said, right) in [
            (10, "a", Said::Admitted(Some(1)), true),
            (10, "a", Said::Refused, false),
            (10, "b", Said::Admitted(None), false),
            (10, "b", Said::Refused, true),
            (20, "b", Said::Refused, true),
            (20, "b", Said::Admitted(Some(1)), true),
            (22, "b", Said::Refused, false),
            (22, "a", Said::Admitted(Some(2)), true),
            (22, "a", Said::Admitted(Some(3)), false),
            (22, "c", Said::Admitted(None), false),
            (22, "c", Said::Refused, true),
            (45, "a", Said::Admitted(Some(2)), true),
            (48, "a", Said::Admitted(Some(2)), false),
            (45, "a", Said::Refused, true),
        ] {
            assert_eq!(
                is_right(&calm, seen(asked_s, commit, said)),
                right,
                "{asked_s} {commit} {said:?}"
            );
        }
        // While the source fails the gate cannot know, but it must not forget.
        let mut failing = truth();
        failing.trouble(at(19), at(60), Trouble::Failing);
        for (asked_s, commit, said, right) in [
            (30, "b", Said::Refused, true),
            (30, "a", Said::Refused, false),
            (58, "a", Said::Admitted(Some(1)), true),
            (64, "a", Said::Admitted(Some(1)), true),
            (68, "a", Said::Admitted(Some(1)), false),
            (64, "b", Said::Refused, false),
        ] {
            assert_eq!(
                is_right(&failing, seen(asked_s, commit, said)),
                right,
                "{asked_s} {commit} {said:?}"
            );
        }
        // A slow source is no excuse for a refusal.
        let mut slow = truth();
        slow.trouble(at(19), at(60), Trouble::Slow);
        assert!(!is_right(&slow, seen(30, "b", Said::Refused)));
        assert!(is_right(&slow, seen(30, "b", Said::Later)));
    }
}
