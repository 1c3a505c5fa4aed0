//! The disk's share of small uploads: the system calls on files of a server, without the server, by as
//! many threads as it would have connections.
//!
//! Ours are the calls that design section 3 states for a body of one block: an attribute, two names and
//! a row, then one wait for syncs side by side, of which many uploads share those of directory and
//! index. rest-server makes one name durable, and waits twice in a row.

#![allow(unsafe_code, reason = "one call that std lacks")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Instant;

use crate::Plan;
use crate::dice::noise;
use crate::ground::{DiskKind, Ground};
use crate::report::{Series, short, spread};

const BODY_BYTES: usize = 64 << 10;
const PAGE_BYTES: usize = 4096;
/// A row of the index, and the attribute with the same text.
const ROW: [u8; 373] = [b'x'; 373];

/// Uploads a body so often (the last number) on so many threads (the one before it), into a folder.
type Calls = fn(&Path, &[u8], usize, usize) -> io::Result<()>;

pub fn run(plan: &Plan) {
    if !plan.wants("order") {
        return;
    }
    let memory = noise(7, BODY_BYTES + PAGE_BYTES);
    let begin = memory.as_ptr().align_offset(PAGE_BYTES);
    let body = &memory[begin..][..BODY_BYTES];
    println!("\norder: the calls on files of 64 KiB uploads, no server, uploads/s");
    for (threads, count) in [(1, 400), (8, 1600), (32, 3200)] {
        measure(
            plan,
            DiskKind::Own,
            threads,
            plan.scaled(count).max(threads),
            body,
        );
    }
    println!("\norder, on a disk as slow as an SD card");
    for (threads, count) in [(1, 60), (8, 240), (32, 640)] {
        measure(
            plan,
            DiskKind::SdCard,
            threads,
            plan.scaled(count).max(threads),
            body,
        );
    }
}

fn measure(plan: &Plan, disk: DiskKind, threads: usize, count: usize, body: &[u8]) {
    let ground = match Ground::on(disk, plan) {
        Ok(ground) => ground,
        Err(why) => return println!("  left out: {why}"),
    };
    let rounds = if disk == DiskKind::Own {
        3 * plan.rounds
    } else {
        plan.rounds
    };
    let mut contestants: [(Series, Calls); 2] = [
        (Series::new("cis490's"), ours),
        (Series::new("rest-server's"), rest_servers),
    ];
    for round in 0..=rounds {
        contestants.rotate_left(1);
        for (series, calls) in &mut contestants {
            crate::process::warm_memory(count * BODY_BYTES);
            let folder = ground.fresh();
            make_folders(&folder).expect("folders");
            let began = Instant::now();
            calls(&folder, body, threads, count).expect("the calls of an upload");
            if round > 0 {
                let rate = count as f64 / began.elapsed().as_secs_f64();
                series.values.push(rate);
            }
            empty(&folder);
        }
    }
    contestants.sort_by(|one, other| one.0.name.cmp(&other.0.name));
    let [(ours, _), (theirs, _)] = &contestants;
    println!(
        "  {threads:>2} at once: {} {}, {} {}, ours / theirs {}",
        ours.name,
        spread(&ours.values),
        theirs.name,
        spread(&theirs.values),
        short(ours.median() / theirs.median())
    );
}

fn make_folders(folder: &Path) -> io::Result<()> {
    for name in ["incoming", "episodes", "data"] {
        fs::create_dir(folder.join(name))?;
    }
    (0..256).try_for_each(|n| fs::create_dir(folder.join(format!("data/{n:02x}"))))
}

/// Truncates the files. Removing them would free their inodes, which ext4 then steps over for minutes.
fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            empty(&path);
        } else {
            let _ = File::create(path);
        }
    }
    // Otherwise the kernel would write the rest of this round during the next one.
    let _ = std::process::Command::new("sync")
        .arg("-f")
        .arg(folder)
        .status();
}

/// Runs `upload` for each number below `count`, on so many threads.
fn each(
    threads: usize,
    count: usize,
    upload: impl Fn(usize) -> io::Result<()> + Sync,
) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let work = || loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return Ok(());
            }
            upload(n)?;
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().expect("a thread"))
    })
}

