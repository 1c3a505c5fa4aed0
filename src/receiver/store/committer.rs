//! The one place where an episode becomes stored: name, row, both on the disk, then the answer.
//!
//!     link (or the name that is there)  append rows  (fsync directories | fdatasync index)  answer  unlink incoming/X
//!
//! 1. Nobody is answered before all of that is done. What is linked was synced by who asks.
//! 2. Many uploads finish together: a batch does its links, one append, one sync of each directory
//!    and of the index, and answers all. A second upload of a name in a batch shares the first's fate.
//! 3. A failed append is undone: rows cut, names unlinked. Where the undoing fails, or any sync
//!    here, nobody is answered and the process ends into recovery, which does it by this same code.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, mpsc};
use std::thread;

use super::existing::Identity;
use super::index::{Index, Tail};
use super::layout::Layout;
use super::space::is_full;
use crate::failure::Failure;
use crate::names::HostId;
use crate::receiver::vital::Stopper;
use crate::wire::{Receipt, Slot};
use crate::{durable, events};

/// Uploads that are committed together at most. There are seldom more under way.
pub const BATCH_MAX: usize = 256;

/// One file that is to be stored under its name.
pub struct Ask {
    /// Its row, but for the `seq`.
    pub receipt: Receipt,
    pub wish: Wish,
    /// Where it was received. Unlinked after the answer; when that is a no, it is the asker's.
    pub incoming: Option<PathBuf>,
}

/// An [`Ask`] and the way back.
pub struct Job {
    ask: Ask,
    /// Dropped without an answer when the process is about to end.
    answer: SyncSender<Answer>,
}

impl Ask {
    pub fn into_job(self) -> (Job, Receiver<Answer>) {
        let (answer, answered) = mpsc::sync_channel(1);
        (Job { ask: self, answer }, answered)
    }
}

/// How the name comes to the file.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// Link it: nothing is there.
    Link,
    /// The file under the name is this one, and its bytes are the row's, synced.
    Keep(Identity),
    /// The file under the name is this one, damaged: set it aside, then link.
    Replace(Identity),
}

pub type Answer = Result<Stored, Rejected>;

#[derive(Clone, Debug)]
pub struct Stored {
    pub receipt: Receipt,
    /// Whether the name is new, or was found.
    pub fresh: bool,
}

#[derive(Debug)]
pub enum Rejected {
    /// Something else stands under the name than the wish says: look what, and wish again.
    LookAgain,
    /// Other bytes have a row under this name.
    Taken,
    Full,
    Fault(io::Error),
}

impl Rejected {
    fn of(error: io::Error) -> Rejected {
        match is_full(&error) {
            true => Rejected::Full,
            false => Rejected::Fault(error),
        }
    }

    /// The same for another job; an `io::Error` cannot be cloned.
    fn again(&self) -> Rejected {
        match self {
            Rejected::LookAgain => Rejected::LookAgain,
            Rejected::Taken => Rejected::Taken,
            Rejected::Full => Rejected::Full,
            Rejected::Fault(error) => {
                Rejected::Fault(io::Error::new(error.kind(), error.to_string()))
            }
        }
    }
}

pub struct Committer {
    layout: Layout,
    index: Arc<Index>,
    tail: Tail,
    /// Hosts whose directory was synced into episodes/ by this process. One that merely exists may
    /// have been made by a run that was killed before its sync.
    known_hosts: HashSet<HostId>,
}

/// A job whose name is made, in a batch that is not on the disk yet.
struct Placed {
    job: Job,
    /// Those of the same name that came in the same batch.
    echoes: Vec<Job>,
    /// The row that it had already; without one the batch appends it.
    row: Option<Receipt>,
    linked: bool,
}

impl Committer {
    pub fn new(layout: Layout, index: Arc<Index>, tail: Tail) -> Committer {
        Committer {
            layout,
            index,
            tail,
            known_hosts: HashSet::new(),
        }
    }

    pub fn index(&self) -> Arc<Index> {
        self.index.clone()
    }

    /// The committer thread: takes all that is ready, until nobody can send any more.
    pub fn run(mut self, jobs: Receiver<Job>, stopper: Stopper) {
        while let Ok(first) = jobs.recv() {
            let mut batch = vec![first];
            batch.extend(jobs.try_iter().take(BATCH_MAX - 1));
            if let Err(failure) = self.commit(batch) {
                return stopper.fatal(failure);
            }
        }
    }

    /// Commits files from a thread that owns the committer: recovery and backfill. The answers are
    /// in the order of the asks.
    pub fn commit_all(&mut self, asks: Vec<Ask>) -> Result<Vec<Answer>, Failure> {
        let (jobs, answers): (Vec<_>, Vec<_>) = asks.into_iter().map(Ask::into_job).unzip();
        self.commit(jobs)?;
        answers
            .into_iter()
            .map(|answer| answer.recv())
            .collect::<Result<_, _>>()
            .map_err(|_| fatal("commit", &io::Error::other("there was no answer")))
    }

