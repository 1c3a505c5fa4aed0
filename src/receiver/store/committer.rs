//! The one place where an episode becomes stored: name, row, both on the disk, then the answer.
//!
//!     in one block   link  append rows  (fsync file | fsync directories | fdatasync index)  answer  unlink incoming/X
//!     larger         fsync file  link  append rows  (fsync directories | fdatasync index)  answer  unlink incoming/X
//!
//! This file links, appends and answers; its caller holds the lock of `commit_queue` meanwhile, and
//! lets it go for the syncs. Between a link and its answer the name is *in flight*.
//!
//! 1. A linked file has its right bytes; an answered one is on the disk: file, name and row.
//! 2. A batch does its links and one append. Another request of a name that is in flight shares its
//!    fate: nobody reads, keeps or answers a file that is not known to be on the disk.
//! 3. Before a batch, and again before each answer, the open index is compared with its name. Another
//!    file there, or another length than ours, ends the process into recovery.
//! 4. A failed append is undone: rows cut, names unlinked. A file whose own sync fails loses its name;
//!    its row stays, as one whose file is gone. Where that fails, or the sync of a directory or of the
//!    index, nobody is answered and the process ends into recovery, which commits by this same code.

mod end;
mod in_one_thread;
mod naming;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::commit_request::{CommitResult, Decision, Placed, QueuedRequest, SameName, Syncs};
use super::condition::Condition;
use super::index::Index;
use super::layout::Layout;
use super::new_rows::{NewRow, NewRows};
use super::sequence::{IndexFinding, Sequence};
use super::tail::Tail;
use super::{Came, StoreError};
use crate::durable;
use crate::failure::Failure;
use crate::names::HostId;
use crate::receiver::stats::Stats;
use crate::wire::{Receipt, Slot};

pub(super) use self::end::{EndCause, Fatal, fatal};

use self::naming::Named;

/// How much memory for rows is kept from one batch to the next: that of 64 rows and more.
const TEXT_BYTES_KEPT: usize = 32 << 10;

pub(super) struct Committer {
    layout: Layout,
    index: Arc<Index>,
    tail: Tail,
    /// Memory for the rows of the next batch; it holds nothing.
    text: Vec<u8>,
    sequence: Sequence,
    condition: Arc<Condition>,
    /// Hosts whose directory was synced into episodes/ by this process. One that merely exists may
    /// have been made by a run that was killed before its sync.
    known_hosts: HashSet<HostId>,
    in_flight: HashMap<Slot, InFlight>,
    /// Nothing new is placed any more.
    is_closing: bool,
    /// Nothing is answered any more, for this cause.
    ended: Option<EndCause>,
    /// Rows of files that were withdrawn: no episode that was stored, until the file comes again.
    uncounted: HashSet<Slot>,
    stats: Arc<Stats>,
}

/// A file that has its name, and is not known to be on the disk.
struct InFlight {
    group: SameName,
    row: Row,
    is_linked: bool,
    /// Whether its thread has the name of the host's directory synced too.
    syncs_host: bool,
}

enum Row {
    /// On the disk from before.
    Kept(Box<Receipt>),
    New(Box<NewRow>),
}

