//! The store: episodes on the receiver's disk. An episode's state is where its names are.
//!
//!     +incoming/X  -episodes/<host>/<episode>  -row   being received, or broken off and kept to be resumed; a crash leaves X, and recovery sweeps it
//!     +incoming/X  +episodes/<host>/<episode>  -row   named; recovery gives it its row, or removes it if a power cut has torn it
//!     +incoming/X  +episodes/<host>/<episode>  +row   being synced, or stored; recovery as above; X goes after the answer
//!     -incoming/X  +episodes/<host>/<episode>  +row   stored
//!     -incoming/X  +episodes/<host>/<episode>  -row   a lost index, or made by hand; the same bytes sent again, or `backfill`, give it a row
//!     -incoming/X  -episodes/<host>/<episode>  +row   archived by hand; the same bytes may come again, others not
//!
//! 1. An acknowledged episode is on the disk: file, name, row. The committer has the order.
//! 2. A stored file never changes. Other bytes under its name are refused, and only a file that
//!    contradicts its own row, or without a row the receipt that it carries, gives way, into quarantine/.
//! 3. A claim is never believed over the bytes: the digest is computed, not taken.
//! 4. episodes/ is the truth and index.jsonl is derived from it.
//! 5. All work is done in the folder and the index that were opened: `condition` and `watch` look
//!    whether they still are the ones under their names.

// An upload becomes a stored episode.
mod buffers;
mod commit_queue;
mod commit_request;
mod committer;
mod group_commit;
mod new_rows;
mod partial_file;
mod space;
mod standing;
mod upload;
mod writer;

// A stored episode is read, and its local file removed.
mod fetch;
mod local_copy;

// The files on the disk.

mod index;
mod layout;
mod listing;
pub(crate) mod marker;

pub(crate) mod row_pages;
mod row_scan;
pub(crate) mod rows;
pub(crate) mod sequence;
pub(crate) mod store_dir;
mod stored_file;
mod tail;

// Whether the store is still as it should be, and its repair.
pub(crate) mod backfill;
pub(crate) mod condition;
mod pacer;
mod recovery;
pub(crate) mod restored_rows;
pub(crate) mod scrub;
mod watch;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::folder_lock::FolderLock;
use crate::names::{Sha256Digest, StoreId};
use crate::receiver::Claim;
use crate::receiver::critical_thread::{Pong, ShutdownHandle};
use crate::receiver::data_dir::DataDir;
use crate::receiver::stats::Stats;
use crate::wire::{GatePlace, Receipt, Slot};
use crate::{durable, events, owner};

pub(crate) use self::fetch::{Fetched, StoredFile};
pub(crate) use self::partial_file::{NamesOfOthers, PartialFile};
pub(crate) use self::space::Space;
pub(crate) use self::standing::Standing;
pub(crate) use self::upload::{NotResumed, Suspended, Upload};

use self::buffers::Buffers;
use self::commit_queue::CommitQueue;
use self::committer::Committer;
use self::condition::{Condition, Unwritable};
use self::index::Index;
use self::layout::Layout;
use self::partial_file::AnsweredFiles;
use self::recovery::Recovered;
use self::row_pages::{Page, PageQuestion};
use self::sequence::{IndexFinding, Sequence};
use self::space::SpaceBudget;

/// The locks of `group_commit`: a test compiles it with others.
mod primitives {
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
    pub(super) use std::time::Instant;
}

/// Where the index of a store lies, for those who only read it.
pub(crate) fn index_path(data_dir: &Path) -> PathBuf {
    Layout::new(data_dir).index()
}

/// Where the tarball of an episode lies, for those who only read it.
pub(crate) fn tarball_path(data_dir: &Path, slot: &Slot) -> PathBuf {
    Layout::new(data_dir).tarball(slot)
}

pub(crate) fn quarantine_path(data_dir: &Path) -> PathBuf {
    Layout::new(data_dir).quarantine()
}

/// How long an end waits for the batch under way.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Where a stored file carries its own receipt.
const ATTRIBUTE: &CStr = c"user.cis490.receipt";

