//! `cis490 scrub --archive`: the bucket against the ledger, and with `--deep` every byte of it.
//!
//! 1. An object that the list lacks is asked for before the ledger says that it is lost: it may have come
//!    since, before the place that was listed. A running receiver reads that line, and copies the episode
//!    again if its file is here.
//! 2. Of an object 16 bytes are kept in memory.

use std::path::Path;
use std::thread;

use sha2::{Digest, Sha256};

use super::key;
use super::ledger::{Entry, Ledger, State};
use super::s3::{Bucket, Fault, FaultKind};
use crate::backoff::Backoff;
use crate::failure::Failure;
use crate::owner;
use crate::receiver::config::ArchiveConfig;
use crate::wire::{Receipt, Slot};

/// How often the store is asked before it counts as away.
const TRIES: u32 = 5;
/// How often an object is read that cannot be read to its end.
const READ_TRIES: u32 = 3;
/// So many names with several objects are looked at.
const DOUBLES_MAX: usize = 10_000;

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuditKind {
    /// It is gone, or of another length.
    Lost,
    /// Its bytes are others; only with `deep`.
    OtherBytes,
    /// Two objects have one name, and neither is the proven one of a row.
    Mismatch,
}

/// What happens, while it happens.
pub(crate) enum AuditNews<'a> {
    /// So many bytes were read back.
    Read(u64),
    Found {
        kind: AuditKind,
        slot: &'a Slot,
        why: &'a str,
    },
}

/// What an audit has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuditSummary {
    /// In the bucket, of whatever receiver.
    pub objects: u64,
    /// Episodes of this store that the ledger knows there.
    pub known: u64,
    pub lost: u64,
    pub other_bytes: u64,
    pub mismatches: u64,
}

impl AuditSummary {
    pub(crate) fn is_clean(&self) -> bool {
        self.lost + self.other_bytes + self.mismatches == 0
    }
}

/// Shows each row of the index to its argument.
pub(crate) type EachRow<'a> = &'a dyn Fn(&mut dyn FnMut(Receipt)) -> Result<(), Failure>;

/// Compares the bucket with what the ledger of `data_dir` says of it.
///
/// Errors: the keys, the ledger or the index cannot be read, or the store does not answer.
pub(crate) fn audit(
    config: &ArchiveConfig,
    data_dir: &Path,
    each_row: EachRow,
    is_deep: bool,
    tell: &mut dyn FnMut(AuditNews),
) -> Result<AuditSummary, Failure> {
    let ledger = Ledger::open(data_dir).map_err(|error| of_ledger(&error))?;
    let mut audit = Audit {
        bucket: Bucket::new(config)?,
        ledger,
        summary: AuditSummary::default(),
        seen: Vec::new(),
        doubles: Vec::new(),
        tell,
    };
    audit.list()?;
    audit.judge_rows(each_row, is_deep)?;
    audit.judge_doubles()?;
    Ok(audit.summary)
}

struct Audit<'a> {
    bucket: Bucket,
    ledger: Ledger,
    summary: AuditSummary,
    /// What is in the bucket: the beginnings of digests of key and length, sorted.
    seen: Vec<[u8; 16]>,
    /// Names that have more than one object.
    doubles: Vec<Slot>,
    tell: &'a mut dyn FnMut(AuditNews),
}

