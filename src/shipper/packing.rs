//! Packing, by the loop itself or ahead of it, and what follows from how it went.
//!
//! 1. At most one tarball lies ready that could be sent and is not being sent: on top of it nothing
//!    is packed ahead.
//! 2. Prefetch begins when the receiver takes the body of another: one that is away or full, or refuses
//!    the commit, makes nobody pack.
//! 3. Whose turn it is is asked anew for each: a smaller one that comes while a giant is packed ahead
//!    is packed by the loop itself, and goes first.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use super::cycle::Shipper;
use super::moves::{Judge, Why};
use super::outbox::{self, PackFault, Sync};
use super::prefetch::{self, Prefetch};
use super::progress::Progress;
use super::retention;
use crate::events;
use crate::names::EpisodeId;
use crate::service;
use crate::sys;

/// What is packed ahead takes at most this part of the free space: the rest is the recorder's.
const FREE_PARTS: u64 = 4;

impl Shipper {
    /// Packs the episode whose turn it is, unless that was done ahead.
    pub(super) fn pack(&mut self, id: &EpisodeId) {
        if self
            .prefetch
            .as_ref()
            .is_some_and(|prefetch| prefetch.id == *id)
        {
            self.settle_ahead();
        }
        let waiting = self.backlog.get(id).filter(|entry| {
            let failed_ahead = !self.is_due(&entry.backoff, Instant::now());
            entry.seal.is_none() && !failed_ahead
        });
        let Some(identity) = waiting.map(|entry| entry.identity) else {
            return;
        };
        let begun = Instant::now();
        service::status(&format!("packing {id}"));
        let mut progress = Progress::new(format!("packing {id}"));
        let stop = self.bell.stop.clone();
        let mut tell = |done, total| {
            progress.tell(done, total);
            match stop.is_set() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let packed = outbox::pack(&self.root, id, identity, Sync::Watched, &mut tell);
        drop(progress);
        self.packed(id, (packed, begun.elapsed()));
    }

    /// What becomes of an episode after packing.
    fn packed(&mut self, id: &EpisodeId, (packed, took): prefetch::Outcome) {
        match packed {
            Ok((seal, meta)) => {
                self.packing.reset();
                // While it was packed ahead, a look may have found that it is gone, or another.
                let same = self.backlog.get_mut(id);
                if let Some(entry) = same.filter(|entry| entry.identity == seal.made_from) {
                    events::packed(id, entry.bytes, seal.bytes, took);
                    entry.seal = Some(seal);
                    entry.meta = Some(meta);
                }
            }
            Err(PackFault::Unfit { why, reason }) => {
                self.refuse(id, &Why::new(Judge::Shipper, reason, why));
            }
            Err(PackFault::Passing(why)) => self.defer(id, None, &why),
            Err(PackFault::DiskFull(error)) => self.disk_full(id, &error),
            Err(PackFault::Stopped) => {}
        }
    }

    /// Begins to pack the next in turn after the one that is being sent, if it is to be packed.
    pub(super) fn begin_ahead(&self, sent: &EpisodeId) -> Option<Prefetch> {
        let now = Instant::now();
        if self.prefetch.is_some() || self.bell.stop.is_set() || !self.prefetch_pauses.is_due(now) {
            return None;
        }
        let others = || {
            let entries = self.backlog.entries();
            entries.filter(|(id, entry)| *id != sent && self.may_move(entry, now))
        };
        if others().any(|(_, entry)| entry.seal.is_some()) {
            return None;
        }
        let (id, entry) = others().min_by_key(|(_, entry)| entry.turn(now))?;
        let free_bytes = sys::free_bytes(self.root.dir()).unwrap_or(0);
        let is_known = entry.meta.is_some();
        if !is_known || entry.bytes > free_bytes / FREE_PARTS {
            return None;
        }
        Prefetch::begin(&self.root, id, entry.identity, &self.bell.stop)
    }

    /// What was packed ahead meanwhile, if it is done.
    pub(super) fn look_at_ahead(&mut self) {
        if self.prefetch.as_ref().is_some_and(Prefetch::is_done) {
            self.settle_ahead();
        }
    }

    /// Waits for what is being packed ahead, and does what follows.
    fn settle_ahead(&mut self) {
        let Some(prefetch) = self.prefetch.take() else {
            return;
        };
        let id = prefetch.id.clone();
        let mut progress = Progress::new(format!("packing {id}"));
        let outcome = prefetch.wait(&mut |done, total| progress.tell(done, total));
        drop(progress);
        match &outcome.0 {
            // What is being sent makes room. If that is not enough, it is told when it is its turn.
            Err(PackFault::DiskFull(_)) => drop(self.prefetch_pauses.fail(None)),
            packed => {
                if packed.is_ok() {
                    self.prefetch_pauses.reset();
                }
                self.packed(&id, outcome);
            }
        }
    }

    /// Our own disk is full: shipped/ goes first, and if that is not it, packing waits.
    pub(super) fn disk_full(&mut self, id: &EpisodeId, error: &io::Error) {
        let wanted = self.backlog.get(id).map_or(0, |entry| entry.bytes);
        match retention::make_room(&self.root, wanted, 1) {
            Ok(removed) if removed > 0 => {}
            _ => {
                let wait = self.packing.fail(None);
                events::disk_full(self.root.dir(), wait, error);
                self.note_trouble(None, format!("the disk is full, packing waits: {error}"));
            }
        }
    }
}
