//! The folder that a pull fills, and where each of its files is.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::end::End;
use crate::durable::{self, Filesystem};
use crate::failure::Failure;
use crate::folder_lock::{FolderLock, NoLock, holder};
use crate::names::{HostId, Sha256Digest};
use crate::owner;
use crate::wire::{Slot, TARBALL_ENDING};

/// Another pull may just be ending.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);
const READ_BYTES: usize = 256 << 10;

/// The folder, which this process alone fills for as long as it holds this.
pub(crate) struct Folder {
    path: PathBuf,
    filesystem: Filesystem,
    _lock: FolderLock,
}

impl Folder {
    /// Makes the folder if its parent is there, enters it and locks it. Root becomes the folder's owner. Of a link
    /// it is the folder that the link leads to, also in messages: a link that is changed meanwhile changes nothing.
    ///
    /// Errors: the parent is not there, the link leads nowhere, another pull is at work in the folder, or it cannot
    /// be written.
    pub(crate) fn enter(path: &Path) -> Result<Folder, Failure> {
        let path = &resolved(path)?;
        let above = durable::parent(path);
        if !above.is_dir() {
            return Err(Failure::new(
                format!("{} is not there", above.display()),
                format!(
                    "is its disk mounted? if so: mkdir -p {}, and pull again",
                    above.display()
                ),
            ));
        }
        owner::enter_new(path, durable::make_dir)?;
        let lock = path.join("pull.lock");
        let taken = FolderLock::take(path, &lock, LOCK_PATIENCE);
        let lock = taken.map_err(|no_lock| match no_lock {
            NoLock::Taken => holder::refused(path, &lock),
            NoLock::Io(error) => Failure::new(
                format!("cannot lock {}: {error}", lock.display()),
                owner::hint(&error, "look at the folder and at its disk (ls -l, dmesg)"),
            ),
        })?;
        let filesystem = Filesystem::of(path).map_err(|error| {
            Failure::new(
                format!("cannot open {}: {error}", path.display()),
                owner::hint(&error, "look at the folder and at its disk (ls -l, dmesg)"),
            )
        })?;
        Ok(Folder {
            path: path.to_owned(),
            filesystem,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn filesystem(&self) -> &Filesystem {
        &self.filesystem
    }

    /// The receipts of what is here.
    pub(super) fn index(&self) -> PathBuf {
        self.path.join("index.jsonl")
    }

    /// How far the receiver's list was read.
    pub(super) fn cursor(&self) -> PathBuf {
        self.path.join("pull.json")
    }

    /// What the receiver lists and does not give.
    pub(super) fn missing(&self) -> PathBuf {
        self.path.join("pull-missing.jsonl")
    }

    pub(super) fn host(&self, host: &HostId) -> PathBuf {
        self.path.join(host.as_str())
    }

    pub(super) fn tarball(&self, slot: &Slot) -> PathBuf {
        let name = format!("{}{TARBALL_ENDING}", slot.episode.as_str());
        self.host(&slot.host).join(name)
    }

    /// Where the bytes of a tarball gather. No episode has this name: its grammar keeps the ending free.
    pub(super) fn partial(&self, slot: &Slot) -> PathBuf {
        let name = format!("{}{TARBALL_ENDING}.partial", slot.episode.as_str());
        self.host(&slot.host).join(name)
    }
}

/// The folder that a link leads to; of anything else, the path itself.
fn resolved(path: &Path) -> Result<PathBuf, Failure> {
    if !path.is_symlink() {
        return Ok(path.to_owned());
    }
    path.canonicalize().map_err(|error| {
        Failure::new(
            format!("{} is a link that leads nowhere: {error}", path.display()),
            "is the disk that it leads to mounted? if so: make the folder there, and pull again",
        )
    })
}

/// What stands under the name of a tarball.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    File {
        bytes: u64,
    },
    /// Anything else, with its article.
    Other(&'static str),
}

/// Looks at a name, and follows no link.
pub(super) fn look(path: &Path) -> Result<Found, End> {
    match path.symlink_metadata() {
        Ok(found) if found.is_file() => Ok(Found::File { bytes: found.len() }),
        Ok(found) => Ok(Found::Other(durable::kind_words(found.file_type()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(End::disk("look at", path, &error)),
    }
}

/// Reads a file from its beginning into a digest; how many bytes it has.
pub(super) fn read_into(file: &File, hasher: &mut Sha256) -> io::Result<u64> {
    let mut bytes = 0;
    if file.metadata()?.len() == 0 {
        return Ok(bytes);
    }
    let mut buffer = vec![0; READ_BYTES];
    let mut file = file;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes += count as u64;
        hasher.update(&buffer[..count]);
    }
}

/// The SHA-256 of a whole file.
pub(super) fn digest_of(path: &Path) -> Result<Sha256Digest, End> {
    let mut hasher = Sha256::new();
    durable::open_regular(path)
        .and_then(|file| read_into(&file, &mut hasher))
        .map_err(|error| End::disk("read", path, &error))?;
    Ok(Sha256Digest::from_bytes(hasher.finalize().into()))
}
