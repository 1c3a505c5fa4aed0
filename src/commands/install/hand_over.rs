//! Gives root's files in a service's folder to the service's user. `sudo cis490 init` leaves such files
//! there, and earlier versions of other commands did.
//!
//! The service's user may change the folder meanwhile, with bad intentions. So:
//! 1. No file is named by its path. Each folder is opened relative to the open folder above it, without
//!    following a link, and the inode that was examined is the inode that is given, under whichever
//!    name it then has.
//! 2. If every folder from the top down is root's own, only root can have made the files in the last
//!    one. All of them are given, and each folder after its contents.
//! 3. In any other folder the user may have planted a file of root's: as a hard link, or moved there
//!    from another folder of his. So a file is given only if it has one name, and if everybody may read
//!    it anyway. A folder of root's has no hard links, but it comes along where the user moves his own
//!    folder around it. So a folder is given only if everybody may list and enter it; a closed one is
//!    left with all of its contents. An access list (POSIX ACL) may give single users less than the
//!    mode gives everybody: a file or folder with a list counts as closed. A stored file that still has its second name in incoming/ is left
//!    as it is: the service can read it, and needs no more.
//! 4. Other disks and lost+found are left alone.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::place::UserAndGroup;
use crate::durable;
use crate::sys::{self, Open};

/// Deeper than any folder of a store. Folders that somebody has nested deeper stay as they are.
pub(super) const DEPTH_MAX: usize = 8;

/// The result of a walk.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// How many files and folders were given, or would be.
    pub given: usize,
    /// The files and folders of root's that were not given since the user may have planted them, and
    /// why.
    pub left: Vec<(PathBuf, &'static str)>,
}

/// Counts what [`hand_over`] would give, and gives nothing.
pub(super) fn look(at: &Path, depth: usize) -> io::Result<Report> {
    Walk::along(at, None, depth)
}

/// Gives root's files to `user`: the folder `at`, and the files and folders down to `depth` levels below.
///
/// Errors: a folder cannot be read, or an owner cannot be set. The walk ends there.
pub(super) fn hand_over(at: &Path, user: UserAndGroup, depth: usize) -> io::Result<Report> {
    Walk::along(at, Some(user), depth)
}

struct Walk {
    /// `None` for a walk that gives nothing.
    user: Option<UserAndGroup>,
    device: u64,
    report: Report,
}

/// One open folder on the way down.
struct Folder {
    open: File,
    found: Metadata,
    path: PathBuf,
    /// Only root can have made the files in it.
    is_roots: bool,
}

impl Folder {
    fn new(open: File, path: PathBuf, above_is_roots: bool) -> io::Result<Folder> {
        let found = open.metadata()?;
        // With an access list, the bits of the group also limit the rights of other users.
        let is_closed = found.mode() & 0o002 == 0
            && (found.mode() & 0o020 == 0 || found.gid() == 0 && !has_list(&open));
        Ok(Folder {
            is_roots: above_is_roots && found.uid() == 0 && is_closed,
            open,
            found,
            path,
        })
    }

    /// Why others may not read in this folder of root's what everybody may read elsewhere; `None` if
    /// they may, or if the folder is not root's.
    fn why_closed(&self) -> Option<&'static str> {
        if self.found.uid() != 0 {
            return None;
        }
        if self.found.mode() & 0o005 != 0o005 {
            return Some(SECRET);
        }
        has_list(&self.open).then_some(LISTED)
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        let open = format!("/proc/self/fd/{}", self.open.as_raw_fd());
        fs::read_dir(open)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }
}

impl Walk {
    fn along(at: &Path, user: Option<UserAndGroup>, depth: usize) -> io::Result<Report> {
        // `install` has checked that every folder of the path itself is root's.
        let top = Folder::new(durable::open_dir(at)?, at.to_owned(), true)?;
        let mut walk = Walk {
            user,
            device: top.found.dev(),
            report: Report::default(),
        };
        walk.folder(&top, depth)?;
        Ok(walk.report)
    }

