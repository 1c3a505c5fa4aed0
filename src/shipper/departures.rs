//! Episodes that leave for shipped/ or refused/ on an answer: `ending_batch` moves them, one or several
//! together, and here is what the shipper logs, reports and forgets once they are moved.

use std::io;
use std::time::Duration;

use super::ending_batch::{self, Departure, Destination, Moved};
use super::endings::Endings;
use super::entry::Entry;
use super::holds::Holds;
use super::notes::Why;
use crate::durable;
use crate::events;
use crate::names::CommitHash;
use crate::wire::{Receipt, Slot};

/// One episode that is to leave.
pub(super) struct Leaver {
    entry: Entry,
    departure: Departure,
    /// How it was delivered; `None` for one that goes to refused/.
    delivery: Option<Delivery>,
}

/// An upload that the receiver has accepted.
pub(super) struct Delivery {
    pub slot: Slot,
    pub commit: CommitHash,
    /// Of the tarball.
    pub bytes: u64,
    /// 201 if the episode was stored now, 200 if the receiver had it before.
    pub status: u16,
    /// The commit's place in the window, and the window's length.
    pub gate_position: Option<(u32, u32)>,
    pub took: Duration,
}

impl Leaver {
    /// One that the receiver has.
    pub(super) fn to_shipped(entry: Entry, to: Destination, delivery: Delivery) -> Leaver {
        Leaver {
            departure: Departure {
                id: entry.id.clone(),
                to,
            },
            entry,
            delivery: Some(delivery),
        }
    }

    /// One that is not to be sent as it is.
    pub(super) fn to_refused(entry: Entry, mut why: Why) -> Leaver {
        if entry.is_changed_after_sending() && why.status == Some(409) {
            why.why += ". It is the episode that was stored before its files changed here: cis490 requeue NAME --new-id ID sends what is there now as another";
        }
        Leaver {
            departure: Departure {
                id: entry.id.clone(),
                to: Destination::Refused {
                    judged: entry.identity,
                    why,
                },
            },
            entry,
            delivery: None,
        }
    }

    pub(super) fn departure(&self) -> &Departure {
        &self.departure
    }

    /// Of the episode's files, unpacked.
    pub(super) fn bytes(&self) -> u64 {
        self.entry.bytes()
    }
}

impl Endings {
    /// Moves one episode. It is returned if it stays.
    pub(super) fn let_go(&mut self, leaver: Leaver, holds: &mut Holds) -> Option<Entry> {
        let moved = self.move_out(&leaver);
        self.settle(leaver, moved, holds)
    }

    fn move_out(&mut self, leaver: &Leaver) -> io::Result<Moved> {
        let moved = ending_batch::carry_out_one(&self.root, &leaver.departure);
        if let Err(error) = &moved
            && durable::is_full(error)
        {
            self.disk_full(leaver.bytes(), error);
        }
        moved
    }

    /// Handles the result of a move, but for a full disk. The episode is returned if it stays.
    pub(super) fn settle(
        &mut self,
        leaver: Leaver,
        moved: io::Result<Moved>,
        holds: &mut Holds,
    ) -> Option<Entry> {
        let Leaver {
            entry,
            departure,
            delivery,
        } = leaver;
        match (departure.to, delivery) {
            (Destination::Shipped { receipt, .. }, Some(delivery)) => {
                self.settle_shipped(entry, &receipt, &delivery, moved, holds)
            }
            (Destination::Refused { why, .. }, _) => self.settle_refused(entry, &why, moved),
            (Destination::Shipped { .. }, None) => unreachable!("what is shipped was delivered"),
        }
    }

    fn settle_shipped(
        &mut self,
        mut entry: Entry,
        receipt: &Receipt,
        delivery: &Delivery,
        moved: io::Result<Moved>,
        holds: &mut Holds,
    ) -> Option<Entry> {
        match moved {
            Ok(Moved::Changed) => {
                self.changed_after_sending(&mut entry, &delivery.slot, receipt);
                Some(entry)
            }
            Ok(Moved::As(name)) => {
                let Delivery { slot, status, .. } = delivery;
                let bytes = delivery.bytes;
                events::shipped(slot, *status, bytes, receipt.seq, &name, delivery.took);
                holds.accepted(&delivery.commit);
                self.report.shipped(&entry.id, bytes, receipt);
                if let Some((position, window)) = delivery.gate_position {
                    self.report.place(delivery.commit, position, window);
                }
                None
            }
            Err(error) => Some(self.move_failed(entry, "shipped", &error)),
        }
    }

    /// Moves an episode to refused/. It is returned if it stays.
    pub(super) fn refuse(&mut self, entry: Entry, why: Why) -> Option<Entry> {
        let leaver = Leaver::to_refused(entry, why);
        let moved = self.move_out(&leaver);
        match leaver.departure.to {
            Destination::Refused { why, .. } => self.settle_refused(leaver.entry, &why, moved),
            Destination::Shipped { .. } => unreachable!("it goes to refused/"),
        }
    }

    fn settle_refused(
        &mut self,
        entry: Entry,
        why: &Why,
        moved: io::Result<Moved>,
    ) -> Option<Entry> {
        match moved {
            Ok(Moved::As(name)) => {
                events::set_aside(&entry.id, &name, why.status, &why.why);
                self.report.refused(&entry.id, &why.why);
                None
            }
            Ok(Moved::Changed) => Some(entry),
            Err(error) => Some(self.move_failed(entry, "refused", &error)),
        }
    }
}
