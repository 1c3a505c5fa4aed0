//! How slow a peer may be, and whether one that is sent to is slower.

use std::time::Duration;

/// The minimum rate of a peer that takes is judged over this much time spent waiting for it.
const RATE_WINDOW: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
pub(super) struct PaceLimits {
    /// The longest silence of a peer.
    pub idle: Duration,
    pub bytes_per_second_min: u64,
}

/// How fast a peer takes what it is sent. Only time spent waiting for it counts: a slow disk is our own fault.
pub(super) struct TakingPace {
    limits: PaceLimits,
    taken: u64,
    /// Since the peer took something.
    silence: Duration,
    /// In the present window of the rate.
    waited: Duration,
    /// What was taken before the window began.
    taken_before: u64,
}

impl TakingPace {
    pub(super) fn new(limits: PaceLimits) -> TakingPace {
        TakingPace {
            limits,
            taken: 0,
            silence: Duration::ZERO,
            waited: Duration::ZERO,
            taken_before: 0,
        }
    }

    /// The peer was waited for, and has taken so many bytes by now. False if that is too slow.
    pub(super) fn is_kept(&mut self, waited: Duration, taken: u64) -> bool {
        self.silence += waited;
        if taken > self.taken {
            self.silence = Duration::ZERO;
            self.taken = taken;
        }
        if self.silence >= self.limits.idle {
            return false;
        }
        self.waited += waited;
        if self.waited < RATE_WINDOW {
            return true;
        }
        let least = self.limits.bytes_per_second_min;
        if taken - self.taken_before.min(taken) < least.saturating_mul(self.waited.as_secs()) {
            return false;
        }
        self.waited = Duration::ZERO;
        self.taken_before = taken;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(idle_s: u64) -> TakingPace {
        TakingPace::new(PaceLimits {
            idle: Duration::from_secs(idle_s),
            bytes_per_second_min: 1000,
        })
    }

    /// The peer is waited for so many times, a second each, and takes so many bytes each time: when it is
    /// cut, if ever.
    fn cut_after(mut pace: TakingPace, waits: u64, each: u64) -> Option<u64> {
        let second = Duration::from_secs(1);
        (1..=waits).find(|wait| !pace.is_kept(second, wait * each))
    }

    #[test]
    fn a_peer_that_takes_nothing_is_cut_after_the_idle_time() {
        assert_eq!(cut_after(pace(5), 100, 0), Some(5));
        let mut pace = pace(5);
        for taken in 1..=50 {
            let second = Duration::from_secs(4);
            assert!(pace.is_kept(second, taken * 4000), "{taken}");
        }
    }

    #[test]
    fn a_slow_peer_is_cut_after_a_minute_and_a_fast_one_never() {
        assert_eq!(cut_after(pace(30), 1000, 999), Some(60));
        assert_eq!(cut_after(pace(30), 1000, 1000), None);
    }

    /// A minute is judged by what was taken in it, not by the fast ones before.
    #[test]
    fn a_peer_that_becomes_slow_is_cut_a_minute_later() {
        let mut pace = pace(30);
        let second = Duration::from_secs(1);
        for wait in 1..=60 {
            assert!(pace.is_kept(second, wait << 20));
        }
        let before = 60 << 20;
        let cut = (1..=120).find(|wait| !pace.is_kept(second, before + wait * 10));
        assert_eq!(cut, Some(60));
    }
}
