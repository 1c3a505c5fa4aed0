//! Packing, by the loop itself or ahead of it, and what the shipper does with the result.
//!
//! 1. At most one tarball is ready and not being sent: while there is one, nothing is packed ahead.
//! 2. Prefetch begins when the receiver accepts the body of another episode: while the receiver is
//!    away or full, or refuses the commit, nothing is packed ahead.
//! 3. The next episode is chosen anew each time: a smaller one that comes while a giant is packed
//!    ahead is packed by the loop itself, and is sent first.

use std::ops::ControlFlow;
use std::time::Instant;

use super::backlog::Backlog;
use super::endings::Endings;
use super::entry::{Entry, Stage};
use super::notes::{Judge, Why};
use super::outbox::{self, PackFault, Sync};
use super::prefetch::{Packing, Prefetch};
use super::progress::Progress;
use super::queue::Root;
use super::stop::Stop;
use crate::backoff::Backoff;
use crate::events;
use crate::names::EpisodeId;
use crate::service;
use crate::sys;

/// A tarball packed ahead uses at most one part in this many of the free space: the rest is the
/// recorder's.
const FREE_PARTS: u64 = 4;

/// Packs the episode that is next, and while one is sent, the one after it.
pub(super) struct Packer {
    stop: Stop,
    /// The episode that is packed while another is sent.
    prefetch: Option<Prefetch>,
    /// Our own disk had no room to pack ahead.
    pauses: Backoff,
}

impl Packer {
    pub(super) fn new(stop: Stop) -> Packer {
        Packer {
            stop,
            prefetch: None,
            pauses: Backoff::default(),
        }
    }

    /// Packs the episode that is next, unless it was packed ahead. `None` if it can never be packed,
    /// and has gone to refused/.
    pub(super) fn pack(&mut self, entry: Entry, endings: &mut Endings) -> Option<Entry> {
        let entry = self.take_ahead(entry, endings)?;
        let failed_ahead = !endings.pace.is_due(entry.backoff(), Instant::now());
        if entry.is_packed() || failed_ahead {
            return Some(entry);
        }
        let packing = self.pack_now(&entry, &endings.root);
        if packing.result.is_ok() {
            endings.disk_has_room();
        }
        endings.packed(entry, packing)
    }

    /// Waits for this episode, if it is packed ahead, and packs no other. `None` if it can never be packed,
    /// and has gone to refused/.
    pub(super) fn take_ahead(&mut self, entry: Entry, endings: &mut Endings) -> Option<Entry> {
        match self.prefetch.take() {
            Some(prefetch) if prefetch.id == entry.id => {
                self.settle_ahead(prefetch, Some(entry), endings)
            }
            other => {
                self.prefetch = other;
                Some(entry)
            }
        }
    }

