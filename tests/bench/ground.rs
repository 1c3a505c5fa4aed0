//! Where all rounds write: on a disk, not in memory.
//!
//! The first touch of a disk's blocks can take longer than any program, and with `discard` every
//! block that was freed is untouched again. So, as root, the ground is an ext4 filesystem of its own
//! in an image file that is allocated and written in full once, on a loop device:
//!
//! 1. Every contestant writes to blocks that were written before: the disk's own speed is left.
//! 2. Nothing is cached twice or for another: the loop device does direct I/O on the image where the
//!    disk below can, and its flush is an fsync of the image, which is a flush of the disk.
//! 3. Each workload gets a new filesystem on the old blocks, and each round a folder of its own:
//!    ext4 steps over inodes that were freed in the last minutes.
//!
//! Whoever is not root writes into a plain folder, and is told so.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Plan;
use crate::load::noise;
use crate::servers::target_dir;

/// Room for what one round writes, twice over, and for the journal.
const IMAGE_BYTES: u64 = 4 << 30;
/// For a run that only shows that it runs.
const TINY_IMAGE_BYTES: u64 = 512 << 20;

pub struct Ground {
    dir: PathBuf,
    is_mount: bool,
    rounds: AtomicU32,
}

impl Ground {
    pub fn new(plan: &Plan) -> Ground {
        let dir = base().join(format!("ground-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder to write in");
        let mounted = image(plan).and_then(|image| mount(image, &dir));
        static TOLD: OnceLock<()> = OnceLock::new();
        TOLD.get_or_init(|| match &mounted {
            Ok(how) => println!("ground: ext4 on blocks that were written before, {how}"),
            Err(why) => println!("ground: a plain folder, its disk's first touch included: {why}"),
        });
        Ground {
            dir,
            is_mount: mounted.is_ok(),
            rounds: AtomicU32::new(0),
        }
    }

    /// A plain folder, for what needs more room than the image has.
    pub fn plain() -> Ground {
        let dir = base().join(format!("plain-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder to write in");
        Ground {
            dir,
            is_mount: false,
            rounds: AtomicU32::new(0),
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
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn base() -> PathBuf {
    let named = std::env::var_os("BENCH_DIR").map(PathBuf::from);
    named.unwrap_or_else(|| target_dir().join("bench"))
}

/// The image, every block of it written. It is kept for the next run, which then begins at once.
fn image(plan: &Plan) -> Result<&'static Path, String> {
    static IMAGE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = IMAGE.get_or_init(|| {
        let (name, bytes) = match plan.tiny {
            true => ("ground-tiny.img", TINY_IMAGE_BYTES),
            false => ("ground.img", IMAGE_BYTES),
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

/// A new filesystem on the image, mounted at `dir`. How the loop device works.
fn mount(image: &Path, dir: &Path) -> Result<String, String> {
    let try_mount = || -> io::Result<String> {
        let tell = |device: &str| run("losetup", &["-n", "-O", "DIO", device]);
        // Everything is initialised now, so that no kernel thread does it during a round.
        let options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        let image = image.display().to_string();
        let own = ["-q", "-F", "-E", options, "-N", "262144", "-J", "size=64"];
        run("mkfs.ext4", &[&own[..], &[image.as_str()]].concat())?;
        let direct = run("losetup", &["--find", "--show", "--direct-io=on", &image]);
        let device = direct.or_else(|_| run("losetup", &["--find", "--show", &image]))?;
        let device = device.trim();
        let dir = dir.display().to_string();
        let mounted = run("mount", &["-t", "ext4", "-o", "nodiscard", device, &dir]);
        let is_direct = tell(device).is_ok_and(|told| told.trim() == "1");
        // With the mount it stays until that ends, however this process does.
        run("losetup", &["--detach", device])?;
        mounted?;
        Ok(match is_direct {
            true => "direct loop device".to_owned(),
            false => "loop device through the page cache".to_owned(),
        })
    };
    try_mount().map_err(|error| error.to_string())
}

/// What a program says if it succeeds.
fn run<S: AsRef<std::ffi::OsStr>>(program: &str, args: &[S]) -> io::Result<String> {
    let ran = Command::new(program).args(args).output()?;
    match ran.status.success() {
        true => Ok(String::from_utf8_lossy(&ran.stdout).into_owned()),
        false => {
            let why = String::from_utf8_lossy(&ran.stderr).into_owned();
            Err(io::Error::other(format!("{program}: {}", why.trim())))
        }
    }
}
