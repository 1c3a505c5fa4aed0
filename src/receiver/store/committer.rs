//! The one place where an episode becomes stored: name, row, both on the disk, then the answer.
//!
//!     raise the numbers, if need be  link (or the name that is there)  append rows  (fsync directories | fdatasync index)  answer  unlink incoming/X
//!
//! 1. Nobody is answered before all of that is done. The file was synced by the upload that asks for the commit.
//! 2. Many uploads finish together: a batch does its links, one append, one sync of each directory
//!    and of the index, and answers all. A second upload of a name in a batch shares the first's fate.
//! 3. Before any of it, and again before the answer, the open index is compared with its name. Another
//!    file there, or another length than ours, ends the process into recovery.
//! 4. A failed append is undone: rows cut, names unlinked. Where the undoing fails, or any sync
//!    here, nobody is answered and the process ends into recovery, which does it by this same code.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::commit_request::{
    CommitError, CommitRequest, CommitResult, Placement, QueuedRequest, SameName,
};
use super::condition::Condition;
use super::index::Index;
use super::layout::Layout;
use super::sequence::{IndexFinding, Sequence};
use super::tail::Tail;
use crate::failure::Failure;
use crate::file_identity::{FileIdentity, is_absent};
use crate::names::HostId;
use crate::receiver::stats::Stats;
use crate::wire::{Receipt, Slot};
use crate::{durable, events};

pub(super) struct Committer {
    layout: Layout,
    index: Arc<Index>,
    tail: Tail,
    sequence: Sequence,
    condition: Arc<Condition>,
    /// Hosts whose directory was synced into episodes/ by this process. One that merely exists may
    /// have been made by a run that was killed before its sync.
    known_hosts: HashSet<HostId>,
    stats: Arc<Stats>,
}

/// A file that has its name, in a batch that is not on the disk yet.
struct Placed {
    group: SameName,
    /// The row that it had already; without one the batch appends it.
    row: Option<Receipt>,
    linked: bool,
}

impl Committer {
    pub(super) fn new(
        layout: Layout,
        index: Arc<Index>,
        tail: Tail,
        sequence: Sequence,
        condition: Arc<Condition>,
        stats: Arc<Stats>,
    ) -> Committer {
        Committer {
            layout,
            index,
            tail,
            sequence,
            condition,
            stats,
            known_hosts: HashSet::new(),
        }
    }

    /// Before it is shared: its helper is not to have an upload's low priority.
    pub(super) fn start_syncer(&mut self) {
        self.tail.start_syncer();
    }

    pub(super) fn index(&self) -> Arc<Index> {
        self.index.clone()
    }

    /// Once a second, between two batches: whether the index is still the one that is open, and its
    /// length for the next start.
    ///
    /// Errors: it is not, so what is appended would be lost.
    pub(super) fn look(&mut self) -> Result<(), Failure> {
        // While the store itself is away, so is the index: it may come back with that.
        if self.condition.home().check().is_ok() {
            self.watch_index(0)?;
            self.sequence.note_hourly(&self.tail, Instant::now());
        }
        Ok(())
    }

    /// `appended` bytes are in it that were not accepted yet.
    fn watch_index(&self, appended: u64) -> Result<(), Failure> {
        let path = self.layout.index();
        self.tail.watch(&path, appended).map_err(|why| {
            Failure::new(
                format!("the index {} is not the file that this receiver opened: {why}", path.display()),
                "nothing was acknowledged that it lacks; the receiver ends and recovers at its next start, and then says what the index lacks; keep editors and logrotate away from index.jsonl: it may be copied, and never moved, cut or written",
            )
        })
    }

    pub(super) fn finding(&self) -> Option<&IndexFinding> {
        self.sequence.finding()
    }

    /// The last word before an end, be it a stop or one into recovery.
    pub(super) fn note_end(&mut self) {
        self.sequence.note_end(&self.tail);
    }

    /// Backfill went through: every stored file has its row.
    pub(super) fn settle(&mut self) {
        self.sequence.settle(&self.tail);
    }

    /// Commits files from a thread that owns the committer: recovery and backfill. The answers are
    /// in the order of the asks.
    pub(super) fn commit_all(
        &mut self,
        asks: Vec<CommitRequest>,
    ) -> Result<Vec<CommitResult>, Failure> {
        let (commit_request, answers): (Vec<_>, Vec<_>) =
            asks.into_iter().map(CommitRequest::into_queued).unzip();
        self.commit(commit_request)?.tidy();
        answers
            .into_iter()
            .map(|answer| answer.recv())
            .collect::<Result<_, _>>()
            .map_err(|_| fatal("commit", &io::Error::other("there was no answer")))
    }

