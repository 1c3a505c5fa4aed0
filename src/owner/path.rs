//! The path to a folder or a file: whose it is, and who could put another one in its place.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use super::account::{is_root, name_of};
use crate::sys;

/// The most links in one path that the kernel follows.
const LINKS_MAX: u32 = 40;
const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Whose a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Root,
    User { uid: u32 },
}

/// Why root cannot say whose a folder is.
#[derive(Debug)]
pub(crate) enum Unsafe {
    /// A part of the path cannot be looked at.
    Io { path: PathBuf, error: io::Error },
    /// Somebody else may put another folder in its place, or others may write to root's own folder.
    Open { words: String, remedy: String },
}

impl Unsafe {
    pub(crate) fn io(path: &Path, error: io::Error) -> Unsafe {
        Unsafe::Io {
            path: path.to_owned(),
            error,
        }
    }
}

/// Whose `folder` is, which may also be a file. Root must know before it works there, or acts on what
/// the file says.
///
/// Errors: the folder does not exist; or somebody besides root and its owner could replace a part of its
/// path.
pub(crate) fn owner_of(folder: &Path) -> Result<Owner, Unsafe> {
    let walked = Walk::along(folder)?;
    let owner = walked.found.owner();
    walked.check(owner)?;
    if owner == Owner::Root && walked.found.is_open() && !walked.found.is_roots_alone()? {
        return Err(walked.found.open_on_the_way_to(&walked.found));
    }
    Ok(owner)
}

/// Whose a folder is that may be missing. A missing folder belongs to the user who could make it: the
/// owner of a part of its path that exists, which may be a link to nowhere or the folder of that link.
///
/// Errors: as [`owner_of`], except that a missing folder is none.
pub(crate) fn owner_or_maker(folder: &Path) -> Result<Owner, Unsafe> {
    let mut walked = Walk::as_far_as_it_leads(folder)?;
    if walked.missing.is_none() {
        return owner_of(folder);
    }
    let nearest = walked.found.clone();
    let parts = walked.parts.iter().chain([&nearest]);
    let is_users = |owner: &Owner| *owner != Owner::Root;
    let owner = parts.map(Part::owner).find(is_users).unwrap_or(Owner::Root);
    if nearest.owner() == Owner::Root {
        if nearest.is_open() {
            return Err(open_to_others(&nearest));
        }
    } else {
        // The mode of the user's own folder does not count: he decides who else writes there.
        walked.parts.push(Part { mode: 0, ..nearest });
    }
    walked.check(owner)?;
    Ok(owner)
}

/// Checks that nobody but root can replace `folder`, or the nearest part of its path that exists. The
/// parts above `top`, the folder of a machine's image, are not checked.
///
/// Errors: somebody could.
pub(crate) fn check_path_is_roots(folder: &Path, top: &Path) -> Result<(), Unsafe> {
    let is_there = |part: &&Path| part.symlink_metadata().is_ok();
    let nearest = folder.ancestors().find(is_there).unwrap_or(folder);
    let mut walked = Walk::along(nearest)?;
    if nearest != folder {
        // Root will make the rest in this folder.
        walked.parts.push(walked.found.clone());
    }
    walked
        .parts
        .retain(|part| part.path == top || !top.starts_with(&part.path));
    walked.check(Owner::Root)
}

/// One folder or link of a path: its owner, group and mode show who could replace what lies in it.
#[derive(Clone)]
pub(super) struct Part {
    path: PathBuf,
    uid: u32,
    gid: u32,
    mode: u32,
    /// Whether the folder has an access list (POSIX ACL): then the group's bits of the mode are the mask
    /// of that list, and other users and groups may write too.
    has_list: bool,
    /// The owner of the next part of the path. A sticky folder protects that part.
    next_uid: u32,
}

