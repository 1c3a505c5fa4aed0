//! `rate_bytes_per_second`: how fast the bodies of uploads leave, of all that are under way together.
//!
//! A bucket that fills with the rate, up to what a second brings. An upload that begins after a pause finds
//! it empty: else the first seconds would be faster than the rate.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// What a bucket holds at most, in the rate's time.
const HOLDS: Duration = Duration::from_secs(1);
/// A part of a body that is let go at once, in the rate's time: so short, an upload stays even.
const PART: Duration = Duration::from_millis(50);
/// The smallest such part.
const PART_BYTES_MIN: u64 = 1024;

pub(super) struct Rate(Mutex<Bucket>);

struct Bucket {
    /// `None` for no bound.
    bytes_per_second: Option<u64>,
    /// A part may be larger than what was there: the next one waits for it.
    bytes: f64,
    filled_at: Instant,
}

impl Rate {
    /// `None` for no bound.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Rate {
        Rate(Mutex::new(Bucket {
            bytes_per_second,
            bytes: 0.0,
            filled_at: Instant::now(),
        }))
    }

    /// From here on this holds, also for the uploads that are under way.
    pub(super) fn set(&self, bytes_per_second: Option<u64>) {
        let mut bucket = lock(&self.0);
        bucket.bytes_per_second = bytes_per_second;
        // What was taken at the old rate would be waited for at the new one.
        bucket.bytes = 0.0;
    }

    /// How many of `bytes` may leave now; or how long to wait before the next question.
    pub(super) fn take(&self, bytes: usize) -> Result<usize, Duration> {
        self.take_at(bytes, Instant::now())
    }

    fn take_at(&self, bytes: usize, now: Instant) -> Result<usize, Duration> {
        let mut bucket = lock(&self.0);
        let Some(bytes_per_second) = bucket.bytes_per_second else {
            return Ok(bytes);
        };
        let rate = bytes_per_second as f64;
        let passed = now.saturating_duration_since(bucket.filled_at);
        bucket.filled_at = now;
        if passed > HOLDS {
            bucket.bytes = bucket.bytes.min(0.0);
        } else {
            let filled = bucket.bytes + passed.as_secs_f64() * rate;
            bucket.bytes = filled.min(HOLDS.as_secs_f64() * rate);
        }
        if bucket.bytes <= 0.0 {
            let wait = -bucket.bytes / rate;
            return Err(Duration::from_secs_f64(wait.max(0.001)));
        }
        let part = (rate * PART.as_secs_f64()) as u64;
        let part = usize::try_from(part.max(PART_BYTES_MIN)).unwrap_or(usize::MAX);
        let count = bytes.min(part);
        bucket.bytes -= count as f64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What leaves in this time at a rate, in bodies of this size with a pause between them.
    fn left(rate: &Rate, begin: Instant, time: Duration, body: usize, pause: Duration) -> u64 {
        let mut now = begin;
        let mut sum = 0;
        while now < begin + time {
            let mut left = body;
            while left > 0 && now < begin + time {
                match rate.take_at(left, now) {
                    Ok(count) => {
                        left -= count;
                        sum += count as u64;
                    }
                    Err(wait) => now += wait,
                }
            }
            now += pause;
        }
        sum
    }

    #[test]
    fn the_rate_holds_within_a_twentieth_over_ten_seconds() {
        let time = Duration::from_secs(10);
        for bytes_per_second in [10_000, 1_000_000, 125_000_000] {
            for body in [2_000, 300_000, usize::MAX] {
                let rate = Rate::new(Some(bytes_per_second));
                let begin = Instant::now() + Duration::from_secs(60);
                let sent = left(&rate, begin, time, body, Duration::ZERO);
                let ratio = sent as f64 / (bytes_per_second * 10) as f64;
                assert!(
                    (0.95..=1.05).contains(&ratio),
                    "{bytes_per_second} {body}: {ratio}"
                );
            }
        }
    }

    #[test]
    fn a_short_stall_is_made_up_for_and_a_long_one_is_not() {
        let rate = Rate::new(Some(1_000_000));
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let before = left(&rate, begin, second, usize::MAX, Duration::ZERO);
        // Half a second without a question leaves half a second's bytes.
        let later = begin + second + second / 2;
        let after = left(&rate, later, second, usize::MAX, Duration::ZERO);
        assert!((1_400_000..=1_600_000).contains(&after), "{before} {after}");
        let much_later = later + second * 60;
        let after = left(&rate, much_later, second, usize::MAX, Duration::ZERO);
        assert!((900_000..=1_100_000).contains(&after), "{after}");
    }

    #[test]
    fn a_new_rate_holds_at_once_and_nothing_is_owed_from_the_old_one() {
        let begin = Instant::now() + Duration::from_secs(60);
        let second = Duration::from_secs(1);
        let rate = Rate::new(Some(125_000_000));
        left(&rate, begin, second, usize::MAX, Duration::ZERO);
        rate.set(Some(20_000));
        let sent = left(&rate, begin + second, second * 2, 100_000, Duration::ZERO);
        assert!((36_000..=44_000).contains(&sent), "{sent}");
        rate.set(None);
        assert_eq!(rate.take(1 << 30), Ok(1 << 30));
    }
}
