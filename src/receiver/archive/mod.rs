//! The archive: verified episodes in a bucket of an S3-compatible store (design, section 12).
//!
//! | row | file | ledger | object | the episode is |
//! | --- | --- | --- | --- | --- |
//! | yes | yes | - | no | stored |
//! | yes | yes | - | yes | copied, not proven: HEAD finds it after any crash |
//! | yes | yes | proven | yes | archived |
//! | yes | no | proven | yes | evicted |
//! | yes | no | listed | yes | restored: seen in a list of the bucket, not read back yet |
//! | yes | no | lost | no | lost; the same bytes sent again are stored |
//!
//! 1. For every acknowledged episode there is a whole local file, or an object that was read back and had
//!    the receipt's digest.
//! 2. Nothing on the request path waits for the store.
//! 3. This room sees neither `http` nor `store`: the receiver lends it a [`Shelf`].

mod archiver;
pub(crate) mod audit;
pub(crate) mod doctor;
mod evict;
mod figures;
mod held;
mod key;
mod ledger;
mod object_troubles;
mod patience;
pub(crate) mod plan;
mod proofs;
mod reload;
mod report;
mod rest;
pub(crate) mod restore;
mod s3;
mod shelf;
mod spot_check;
mod step;
mod walk;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;

use self::archiver::Archiver;
#[cfg(test)]
pub(crate) use self::figures::ArchiveFailing;
pub(crate) use self::figures::{Figures, Place, Totals};
pub(crate) use self::ledger::Ledger;
use self::ledger::State;
pub(crate) use self::object_troubles::ObjectTrouble;
pub(crate) use self::reload::ReadyTerms;
use self::reload::Terms;
pub(crate) use self::report::{ArchiveReport, Condition};
use self::s3::Bucket;
pub(crate) use self::shelf::{Rows, Shelf};
use super::config::ArchiveConfig;
use super::critical_thread::{ShutdownHandle, spawn_critical};
use crate::events;
use crate::failure::Failure;
use crate::names::{Sha256Digest, StoreId};
use crate::owner;
use crate::test_times::in_tests;
use crate::wire::{Receipt, Slot};

/// How long after it was stored an object is read back: a store may say that it has what is in its memory
/// alone.
const VERIFY_AFTER: Duration = Duration::from_secs(3600);
/// How long a reader can use the address of an object.
const VALID: Duration = Duration::from_secs(900);

/// The archive of this process. Shared by its thread and those that serve.
pub(crate) struct Archive {
    bucket: Bucket,
    ledger: Ledger,
    figures: Figures,
    /// This receiver's own store.
    id: StoreId,
    terms: ArcSwap<Terms>,
    /// The terms are new since the thread has looked last.
    has_new_terms: AtomicBool,
    verify_after: Duration,
    bucket_name: String,
    thread: OnceLock<Thread>,
    /// Whether a row that was passed has its file again.
    looks_again: AtomicBool,
    /// How many uploads this process has received whole.
    uploads_ended: AtomicU64,
}

/// Where an object is.
#[derive(Serialize)]
pub(crate) struct ObjectPlace {
    bucket: String,
    key: String,
}

impl Archive {
    /// Opens the ledger and starts the thread that copies what `shelf` has.
    ///
    /// Errors: the keys, the CA or the ledger cannot be read; the system gave no thread.
    pub(crate) fn start(
        config: &ArchiveConfig,
        data_dir: &Path,
        id: StoreId,
        shelf: Arc<dyn Shelf>,
        shutdown: &ShutdownHandle,
    ) -> Result<Arc<Archive>, Failure> {
        let ledger = Ledger::open(data_dir).map_err(|error| {
            let path = data_dir.join(ledger::NAME);
            Failure::new(
                format!("cannot open {}: {error}", path.display()),
                owner::hint(
                    &error,
                    "look at the disk and at who owns the file (dmesg, ls -l)",
                ),
            )
        })?;
        let archive = Arc::new(Archive {
            bucket: Bucket::new(config)?,
            figures: Figures::new(ledger.written_at()),
            ledger,
            id,
            terms: ArcSwap::from_pointee(Terms::of(config)),
            has_new_terms: AtomicBool::new(false),
            verify_after: in_tests("CIS490_ARCHIVE_VERIFY_AFTER_MS", VERIFY_AFTER),
            bucket_name: config.bucket.clone(),
            thread: OnceLock::new(),
            looks_again: AtomicBool::new(false),
            uploads_ended: AtomicU64::new(0),
        });
        let archiver = Archiver::new(Arc::clone(&archive), shelf);
        let own = Arc::clone(&archive);
        spawn_critical("archive", shutdown, move || {
            let _ = own.thread.set(thread::current());
            archiver.run();
        })?;
        events::archive_started(&config.endpoint, &config.bucket);
        Ok(archive)
    }

    /// An episode was stored, and is copied soon. `restores` if it had a row before: that was passed.
    pub(crate) fn stored(&self, restores: bool) {
        if restores {
            self.looks_again.store(true, Ordering::SeqCst);
        }
        self.uploads_ended.fetch_add(1, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Whether the episode's object was read back and is what it should be, by the ledger as it is now:
    /// another process may just have found the object lost.
    ///
    /// Errors: the ledger cannot be read.
    pub(crate) fn is_proven(&self, row: &Receipt) -> io::Result<bool> {
        self.ledger.catch_up()?;
        self.ledger.is_proven(row)
    }

    /// Of the rows of one name, oldest first, the newest whose object is in the bucket, by the ledger.
    ///
    /// Errors: the ledger cannot be read.
    pub(crate) fn newest_kept(&self, rows: &[Receipt]) -> io::Result<Option<Receipt>> {
        self.ledger.catch_up()?;
        for row in rows.iter().rev() {
            let state = self.ledger.state(&row.slot(), &row.sha256)?;
            if matches!(state, Some(State::Proven | State::Listed)) {
                return Ok(Some(row.clone()));
            }
        }
        Ok(None)
    }

    /// Where the object of a row is.
    pub(crate) fn place_of(&self, row: &Receipt) -> ObjectPlace {
        ObjectPlace {
            bucket: self.bucket_name.clone(),
            key: key::of(&row.slot(), &row.sha256),
        }
    }

    /// Where anybody can GET the object for [`VALID`].
    pub(crate) fn presigned(&self, slot: &Slot, sha256: &Sha256Digest) -> String {
        self.bucket.presigned(&key::of(slot, sha256), VALID)
    }

    /// How the requests to the store have ended: op, outcome and how many.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.bucket.requests().all()
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The store's clock minus ours, in seconds; 0 before its first answer.
    pub(crate) fn clock_difference_s(&self) -> i64 {
        self.bucket.clock_difference_s()
    }
}
