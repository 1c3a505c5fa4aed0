//! What the loop lets the thread of the `state_sender` know: the newest facts that no folder shows.
//!
//! The loop puts them here whenever it changes `state.json`'s content, and never waits: the lock is held for
//! as long as a few short texts are copied.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::names::CommitHash;
use crate::sync::lock;
use crate::wire;

/// The facts, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The commits that are held, and since when.
    pub holds: Vec<(CommitHash, String)>,
    pub uploading: Option<wire::Uploading>,
    pub next_try_at: Option<String>,
    pub last_success_at: Option<String>,
    pub packing_stopped_since: Option<String>,
}

/// The facts, and whether anything changed since they were last taken.
#[derive(Default)]
pub(super) struct Live {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    facts: Facts,
    is_news: bool,
}

impl Live {
    /// The facts are these from here on.
    pub(super) fn publish(&self, facts: Facts) {
        let mut inner = lock(&self.inner);
        if inner.facts != facts {
            inner.facts = facts;
            inner.is_news = true;
            self.changed.notify_all();
        }
    }

    /// The folders have changed.
    pub(super) fn folders_changed(&self) {
        lock(&self.inner).is_news = true;
        self.changed.notify_all();
    }

    /// The newest facts, as soon as anything has changed, or after `patience`.
    pub(super) fn wait(&self, patience: Duration) -> Facts {
        let until = Instant::now() + patience;
        let mut inner = lock(&self.inner);
        while !inner.is_news {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.is_news = false;
        inner.facts.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_news_ends_a_wait() {
        let live = Live::default();
        let long = Duration::from_secs(3600);
        let short = Duration::from_millis(1);
        let facts = Facts {
            next_try_at: Some("soon".to_owned()),
            ..Facts::default()
        };
        live.publish(facts.clone());
        assert_eq!(live.wait(long), facts);
        live.publish(facts);
        let begun = Instant::now();
        live.wait(short);
        assert!(begun.elapsed() >= short, "the same again is no news");
        live.folders_changed();
        live.wait(long);
        live.publish(Facts::default());
        assert_eq!(live.wait(long), Facts::default());
    }
}
