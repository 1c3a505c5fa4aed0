//! The store: episodes on the receiver's disk. An episode's state is where its names are.
//!
//!     +incoming/X  -episodes/<host>/<episode>  -row   being received; a crash leaves X, and recovery sweeps it
//!     +incoming/X  +episodes/<host>/<episode>  -row   whole and named; recovery gives it its row
//!     +incoming/X  +episodes/<host>/<episode>  +row   stored; X goes after the answer
//!     -incoming/X  +episodes/<host>/<episode>  +row   stored
//!     -incoming/X  +episodes/<host>/<episode>  -row   a lost index, or made by hand; the same bytes sent again, or `backfill`, give it a row
//!     -incoming/X  -episodes/<host>/<episode>  +row   archived by hand; the same bytes may come again, others not
//!
//! 1. What is acknowledged is on the disk: file, name, row. The committer has the order.
//! 2. A stored file never changes. Other bytes under its name are refused, and only a file that
//!    contradicts its own row gives way, into quarantine/.
//! 3. A claim is never believed over the bytes: the digest is computed, not taken.
//! 4. episodes/ is the truth and index.jsonl is derived from it.

pub mod backfill;
pub mod scrub;
pub mod threshold;

mod arrival;
mod buffers;
mod committer;
mod existing;
mod index;
mod jobs;
mod layout;
mod pacer;
mod recovery;
pub mod rows;
mod space;
mod turns;
mod writer;

#[cfg(any(test, fuzzing))]
pub mod fuzzed;
#[cfg(any(test, fuzzing))]
pub mod testing;

use std::ffi::CStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::failure::Failure;
use crate::folder_lock::FolderLock;
use crate::names::Sha256Digest;
use crate::receiver::Claim;
use crate::receiver::figures::Figures;
use crate::receiver::vital::{Pong, Stopper};
use crate::wire::{GatePlace, Receipt, Slot};
use crate::{events, owner};

pub use self::arrival::Arrival;
pub use self::committer::Finished;
pub use self::space::Space;

use self::buffers::Buffers;
use self::committer::Committer;
use self::index::Index;
use self::layout::Layout;
use self::recovery::Recovered;
use self::space::Allowance;
use self::turns::Turns;

/// Where the index of a store lies, for those who only read it.
pub fn index_path(data_dir: &Path) -> PathBuf {
    Layout::new(data_dir).index()
}

pub fn quarantine_path(data_dir: &Path) -> PathBuf {
    Layout::new(data_dir).quarantine()
}

/// Where a stored file carries its own receipt.
const ATTRIBUTE: &CStr = c"user.cis490.receipt";

/// The store of this process. Shared by all threads that serve; each call does disk I/O.
pub struct Store {
    layout: Layout,
    index: Arc<Index>,
    allowance: Arc<Allowance>,
    buffers: Arc<Buffers>,
    uploads_begun: AtomicU64,
    turns: Turns,
    /// Last, so that it is held until the committer has ended.
    _lock: FolderLock,
}

/// What stands under a name.
#[derive(Debug)]
pub enum Standing {
    /// These bytes: row and file are there, and the file has the row's size.
    Stored(Box<Receipt>),
    /// Other bytes: by the row, or by the size of a file without one.
    Taken,
    /// Nothing that settles it before the bytes are here.
    Free,
}

/// An episode that is on the disk.
#[derive(Debug)]
pub struct Published {
    /// Its row.
    pub receipt: Receipt,
    /// Whether it came with this upload (201), or these bytes were here already (200).
    pub fresh: bool,
}