    fn pack_now(&self, entry: &Entry, root: &Root) -> Packing {
        let begun = Instant::now();
        let doing = format!("packing {}", entry.id);
        service::status(&doing);
        let mut progress = Progress::new(doing);
        let mut tell = |done, total| {
            progress.tell(done, total);
            if self.stop.is_set() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let result = outbox::pack(root, &entry.id, entry.identity, Sync::Watched, &mut tell);
        Packing {
            made_from: entry.identity,
            result,
            took: begun.elapsed(),
        }
    }

    /// Begins to pack the next in turn of the others than the one that is being sent, if it is to be
    /// packed.
    pub(super) fn begin_ahead(
        &mut self,
        others: &Backlog,
        root: &Root,
        may_move: impl Fn(&Entry) -> bool,
    ) {
        let now = Instant::now();
        if self.prefetch.is_some() || self.stop.is_set() || !self.pauses.is_due(now) {
            return;
        }
        let others = || others.entries().filter(|entry| may_move(entry));
        if others().any(Entry::is_packed) {
            return;
        }
        let Some(next) = others().min_by_key(|entry| entry.turn(now)) else {
            return;
        };
        let Stage::Recorded(inspected) = next.stage() else {
            return;
        };
        let free_bytes = sys::free_bytes(root.dir()).unwrap_or(0);
        if inspected.bytes <= free_bytes / FREE_PARTS {
            self.prefetch = Prefetch::begin(root, &next.id, next.identity, &self.stop);
        }
    }

    /// The episode that is being packed ahead, or was.
    pub(super) fn ahead(&self) -> Option<&EpisodeId> {
        self.prefetch.as_ref().map(|prefetch| &prefetch.id)
    }

    /// Handles the episode that is packed ahead, if its packing is done.
    pub(super) fn look_at_ahead(&mut self, backlog: &mut Backlog, endings: &mut Endings) {
        if !self.prefetch.as_ref().is_some_and(Prefetch::is_done) {
            return;
        }
        if let Some(prefetch) = self.prefetch.take() {
            let entry = backlog.take(&prefetch.id);
            if let Some(entry) = self.settle_ahead(prefetch, entry, endings) {
                backlog.put(entry);
            }
        }
    }

    /// Waits for the packing ahead, and handles its result. `entry` is `None` if a scan found that the
    /// episode is gone.
    fn settle_ahead(
        &mut self,
        prefetch: Prefetch,
        entry: Option<Entry>,
        endings: &mut Endings,
    ) -> Option<Entry> {
        let mut progress = Progress::new(format!("packing {}", prefetch.id));
        let packing = prefetch.wait(&mut |done, total| progress.tell(done, total));
        drop(progress);
        match &packing.result {
            // The episode that is being sent makes room when it is done. If that is not enough, the
            // full disk is logged when the loop itself packs this episode.
            Err(PackFault::DiskFull(_)) => {
                self.pauses.fail(None);
                return entry;
            }
            Err(_) => {}
            Ok(_) => {
                self.pauses.reset();
                endings.disk_has_room();
            }
        }
        endings.packed(entry?, packing)
    }

    /// Stops the packing ahead, and waits for its end.
    pub(super) fn end(self) {
        if let Some(prefetch) = self.prefetch {
            prefetch.cancel();
        }
    }
}

impl Endings {
    /// Handles the result of packing an episode. `None` if it has gone to refused/.
    pub(super) fn packed(&mut self, mut entry: Entry, packing: Packing) -> Option<Entry> {
        // While an episode was packed ahead, a scan may have found another one under its name.
        if packing.made_from != entry.identity {
            return Some(entry);
        }
        match packing.result {
            Ok((seal, meta)) => {
                events::packed(&entry.id, entry.bytes(), seal.bytes, packing.took);
                entry.set_packed(meta, seal);
            }
            Err(PackFault::Unfit { why, reason }) => {
                return self.refuse(entry, Why::new(Judge::Shipper, reason, why));
            }
            Err(PackFault::Passing(why)) => self.defer(&mut entry, None, &why),
            Err(PackFault::DiskFull(error)) => self.disk_full(entry.bytes(), &error),
            Err(PackFault::Stopped) => {}
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::thread;

    use super::super::Mode;
    use super::super::config::Config;
    use super::super::pace::Pace;
    use super::super::parcel::Parcel;
    use super::super::queue::{FOLDERS, Identity};
    use super::super::report::Report;
    use super::*;
    use crate::episode::Compressor;
    use crate::names::HostId;

    /// An empty queue in a folder of its own, which goes with it.
    struct Queue(PathBuf);

    impl Queue {
        fn new(name: &str) -> (Queue, Endings) {
            let dir = std::env::temp_dir().join(format!("cis490-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            for folder in FOLDERS {
                fs::create_dir_all(dir.join(folder)).unwrap();
            }
            let root = Root::open(&dir).unwrap();
            let text = "receiver_url = \"http://127.0.0.1:1\"\nhost_id = \"lab-1\"\n";
            let text = format!("{text}root = {dir:?}\n");
            let config = Config::parse(&text, Path::new("shipper.toml")).unwrap();
            let endings = Endings {
                pace: Pace::new(Mode::Forever, None),
                report: Report::open(&config, &root),
                root,
            };
            (Queue(dir), endings)
        }
    }

    impl Drop for Queue {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Writes the `meta.json` of an episode, as a recorder does, and returns its entry as a scan finds it.
    fn recorded(endings: &mut Endings, id: &EpisodeId, dirty: bool) -> Entry {
        let meta = endings.root.episodes().join(id.as_str()).join("meta.json");
        let commit = "a".repeat(40);
        let json = format!(r#"{{"code_version": {{"commit": "{commit}", "dirty": {dirty}}}}}"#);
        fs::write(&meta, json).unwrap();
        let identity = Identity::of(&endings.root, id).unwrap();
        let entry = Entry::new(id.clone(), identity, Instant::now());
        endings.inspect(entry).expect("it is fit")
    }

    #[test]
    fn packing_in_memory_does_not_show_that_the_disk_has_room() {
        let (_queue, mut endings) = Queue::new("memory");
        let id = EpisodeId::parse("ep-1").unwrap();
        fs::create_dir(endings.root.episodes().join(id.as_str())).unwrap();
        let entry = recorded(&mut endings, &id, false);
        endings.pace.disk_is_full();
        let host = HostId::parse("lab-1").unwrap();
        let parcel = Parcel::make(
            entry,
            &host,
            &mut Compressor::new(),
            &Stop::default(),
            &mut endings,
        );
        let entry = parcel.ok().expect("it is small").into_entry();
        assert_eq!(endings.pace.packing().failures(), 1);
        let packed = Packer::new(Stop::default()).pack(entry, &mut endings);
        assert!(packed.is_some_and(|entry| entry.is_packed()));
        assert_eq!(endings.pace.packing().failures(), 0);
    }

    /// An episode becomes unfit, and packing it ahead says so. Meanwhile a person has put a sound one
    /// in its place, and a scan has found that one: the verdict is not on it.
    #[test]
    fn a_fault_of_what_was_packed_ahead_is_not_its_successors() {
        let (_queue, mut endings) = Queue::new("ahead");
        let root = endings.root.clone();
        let id = EpisodeId::parse("ep-1").unwrap();
        let dir = root.episodes().join(id.as_str());
        fs::create_dir(&dir).unwrap();
        let mut backlog = Backlog::default();
        backlog.put(recorded(&mut endings, &id, false));
        symlink("/nowhere", dir.join("link")).unwrap();

        let mut packer = Packer::new(Stop::default());
        packer.begin_ahead(&backlog, &root, |_| true);
        assert_eq!(packer.ahead(), Some(&id));
        while !packer.prefetch.as_ref().is_some_and(Prefetch::is_done) {
            thread::yield_now();
        }
        fs::remove_file(dir.join("link")).unwrap();
        backlog.put(recorded(&mut endings, &id, true));
        packer.look_at_ahead(&mut backlog, &mut endings);

        assert!(dir.is_dir(), "it was moved out");
        let entry = backlog.take(&id).expect("it waits");
        assert_eq!(entry.backoff().failures(), 0);
        let entry = packer.pack(entry, &mut endings).expect("it waits");
        assert!(entry.is_packed());
    }
}
