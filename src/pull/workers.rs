//! The tarballs of one page, fetched by several threads at once, and brought to the disk by one (`batch`),
//! which writes their receipts.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::Step;
use super::batch::{Batch, Done};
use super::end::End;
use super::inbox::{Ended, Inbox, Sender, Taker};
use super::receipts::Receipts;
use super::row::Row;
use super::transfer::{Fetched, Line};
use crate::failure::Failure;
use crate::sync::lock;

/// How often progress is reported.
const LOOK: Duration = Duration::from_millis(100);

/// One row whose tarball has no receipt or no file.
pub(super) struct Work {
    pub row: Row,
    /// A file stands under its name, of the right length and without a receipt.
    pub is_there: bool,
}

/// Does all of the work with `jobs` threads, and writes the receipts.
///
/// Errors: the first one, after which nothing more is begun. What came before it has its receipts.
pub(super) fn fetch_all(
    line: &Line,
    receipts: &mut Receipts,
    work: Vec<Work>,
    jobs: usize,
    tell: &mut dyn FnMut(Step),
) -> Result<Done, End> {
    let threads = jobs.min(work.len());
    let queue = &Mutex::new(VecDeque::from(work));
    let inbox = Inbox::new();
    thread::scope(|scope| {
        // It goes when this closure ends: no thread waits for room then.
        let taker = inbox.taker();
        for _ in 0..threads {
            let sender = inbox.sender();
            let worker = thread::Builder::new().name("fetch".to_owned());
            let spawned = worker.spawn_scoped(scope, move || work_off(line, queue, &sender));
            if let Err(error) = spawned {
                line.patience.end();
                return Err(End::Waits(Failure::new(
                    format!("cannot start a thread: {error}"),
                    "raise the limit on threads (ulimit -u) or free memory, or give fewer --jobs",
                )));
            }
        }
        let done = collect(line, receipts, &taker, tell);
        if done.is_err() {
            line.patience.end();
        }
        done
    })
}

fn work_off(line: &Line, queue: &Mutex<VecDeque<Work>>, sender: &Sender) {
    while !line.patience.is_over() {
        let Some(work) = lock(queue).pop_front() else {
            return;
        };
        let fetched = if work.is_there {
            line.adopt(&work.row)
        } else {
            line.fetch(&work.row, &mut |bytes| sender.add_bytes(bytes))
        };
        if fetched.is_err() {
            line.patience.end();
        }
        sender.put((work.row, fetched));
    }
}

/// Takes what the threads hand over until all have ended, and brings it to the disk in batches.
fn collect(
    line: &Line,
    receipts: &mut Receipts,
    taker: &Taker,
    tell: &mut dyn FnMut(Step),
) -> Result<Done, End> {
    let mut done = Done::default();
    let mut batch = Batch::default();
    let mut ended = Ok(());
    while let Some(some) = taker.take(batch.patience().min(LOOK)) {
        tell(Step::Bytes(taker.new_bytes()));
        for one in some {
            ended = ended.and(note(one, &mut batch, &mut done));
        }
        if batch.patience().is_zero() {
            ended = ended.and(batch.settle(line, receipts, &mut done));
        }
        if ended.is_err() {
            line.patience.end();
        }
    }
    tell(Step::Bytes(taker.new_bytes()));
    let settled = batch.settle(line, receipts, &mut done);
    ended.and(settled).map(|()| done)
}

/// Errors: the transfer's.
fn note((row, fetched): Ended, batch: &mut Batch, done: &mut Done) -> Result<(), End> {
    match fetched? {
        Fetched::Here => batch.add_named(row),
        Fetched::Whole(file) => batch.add_whole(row, file),
        Fetched::Missing(why) => done.missing.push((row, why)),
        Fetched::InTheWay(why) => done.in_the_way.push((row, why)),
    }
    Ok(())
}
