//! Packing, by the loop itself or ahead of it, and what the shipper does with the result.
//!
//! 1. At most one tarball is ready and not being sent: while there is one, nothing is packed ahead.
//! 2. Prefetch begins when the receiver accepts the body of another episode: while the receiver is
//!    away or full, or refuses the commit, nothing is packed ahead.
//! 3. The next episode is chosen anew each time: a smaller one that comes while a giant is packed
//!    ahead is packed by the loop itself, and is sent first.

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

/// A tarball packed ahead uses at most one part in this many of the free space: the rest is the
/// recorder's.
const FREE_PARTS: u64 = 4;

impl Shipper {
    /// Packs the episode that is next, unless it was packed ahead.
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
        let stop = self.wakeup.stop.clone();
        let mut tell = |done, total| {
            progress.tell(done, total);
            if stop.is_set() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let packed = outbox::pack(&self.root, id, identity, Sync::Watched, &mut tell);
        drop(progress);
        self.packed(id, (packed, begun.elapsed()));
    }

    /// Handles the result of packing an episode.
    fn packed(&mut self, id: &EpisodeId, (packed, took): prefetch::Outcome) {
        match packed {
            Ok((seal, meta)) => {
                self.packing.reset();
                // While the episode was packed ahead, a scan may have found it gone or replaced.
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
        if self.prefetch.is_some() || self.wakeup.stop.is_set() || !self.prefetch_pauses.is_due(now)
        {
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
        Prefetch::begin(&self.root, id, entry.identity, &self.wakeup.stop)
    }

    /// Handles the episode that is packed ahead, if its packing is done.
    pub(super) fn look_at_ahead(&mut self) {
        if self.prefetch.as_ref().is_some_and(Prefetch::is_done) {
            self.settle_ahead();
        }
    }

    /// Waits for the packing ahead, and handles its result.
    fn settle_ahead(&mut self) {
        let Some(prefetch) = self.prefetch.take() else {
            return;
        };
        let id = prefetch.id.clone();
        let mut progress = Progress::new(format!("packing {id}"));
        let outcome = prefetch.wait(&mut |done, total| progress.tell(done, total));
        drop(progress);
        match &outcome.0 {
            // The episode that is being sent makes room when it is done. If that is not enough, the
            // full disk is logged when the loop itself packs this episode.
            Err(PackFault::DiskFull(_)) => {
                self.prefetch_pauses.fail(None);
            }
            packed => {
                if packed.is_ok() {
                    self.prefetch_pauses.reset();
                }
                self.packed(&id, outcome);
            }
        }
    }

    /// Our own disk is full: shipped/ is emptied first. If nothing could be removed, packing waits.
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
