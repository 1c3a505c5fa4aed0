//! Episodes that change after they were packed, although their `meta.json` says that nothing changes any
//! more.
//!
//! 1. Before it is sent such an episode is packed again: a name belongs to the bytes that the receiver gets
//!    first, so these should be all of them.
//! 2. After it was sent, the receiver has other bytes than lie here. The episode stays, and its files as
//!    they are now are packed and sent: a 409 sets the episode aside with a reason, and a 200 means that
//!    the change was undone. Setting it aside without asking would be simpler, but an editor's temporary
//!    file would then cost a person's time.

use super::cycle::Shipper;
use super::outbox;
use crate::events;
use crate::names::EpisodeId;
use crate::wire::{Receipt, Slot};

impl Shipper {
    /// Forgets the tarball of an episode that was changed since: it is packed again.
    pub(super) fn drop_outdated_tarball(&mut self, id: &EpisodeId) {
        let Some(seal) = self.backlog.get(id).and_then(|entry| entry.seal) else {
            return;
        };
        match outbox::is_current(&self.root.episodes().join(id.as_str()), &seal) {
            Ok(true) => {}
            Ok(false) => {
                events::changed_after_packing(id);
                self.drop_tarball(id);
            }
            Err(error) => self.repack(id, &format!("cannot look at its files: {error}")),
        }
    }

    /// The receiver has the episode as it was when it was sent, and it is another now: see
    /// [`super::moves::IntoShipped::Changed`].
    pub(super) fn changed_after_sending(&mut self, slot: &Slot, receipt: &Receipt) {
        let id = &slot.episode;
        let is_first_time = self
            .backlog
            .get(id)
            .is_some_and(|entry| entry.backoff.failures() == 0);
        events::changed_after_sending(slot, receipt.seq);
        self.repack(
            id,
            "its files changed after they were sent: what is there now is packed and sent",
        );
        if let Some(entry) = self.backlog.get_mut(id) {
            entry.changed_after_sending = true;
            // Ask the receiver at once, the first time only.
            if is_first_time {
                entry.backoff.retry_now();
            }
        }
    }
}