    /// Does the whole order for a batch, and answers each job.
    ///
    /// Errors: nothing that is not on the disk may be acknowledged any more by this process.
    pub fn commit(&mut self, batch: Vec<Job>) -> Result<(), Failure> {
        let mut unsynced = BTreeSet::new();
        let mut placed = self.place_all(batch, &mut unsynced);
        if placed.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::after(&self.tail);
        placed.iter_mut().for_each(|placed| rows.add(placed));
        if let Err(error) = self.append(&rows) {
            self.undo(&placed, &unsynced)?;
            placed
                .into_iter()
                .for_each(|p| p.reject(Rejected::of(error_again(&error))));
            return Ok(());
        }
        if let Err(error) = self.sync_batch(&rows, &unsynced) {
            // What the kernel could not write it may call written: better no row, so that recovery
            // writes a new one.
            let _ = self.tail.take_back();
            return Err(fatal("sync what was stored", &error));
        }
        self.accept(rows, &placed);
        answer_all(placed);
        Ok(())
    }

    /// Gives each file its name, and rejects those that cannot have it. `unsynced` gathers the
    /// directories whose names have changed.
    fn place_all(&mut self, batch: Vec<Job>, unsynced: &mut BTreeSet<PathBuf>) -> Vec<Placed> {
        let mut placed = Vec::new();
        for (job, echoes) in by_slot(batch) {
            match self.place(&job, unsynced) {
                Ok((row, linked)) => placed.push(Placed {
                    job,
                    echoes,
                    row,
                    linked,
                }),
                Err(rejected) => reject_all(job, echoes, rejected),
            }
        }
        placed
    }

    /// Gives the file its name. The row that it has already, and whether the name is new.
    fn place(
        &mut self,
        job: &Job,
        unsynced: &mut BTreeSet<PathBuf>,
    ) -> Result<(Option<Receipt>, bool), Rejected> {
        let slot = job.ask.receipt.slot();
        let rows = self.index.rows_of(&slot).map_err(Rejected::Fault)?;
        let is_told = !rows.is_empty();
        let row = rows
            .into_iter()
            .rfind(|row| row.sha256 == job.ask.receipt.sha256);
        if is_told && row.is_none() {
            return Err(Rejected::Taken);
        }
        let linked = match job.ask.wish {
            Wish::Keep(identity) => self.expect(&slot, identity).map(|()| false)?,
            Wish::Link => self.link(job, &slot).map(|()| true)?,
            Wish::Replace(identity) => {
                self.expect(&slot, identity)?;
                self.set_aside(&slot).map_err(Rejected::of)?;
                self.link(job, &slot).map(|()| true)?
            }
        };
        unsynced.insert(self.layout.host_dir(&slot.host));
        if !self.known_hosts.contains(&slot.host) {
            unsynced.insert(self.layout.episodes());
        }
        Ok((row, linked))
    }

    fn expect(&self, slot: &Slot, identity: Identity) -> Result<(), Rejected> {
        match Identity::at(&self.layout.tarball(slot)) {
            Ok(Some(found)) if found == identity => Ok(()),
            Ok(_) => Err(Rejected::LookAgain),
            Err(error) => Err(Rejected::Fault(error)),
        }
    }

    fn link(&self, job: &Job, slot: &Slot) -> Result<(), Rejected> {
        let Some(incoming) = &job.ask.incoming else {
            return Err(Rejected::Fault(io::Error::other(
                "there is nothing to link",
            )));
        };
        durable::mkdir(&self.layout.host_dir(&slot.host)).map_err(Rejected::of)?;
        durable::link_new(incoming, &self.layout.tarball(slot)).map_err(|error| {
            match error.kind() {
                io::ErrorKind::AlreadyExists => Rejected::LookAgain,
                _ => Rejected::of(error),
            }
        })
    }

    fn set_aside(&self, slot: &Slot) -> io::Result<()> {
        let kept_as = self.layout.set_aside(&self.layout.tarball(slot))?;
        events::damaged_file_replaced(slot, &kept_as);
        Ok(())
    }

    fn append(&mut self, rows: &Rows) -> io::Result<()> {
        match rows.text.is_empty() {
            true => Ok(()),
            false => self.tail.append(&rows.text),
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
            durable::unlink(&self.layout.tarball(&placed.job.ask.receipt.slot()))?;
        }
        unsynced.iter().try_for_each(|dir| durable::sync_dir(dir))
    }

