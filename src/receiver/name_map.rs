//! Which rows of the index may be of a name, in 16 bytes an episode: a keyed 64-bit hash of the name
//! and the row's offset.
//!
//! 1. Equal hashes are all kept; the caller compares each row with the name.
//! 2. The newest entries, an eighth of all at most, lie in a tree that takes more than twice as much
//!    memory, until they are merged into the sorted array.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use super::hash_sort;
use crate::wire::Slot;

/// So many new rows are not worth a merge.
const NEW_MIN: usize = 4096;

/// Offsets of rows, by the hash of their name.
pub(in crate::receiver) struct NameMap {
    hasher: RandomState,
    /// Hash and offset, sorted: exactly 16 bytes each.
    old: Box<[(u64, u64)]>,
    /// Rows that came since, sorted too; all of them lie behind the old ones in the file.
    new: BTreeSet<(u64, u64)>,
}

impl NameMap {
    /// `entries` are hashes (by [`hash`] with the same `hasher`) and offsets, in any order.
    pub(in crate::receiver) fn new(hasher: RandomState, mut entries: Vec<(u64, u64)>) -> NameMap {
        hash_sort::sort(&mut entries);
        NameMap {
            hasher,
            old: entries.into_boxed_slice(),
            new: BTreeSet::new(),
        }
    }

    pub(in crate::receiver) fn hash(&self, slot: &Slot) -> u64 {
        hash(&self.hasher, slot.host.as_str(), slot.episode.as_str())
    }

    pub(in crate::receiver) fn count(&self) -> usize {
        self.old.len() + self.new.len()
    }

    /// Merges when it is due: a row is moved about eight times in all, however many there are, and
    /// readers wait some milliseconds for a million rows.
    pub(in crate::receiver) fn enter(&mut self, hash: u64, offset: u64) {
        self.new.insert((hash, offset));
        if NEW_MIN.max(self.old.len() / 8) < self.new.len() {
            self.old = merged(&self.old, &self.new);
            self.new.clear();
        }
    }

    /// The offsets of a hash, ascending: the oldest row first.
    pub(in crate::receiver) fn of_hash(&self, hash: u64) -> Vec<u64> {
        let first = self.old.partition_point(|entry| entry.0 < hash);
        let old = self.old[first..].iter().take_while(|entry| entry.0 == hash);
        let new = self.new.range((hash, 0)..=(hash, u64::MAX));
        old.chain(new).map(|entry| entry.1).collect()
    }
}

fn merged(old: &[(u64, u64)], new: &BTreeSet<(u64, u64)>) -> Box<[(u64, u64)]> {
    let mut all = Vec::with_capacity(old.len() + new.len());
    let mut old = old;
    for entry in new {
        let before = old.partition_point(|one| one < entry);
        all.extend_from_slice(&old[..before]);
        all.push(*entry);
        old = &old[before..];
    }
    all.extend_from_slice(old);
    all.into_boxed_slice()
}

pub(in crate::receiver) fn hash(hasher: &RandomState, host: &str, episode: &str) -> u64 {
    hasher.hash_one((host, episode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_new_rows_are_found_and_take_little_more_than_the_old_ones() {
        let mut names = NameMap::new(RandomState::new(), vec![(7, 0), (7, 1), (9, 2)]);
        let mut dice = crate::seeded::Seeded::new(490);
        let mut all: BTreeSet<(u64, u64)> = names.old.iter().copied().collect();
        for offset in 3..5 * NEW_MIN as u64 * 8 {
            // Some hashes come twice.
            let hash = dice.below(1 << 20);
            names.enter(hash, offset);
            all.insert((hash, offset));
            assert!(names.new.len() <= NEW_MIN.max(names.old.len() / 8));
        }
        assert_eq!(names.old.len() + names.new.len(), all.len());
        assert!(names.old.is_sorted() && NEW_MIN < names.old.len());
        for hash in (0..1 << 20).step_by(97).chain([7, 9]) {
            let wanted = all.range((hash, 0)..=(hash, u64::MAX)).map(|entry| entry.1);
            assert_eq!(names.of_hash(hash), wanted.collect::<Vec<_>>());
        }
    }
}
