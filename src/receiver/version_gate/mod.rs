//! The version gate: which commits get in. It stops what out-of-date code has made, and is
//! hygiene, not authentication: the commit is the sender's own claim.
//!
//! 1. A look is one atomic load and one search in a table: no lock, no allocation, no I/O.
//! 2. Only the timer thread asks Forgejo or git. A request that finds its commit unknown may
//!    [`ask`](VersionGate::ask) it to refresh, and waits for that at most [`ASK_PATIENCE`].
//! 3. A window is replaced as a whole, by a source that answered well, and never by nothing.
//!    "No window" is a wait (503), never "reject all".

mod disk;
mod forgejo;
mod git;
mod refresher;
mod trouble;
mod window;
mod withdrawn;

pub mod trial;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

#[cfg(any(test, fuzzing))]
pub use forgejo::fuzzed_answers;
pub use trouble::Trouble;
pub use window::Window;

use self::disk::WindowFile;
use self::forgejo::Forgejo;
use self::git::LocalGit;
use self::refresher::{Refresher, Sources};
use self::withdrawn::Withdrawn;
use crate::events;
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::receiver::config::GateConfig;
use crate::receiver::refusal::GateFacts;
use crate::receiver::vital::{Pong, Stopper, spawn_vital};
use crate::wire::GateState;

/// How long a request waits for the refresh that it asked for.
pub const ASK_PATIENCE: Duration = Duration::from_secs(2);

/// What the window says about a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Its position: 1 is the head.
    Admitted(u32),
    NotInWindow,
    /// No source has told any window yet.
    NotLoaded,
}

/// How a refresh ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// A source told the window, or that ours still holds.
    Done,
    /// None did: the window is the one that we had. Also when none will be asked in time.
    Failed,
}

/// What a request whose commit was unknown is told after it has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondLook {
    Admitted(u32),
    /// 412, on the window that we have.
    NotInWindow,
    /// 503: the commit may be newer than what we know, and the source has not said.
    Busy,
    /// 503: there is no window at all.
    NotLoaded,
}

/// Called on the timer thread with how the refresh ended. Must not block.
pub type Ask = Box<dyn FnOnce(Refreshed) + Send>;

/// What the timer thread hears.
enum Call {
    Ask(Ask),
    /// Is it alive?
    Ping(Pong),
}

pub struct VersionGate {
    known: Arc<Known>,
    remediation: String,
    /// To the timer thread, which ends when this is gone.
    calls: Sender<Call>,
}

impl VersionGate {
    /// Takes the window of the last run from `data_dir` and starts the timer thread. Waits for no
    /// source: whether any answers is seen later.
    ///
    /// Errors: a token that cannot be read, an `https://` Forgejo, no thread to be had.
    pub fn start(
        config: &GateConfig,
        data_dir: &Path,
        stopper: &Stopper,
    ) -> Result<Arc<VersionGate>, Failure> {
        let forgejo = Forgejo::new(config)?;
        let git = LocalGit::new(config);
        let known = Arc::new(Known::new(config));
        let mut file = WindowFile::new(data_dir, config, &git);
        let withdrawn = match file.load(config.window) {
            Some(memory) => {
                known.remember(memory.window, memory.age);
                memory.withdrawn
            }
            None => Withdrawn::default(),
        };
        if !config.enabled {
            events::gate_is_disabled();
        }
        let (calls, inbox) = mpsc::channel();
        let refresher = Refresher {
            known: known.clone(),
            calls: inbox,
            sources: Sources::new(forgejo, git, withdrawn),
            file,
            interval: Duration::from_secs(config.refresh_seconds),
        };
        spawn_vital("gate-timer", stopper, move || refresher.run())?;
        Ok(Arc::new(VersionGate {
            known,
            remediation: config.remediation.clone(),
            calls,
        }))
    }

    /// One atomic load and one lookup: no lock, allocation or I/O.
    pub fn look(&self, commit: &CommitHash) -> Look {
        match &*self.known.window.load() {
            None => Look::NotLoaded,
            Some(window) => window
                .position(commit)
                .map_or(Look::NotInWindow, Look::Admitted),
        }
    }

    /// Asks for one refresh that begins after now. `done` hears how it ended, on the timer thread,
    /// which it must not block; it is told `Failed` at once if the last refresh failed and none is
    /// due within [`ASK_PATIENCE`]. However many ask, there is one refresh a second at most.
    pub fn ask(&self, done: Ask) {
        // The thread is gone only when the process is ending: nobody waits for the answer.
        let _ = self.calls.send(Call::Ask(done));
    }

