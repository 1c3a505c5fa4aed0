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
//!    left with all of its contents. A stored file that still has its second name in incoming/ is left
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
    /// The files of root's that were not given since the user may have planted them, and why.
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
        let has_list = || sys::has_xattr(&open, c"system.posix_acl_access").unwrap_or(true);
        let is_closed = found.mode() & 0o002 == 0
            && (found.mode() & 0o020 == 0 || found.gid() == 0 && !has_list());
        Ok(Folder {
            is_roots: above_is_roots && found.uid() == 0 && is_closed,
            open,
            found,
            path,
        })
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
                if !folder.is_roots && is_closed_by_root(&inner.found) {
                    self.report.left.push((inner.path, SECRET));
                    return Ok(());
                }
                self.folder(&inner, depth - 1)?;
            }
            return Ok(());
        }
        if found.uid() != 0 {
            return Ok(());
        }
        match why_not(&found, folder.is_roots) {
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

const SECRET: &str = "it is root's secret, and the folder is not root's";

/// Whether a folder is root's, and others cannot read in it what everybody may read elsewhere.
fn is_closed_by_root(folder: &Metadata) -> bool {
    folder.uid() == 0 && folder.mode() & 0o005 != 0o005
}

/// Why a file of root's is not given away; `None` if it is.
fn why_not(found: &Metadata, is_in_roots_folder: bool) -> Option<&'static str> {
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
        assert_eq!(report.left.len(), 4, "{report:?}");
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
