//! Commits that were taken back by a force-push, as Forgejo's lists show. If a force-push only cuts the
//! end of a branch, a checkout from before the push includes the new head, and so seems to be ahead of
//! it. When Forgejo fails, this list shows that such a checkout is out of date.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::window::Window;
use crate::names::CommitHash;

/// The most commits that are kept; the oldest are forgotten.
const COMMITS_MAX: usize = 1000;

/// In the order of their withdrawal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Withdrawn(Vec<CommitHash>);

impl Withdrawn {
    /// Notes the commits of our window that are missing in Forgejo's new one.
    pub(super) fn note(&mut self, ours: &Window, forgejos: &Window) {
        let is_there = |commit: &CommitHash| forgejos.position(commit).is_some();
        self.0.retain(|commit| !is_there(commit)); // pushed again
        // If the two windows share no commit, a long push may have left ours behind. Then our commits
        // are older than the new head, and `returns_in` does not look there.
        let gone = ours.commits().iter().take_while(|commit| !is_there(commit));
        self.0.extend(gone);
        self.0.drain(..self.0.len().saturating_sub(COMMITS_MAX));
    }

    /// Whether a listing, newest first, has any of these commits before `head`.
    pub(super) fn returns_in(&self, newest_first: &[CommitHash], head: CommitHash) -> bool {
        let withdrawn: HashSet<&CommitHash> = self.0.iter().collect();
        let mut newer = newest_first.iter().take_while(|commit| **commit != head);
        newer.any(|commit| withdrawn.contains(commit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Source;

    fn commit(n: u32) -> CommitHash {
        CommitHash::parse(&format!("{n:040x}")).unwrap()
    }

    fn commits(numbers: impl IntoIterator<Item = u32>) -> Vec<CommitHash> {
        numbers.into_iter().map(commit).collect()
    }

    fn window(numbers: impl IntoIterator<Item = u32>) -> Window {
        Window::new(commits(numbers), 10_000, Source::Forgejo).unwrap()
    }

    #[test]
    fn what_was_cut_off_is_known_and_what_was_outgrown_is_harmless() {
        let ours = window([5, 4, 3, 2, 1]);
        for (forgejos, listing, returns) in [
            (vec![6, 5, 4, 3, 2], vec![7, 6, 5, 4, 3], false), // a push, and a pull of a later one
            (vec![3, 2, 1], vec![5, 4, 3, 2, 1], true),        // cut
            (vec![3, 2, 1], vec![9, 3, 2, 1], false),          // cut, and pulled since
            (vec![8, 3, 2, 1], vec![5, 4, 3, 2, 1], true),     // others in their place
            (vec![20, 19, 18], vec![21, 20, 19], false),       // a long push
            (vec![20, 19, 18], vec![20, 19, 18, 5], false),    // and a wider look at it
        ] {
            let mut withdrawn = Withdrawn::default();
            withdrawn.note(&ours, &window(forgejos.clone()));
            let head = commit(forgejos[0]);
            let found = withdrawn.returns_in(&commits(listing.clone()), head);
            assert_eq!(found, returns, "{forgejos:?} {listing:?}");
        }
    }

    #[test]
    fn what_is_pushed_again_is_forgotten_and_the_rest_has_a_bound() {
        let mut withdrawn = Withdrawn::default();
        let long = window([5, 4, 3]);
        let cut = window([3]);
        withdrawn.note(&long, &cut);
        assert!(withdrawn.returns_in(&commits([5, 4, 3]), commit(3)));
        withdrawn.note(&cut, &long);
        assert!(!withdrawn.returns_in(&commits([6, 5, 4, 3]), commit(3)));

        withdrawn.note(&window(10..10_000), &window([1]));
        assert_eq!(withdrawn.0.len(), COMMITS_MAX);
    }
}