/// The calls of rest-server, by strace: each file is written as its body comes, synced, and renamed in
/// one of 256 folders, which is synced.
fn rest_servers(folder: &Path, body: &[u8], threads: usize, count: usize) -> io::Result<()> {
    each(threads, count, |n| {
        let dir = folder.join(format!("data/{:02x}", n * 167 % 256));
        let temporary = dir.join(format!("{n}.tmp"));
        let mut file = File::create_new(&temporary)?;
        for part in body.chunks(BODY_BYTES / 2) {
            file.write_all(part)?;
        }
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, dir.join(format!("{n}")))?;
        File::open(&dir)?.sync_all()
    })
}

/// Our calls for a body of one block (design, section 3): the name and the row first, then the file,
/// the directory and the index synced side by side.
fn ours(folder: &Path, body: &[u8], threads: usize, count: usize) -> io::Result<()> {
    let episodes = File::open(folder.join("episodes"))?;
    let index = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("index"))?;
    let directory_sync = SharedSync::default();
    let index_sync = SharedSync::default();
    let upload = |n: usize| {
        let incoming = incoming(folder, n);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .custom_flags(libc::O_DIRECT)
            .open(&incoming)?;
        file.write_all_at(body, 0)?;
        set_attribute(&file)?;
        fs::hard_link(&incoming, folder.join(format!("episodes/ep-{n}.tar.zst")))?;
        let named = directory_sync.changed();
        (&index).write_all(&ROW)?;
        let appended = index_sync.changed();
        file.sync_all()?;
        directory_sync.wait_until_synced(named)?;
        index_sync.wait_until_synced(appended)?;
        fs::remove_file(incoming)
    };
    thread::scope(|scope| {
        scope.spawn(|| directory_sync.serve(|| episodes.sync_all()));
        scope.spawn(|| index_sync.serve(|| index.sync_data()));
        let done = each(threads, count, upload);
        directory_sync.end();
        index_sync.end();
        done
    })
}

fn incoming(folder: &Path, n: usize) -> PathBuf {
    folder.join(format!("incoming/lab-1~ep-{n}~{n}.partial"))
}

/// The syncs of one file for all who have changed it: one that begins after a change is for it too.
#[derive(Default)]
struct SharedSync {
    state: Mutex<SyncState>,
    news: Condvar,
}

#[derive(Default)]
struct SyncState {
    /// How often the file was changed.
    changes: u64,
    /// The changes that are on the disk.
    synced: u64,
    failed: bool,
    is_over: bool,
}

impl SharedSync {
    /// The number of a change that has just been made.
    fn changed(&self) -> u64 {
        let mut state = self.state.lock().expect("no thread panics here");
        state.changes += 1;
        self.news.notify_all();
        state.changes
    }

    fn wait_until_synced(&self, change: u64) -> io::Result<()> {
        let state = self.state.lock().expect("no thread panics here");
        let waits = |state: &mut SyncState| state.synced < change && !state.failed;
        let state = self.news.wait_while(state, waits).expect("none");
        if state.failed {
            return Err(io::Error::other("a sync failed"));
        }
        Ok(())
    }

    /// Syncs while there are changes, until the end.
    fn serve(&self, sync: impl Fn() -> io::Result<()>) {
        let mut state = self.state.lock().expect("no thread panics here");
        loop {
            let waits = |state: &mut SyncState| state.synced == state.changes && !state.is_over;
            state = self.news.wait_while(state, waits).expect("none");
            if state.is_over {
                return;
            }
            let changes = state.changes;
            drop(state);
            let synced = sync();
            state = self.state.lock().expect("no thread panics here");
            state.synced = changes;
            state.failed |= synced.is_err();
            self.news.notify_all();
        }
    }

    fn end(&self) {
        self.state.lock().expect("no thread panics here").is_over = true;
        self.news.notify_all();
    }
}

fn set_attribute(file: &File) -> io::Result<()> {
    let name = c"user.cis490.receipt";
    let size = ROW.len();
    // SAFETY: a name that ends with NUL, a value with its length, and an open descriptor.
    let set = unsafe {
        let fd = file.as_raw_fd();
        libc::fsetxattr(fd, name.as_ptr(), ROW.as_ptr().cast(), size, 0)
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
