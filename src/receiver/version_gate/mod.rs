//! The version gate: it admits an upload only if its commit is in the window, and so keeps out episodes
//! that out-of-date code has made. This is hygiene, not authentication: the commit is the sender's own
//! claim.
//!
//! 1. A look is one atomic load and one search in a table: no lock, no allocation, no I/O.
//! 2. Only the timer thread asks Forgejo or git. A request whose commit is unknown may
//!    [`ask`](VersionGate::ask) that thread to refresh, and waits for that at most [`ASK_PATIENCE`].
//! 3. A window is replaced as a whole, after a good answer of a source, and never by nothing. While
//!    there is no window, uploads wait (503); they are not rejected.
//! 4. While the gate cannot ask its source, its answers say so: a commit that it does not know is then
//!    `unknown`, and not "out of date".

mod beyond;
mod disk;
mod forgejo;
mod git;
mod knowledge;
mod sources;
mod timer_thread;
mod trouble;
mod window;
mod withdrawn;

pub(crate) use self::git::DEFAULT_REPOSITORY;

pub mod source_check;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

pub use beyond::Kept;
#[cfg(any(test, fuzzing))]
pub use forgejo::fuzzed_answers;
pub use trouble::{Trouble, failing_words};
pub use window::Window;

use self::disk::WindowFile;
use self::forgejo::Forgejo;
use self::git::LocalGit;
use self::knowledge::Knowledge;
use self::sources::Sources;
use self::timer_thread::TimerThread;
use self::withdrawn::Withdrawn;
use crate::events;
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::receiver::config::GateConfig;
use crate::receiver::critical_thread::{Pong, ShutdownHandle, spawn_critical};
use crate::receiver::refusal::GateFacts;
use crate::wire::{Failing, GateState, Known};

/// How long a request waits for the refresh that it asked for.
pub const ASK_PATIENCE: Duration = Duration::from_secs(2);

/// What the window says about a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Its position: 1 is the head.
    Admitted(u32),
    NotInWindow,
    /// No source has answered with a window yet.
    NotLoaded,
}

/// How a refresh ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// A source has answered with a window, or that the head has not moved.
    Done,
    /// No source has answered, and the window stays. Also if no source will be asked in time.
    Failed,
}

/// The answer to a request that has asked because its commit was unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondLook {
    Admitted(u32),
    /// 412 by the window, with what else is known of the commit.
    NotInWindow(Known),
    /// 503: the commit may be newer than the window, and the source has not answered in time.
    Busy,
    /// 503: there is no window at all.
    NotLoaded,
}

/// What the timer thread passes to a request that has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub ended: Refreshed,
    /// What is known of its commit, if the window lacks it now.
    pub known: Known,
}

impl Heard {
    fn of(ended: Refreshed, known: Known) -> Heard {
        Heard { ended, known }
    }
}

/// Called on the timer thread, with the answer. Must not block.
pub type Ask = Box<dyn FnOnce(Heard) + Send>;

/// A request that waits.
struct Question {
    commit: CommitHash,
    asked: Instant,
    done: Ask,
}

/// A message to the timer thread.
enum Call {
    Ask(Question),
    /// Asks whether the thread is alive.
    Ping(Pong),
    /// The configuration was read again.
    Change(Box<Change>),
}

/// What a reload changes for the timer thread.
struct Change {
    interval: Duration,
    /// With the token as it is now.
    forgejo: Option<Forgejo>,
}

/// A configuration whose secrets were read: it can be applied without an error.
pub(crate) struct ReadyChange {
    size: u32,
    remediation: String,
    change: Box<Change>,
}

impl ReadyChange {
    /// Reads what `config` names.
    ///
    /// Errors: a token or a CA cannot be read.
    pub(crate) fn read(config: &GateConfig) -> Result<ReadyChange, Failure> {
        Ok(ReadyChange {
            size: config.window,
            remediation: config.remediation.clone(),
            change: Box::new(Change {
                interval: Duration::from_secs(config.refresh_seconds),
                forgejo: Forgejo::new(config)?,
            }),
        })
    }
}

/// The gate of a running receiver.
pub struct VersionGate {
    knowledge: Arc<Knowledge>,
    remediation: ArcSwap<String>,
    /// The channel to the timer thread, which ends when this is dropped.
    calls: Sender<Call>,
}

impl VersionGate {
    /// Loads the window of the last run from `data_dir` and starts the timer thread. Does not wait for a
    /// source.
    ///
    /// Errors: a token or a CA cannot be read; the URL is `https://` and this build has no TLS; the
    /// system could not start a thread.
    pub fn start(
        config: &GateConfig,
        data_dir: &Path,
        shutdown: &ShutdownHandle,
    ) -> Result<Arc<VersionGate>, Failure> {
        let forgejo = Forgejo::new(config)?;
        let git = LocalGit::new(config);
        let knowledge = Arc::new(Knowledge::new(config));
        let mut file = WindowFile::new(data_dir, config, &git);
        let withdrawn = match file.load(config.window) {
            Some(memory) => {
                knowledge.remember(memory.window, memory.age);
                memory.withdrawn
            }
            None => Withdrawn::default(),
        };
        if !config.enabled {
            events::gate_is_disabled();
        }
        let (calls, inbox) = mpsc::channel();
        let interval = Duration::from_secs(config.refresh_seconds);
        let sources = Sources::new(forgejo, git, withdrawn);
        let timer = TimerThread::new(knowledge.clone(), inbox, sources, file, interval);
        spawn_critical("gate-timer", shutdown, move || timer.run())?;
        Ok(Arc::new(VersionGate {
            knowledge,
            remediation: ArcSwap::from_pointee(config.remediation.clone()),
            calls,
        }))
    }

