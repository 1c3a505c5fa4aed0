//! The syncs: from the end of one on, its data or names outlast a power cut. How long each took is counted.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Instant;

use super::regular::open_dir;
use super::steps::{name_of, name_of_open, slow_sync, step_on, synced};
use crate::histogram::Histogram;
use crate::sys;

/// How long syncs took, whether they failed or not.
pub(crate) struct SyncTimes {
    pub file: Histogram<SYNC_BUCKETS>,
    pub data: Histogram<SYNC_BUCKETS>,
    pub dir: Histogram<SYNC_BUCKETS>,
}

const SYNC_BUCKETS: usize = 12;

/// The times of this process.
pub(crate) static SYNC_TIMES: SyncTimes = {
    // An SD card takes 5 to 100 ms, and seconds when it tidies up.
    const BOUNDS_MS: [u64; SYNC_BUCKETS] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000];
    SyncTimes {
        file: Histogram::new(BOUNDS_MS),
        data: Histogram::new(BOUNDS_MS),
        dir: Histogram::new(BOUNDS_MS),
    }
};

/// `fsync`: the file's data, size and attributes are on the disk.
pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    step_on("fsync file", || name_of_open(file))?;
    timed(&SYNC_TIMES.file, || file.sync_all())?;
    synced("fsync file", || name_of_open(file));
    Ok(())
}

/// `fdatasync`: the file's data and size are on the disk.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    step_on("fdatasync", || name_of_open(file))?;
    timed(&SYNC_TIMES.data, || file.sync_data())?;
    synced("fdatasync", || name_of_open(file));
    Ok(())
}

/// `fsync` of a directory: the names made and removed in it so far stay so.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    step_on("fsync dir", || name_of(path))?;
    timed(&SYNC_TIMES.dir, || open_dir(path)?.sync_all())?;
    synced("fsync dir", || name_of(path));
    Ok(())
}

/// `syncfs`: all that the filesystem of `dir` has is on the disk.
///
/// Errors: a file of it, whosever, could not be written.
pub(super) fn sync_filesystem(dir: &File) -> io::Result<()> {
    step_on("syncfs", || name_of_open(dir))?;
    slow_sync();
    sys::sync_filesystem(dir)?;
    synced("syncfs", || name_of_open(dir));
    Ok(())
}

fn timed<T>(times: &Histogram<SYNC_BUCKETS>, sync: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    slow_sync();
    let done = sync();
    times.add(began.elapsed());
    done
}
