//! Uploads come first: the loop rests between its steps while uploads end.
//!
//! 1. If an upload has ended since the step before, the loop rests behind a step three times as long as the step
//!    took, and a second at most.
//! 2. The loop does not rest while its work is urgent: while room is needed, or once an episode has waited for
//!    its copy for ten minutes. Hosts that never pause must not keep the loop from its work.

use std::mem;
use std::time::{Duration, SystemTime};

use crate::clock;

/// How much longer than a step the rest behind it is.
const TIMES: u32 = 3;
/// Shorter rests are put off: the system may make each of them longer.
const LEAST: Duration = Duration::from_millis(2);
/// The longest rest, however long a step took.
const MOST: Duration = Duration::from_secs(1);
/// Once an episode has waited this long for its copy, the loop does not rest.
const WAITED_MAX: Duration = Duration::from_secs(600);

/// The rest that the loop owes to uploads.
#[derive(Default)]
pub(super) struct Rest {
    /// How many uploads had ended when the last step did.
    ended: u64,
    /// Less than [`LEAST`].
    owed: Duration,
}

impl Rest {
    /// How long the loop rests after a step that took so long. `ended`: how many uploads have ended so far.
    pub(super) fn due(&mut self, took: Duration, ended: u64, is_urgent: bool) -> Option<Duration> {
        let has_news = mem::replace(&mut self.ended, ended) != ended;
        if !has_news || is_urgent {
            return None;
        }
        self.owed += (took * TIMES).min(MOST);
        (self.owed >= LEAST).then(|| mem::take(&mut self.owed).min(MOST))
    }
}

/// Whether an episode that was received then has waited too long for the loop to rest.
pub(super) fn is_overdue(received_unix_s: u64) -> bool {
    let now_s = clock::unix_seconds(SystemTime::now());
    WAITED_MAX.as_secs() <= now_s.saturating_sub(received_unix_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn it_rests_after_steps_during_which_an_upload_has_ended() {
        let mut rest = Rest::default();
        assert_eq!(rest.due(ms(10), 0, false), None);
        assert_eq!(rest.due(ms(10), 1, false), Some(ms(30)));
        assert_eq!(rest.due(ms(10), 1, false), None);
        assert_eq!(rest.due(ms(60_000), 2, false), Some(MOST));
    }

    #[test]
    fn urgent_work_does_not_rest_and_owes_nothing_afterwards() {
        let mut rest = Rest::default();
        assert_eq!(rest.due(ms(10), 5, true), None);
        assert_eq!(rest.due(ms(10), 5, false), None);
        assert_eq!(rest.due(ms(10), 6, false), Some(ms(30)));
    }

    #[test]
    fn short_rests_are_taken_together() {
        let mut rest = Rest::default();
        let micros = Duration::from_micros(300);
        assert_eq!(rest.due(micros, 1, false), None);
        assert_eq!(rest.due(micros, 2, false), None);
        assert_eq!(rest.due(micros, 2, false), None);
        assert_eq!(rest.due(micros, 3, false), Some(9 * micros));
        assert_eq!(rest.due(micros, 4, false), None);
    }

    #[test]
    fn ten_minutes_are_too_long() {
        let now_s = clock::unix_seconds(SystemTime::now());
        assert!(!is_overdue(now_s) && !is_overdue(now_s + 1000));
        assert!(is_overdue(now_s - 601) && is_overdue(0));
    }
}