impl Audit<'_> {
    fn list(&mut self) -> Result<(), Failure> {
        let mut after = None;
        let mut last: Option<Slot> = None;
        loop {
            let part = asked(|| self.bucket.list(key::PREFIX, 1000, after.as_deref()))?;
            for object in part.objects {
                self.summary.objects += 1;
                self.seen.push(mark(&object.key, object.bytes));
                // A list is in the order of keys, so the objects of a name follow each other.
                let slot = key::slot_of(&object.key);
                if slot.is_some() && slot == last && self.doubles.len() < DOUBLES_MAX {
                    self.doubles.extend(slot.clone());
                }
                last = slot;
            }
            after = part.next;
            if after.is_none() {
                self.seen.sort_unstable();
                self.doubles.dedup();
                return Ok(());
            }
        }
    }

    /// Asks for the objects that the list lacks, or for all of them.
    fn judge_rows(&mut self, each_row: EachRow, is_deep: bool) -> Result<(), Failure> {
        let mut judged = Ok(());
        each_row(&mut |row| {
            if judged.is_ok() {
                judged = self.judge_row(&row, is_deep);
            }
        })?;
        judged
    }

    fn judge_row(&mut self, row: &Receipt, is_deep: bool) -> Result<(), Failure> {
        if !self.is_known(row).map_err(|error| of_ledger(&error))? {
            return Ok(());
        }
        self.summary.known += 1;
        if is_deep || !self.is_seen(row) {
            return self.judge(row, is_deep);
        }
        Ok(())
    }

    fn is_known(&self, row: &Receipt) -> std::io::Result<bool> {
        let state = self.ledger.state(&row.slot(), &row.sha256)?;
        Ok(matches!(state, Some(State::Proven | State::Listed)))
    }

    fn is_seen(&self, row: &Receipt) -> bool {
        // A row of an older version may not know its length: HEAD is asked.
        let Some(bytes) = row.bytes else {
            return false;
        };
        let mark = mark(&key::of(&row.slot(), &row.sha256), bytes);
        self.seen.binary_search(&mark).is_ok()
    }

    fn judge(&mut self, row: &Receipt, is_deep: bool) -> Result<(), Failure> {
        let key = key::of(&row.slot(), &row.sha256);
        let Some(object) = asked(|| self.bucket.head(&key))? else {
            return self.lose(row, AuditKind::Lost, &format!("{key} is gone"));
        };
        let bytes = row.bytes.unwrap_or(object.bytes);
        if object.bytes != bytes {
            let why = format!("{key} has {} bytes, and {bytes} in its row", object.bytes);
            return self.lose(row, AuditKind::Lost, &why);
        }
        if !is_deep {
            return Ok(());
        }
        let read = ask_times(READ_TRIES, || self.bucket.read_back(&key, bytes));
        let found = match read {
            Ok(found) => found,
            // The store that shows it is not away.
            Err(fault) if may_pass(&fault) && asked(|| self.bucket.head(&key))?.is_some() => {
                return self.lose(
                    row,
                    AuditKind::Lost,
                    &format!("{key} cannot be read: {fault}"),
                );
            }
            Err(fault) => return Err(failure_of(&fault)),
        };
        (self.tell)(AuditNews::Read(bytes));
        match found {
            Some(found) if found.sha256 == row.sha256 => Ok(()),
            Some(found) => {
                let why = format!("{key} has bytes with the digest {}", found.sha256);
                self.lose(row, AuditKind::OtherBytes, &why)
            }
            None => self.lose(row, AuditKind::Lost, &format!("{key} cannot be read")),
        }
    }

    fn lose(&mut self, row: &Receipt, kind: AuditKind, why: &str) -> Result<(), Failure> {
        let noted = self.ledger.append(&Entry::now(row, State::Lost));
        noted.map_err(|error| of_ledger(&error))?;
        self.find(kind, &row.slot(), why);
        Ok(())
    }

    /// Two objects of one name are a fault unless one of them is the proven one of a row.
    fn judge_doubles(&mut self) -> Result<(), Failure> {
        for slot in std::mem::take(&mut self.doubles) {
            let is_proven = self.ledger.has_proof(&slot);
            if !is_proven.map_err(|error| of_ledger(&error))? {
                let why = "two objects in the bucket have its name, and none of them is proven";
                self.find(AuditKind::Mismatch, &slot, why);
            }
        }
        Ok(())
    }

    fn find(&mut self, kind: AuditKind, slot: &Slot, why: &str) {
        *match kind {
            AuditKind::Lost => &mut self.summary.lost,
            AuditKind::OtherBytes => &mut self.summary.other_bytes,
            AuditKind::Mismatch => &mut self.summary.mismatches,
        } += 1;
        (self.tell)(AuditNews::Found { kind, slot, why });
    }
}

/// Asks until there is an answer, a few times.
pub(super) fn asked<T>(ask: impl Fn() -> Result<T, Fault>) -> Result<T, Failure> {
    ask_times(TRIES, ask).map_err(|fault| failure_of(&fault))
}

fn ask_times<T>(tries: u32, ask: impl Fn() -> Result<T, Fault>) -> Result<T, Fault> {
    let mut backoff = Backoff::default();
    loop {
        match ask() {
            Err(fault) if may_pass(&fault) && backoff.failures() + 1 < tries => {
                thread::sleep(backoff.fail(fault.retry_after));
            }
            answer => return answer,
        }
    }
}

fn may_pass(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Away | FaultKind::Busy)
}

fn failure_of(fault: &Fault) -> Failure {
    Failure::new(fault.to_string(), fault.remedy())
}

fn mark(key: &str, bytes: u64) -> [u8; 16] {
    let digest = Sha256::digest(format!("{bytes} {key}"));
    let mut mark = [0; 16];
    mark.copy_from_slice(&digest[..16]);
    mark
}

pub(super) fn of_ledger(error: &std::io::Error) -> Failure {
    Failure::new(
        format!("cannot read or write archive.jsonl in the store: {error}"),
        owner::hint(
            error,
            "look at the disk (dmesg) and at who owns the file (ls -l)",
        ),
    )
}
