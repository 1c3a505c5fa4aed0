//! The window: the commits that get in, newest first, and a table that finds one at once.
//!
//! A window is never empty and never changes: the gate replaces it by another. So the type itself
//! keeps an empty answer of a source from becoming "reject all".

use std::collections::HashSet;

use crate::names::CommitHash;
use crate::wire::Source;

/// The newest commits of the branch, without repetition.
#[derive(Debug)]
pub struct Window {
    commits: Box<[CommitHash]>,
    /// A hash table with open addressing, at most half full; the hash is a commit's own first bytes.
    /// Each place holds a commit's position, or 0 if it is free.
    places: Box<[u32]>,
    source: Source,
}

impl Window {
    /// A window of the first `size` different commits of `newest_first`; `None` if there are none.
    pub fn new(
        newest_first: impl IntoIterator<Item = CommitHash>,
        size: u32,
        source: Source,
    ) -> Option<Window> {
        let mut seen = HashSet::new();
        let commits: Box<[CommitHash]> = newest_first
            .into_iter()
            .filter(|commit| seen.insert(*commit))
            .take(size as usize)
            .collect();
        if commits.is_empty() {
            return None;
        }
        let mut places = vec![0; (2 * commits.len()).next_power_of_two()].into_boxed_slice();
        for (commit, position) in commits.iter().zip(1..) {
            let mut place = first_place(commit, places.len());
            while places[place] != 0 {
                place = (place + 1) % places.len();
            }
            places[place] = position;
        }
        Some(Window {
            commits,
            places,
            source,
        })
    }

    /// The window while Forgejo fails: the local repository's list, then those of our commits that it
    /// lacks, so that a shallow checkout does not shrink the window.
    pub fn fallback(git: &[CommitHash], ours: Option<&Window>, size: u32) -> Option<Window> {
        let ours = ours.map_or(&[][..], Window::commits);
        Window::new(git.iter().chain(ours).copied(), size, Source::GitFallback)
    }

    /// The position of a commit, 1 being the head. Allocates nothing; since half of the table is empty,
    /// a search is short.
    pub fn position(&self, commit: &CommitHash) -> Option<u32> {
        let mut place = first_place(commit, self.places.len());
        loop {
            match self.places[place] {
                0 => return None,
                position if self.commits[position as usize - 1] == *commit => {
                    return Some(position);
                }
                _ => place = (place + 1) & (self.places.len() - 1),
            }
        }
    }

    pub fn head(&self) -> CommitHash {
        self.commits[0]
    }

    /// Newest first.
    pub fn commits(&self) -> &[CommitHash] {
        &self.commits
    }

    pub fn source(&self) -> Source {
        self.source
    }

    /// Whether both windows give the same answers to everybody.
    pub fn is_same(&self, other: &Window) -> bool {
        self.source == other.source && self.commits == other.commits
    }
}

/// `places` is a power of two.
fn first_place(commit: &CommitHash, places: usize) -> usize {
    commit.first_bytes() as usize & (places - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    /// Commits whose first bytes are all alike, the worst case for the table, or spread.
    fn commits(count: usize, alike: bool) -> Vec<CommitHash> {
        let text = |n: usize| {
            if alike {
                return format!("{n:0>40x}");
            }
            let spread = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            format!("{:0<40}", format!("{spread:016x}"))
        };
        (0..count)
            .map(|n| CommitHash::parse(&text(n)).unwrap())
            .collect()
    }

    #[test]
    fn each_commit_has_its_position_and_others_none() {
        for alike in [false, true] {
            for size in [1, 2, 3, 100, 1000] {
                let all = commits(2 * size, alike);
                let (inside, outside) = all.split_at(size);
                let window = Window::new(inside.to_vec(), 10_000, Source::Forgejo).unwrap();
                for (commit, position) in inside.iter().zip(1..) {
                    assert_eq!(window.position(commit), Some(position));
                }
                assert!(
                    outside
                        .iter()
                        .all(|commit| window.position(commit).is_none())
                );
                assert_eq!(window.head(), inside[0]);
            }
        }
    }

    #[test]
    fn a_window_is_cut_has_no_doubles_and_is_never_empty() {
        let three = commits(3, false);
        let doubled = [three[0], three[0], three[1], three[0], three[2]];
        let window = Window::new(doubled, 2, Source::Git).unwrap();
        assert_eq!(window.commits(), &three[..2]);
        assert!(Window::new([], 2, Source::Git).is_none());
        assert!(Window::fallback(&[], None, 2).is_none());
    }

    #[test]
    fn a_shallow_checkout_does_not_shrink_the_window() {
        let all = commits(6, false);
        let ours = Window::new(all[1..5].to_vec(), 4, Source::Forgejo).unwrap();
        let merged = Window::fallback(&all[..2], Some(&ours), 4).unwrap();
        assert_eq!(merged.commits(), &all[..4]);
        assert_eq!(merged.source(), Source::GitFallback);
    }

    /// Lists with repetitions and of any length, compared with a plain model of a window.
    #[test]
    fn a_window_is_its_list_without_repetition_cut_to_size() {
        for seed in 0..300 {
            let mut random = Seeded::new(seed);
            let known = commits(1 + random.below(80) as usize, seed % 3 == 0);
            let mut list = |most: u64| -> Vec<CommitHash> {
                (0..random.below(most))
                    .map(|_| random.one_of(&known))
                    .collect()
            };
            let ours = list(120);
            let git = list(60);
            let size = 1 + (seed as u32 * 7) % 50;
            let model = |lists: [&[CommitHash]; 2]| {
                let mut model: Vec<CommitHash> = Vec::new();
                for commit in lists.concat() {
                    if !model.contains(&commit) && model.len() < size as usize {
                        model.push(commit);
                    }
                }
                model
            };
            let window = Window::new(ours.iter().copied(), size, Source::Forgejo);
            holds(window.as_ref(), &model([&ours, &[]]), &known);
            let cut = window.as_ref().map_or(&[][..], Window::commits);
            let merged = Window::fallback(&git, window.as_ref(), size);
            holds(merged.as_ref(), &model([&git, cut]), &known);
        }
    }

    fn holds(window: Option<&Window>, model: &[CommitHash], known: &[CommitHash]) {
        let Some(window) = window else {
            return assert!(model.is_empty());
        };
        assert_eq!((window.commits(), window.head()), (model, model[0]));
        for commit in known {
            let place = model.iter().position(|one| one == commit);
            let position = place.map(|place| place as u32 + 1);
            assert_eq!(window.position(commit), position);
        }
    }
}
