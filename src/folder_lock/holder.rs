//! The process that holds the lock of a folder, for the person whose command is refused because of it.
//!
//! The lock is a `flock` of a file and of the folder. The kernel lists its holders in /proc/locks, so
//! no process number is written anywhere that could be out of date.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::failure::Failure;
use crate::sys;
use crate::terminal::one_line;

/// A process that holds a lock.
struct Holder {
    pid: u32,
    /// Its command line; empty if it cannot be seen.
    command: String,
    /// Our systemd unit that it runs in, such as `cis490-receiver.service`.
    unit: Option<String>,
}

/// The error for [`super::NoLock::Taken`]: a command cannot work in `folder`, since another process
/// holds its `lock`.
pub(crate) fn refused(folder: &Path, lock: &Path) -> Failure {
    // The file may have been removed, or exchanged, since the holder locked it.
    let found = holder(lock).or_else(|| holder(folder));
    let folder = folder.display();
    let Some(holder) = found else {
        return Failure::new(
            format!("another cis490 is at work in {folder}"),
            format!(
                "one at a time: end the other one first; as root, this names it: fuser -v {}",
                lock.display()
            ),
        );
    };
    let Holder { pid, command, unit } = holder;
    let named = if command.is_empty() {
        format!("process {pid}")
    } else {
        format!("process {pid}, {command}")
    };
    let hint = match unit {
        Some(unit) => {
            format!(
                "one at a time: it is the service; systemctl stop {unit} first, or let it do the work"
            )
        }
        None => format!(
            "one at a time: end it first (Ctrl-C where it runs, or kill {pid}), or let it do the work"
        ),
    };
    Failure::new(
        format!("another cis490 is at work in {folder}: {named}"),
        hint,
    )
}

/// Whether the process that has locked this has ended, and somebody who has its descriptor holds the lock. False if that
/// cannot be seen.
pub(super) fn has_ended(locked: &File) -> bool {
    let found = locked.metadata();
    found.is_ok_and(|found| pid_of(&found).is_some_and(|pid| !sys::is_process(pid)))
}

fn pid_of(locked: &Metadata) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    holder_in(&locks, locked.dev(), locked.ino())
}

fn holder(locked: &Path) -> Option<Holder> {
    let pid = pid_of(&fs::metadata(locked).ok()?)?;
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&bytes).replace('\0', " ");
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    Some(Holder {
        pid,
        command: one_line(command.trim()),
        unit: unit_in(&cgroup),
    })
}

/// The process that holds the exclusive flock of a file, by the text of /proc/locks:
/// `1: FLOCK  ADVISORY  WRITE 4711 08:02:1234 0 EOF`, with the device in hexadecimal.
fn holder_in(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let file = format!(
        "{:02x}:{:02x}:{inode}",
        libc::major(device),
        libc::minor(device)
    );
    let of_inode = format!(":{inode}");
    let holder = |is_it: &dyn Fn(&str) -> bool| {
        locks.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let kind = (words.next()?, words.next()?, words.next()?);
            let pid = words.next()?.parse().ok().filter(|pid| *pid > 0)?;
            let is_exclusive = kind == ("FLOCK", "ADVISORY", "WRITE");
            (is_exclusive && is_it(words.next()?)).then_some(pid)
        })
    };
    // On btrfs and overlayfs the kernel lists another device than the file's metadata has.
    holder(&|place| place == file)
        .or_else(|| holder(&|place| place.ends_with(&of_inode)).filter(|pid| is_cis490(*pid)))
}

fn is_cis490(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().starts_with("cis490")
}

/// Our unit in the text of /proc/PID/cgroup.
fn unit_in(cgroup: &str) -> Option<String> {
    let units = cgroup.lines().flat_map(|line| line.split('/'));
    let mut ours = units.filter(|unit| unit.starts_with("cis490") && unit.ends_with(".service"));
    ours.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 fe:00:77 0 EOF\n\
                     2: FLOCK  ADVISORY  READ  11 fe:00:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 12 08:01:77 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 13 fe:00:77 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 14 fe:00:77 0 EOF\n";
        let device = libc::makedev(0xfe, 0);
        assert_eq!(holder_in(locks, device, 77), Some(14));
        assert_eq!(holder_in(locks, device, 78), None);
        assert_eq!(holder_in("", device, 77), None);
    }

    #[test]
    fn a_unit_is_named_only_if_it_is_ours() {
        for (cgroup, unit) in [
            (
                "0::/system.slice/cis490-shipper.service\n",
                Some("cis490-shipper.service"),
            ),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
            ("0::/system.slice/ssh.service\n", None),
            ("", None),
        ] {
            assert_eq!(unit_in(cgroup).as_deref(), unit, "{cgroup}");
        }
    }
}
