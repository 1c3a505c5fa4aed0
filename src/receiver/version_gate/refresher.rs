//! The timer thread: the only one that asks the sources, and the only writer of the window.
//!
//! 1. A refresh begins when the interval is over, or when a request asks: at most one a second, and
//!    not before the interval is over if the last one failed.
//! 2. Who asked before a refresh began is answered by it; who asked later waits for the next.
//! 3. A refresh that fails or brings nothing keeps the window that we have.
//! 4. Forgejo decides while it answers. When it fails, git is asked in the same refresh, and counts
//!    only if it is not older than what we have and has nothing that Forgejo took back.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::disk::WindowFile;
use super::forgejo::Forgejo;
use super::git::LocalGit;
use super::trouble::{Told, Trouble};
use super::window::Window;
use super::withdrawn::Withdrawn;
use super::{ASK_PATIENCE, Ask, Call, Known, Refreshed};
use crate::events;
use crate::names::CommitHash;
use crate::wire::Source;

/// Between the beginnings of two refreshes, whoever asks.
const ASKED_INTERVAL: Duration = Duration::from_secs(1);
/// After one that outlasted the whole interval: a source that hangs is left alone a while.
const PAUSE: Duration = Duration::from_secs(1);

pub struct Refresher {
    pub known: Arc<Known>,
    pub calls: Receiver<Call>,
    pub sources: Sources,
    pub file: WindowFile,
    pub interval: Duration,
}

/// Where windows come from, and what was told about those that are in trouble.
pub struct Sources {
    forgejo: Option<Forgejo>,
    git: LocalGit,
    /// The head whose list is our window, all of it Forgejo's. `None` after a start and after a
    /// fallback: then the next refresh lists even if the head has not moved.
    listed: Option<CommitHash>,
    withdrawn: Withdrawn,
    told_forgejo: Told,
    told_git: Told,
    told_no_window: Told,
}

/// When the next refresh may begin.
struct Schedule {
    /// By the interval.
    due: Instant,
    /// For one that a request asks for.
    asked: Instant,
    last: Refreshed,
}

impl Refresher {
    /// Until the gate is gone.
    pub fn run(mut self) {
        let mut schedule = Schedule::at_start();
        while let Some(waiting) = self.wait(&schedule) {
            let began = Instant::now();
            let ended = self.sources.refresh(&self.known);
            schedule = Schedule {
                due: (began + self.interval).max(Instant::now() + PAUSE),
                asked: began + ASKED_INTERVAL,
                last: ended,
            };
            for ask in waiting {
                ask(ended);
            }
            // After the answers: an SD card's fsync must not keep a request waiting.
            if ended == Refreshed::Done
                && let Some(window) = self.known.window()
            {
                self.file.keep(&window, &self.sources.withdrawn);
            }
        }
    }