/// The store of this process. Shared by all threads that serve; each call does disk I/O.
pub(crate) struct Store {
    layout: Layout,
    id: StoreId,
    index: Arc<Index>,
    space_budget: Arc<SpaceBudget>,
    buffers: Arc<Buffers>,
    uploads_begun: AtomicU64,
    answered_files: AnsweredFiles,
    condition: Arc<Condition>,
    /// Rows that the index lacks, found at this start or an earlier one, and not restored by backfill.
    finding: Option<IndexFinding>,
    commit_queue: CommitQueue,
    /// Last, so that it is held until the committer has ended.
    lock: FolderLock,
}

/// An episode that is on the disk.
#[derive(Debug)]
pub(crate) struct Published {
    /// Its row.
    pub receipt: Receipt,
    pub came: Came,
}

/// How the file of a published episode came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// With this upload, as its row did.
    New,
    /// With this upload, for a row of before: its file was gone or damaged.
    Again,
    /// Before this upload.
    Earlier,
}

impl Published {
    /// Whether its file came with this upload (201), or these bytes were here already (200).
    pub(crate) fn is_fresh(&self) -> bool {
        self.came != Came::Earlier
    }
}

/// Why an upload was not stored. Nothing of it is left.
#[derive(Debug)]
pub(crate) enum StoreError {
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
    /// Our own fault, logged before the upload's caller has it.
    Io(io::Error),
}

impl StoreError {
    pub(super) fn of(error: io::Error) -> StoreError {
        if durable::is_full(&error) {
            StoreError::Full
        } else {
            StoreError::Io(error)
        }
    }

    /// The same for another upload. An `io::Error` cannot be cloned.
    fn again(&self) -> StoreError {
        match self {
            StoreError::Full => StoreError::Full,
            StoreError::Taken => StoreError::Taken,
            StoreError::DigestMismatch { found } => StoreError::DigestMismatch { found: *found },
            StoreError::CutShort { found } => StoreError::CutShort { found: *found },
            StoreError::Io(error) => StoreError::Io(durable::same(error)),
        }
    }
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
    /// and `stats` true from the first row to the last.
    ///
    /// `seq_seen` is a number that a row had, known from outside the store: see [`Sequence::open`].
    /// `config_path` is named in the refusal of a folder that is no store. A fault that only a restart
    /// repairs goes to `shutdown`.
    pub(crate) fn open(
        data_dir: &Path,
        min_free_bytes: u64,
        seq_seen: u64,
        shutdown: &ShutdownHandle,
        config_path: &Path,
        stats: Arc<Stats>,
    ) -> Result<Arc<Store>, Failure> {
        let opened = Opened::open(data_dir, seq_seen, config_path, stats)?;
        let index = opened.committer.index();
        let layout = opened.layout;
        let Recovered { published, swept } = opened.recovered;
        events::store_opened(data_dir, index.count(), published, swept);
        Ok(Arc::new(Store {
            space_budget: Arc::new(SpaceBudget::new(data_dir, min_free_bytes)),
            buffers: Buffers::new(),
            uploads_begun: AtomicU64::new(0),
            answered_files: AnsweredFiles::default(),
            condition: opened.condition,
            finding: opened.committer.finding().cloned(),
            commit_queue: CommitQueue::start(opened.committer, shutdown)?,
            lock: opened.lock,
            index,
            layout,
            id: opened.id,
        }))
    }

    /// From here on so much of the disk stays free. An upload under way keeps the space it has.
    pub(crate) fn keep_free(&self, bytes: u64) {
        self.space_budget.set_floor(bytes);
    }

    /// Takes the space for an upload, and makes its file in incoming/.
    pub(crate) fn begin(
        self: &Arc<Self>,
        claim: Claim,
        place: Option<GatePlace>,
    ) -> Result<Upload, StoreError> {
        Upload::begin(self, claim, place)
    }

