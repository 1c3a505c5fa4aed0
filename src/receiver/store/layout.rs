//! Where everything lies in `data_dir`, and how our own file names are made and read back.
//!
//! Names are safe by the grammar of `HostId` and `EpisodeId`: neither has a `~` or a `/`, and no
//! episode ends like a file of ours.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::names::{EpisodeId, HostId};
use crate::receiver::data_dir::MARKER;
use crate::wire::Slot;

pub(super) const TARBALL_ENDING: &str = ".tar.zst";
const PARTIAL_ENDING: &str = ".partial";

/// What we take of a name before we put a number behind it: filesystems allow 255.
const NAME_BYTES_MAX: usize = 240;

/// The paths of one store.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Layout {
        Layout {
            root: root.to_owned(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Marks the folder as a store, with its format version.
    pub(crate) fn marker(&self) -> PathBuf {
        self.root.join(MARKER)
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Where the newest scrub of the whole store is, or what it found.
    pub(crate) fn scrub(&self) -> PathBuf {
        self.root.join("scrub.json")
    }

    /// The same of the newest scrub of what was new.
    pub(crate) fn scrub_since(&self) -> PathBuf {
        self.root.join("scrub-since.json")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index.jsonl")
    }

    /// Which numbers rows may have had, and how long the index was.
    pub(crate) fn sequence(&self) -> PathBuf {
        self.root.join("sequence")
    }

    pub(crate) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    pub(crate) fn episodes(&self) -> PathBuf {
        self.root.join("episodes")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// What `init` makes.
    pub(crate) fn folders(&self) -> [PathBuf; 3] {
        [self.incoming(), self.episodes(), self.quarantine()]
    }

    pub(crate) fn host_dir(&self, host: &HostId) -> PathBuf {
        self.episodes().join(host.as_str())
    }

    pub(crate) fn tarball(&self, slot: &Slot) -> PathBuf {
        self.root.join(relative_tarball(slot))
    }

    pub(crate) fn partial(&self, slot: &Slot, n: u64) -> PathBuf {
        let Slot { host, episode } = slot;
        self.incoming()
            .join(format!("{host}~{episode}~{n}{PARTIAL_ENDING}"))
    }

    /// Moves what we do not understand out of the way and keeps it; where it is now.
    pub(crate) fn set_aside(&self, found: &Path) -> io::Result<PathBuf> {
        let kept_as = self.move_aside(found)?;
        self.sync_moved_aside(found)?;
        Ok(kept_as)
    }

    /// As [`Layout::set_aside`], and leaves the syncs to the caller.
    pub(crate) fn move_aside(&self, found: &Path) -> io::Result<PathBuf> {
        let name = found.file_name().unwrap_or_default().to_string_lossy();
        self.free_in_quarantine(&name, |path| durable::rename_new(found, path))
    }

    /// The names that moved from `found` to quarantine/ stay so.
    pub(crate) fn sync_moved_aside(&self, found: &Path) -> io::Result<()> {
        durable::sync_dir(&self.quarantine())?;
        durable::sync_dir(durable::parent(found))
    }

    /// A new file in quarantine/ for a copy of something. The caller fills and syncs it.
    pub(crate) fn new_in_quarantine(&self, name: &str) -> io::Result<(PathBuf, File)> {
        let mut made = None;
        let path = self.free_in_quarantine(name, |path| {
            made = Some(durable::create_new(path)?);
            Ok(())
        })?;
        match made {
            Some(file) => Ok((path, file)),
            None => Err(io::Error::other("no file was made in quarantine/")),
        }
    }

    /// Tries `name.1`, `name.2`, ... until `take` gets one that was free.
    fn free_in_quarantine(
        &self,
        name: &str,
        mut take: impl FnMut(&Path) -> io::Result<()>,
    ) -> io::Result<PathBuf> {
        // A name may be as long as the filesystem takes already; room for the number must be left.
        let mut name = name.to_owned();
        while name.len() > NAME_BYTES_MAX {
            name.pop();
        }
        for n in 1..u32::MAX {
            let path = self.quarantine().join(format!("{name}.{n}"));
            match take(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
                Ok(()) => return Ok(path),
            }
        }
        Err(io::Error::other("quarantine/ has no free name left"))
    }
}

/// A tarball's path as receipts tell it: relative to `data_dir`.
pub(super) fn relative_tarball(slot: &Slot) -> String {
    let Slot { host, episode } = slot;
    format!("episodes/{host}/{episode}{TARBALL_ENDING}")
}

/// The slot of a name in incoming/; `None` for a name that we never give.
pub(super) fn slot_of_partial(name: &str) -> Option<Slot> {
    let (host, rest) = name.strip_suffix(PARTIAL_ENDING)?.split_once('~')?;
    let (episode, n) = rest.split_once('~')?;
    let counted = !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    counted.then_some(Slot {
        host: HostId::parse(host).ok()?,
        episode: EpisodeId::parse(episode).ok()?,
    })
}

/// The episode of a name in `episodes/<host>/`; `None` for a name that we never give.
pub(super) fn episode_of_tarball(name: &str) -> Option<EpisodeId> {
    EpisodeId::parse(name.strip_suffix(TARBALL_ENDING)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_they_were_made() {
        let layout = Layout::new(Path::new("/data"));
        let slot = Slot::parse("lab-1/ep.2_x-y").unwrap();
        let partial = layout.partial(&slot, 7);
        assert_eq!(
            partial.to_str(),
            Some("/data/incoming/lab-1~ep.2_x-y~7.partial")
        );
        assert_eq!(
            slot_of_partial("lab-1~ep.2_x-y~7.partial"),
            Some(slot.clone())
        );
        assert_eq!(
            layout.tarball(&slot).to_str(),
            Some("/data/episodes/lab-1/ep.2_x-y.tar.zst")
        );
        assert_eq!(
            episode_of_tarball("ep.2_x-y.tar.zst"),
            Some(slot.episode.clone())
        );
        // An episode may be called x.tar, and keeps that name.
        assert_eq!(
            episode_of_tarball("x.tar.tar.zst").unwrap().as_str(),
            "x.tar"
        );
    }

    #[test]
    fn names_that_we_never_give_have_no_slot() {
        for odd in [
            "",
            "a~b~.partial",
            "a~b.partial",
            "a~b~1",
            "a~b~1.partial.tmp",
            "A~b~1.partial",
            "a~b~1x.partial",
            "a~~1.partial",
            ".probe",
            "a~b~c~1.partial",
        ] {
            assert_eq!(slot_of_partial(odd), None, "{odd:?}");
        }
        for odd in [".tar.zst", "a.tar", "a.zst.tar.zst", "a b.tar.zst"] {
            assert_eq!(episode_of_tarball(odd), None, "{odd:?}");
        }
    }
}
