//! The counters of requests: atomic additions, no lock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::histogram::Histogram;
use crate::receiver::refusal::Refusal;
use crate::refusal::ENTRIES;

const REASONS: usize = ENTRIES.len();

pub(super) struct Counters {
    /// By the place of the reason in [`ENTRIES`].
    refused_uploads: [AtomicU64; REASONS],
    refused_requests: [AtomicU64; REASONS],
    /// From the judged head to the answer, of uploads that were stored.
    pub upload_seconds: Histogram<14>,
}

impl Counters {
    pub(super) fn new() -> Counters {
        Counters {
            refused_uploads: [const { AtomicU64::new(0) }; REASONS],
            refused_requests: [const { AtomicU64::new(0) }; REASONS],
            upload_seconds: Histogram::new([
                5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000, 30_000, 120_000, 600_000,
                3_600_000,
            ]),
        }
    }

    pub(super) fn refused_upload(&self, refusal: &Refusal) {
        count(&self.refused_uploads, refusal);
    }

    pub(super) fn refused_request(&self, refusal: &Refusal) {
        count(&self.refused_requests, refusal);
    }

    /// Reason, uploads, other requests.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = self.refused_uploads.iter().zip(&self.refused_requests);
        let named = ENTRIES.iter().zip(counts);
        named.map(move |(entry, (uploads, requests))| (entry.name, read(uploads), read(requests)))
    }
}

fn count(counts: &[AtomicU64; REASONS], refusal: &Refusal) {
    counts[refusal.kind().index()].fetch_add(1, Ordering::Relaxed);
}
