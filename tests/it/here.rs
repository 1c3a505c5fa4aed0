//! This machine: folders and addresses of it that are one test's own, and whether it has what a test
//! needs. What it lacks is skipped by name.

use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use crate::program::is_emulated;

/// A folder that goes away with its owner.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cis490-it-{}-{number}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A free port on an address of this machine that no other test uses, for a server that opens its port
/// by itself: on a shared address somebody else could have the port by then. The kernel gives a port of this range to
/// nobody who asks for any, and so to nobody who listens on all addresses.
pub fn own_address() -> SocketAddr {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = std::process::id();
    let ip = Ipv4Addr::new(127, 1 + (process % 250) as u8, high, low);
    let first = 20_000 + (process % 10_000) as u16;
    let mut free = (first..32_000).filter_map(|port| TcpListener::bind((ip, port)).ok());
    free.next().unwrap().local_addr().unwrap()
}

/// The number of the user that runs the tests.
pub fn user() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

/// Whether the tests are root's, who can give files to any user: not in a namespace that lacks users.
pub fn is_root(test: &str) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let has_all_users = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let is_root = user() == 0 && has_all_users;
    if !is_root {
        skip!("{test}: needs root");
    }
    is_root
}

/// Where a program lies: in a folder of PATH, or in one where Debian keeps servers and which only root's
/// PATH has.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let of_root = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut files = env::split_paths(&path)
        .chain(of_root)
        .map(|folder| folder.join(program));
    files.find(|file| file.is_file())
}

/// Whether a program is installed.
pub fn has(test: &str, program: &str) -> bool {
    let has = find(program).is_some();
    if !has {
        skip!("{test}: no {program} here");
    }
    has
}

/// Whether a plain user may mount a tmpfs in a namespace of users of his own.
pub fn can_mount(test: &str) -> bool {
    let tried = Command::new("unshare")
        .args(["-Umr", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        skip!("{test}: no user namespaces here");
    }
    can
}

/// Makes a named pipe.
pub fn mkfifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// The writing end of a named pipe; `None` while nobody reads the pipe or waits to.
pub fn writer_to(pipe: &Path) -> Option<File> {
    let mut options = File::options();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    match options.open(pipe) {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => None,
        opened => Some(opened.unwrap()),
    }
}

/// Whether the kernel's counters of a connection (TCP_INFO) reach the program. Without them a closing
/// answer on a connection that was used before ends hard, and takes answers along.
pub fn has_tcp_info(test: &str) -> bool {
    let has = !is_emulated();
    if !has {
        skip!("{test}: qemu-user does not report TCP_INFO");
    }
    has
}
