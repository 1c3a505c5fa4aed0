//! The queue: episodes on their way off this host. An episode's state is where its files lie.
//!
//!     +episodes/<id>  no meta.json             being recorded: left alone
//!     +episodes/<id>  -outbox/<id>             finished, not packed
//!     +episodes/<id>  +outbox/<id>.partial     being packed; swept by every scan that finds it left behind
//!     +episodes/<id>  +outbox/<id>             whole, on the disk, ours to send
//!     -episodes/<id>  +outbox/<id>             a crash between the two last moves; the orphan is swept
//!     -episodes/<id>  +shipped/<id>            the receiver has it: `<id>.receipt.json` beside it
//!     -episodes/<id>  +refused/<id>            never to be sent as it is: `<id>.why.json` beside it
//!
//! 1. Each move is one rename on one filesystem, and takes effect at that instant.
//! 2. From outbox/<id> on, every byte is on the disk (`outbox`).
//!    A small episode of a burst has no tarball there: it is sent from memory (`parcel`).
//! 3. Nothing leaves episodes/ but by an answer or a person (`ending_batch`). So a crash may send twice
//!    and never zero times; the receiver answers the second with 200.
//!
//! A receipt or a why without its directory is a move that a crash cut short: the episode is still
//! in episodes/, gets its answer again, and the note is written over.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(crate) use super::root::{FOLDERS, Root};
use crate::durable;
use crate::episode;
use crate::events;
use crate::names::EpisodeId;
use crate::service;

/// The ending of a packed episode in outbox/.
pub(crate) const TARBALL: &str = ".tar.zst";
/// The ending of one that is being packed.
pub(crate) const PARTIAL: &str = ".tar.zst.partial";

/// Which `meta.json` a tarball was made from. A directory that was moved keeps its identity; a new
/// episode under an old name, or a `meta.json` that was edited, has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub inode: u64,
    pub modified_ns: i128,
    pub bytes: u64,
}

impl Identity {
    /// Errors: `NotFound` for an episode that is not finished.
    pub(crate) fn of(root: &Root, id: &EpisodeId) -> io::Result<Identity> {
        Identity::of_dir(&root.episodes().join(id.as_str()))
    }

    /// Of an episode's directory, wherever it lies.
    pub(crate) fn of_dir(dir: &Path) -> io::Result<Identity> {
        let found = dir.join(episode::META_NAME).symlink_metadata()?;
        Ok(Identity {
            inode: found.ino(),
            modified_ns: i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()),
            bytes: found.len(),
        })
    }
}

/// The episodes in episodes/.
#[derive(Default)]
pub(crate) struct Scan {
    pub finished: Vec<(EpisodeId, Identity)>,
    /// Without a meta.json: being recorded.
    pub unfinished: usize,
    /// Finished but not sent: the name is not allowed, or the directory cannot be read.
    pub overlooked: usize,
    /// The first of those: at most [`OVERLOOKED_NAMED_MAX`].
    pub overlooked_named: Vec<Overlooked>,
}

/// An episode that is finished but not sent.
pub(crate) struct Overlooked {
    pub name: OsString,
    /// Why it cannot be looked at; `None` if only its name is not allowed.
    pub error: Option<io::Error>,
}

/// How many overlooked episodes a scan names.
pub(crate) const OVERLOOKED_NAMED_MAX: usize = 100;

impl Scan {
    fn overlook(&mut self, name: OsString, error: Option<io::Error>) {
        self.overlooked += 1;
        if self.overlooked_named.len() < OVERLOOKED_NAMED_MAX {
            self.overlooked_named.push(Overlooked { name, error });
        }
    }
}

/// The paths that were logged already, so that each oddity is logged once and not at every scan.
#[derive(Default)]
pub(crate) struct Told {
    told: HashSet<PathBuf>,
    /// Log nothing: for a command, since the shipper logs the same oddities.
    silent: bool,
}

impl Told {
    /// Oddities beyond this many are not logged, so that the set does not grow.
    const MAX: usize = 1000;

    pub(crate) fn silent() -> Told {
        Told {
            silent: true,
            ..Told::default()
        }
    }

    fn once(&mut self, path: PathBuf, tell: impl FnOnce(&Path)) {
        if !self.silent && self.told.len() < Self::MAX && !self.told.contains(&path) {
            tell(&path);
            self.told.insert(path);
        }
    }
}

/// Sweeps outbox/, except for the partial file of the episode `packing`, and scans episodes/.
pub(crate) fn sweep_and_scan(
    root: &Root,
    packing: Option<&EpisodeId>,
    told: &mut Told,
) -> io::Result<Scan> {
    sweep_outbox(root, packing, told)?;
    scan(root, told)
}

/// Scans episodes/, and changes nothing.
pub(crate) fn scan(root: &Root, told: &mut Told) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for found in fs::read_dir(root.episodes())? {
        let found = found?;
        let is_dir = found.file_type().is_ok_and(|kind| kind.is_dir());
        let id = if is_dir {
            let name = found.file_name();
            name.to_str().and_then(|name| EpisodeId::parse(name).ok())
        } else {
            None
        };
        let Some(id) = id else {
            let is_finished = is_dir && found.path().join(episode::META_NAME).is_file();
            if is_finished {
                scan.overlook(found.file_name(), None);
            }
            told.once(found.path(), events::odd_in_episodes);
            continue;
        };
        match Identity::of(root, &id) {
            Ok(identity) => scan.finished.push((id, identity)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => scan.unfinished += 1,
            Err(error) => {
                told.once(found.path(), |path| events::cannot_look(path, &error));
                scan.overlook(found.file_name(), Some(error));
            }
        }
    }
    Ok(scan)
}