    /// Does the whole order for a batch, answers each job, and says what is then to be tidied up.
    ///
    /// Errors: nothing that is not on the disk may be acknowledged any more by this process.
    pub(super) fn commit(&mut self, batch: Vec<QueuedRequest>) -> Result<Finished, Failure> {
        if let Err(failure) = self.watch_index(0) {
            // With the store's disk away, so is the index: both may come back as they were.
            return match self.condition.home().check() {
                Ok(()) => Err(failure),
                Err(error) => Ok(reject_batch(batch, error)),
            };
        }
        if let Err(error) = self.sequence.reach(batch.len() as u64, &self.tail) {
            self.failed("raise the numbers of rows", &error);
            return Ok(reject_batch(batch, error));
        }
        let mut unsynced = BTreeSet::new();
        let mut placed = self.place_all(batch, &mut unsynced);
        if placed.is_empty() {
            return Ok(Finished::default());
        }
        let mut rows = Rows::after(&self.tail);
        placed.iter_mut().for_each(|placed| rows.add(placed));
        if let Err(error) = self.append(&rows) {
            self.undo(&placed, &unsynced)?;
            reject_all(placed, error);
            return Ok(Finished::default());
        }
        if let Err(error) = self.sync_batch(&rows, &unsynced) {
            // What the kernel could not write it may call written: better no row, so that recovery
            // writes a new one.
            let _ = self.tail.take_back();
            return Err(fatal("sync what was stored", &error));
        }
        // Nothing is taken back: another program that changed the index may have written behind us. The
        // placed files still have their names in incoming/, and recovery gives them their rows.
        self.watch_index(rows.text.len() as u64)?;
        self.accept(rows, &placed);
        Ok(answer_all(placed))
    }

    /// Gives each file its name, and rejects those that cannot have it. `unsynced` gathers the
    /// directories whose names have changed.
    fn place_all(
        &mut self,
        batch: Vec<QueuedRequest>,
        unsynced: &mut BTreeSet<PathBuf>,
    ) -> Vec<Placed> {
        let mut placed = Vec::new();
        for group in SameName::of(batch) {
            match self.place(group.ask(), unsynced) {
                Ok((row, linked)) => placed.push(Placed { group, row, linked }),
                Err(error) => group.reject(error),
            }
        }
        placed
    }

    /// Gives the file its name. The row that it has already, and whether the name is new.
    fn place(
        &mut self,
        ask: &CommitRequest,
        unsynced: &mut BTreeSet<PathBuf>,
    ) -> Result<(Option<Receipt>, bool), CommitError> {
        let slot = ask.receipt.slot();
        let rows = self.index.rows_of(&slot).map_err(|error| {
            self.condition.failed("read the index", &error);
            CommitError::Fault(error)
        })?;
        let has_rows = !rows.is_empty();
        let row = rows
            .into_iter()
            .rfind(|row| row.sha256 == ask.receipt.sha256);
        if has_rows && row.is_none() {
            return Err(CommitError::Taken);
        }
        let linked = match ask.placement {
            Placement::Keep(identity) => self.check_identity(&slot, identity).map(|()| false)?,
            Placement::Link => self.link(ask, &slot, unsynced).map(|()| true)?,
            Placement::Replace(identity) => {
                self.check_identity(&slot, identity)?;
                self.set_aside(&slot).map_err(CommitError::of)?;
                self.link(ask, &slot, unsynced).map(|()| true)?
            }
        };
        unsynced.insert(self.layout.host_dir(&slot.host));
        if !self.known_hosts.contains(&slot.host) {
            unsynced.insert(self.layout.episodes());
        }
        Ok((row, linked))
    }

    fn check_identity(&self, slot: &Slot, identity: FileIdentity) -> Result<(), CommitError> {
        match FileIdentity::at(&self.layout.tarball(slot)) {
            Ok(Some(found)) if found == identity => Ok(()),
            Ok(_) => Err(CommitError::LookAgain),
            Err(error) => Err(CommitError::Fault(error)),
        }
    }

