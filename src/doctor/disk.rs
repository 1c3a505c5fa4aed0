//! The disk of a folder that holds data: its kind, its room, hard links, and how long a sync takes.
//! Every check is made on the disk itself, and leaves nothing on it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Finding, millis};
use crate::mounts::{self, Mount};
use crate::{durable, human, owner, sys};

/// The disk of a folder that holds data: kind, room, hard links, the time of a sync.
pub(crate) fn disk(dir: &Path, floor: u64) -> Vec<Finding> {
    let mut findings = vec![filesystem(dir), room(dir, floor)];
    findings.extend(writing(dir));
    findings
}

fn filesystem(dir: &Path) -> Finding {
    let Some(mount) = Mount::of(dir) else {
        return Finding::warn(
            "filesystem",
            format!("cannot find out which filesystem {} is on", dir.display()),
            "findmnt -T DIR shows it",
        );
    };
    let found = format!("{} under {}", mount.kind, dir.display());
    if let Some(option) = mount.read_only() {
        return Finding::fail(
            "filesystem",
            format!("{found} is read-only (mount option {option})"),
            mounts::READ_ONLY_REMEDY,
        );
    }
    match mount.kind.as_str() {
        "ext4" | "ext3" | "xfs" | "btrfs" | "f2fs" | "zfs" => Finding::ok("filesystem", found),
        "vfat" | "exfat" | "msdos" => Finding::fail(
            "filesystem",
            format!("{found} has no hard links"),
            "put it on ext4, xfs, btrfs or f2fs",
        ),
        "tmpfs" | "ramfs" => Finding::warn(
            "filesystem",
            format!("{found} is in memory: everything is lost at a restart"),
            "put it on a disk; this is fine for a test",
        ),
        "overlay" => Finding::warn(
            "filesystem",
            format!("{found} belongs to a container or a live system, and may disappear with it"),
            "mount a disk there",
        ),
        _ => Finding::warn(
            "filesystem",
            format!("{found} is a filesystem that cis490 was not tested on"),
            "use ext4, xfs, btrfs or f2fs; on a network filesystem a crash of the server may lose episodes",
        ),
    }
}

fn room(dir: &Path, floor: u64) -> Finding {
    let free = match sys::free_bytes(dir) {
        Ok(free) => free,
        Err(error) => {
            return Finding::fail(
                "disk",
                format!("cannot read the free space of {}: {error}", dir.display()),
                "check that its disk is mounted, and that this user may look there",
            );
        }
    };
    let found = format!("{} free", human::bytes(free));
    let free_it = format!(
        "make room on the disk of {}: du -xh {0} | sort -h",
        dir.display()
    );
    if free <= floor {
        let floor = human::bytes(floor);
        return Finding::fail(
            "disk",
            format!("{found}, below the limit of {floor}: nothing is accepted"),
            free_it,
        );
    }
    if free - floor < floor.max(1 << 30) {
        return Finding::warn("disk", format!("{found}: it will be full soon"), free_it);
    }
    Finding::ok("disk", found)
}

/// Syncs are timed until there are so many, or so much time has passed.
const SYNCS: usize = 100;
const SYNCS_TIME: Duration = Duration::from_secs(4);
const SYNC_BYTES: usize = 4096;
/// A small upload waits for the syncs of its file, its folder and the index, side by side; a larger one
/// for that of its file before.
const SYNC_SLOW: Duration = Duration::from_millis(50);
const SYNC_HANGS: Duration = Duration::from_millis(500);

/// The path of a file that is written for a check. The file and its second name are removed when
/// this is dropped.
struct TestFile(PathBuf);

impl TestFile {
    fn second(&self) -> PathBuf {
        self.0.with_extension("2")
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = durable::unlink(&self.0);
        let _ = durable::unlink(&self.second());
    }
}

fn writing(dir: &Path) -> Vec<Finding> {
    let test_file = TestFile(dir.join(format!(".doctor-{}", std::process::id())));
    let uid = fs::metadata(dir).map_or(0, |found| found.uid());
    let mut file = match durable::create_new(&test_file.0) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            return vec![Finding::fail(
                "writing",
                format!("no file can be made in {}: {error}", dir.display()),
                mounts::READ_ONLY_REMEDY,
            )];
        }
        Err(error) => {
            return vec![Finding::fail(
                "writing",
                format!("cannot create a file in {}: {error}", dir.display()),
                owner::hint(
                    &error,
                    format!("look at the folder, whose owner is the user {uid}, and at its disk"),
                ),
            )];
        }
    };
    let links = match durable::link_new(&test_file.0, &test_file.second()) {
        Ok(()) => Finding::ok("hard links", "supported"),
        Err(error) => Finding::fail(
            "hard links",
            format!("{} does not support them: {error}", dir.display()),
            "put it on ext4, xfs, btrfs or f2fs",
        ),
    };
    // The names go before the long part: a doctor that is interrupted then leaves nothing behind.
    drop(test_file);
    vec![links, syncs(&mut file)]
}

fn syncs(file: &mut File) -> Finding {
    let mut times = match time_syncs(file) {
        Ok(times) => times,
        Err(error) => {
            return Finding::fail(
                "fsync",
                format!("a file cannot be written and synced: {error}"),
                "make room on that disk, or look at its health (dmesg, smartctl)",
            );
        }
    };
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    let p50 = at(50);
    let p99 = at(99);
    let found = format!(
        "p50 {}, p99 {} over {} syncs of 4 KiB",
        millis(p50),
        millis(p99),
        times.len()
    );
    let faster = "a USB SSD needs a tenth of an SD card's time; concurrent uploads share a sync, so a slow disk still works";
    if p99 >= SYNC_HANGS {
        return Finding::warn(
            "fsync",
            format!("{found}: the disk stalls"),
            format!("look at its health (dmesg, smartctl); {faster}"),
        );
    }
    if p50 >= SYNC_SLOW {
        return Finding::warn("fsync", format!("{found}: slow"), faster);
    }
    Finding::ok("fsync", found)
}

fn time_syncs(file: &mut File) -> io::Result<Vec<Duration>> {
    let until = Instant::now() + SYNCS_TIME;
    let mut times = Vec::new();
    while times.len() < SYNCS && (times.is_empty() || Instant::now() < until) {
        let begun = Instant::now();
        file.write_all(&[0; SYNC_BYTES])?;
        durable::sync_file(file)?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_of_the_disk_leaves_nothing() {
        let dir = std::env::temp_dir().join(format!("cis490-doctor-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let findings = writing(&dir);
        assert!(findings.iter().any(|finding| finding.subject == "fsync"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(&dir).unwrap();
    }
}
