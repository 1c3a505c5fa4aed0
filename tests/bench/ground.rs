//! The filesystem that all rounds write to: on a disk, not in memory.
//!
//! The first write to a block of a disk can take longer than any program, and with `discard` the next
//! write to a freed block is a first one again. So, as root, it is an ext4 filesystem of its own on a
//! loop device, in an image file of which every block was written once:
//!
//! 1. Every contestant writes to blocks that were written before, at the disk's own speed.
//! 2. Nothing is cached twice: the loop device does direct I/O on the image where the disk below can,
//!    and its flush is an fsync of the image, which is a flush of the disk.
//! 3. Each workload gets a new filesystem on the old blocks, and each round a folder of its own:
//!    ext4 steps over inodes that were freed in the last minutes.
//!
//! Without root it is a plain folder, and the benchmark prints that.
//!
//! The other disk is [`SlowDisk`], with the same filesystem: what a Pi has.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Plan;
use crate::fuse;
use crate::load::noise;
use crate::servers::target_dir;
use crate::slow_disk::SlowDisk;

/// Twice the bytes that one round writes, and the journal.
const IMAGE_BYTES: u64 = 4 << 30;
/// The same for a tiny run.
const TINY_IMAGE_BYTES: u64 = 512 << 20;

/// Sparse: only the blocks that are written take memory.
const SLOW_DISK_BYTES: u64 = 2 << 30;

/// Which disk a workload writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// This machine's.
    Own,
    /// As slow as an SD card.
    SdCard,
}

pub struct Ground {
    dir: PathBuf,
    is_mount: bool,
    rounds: AtomicU32,
    slow_disk: Option<SlowDisk>,
}

impl Ground {
    pub fn new(plan: &Plan) -> Ground {
        let dir = base().join(format!("ground-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder to write in");
        let mounted = image(plan).and_then(|image| mount(image, &dir));
        static PRINTED: OnceLock<()> = OnceLock::new();
        PRINTED.get_or_init(|| match &mounted {
            Ok(how) => println!("ground: ext4 on blocks that were written before, {how}"),
            Err(why) => println!("ground: a plain folder, its disk's first touch included: {why}"),
        });
        Ground {
            dir,
            is_mount: mounted.is_ok(),
            rounds: AtomicU32::new(0),
            slow_disk: None,
        }
    }

    /// The ground on a disk of that kind; the words say why this machine cannot have one.
    pub fn on(kind: DiskKind, plan: &Plan) -> Result<Ground, String> {
        match kind {
            DiskKind::Own => Ok(Ground::new(plan)),
            DiskKind::SdCard => Ground::on_slow_disk(),
        }
    }

    fn on_slow_disk() -> Result<Ground, String> {
        let number = std::process::id();
        let dir = base().join(format!("sd-{number}"));
        let shown = base().join(format!("sd-{number}-shown"));
        for folder in [&dir, &shown] {
            fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        let disk = SlowDisk::serve(&shown, SLOW_DISK_BYTES)
            .ok_or("it is a FUSE filesystem, which needs root and /dev/fuse")?;
        // FUSE writes go straight to the disk, without the page cache in between.
        mount(&shown.join(fuse::NAME), &dir)?;
        disk.slow_down();
        Ok(Ground {
            dir,
            is_mount: true,
            rounds: AtomicU32::new(0),
            slow_disk: Some(disk),
        })
    }

    /// A plain folder, for a workload that needs more space than the image has.
    pub fn plain() -> Ground {
        let dir = base().join(format!("plain-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder to write in");
        Ground {
            dir,
            is_mount: false,
            rounds: AtomicU32::new(0),
            slow_disk: None,
        }
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// A folder that was never used.
    pub fn fresh(&self) -> PathBuf {
        let number = self.rounds.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join(format!("{number}"));
        fs::create_dir(&dir).expect("a folder");
        dir
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.is_mount {
            if let Err(error) = run("umount", &[self.dir.as_os_str()]) {
                println!("ground: still mounted: {error}");
            }
            let _ = fs::remove_dir(&self.dir);
            if self.slow_disk.take().is_some() {
                let shown = format!("sd-{}-shown", std::process::id());
                let _ = fs::remove_dir(base().join(shown));
            }
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn base() -> PathBuf {
    let named = std::env::var_os("BENCH_DIR").map(PathBuf::from);
    named.unwrap_or_else(|| target_dir().join("bench"))
}

/// The image, of which every block was written. It is kept for the next run, which begins at once.
fn image(plan: &Plan) -> Result<&'static Path, String> {
    static IMAGE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = IMAGE.get_or_init(|| {
        let (name, bytes) = if plan.tiny {
            ("ground-tiny.img", TINY_IMAGE_BYTES)
        } else {
            ("ground.img", IMAGE_BYTES)
        };
        let path = base().join(name);
        let length = path.metadata().map(|found| found.len());
        if length.is_ok_and(|length| length == bytes) {
            return Ok(path);
        }
        let begun = path.with_extension("begun");
        let filled = fill(&begun, bytes).and_then(|()| fs::rename(&begun, &path));
        filled.map_err(|error| {
            let _ = fs::remove_file(&begun);
            format!("no image: {error}")
        })?;
        Ok(path)
    });
    made.as_deref().map_err(String::clone)
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    if run("id", &["-u"])? != "0\n" {
        return Err(io::Error::other("only root may mount it"));
    }
    println!("filling {}, once", path.display());
    let mut image = File::create(path)?;
    let mut block = vec![0; 8 << 20];
    noise(&mut block, 4);
    for _ in 0..bytes / block.len() as u64 {
        image.write_all(&block)?;
    }
    image.sync_all()
}

/// Makes a new filesystem on the image, and mounts it at `dir`. The words of how the loop device does
/// its I/O.
fn mount(image: &Path, dir: &Path) -> Result<String, String> {
    let try_mount = || -> io::Result<String> {
        // mkfs initialises everything now, so that no kernel thread does it during a round.
        let options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        let image = image.display().to_string();
        let own = ["-q", "-F", "-E", options, "-N", "262144", "-J", "size=64"];
        run("mkfs.ext4", &[&own[..], &[image.as_str()]].concat())?;
        let direct = run("losetup", &["--find", "--show", "--direct-io=on", &image]);
        let device = direct.or_else(|_| run("losetup", &["--find", "--show", &image]))?;
        let device = device.trim();
        let dir = dir.display().to_string();
        let mounted = run("mount", &["-t", "ext4", "-o", "nodiscard", device, &dir]);
        let direct_io = run("losetup", &["-n", "-O", "DIO", device]);
        let is_direct = direct_io.is_ok_and(|text| text.trim() == "1");
        // A mounted device stays until it is unmounted, and is detached then, however this process ends.
        run("losetup", &["--detach", device])?;
        mounted?;
        let how = if is_direct {
            "direct loop device"
        } else {
            "loop device through the page cache"
        };
        Ok(how.to_owned())
    };
    try_mount().map_err(|error| error.to_string())
}

/// The output of a program that succeeds; its stderr as an error if it does not.
fn run<S: AsRef<std::ffi::OsStr>>(program: &str, args: &[S]) -> io::Result<String> {
    let ran = Command::new(program).args(args).output()?;
    if !ran.status.success() {
        let why = String::from_utf8_lossy(&ran.stderr);
        return Err(io::Error::other(format!("{program}: {}", why.trim())));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}
