//! Packing real directories: what the tarball holds, what is refused, what packing costs.

mod contents;
mod refused;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Seek;
use std::ops::ControlFlow::Continue;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use cis490::episode::{self, PackError, Packed};

use crate::dice;
use crate::process;
use crate::world::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const META: &str =
    r#"{"code_version":{"commit":"0123456789abcdef0123456789abcdef01234567","dirty":false},"n":3}"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(TempDir::new())
    }

    fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// An episode with a bit of everything that is allowed.
    fn episode(&self, name: &str) -> PathBuf {
        let dir = self.join(name);
        write(&dir, "meta.json", META.as_bytes());
        write(&dir, "b.csv", b"0.25,0.5\n".repeat(50_000));
        write(&dir, "a.bin", noise(300_000));
        write(&dir, "empty", b"");
        write(&dir, "zeros", vec![0; 1_000_000]);
        write(&dir, "frames/0001.png", noise(70_000));
        write(&dir, "frames/meta.json", b"{}");
        write(
            &dir,
            format!("deep/{}/x", "d".repeat(200)),
            b"at a long name",
        );
        write(
            &dir,
            format!("exactly-{}", "1".repeat(100 - 8 - 3)),
            b"100 bytes",
        );
        write(&dir, OsStr::from_bytes(b"not-utf8-\xff\xfe"), b"any name");
        fs::create_dir(dir.join("nothing in here")).unwrap();
        dir
    }
}

fn write(dir: &Path, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    let time = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

/// Bytes that no compressor makes smaller, others for each length.
fn noise(bytes: usize) -> Vec<u8> {
    dice::noise(bytes as u64, bytes)
}

/// Packs as `ep` into `tarball`.
fn pack(dir: &Path, tarball: &Path) -> Result<Packed, PackError> {
    let mut out = File::create(tarball).unwrap();
    episode::pack(dir, "ep", &mut out, &mut |_, _| Continue(()))
}

#[test]
fn progress_ends_at_the_total() {
    let folder = Folder::new();
    let dir = folder.episode("ep");
    let mut heard = Vec::new();
    let mut out = File::create(folder.join("t")).unwrap();
    episode::pack(&dir, "ep", &mut out, &mut |read, total| {
        heard.push((read, total));
        Continue(())
    })
    .unwrap();
    assert!(heard.is_sorted());
    let (read, total) = *heard.last().unwrap();
    assert!(read == total && total > 1_800_000, "{read} of {total}");
    assert_eq!(
        out.stream_position().unwrap(),
        out.metadata().unwrap().len()
    );
}

/// Packs in a process of its own, whose largest size the kernel knows.
#[test]
fn memory_stays_small_whatever_the_size() {
    const ROLE: &str = "CIS490_TEST_PACK_IN";
    /// Without what the test program has of its own file.
    const PEAK_KIB_MAX: u64 = 8 << 10;
    if let Some(folder) = std::env::var_os(ROLE) {
        let folder = Path::new(&folder);
        let resident = |name| process::count(std::process::id(), name);
        pack(&folder.join("ep"), &folder.join("t")).unwrap();
        // How much of the program's file is in memory is the page cache's business.
        println!("peak: {}", resident("VmHWM:") - resident("RssFile:"));
        return;
    }
    let folder = Folder::new();
    let dir = folder.join("ep");
    write(&dir, "meta.json", META);
    write(&dir, "noise", noise(2 << 20));
    write(&dir, "sparse", b"");
    File::options()
        .write(true)
        .open(dir.join("sparse"))
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "episode::memory_stays_small_whatever_the_size",
            "--nocapture",
        ])
        .env(ROLE, folder.0.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    let peak = told.lines().find_map(|line| line.split_once("peak: "));
    let peak_kib: u64 = peak.expect(&told).1.parse().unwrap();
    assert!(peak_kib < PEAK_KIB_MAX, "{peak_kib} KiB");
    eprintln!("packing 66 MiB took {peak_kib} KiB at most");
}
