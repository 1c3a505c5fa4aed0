//! The tarballs of one page, fetched by several threads at once, and brought to the disk by one (`batch`),
//! which writes their receipts.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::Step;
use super::batch::Batch;
use super::end::End;
use super::receipts::Receipts;
use super::row::Row;
use super::transfer::{Fetched, Line};
use crate::failure::Failure;
use crate::sync::lock;

/// How far the threads may be ahead of the disk: each file that waits is open.
const MESSAGES_MAX: usize = 128;

/// One row whose tarball has no receipt or no file.
pub(super) struct Work {
    pub row: Row,
    /// A file stands under its name, of the right length and without a receipt.
    pub is_there: bool,
}

/// What the work of a page came to.
#[derive(Default)]
pub(super) struct Done {
    pub here: Vec<Row>,
    pub missing: Vec<(Row, String)>,
    pub in_the_way: Vec<(Row, String)>,
}

enum Message {
    Bytes(u64),
    Fetched(Row, Result<Fetched, End>),
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
    let queue = Mutex::new(VecDeque::from(work));
    let (sender, receiver) = sync_channel(MESSAGES_MAX);
    thread::scope(|scope| {
        // It goes when this closure ends: no thread waits for room in it then.
        let receiver = receiver;
        for _ in 0..threads {
            let sender = sender.clone();
            let worker = thread::Builder::new().name("fetch".to_owned());
            let spawned = worker.spawn_scoped(scope, || work_off(line, &queue, sender));
            if let Err(error) = spawned {
                line.patience.end();
                return Err(End::Waits(Failure::new(
                    format!("cannot start a thread: {error}"),
                    "raise the limit on threads (ulimit -u) or free memory, or give fewer --jobs",
                )));
            }
        }
        drop(sender);
        let done = collect(line, receipts, &receiver, tell);
        if done.is_err() {
            line.patience.end();
        }
        done
    })
}

fn work_off(line: &Line, queue: &Mutex<VecDeque<Work>>, sender: SyncSender<Message>) {
    while !line.patience.is_over() {
        let Some(work) = lock(queue).pop_front() else {
            return;
        };
        let fetched = if work.is_there {
            line.adopt(&work.row)
        } else {
            // The other end is gone only when the pull ends.
            line.fetch(&work.row, &mut |bytes| {
                let _ = sender.send(Message::Bytes(bytes));
            })
        };
        let _ = sender.send(Message::Fetched(work.row, fetched));
    }
}

/// Takes what the threads send until all have ended, and brings it to the disk in batches.
fn collect(
    line: &Line,
    receipts: &mut Receipts,
    receiver: &Receiver<Message>,
    tell: &mut dyn FnMut(Step),
) -> Result<Done, End> {
    let mut done = Done::default();
    let mut batch = Batch::default();
    let mut ended = Ok(());
    loop {
        let end = match next(receiver, &batch) {
            Ok(Message::Bytes(bytes)) => {
                tell(Step::Bytes(bytes));
                continue;
            }
            Ok(Message::Fetched(row, fetched)) => note(row, fetched, &mut batch, &mut done),
            Err(RecvTimeoutError::Timeout) => batch.settle(line, receipts, &mut done),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if end.is_err() {
            line.patience.end();
        }
        ended = ended.and(end);
    }
    let settled = batch.settle(line, receipts, &mut done);
    ended.and(settled).map(|()| done)
}

/// The next message, as long as the batch can wait for it.
fn next(receiver: &Receiver<Message>, batch: &Batch) -> Result<Message, RecvTimeoutError> {
    match batch.patience() {
        Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
        Some(patience) => receiver.recv_timeout(patience),
        None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

/// Errors: the transfer's.
fn note(
    row: Row,
    fetched: Result<Fetched, End>,
    batch: &mut Batch,
    done: &mut Done,
) -> Result<(), End> {
    match fetched? {
        Fetched::Here => batch.add_named(row),
        Fetched::Whole(file) => batch.add_whole(row, file),
        Fetched::Missing(why) => done.missing.push((row, why)),
        Fetched::InTheWay(why) => done.in_the_way.push((row, why)),
    }
    Ok(())
}