    /// Directories and index side by side: they share what the filesystem has to write anyway. One
    /// sender of small episodes got through nearly twice as many, many senders as many as before.
    fn sync_batch(&self, rows: &Rows, unsynced: &BTreeSet<PathBuf>) -> io::Result<()> {
        let sync_dirs = || unsynced.iter().try_for_each(|dir| durable::sync_dir(dir));
        if rows.text.is_empty() {
            return sync_dirs();
        }
        thread::scope(|scope| {
            let beside = thread::Builder::new().name("index sync".to_owned());
            match beside.spawn_scoped(scope, || self.tail.sync()) {
                Ok(index) => {
                    let dirs = sync_dirs();
                    let panicked = |_| Err(io::Error::other("the sync of the index panicked"));
                    dirs.and(index.join().unwrap_or_else(panicked))
                }
                // The system has no thread for us now: one after the other does as well.
                Err(_) => sync_dirs().and_then(|()| self.tail.sync()),
            }
        })
    }

    /// All of the batch is on the disk: from now on it is found.
    fn accept(&mut self, rows: Rows, placed: &[Placed]) {
        for (slot, offset) in &rows.entries {
            self.index.enter(slot, *offset);
        }
        self.tail.accept(rows.text.len() as u64);
        self.tail.next_seq = rows.next_seq;
        for placed in placed {
            self.known_hosts.insert(placed.job.ask.receipt.host.clone());
        }
    }
}

/// The rows that a batch appends, in one write.
struct Rows {
    text: Vec<u8>,
    entries: Vec<(Slot, u64)>,
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
        let mut row = placed.job.ask.receipt.clone();
        row.seq = Some(self.next_seq);
        self.next_seq = self.next_seq.saturating_add(1);
        let offset = self.offset + self.text.len() as u64;
        self.entries.push((row.slot(), offset));
        self.text.extend_from_slice(&line_of(&row));
        placed.row = Some(row);
    }
}

fn line_of(row: &Receipt) -> Vec<u8> {
    let mut line = serde_json::to_vec(row).expect("a receipt of strings and numbers is JSON");
    line.push(b'\n');
    line
}

/// Each name's first job, with those that came after it, in order of arrival.
fn by_slot(batch: Vec<Job>) -> Vec<(Job, Vec<Job>)> {
    let mut places = HashMap::new();
    let mut groups: Vec<(Job, Vec<Job>)> = Vec::new();
    for job in batch {
        let place = *places.entry(job.ask.receipt.slot()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, echoes)) => echoes.push(job),
            None => groups.push((job, Vec::new())),
        }
    }
    groups
}

impl Placed {
    fn reject(self, rejected: Rejected) {
        reject_all(self.job, self.echoes, rejected);
    }
}

fn reject_all(job: Job, echoes: Vec<Job>, rejected: Rejected) {
    for echo in echoes {
        let fate = match rejected {
            // Its bytes may be those of the row.
            Rejected::Taken if echo.ask.receipt.sha256 != job.ask.receipt.sha256 => {
                Rejected::LookAgain
            }
            _ => rejected.again(),
        };
        send(&echo.answer, Err(fate));
    }
    send(&job.answer, Err(rejected));
}

/// Answers first, tidies up after: `incoming/X` is no longer needed, and costs nobody's time.
fn answer_all(placed: Vec<Placed>) {
    // It happened, and the caller hears that it failed: a case that senders must survive.
    if let Err(error) = durable::step("answer") {
        placed
            .into_iter()
            .for_each(|p| p.reject(Rejected::of(error_again(&error))));
        return;
    }
    let mut finished = Vec::new();
    for Placed {
        job,
        echoes,
        row,
        linked,
    } in placed
    {
        let receipt = row.unwrap_or_else(|| job.ask.receipt.clone());
        for echo in echoes {
            let fate = fate_of_echo(&echo, &receipt);
            finished.extend(echo.ask.incoming.filter(|_| fate.is_ok()));
            send(&echo.answer, fate);
        }
        let fresh = linked;
        send(&job.answer, Ok(Stored { receipt, fresh }));
        finished.extend(job.ask.incoming);
    }
    for incoming in finished {
        if let Err(error) = durable::unlink(&incoming) {
            events::store_untidy(&incoming, error);
        }
    }
}

fn fate_of_echo(echo: &Job, receipt: &Receipt) -> Answer {
    if echo.ask.receipt.sha256 != receipt.sha256 {
        return Err(Rejected::Taken);
    }
    Ok(Stored {
        receipt: receipt.clone(),
        fresh: false,
    })
}

fn send(answer: &SyncSender<Answer>, what: Answer) {
    // Each asker takes exactly one answer, and one that has gone needs none.
    let _ = answer.try_send(what);
}

fn error_again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn fatal(doing: &str, error: &io::Error) -> Failure {
    Failure::new(
        format!("the store could not {doing}: {error}"),
        "nothing was acknowledged; the receiver ends and recovers at its next start; look at the disk (dmesg)",
    )
}