fn sweep_outbox(root: &Root, packing: Option<&EpisodeId>, told: &mut Told) -> io::Result<()> {
    for found in fs::read_dir(root.outbox())? {
        let path = found?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if let Some(id) = name.strip_suffix(PARTIAL) {
            if packing.is_some_and(|packing| packing.as_str() == id) {
                continue;
            }
            sweep(path, told, events::partial_swept);
            continue;
        }
        let id = name
            .strip_suffix(TARBALL)
            .and_then(|id| EpisodeId::parse(id).ok());
        match id {
            None => told.once(path, events::odd_in_outbox),
            Some(id) if is_absent(&root.episodes().join(id.as_str())) => {
                sweep(path, told, events::orphan_swept);
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Removes a file. A file that cannot be removed is logged once, and the sweep goes on.
fn sweep(path: PathBuf, told: &mut Told, tell: impl FnOnce(&Path)) {
    match durable::unlink(&path) {
        Ok(()) => tell(&path),
        Err(error) => told.once(path, |path| events::cannot_sweep(path, &error)),
    }
}

/// Whether nothing is at `path`. A directory that cannot be read is not absent.
pub(crate) fn is_absent(path: &Path) -> bool {
    matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// The total size of all files below a directory. A file that cannot be read counts as 0: the sum
/// only orders the queue and is shown.
pub(crate) fn tree_bytes(dir: &Path) -> u64 {
    let mut bytes = 0u64;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        service::alive();
        for found in fs::read_dir(dir).into_iter().flatten().flatten() {
            match found.metadata() {
                Ok(metadata) if metadata.is_dir() => dirs.push(found.path()),
                Ok(metadata) => bytes = bytes.saturating_add(metadata.len()),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::seeded::Seeded;

    const NAMES: [&str; 10] = [
        "a",
        "b-1",
        "C.x",
        "d_2",
        ".hidden",
        "e f",
        "f.json",
        "g.partial",
        "\u{e9}",
        "h.tar.zst",
    ];

    /// Any queue, against the table at the top: finished episodes are found, tarballs without an
    /// episode are swept, and nothing else is touched.
    #[test]
    fn a_scan_finds_and_sweeps_what_the_table_says() {
        let dir = std::env::temp_dir().join(format!("cis490-queue-{}", std::process::id()));
        for seed in 0..150 {
            let _ = fs::remove_dir_all(&dir);
            for folder in FOLDERS {
                fs::create_dir_all(dir.join(folder)).unwrap();
            }
            let root = Root::open(&dir).unwrap();
            let mut random = Seeded::new(seed);
            let mut finished = BTreeSet::new();
            let mut unfinished = 0;
            let mut overlooked = 0;
            for name in NAMES {
                let is_ours = EpisodeId::parse(name).is_ok();
                match put_episode(&root.episodes().join(name), &mut random) {
                    Put::Finished if is_ours => {
                        finished.insert(name.to_owned());
                    }
                    Put::Finished => overlooked += 1,
                    Put::Unfinished => unfinished += usize::from(is_ours),
                    Put::Nothing => {}
                }
            }
            let kept = put_outbox(&root, &mut random);
            let before = listing(&root.episodes());
            let scan = sweep_and_scan(&root, None, &mut Told::silent()).unwrap();
            let found: BTreeSet<String> =
                scan.finished.iter().map(|(id, _)| id.to_string()).collect();
            assert_eq!(found, finished, "seed {seed}");
            assert_eq!(
                (scan.unfinished, scan.overlooked),
                (unfinished, overlooked),
                "seed {seed}"
            );
            assert_eq!(listing(&root.outbox()), kept, "seed {seed}");
            assert_eq!(listing(&root.episodes()), before, "seed {seed}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    enum Put {
        Finished,
        Unfinished,
        /// No directory, so no episode.
        Nothing,
    }

    fn put_episode(path: &Path, random: &mut Seeded) -> Put {
        match random.below(6) {
            0 => Put::Nothing,
            1 => {
                fs::write(path, b"a file").unwrap();
                Put::Nothing
            }
            2 => {
                symlink("/nowhere", path).unwrap();
                Put::Nothing
            }
            3 => {
                fs::create_dir(path).unwrap();
                Put::Unfinished
            }
            _ => {
                fs::create_dir(path).unwrap();
                fs::write(path.join("meta.json"), b"{}").unwrap();
                Put::Finished
            }
        }
    }

    /// Fills outbox/; the names that must still be there after a sweep.
    fn put_outbox(root: &Root, random: &mut Seeded) -> BTreeSet<PathBuf> {
        let mut kept = BTreeSet::new();
        for name in NAMES {
            let path = |ending: &str| root.outbox().join(format!("{name}{ending}"));
            if random.below(2) == 0 {
                let tarball = path(TARBALL);
                fs::write(&tarball, b"packed").unwrap();
                let is_there = root.episodes().join(name).symlink_metadata().is_ok();
                if is_there || EpisodeId::parse(name).is_err() {
                    kept.insert(tarball);
                }
            }
            if random.below(3) == 0 {
                fs::write(path(PARTIAL), b"half").unwrap();
            }
            if random.below(4) == 0 {
                let odd = path(".odd");
                fs::write(&odd, b"somebody's").unwrap();
                kept.insert(odd);
            }
        }
        kept
    }

    fn listing(dir: &Path) -> BTreeSet<PathBuf> {
        fs::read_dir(dir)
            .unwrap()
            .map(|found| found.unwrap().path())
            .collect()
    }
}