    fn link(
        &self,
        ask: &CommitRequest,
        slot: &Slot,
        unsynced: &mut BTreeSet<PathBuf>,
    ) -> Result<(), CommitError> {
        let Some(incoming) = &ask.incoming else {
            return Err(CommitError::Fault(io::Error::other(
                "there is nothing to link",
            )));
        };
        let tarball = self.layout.tarball(slot);
        let mut linked = if self.known_hosts.contains(&slot.host) {
            durable::link_new(incoming, &tarball)
        } else {
            Err(io::ErrorKind::NotFound.into())
        };
        // A host whose directory was moved away by hand gets a new one, known or not.
        if linked.as_ref().is_err_and(is_absent) {
            if durable::mkdir(&self.layout.host_dir(&slot.host)).map_err(CommitError::of)? {
                unsynced.insert(self.layout.episodes());
            }
            linked = durable::link_new(incoming, &tarball);
        }
        linked.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => CommitError::LookAgain,
            _ => CommitError::of(error),
        })
    }

    fn set_aside(&self, slot: &Slot) -> io::Result<()> {
        let kept_as = self.layout.set_aside(&self.layout.tarball(slot))?;
        events::damaged_file_replaced(slot, &kept_as);
        Ok(())
    }

    fn append(&mut self, rows: &Rows) -> io::Result<()> {
        if rows.text.is_empty() {
            return Ok(());
        }
        self.tail
            .append(&rows.text)
            .inspect_err(|error| self.failed("append to the index", error))
    }

    /// Health reports the error, unless the disk is only full.
    fn failed(&self, doing: &str, error: &io::Error) {
        if !durable::is_full(error) {
            self.condition.failed(doing, error);
        }
    }

    /// After a failed append: as if the batch had never been. `placed` keep their incoming files,
    /// which are for the uploads to remove.
    fn undo(&self, placed: &[Placed], unsynced: &BTreeSet<PathBuf>) -> Result<(), Failure> {
        self.try_undo(placed, unsynced)
            .map_err(|error| fatal("take back what could not be indexed", &error))
    }

    fn try_undo(&self, placed: &[Placed], unsynced: &BTreeSet<PathBuf>) -> io::Result<()> {
        self.tail.take_back()?;
        self.tail.sync()?;
        for placed in placed.iter().filter(|placed| placed.linked) {
            durable::unlink(&self.layout.tarball(&placed.group.ask().receipt.slot()))?;
        }
        unsynced.iter().try_for_each(|dir| durable::sync_dir(dir))
    }

    /// Directories and index side by side: they share what the filesystem has to write anyway. One
    /// sender of small episodes got through nearly twice as many, many senders as many as before.
    fn sync_batch(&mut self, rows: &Rows, unsynced: &BTreeSet<PathBuf>) -> io::Result<()> {
        let sync_dirs = || unsynced.iter().try_for_each(|dir| durable::sync_dir(dir));
        if rows.text.is_empty() {
            return sync_dirs();
        }
        self.tail.sync_beside(sync_dirs)
    }

    /// All of the batch is on the disk: from now on it is found.
    fn accept(&mut self, rows: Rows, placed: &[Placed]) {
        for (row, offset) in &rows.entries {
            self.index.enter(&row.slot(), *offset);
        }
        self.tail.accept(rows.text.len() as u64);
        self.tail.number_on(rows.next_seq);
        self.stats
            .stored(rows.entries.into_iter().map(|(row, _)| row));
        for placed in placed {
            self.known_hosts
                .insert(placed.group.ask().receipt.host.clone());
        }
    }
}

/// Names in incoming/ that are no longer needed. To be tidied up after the answers, where that
/// costs nobody's time.
#[derive(Default)]
#[must_use]
pub(crate) struct Finished(Vec<PathBuf>);

impl Finished {
    pub(crate) fn tidy(self) {
        for incoming in self.0 {
            if let Err(error) = durable::unlink(&incoming) {
                events::store_untidy(&incoming, error);
            }
        }
    }
}

/// The rows that a batch appends, in one write.
struct Rows {
    text: Vec<u8>,
    entries: Vec<(Receipt, u64)>,
    offset: u64,
    next_seq: u64,
}

impl Rows {
    fn after(tail: &Tail) -> Rows {
        Rows {
            text: Vec::new(),
            entries: Vec::new(),
            offset: tail.length,
            next_seq: tail.next_seq,
        }
    }

    /// Numbers a job that has no row yet, and adds its row.
    fn add(&mut self, placed: &mut Placed) {
        if placed.row.is_some() {
            return;
        }
        let mut row = placed.group.ask().receipt.clone();
        row.seq = Some(self.next_seq);
        self.next_seq = self.next_seq.saturating_add(1);
        let offset = self.offset + self.text.len() as u64;
        self.text.extend_from_slice(&line_of(&row));
        self.entries.push((row.clone(), offset));
        placed.row = Some(row);
    }
}

fn line_of(row: &Receipt) -> Vec<u8> {
    let mut line = serde_json::to_vec(row).expect("a receipt of strings and numbers is JSON");
    line.push(b'\n');
    line
}

/// Nothing of it was begun.
fn reject_batch(batch: Vec<QueuedRequest>, error: io::Error) -> Finished {
    let why = CommitError::of(error);
    for group in SameName::of(batch) {
        group.reject(why.again());
    }
    Finished::default()
}

fn reject_all(placed: Vec<Placed>, error: io::Error) {
    let why = CommitError::of(error);
    for placed in placed {
        placed.group.reject(why.again());
    }
}

fn answer_all(placed: Vec<Placed>) -> Finished {
    if let Err(error) = durable::step("answer") {
        // It happened, and the caller hears that it failed: a case that senders must survive.
        reject_all(placed, error);
        return Finished::default();
    }
    let mut finished = Vec::new();
    for Placed { group, row, linked } in placed {
        let receipt = row.unwrap_or_else(|| group.ask().receipt.clone());
        finished.extend(group.accept(&receipt, linked));
    }
    Finished(finished)
}

fn fatal(doing: &str, error: &io::Error) -> Failure {
    Failure::new(
        format!("the store could not {doing}: {error}"),
        "nothing was acknowledged; the receiver ends and recovers at its next start; look at the disk (dmesg)",
    )
}
