//! A histogram of durations that any thread may add to: two atomic additions, no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often something took how long. `N` buckets with upper bounds in milliseconds; what takes
/// longer than the last counts in all only.
pub struct Histogram<const N: usize> {
    bounds_ms: [u64; N],
    /// Not cumulative; the last is for what is beyond all bounds.
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    sum_us: AtomicU64,
}

/// A histogram at one moment, as it is told: each bucket counts all that took at most its bound.
pub struct Reading {
    /// Upper bound in milliseconds, and how many took no longer.
    pub buckets: Vec<(u64, u64)>,
    pub count: u64,
    pub sum: Duration,
}

impl<const N: usize> Histogram<N> {
    /// `bounds_ms` ascend.
    pub const fn new(bounds_ms: [u64; N]) -> Histogram<N> {
        Histogram {
            bounds_ms,
            buckets: [const { AtomicU64::new(0) }; N],
            beyond: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
        }
    }

    pub fn add(&self, time: Duration) {
        let place = self
            .bounds_ms
            .iter()
            .position(|&bound_ms| time <= Duration::from_millis(bound_ms));
        let bucket = place.map_or(&self.beyond, |place| &self.buckets[place]);
        bucket.fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn read(&self) -> Reading {
        let mut count = 0;
        let counted = |(&bound_ms, bucket): (&u64, &AtomicU64)| {
            count += bucket.load(Ordering::Relaxed);
            (bound_ms, count)
        };
        let buckets = self
            .bounds_ms
            .iter()
            .zip(&self.buckets)
            .map(counted)
            .collect();
        Reading {
            buckets,
            count: count + self.beyond.load(Ordering::Relaxed),
            sum: Duration::from_micros(self.sum_us.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new([1, 10, 100]);
        for us in [0, 1000, 1001, 50_000, 2_000_000] {
            histogram.add(Duration::from_micros(us));
        }
        let reading = histogram.read();
        assert_eq!(reading.buckets, [(1, 2), (10, 3), (100, 4)]);
        assert_eq!(reading.count, 5);
        assert_eq!(reading.sum, Duration::from_micros(2_052_001));
    }
}
