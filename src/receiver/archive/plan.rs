//! `cis490 archive --dry-run`: what would be copied and evicted now. Nothing is changed; the store is asked
//! for each episode that is not proven.

use std::io;
use std::path::Path;

use super::audit::{EachRow, asked, of_ledger};
use super::evict::{PROOF_AGE, is_old};
use super::key;
use super::ledger::Ledger;
use super::s3::Bucket;
use crate::failure::Failure;
use crate::receiver::config::ArchiveConfig;
use crate::wire::{Receipt, Slot};

/// What would be done, as it is found.
pub(crate) enum PlanNews<'a> {
    WouldCopy { slot: &'a Slot, bytes: u64 },
    WouldEvict { slot: &'a Slot, bytes: u64 },
}

/// How many, and how many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub copies: u64,
    pub copied_bytes: u64,
    /// In the bucket, and not proven yet.
    pub unproven: u64,
    pub evictions: u64,
    pub evicted_bytes: u64,
    /// How many bytes are still lacking after all evictions; 0 if room is enough.
    pub lacking_bytes: u64,
}

/// The local disk, as far as the plan needs it.
pub(crate) struct Disk<'a> {
    pub each_row: EachRow<'a>,
    /// The size of an episode's file; `None` if it is not here.
    pub file_bytes: &'a dyn Fn(&Slot) -> io::Result<Option<u64>>,
    pub free_bytes: u64,
}

/// Makes the plan. `tell` hears of each episode.
///
/// Errors: the keys, the ledger or the index cannot be read, or the store does not answer.
pub(crate) fn plan(
    config: &ArchiveConfig,
    data_dir: &Path,
    disk: &Disk,
    tell: &mut dyn FnMut(PlanNews),
) -> Result<Plan, Failure> {
    let bucket = Bucket::new(config)?;
    let ledger = Ledger::look(data_dir).map_err(|error| of_ledger(&error))?;
    let mut plan = Plan::default();
    let mut judged = Ok(());
    (disk.each_row)(&mut |row| {
        if judged.is_ok() {
            judged = plan.judge(&bucket, ledger.as_ref(), disk, &row, tell);
        }
    })?;
    judged?;
    if let Some(ledger) = &ledger {
        let evicted = plan.evict(config.evict_below_bytes, ledger, disk, tell);
        evicted.map_err(|error| of_ledger(&error))?;
    }
    Ok(plan)
}

impl Plan {
    fn judge(
        &mut self,
        bucket: &Bucket,
        ledger: Option<&Ledger>,
        disk: &Disk,
        row: &Receipt,
        tell: &mut dyn FnMut(PlanNews),
    ) -> Result<(), Failure> {
        let proven = ledger.map_or(Ok(false), |ledger| ledger.is_proven(row));
        if proven.map_err(|error| of_ledger(&error))? {
            return Ok(());
        }
        let slot = row.slot();
        let found = (disk.file_bytes)(&slot).map_err(|error| of_ledger(&error))?;
        let Some(bytes) = found.filter(|bytes| row.bytes.is_none_or(|known| known == *bytes))
        else {
            return Ok(());
        };
        let key = key::of(&slot, &row.sha256);
        let object = asked(|| bucket.head(&key))?;
        if object.is_some_and(|object| object.bytes == bytes) {
            self.unproven += 1;
        } else {
            self.copies += 1;
            self.copied_bytes += bytes;
            tell(PlanNews::WouldCopy { slot: &slot, bytes });
        }
        Ok(())
    }

    fn evict(
        &mut self,
        below_bytes: u64,
        ledger: &Ledger,
        disk: &Disk,
        tell: &mut dyn FnMut(PlanNews),
    ) -> io::Result<()> {
        if disk.free_bytes >= below_bytes {
            return Ok(());
        }
        self.lacking_bytes = (below_bytes + below_bytes / 10).saturating_sub(disk.free_bytes);
        let mut offset = 0;
        while self.lacking_bytes > 0
            && let Some((entry, next)) = ledger.next_proof(offset)?
        {
            offset = next;
            let slot = entry.slot();
            if is_old(&entry, PROOF_AGE)
                && let Some(bytes) = (disk.file_bytes)(&slot)?
            {
                self.evictions += 1;
                self.evicted_bytes += bytes;
                self.lacking_bytes = self.lacking_bytes.saturating_sub(bytes);
                tell(PlanNews::WouldEvict { slot: &slot, bytes });
            }
        }
        Ok(())
    }
}
