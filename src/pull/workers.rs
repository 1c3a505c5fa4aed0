//! The tarballs of the list's pages: several threads fetch them, and one (`batch`) brings them to the disk and
//! writes their receipts.
//!
//! The work of a page may begin while that of the page before is under way: no thread waits for the disk
//! at a page's end. Pages end in the order of the list ([`Workers::next_done`]).

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::Duration;

use super::Step;
use super::batch::{Batch, FILES_MAX};
use super::bundle::{Bundle, Offer};
use super::end::End;
use super::inbox::{Ended, Inbox, Sender, Taker};
use super::pages::{Done, Pages, Task, Work};
use super::receipts::Receipts;
use super::transfer::{Fetched, Line};
use crate::failure::Failure;
use crate::sync::JobQueue;
use crate::sys::KeptBlocks;

/// How often progress is reported.
const LOOK: Duration = Duration::from_millis(100);
/// The next page is asked for when no more jobs than this wait for a thread: rows of the last page, or bundles.
const FEW: usize = 500;
/// So many pages may be under way: rows in memory.
const PAGES_MAX: usize = 3;

/// What the threads share.
pub(super) struct Bench {
    jobs: JobQueue<Job>,
    inbox: Inbox,
    /// The receiver has not said that it has no bundles.
    has_bundles: AtomicBool,
}

/// What a thread does at a time.
enum Job {
    One(Task),
    Together(Bundle),
}

/// Pages under way. Its drop ends the threads.
pub(super) struct Workers<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    line: &'env Line<'env>,
    bench: &'env Bench,
    taker: Taker<'env>,
    jobs: usize,
    batch: Batch,
    pages: Pages,
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench {
            jobs: JobQueue::new(),
            inbox: Inbox::new(FILES_MAX),
            has_bundles: AtomicBool::new(true),
        }
    }
}

impl<'scope, 'env> Workers<'scope, 'env> {
    /// At most `jobs` threads, which are started when there is something to do.
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        line: &'env Line<'env>,
        bench: &'env Bench,
        jobs: usize,
    ) -> Workers<'scope, 'env> {
        Workers {
            scope,
            line,
            bench,
            taker: bench.inbox.taker(),
            jobs,
            batch: Batch::default(),
            pages: Pages::default(),
        }
    }

    /// Begins the work of one more page, of which the small tarballs may come together.
    ///
    /// Errors: the system gives no thread.
    pub(super) fn begin(&mut self, work: Vec<Work>, offer: Option<Offer>) -> Result<(), End> {
        let mut tasks = self.pages.begin(work);
        let mut together = None;
        if let Some(offer) = offer
            && self.bench.has_bundles.load(Ordering::Relaxed)
        {
            (together, tasks) = Bundle::of(offer, tasks);
        }
        let jobs = together.map(Job::Together).into_iter();
        let jobs = jobs.chain(tasks.into_iter().map(Job::One));
        self.bench.jobs.put_all(jobs);
        let wanted = self.jobs.min(self.to_come());
        while self.taker.threads() < wanted {
            self.start_thread()?;
        }
        Ok(())
    }

    fn start_thread(&self) -> Result<(), End> {
        let (line, bench) = (self.line, self.bench);
        let sender = bench.inbox.sender();
        let worker = thread::Builder::new().name("fetch".to_owned());
        let spawned = worker.spawn_scoped(self.scope, move || work_off(line, bench, &sender));
        match spawned {
            Ok(_) => Ok(()),
            Err(error) => {
                self.line.patience.end();
                Err(End::Waits(Failure::new(
                    format!("cannot start a thread: {error}"),
                    "raise the limit on threads (ulimit -u) or free memory, or give fewer --jobs",
                )))
            }
        }
    }

    /// Whether another page may begin: soon the threads have nothing to do.
    pub(super) fn want_more(&self) -> bool {
        self.pages.under_way() < PAGES_MAX && self.bench.jobs.waiting() <= FEW
    }

    /// Whether nothing of any page is under way.
    pub(super) fn are_idle(&self) -> bool {
        self.pages.tasks_left() == 0
    }

    /// What the oldest page came to, if all of it has ended and is on the disk.
    pub(super) fn next_done(&mut self) -> Option<Done> {
        self.pages.next_done()
    }

    /// Waits for some of the threads' work, and brings it to the disk if there is enough of it, or if no more
    /// is under way. The caller begins no other page meanwhile.
    ///
    /// Errors: the first one, after which the pull ends ([`Workers::end`]).
    pub(super) fn go_on(
        &mut self,
        receipts: &mut Receipts,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(), End> {
        self.collect(self.to_come(), receipts, tell).0
    }

    /// Ends the threads after an error: what they are at is left as it is, and what has come whole gets its
    /// receipts. Further errors are of no interest.
    pub(super) fn end(&mut self, receipts: &mut Receipts, tell: &mut dyn FnMut(Step)) {
        self.leave();
        while !self.collect(usize::MAX, receipts, tell).1 {}
    }

    /// Lets no thread begin anything more, nor go on with what it is at.
    fn leave(&self) {
        self.line.patience.end();
        self.bench.jobs.clear();
        self.bench.jobs.close();
    }

    /// How many tasks the threads have not handed over.
    fn to_come(&self) -> usize {
        self.pages.tasks_left().saturating_sub(self.batch.len())
    }

    /// Takes what the threads hand over, of which `most` are to come, and settles the batch if it is due or if
    /// none are left to come. True if all threads have ended.
    fn collect(
        &mut self,
        most: usize,
        receipts: &mut Receipts,
        tell: &mut dyn FnMut(Step),
    ) -> (Result<(), End>, bool) {
        let some = self.taker.take(most, self.batch.patience().min(LOOK));
        let is_over = some.is_none();
        tell(Step::Bytes(self.taker.new_bytes()));
        let mut ended = Ok(());
        for one in some.unwrap_or_default() {
            ended = ended.and(self.note(one));
        }
        if is_over || self.to_come() == 0 || self.batch.patience().is_zero() {
            let settled = self.batch.settle(self.line, receipts, &mut self.pages);
            ended = ended.and(settled);
        }
        (ended, is_over)
    }

    /// Errors: the transfer's.
    fn note(&mut self, (task, fetched): Ended) -> Result<(), End> {
        match fetched? {
            Fetched::Here => self.batch.add_named(task),
            Fetched::Whole(file) => self.batch.add_whole(task, file),
            Fetched::Missing(why) => self.pages.missing(task, why),
            Fetched::InTheWay(why) => self.pages.in_the_way(task, why),
        }
        Ok(())
    }
}

