//! A disk whose power can be cut: a loop image with a filesystem on it, mounted for one test.

#![allow(unsafe_code)] // one ioctl

use std::fmt;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::fuse;
use super::volatile::VolatileDisk;
use crate::client::PATIENCE;
use crate::dice::Dice;
use crate::world::TempDir;

/// How the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The filesystem is shut down at once, and flushes nothing: what the disk was given stays.
    Shutdown,
    /// The disk is gone at once, and with it what it had in its cache.
    Cache,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub filesystem: &'static str,
    pub loss: Loss,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = match self.loss {
            Loss::Shutdown => "shut down",
            Loss::Cache => "cache lost",
        };
        write!(f, "{}, {loss}", self.filesystem)
    }
}

/// Sparse: only what is written takes room.
const DISK_BYTES: u64 = 2 << 30;

/// What the disk writes whole. In recovery xfs leaves out a metadata block whose first sector is new
/// already, and does not mount if the others are old (a CRC error in a leaf of attributes, once in
/// some 200 cuts): below its own sector size it does not stand torn writes. So they are one size.
fn sector_of(kind: Kind) -> usize {
    match kind.filesystem {
        "xfs" => 4096,
        _ => 512,
    }
}

pub struct Disk {
    pub kind: Kind,
    cache: Option<VolatileDisk>,
    // Dropped last: the rest is mounted in it.
    dir: TempDir,
}

impl Disk {
    /// A fresh disk, mounted. Errors say what this machine lacks.
    pub fn new(kind: Kind) -> Result<Disk, String> {
        let dir = TempDir::new();
        let (mount, shown) = (dir.path().join("mount"), dir.path().join("shown"));
        std::fs::create_dir(&mount).unwrap();
        std::fs::create_dir(&shown).unwrap();
        let cache = match kind.loss {
            Loss::Shutdown => {
                let image = File::create(shown.join(fuse::NAME)).unwrap();
                image.set_len(DISK_BYTES).unwrap();
                None
            }
            Loss::Cache => Some(
                VolatileDisk::serve(&shown, DISK_BYTES, sector_of(kind))
                    .ok_or("no FUSE filesystem for this user")?,
            ),
        };
        let disk = Disk { kind, cache, dir };
        disk.make()?;
        disk.mount()?;
        Ok(disk)
    }

    fn make(&self) -> Result<(), String> {
        let program = format!("mkfs.{}", self.kind.filesystem);
        let args: &[&str] = match self.kind.filesystem {
            "ext4" | "ext3" => &["-q", "-F", "-E", "lazy_itable_init=1,nodiscard"],
            "xfs" => &["-q", "-f", "-K", "-s", "size=4096"],
            _ => &["-q", "-f", "-K"],
        };
        run(Command::new(program).args(args).arg(self.image()))
    }

    fn mount(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        mount.args(["-t", self.kind.filesystem, "-o", "loop"]);
        run(mount.arg(self.image()).arg(self.root()))
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("shown").join(fuse::NAME)
    }

    /// Where it is mounted.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// The power goes: each use of the disk is an error, and nothing reaches it any more.
    ///
    /// One in three cuts of a disk that this process serves begins with a while in which each write
    /// fails.
    pub fn cut(&self, dice: &mut Dice) {
        let Some(cache) = &self.cache else {
            return shut_down(&self.root());
        };
        if dice.below(3) == 0 {
            cache.refuse_writes();
            thread::sleep(Duration::from_millis(dice.below(60)));
        }
        cache.cut(dice);
    }

    /// Whether a sync that says yes after a cut has begun is to be believed. Shutting a filesystem
    /// down is a call of a living kernel, in whose midst an fsync on xfs says yes to what is gone (of
    /// 12000 such syncs of a few lines of C, 11; on ext4 it is rarer). Real power leaves nobody to say so.
    pub fn keeps_its_word(&self) -> bool {
        self.kind.loss == Loss::Cache
    }

    /// The power is back, and the filesystem is mounted again. Nobody may use it now.
    pub fn restore(&self) {
        self.unmount();
        if let Some(cache) = &self.cache {
            cache.power_on();
        }
        self.mount()
            .unwrap_or_else(|error| panic!("{}: after a cut: {error}", self.kind));
    }

    /// Also from every mount namespace that somebody has made meanwhile, with a copy of our mount: a
    /// filesystem that is still in use there would be mounted here as it is, dead.
    fn unmount(&self) {
        let until = Instant::now() + PATIENCE;
        // Another test may have started a program in this instant, which has our files until its exec.
        while let Err(error) = run(Command::new("umount").arg(self.root())) {
            let may_end = error.contains("busy") && Instant::now() < until;
            assert!(may_end, "{}: {error}", self.kind);
            thread::sleep(Duration::from_millis(5));
        }
        while self.is_attached() {
            let kind = self.kind;
            assert!(
                Instant::now() < until,
                "{kind}: a mount namespace keeps the disk"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether a loop device still has the image.
    fn is_attached(&self) -> bool {
        let found = Command::new("losetup").arg("-j").arg(self.image()).output();
        found.is_ok_and(|found| !found.stdout.is_empty())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Off first: what is in the caches is not worth the wait.
        if let Some(cache) = &self.cache {
            cache.cut(&mut Dice::new(0));
        }
        let _ = run(Command::new("umount").arg("-l").arg(self.root()));
        self.cache = None;
    }
}

/// Loop devices are found and taken in two steps, so one at a time.
static TURN: Mutex<()> = Mutex::new(());

fn run(command: &mut Command) -> Result<(), String> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}", words.trim()))
}

/// `FS_IOC_SHUTDOWN` with the flag that flushes nothing.
fn shut_down(mounted: &Path) {
    const SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
    const NO_FLUSH: u32 = 2;
    let root = File::open(mounted).unwrap();
    // SAFETY: an open descriptor, and a number that lives over the call.
    let done = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &NO_FLUSH) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
