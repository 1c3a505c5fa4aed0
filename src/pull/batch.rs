//! Tarballs that have come whole, and are synced, named and noted together.
//!
//! The order on the disk: the files, their names, the folders of the names, the receipts. A crash before
//! the names leaves whole partial files, which the next pull checks and does not fetch again.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::end::End;
use super::pages::{Pages, Task};
use super::receipts::Receipts;
use super::transfer::{Fetched, Line};
use crate::durable;

/// Each has an open file, and each batch costs three flushes of the disk.
pub(super) const FILES_MAX: usize = 400;
/// A batch of so many bytes is due. What waits for it (`inbox`) waits in memory too.
const BYTES_MAX: u64 = 64 << 20;
/// How long the first of a batch waits for others on a slow line.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What is to be brought to the disk together.
#[derive(Default)]
pub(super) struct Batch {
    /// Those that have their names, on a disk that knows their bytes.
    named: Vec<Task>,
    /// Those that have neither: each with its open partial file.
    whole: Vec<(Task, File)>,
    bytes: u64,
    began: Option<Instant>,
}

impl Batch {
    /// A file that has its name.
    pub(super) fn add_named(&mut self, task: Task) {
        self.began.get_or_insert_with(Instant::now);
        self.named.push(task);
    }

    /// A whole partial file, open since before it was written.
    pub(super) fn add_whole(&mut self, task: Task, file: File) {
        self.began.get_or_insert_with(Instant::now);
        self.bytes += task.row.bytes.unwrap_or(0);
        self.whole.push((task, file));
    }

    pub(super) fn len(&self) -> usize {
        self.whole.len() + self.named.len()
    }

    /// How long it may wait for more. Zero if it is due.
    pub(super) fn patience(&self) -> Duration {
        if self.len() >= FILES_MAX || self.bytes >= BYTES_MAX {
            return Duration::ZERO;
        }
        let waited = self.began.map(|began| began.elapsed());
        WAIT_MAX.saturating_sub(waited.unwrap_or_default())
    }

    /// Brings all of it to the disk and empties it. What is here is noted in `pages`.
    ///
    /// Errors: the first one of the disk. What it does not concern has its receipt all the same.
    pub(super) fn settle(
        &mut self,
        line: &Line,
        receipts: &mut Receipts,
        pages: &mut Pages,
    ) -> Result<(), End> {
        let Batch { named, whole, .. } = std::mem::take(self);
        let mut here = named;
        let named = name_all(line, whole, &mut here, pages);
        sync_hosts(line, &here)?;
        receipts.add(here.iter().map(|task| &task.row))?;
        for task in here {
            pages.here(task);
        }
        named
    }
}

/// Syncs the files, and gives their names to those that are on the disk.
fn name_all(
    line: &Line,
    whole: Vec<(Task, File)>,
    here: &mut Vec<Task>,
    pages: &mut Pages,
) -> Result<(), End> {
    let files: Vec<&File> = whole.iter().map(|(_, file)| file).collect();
    let synced = line.folder.filesystem().sync_files(&files);
    let mut first_end = Ok(());
    for ((task, _), synced) in whole.into_iter().zip(synced) {
        match line.name(&task.row, synced) {
            Ok(Fetched::InTheWay(why)) => pages.in_the_way(task, why),
            Ok(_) => here.push(task),
            Err(end) => first_end = first_end.and(Err(end)),
        }
    }
    first_end
}

fn sync_hosts(line: &Line, here: &[Task]) -> Result<(), End> {
    let hosts: BTreeSet<_> = here.iter().map(|task| &task.row.slot.host).collect();
    let dirs: Vec<PathBuf> = hosts.iter().map(|host| line.folder.host(host)).collect();
    let paths: Vec<_> = dirs.iter().map(PathBuf::as_path).collect();
    for (dir, synced) in dirs.iter().zip(durable::sync_dirs(&paths)) {
        synced.map_err(|error| End::disk("sync", dir, &error))?;
    }
    Ok(())
}