impl Drop for Workers<'_, '_> {
    fn drop(&mut self) {
        self.leave();
    }
}

fn work_off(line: &Line, bench: &Bench, sender: &Sender) {
    let _kept = KeptBlocks::keep();
    let mut buffer = Vec::new();
    while !line.patience.is_over() {
        let Some(job) = bench.jobs.take() else {
            return;
        };
        match job {
            Job::One(task) => {
                let fetched = catch(|| work_on(line, &task, &mut buffer, sender));
                let fetched = fetched.unwrap_or_else(|| Err(panicked(&task)));
                put(line, sender, task, fetched);
            }
            Job::Together(bundle) => work_on_bundle(line, bench, bundle, &mut buffer, sender),
        }
    }
}

/// `None` if it panics. A task that ends without a word would be waited for without end.
fn catch<T>(work: impl FnOnce() -> T) -> Option<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

fn panicked(task: &Task) -> End {
    End::Wrong(Failure::new(
        format!("the thread that fetched {} has panicked", task.row.slot),
        "please report the lines above; what is here stays",
    ))
}

fn put(line: &Line, sender: &Sender, task: Task, fetched: Result<Fetched, End>) {
    if fetched.is_err() {
        line.patience.end();
    }
    sender.put((task, fetched));
}

fn work_on(
    line: &Line,
    task: &Task,
    buffer: &mut Vec<u8>,
    sender: &Sender,
) -> Result<Fetched, End> {
    if task.is_there {
        return line.adopt(&task.row);
    }
    line.fetch(&task.row, buffer, &mut |bytes| sender.add_bytes(bytes))
}

/// Fetches what comes of the bundle, and leaves the rest of it to be asked for one by one.
fn work_on_bundle(
    line: &Line,
    bench: &Bench,
    mut bundle: Bundle,
    buffer: &mut Vec<u8>,
    sender: &Sender,
) {
    let fetched = catch(|| {
        line.fetch_bundle(&mut bundle, buffer, &mut |task, fetched| {
            sender.add_bytes(task.row.bytes.unwrap_or(0));
            put(line, sender, task, fetched);
        })
    });
    let has_panicked = fetched.is_none();
    if fetched == Some(false) {
        bench.has_bundles.store(false, Ordering::Relaxed);
    }
    let mut left = bundle.into_left();
    if has_panicked && let Some(task) = left.next() {
        let end = panicked(&task);
        return put(line, sender, task, Err(end));
    }
    bench.jobs.put_all(left.map(Job::One));
}
