//! The mount that a path is on, and whether it is read-only. Both are read from /proc/self/mountinfo:
//! only there a filesystem that ext4 has made read-only after an error shows it (`emergency_ro`).

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What a person does about a read-only disk. Changing its owner does not help.
pub(crate) const READ_ONLY_REMEDY: &str = "a disk goes read-only after an error of its own: dmesg says which; stop the service, umount and fsck the disk, replace an SD card that fails; after that, or if it was mounted so by hand: mount -o remount,rw";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The folder where the filesystem is mounted.
    pub point: PathBuf,
    /// The filesystem's type: `ext4`.
    pub kind: String,
    /// The options of the mount, then those of the filesystem.
    pub options: String,
}

/// Options of a mount that cannot be written.
const READ_ONLY: [&str; 3] = ["ro", "emergency_ro", "shutdown"];

impl Mount {
    /// The mount that a path is on; `None` if there is no such path, or this user cannot see it.
    pub(crate) fn of(path: &Path) -> Option<Mount> {
        let path = path.canonicalize().ok()?;
        let text = fs::read("/proc/self/mountinfo").ok()?;
        Mount::among(&text, &path)
    }

    /// The mount that covers `path`, which has no symbolic link in it, by the text of a mountinfo.
    fn among(text: &[u8], path: &Path) -> Option<Mount> {
        let mut best: Option<Mount> = None;
        for mount in text.split(|&byte| byte == b'\n').filter_map(Mount::parse) {
            // A later mount on the same point covers the earlier one.
            let is_nearer = best.as_ref().is_none_or(|best| {
                best.point.components().count() <= mount.point.components().count()
            });
            if is_nearer && path.starts_with(&mount.point) {
                best = Some(mount);
            }
        }
        best
    }

    /// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS] - TYPE SOURCE SUPER_OPTIONS`
    fn parse(line: &[u8]) -> Option<Mount> {
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let dash = words.iter().position(|word| *word == b"-")?;
        let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        let super_options = words.get(dash + 3).map_or(String::new(), |word| text(word));
        Some(Mount {
            point: unescaped(words.get(4)?),
            kind: text(words.get(dash + 1)?),
            options: format!("{},{super_options}", text(words.get(5)?)),
        })
    }

    /// The option that makes the mount read-only, if there is one.
    pub(crate) fn read_only(&self) -> Option<&str> {
        self.options
            .split(',')
            .find(|option| READ_ONLY.contains(option))
    }
}

/// A path as mountinfo writes it: a blank, a tab, a line break and a backslash are `\` and three
/// octal digits.
fn unescaped(word: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        match octal(after) {
            Some(escaped) if byte == b'\\' => {
                path.push(escaped);
                rest = &after[3..];
            }
            _ => {
                path.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..3)?).ok()?;
    u8::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &[u8] = b"\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw,errors=remount-ro\n\
30 22 8:17 / /srv/cis490\\040data rw,noatime shared:9 master:2 - ext4 /dev/sdb1 rw,emergency_ro\n\
31 22 8:33 / /mnt/a ro,relatime - vfat /dev/sdc1 rw\n\
32 22 8:34 / /mnt/a rw,relatime - xfs /dev/sdc2 rw,attr2\n\
33 22 0:40 / /odd\\134134 rw - tmpfs none\n\
no line of ours\n\
34 22 8:35 / /mnt/b rw - ext4 /dev/sdc3 ro\n";

    #[test]
    fn the_nearest_and_latest_mount_counts() {
        for (path, kind, read_only) in [
            ("/etc", "ext4", None),
            ("/srv/cis490 data/incoming", "ext4", Some("emergency_ro")),
            ("/srv/cis490 dat", "ext4", None),
            ("/mnt/a/x", "xfs", None),
            ("/mnt/b", "ext4", Some("ro")),
            ("/odd\\134/x", "tmpfs", None),
        ] {
            let mount = Mount::among(MOUNTINFO, Path::new(path)).unwrap();
            assert_eq!((mount.kind.as_str(), mount.read_only()), (kind, read_only));
        }
    }

    #[test]
    fn the_mount_of_a_path_is_found() {
        let mount = Mount::of(Path::new("/proc/self")).unwrap();
        assert_eq!(mount.kind, "proc");
        assert!(Mount::of(Path::new("/nonexistent/x")).is_none());
    }
}