    /// Waits until a refresh is to begin: who is to hear its end. `None` if the gate is gone.
    fn wait(&self, schedule: &Schedule) -> Option<Vec<Ask>> {
        let mut waiting = Vec::new();
        loop {
            let begin = schedule.begin(waiting.is_empty());
            let left = begin.saturating_duration_since(Instant::now());
            if left.is_zero() {
                for call in self.calls.try_iter() {
                    match call {
                        Call::Ask(ask) => waiting.push(ask),
                        Call::Ping(pong) => pong(),
                    }
                }
                return Some(waiting);
            }
            match self.calls.recv_timeout(left) {
                Ok(Call::Ping(pong)) => pong(),
                Ok(Call::Ask(ask)) if schedule.is_hopeless() => ask(Refreshed::Failed),
                Ok(Call::Ask(ask)) => waiting.push(ask),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
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
        match nobody_asked || self.last == Refreshed::Failed {
            true => self.due,
            false => self.asked.min(self.due),
        }
    }

    /// Whether a request that asks now would wait in vain.
    fn is_hopeless(&self) -> bool {
        self.last == Refreshed::Failed && Instant::now() + ASK_PATIENCE < self.due
    }
}

impl Sources {
    pub fn new(forgejo: Option<Forgejo>, git: LocalGit, withdrawn: Withdrawn) -> Sources {
        Sources {
            forgejo,
            git,
            listed: None,
            withdrawn,
            told_forgejo: Told::default(),
            told_git: Told::default(),
            told_no_window: Told::default(),
        }
    }

    /// Asks the sources once, in their order, and makes what they say known.
    fn refresh(&mut self, known: &Known) -> Refreshed {
        let ended = match &self.forgejo {
            Some(forgejo) => match ask_forgejo(forgejo, self.listed, known.size()) {
                Ok(answer) => {
                    self.forgejo_answered(answer, known);
                    Refreshed::Done
                }
                Err(trouble) => {
                    tell(&mut self.told_forgejo, Source::Forgejo, &trouble, known);
                    self.fall_back(known)
                }
            },
            None => self.ask_git(known),
        };
        if ended == Refreshed::Done {
            self.told_no_window.is_over();
        } else if known.window().is_none() && known.enabled() {
            self.tell_no_window();
        }
        ended
    }

    fn forgejo_answered(&mut self, answer: Answer, known: &Known) {
        known.set_main_failed(false);
        if self.told_forgejo.is_over() {
            events::gate_source_back(Source::Forgejo);
        }
        match answer {
            Answer::Unmoved => known.confirm(),
            Answer::Listed(window) => {
                self.listed = Some(window.head());
                if let Some(ours) = known.window() {
                    self.withdrawn.note(&ours, &window);
                }
                known.take(window);
            }
        }
    }

    /// Forgejo has failed: git's commits, if they are not older than ours.
    fn fall_back(&mut self, known: &Known) -> Refreshed {
        known.set_main_failed(true);
        match self.fallback_window(known) {
            None => Refreshed::Failed,
            Some(Ok(window)) => {
                self.told_git.is_over();
                self.listed = None;
                known.take(window);
                Refreshed::Done
            }
            Some(Err(trouble)) => {
                tell(&mut self.told_git, Source::GitFallback, &trouble, known);
                Refreshed::Failed
            }
        }
    }

    /// `None` if there is no local repository.
    fn fallback_window(&self, known: &Known) -> Option<Result<Window, Trouble>> {
        let path = self.git.path()?;
        let ours = known.window();
        let listing = match self.git.list(known.size()) {
            Ok(listing) => listing,
            Err(trouble) => return Some(Err(trouble)),
        };
        let is_current = |ours: &Window| {
            self.git.includes(&listing, ours.head())
                && !self.withdrawn.returns_in(&listing.commits, ours.head())
        };
        let window = match ours.as_deref() {
            Some(ours) if !is_current(ours) => None,
            ours => Window::fallback(&listing.commits, ours, known.size()),
        };
        Some(window.ok_or_else(|| {
            Trouble::new(
                "git-behind",
                format!("the local repository {} lacks the newest commit that we know, or still has what a force-push took back; the window stays as it is", path.display()),
                "pull there (git pull), or fix Forgejo",
            )
        }))
    }

    /// No Forgejo is configured: git decides alone.
    fn ask_git(&mut self, known: &Known) -> Refreshed {
        let listed = match self.git.path() {
            Some(_) => self.git.list(known.size()),
            // Disabled, the gate needs none: "disable and collect" is no trouble.
            None if !known.enabled() => return Refreshed::Failed,
            None => Err(no_source()),
        };
        let window = listed.map(|listing| Window::new(listing.commits, known.size(), Source::Git));
        known.set_main_failed(window.is_err());
        match window {
            Ok(window) => {
                if self.told_git.is_over() {
                    events::gate_source_back(Source::Git);
                }
                window.into_iter().for_each(|window| known.take(window));
                Refreshed::Done
            }
            Err(trouble) => {
                tell(&mut self.told_git, Source::Git, &trouble, known);
                Refreshed::Failed
            }
        }
    }

    fn tell_no_window(&mut self) {
        if self.told_no_window.is_due("no-window", Instant::now()) {
            events::gate_has_no_window();
        }
    }
}

/// What Forgejo says in one refresh.
enum Answer {
    /// The head is the one that was listed last.
    Unmoved,
    Listed(Window),
}

fn ask_forgejo(
    forgejo: &Forgejo,
    listed: Option<CommitHash>,
    size: u32,
) -> Result<Answer, Trouble> {
    let head = forgejo.head()?;
    if listed == Some(head) {
        return Ok(Answer::Unmoved);
    }
    let commits = forgejo.list(head, size)?;
    Window::new(commits, size, Source::Forgejo)
        .map(Answer::Listed)
        .ok_or_else(|| Trouble::new("empty", "Forgejo listed no commit", "push the branch"))
}

fn no_source() -> Trouble {
    Trouble::new(
        "no-source",
        "neither forgejo_url nor a local repository is configured, so no commit is known",
        "set forgejo_url, repo_owner and repo_name in [version_gate], or local_repo_path; or enabled = false",
    )
}

fn tell(told: &mut Told, source: Source, trouble: &Trouble, known: &Known) {
    if told.is_due(trouble.kind, Instant::now()) {
        events::gate_refresh_failed(source, trouble, known.age());
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
