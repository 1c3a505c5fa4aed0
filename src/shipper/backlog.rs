//! The waiting episodes that this process knows, and which of them is next.
//!
//! The folders are the truth: each scan is folded in, and an episode that is gone is forgotten. An
//! episode whose `meta.json` has another identity than before is a new one.
//!
//! Small episodes go before large ones, so that a day's worth of small ones does not wait for one
//! giant; but an episode that has waited an hour goes first, so that the giant is sent too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::entry::Entry;
use super::queue::Identity;
use crate::names::{CommitHash, EpisodeId};

#[derive(Default)]
pub(super) struct Backlog {
    entries: BTreeMap<EpisodeId, Entry>,
}

impl Backlog {
    /// Forgets the episodes that are gone or were replaced. Returns the new ones.
    pub(super) fn fold_in(
        &mut self,
        finished: Vec<(EpisodeId, Identity)>,
    ) -> Vec<(EpisodeId, Identity)> {
        let there: BTreeMap<EpisodeId, Identity> = finished.into_iter().collect();
        self.entries
            .retain(|id, entry| there.get(id) == Some(&entry.identity));
        there
            .into_iter()
            .filter(|(id, _)| !self.entries.contains_key(id))
            .collect()
    }

    /// Adds an episode that was found, or returns one that was taken and has not left.
    pub(super) fn put(&mut self, entry: Entry) {
        self.entries.insert(entry.id.clone(), entry);
    }

    /// Takes an episode out, for the step that works on it; `None` if a scan has forgotten it.
    pub(super) fn take(&mut self, id: &EpisodeId) -> Option<Entry> {
        self.entries.remove(id)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn commits(&self) -> BTreeSet<CommitHash> {
        self.entries.values().filter_map(Entry::commit).collect()
    }

    /// Makes every episode due now.
    pub(super) fn retry_now(&mut self) {
        for entry in self.entries.values_mut() {
            entry.retry_now();
        }
    }

    /// The episode to move now, of those that may.
    pub(super) fn next(&self, now: Instant, may_move: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.entries()
            .filter(|entry| entry.backoff().is_due(now) && may_move(entry))
            .min_by_key(|entry| entry.turn(now))
    }

    /// The first `most` of the episodes that may move now, in their order.
    pub(super) fn in_turn(
        &self,
        now: Instant,
        most: usize,
        may_move: impl Fn(&Entry) -> bool,
    ) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self
            .entries()
            .filter(|entry| entry.backoff().is_due(now) && may_move(entry))
            .collect();
        // Stable, as `next` takes the first of equals.
        entries.sort_by_key(|entry| entry.turn(now));
        entries.truncate(most);
        entries
    }

    /// When the first of the deferred ones is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries
            .values()
            .filter_map(|entry| entry.backoff().not_before())
            .min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::episode::{Inspected, Meta};

    fn identity(inode: u64) -> Identity {
        Identity {
            inode,
            modified_ns: 0,
            bytes: 10,
        }
    }

    fn id(text: &str) -> EpisodeId {
        EpisodeId::parse(text).unwrap()
    }

    fn inspected(bytes: u64) -> Inspected {
        let commit = CommitHash::parse(&"a".repeat(40)).unwrap();
        let dirty = None;
        Inspected {
            meta: Meta { commit, dirty },
            bytes,
        }
    }

    /// Ids with their sizes and for how many seconds they have waited.
    fn backlog(start: Instant, episodes: &[(&str, u64, u64)]) -> (Backlog, Instant) {
        let mut backlog = Backlog::default();
        let now = start + Duration::from_secs(1_000_000);
        for (name, bytes, waited_s) in episodes {
            let first_seen = now - Duration::from_secs(*waited_s);
            let mut entry = Entry::new(id(name), identity(1), first_seen);
            entry.set_inspected(inspected(*bytes), None);
            backlog.put(entry);
        }
        (backlog, now)
    }

    fn next(backlog: &Backlog, now: Instant) -> Option<EpisodeId> {
        backlog.next(now, |_| true).map(|entry| entry.id.clone())
    }

    fn order(mut backlog: Backlog, now: Instant) -> String {
        let at_once = backlog.in_turn(now, usize::MAX, |_| true);
        let at_once: Vec<String> = at_once.iter().map(|entry| entry.id.to_string()).collect();
        let mut order = Vec::new();
        while let Some(next) = next(&backlog, now) {
            backlog.take(&next);
            order.push(next.to_string());
        }
        assert_eq!(at_once, order);
        order.join(" ")
    }

    #[test]
    fn small_before_large_but_an_hour_is_enough() {
        let (backlog, now) = backlog(
            Instant::now(),
            &[
                ("big", 900, 10),
                ("small", 1, 0),
                ("giant", 9000, 3600),
                ("old", 500, 7200),
                ("mid", 50, 3599),
            ],
        );
        assert_eq!(order(backlog, now), "old giant small mid big");
    }

    #[test]
    fn one_that_fails_does_not_block_the_next() {
        let (mut backlog, now) = backlog(Instant::now(), &[("a", 1, 7200), ("b", 2, 0)]);
        let wait = Duration::from_secs(3600);
        let mut failed = backlog.take(&id("a")).unwrap();
        failed.fail(Some(wait), "it failed");
        backlog.put(failed);
        let soon = Instant::now();
        assert_eq!(next(&backlog, soon), Some(id("b")));
        assert!(backlog.next_due().is_some_and(|due| due > soon));
        let small = backlog.next(now, |entry| entry.bytes() < 2);
        assert_eq!(small.map(|entry| &entry.id), Some(&id("a")));
        backlog.retry_now();
        assert_eq!(next(&backlog, soon), Some(id("a")));
    }

    #[test]
    fn a_scan_forgets_what_is_gone_and_what_became_another() {
        let (mut backlog, _) = backlog(
            Instant::now(),
            &[("gone", 1, 0), ("same", 1, 0), ("other", 1, 0)],
        );
        let new = backlog.fold_in(vec![
            (id("same"), identity(1)),
            (id("other"), identity(2)),
            (id("new"), identity(3)),
        ]);
        assert_eq!(new, [(id("new"), identity(3)), (id("other"), identity(2))]);
        assert_eq!(backlog.len(), 1);
    }
}
