//! Refusals as a person asks after them: how often one host was refused for one reason, and since when.
//!
//! 1. A run goes on until a day has passed without a refusal of its kind. Only the refusals themselves decide
//!    that, so the runs are the same when they are recalled from `refusals.jsonl` after a restart, as far as
//!    that has each refusal.
//! 2. The runs of a host are its own: no other name can push them out.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock;
use crate::receiver::refused_upload::RefusedUpload;

/// The most runs that are kept of one host.
pub(crate) const RUNS_OF_HOST_MAX: usize = 8;
/// The most runs of requests that named no host, each of one address.
pub(crate) const RUNS_WITHOUT_HOST_MAX: usize = 16;
/// A refusal that comes later than this after the last one of its kind begins another run.
const PAUSE_MAX_S: u64 = 86_400;

/// Refusals for one reason: of one host, or of one address that named none.
#[derive(Clone, Debug)]
pub(crate) struct RefusalRun {
    pub newest: Arc<RefusedUpload>,
    /// Grows from refusal to refusal, over all hosts: it orders runs, since a clock may be wrong.
    pub newest_number: u64,
    /// The time of the first, as its line has it.
    pub since: String,
    pub count: u64,
}

impl RefusalRun {
    fn goes_on_with(&self, refused: &RefusedUpload) -> bool {
        let newest = &*self.newest;
        let is_of_kind = newest.status == refused.status
            && newest.reason == refused.reason
            && newest.host == refused.host
            && (newest.host.is_some() || newest.peer == refused.peer);
        let newest_s = clock::parse_rfc3339(&newest.at);
        let pause_s = clock::parse_rfc3339(&refused.at)
            .zip(newest_s)
            .map_or(0, |(at_s, newest_s)| at_s.saturating_sub(newest_s));
        is_of_kind && pause_s <= PAUSE_MAX_S
    }
}

/// Some runs, the newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefusalRuns(VecDeque<RefusalRun>);

impl RefusalRuns {
    /// Adds a refusal, which is the newest of all. At most `runs_max` runs are kept.
    pub(super) fn add(&mut self, refused: &Arc<RefusedUpload>, number: u64, runs_max: usize) {
        let place = self.0.iter().position(|run| run.goes_on_with(refused));
        let before = place.and_then(|place| self.0.remove(place));
        let run = match before {
            Some(run) => RefusalRun {
                newest: Arc::clone(refused),
                newest_number: number,
                count: run.count.saturating_add(1),
                since: run.since,
            },
            None => RefusalRun {
                newest: Arc::clone(refused),
                newest_number: number,
                count: 1,
                since: refused.at.clone(),
            },
        };
        if self.0.len() >= runs_max {
            self.0.pop_front();
        }
        self.0.push_back(run);
    }

    /// The newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &RefusalRun> {
        self.0.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(at: &str, peer: &str, host: Option<&str>, reason: &str) -> Arc<RefusedUpload> {
        let refused = serde_json::json!({
            "at": at, "peer": peer, "host": host, "status": 412, "reason": reason, "why": "",
        });
        Arc::new(serde_json::from_value(refused).unwrap())
    }

    fn shown(runs: &RefusalRuns) -> Vec<(String, u64, String, String)> {
        let of = |run: &RefusalRun| {
            let newest = &run.newest;
            let reason = newest.reason.clone();
            (reason, run.count, run.since.clone(), newest.at.clone())
        };
        runs.iter().map(of).collect()
    }

    #[test]
    fn refusals_of_one_reason_are_one_run_until_a_day_without() {
        let mut runs = RefusalRuns::default();
        let times = [
            ("2026-11-27T03:38:00Z", "a"),
            ("2026-11-27T04:00:00Z", "b"),
            ("2026-11-28T03:38:00Z", "a"),
            // Its clock went back: that is no pause.
            ("2026-11-28T03:00:00Z", "a"),
            ("2026-11-29T04:00:01Z", "b"),
        ];
        for (number, (at, reason)) in (1..).zip(times) {
            runs.add(&refused(at, "10.8.0.1", Some("lab-1"), reason), number, 8);
        }
        let run = |reason: &str, count, since: &str, newest: &str| {
            let [since, newest] = [since, newest].map(str::to_owned);
            (reason.to_owned(), count, since, newest)
        };
        assert_eq!(
            shown(&runs),
            [
                run("b", 1, "2026-11-29T04:00:01Z", "2026-11-29T04:00:01Z"),
                run("a", 3, "2026-11-27T03:38:00Z", "2026-11-28T03:00:00Z"),
                run("b", 1, "2026-11-27T04:00:00Z", "2026-11-27T04:00:00Z"),
            ]
        );
        let numbers: Vec<u64> = runs.iter().map(|run| run.newest_number).collect();
        assert_eq!(numbers, [5, 4, 2]);
    }

    #[test]
    fn without_a_host_the_address_counts_and_the_oldest_run_goes() {
        let mut runs = RefusalRuns::default();
        let at = "2026-11-27T03:38:00Z";
        for peer in ["10.8.0.1", "10.8.0.2", "10.8.0.1", "10.8.0.3"] {
            runs.add(&refused(at, peer, None, "bad-name"), 1, 2);
        }
        let peers: Vec<String> = runs.iter().map(|run| run.newest.peer.to_string()).collect();
        assert_eq!(peers, ["10.8.0.3", "10.8.0.1"]);
        let counts: Vec<u64> = runs.iter().map(|run| run.count).collect();
        assert_eq!(counts, [1, 2]);
    }
}