impl Row {
    fn receipt(&self) -> &Receipt {
        match self {
            Row::Kept(receipt) => receipt,
            Row::New(row) => &row.receipt,
        }
    }
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
            text: Vec::new(),
            sequence,
            condition,
            known_hosts: HashSet::new(),
            in_flight: HashMap::new(),
            is_closing: false,
            ended: None,
            uncounted: HashSet::new(),
            stats,
        }
    }

    pub(super) fn index(&self) -> Arc<Index> {
        self.index.clone()
    }

    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    pub(super) fn finding(&self) -> Option<&IndexFinding> {
        self.sequence.finding()
    }

    /// Whether a file under this name may not be on the disk yet.
    pub(super) fn is_in_flight(&self, slot: &Slot) -> bool {
        self.in_flight.contains_key(slot)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether no request is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Links the files of a batch and appends their rows. Requests that cannot have their name are
    /// answered. For the others `begin_syncs` receives the directories whose names have changed, and
    /// whether the index has; their threads receive the syncs to wait for, which it returns.
    ///
    /// Errors: this process may acknowledge nothing more.
    pub(super) fn place_all(
        &mut self,
        batch: Vec<QueuedRequest>,
        begin_syncs: impl FnOnce(BTreeSet<PathBuf>, bool) -> io::Result<Option<Syncs>>,
    ) -> Result<(), Fatal> {
        if self.is_closing {
            return Ok(()); // The batch is dropped, so each of its threads gets no answer.
        }
        if let Err(failure) = self.watch_index() {
            // With the store's disk away, so is the index: both may come back as they were.
            let Err(error) = self.condition.home().check() else {
                return Err(failure.into());
            };
            refuse_all(SameName::of(batch), error);
            return Ok(());
        }
        let groups = SameName::of(batch);
        let mut named = Vec::with_capacity(groups.len());
        for group in groups {
            if let Some(in_flight) = self.in_flight.get_mut(&group.request().receipt.slot()) {
                in_flight.group.join(group);
            } else if let Some(one) = self.name(group)? {
                named.push(one);
            }
        }
        if named.is_empty() {
            return Ok(());
        }
        self.append_all(named, begin_syncs)
    }

    /// Appends the rows of the files that have their names, which are in flight from then on.
    fn append_all(
        &mut self,
        named: Vec<Named>,
        begin_syncs: impl FnOnce(BTreeSet<PathBuf>, bool) -> io::Result<Option<Syncs>>,
    ) -> Result<(), Fatal> {
        let mut rows = NewRows::after(&self.tail, mem::take(&mut self.text));
        let mut placed = Vec::with_capacity(named.len());
        for mut one in named {
            let row = match one.kept_row.take() {
                Some(row) => Row::Kept(row),
                None => Row::New(Box::new(rows.add(&one.group.request().receipt))),
            };
            placed.push((one, row));
        }
        if !rows.text.is_empty()
            && let Err(error) = self.append(&rows)
        {
            let named: Vec<Named> = placed.into_iter().map(|(one, _)| one).collect();
            self.undo(&named).map_err(|error| {
                Fatal::failed_sync("take back what could not be indexed", &error)
            })?;
            refuse_all(named.into_iter().map(|one| one.group).collect(), error);
            return Ok(());
        }
        let dirs = placed
            .iter_mut()
            .flat_map(|(one, _)| mem::take(&mut one.dirs));
        let syncs = begin_syncs(dirs.collect(), !rows.text.is_empty())
            .map_err(|error| Fatal::failed_sync("sync what was stored", &error))?;
        self.keep_text(rows.text);
        for (one, row) in placed {
            let slot = one.group.request().receipt.slot();
            let syncs_host = !self.known_hosts.contains(&slot.host);
            one.group.placed(Placed {
                slot: slot.clone(),
                syncs,
            });
            let in_flight = InFlight {
                group: one.group,
                row,
                is_linked: one.is_linked,
                syncs_host,
            };
            self.in_flight.insert(slot, in_flight);
        }
        Ok(())
    }

    /// Keeps the memory of a batch's rows for the next one, if that is not more than most batches need.
    fn keep_text(&mut self, mut text: Vec<u8>) {
        if text.capacity() <= TEXT_BYTES_KEPT {
            text.clear();
            self.text = text;
        }
    }

    /// The numbers are raised for new rows alone: recovery asks for a commit also where a row is there.
    fn append(&mut self, rows: &NewRows) -> io::Result<()> {
        let count = rows.next_seq - self.tail.next_seq;
        if let Err(error) = self.sequence.reach(count, &self.tail) {
            self.failed("raise the numbers of rows", &error);
            return Err(error);
        }
        self.tail
            .append(&rows.text, rows.next_seq)
            .inspect_err(|error| self.failed("append to the index", error))
    }

    /// After a failed append: as if the batch had never been. Its files keep their names in incoming/,
    /// which are the uploads' to remove.
    fn undo(&self, named: &[Named]) -> io::Result<()> {
        self.tail.cut_to_end()?;
        self.tail.sync()?;
        for one in named.iter().filter(|one| one.is_linked) {
            durable::unlink(&self.layout.tarball(&one.group.request().receipt.slot()))?;
        }
        let dirs: BTreeSet<&PathBuf> = named.iter().flat_map(|one| &one.dirs).collect();
        dirs.into_iter().try_for_each(|dir| durable::sync_dir(dir))
    }

    /// The file of this name in flight, the name and the row are on the disk: the request's answer.
    /// `None` if the process is ending and has let it go.
    ///
    /// Errors: this process may acknowledge nothing more.
    pub(super) fn settle(&mut self, slot: &Slot) -> Result<Option<CommitResult>, Fatal> {
        let Some(settled) = self.in_flight.remove(slot) else {
            return Ok(None);
        };
        if let Row::Kept(_) = settled.row {
            // No sync of the index has watched it for this one.
            self.watch_index()?;
        }
        self.accept(&settled.row);
        self.count(&settled);
        if settled.syncs_host {
            self.known_hosts.insert(slot.host.clone());
        }
        let InFlight {
            mut group,
            row,
            is_linked,
            ..
        } = settled;
        if let Err(error) = durable::step("answer") {
            // It happened, and the caller hears that it failed: a case that senders must survive.
            let why = StoreError::of(error);
            group.refuse_later(&why);
            return Ok(Some(Err(why)));
        }
        let came = match (is_linked, &row) {
            (false, _) => Came::Earlier,
            (true, Row::Kept(_)) => Came::Again,
            (true, Row::New(_)) => Came::New,
        };
        let published = group.accept(row.receipt(), came);
        Ok(Some(Ok(Decision::Stored(Box::new(published)))))
    }

    /// The file of this name in flight could not be synced: unlinks it. Returns the directory that is
    /// to be synced before [`Committer::refuse`]. The name in incoming/ must outlive that: else a power
    /// cut could leave the final name alone, with bytes that are not all there.
    ///
    /// Errors: this process may acknowledge nothing more.
    pub(super) fn withdraw(&mut self, slot: &Slot) -> Result<PathBuf, Fatal> {
        let is_linked = self.in_flight.get(slot).is_some_and(|one| one.is_linked);
        if is_linked {
            durable::unlink(&self.layout.tarball(slot)).map_err(|error| {
                Fatal::failed_sync("take back a file that could not be synced", &error)
            })?;
        }
        Ok(self.layout.host_dir(&slot.host))
    }

    /// The file of this name has lost its name after a failed sync: its row stays, as one whose file is
    /// gone. Returns the request's answer; `None` as for [`Committer::settle`].
    pub(super) fn refuse(&mut self, slot: &Slot, error: io::Error) -> Option<CommitResult> {
        let mut withdrawn = self.in_flight.remove(slot)?;
        self.accept(&withdrawn.row);
        if let Row::New(_) = withdrawn.row {
            self.uncounted.insert(slot.clone());
        }
        self.failed("sync the body", &error);
        let why = StoreError::of(error);
        withdrawn.group.refuse_later(&why);
        Some(Err(why))
    }

    /// A new row is on the disk: from now on it is found.
    fn accept(&mut self, row: &Row) {
        let Row::New(row) = row else { return };
        self.index.enter(&row.receipt.slot(), row.offset);
        let unsettled = self.new_in_flight().map(|row| row.offset).min();
        self.tail.accept(row.end, row.seq, unsettled);
    }

    fn new_in_flight(&self) -> impl Iterator<Item = &NewRow> {
        self.in_flight.values().filter_map(|one| match &one.row {
            Row::New(row) => Some(&**row),
            Row::Kept(_) => None,
        })
    }

    /// Counts the episode with its row, once.
    fn count(&mut self, settled: &InFlight) {
        let receipt = settled.row.receipt();
        let was_withdrawn = self.uncounted.remove(&receipt.slot());
        if was_withdrawn || matches!(settled.row, Row::New(_)) {
            self.stats.stored(receipt.clone(), self.complete_to());
        }
    }

    /// No row with a number up to this one is in flight.
    fn complete_to(&self) -> u64 {
        let lowest = self.new_in_flight().map(|row| row.seq).min();
        lowest.unwrap_or(self.tail.next_seq).saturating_sub(1)
    }

    /// Once a second: whether the index is still the one that is open, and its length for the next
    /// start.
    ///
    /// Errors: it is another, so appended rows would be lost.
    pub(super) fn look(&mut self) -> Result<(), Fatal> {
        // While the store itself is away, so is the index: it may come back with that.
        if self.condition.home().check().is_ok() && !self.is_closing {
            self.watch_index()?;
            self.sequence.note_hourly(&self.tail, Instant::now());
        }
        Ok(())
    }

    /// Errors: the index is not the one that is open, so appended rows would be lost. Files in flight have
    /// their names in incoming/ still, and recovery gives them their rows.
    pub(super) fn watch_index(&self) -> Result<(), Failure> {
        let path = self.layout.index();
        self.tail.watch(&path).map_err(|why| {
            Failure::new(
                format!("the index {} is not the file that this receiver opened: {why}", path.display()),
                "nothing was acknowledged that it lacks; the receiver ends and recovers at its next start, and then says what the index lacks; keep editors and logrotate away from index.jsonl: it may be copied, and never moved, cut or written",
            )
        })
    }

    /// Health hears of it, unless there is just no room.
    fn failed(&self, doing: &str, error: &io::Error) {
        if !durable::is_full(error) {
            self.condition.failed(doing, error);
        }
    }

    /// Places nothing more; what is in flight may still be settled.
    pub(super) fn stop_placing(&mut self) {
        self.is_closing = true;
    }

    /// Backfill went through: every stored file has its row.
    pub(super) fn settle_finding(&mut self) {
        self.sequence.settle(&self.tail);
    }
}

/// Nothing of them is left.
fn refuse_all(groups: Vec<SameName>, error: io::Error) {
    let why = StoreError::of(error);
    for group in groups {
        group.refuse(why.again());
    }
}