    /// The timer thread calls it between two refreshes.
    pub fn ping(&self, pong: Pong) {
        let _ = self.calls.send(Call::Ping(pong)); // as above
    }

    /// What a request is told that looked, asked and waited. `ended` is what it heard, `None` if
    /// it heard nothing within [`ASK_PATIENCE`].
    pub fn look_again(&self, commit: &CommitHash, ended: Option<Refreshed>) -> SecondLook {
        match self.look(commit) {
            Look::Admitted(position) => SecondLook::Admitted(position),
            Look::NotLoaded => SecondLook::NotLoaded,
            Look::NotInWindow if ended.is_none() && !self.last_failed() => SecondLook::Busy,
            Look::NotInWindow => SecondLook::NotInWindow,
        }
    }

    /// Whether the last refresh that ended got no answer from the source that decides: Forgejo, or
    /// git where no Forgejo is configured.
    pub fn last_failed(&self) -> bool {
        self.known.main_failed.load(Ordering::Acquire)
    }

    /// How long that has been so.
    pub fn failing_for(&self) -> Option<Duration> {
        let since_ms = self.known.failing_since_ms.load(Ordering::Acquire);
        let ms = self.known.now_ms() - since_ms;
        self.last_failed()
            .then(|| Duration::from_millis(ms.max(0).unsigned_abs()))
    }

    pub fn window(&self) -> Option<Arc<Window>> {
        self.known.window()
    }

    pub fn enabled(&self) -> bool {
        self.known.enabled
    }

    /// How many commits are admitted, by the configuration.
    pub fn configured_window(&self) -> u32 {
        self.known.size
    }

    /// Since a source last confirmed the window; `None` without one.
    pub fn age(&self) -> Option<Duration> {
        self.known.age()
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
            failing: None,
        }
    }

    /// What a refusal tells besides its words.
    pub fn facts(&self) -> GateFacts {
        GateFacts {
            head_commit: self.window().map(|window| window.head()),
            window: self.configured_window(),
            age_seconds: self.age().map(|age| age.as_secs()),
            remediation: self.remediation.clone(),
        }
    }
}

/// What the gate knows: read by every request, written by the timer thread alone.
struct Known {
    enabled: bool,
    size: u32,
    window: ArcSwapOption<Window>,
    /// When a source last confirmed the window, in milliseconds of our own clock: before zero for
    /// one from an earlier run. Beside the window, so that to confirm swaps nothing.
    confirmed_ms: AtomicI64,
    main_failed: AtomicBool,
    /// When the first of the failures in a row ended; means nothing while there is none.
    failing_since_ms: AtomicI64,
    /// Where our own clock begins.
    start: Instant,
}

impl Known {
    fn new(config: &GateConfig) -> Known {
        Known {
            enabled: config.enabled,
            size: config.window,
            window: ArcSwapOption::empty(),
            confirmed_ms: AtomicI64::new(0),
            main_failed: AtomicBool::new(false),
            failing_since_ms: AtomicI64::new(0),
            start: Instant::now(),
        }
    }

    fn enabled(&self) -> bool {
        self.enabled
    }

    fn size(&self) -> u32 {
        self.size
    }

    fn window(&self) -> Option<Arc<Window>> {
        self.window.load_full()
    }

    fn age(&self) -> Option<Duration> {
        self.window.load().as_ref()?;
        let age_ms = self.now_ms() - self.confirmed_ms.load(Ordering::Acquire);
        Some(Duration::from_millis(age_ms.max(0).unsigned_abs()))
    }

    /// A window from an earlier run.
    fn remember(&self, window: Window, age: Duration) {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX / 2);
        self.confirmed_ms
            .store(self.now_ms() - age_ms, Ordering::Release);
        events::gate_window(&window, self.size, age);
        self.window.store(Some(Arc::new(window)));
    }

    /// A source says that the window still holds.
    fn confirm(&self) {
        self.confirmed_ms.store(self.now_ms(), Ordering::Release);
    }

    /// A source tells a window, which may be the one that we have.
    fn take(&self, window: Window) {
        self.confirm();
        let is_ours = |ours: &Arc<Window>| ours.is_same(&window);
        if !self.window.load().as_ref().is_some_and(is_ours) {
            events::gate_window(&window, self.size, Duration::ZERO);
            self.window.store(Some(Arc::new(window)));
        }
    }

    fn set_main_failed(&self, failed: bool) {
        if failed && !self.main_failed.load(Ordering::Acquire) {
            self.failing_since_ms
                .store(self.now_ms(), Ordering::Release);
        }
        self.main_failed.store(failed, Ordering::Release);
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX / 2)
    }
}
