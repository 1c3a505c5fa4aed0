//! An upload whose body has broken off, and which may go on within this process.
//!
//!     suspend    the writing thread ends  truncate(X) to the whole blocks
//!     resume     open(X)  allocate                   write  attribute  fsync(X)  the committer's order
//!
//! 1. X has the whole blocks that were received, and nothing behind them: so direct writes stay aligned, and
//!    the hash goes on from its state at that place.
//! 2. The disk's space for the rest is given back meanwhile, and taken anew: what X has is counted by the
//!    filesystem alone.
//! 3. Nothing of it outlives the process: its name is in incoming/, and recovery removes it. Dropping a
//!    [`Suspended`] does the same.
//! 4. The digest of the whole body decides, as for every upload: it is that of the bytes as they came. A file
//!    that somebody has touched meanwhile is not gone on with. What the disk makes of the bytes is for scrub
//!    to find, as for every upload.

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::{
    Incoming, PartialFile, Store, StoreError, Upload, WholeBlocks, fault, fault_of_incoming,
};
use crate::file_identity::FileIdentity;
use crate::receiver::Claim;
use crate::receiver::store::writer::Writer;
use crate::wire::GatePlace;
use crate::{durable, events};

/// Owning it is owning its file, which is removed when this is dropped. It has no descriptor and no
/// memory of the body.
pub(crate) struct Suspended {
    claim: Claim,
    partial: PartialFile,
    whole: WholeBlocks,
    /// As the file was left.
    left: Left,
}

/// What changes with a file, whoever writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    identity: FileIdentity,
    bytes: u64,
    /// When it was last changed, by the kernel's clock: seconds and nanoseconds.
    changed_at: (i64, i64),
}

impl Left {
    fn of(file: &File) -> io::Result<Left> {
        let found = file.metadata()?;
        Ok(Left {
            identity: FileIdentity::of(&found),
            bytes: found.len(),
            changed_at: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Why an upload does not go on.
pub(crate) struct NotResumed {
    pub error: StoreError,
    /// The upload, if it may go on later.
    pub suspended: Option<Box<Suspended>>,
}

impl Suspended {
    /// What its upload has claimed.
    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// How many bytes of the body are here: where the rest begins.
    pub(crate) fn offset(&self) -> u64 {
        self.whole.bytes
    }
}

impl Upload {
    /// Ends the upload in the middle of its body. `None` if no whole block of it is on the disk, or the disk
    /// has failed: then nothing of the upload is left.
    pub(crate) fn suspend(mut self) -> Option<Suspended> {
        if self.whole.bytes == 0 {
            return None;
        }
        // It is behind the last whole block.
        self.filling = None;
        self.filled = 0;
        let cut = self
            .writer
            .finish()
            .and_then(|()| durable::truncate(&self.file, self.whole.bytes))
            .and_then(|()| Left::of(&self.file));
        let left = match cut {
            Ok(left) => left,
            Err(error) => {
                events::store_fault(&self.claim.slot, "keep a broken upload", &error);
                return None;
            }
        };
        Some(Suspended {
            claim: self.claim.clone(),
            partial: mem::take(&mut self.partial),
            whole: mem::take(&mut self.whole),
            left,
        })
    }

    /// Takes the space for the rest of the body. Called by `Store::resume`.
    ///
    /// `claim` has the digest and the length of the suspended one; its commit may be another.
    pub(in crate::receiver::store) fn resume(
        store: &Arc<Store>,
        suspended: Suspended,
        claim: Claim,
        place: Option<GatePlace>,
    ) -> Result<Upload, NotResumed> {
        let path = suspended.partial.path().unwrap_or(store.data_dir());
        let opened = open(path, suspended.left)
            .map_err(|error| fault(&claim, "open a broken upload", error));
        let file = match opened {
            Ok(file) => Arc::new(file),
            Err(error) => return Err(NotResumed::for_good(error)),
        };
        let taken = store
            .space_budget
            .take_rest(&file, suspended.offset(), claim.bytes);
        let writer = taken.and_then(|reservation| {
            let offset = suspended.offset();
            Writer::new(Arc::clone(&file), path, claim.bytes, offset, reservation)
        });
        let writer = match writer {
            Ok(writer) => writer,
            Err(error) => {
                let error = fault_of_incoming(store, &claim, "resume an upload", error);
                return Err(suspended.put_back(&file, error));
            }
        };
        let Suspended { partial, whole, .. } = suspended;
        let incoming = Incoming {
            file,
            partial,
            writer,
        };
        Ok(Upload::of(store, claim, place, incoming, whole))
    }
}

impl Suspended {
    /// Gives back what was allocated behind the bytes that are here.
    fn put_back(mut self, file: &File, error: StoreError) -> NotResumed {
        let cut = durable::truncate(file, self.offset()).and_then(|()| Left::of(file));
        match cut {
            Ok(left) => self.left = left,
            Err(why) => {
                events::store_fault(&self.claim.slot, "keep a broken upload", &why);
                return NotResumed::for_good(error);
            }
        }
        NotResumed {
            error,
            suspended: Some(Box::new(self)),
        }
    }
}

impl NotResumed {
    fn for_good(error: StoreError) -> NotResumed {
        NotResumed {
            error,
            suspended: None,
        }
    }
}

/// Errors: those of the disk; or the file is not as it was left.
fn open(path: &Path, left: Left) -> io::Result<File> {
    let file = durable::open_regular_with(path, File::options().read(true).write(true))?;
    if Left::of(&file)? != left {
        let why = "somebody has changed its file since its connection broke";
        return Err(io::Error::other(why));
    }
    Ok(file)
}
