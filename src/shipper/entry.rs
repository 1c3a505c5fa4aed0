//! One finished episode that has not left yet: how far it has come, and its own faults.
//!
//! An episode is found, then its `meta.json` is read, then it is packed. The step that works on an
//! episode owns its entry: a step that moves the episode out of episodes/ uses the entry up, and
//! every other step returns the entry to the backlog.

use std::time::{Duration, Instant};

use super::outbox::Seal;
use super::queue::Identity;
use crate::backoff::Backoff;
use crate::episode::{Inspected, Meta};
use crate::names::{CommitHash, EpisodeId};

/// An episode that has waited this long goes before the small ones.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How far an episode has come.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// Its `meta.json` could not be read yet.
    Found,
    /// Its commit and its size are known, and it has no tarball.
    Recorded(Inspected),
    /// Its tarball is in outbox/.
    Packed(Inspected, Seal),
}

/// After so many tries in a row to resume that came to nothing, the whole is sent.
const RESUMES_FAILED_MAX: u32 = 3;

/// One finished episode that has not left yet.
pub(super) struct Entry {
    pub id: EpisodeId,
    /// Of its `meta.json`, as it was when the episode was found.
    pub identity: Identity,
    stage: Stage,
    /// The episode changed after it was sent: the receiver has other bytes.
    changed_after_sending: bool,
    /// A burst found that it is not small, or can never be packed.
    alone: bool,
    /// What went wrong with it the last time.
    why: Option<String>,
    /// The most bytes of it that the receiver was seen to have, and how many it had last.
    most_kept: u64,
    last_kept: u64,
    /// Tries in a row to resume that were not answered by the receiver and brought no byte there.
    resumes_failed: u32,
    /// Its own faults.
    backoff: Backoff,
    first_seen: Instant,
}

impl Entry {
    pub(super) fn new(id: EpisodeId, identity: Identity, first_seen: Instant) -> Entry {
        Entry {
            id,
            identity,
            stage: Stage::Found,
            changed_after_sending: false,
            alone: false,
            why: None,
            most_kept: 0,
            last_kept: 0,
            resumes_failed: 0,
            backoff: Backoff::default(),
            first_seen,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// What was read of its directory; `None` before that.
    pub(super) fn inspected(&self) -> Option<Inspected> {
        match self.stage {
            Stage::Found => None,
            Stage::Recorded(inspected) | Stage::Packed(inspected, _) => Some(inspected),
        }
    }

    pub(super) fn is_packed(&self) -> bool {
        matches!(self.stage, Stage::Packed(..))
    }

    pub(super) fn commit(&self) -> Option<CommitHash> {
        self.inspected().map(|inspected| inspected.meta.commit)
    }

    /// Of its files, unpacked; 0 until its `meta.json` could be read.
    pub(super) fn bytes(&self) -> u64 {
        self.inspected().map_or(0, |inspected| inspected.bytes)
    }

    /// The size of the tarball; before it is packed, the size of the files.
    pub(super) fn bytes_to_send(&self) -> u64 {
        match self.stage {
            Stage::Packed(_, seal) => seal.bytes,
            Stage::Found | Stage::Recorded(_) => self.bytes(),
        }
    }

    /// Its `meta.json` was read. `adopted` is the seal of a tarball that an earlier shipper left.
    pub(super) fn set_inspected(&mut self, inspected: Inspected, adopted: Option<Seal>) {
        self.stage = match adopted {
            Some(seal) => Stage::Packed(inspected, seal),
            None => Stage::Recorded(inspected),
        };
    }

    /// Its tarball is in outbox/, and has this `meta.json` in it.
    pub(super) fn set_packed(&mut self, meta: Meta, seal: Seal) {
        let bytes = self.bytes();
        self.stage = Stage::Packed(Inspected { meta, bytes }, seal);
        self.alone = false;
    }

    /// Its tarball is gone: the next one is made from the directory.
    pub(super) fn set_unpacked(&mut self) {
        if let Stage::Packed(inspected, _) = self.stage {
            self.stage = Stage::Recorded(inspected);
        }
    }

    /// Until it is packed into outbox/, it is part of no burst.
    pub(super) fn set_alone(&mut self) {
        self.alone = true;
    }

    pub(super) fn goes_alone(&self) -> bool {
        self.alone
    }

    pub(super) fn set_changed_after_sending(&mut self) {
        self.changed_after_sending = true;
    }

    pub(super) fn is_changed_after_sending(&self) -> bool {
        self.changed_after_sending
    }

    /// Notes a fault of this episode; the wait that follows. `asked` is the peer's `Retry-After`.
    pub(super) fn fail(&mut self, asked: Option<Duration>, why: &str) -> Duration {
        self.why = Some(why.to_owned());
        self.backoff.fail(asked)
    }

    /// Notes a fault that may be the receiver's as well; the wait that follows. The episode keeps
    /// the reason of its own last fault.
    pub(super) fn fail_with_all(&mut self, asked: Option<Duration>) -> Duration {
        self.backoff.fail(asked)
    }

    /// The receiver itself has not answered a try to resume.
    pub(super) fn resume_failed(&mut self) {
        self.resumes_failed += 1;
    }

    /// Whether enough tries have failed for the whole to be sent: something on the way may let no HEAD or PATCH
    /// by, and let a PUT by.
    pub(super) fn resumes_in_vain(&self) -> bool {
        self.resumes_failed >= RESUMES_FAILED_MAX
    }

    /// The receiver has so many bytes of this episode. If it never had so many before, the last try has moved
    /// the episode on, and earlier faults do not count. Returns whether that is so.
    pub(super) fn is_kept_to(&mut self, bytes: u64) -> bool {
        if bytes != self.last_kept {
            self.resumes_failed = 0;
        }
        self.last_kept = bytes;
        // An offset that comes again, or goes back and forth, is no progress.
        let has_moved = self.most_kept < bytes;
        if has_moved {
            self.backoff.reset();
            self.most_kept = bytes;
        }
        has_moved
    }

    /// The receiver has nothing of it.
    pub(super) fn is_not_kept(&mut self) {
        self.most_kept = 0;
        self.goes_whole();
    }

    /// The next try sends it whole.
    pub(super) fn goes_whole(&mut self) {
        self.last_kept = 0;
        self.resumes_failed = 0;
    }

    pub(super) fn retry_now(&mut self) {
        self.backoff.retry_now();
    }

    pub(super) fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// What went wrong with it the last time.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Its place in the order of sending.
    pub(super) fn turn(&self, now: Instant) -> Turn {
        if now.saturating_duration_since(self.first_seen) >= PATIENCE {
            return Turn::Waited(self.first_seen);
        }
        // The unpacked size throughout: a packed giant must not pass an unpacked dwarf.
        Turn::Small(self.bytes())
    }
}

/// Ordered as the episodes are sent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    Waited(Instant),
    Small(u64),
}

#[cfg(test)]
mod tests {
    use super::super::queue::Identity;
    use super::*;
    use crate::episode::Contents;
    use crate::names::Sha256Digest;

