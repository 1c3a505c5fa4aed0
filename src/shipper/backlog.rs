//! The waiting episodes that this process knows, and which of them is next.
//!
//! The folders are the truth: each scan is folded in, and an episode that is gone is forgotten. An
//! episode whose `meta.json` has another identity than before is a new one.
//!
//! Small episodes go before large ones, so that a day's worth of small ones does not wait for one
//! giant; but an episode that has waited an hour goes first, so that the giant is sent too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::outbox::Seal;
use super::queue::Identity;
use crate::episode::Meta;
use crate::names::{CommitHash, EpisodeId};

/// An episode that has waited this long goes before the small ones.
const PATIENCE: Duration = Duration::from_secs(3600);

/// One finished episode that has not left yet.
pub(super) struct Entry {
    pub identity: Identity,
    /// Of its files, unpacked; 0 until its `meta.json` could be read.
    pub bytes: u64,
    /// What its `meta.json` says; `None` until it could be read.
    pub meta: Option<Meta>,
    /// Its tarball in outbox/, if it has one.
    pub seal: Option<Seal>,
    /// The episode changed after it was sent: the receiver has other bytes.
    pub changed_after_sending: bool,
    /// What went wrong with it the last time.
    pub why: Option<String>,
    /// Its own faults.
    pub backoff: Backoff,
    first_seen: Instant,
}

impl Entry {
    pub(super) fn new(identity: Identity, first_seen: Instant) -> Entry {
        Entry {
            identity,
            bytes: 0,
            meta: None,
            seal: None,
            changed_after_sending: false,
            why: None,
            backoff: Backoff::default(),
            first_seen,
        }
    }

    pub(super) fn commit(&self) -> Option<CommitHash> {
        self.meta.map(|meta| meta.commit)
    }

    /// The size of the tarball; before it is packed, the size of the files.
    pub(super) fn bytes_to_send(&self) -> u64 {
        self.seal.map_or(self.bytes, |seal| seal.bytes)
    }
}

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

    pub(super) fn insert(&mut self, id: EpisodeId, entry: Entry) {
        self.entries.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: &EpisodeId) {
        self.entries.remove(id);
    }

    pub(super) fn get_mut(&mut self, id: &EpisodeId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    pub(super) fn get(&self, id: &EpisodeId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&EpisodeId, &Entry)> {
        self.entries.iter()
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
            entry.backoff.retry_now();
        }
    }

    /// The episode to move now, of those that may.
    pub(super) fn next(
        &self,
        now: Instant,
        may_move: impl Fn(&Entry) -> bool,
    ) -> Option<EpisodeId> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.backoff.is_due(now) && may_move(entry))
            .min_by_key(|(_, entry)| entry.turn(now))
            .map(|(id, _)| id.clone())
    }

    /// When the first of the deferred ones is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries
            .values()
            .filter_map(|entry| entry.backoff.not_before())
            .min()
    }
}

/// Ordered as the episodes are sent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    Waited(Instant),
    Small(u64),
}

impl Entry {
    pub(super) fn turn(&self, now: Instant) -> Turn {
        if now.saturating_duration_since(self.first_seen) >= PATIENCE {
            return Turn::Waited(self.first_seen);
        }
        // The unpacked size throughout: a packed giant must not pass an unpacked dwarf.
        Turn::Small(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Ids with their sizes and for how many seconds they have waited.
    fn backlog(start: Instant, episodes: &[(&str, u64, u64)]) -> (Backlog, Instant) {
        let mut backlog = Backlog::default();
        let now = start + Duration::from_secs(1_000_000);
        for (name, bytes, waited_s) in episodes {
            let mut entry = Entry::new(identity(1), now - Duration::from_secs(*waited_s));
            entry.bytes = *bytes;
            backlog.insert(id(name), entry);
        }
        (backlog, now)
    }

    fn order(mut backlog: Backlog, now: Instant) -> String {
        let mut order = Vec::new();
        while let Some(next) = backlog.next(now, |_| true) {
            backlog.remove(&next);
            order.push(next.to_string());
        }
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
        backlog.get_mut(&id("a")).unwrap().backoff.fail(Some(wait));
        let soon = Instant::now();
        assert_eq!(backlog.next(soon, |_| true), Some(id("b")));
        assert!(backlog.next_due().is_some_and(|due| due > soon));
        assert_eq!(backlog.next(now, |entry| entry.bytes < 2), Some(id("a")));
        backlog.retry_now();
        assert_eq!(backlog.next(soon, |_| true), Some(id("a")));
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