    /// Gives the contents first: as long as the folder is root's, nobody can exchange them.
    fn folder(&mut self, folder: &Folder, depth: usize) -> io::Result<()> {
        if depth > 0 {
            for name in folder.names()? {
                self.entry(folder, name, depth)?;
            }
        }
        if folder.found.uid() == 0 {
            self.give(&folder.open)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &Folder, name: OsString, depth: usize) -> io::Result<()> {
        let path = folder.path.join(&name);
        let Some(itself) = if_there(sys::open_at(&folder.open, &name, Open::Itself))? else {
            return Ok(());
        };
        let found = itself.metadata()?;
        if found.dev() != self.device || name == "lost+found" {
            return Ok(());
        }
        if found.is_dir() {
            let open = if_there(sys::open_at(&folder.open, &name, Open::Directory))?;
            if let Some(open) = open {
                let inner = Folder::new(open, path, folder.is_roots)?;
                if !folder.is_roots
                    && let Some(why) = inner.why_closed()
                {
                    self.report.left.push((inner.path, why));
                    return Ok(());
                }
                self.folder(&inner, depth - 1)?;
            }
            return Ok(());
        }
        if found.uid() != 0 {
            return Ok(());
        }
        match why_not(&itself, &found, folder.is_roots) {
            None => self.give(&itself),
            Some(why) => {
                self.report.left.push((path, why));
                Ok(())
            }
        }
    }

    fn give(&mut self, open: &File) -> io::Result<()> {
        self.report.given += 1;
        match self.user {
            Some((uid, gid)) => sys::give_open(open, uid, gid),
            None => Ok(()),
        }
    }
}

const SECRET: &str = "others may not read it, and the folder that it lies in is not root's";
const LISTED: &str =
    "it has an access list (getfacl) of root's, and the folder that it lies in is not root's";

/// Whether a file or a folder has an access list (POSIX ACL). One that cannot be asked counts as one
/// that has.
fn has_list(open: &File) -> bool {
    sys::has_xattr(open, c"system.posix_acl_access").unwrap_or(true)
}

/// Why a file of root's is not given away; `None` if it is. `itself` was opened only to look at it.
fn why_not(itself: &File, found: &Metadata, is_in_roots_folder: bool) -> Option<&'static str> {
    if is_in_roots_folder && (found.is_file() || found.is_symlink()) {
        return None;
    }
    if !found.is_file() {
        return Some("it is not a regular file");
    }
    if found.nlink() != 1 {
        return Some("it has other names, which may be elsewhere");
    }
    if found.mode() & 0o004 == 0 {
        return Some(SECRET);
    }
    // The list can be asked for only of a file that is open to read: the same inode, by no name.
    let readable = File::open(format!("/proc/self/fd/{}", itself.as_raw_fd()));
    if readable.map_or(true, |open| has_list(&open)) {
        return Some(LISTED);
    }
    None
}

