//! How a step with one episode ends if the episode stays: it waits, or all wait. (`departures` has those
//! that leave.)
//!
//! 1. A fault of one episode defers that episode alone; a receiver that is away defers all, once.
//! 2. Every fault is logged and written to `state.json`, and makes something wait.
//! 3. An episode that cannot be moved stays, and the folders are read again.

use std::io;
use std::time::Duration;

use super::entry::Entry;
use super::outbox;
use super::pace::Pace;
use super::queue::Root;
use super::report::Report;
use super::retention;
use crate::durable;
use crate::events;

/// What a step changes when it ends: the folders, the waits, and what the shipper reports.
pub(super) struct Endings {
    pub root: Root,
    pub pace: Pace,
    pub report: Report,
}

impl Endings {
    /// A move stopped half-way: the next scan reads the folders as they are. (A full disk is the caller's to
    /// handle: it counts once, however many moves it stopped.)
    pub(super) fn move_failed(
        &mut self,
        mut entry: Entry,
        there: &str,
        error: &io::Error,
    ) -> Entry {
        let why = format!("cannot move it to {there}/: {error}");
        self.defer(&mut entry, None, &why);
        self.pace.scan_now();
        // Its tarball may have made room for the note.
        if outbox::tarball_bytes(&self.root, &entry.id).is_none() {
            entry.set_unpacked();
        }
        entry
    }

    /// The tarball is of no use: the next one is made from the directory.
    pub(super) fn repack(&mut self, entry: &mut Entry, why: &str) {
        self.drop_tarball(entry);
        self.defer(entry, None, why);
    }

    pub(super) fn drop_tarball(&mut self, entry: &mut Entry) {
        let id = &entry.id;
        if let Err(error) = durable::unlink(&outbox::tarball(&self.root, id)) {
            events::shipper_trouble(format_args!("cannot remove the tarball of {id}: {error}"));
        }
        entry.set_unpacked();
    }

    /// This episode waits; the others go on.
    pub(super) fn defer(&mut self, entry: &mut Entry, asked: Option<Duration>, why: &str) {
        let wait = entry.fail(asked, why);
        events::deferred(&entry.id, entry.backoff().failures(), wait, why);
        self.report.trouble(Some(&entry.id), why);
    }

    /// All wait: the receiver cannot be reached, or accepts nothing.
    pub(super) fn defer_all(&mut self, asked: Option<Duration>, why: &str) {
        let wait = self.pace.receiver_is_away(asked, why);
        events::receiver_away(self.pace.away().failures(), wait, None, why);
        self.report.trouble(None, why);
    }

    /// The fault may be the episode's or the receiver's: this episode waits, and so do all.
    pub(super) fn defer_with_all(&mut self, entry: &mut Entry, asked: Option<Duration>, why: &str) {
        let own = entry.fail_with_all(asked);
        let wait = self.pace.receiver_is_away(asked, why);
        let under_way = Some((&entry.id, own));
        events::receiver_away(self.pace.away().failures(), wait, under_way, why);
        self.report.trouble(None, why);
    }

    /// Our own disk is full: shipped/ is emptied first. If nothing could be removed, packing waits.
    pub(super) fn disk_full(&mut self, wanted_bytes: u64, error: &io::Error) {
        match retention::make_room(&self.root, wanted_bytes, 1) {
            Ok(removed) if removed > 0 => {}
            _ => {
                let wait = self.pace.disk_is_full();
                self.report.packing_stopped(true);
                events::disk_full(self.root.dir(), wait, error);
                let why = format!("the disk is full, packing waits: {error}");
                self.report.trouble(None, &why);
            }
        }
    }

    /// Something was packed into outbox/.
    pub(super) fn disk_has_room(&mut self) {
        self.pace.disk_has_room();
        self.report.packing_stopped(false);
    }

    /// Something went wrong that is of no episode, and nothing waits for it.
    pub(super) fn trouble(&mut self, why: &str) {
        events::shipper_trouble(why);
        self.report.trouble(None, why);
    }
}
