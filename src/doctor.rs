//! What `cis490 doctor` tries on either side, and how it reports a result: each line is ok, warn or
//! fail, with what was seen and what to do.
//!
//! Everything is tried for real and leaves nothing: a file is written, linked, synced and removed;
//! a request is sent that stores nothing.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::failure::Failure;
use crate::git::{self, Fault};
use crate::mounts::{self, Mount};
use crate::version::VERSION;
use crate::{clock, config, durable, human, owner, sys, wire};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub verdict: Verdict,
    pub subject: &'static str,
    pub found: String,
    /// What to do; empty if nothing is.
    #[serde(rename = "do")]
    pub remedy: String,
}

impl Finding {
    pub(crate) fn ok(subject: &'static str, found: impl Into<String>) -> Finding {
        Finding::new(Verdict::Ok, subject, found, "")
    }

    pub(crate) fn warn(
        subject: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding::new(Verdict::Warn, subject, found, remedy)
    }

    pub(crate) fn fail(
        subject: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding::new(Verdict::Fail, subject, found, remedy)
    }

    pub(crate) fn of_failure(subject: &'static str, failure: &Failure) -> Finding {
        Finding::fail(subject, failure.error(), failure.hint())
    }

    fn new(
        verdict: Verdict,
        subject: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            verdict,
            subject,
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

/// 2025-01-01: a clock before that was never set.
const PROGRAM_AGE_S: u64 = 1_735_689_600;

pub(crate) fn clock() -> Finding {
    let now = SystemTime::now();
    let time = clock::rfc3339(now);
    let set_it =
        "timedatectl set-ntp true; timedatectl timesync-status shows whether an NTP server answers";
    if clock::unix_seconds(now) < PROGRAM_AGE_S {
        return Finding::fail(
            "clock",
            format!("it says {time}, which cannot be right"),
            set_it,
        );
    }
    match sys::clock_is_synchronised() {
        Some(false) => Finding::warn(
            "clock",
            format!(
                "{time}; the clock is not synchronised, so timestamps may be wrong (episodes are ordered by number)"
            ),
            set_it,
        ),
        Some(true) => Finding::ok("clock", format!("{time}, synchronised")),
        None => Finding::ok("clock", time),
    }
}

pub(crate) fn versions() -> Finding {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim();
    let arch = std::env::consts::ARCH;
    Finding::ok(
        "version",
        format!("cis490 {VERSION}, {arch}, Linux {kernel}"),
    )
}

/// Whether git can be run.
pub(crate) fn git() -> Finding {
    const WAIT: Duration = Duration::from_secs(10);
    match git::version(WAIT) {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding::ok("git", text.trim().to_owned())
        }
        Ok(output) => Finding::fail(
            "git",
            format!("git --version ended with {}", output.status),
            "apt install --reinstall git",
        ),
        Err(Fault::Missing(error)) => Finding::warn(
            "git",
            format!("git cannot be run: {error}"),
            "apt install git: a local repository cannot be read without it",
        ),
        Err(_) => Finding::fail(
            "git",
            format!("git --version did not end within {} s", WAIT.as_secs()),
            "look at the disk that git is on (dmesg), then apt install --reinstall git",
        ),
    }
}

/// A configuration that others may write: root gives folders away by it, and runs a unit that has
/// its paths in it.
pub(crate) fn writers(config_path: &Path) -> Option<Finding> {
    let found = fs::metadata(config_path).ok()?;
    let is_systems = config_path.starts_with("/etc");
    let writers = config::other_writers(&found, is_systems)?;
    let path = config_path.display();
    Some(Finding::fail(
        "config",
        format!("{path} may be written by {writers}, and root does what it says (install)"),
        format!("read what is in it, then: sudo chown root {path} && sudo chmod go-w {path}"),
    ))
}

/// Folders that a person sees and the service does not.
pub(crate) fn hidden_folders(folders: &[(&'static str, PathBuf)]) -> Vec<Finding> {
    let hidden = |(key, folder): &(&str, PathBuf)| {
        let why = config::hidden_from_service(folder)?;
        Some(Finding::warn("service", format!("{key} = {folder:?}"), why))
    };
    folders.iter().filter_map(hidden).collect()
}

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
                "is its disk mounted, and may this user look there?",
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

/// So many syncs are timed, or so long.
const SYNCS: usize = 100;
const SYNCS_TIME: Duration = Duration::from_secs(4);
const SYNC_BYTES: usize = 4096;
/// One upload waits for two syncs: of its file, and of index and folder together.
const SYNC_SLOW: Duration = Duration::from_millis(50);
const SYNC_HANGS: Duration = Duration::from_millis(500);

/// A file and its second name, which are removed when this is dropped.
struct Probe(PathBuf);

impl Probe {
    fn second(&self) -> PathBuf {
        self.0.with_extension("2")
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = durable::unlink(&self.0);
        let _ = durable::unlink(&self.second());
    }
}

fn writing(dir: &Path) -> Vec<Finding> {
    let probe = Probe(dir.join(format!(".doctor-{}", std::process::id())));
    let uid = fs::metadata(dir).map_or(0, |found| found.uid());
    let mut file = match durable::create_new(&probe.0) {
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
    let links = match durable::link_new(&probe.0, &probe.second()) {
        Ok(()) => Finding::ok("hard links", "supported"),
        Err(error) => Finding::fail(
            "hard links",
            format!("{} does not support them: {error}", dir.display()),
            "put it on ext4, xfs, btrfs or f2fs",
        ),
    };
    // The open file is enough from here on: an interrupted doctor leaves nothing behind.
    drop(probe);
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

pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// For each of: connect, ask, answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An HTTP answer, as far as doctor looks.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// Errors: the text is not an HTTP answer.
    pub(crate) fn read(text: &[u8]) -> io::Result<Answer> {
        let text = String::from_utf8_lossy(text);
        let status = text.get(9..12).and_then(|digits| digits.parse().ok());
        let status = status
            .ok_or_else(|| io::Error::other("the server that answers does not speak HTTP"))?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok(Answer {
            status,
            body: body.to_owned(),
        })
    }
}

/// Sends a request in plain HTTP to the server at `address`.
pub(crate) fn ask(address: SocketAddr, head: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    let mut text = Vec::new();
    let _ = stream.take(wire::ANSWER_BYTES_MAX).read_to_end(&mut text);
    Answer::read(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_leaves_nothing() {
        let dir = std::env::temp_dir().join(format!("cis490-doctor-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let findings = writing(&dir);
        assert!(findings.iter().any(|finding| finding.subject == "fsync"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(&dir).unwrap();
    }
}
