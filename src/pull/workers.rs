//! The tarballs of one page, fetched by several threads at once; their receipts are written by one.
//!
//! The order on the disk: each file and its name (`transfer`), then the folders of the names, then the
//! receipts. Those of all files that have come meanwhile go together.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::Step;
use super::end::End;
use super::folder::Folder;
use super::receipts::Receipts;
use super::row::Row;
use super::transfer::{Fetched, Line};
use crate::durable;
use crate::failure::Failure;
use crate::sync::lock;

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
    let (sender, receiver) = channel();
    thread::scope(|scope| {
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

fn work_off(line: &Line, queue: &Mutex<VecDeque<Work>>, sender: Sender<Message>) {
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

/// Takes what the threads send until all have ended.
fn collect(
    line: &Line,
    receipts: &mut Receipts,
    receiver: &Receiver<Message>,
    tell: &mut dyn FnMut(Step),
) -> Result<Done, End> {
    let mut done = Done::default();
    let mut end = None;
    while let Ok(first) = receiver.recv() {
        let mut batch = Vec::new();
        let waiting = std::iter::from_fn(|| receiver.try_recv().ok());
        for message in std::iter::once(first).chain(waiting) {
            match message {
                Message::Bytes(bytes) => tell(Step::Bytes(bytes)),
                Message::Fetched(row, Ok(Fetched::Here)) => batch.push(row),
                Message::Fetched(row, Ok(Fetched::Missing(why))) => done.missing.push((row, why)),
                Message::Fetched(row, Ok(Fetched::InTheWay(why))) => {
                    done.in_the_way.push((row, why));
                }
                Message::Fetched(_, Err(error)) => {
                    line.patience.end();
                    end.get_or_insert(error);
                }
            }
        }
        write_receipts(line.folder, receipts, &batch)?;
        done.here.extend(batch);
    }
    match end {
        Some(end) => Err(end),
        None => Ok(done),
    }
}

fn write_receipts(folder: &Folder, receipts: &mut Receipts, batch: &[Row]) -> Result<(), End> {
    let hosts: BTreeSet<_> = batch.iter().map(|row| &row.slot.host).collect();
    for host in hosts {
        let dir = folder.host(host);
        durable::sync_dir(&dir).map_err(|error| End::disk("sync", &dir, &error))?;
    }
    receipts.add(batch.iter())
}
