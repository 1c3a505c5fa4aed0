//! Rows for stored files that the index lacks, each made by reading the file from end to end.
//!
//! 1. Files are not touched, but for one case that must be asked for: files that scrub found rotten are
//!    moved to quarantine/, so that whole bytes may come in their place. Odd files are left alone.
//! 2. Rows are added by the committer, in the order in which the files were last written, so that
//!    `seq` has the order of arrival as far as it is still known.

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::commit_request::{CommitRequest, Decision, Placement};
use super::committer::Committer;
use super::index::Index;
use super::layout::{Layout, TARBALL_ENDING};
use super::listing::{cannot_read, entries, host_of, slot_of};
use super::scrub::{Kind, Pass};
use super::stored_file;
use super::{Opened, StoreError, store_dir};
use crate::durable;
use crate::episode;
use crate::failure::Failure;
use crate::human::counted;
use crate::names::HostId;
use crate::receiver::stats::Stats;
use crate::wire::{Receipt, Slot};

/// Rows that share one sync of the index. After a power cut as many files are read again.
const ROWS_AT_ONCE: usize = 64;
/// A receiver that stores an episode adds its row so long after the last write at most, on any disk that works.
const ROW_COMES_WITHIN: Duration = Duration::from_secs(60);

/// What happens, while it happens.
pub(crate) enum News<'a> {
    /// The folder was looked through: so many files have a row, and so many files and bytes have none.
    Found {
        with_row: usize,
        without: usize,
        bytes: u64,
    },
    /// Something that has no business there, or contradicts its row. It is left alone.
    Odd { path: &'a Path, why: String },
    /// So many more bytes were read.
    Read { bytes: u64 },
    /// A file has its row now.
    Added(&'a Receipt),
    /// The row that was added names no commit: why.
    CommitUnknown { slot: &'a Slot, why: String },
    /// A file would get a row; only with `dry_run`.
    WouldAdd(&'a Slot),
    /// A rotten file was moved to quarantine/.
    SetAside { slot: &'a Slot, kept_as: &'a Path },
    /// A rotten file would be moved; only with `dry_run`.
    WouldSetAside(&'a Slot),
    /// A file that could not be read or indexed, and stays without a row.
    Failed { path: &'a Path, why: String },
}

/// What to do with the files.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Task {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Move what the last scrub found rotten, and still is, to quarantine/.
    pub set_aside_rotten: bool,
}

/// How many files were treated in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub added: usize,
    /// Of those that were added: rows without a commit.
    pub commit_unknown: usize,
    pub odd: usize,
    pub failed: usize,
    pub set_aside: usize,
}

/// Adds the rows that the index of `data_dir` lacks, or only says which; `tell` hears of each step.
/// `seq_seen` is a number that a row had, known from outside the store; 0 for none.
///
/// Errors: the store is in use, is none, or its disk fails. Rows that were added stay.
pub(crate) fn backfill(
    data_dir: &Path,
    seq_seen: u64,
    config_path: &Path,
    task: Task,
    tell: &mut dyn FnMut(News),
) -> Result<Summary, Failure> {
    if task.dry_run {
        plan(data_dir, config_path, task.set_aside_rotten, tell)
    } else {
        carry_out(data_dir, seq_seen, config_path, task.set_aside_rotten, tell)
    }
}

/// The dry run: reports what [`carry_out`] would do, and changes nothing. A receiver may run meanwhile: what it is
/// just storing is passed over.
fn plan(
    data_dir: &Path,
    config_path: &Path,
    set_aside_rotten: bool,
    tell: &mut dyn FnMut(News),
) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    let layout = Layout::new(data_dir);
    let lock = store_dir::enter_or_look_on(&layout, config_path)?;
    let look = || Index::look(&layout).map_err(|error| cannot_read(&layout.index(), &error));
    let index = look()?;
    let mut survey = Survey::walk(&layout, index.as_ref(), &mut summary, tell)?;
    if lock.is_none() && !survey.missing.is_empty() {
        survey.pass_over_new(look()?.as_ref());
    }
    survey.tell_found(tell);
    for file in &survey.missing {
        tell(News::WouldAdd(&file.slot));
    }
    if set_aside_rotten {
        for slot in still_rotten(&layout, index.as_ref(), &mut summary, tell) {
            tell(News::WouldSetAside(&slot));
        }
    }
    Ok(summary)
}

fn carry_out(
    data_dir: &Path,
    seq_seen: u64,
    config_path: &Path,
    set_aside_rotten: bool,
    tell: &mut dyn FnMut(News),
) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    let Opened {
        layout,
        mut committer,
        lock: _lock,
        ..
    } = Opened::open(
        data_dir,
        seq_seen,
        config_path,
        Stats::new(std::iter::empty()),
    )?;
    let index = committer.index();
    let survey = Survey::of(&layout, Some(&index), &mut summary, tell)?;
    for files in survey.missing.chunks(ROWS_AT_ONCE) {
        add_rows(&mut committer, files, &mut summary, tell)?;
    }
    if set_aside_rotten {
        for slot in still_rotten(&layout, Some(&index), &mut summary, tell) {
            set_aside(&layout, &slot, &mut summary, tell);
        }
    }
    if summary.failed == 0 {
        committer.settle_finding();
    }
    committer.note_end();
    Ok(summary)
}

fn set_aside(layout: &Layout, slot: &Slot, summary: &mut Summary, tell: &mut dyn FnMut(News)) {
    let path = layout.tarball(slot);
    match layout.set_aside(&path) {
        Ok(kept_as) => {
            summary.set_aside += 1;
            tell(News::SetAside {
                slot,
                kept_as: &kept_as,
            });
        }
        Err(error) => name_failed(&path, &error.to_string(), summary, tell),
    }
}

/// The slots that the last scrub found rotten, and whose files are rotten now that they are read again.
fn still_rotten(
    layout: &Layout,
    index: Option<&Index>,
    summary: &mut Summary,
    tell: &mut dyn FnMut(News),
) -> Vec<Slot> {
    let passes = Pass::both(layout);
    let findings = passes.iter().flatten().flat_map(|pass| &pass.findings);
    let rotten = findings.filter(|found| found.kind == Kind::Rotten);
    // The names are taken from a file that anybody may have edited: each must be one of ours.
    let slots: BTreeSet<Slot> = rotten
        .filter_map(|found| {
            let name = found.path.strip_prefix("episodes/")?;
            Slot::parse(name.strip_suffix(TARBALL_ENDING)?).ok()
        })
        .collect();
    let mut still = Vec::new();
    for slot in slots {
        let path = layout.tarball(&slot);
        match is_rotten(&path, &slot, index) {
            Ok(true) => still.push(slot),
            Ok(false) => {}
            Err(error) => name_failed(&path, &error.to_string(), summary, tell),
        }
    }
    still
}

fn is_rotten(path: &Path, slot: &Slot, index: Option<&Index>) -> io::Result<bool> {
    let Some(examined) = stored_file::examine(path, |_| {})? else {
        return Ok(false);
    };
    let rows = index.map_or(Ok(Vec::new()), |index| index.rows_of(slot))?;
    if rows.is_empty() {
        let lost = stored_file::lost_digest(&examined.file, slot, examined.sha256)?;
        return Ok(lost.is_some());
    }
    Ok(rows.iter().all(|row| row.sha256 != examined.sha256))
}

/// A stored file without a row.
struct Missing {
    slot: Slot,
    path: PathBuf,
    bytes: u64,
    written: SystemTime,
}

/// The files of episodes/, with and without a row.
#[derive(Default)]
struct Survey {
    with_row: usize,
    missing: Vec<Missing>,
}

impl Survey {
    fn of(
        layout: &Layout,
        index: Option<&Index>,
        summary: &mut Summary,
        tell: &mut dyn FnMut(News),
    ) -> Result<Survey, Failure> {
        let survey = Survey::walk(layout, index, summary, tell)?;
        survey.tell_found(tell);
        Ok(survey)
    }

    fn walk(
        layout: &Layout,
        index: Option<&Index>,
        summary: &mut Summary,
        tell: &mut dyn FnMut(News),
    ) -> Result<Survey, Failure> {
        let mut survey = Survey::default();
        for host in entries(&layout.episodes())? {
            let Some(id) = host_of(&host) else {
                name_odd(
                    &host.path(),
                    "it is not the folder of a host",
                    summary,
                    tell,
                );
                continue;
            };
            for file in entries(&host.path())? {
                let path = file.path();
                if let Err(why) = survey.add(&id, &file, index) {
                    name_odd(&path, &why, summary, tell);
                }
            }
        }
        survey
            .missing
            .sort_by(|a, b| (a.written, &a.slot).cmp(&(b.written, &b.slot)));
        Ok(survey)
    }

    fn tell_found(&self, tell: &mut dyn FnMut(News)) {
        tell(News::Found {
            with_row: self.with_row,
            without: self.missing.len(),
            bytes: self.missing.iter().map(|file| file.bytes).sum(),
        });
    }

    /// Passes over the files that a running receiver has just stored: those with a row in `index`, which was
    /// read after the walk, and those whose row may come any moment.
    fn pass_over_new(&mut self, index: Option<&Index>) {
        let now = SystemTime::now();
        let is_new = |written: SystemTime| {
            now.duration_since(written)
                .is_ok_and(|age| age < ROW_COMES_WITHIN)
        };
        // A row that cannot be read is as good as none: then the file is named.
        let has_row = |slot: &Slot| {
            index.is_some_and(|index| index.rows_of(slot).is_ok_and(|rows| !rows.is_empty()))
        };
        let before = self.missing.len();
        self.missing
            .retain(|file| !has_row(&file.slot) && !is_new(file.written));
        self.with_row += before - self.missing.len();
    }

    /// Errors say why the file is odd.
    fn add(&mut self, host: &HostId, file: &DirEntry, index: Option<&Index>) -> Result<(), String> {
        let words = |error: io::Error| error.to_string();
        let slot = slot_of(host, file).ok_or("it is not an episode's tarball")?;
        let metadata = file.metadata().map_err(words)?;
        let rows = match index {
            Some(index) => index.rows_of(&slot).map_err(words)?,
            None => Vec::new(),
        };
        let Some(row) = rows.last() else {
            self.missing.push(Missing {
                slot,
                path: file.path(),
                bytes: metadata.len(),
                written: metadata.modified().map_err(words)?,
            });
            return Ok(());
        };
        self.with_row += 1;
        match row.bytes.filter(|&bytes| bytes != metadata.len()) {
            Some(bytes) => Err(format!(
                "it has {} bytes and its row says {bytes}; it may be damaged; send it again (on the lab host: cis490 resend NAME), and an intact one replaces it",
                metadata.len()
            )),
            None => Ok(()),
        }
    }
}

fn name_odd(path: &Path, why: &str, summary: &mut Summary, tell: &mut dyn FnMut(News)) {
    summary.odd += 1;
    tell(News::Odd {
        path,
        why: why.to_owned(),
    });
}

/// Reads some files and adds their rows together.
fn add_rows(
    committer: &mut Committer,
    files: &[Missing],
    summary: &mut Summary,
    tell: &mut dyn FnMut(News),
) -> Result<(), Failure> {
    let mut read_files = Vec::new();
    let mut requests = Vec::new();
    for file in files {
        match read(file, tell) {
            Ok((request, commit_unknown)) => {
                read_files.push((file, commit_unknown));
                requests.push(request);
            }
            Err(error) => name_failed(&file.path, &error.to_string(), summary, tell),
        }
    }
    let answers = committer.commit_all(requests)?;
    for ((file, commit_unknown), answer) in read_files.into_iter().zip(answers) {
        let path = &file.path;
        match answer {
            Ok(Decision::Stored(published)) => {
                summary.added += 1;
                tell(News::Added(&published.receipt));
                if let Some(why) = commit_unknown {
                    summary.commit_unknown += 1;
                    tell(News::CommitUnknown {
                        slot: &file.slot,
                        why: why.to_string(),
                    });
                }
            }
            Err(StoreError::Full) => {
                return Err(Failure::new(
                    format!(
                        "the disk is full; {} added before that",
                        counted(summary.added, "row")
                    ),
                    "free space under data_dir, then run it again",
                ));
            }
            Err(StoreError::Io(error)) => name_failed(path, &error.to_string(), summary, tell),
            Ok(Decision::LookAgain) | Err(_) => {
                name_failed(path, "it changed while it was read", summary, tell);
            }
        }
    }
    Ok(())
}

fn name_failed(path: &Path, why: &str, summary: &mut Summary, tell: &mut dyn FnMut(News)) {
    summary.failed += 1;
    tell(News::Failed {
        path,
        why: why.to_owned(),
    });
}

/// Reads the file, and syncs it: a person who copied it there may not have. Also returns why its
/// commit is not known, if it is not.
fn read(
    file: &Missing,
    tell: &mut dyn FnMut(News),
) -> io::Result<(CommitRequest, Option<episode::ReadError>)> {
    let examined = stored_file::examine(&file.path, |bytes| tell(News::Read { bytes }))?
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    if let Some(lost) = stored_file::lost_digest(&examined.file, &file.slot, examined.sha256)? {
        return Err(io::Error::other(format!(
            "it is damaged: its bytes have the digest {}, and the receipt that it carries says {lost}; cis490 scrub, then cis490 backfill --set-aside-rotten makes room for a whole one",
            examined.sha256
        )));
    }
    durable::sync_file(&examined.file)?;
    let row = stored_file::row_of(&examined, &file.slot)?;
    let request = CommitRequest {
        receipt: row.receipt,
        placement: Placement::Keep(examined.identity),
        incoming: None,
    };
    Ok((request, row.commit_unknown))
}