/// Why an upload was not stored. Nothing of it is left.
#[derive(Debug)]
pub enum StoreError {
    /// No room: the floor, the disk or a quota.
    Full,
    /// Other bytes are stored under this name.
    Taken,
    DigestMismatch {
        found: Sha256Digest,
    },
    /// The body ended after this many bytes.
    CutShort {
        found: u64,
    },
    /// Our own fault, logged already.
    Io(io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Full => f.write_str("the store is out of space"),
            StoreError::Taken => f.write_str("other bytes are stored under this name"),
            StoreError::DigestMismatch { found } => write!(f, "the bytes have the digest {found}"),
            StoreError::CutShort { found } => write!(f, "the body ended after {found} bytes"),
            StoreError::Io(error) => write!(f, "the store failed: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl Store {
    /// Opens the store and settles what the last run left. Keeps `min_free_bytes` of the disk free,
    /// and `figures` true from the first row to the last.
    ///
    /// `config_path` is for the words to whoever named a folder that is no store. A fault that only
    /// a restart mends goes to `stopper`.
    pub fn open(
        data_dir: &Path,
        min_free_bytes: u64,
        stopper: &Stopper,
        config_path: &Path,
        figures: Arc<Figures>,
    ) -> Result<Arc<Store>, Failure> {
        let opened = Opened::open(data_dir, config_path, figures)?;
        let (index, layout) = (opened.committer.index(), opened.layout);
        let Recovered { published, swept } = opened.recovered;
        events::store_opened(data_dir, index.count(), published, swept);
        Ok(Arc::new(Store {
            allowance: Arc::new(Allowance::new(data_dir, min_free_bytes)),
            buffers: Buffers::new(),
            uploads_begun: AtomicU64::new(0),
            turns: Turns::start(opened.committer, stopper)?,
            _lock: opened.lock,
            index,
            layout,
        }))
    }

    /// What stands under the claim's name, judged by row and file.
    pub fn standing(&self, claim: &Claim) -> io::Result<Standing> {
        let rows = self.index.rows_of(&claim.slot)?;
        let file_bytes = self.file_bytes(&claim.slot)?;
        if rows.is_empty() {
            return Ok(match file_bytes {
                Some(bytes) if bytes != claim.bytes => Standing::Taken,
                _ => Standing::Free,
            });
        }
        let ours = rows.into_iter().rfind(|row| row.sha256 == claim.sha256);
        let Some(row) = ours else {
            return Ok(Standing::Taken);
        };
        let bytes = row.bytes.unwrap_or(claim.bytes);
        Ok(match file_bytes == Some(bytes) && claim.bytes == bytes {
            true => Standing::Stored(Box::new(row)),
            false => Standing::Free,
        })
    }

    /// The receipt of a slot: its newest row.
    pub fn receipt(&self, slot: &Slot) -> io::Result<Option<Receipt>> {
        Ok(self.index.rows_of(slot)?.pop())
    }

    /// Whether `bytes` more would leave the floor as it is, at this moment. [`Store::begin`] decides.
    pub fn has_room(&self, bytes: u64) -> io::Result<bool> {
        Ok(self.space()?.holds(bytes))
    }

    /// Takes the space for an upload, and makes its file in incoming/.
    pub fn begin(
        self: &Arc<Self>,
        claim: Claim,
        place: Option<GatePlace>,
    ) -> Result<Arrival, StoreError> {
        Arrival::begin(self, claim, place)
    }

    /// The committer's thread calls it between two batches.
    pub fn ping(&self, pong: Pong) {
        self.turns.ping(pong);
    }

    /// How many episodes have a row.
    pub fn episodes(&self) -> usize {
        self.index.count()
    }

    pub fn space(&self) -> io::Result<Space> {
        self.allowance.look()
    }

    pub fn data_dir(&self) -> &Path {
        self.layout.root()
    }

    fn file_bytes(&self, slot: &Slot) -> io::Result<Option<u64>> {
        match fs::symlink_metadata(self.layout.tarball(slot)) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if existing::is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A store that is locked and recovered, and not served yet: for `receive` and for `backfill`.
struct Opened {
    layout: Layout,
    committer: Committer,
    recovered: Recovered,
    lock: FolderLock,
}

impl Opened {
    fn open(data_dir: &Path, config_path: &Path, figures: Arc<Figures>) -> Result<Opened, Failure> {
        let layout = Layout::new(data_dir);
        let lock = threshold::enter(&layout, config_path)?;
        threshold::probe(&layout)?;
        let (index, tail) = Index::open(&layout, &figures).map_err(|error| {
            Failure::new(
                format!("cannot open {}: {error}", layout.index().display()),
                if space::is_full(&error) {
                    "free some space (or inodes) on the disk of data_dir; nothing is lost meanwhile"
                        .to_owned()
                } else {
                    owner::hint(
                        &error,
                        "look at the disk and at who owns the file (dmesg, ls -l)",
                    )
                },
            )
        })?;
        let mut committer = Committer::new(layout.clone(), Arc::new(index), tail, figures);
        let recovered = recovery::recover(&layout, &mut committer)?;
        Ok(Opened {
            layout,
            committer,
            recovered,
            lock,
        })
    }
}
