//! A limit on bytes a second: how long to wait after each block. It reads no clock of its own.

use std::time::{Duration, Instant};

/// What may be caught up after a pause: a laptop that slept does not make up for the night.
const CREDIT: Duration = Duration::from_secs(1);

pub(super) struct Pacer {
    bytes_per_second: Option<u64>,
    /// When the bytes so far may all have been read.
    due: Option<Instant>,
}

impl Pacer {
    /// `None` waits never.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Pacer {
        Pacer {
            bytes_per_second,
            due: None,
        }
    }

    /// How long to wait now that `bytes` more were read.
    pub(super) fn pause(&mut self, bytes: u64, now: Instant) -> Duration {
        let Some(rate) = self.bytes_per_second.filter(|&rate| rate > 0) else {
            return Duration::ZERO;
        };
        let due = self.due.unwrap_or(now);
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        let due = due.max(earliest) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.due = Some(due);
        due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_bytes_a_second_as_allowed_and_no_more() {
        let mut now = Instant::now();
        let begun = now;
        let mut pacer = Pacer::new(Some(1000));
        let mut read = 0;
        // Reading takes 10 ms a block, whatever its size.
        for block in [100, 900, 1, 500, 4000, 499].into_iter().cycle().take(60) {
            now += Duration::from_millis(10);
            now += pacer.pause(block, now);
            read += block;
            let least = Duration::from_millis(read) - Duration::from_millis(1);
            assert!(now - begun >= least, "{read} bytes in {:?}", now - begun);
        }
        // And hardly slower: only the first block's reading is not made up for.
        assert!(now - begun < Duration::from_millis(read + 20));
    }

    #[test]
    fn a_pause_gives_no_more_than_a_second_of_credit() {
        let mut now = Instant::now();
        let mut pacer = Pacer::new(Some(1000));
        pacer.pause(1, now);
        now += Duration::from_secs(3600);
        assert_eq!(pacer.pause(1000, now), Duration::ZERO);
        assert_eq!(pacer.pause(1000, now), Duration::from_secs(1));
        assert_eq!(Pacer::new(None).pause(1 << 40, now), Duration::ZERO);
    }
}