    /// From here on these hold: the window's length, the remediation, the interval and the token. A longer
    /// window is filled by the refresh that begins now.
    pub(crate) fn apply(&self, ready: ReadyChange) {
        self.knowledge.set_size(ready.size);
        self.remediation.store(Arc::new(ready.remediation));
        // It fails only when the process is ending.
        let _ = self.calls.send(Call::Change(ready.change));
    }

    /// Looks a commit up: one atomic load and one search, without lock, allocation or I/O.
    pub fn look(&self, commit: &CommitHash) -> Look {
        match &*self.knowledge.window.load() {
            None => Look::NotLoaded,
            Some(window) => window
                .position(commit)
                .map_or(Look::NotInWindow, Look::Admitted),
        }
    }

    /// Asks for a refresh that begins after now, and what is known of the commit if the window lacks it
    /// then. `done` is called with both on the timer thread, which it must not block. It is called at
    /// once, with `Failed`, if the last refresh failed and none is due within [`ASK_PATIENCE`]. However
    /// many requests ask, there is at most one refresh a second, and one question about a commit.
    ///
    /// Returns the moment of the question, for [`VersionGate::look_again`].
    pub fn ask(&self, commit: &CommitHash, done: Ask) -> Instant {
        let asked = Instant::now();
        let question = Question {
            commit: *commit,
            asked,
            done,
        };
        // Sending fails only when the process is ending, and then nobody waits for the answer.
        let _ = self.calls.send(Call::Ask(question));
        asked
    }

    /// The timer thread calls `pong` between two refreshes.
    pub fn ping(&self, pong: Pong) {
        let _ = self.calls.send(Call::Ping(pong)); // as above
    }

    /// The answer to a request that has looked, asked and waited. `heard` is what the timer thread has
    /// passed to it; `None` if nothing came within [`ASK_PATIENCE`].
    pub fn look_again(
        &self,
        commit: &CommitHash,
        asked: Instant,
        heard: Option<Heard>,
    ) -> SecondLook {
        match (self.look(commit), heard) {
            (Look::Admitted(position), _) => SecondLook::Admitted(position),
            (Look::NotLoaded, _) => SecondLook::NotLoaded,
            (Look::NotInWindow, Some(heard)) => SecondLook::NotInWindow(heard.known),
            // The refresh was in time; only the question about this commit was not.
            (Look::NotInWindow, None)
                if self.last_failed() || self.knowledge.was_refreshed_since(asked) =>
            {
                SecondLook::NotInWindow(Known::Unknown)
            }
            (Look::NotInWindow, None) => SecondLook::Busy,
        }
    }

    /// Whether the last refresh that ended got no answer from the source that decides: Forgejo, or
    /// git where no Forgejo is configured.
    pub fn last_failed(&self) -> bool {
        self.knowledge.is_failing()
    }

    /// Why the source that decides is failing, and for how long; `None` while it answers.
    pub fn failing(&self) -> Option<Failing> {
        self.knowledge.failing()
    }

    /// The sources' answers about commits that are not in the window.
    pub fn beyond(&self) -> Arc<Kept> {
        self.knowledge.beyond.load_full()
    }

    pub fn window(&self) -> Option<Arc<Window>> {
        self.knowledge.window()
    }

    pub fn enabled(&self) -> bool {
        self.knowledge.enabled()
    }

    /// The number of commits that the configuration admits.
    pub fn configured_window(&self) -> u32 {
        self.knowledge.size()
    }

    /// The time since a source last confirmed the window; `None` without a window.
    pub fn age(&self) -> Option<Duration> {
        self.knowledge.age()
    }

    /// For how long the window has been from its source.
    pub fn source_age(&self) -> Duration {
        self.knowledge.source_age()
    }

    /// The body of `GET /v1/gate`.
    pub fn state(&self) -> GateState {
        let window = self.window();
        let window = window.as_deref();
        GateState {
            enabled: self.enabled(),
            loaded: window.is_some(),
            source: window.map(Window::source),
            head_commit: window.map(Window::head),
            window: self.configured_window(),
            commits: window.map_or(Vec::new(), |window| window.commits().to_vec()),
            age_seconds: self.age().map(|age| age.as_secs()),
            failing: self.failing(),
        }
    }

    /// The members that a refusal by the gate has besides its words.
    pub fn facts(&self) -> GateFacts {
        GateFacts {
            head_commit: self.window().map(|window| window.head()),
            window: self.configured_window(),
            age_seconds: self.age().map(|age| age.as_secs()),
            remediation: String::clone(&self.remediation.load()),
            failing: self.failing(),
        }
    }
}
