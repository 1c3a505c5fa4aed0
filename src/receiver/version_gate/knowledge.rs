//! The state of the gate: every request reads it, and the timer thread alone changes it. All its parts
//! are atomic, so that a request never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::beyond::Kept;
use super::trouble::Trouble;
use super::window::Window;
use crate::events;
use crate::receiver::config::GateConfig;
use crate::wire::Failing;

/// Why the source that decides is failing, and since when.
struct Blind {
    trouble: Trouble,
    since: Instant,
}

/// What the gate knows of its window, its source, and the commits that the window lacks.
pub(super) struct Knowledge {
    enabled: bool,
    /// The configured number of commits.
    size: AtomicU32,
    pub(super) window: ArcSwapOption<Window>,
    /// When a source last confirmed the window, in milliseconds since `start`: negative for a window of
    /// an earlier run. It is not a part of the window, so that a confirmation replaces nothing.
    confirmed_ms: AtomicI64,
    /// When the last refresh began that a source has answered, by the same clock.
    refreshed_ms: AtomicI64,
    /// Since when the window has been from its source, by the same clock.
    source_ms: AtomicI64,
    /// The trouble of the source that decides.
    failing: ArcSwapOption<Blind>,
    /// The answers about commits that the window lacks.
    pub(super) beyond: ArcSwap<Kept>,
    /// Zero of the clock of this struct.
    start: Instant,
}

impl Knowledge {
    pub(super) fn new(config: &GateConfig) -> Knowledge {
        Knowledge {
            enabled: config.enabled,
            size: AtomicU32::new(config.window),
            window: ArcSwapOption::empty(),
            confirmed_ms: AtomicI64::new(0),
            refreshed_ms: AtomicI64::new(i64::MIN),
            source_ms: AtomicI64::new(0),
            failing: ArcSwapOption::empty(),
            beyond: ArcSwap::default(),
            start: Instant::now(),
        }
    }

    pub(super) fn enabled(&self) -> bool {
        self.enabled
    }

    pub(super) fn size(&self) -> u32 {
        self.size.load(Ordering::Acquire)
    }

    /// From here on so many commits are admitted: of a longer window the newest stay.
    pub(super) fn set_size(&self, size: u32) {
        self.size.store(size, Ordering::Release);
        let Some(ours) = self.window() else {
            return;
        };
        let commits = ours.commits().iter().copied();
        if ours.commits().len() > size as usize
            && let Some(cut) = Window::new(commits, size, ours.source())
        {
            self.window.store(Some(Arc::new(cut)));
        }
    }

    pub(super) fn window(&self) -> Option<Arc<Window>> {
        self.window.load_full()
    }

    pub(super) fn age(&self) -> Option<Duration> {
        self.window.load().as_ref()?;
        let age_ms = self.now_ms() - self.confirmed_ms.load(Ordering::Acquire);
        Some(Duration::from_millis(age_ms.max(0).unsigned_abs()))
    }

    /// Puts a window of an earlier run in place.
    pub(super) fn remember(&self, window: Window, age: Duration) {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX / 2);
        self.confirmed_ms
            .store(self.now_ms() - age_ms, Ordering::Release);
        self.note_source(&window);
        log_window(&window, self.size(), age);
        self.window.store(Some(Arc::new(window)));
    }

    /// Notes that a source has confirmed the window.
    pub(super) fn confirm(&self) {
        self.confirmed_ms.store(self.now_ms(), Ordering::Release);
    }

    /// Puts a window that a source has answered with in place; it may be equal to the present one.
    pub(super) fn take(&self, window: Window) {
        self.confirm();
        self.note_source(&window);
        let is_ours = |ours: &Arc<Window>| ours.is_same(&window);
        if !self.window.load().as_ref().is_some_and(is_ours) {
            log_window(&window, self.size(), Duration::ZERO);
            self.window.store(Some(Arc::new(window)));
        }
    }

    /// Notes since when windows have been from the source of this one, which is about to take its place.
    fn note_source(&self, next: &Window) {
        let before = self.window.load();
        if before
            .as_ref()
            .is_none_or(|before| before.source() != next.source())
        {
            self.source_ms.store(self.now_ms(), Ordering::Release);
        }
    }

    /// For how long the window has been from its source.
    pub(super) fn source_age(&self) -> Duration {
        let age_ms = self.now_ms() - self.source_ms.load(Ordering::Acquire);
        Duration::from_millis(age_ms.max(0).unsigned_abs())
    }

    /// Notes that a source has answered the refresh that began then.
    pub(super) fn refreshed(&self, began: Instant) {
        self.refreshed_ms
            .store(self.ms_of(began), Ordering::Release);
    }

    pub(super) fn was_refreshed_since(&self, asked: Instant) -> bool {
        self.ms_of(asked) < self.refreshed_ms.load(Ordering::Acquire)
    }

    pub(super) fn set_failing(&self, trouble: &Trouble) {
        let before = self.failing.load();
        let since = before
            .as_ref()
            .map_or_else(Instant::now, |before| before.since);
        if before
            .as_ref()
            .is_none_or(|before| before.trouble != *trouble)
        {
            let trouble = trouble.clone();
            self.failing.store(Some(Arc::new(Blind { trouble, since })));
        }
    }

    pub(super) fn set_well(&self) {
        if self.failing.load().is_some() {
            self.failing.store(None);
        }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load().is_some()
    }

    pub(super) fn failing(&self) -> Option<Failing> {
        self.failing.load().as_ref().map(|blind| Failing {
            kind: blind.trouble.kind.to_owned(),
            seconds: blind.since.elapsed().as_secs(),
            detail: format!("{}; {}", blind.trouble.what, blind.trouble.remedy),
        })
    }

    fn ms_of(&self, moment: Instant) -> i64 {
        let since = moment.saturating_duration_since(self.start);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 2)
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX / 2)
    }
}

fn log_window(window: &Window, configured: u32, age: Duration) {
    let commits = window.commits().len();
    events::gate_window(window.source(), &window.head(), commits, configured, age);
}
