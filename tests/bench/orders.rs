//! The disk's share of small uploads: the system calls on files of a server, without the server, by as
//! many threads as it would have connections. cis490 makes a row in an index, an attribute and two
//! names durable, where rest-server has one name; but it syncs them side by side, and one thread of
//! it links and appends for many, so it waits for the disk less often.

#![allow(unsafe_code, reason = "one call that std lacks")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

mod primitives {
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
}

#[path = "../../src/receiver/store/group_commit.rs"]
#[expect(dead_code, reason = "the program uses the rest")]
mod group_commit;

use group_commit::{GroupLock, SharedSync};

use crate::Plan;
use crate::ground::Ground;
use crate::load::noise;
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
    println!("\norder: the calls on files of 64 KiB uploads, no server, uploads/s");
    let mut memory = vec![0; BODY_BYTES + PAGE_BYTES];
    noise(&mut memory, 7);
    let begin = memory.as_ptr().align_offset(PAGE_BYTES);
    let body = &memory[begin..][..BODY_BYTES];
    for (threads, count) in [(1, 400), (8, 1600), (32, 3200)] {
        let ground = Ground::new(plan);
        let count = plan.scaled(count).max(threads);
        let mut contestants: [(Series, Calls); 2] = [
            (Series::new("cis490's"), ours),
            (Series::new("rest-server's"), rest_servers),
        ];
        for round in 0..=3 * plan.rounds {
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

/// Our calls (design, section 3), with the program's own waits: a thread links and appends for all that
/// wait, each syncs its own file, and meanwhile one thread syncs the directory and one the index.
fn ours(folder: &Path, body: &[u8], threads: usize, count: usize) -> io::Result<()> {
    let index = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("index"))?;
    let episodes = folder.join("episodes");
    let group = GroupLock::new(());
    let names = SharedSync::<(), Arc<io::Error>>::new();
    let rows = SharedSync::<(), Arc<io::Error>>::new();
    let place = |(): &mut (), batch: Vec<usize>| {
        for n in &batch {
            let name = episodes.join(format!("ep-{n}.tar.zst"));
            fs::hard_link(incoming(folder, *n), name)?;
        }
        (&index).write_all(&ROW.repeat(batch.len()))
    };
    let upload = |n| {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .custom_flags(libc::O_DIRECT)
            .open(incoming(folder, n))?;
        file.write_all_at(body, 0)?;
        set_attribute(&file)?;
        group.place(n, place).map_err(|_| failed())??;
        let name = names.ask(|()| ());
        let row = rows.ask(|()| ());
        file.sync_all()?;
        names.wait(name).map_err(|_| failed())?;
        rows.wait(row).map_err(|_| failed())?;
        fs::remove_file(incoming(folder, n))
    };
    let sync_names = || File::open(&episodes)?.sync_all();
    thread::scope(|scope| {
        scope.spawn(|| names.serve(|()| sync_names().map_err(Arc::new)));
        scope.spawn(|| rows.serve(|()| index.sync_data().map_err(Arc::new)));
        let uploaded = each(threads, count, upload);
        names.end();
        rows.end();
        uploaded
    })
}

fn failed() -> io::Error {
    io::Error::other("a sync or another thread has failed")
}

fn incoming(folder: &Path, n: usize) -> PathBuf {
    folder.join(format!("incoming/lab-1~ep-{n}~{n}.partial"))
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
