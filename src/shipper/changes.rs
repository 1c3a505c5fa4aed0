//! Episodes that change after they were packed, although their `meta.json` says that nothing changes any
//! more.
//!
//! 1. Before it is sent such an episode is packed again: a name belongs to the bytes that the receiver gets
//!    first, so these should be all of them.
//! 2. After it was sent, the receiver has other bytes than lie here. The episode stays, and its files as
//!    they are now are packed and sent: a 409 sets the episode aside with a reason, and a 200 means that
//!    the change was undone. Setting it aside without asking would be simpler, but an editor's temporary
//!    file would then cost a person's time.

use super::endings::Endings;
use super::entry::{Entry, Stage};
use super::outbox;
use crate::events;
use crate::wire::{Receipt, Slot};

impl Endings {
    /// Forgets the tarball of an episode that was changed since: it is packed again.
    pub(super) fn drop_outdated_tarball(&mut self, entry: &mut Entry) {
        let Stage::Packed(_, seal) = entry.stage() else {
            return;
        };
        let dir = self.root.episodes().join(entry.id.as_str());
        match outbox::is_current(&dir, &seal) {
            Ok(true) => {}
            Ok(false) => {
                events::changed_after_packing(&entry.id);
                self.drop_tarball(entry);
            }
            Err(error) => self.repack(entry, &format!("cannot look at its files: {error}")),
        }
    }

    /// The receiver has the episode as it was when it was sent, and it is another now: see
    /// `ending_batch::Moved::Changed`.
    pub(super) fn changed_after_sending(
        &mut self,
        entry: &mut Entry,
        slot: &Slot,
        receipt: &Receipt,
    ) {
        let is_first_time = entry.backoff().failures() == 0;
        events::changed_after_sending(slot, receipt.seq);
        self.repack(
            entry,
            "its files changed after they were sent: what is there now is packed and sent",
        );
        entry.set_changed_after_sending();
        // Ask the receiver at once, the first time only.
        if is_first_time {
            entry.retry_now();
        }
    }
}
