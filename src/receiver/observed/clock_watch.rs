//! Whether the machine's clock jumped: its time is compared with the time that has passed since.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A smaller step is what NTP does to a clock that drifts.
const JUMP_MIN_S: i64 = 60;

pub(super) struct ClockWatch {
    /// The last look, by both clocks.
    looked: (SystemTime, Instant),
    jump: Option<(u64, i64)>,
}

impl ClockWatch {
    pub(super) fn new() -> ClockWatch {
        ClockWatch {
            looked: (SystemTime::now(), Instant::now()),
            jump: None,
        }
    }

    pub(super) fn look(&mut self) {
        self.look_at(SystemTime::now(), Instant::now());
    }

    /// When the clock last jumped, in seconds since 1970 by the new time, and by how many seconds.
    pub(super) fn jump(&self) -> Option<(u64, i64)> {
        self.jump
    }

    fn look_at(&mut self, now: SystemTime, now_here: Instant) {
        let (before, before_here) = self.looked;
        self.looked = (now, now_here);
        let passed_s = seconds(now_here.saturating_duration_since(before_here));
        let by_s = since_1970(now) - since_1970(before) - passed_s;
        if by_s.abs() >= JUMP_MIN_S {
            let at_s = u64::try_from(since_1970(now)).unwrap_or(0);
            self.jump = Some((at_s, by_s));
        }
    }
}

/// Negative before 1970.
fn since_1970(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => seconds(since),
        Err(before) => -seconds(before.duration()),
    }
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_what_the_clock_moved_beyond_the_time_that_passed() {
        let mut watch = ClockWatch::new();
        let (start, start_here) = watch.looked;
        let mut look = |clock_s: i64, passed_s: u64| {
            let clock = if clock_s < 0 {
                start - Duration::from_secs(clock_s.unsigned_abs())
            } else {
                start + Duration::from_secs(clock_s.unsigned_abs())
            };
            watch.look_at(clock, start_here + Duration::from_secs(passed_s));
            watch.jump().map(|(_, by_s)| by_s)
        };
        assert_eq!(look(1, 1), None);
        // The machine was busy for ten minutes, and the clock drifted a little.
        assert_eq!(look(605, 601), None);
        assert!(look(4205, 602).is_some_and(|by_s| (3595..=3605).contains(&by_s)));
        assert!(look(4206, 603).is_some_and(|by_s| by_s > 0), "it is kept");
        assert!(look(-100, 604).is_some_and(|by_s| (-4310..=-4300).contains(&by_s)));
    }
}