impl Part {
    pub(super) fn of(path: &Path, metadata: &Metadata) -> Part {
        Part {
            path: path.to_owned(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode(),
            has_list: metadata.mode() & GROUP_WRITES != 0 && has_list(path),
            next_uid: 0,
        }
    }

    /// Errors: nothing is at `path`, or it cannot be looked at.
    fn at(path: &Path) -> Result<Part, Unsafe> {
        match path.symlink_metadata() {
            Ok(found) => Ok(Part::of(path, &found)),
            Err(error) => Err(Unsafe::io(path, error)),
        }
    }

    fn is_link(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }

    fn is_folder(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    fn kind(&self) -> &'static str {
        if self.is_folder() { "folder" } else { "file" }
    }

    /// The error for this part of the path to `found`, or for `found` itself, that others may write to.
    fn open_on_the_way_to(&self, found: &Part) -> Unsafe {
        if found.is_folder() {
            return open_to_others(self);
        }
        let path = self.path.display();
        let (who, bits) = self.writers();
        let remedy = format!(
            "read what is in {}, then: sudo chmod {bits} {path}",
            found.path.display()
        );
        let words = if self.is_folder() {
            format!("{who} may write to {path}, and put another file there")
        } else {
            format!("{who} may write to {path}")
        };
        Unsafe::Open { words, remedy }
    }

    /// Who besides its owner may write to it, and what `chmod` accepts to forbid that.
    fn writers(&self) -> (String, &'static str) {
        if self.mode & OTHERS_WRITE != 0 {
            ("everybody on this machine".to_owned(), "go-w")
        } else if self.has_list {
            let named = "every user whom its access list (getfacl) names";
            (named.to_owned(), "g-w")
        } else {
            (format!("the group {}", self.gid), "g-w")
        }
    }

    /// The path that this link names.
    fn target(&self) -> Result<PathBuf, Unsafe> {
        fs::read_link(&self.path).map_err(|error| Unsafe::io(&self.path, error))
    }

    pub(super) fn owner(&self) -> Owner {
        if is_root(self.uid) {
            return Owner::Root;
        }
        Owner::User { uid: self.uid }
    }

    pub(super) fn is_sticky(&self) -> bool {
        self.mode & STICKY != 0
    }

    /// Whether everything in the folder belongs to root, and the sticky bit keeps others from replacing
    /// it. The top folder of a filesystem in memory is such a folder.
    fn is_roots_alone(&self) -> Result<bool, Unsafe> {
        let failed = |error| Unsafe::io(&self.path, error);
        if !self.is_sticky() {
            return Ok(false);
        }
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let found = entry.and_then(|entry| entry.metadata()).map_err(failed)?;
            if !is_root(found.uid()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether somebody besides its owner may make and remove names in the folder.
    pub(super) fn is_open(&self) -> bool {
        let by_group = self.mode & GROUP_WRITES != 0 && (self.has_list || !is_root(self.gid));
        by_group || self.mode & OTHERS_WRITE != 0
    }
}

/// Whether a folder has an access list (POSIX ACL). A folder that cannot be looked at counts as one that
/// has.
fn has_list(folder: &Path) -> bool {
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(sys::open_flags())
        .open(folder);
    let list = opened.and_then(|open| sys::has_xattr(&open, c"system.posix_acl_access"));
    list.unwrap_or(true)
}

/// A path that was followed part by part, as the kernel follows it.
pub(super) struct Walk {
    parts: Vec<Part>,
    /// The last part of the path that exists.
    pub found: Part,
    /// The first part of the path that does not exist, with the system's error.
    missing: Option<(PathBuf, io::Error)>,
}

impl Walk {
    /// Follows the whole path.
    ///
    /// Errors: a part of the path does not exist, or cannot be looked at.
    pub(super) fn along(path: &Path) -> Result<Walk, Unsafe> {
        let mut walked = Walk::as_far_as_it_leads(path)?;
        match walked.missing.take() {
            Some((path, error)) => Err(Unsafe::Io { path, error }),
            None => Ok(walked),
        }
    }

    /// Follows the path up to its first part that does not exist.
    ///
    /// Errors: a part of the path cannot be looked at, or there are too many links.
    fn as_far_as_it_leads(path: &Path) -> Result<Walk, Unsafe> {
        let path = std::path::absolute(path).map_err(|error| Unsafe::io(path, error))?;
        let mut to_come: Vec<OsString> = names_of(&path);
        let mut here = Part::at(Path::new("/"))?;
        let mut parts = Vec::new();
        let mut links = 0;
        while let Some(name) = to_come.pop() {
            if name == ".." {
                let above = here.path.parent().unwrap_or(Path::new("/")).to_owned();
                here = Part::at(&above)?;
                continue;
            }
            let next = match Part::at(&here.path.join(&name)) {
                Err(Unsafe::Io { path, error }) if is_missing(&error) => {
                    return Ok(Walk {
                        parts,
                        found: here,
                        missing: Some((path, error)),
                    });
                }
                looked => looked?,
            };
            here.next_uid = next.uid;
            if !next.is_link() {
                parts.push(std::mem::replace(&mut here, next));
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                let error = io::Error::from_raw_os_error(libc::ELOOP);
                return Err(Unsafe::io(&next.path, error));
            }
            let target = next.target()?;
            to_come.extend(names_of(&target));
            let begin = if target.is_absolute() {
                Part::at(Path::new("/"))?
            } else {
                Part::at(&here.path)?
            };
            parts.push(std::mem::replace(&mut here, begin));
        }
        Ok(Walk {
            parts,
            found: here,
            missing: None,
        })
    }

    /// Errors: somebody besides root and `owner` could replace a part of the path.
    pub(super) fn check(&self, owner: Owner) -> Result<(), Unsafe> {
        let may =
            |uid: u32| is_root(uid) || matches!(owner, Owner::User { uid: own } if own == uid);
        let kind = self.found.kind();
        for part in &self.parts {
            if !may(part.uid) {
                return Err(Unsafe::Open {
                    words: format!(
                        "{} belongs to the user {}, who could put another {kind} there",
                        part.path.display(),
                        name_of(part.uid)
                    ),
                    remedy: format!(
                        "choose a {kind} whose path is root's, or give this part to root: sudo chown root {}",
                        part.path.display()
                    ),
                });
            }
            let is_kept = part.is_sticky() && may(part.next_uid);
            if part.is_open() && !is_kept {
                return Err(part.open_on_the_way_to(&self.found));
            }
        }
        Ok(())
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The names of a path, the last one first.
fn names_of(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    let mut names: Vec<OsString> = names.collect();
    names.reverse();
    names
}

pub(super) fn open_to_others(part: &Part) -> Unsafe {
    let path = part.path.display();
    let (who, bits) = part.writers();
    Unsafe::Open {
        words: format!("{who} may write to {path}, and put another folder there"),
        remedy: format!(
            "sudo chmod {bits} {path}; a folder that a service works in belongs to that service's user (exFAT and FAT, which know no owners, have no hard links either and cannot hold a store: use ext4, xfs, btrfs or f2fs)"
        ),
    }
}

#[cfg(test)]
mod tests;