    /// Removes the name in incoming/ of an upload that has its answer, or leaves it to a thread that removes others
    /// now. Returns the names that others have left to this thread, if there are any.
    pub(crate) fn forget(&self, answered: PartialFile) -> Option<NamesOfOthers<'_>> {
        self.answered_files.remove(answered)
    }

    /// Goes on with an upload whose body has broken off: takes the space for the rest. `claim` has its digest
    /// and its length.
    pub(crate) fn resume(
        self: &Arc<Self>,
        suspended: Suspended,
        claim: Claim,
        place: Option<GatePlace>,
    ) -> Result<Upload, NotResumed> {
        Upload::resume(self, suspended, claim, place)
    }

    /// Calls `pong` when the committer and its sync threads have shown that they are alive.
    pub(crate) fn ping(&self, pong: Pong) {
        self.commit_queue.ping(pong);
    }

    /// The id that no other store has.
    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    /// A page of the rows whose append is on the disk. `None` if its cursor is not one.
    pub(crate) fn page(&self, question: &PageQuestion) -> io::Result<Option<Page>> {
        self.index.page(question)
    }

    /// How many episodes have a row.
    pub(crate) fn episodes(&self) -> usize {
        self.index.count()
    }

    /// The disk at this moment. [`Store::begin`] decides whether an upload has room.
    pub(crate) fn space(&self) -> io::Result<Space> {
        self.space_budget.look()
    }

    /// Looks whether the store can be written, tries it if it could not be, has the index looked at, and frees
    /// the memory of uploads that have ended. Once a second, from a thread of its own.
    pub(crate) fn look(&self) {
        self.buffers.look();
        self.condition.look();
        self.condition.probe_if_due(Instant::now());
        self.commit_queue.look();
    }

    /// Why no upload is taken, as of the last look. An atomic load.
    pub(crate) fn unwritable(&self) -> Option<Arc<Unwritable>> {
        self.condition.unwritable()
    }

    /// The same, looked at now: after a fault. For plain threads only.
    pub(crate) fn why_unwritable(&self) -> Option<Arc<Unwritable>> {
        self.condition.look()
    }

    /// Why health says no. An atomic load or two.
    pub(crate) fn unwell(&self) -> Option<Arc<Unwritable>> {
        self.condition.unwell()
    }

    /// Rows that were lost, and that backfill has not brought back yet.
    pub(crate) fn finding(&self) -> Option<&IndexFinding> {
        self.finding.as_ref()
    }

    /// The end of this process: commits nothing more, and notes where the index ends.
    pub(crate) fn close(&self) {
        self.commit_queue.close(CLOSE_PATIENCE);
    }

    /// Notes in the lock's file where this process can be asked, for `status`. Where that file cannot be
    /// written, on a full disk or because root has left it, `status` asks the address of the
    /// configuration.
    pub(crate) fn note_address(&self, address: SocketAddr) {
        let _ = self.lock.note(&format!("{address}\n"));
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.layout.root()
    }
}

/// A store that is locked and recovered, and not served yet: for `receive` and for `backfill`.
struct Opened {
    layout: Layout,
    id: StoreId,
    committer: Committer,
    condition: Arc<Condition>,
    recovered: Recovered,
    lock: FolderLock,
}

impl Opened {
    fn open(
        data_dir: &Path,
        seq_seen: u64,
        config_path: &Path,
        stats: Arc<Stats>,
    ) -> Result<Opened, Failure> {
        let layout = Layout::new(data_dir);
        let lock = store_dir::enter(&layout, config_path)?;
        let has_attributes = store_dir::probe(&layout)?;
        // Before the folder's identity is looked at, which is that of the marker.
        let id = marker::ensure_id(&layout)?;
        let cannot = |path: PathBuf, error: io::Error| {
            let hint = owner::hint(
                &error,
                "look at the disk and at who owns the file (dmesg, ls -l)",
            );
            Failure::new(format!("cannot open {}: {error}", path.display()), hint)
        };
        let home = DataDir::open(data_dir).map_err(|error| cannot(layout.marker(), error))?;
        let was_there = layout.index().exists();
        let (index, mut tail) =
            Index::open(&layout, &stats).map_err(|error| cannot(layout.index(), error))?;
        let sequence = Sequence::open(&home, &layout, was_there, seq_seen, &mut tail)?;
        let condition = Condition::new(layout.clone(), home);
        let mut committer = Committer::new(
            layout.clone(),
            Arc::new(index),
            tail,
            sequence,
            Arc::clone(&condition),
            stats,
        );
        let recovered = recovery::recover(&layout, has_attributes, &mut committer)?;
        Ok(Opened {
            layout,
            id,
            committer,
            condition,
            recovered,
            lock,
        })
    }
}
