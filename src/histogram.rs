//! A histogram of durations that any thread may add to: two atomic additions, no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts durations in `N` buckets with upper bounds in milliseconds. A duration above the last bound
/// is in [`Reading::count`] and [`Reading::sum`] alone.
pub(crate) struct Histogram<const N: usize> {
    bounds_ms: [u64; N],
    /// Not cumulative: each duration is counted in one bucket.
    buckets: [AtomicU64; N],
    /// Durations above the last bound.
    beyond: AtomicU64,
    sum_us: AtomicU64,
}

/// A histogram at one moment. Its buckets are cumulative, as in the exposition format of Prometheus.
pub(crate) struct Reading {
    /// Each upper bound in milliseconds, with the number of durations that were not longer.
    pub buckets: Vec<(u64, u64)>,
    /// The number of all durations.
    pub count: u64,
    pub sum: Duration,
}

impl<const N: usize> Histogram<N> {
    /// `bounds_ms` ascend.
    pub(crate) const fn new(bounds_ms: [u64; N]) -> Histogram<N> {
        Histogram {
            bounds_ms,
            buckets: [const { AtomicU64::new(0) }; N],
            beyond: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
        }
    }

    pub(crate) fn add(&self, time: Duration) {
        let is_within = |bound_ms: &u64| time <= Duration::from_millis(*bound_ms);
        let bucket = match self.bounds_ms.iter().position(is_within) {
            Some(index) => &self.buckets[index],
            None => &self.beyond,
        };
        bucket.fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Reading {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(N);
        for (bound_ms, bucket) in self.bounds_ms.iter().zip(&self.buckets) {
            count += bucket.load(Ordering::Relaxed);
            buckets.push((*bound_ms, count));
        }
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
