//! How long to wait after the nth failure in a row: exponential, capped, then full jitter, so
//! that hosts which failed together do not come back together.
//!
//! All on the monotonic clock, and nothing of it is persisted: a restart tries at once.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(300);

/// A longer `Retry-After` is a mistake, and is cut to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Failures in a row, and when the next try is due.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    /// Notes one more failure; the wait that follows. `asked` is the peer's `Retry-After`.
    pub(crate) fn fail(&mut self, asked: Option<Duration>) -> Duration {
        let wait = match asked {
            // Plus up to a tenth: hosts that got the same number at once do not come back together.
            Some(asked) => {
                let asked = asked.clamp(FIRST_WAIT, RETRY_AFTER_MAX);
                asked + asked.mul_f64(random_fraction() / 10.0)
            }
            None => exponential(self.failures).mul_f64(random_fraction()),
        };
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + wait);
        wait
    }

    /// As [`Backoff::fail`], for polling: at least half the wait always passes, since the answer to
    /// a poll at once would be the same.
    pub(crate) fn fail_calmly(&mut self, first: Duration) -> Duration {
        let whole = exponential(self.failures).max(first).min(WAIT_MAX);
        let wait = whole.mul_f64(0.5 + random_fraction() / 2.0);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + wait);
        wait
    }

    /// Another answer to the same failure: no further one is counted, and a longer `Retry-After` holds.
    pub(crate) fn wait_at_least(&mut self, asked: Duration) {
        let until = Instant::now() + asked.min(RETRY_AFTER_MAX);
        self.not_before = self.not_before.max(Some(until));
    }

    pub(crate) fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// Makes the next try due now. The count of failures stays.
    pub(crate) fn retry_now(&mut self) {
        self.not_before = None;
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    /// When the next try is due; `None` if it is due already.
    pub(crate) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

/// 1 s, 2 s, 4 s ... 5 min, before the jitter.
fn exponential(failures: u32) -> Duration {
    FIRST_WAIT
        .saturating_mul(1 << failures.min(16))
        .min(WAIT_MAX)
}

/// From 0 to 1. The randomly keyed hasher of the standard library is random enough for a wait.
fn random_fraction() -> f64 {
    let random = RandomState::new().hash_one(0u8);
    (random >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    #[test]
    fn of_two_answers_to_one_failure_the_longer_wait_holds() {
        let mut backoff = Backoff::default();
        backoff.fail(Some(Duration::from_secs(60)));
        let before = backoff.not_before();
        backoff.wait_at_least(Duration::from_secs(5));
        assert_eq!(backoff.not_before(), before);
        let now = Instant::now();
        backoff.wait_at_least(Duration::from_secs(90));
        assert!(!backoff.is_due(now + Duration::from_secs(89)));
        assert_eq!(backoff.failures(), 1);
    }

    #[test]
    fn waits_grow_to_the_cap_and_are_spread_over_all_of_it() {
        for (failures, whole_s) in [(0, 1), (1, 2), (5, 32), (8, 256), (9, 300), (60, 300)] {
            assert_eq!(exponential(failures).as_secs(), whole_s, "{failures}");
        }
        let waits: Vec<Duration> = (0..200)
            .map(|_| {
                Backoff {
                    failures: 20,
                    not_before: None,
                }
                .fail(None)
            })
            .collect();
        assert!(waits.iter().all(|wait| *wait <= WAIT_MAX));
        // Full jitter comes after the cap: waits fall into the lower and the upper part of it.
        assert!(waits.iter().any(|wait| *wait < WAIT_MAX / 4));
        assert!(waits.iter().any(|wait| *wait > WAIT_MAX * 3 / 4));
    }

    #[test]
    fn retry_after_is_obeyed_and_bounded() {
        for (asked_s, least_s, most_s) in [(0, 1, 2), (30, 30, 33), (1 << 40, 3600, 3960)] {
            let wait = Backoff::default().fail(Some(Duration::from_secs(asked_s)));
            assert!(
                (least_s..=most_s).contains(&wait.as_secs()),
                "{asked_s}: {wait:?}"
            );
        }
    }

    #[test]
    fn a_success_forgets_all_failures() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_due(Instant::now()));
        backoff.fail(Some(Duration::from_secs(30)));
        assert!(!backoff.is_due(Instant::now()));
        backoff.retry_now();
        assert_eq!(
            (backoff.is_due(Instant::now()), backoff.failures()),
            (true, 1)
        );
        backoff.reset();
        assert_eq!(backoff.failures(), 0);
    }

    #[test]
    fn a_poll_never_comes_back_at_once() {
        let mut backoff = Backoff::default();
        for least_s in [2, 2, 2, 4, 8, 16, 32, 64, 128, 150, 150] {
            let wait = backoff.fail_calmly(Duration::from_secs(5));
            assert!(wait >= Duration::from_secs(least_s), "{wait:?} {least_s}");
            assert!(wait <= WAIT_MAX);
        }
    }

    /// Any row of what can happen, against a count of failures: no wait leaves its bounds, and a
    /// try is due when its wait is over and not before.
    #[test]
    fn no_row_of_failures_leaves_the_bounds() {
        for seed in 0..200 {
            let mut random = Seeded::new(seed);
            let mut backoff = Backoff::default();
            let mut failures = 0u32;
            for _ in 0..random.below(60) {
                let cap = WAIT_MAX.min(FIRST_WAIT.saturating_mul(1 << failures.min(20)));
                let before = Instant::now();
                let (wait, least, most) = match random.below(8) {
                    0 => {
                        backoff.reset();
                        failures = 0;
                        assert!(backoff.is_due(before) && backoff.not_before().is_none());
                        continue;
                    }
                    1 => {
                        backoff.retry_now();
                        assert!(backoff.is_due(before));
                        continue;
                    }
                    2 | 3 => {
                        let asked = Duration::from_millis(1 << random.below(40));
                        let told = asked.clamp(FIRST_WAIT, RETRY_AFTER_MAX);
                        (backoff.fail(Some(asked)), told, told + told / 10)
                    }
                    4 => {
                        let first = Duration::from_secs(random.below(400));
                        let whole = cap.max(first).min(WAIT_MAX);
                        (backoff.fail_calmly(first), whole / 2, whole)
                    }
                    _ => (backoff.fail(None), Duration::ZERO, cap),
                };
                failures += 1;
                let slack = Duration::from_micros(1);
                assert!(
                    least <= wait + slack && wait <= most + slack,
                    "seed {seed}: {wait:?}"
                );
                assert_eq!(backoff.failures(), failures);
                let at = backoff.not_before().expect("it failed");
                assert!(before + wait <= at && at <= Instant::now() + wait);
                assert!(backoff.is_due(at) && (wait.is_zero() || !backoff.is_due(before)));
            }
        }
    }

    #[test]
    fn no_count_of_failures_is_too_large() {
        let mut backoff = Backoff {
            failures: u32::MAX,
            not_before: None,
        };
        assert!(backoff.fail(None) <= WAIT_MAX);
        assert_eq!(backoff.failures(), u32::MAX);
    }
}