    fn meta(commit: &str) -> Meta {
        Meta {
            commit: CommitHash::parse(&commit.repeat(40)).unwrap(),
            dirty: None,
        }
    }

    #[test]
    fn a_tarball_comes_and_goes_and_the_turn_stays() {
        let digest = Sha256Digest::from_bytes([7; 32]);
        let identity = Identity {
            inode: 1,
            modified_ns: 2,
            bytes: 3,
        };
        let seal = Seal {
            sha256: digest,
            bytes: 40,
            made_from: identity,
            contents: Contents {
                digest,
                entries: 2,
                bytes: 900,
                newest_ns: 5,
            },
            boot: None,
        };
        let now = Instant::now();
        let id = EpisodeId::parse("ep-1").unwrap();
        let mut entry = Entry::new(id, identity, now);
        entry.set_unpacked();
        let seen = |entry: &Entry| {
            assert!(entry.turn(now) == Turn::Small(entry.bytes()));
            (entry.is_packed(), entry.bytes(), entry.bytes_to_send())
        };
        assert_eq!(seen(&entry), (false, 0, 0));
        assert_eq!(entry.commit(), None);

        let found = Inspected {
            meta: meta("a"),
            bytes: 900,
        };
        entry.set_inspected(found, None);
        assert_eq!(seen(&entry), (false, 900, 900));
        assert_eq!(entry.commit(), Some(meta("a").commit));

        // Packing reads the commit again.
        entry.set_packed(meta("b"), seal);
        assert_eq!(seen(&entry), (true, 900, 40));
        assert_eq!(entry.commit(), Some(meta("b").commit));
        entry.set_unpacked();
        assert_eq!(seen(&entry), (false, 900, 900));

        entry.set_inspected(found, Some(seal));
        assert_eq!(seen(&entry), (true, 900, 40));
    }
}