/// The opened file; `None` if it has gone meanwhile, or has become a file of another kind.
fn if_there(opened: io::Result<File>) -> io::Result<Option<File>> {
    match opened {
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Ok(None),
            _ => Err(error),
        },
        open => open.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;
    use crate::receiver::store::testing::Folder as Temporary;

    const USER: UserAndGroup = (4711, 4712);

    fn owner(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().uid()
    }

    /// Gives a file or folder a list of access (version 2) that keeps `user` out: the owner, the user,
    /// the group, the mask, all others.
    fn shut_out(path: &Path, user: u32) -> io::Result<()> {
        let others = path.metadata()?.mode() & 0o7;
        let mut list = 2u32.to_le_bytes().to_vec();
        for (tag, may, id) in [
            (0x01u16, 7u32, u32::MAX),
            (0x02, 0, user),
            (0x04, others, u32::MAX),
            (0x10, others, u32::MAX),
            (0x20, others, u32::MAX),
        ] {
            list.extend(tag.to_le_bytes());
            list.extend(u16::try_from(may).unwrap().to_le_bytes());
            list.extend(id.to_le_bytes());
        }
        sys::set_xattr(&File::open(path)?, c"system.posix_acl_access", &list)
    }

    #[test]
    fn what_only_root_can_have_made_is_given_and_nothing_else() {
        let temporary = Temporary::new("hand-over");
        let at = |path: &str| temporary.path().join(path);
        for dir in [
            "top",
            "top/incoming",
            "top/episodes",
            "top/lost+found",
            "top/his",
            "elsewhere",
        ] {
            fs::create_dir(at(dir)).unwrap();
        }
        for file in [
            "top/lock",
            "top/incoming/x",
            "top/his/lock",
            "top/his/secret",
            "elsewhere/victim",
        ] {
            fs::write(at(file), b"root's").unwrap();
        }
        fs::hard_link(at("top/incoming/x"), at("top/episodes/x")).unwrap();
        fs::hard_link(at("elsewhere/victim"), at("top/his/trap")).unwrap();
        symlink(at("elsewhere"), at("top/his/link")).unwrap();
        fs::set_permissions(at("top/his/secret"), fs::Permissions::from_mode(0o600)).unwrap();
        for (dir, mode) in [("top/his/closed", 0o700), ("top/his/listed", 0o755)] {
            fs::create_dir(at(dir)).unwrap();
            fs::write(at(dir).join("key"), b"root's").unwrap();
            fs::set_permissions(at(dir), fs::Permissions::from_mode(mode)).unwrap();
        }
        let listed = ["top/his/narrowed", "top/his/narrow-file"];
        fs::create_dir(at(listed[0])).unwrap();
        fs::write(at(listed[1]), b"root's").unwrap();
        fs::set_permissions(at(listed[0]), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(at(listed[1]), fs::Permissions::from_mode(0o644)).unwrap();
        let has_lists = listed
            .iter()
            .all(|path| shut_out(&at(path), USER.0).is_ok());
        if chown(at("top/his"), Some(USER.0), Some(USER.1)).is_err() {
            eprintln!(
                "skipped: what_only_root_can_have_made_is_given_and_nothing_else: needs root"
            );
            return;
        }
        let planned = look(&at("top"), DEPTH_MAX).unwrap();
        assert_eq!(owner(&at("top/lock")), 0, "a look gives nothing");
        let report = hand_over(&at("top"), USER, DEPTH_MAX).unwrap();
        // A look sees the file with two names under each.
        assert_eq!(planned.given, report.given + 1);
        for given in [
            "top",
            "top/lock",
            "top/incoming",
            "top/incoming/x",
            "top/episodes/x",
            "top/his/lock",
            "top/his/listed",
            "top/his/listed/key",
        ] {
            assert_eq!(owner(&at(given)), USER.0, "{given}");
        }
        for kept in [
            "top/lost+found",
            "top/his/secret",
            "top/his/closed",
            "top/his/closed/key",
            "top/his/trap",
            "top/his/link",
            "elsewhere",
            "elsewhere/victim",
        ] {
            assert_eq!(owner(&at(kept)), 0, "{kept}");
        }
        let mut left = 4;
        if has_lists {
            left += listed.len();
            for path in listed {
                assert_eq!(owner(&at(path)), 0, "{path}");
                assert!(report.left.contains(&(at(path), LISTED)), "{report:?}");
            }
        } else {
            eprintln!("skipped: the access lists: no such lists on this filesystem");
        }
        assert_eq!(report.left.len(), left, "{report:?}");
        // The folder is the user's now, and nothing that could be given is left.
        assert_eq!(look(&at("top"), DEPTH_MAX).unwrap().given, 0);
    }

    #[test]
    fn it_goes_no_deeper_than_asked() {
        let temporary = Temporary::new("hand-over-depth");
        let deep = temporary.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("recorded"), b"").unwrap();
        if chown(deep.join("recorded"), Some(0), None).is_err() {
            eprintln!("skipped: it_goes_no_deeper_than_asked: needs root");
            return;
        }
        hand_over(temporary.path(), USER, 1).unwrap();
        assert_eq!(owner(&temporary.path().join("a")), USER.0);
        assert_eq!((owner(&deep), owner(&deep.join("recorded"))), (0, 0));
    }
}
