//! What of `[archive]` a reload changes while the receiver runs: where the keys are, what proves an object, and
//! when room is made. The store and the bucket stay: the ledger is about the objects there.
//!
//! 1. All is read before anything is changed, so a file that cannot be read changes nothing.
//! 2. A step of the archiver has one set of terms, from its beginning to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Archive;
use super::s3::Access;
use crate::failure::Failure;
use crate::receiver::config::{ArchiveConfig, Verify};

/// What a step goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub verify: Verify,
    /// 0: no local file is removed.
    pub evict_below_bytes: u64,
}

impl Terms {
    pub(super) fn of(config: &ArchiveConfig) -> Terms {
        Terms {
            verify: config.verify,
            evict_below_bytes: config.evict_below_bytes,
        }
    }
}

/// New terms that were read and hold nowhere yet.
pub(crate) struct ReadyTerms {
    terms: Terms,
    access: Access,
}

impl ReadyTerms {
    /// Reads what `config` names.
    ///
    /// Errors: the keys cannot be read.
    pub(crate) fn read(config: &ArchiveConfig) -> Result<ReadyTerms, Failure> {
        Ok(ReadyTerms {
            terms: Terms::of(config),
            access: Access::read(&config.secret_file)?,
        })
    }
}

impl Archive {
    /// From the next step on these terms hold. What waits because the store refused the old keys is tried
    /// again now.
    pub(crate) fn apply(&self, ready: ReadyTerms) {
        self.bucket.set_access(ready.access);
        self.terms.store(Arc::new(ready.terms));
        self.has_new_terms.store(true, Ordering::SeqCst);
        self.wake();
    }
}
