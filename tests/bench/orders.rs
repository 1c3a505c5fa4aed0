//! The disk's share of small uploads: the system calls on files of a server, without the server, by as
//! many threads as it would have connections. cis490 makes a row in an index, an attribute and two
//! names durable, which takes the disk longer than the one name of rest-server; but one thread of it
//! commits for many, so it waits for the disk less often.

#![allow(unsafe_code, reason = "one call that std lacks")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use crate::Plan;
use crate::dice::noise;
use crate::ground::Ground;
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
    let memory = noise(7, BODY_BYTES + PAGE_BYTES);
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

/// An upload to commit: its number, and where the answer goes.
type Commit = (usize, Sender<()>);

/// Our calls (design, section 3): one thread commits all uploads that wait.
fn ours(folder: &Path, body: &[u8], threads: usize, count: usize) -> io::Result<()> {
    let (ask, asked) = mpsc::channel::<Commit>();
    thread::scope(|scope| {
        let committing = scope.spawn(|| commit(folder, asked));
        let taken = each(threads, count, |n| {
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .custom_flags(libc::O_DIRECT)
                .open(incoming(folder, n))?;
            file.write_all_at(body, 0)?;
            set_attribute(&file)?;
            file.sync_all()?;
            let (answer, answered) = mpsc::channel();
            let gone = |_| io::Error::other("the committer has ended");
            ask.send((n, answer)).map_err(|_| gone(mpsc::RecvError))?;
            answered.recv().map_err(gone)
        });
        drop(ask);
        committing.join().expect("the committer").and(taken)
    })
}

fn incoming(folder: &Path, n: usize) -> PathBuf {
    folder.join(format!("incoming/lab-1~ep-{n}~{n}.partial"))
}

/// Syncs the index and the directory one after the other: at the same time they take as long here.
fn commit(folder: &Path, asked: Receiver<Commit>) -> io::Result<()> {
    let mut index = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("index"))?;
    let episodes = folder.join("episodes");
    while let Ok(first) = asked.recv() {
        let batch: Vec<Commit> = std::iter::once(first).chain(asked.try_iter()).collect();
        for (n, _) in &batch {
            let name = episodes.join(format!("ep-{n}.tar.zst"));
            fs::hard_link(incoming(folder, *n), name)?;
        }
        index.write_all(&ROW.repeat(batch.len()))?;
        index.sync_data()?;
        File::open(&episodes)?.sync_all()?;
        for (_, answer) in &batch {
            let _ = answer.send(());
        }
        for (n, _) in &batch {
            fs::remove_file(incoming(folder, *n))?;
        }
    }
    Ok(())
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
