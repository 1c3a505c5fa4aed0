//! The path to a folder: whose it is, and who could put another folder in its place.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use super::account::{is_root, name_of};
use crate::sys;

/// As many links as the kernel follows.
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

/// Why nobody can say whose a folder is.
#[derive(Debug)]
pub(crate) enum Unsafe {
    /// A part of the path cannot be looked at.
    Io { path: PathBuf, error: io::Error },
    /// Somebody else may put another folder in its place, or root's own is open to others.
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

/// Whose `folder` is, as root must ask before it enters.
///
/// Errors: it is not there; or others than root and its owner could exchange a part of its path.
pub(crate) fn owner_of(folder: &Path) -> Result<Owner, Unsafe> {
    let walked = Walk::along(folder)?;
    let owner = walked.found.owner();
    walked.check(owner)?;
    if owner == Owner::Root && walked.found.is_open() && !walked.found.is_roots_alone()? {
        return Err(open_to_others(&walked.found));
    }
    Ok(owner)
}

/// Whose a folder is that may be missing: of whoever could make it, in any part of its path that is
/// there, a link to nowhere and the folder that holds the link among them.
///
/// Errors: as [`owner_of`], but for a folder that is not there.
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
        // Of the user's own folder only the owner counts: others act there with his rights.
        walked.parts.push(Part { mode: 0, ..nearest });
    }
    walked.check(owner)?;
    Ok(owner)
}

/// That nobody but root can put another folder in the place of `folder`, or of the nearest part of
/// its path that is there. What lies above `top`, the folder of a machine's image, is not asked.
pub(crate) fn check_path_is_roots(folder: &Path, top: &Path) -> Result<(), Unsafe> {
    let is_there = |part: &&Path| part.symlink_metadata().is_ok();
    let nearest = folder.ancestors().find(is_there).unwrap_or(folder);
    let mut walked = Walk::along(nearest)?;
    if nearest != folder {
        // Root makes the rest in it.
        walked.parts.push(walked.found.clone());
    }
    walked
        .parts
        .retain(|part| part.path == top || !top.starts_with(&part.path));
    walked.check(Owner::Root)
}

/// Somebody who could exchange a part of a path: owner, group and mode of one folder on the way.
#[derive(Clone)]
pub(super) struct Part {
    path: PathBuf,
    uid: u32,
    gid: u32,
    mode: u32,
    /// The mode's bits of the group are a list's: of other users and groups too.
    has_list: bool,
    /// The owner of what lies next on the way, which a sticky folder protects.
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

    pub(super) fn owner(&self) -> Owner {
        if is_root(self.uid) {
            return Owner::Root;
        }
        Owner::User { uid: self.uid }
    }

    pub(super) fn is_sticky(&self) -> bool {
        self.mode & STICKY != 0
    }

    /// Whether all that is in it is root's and stays so, whoever may make names beside it: a disk
    /// in memory has such a folder.
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

    /// Whether others than its owner may make and remove names in it.
    pub(super) fn is_open(&self) -> bool {
        let by_group = self.mode & GROUP_WRITES != 0 && (self.has_list || !is_root(self.gid));
        by_group || self.mode & OTHERS_WRITE != 0
    }
}

/// Whether a folder has a list of who may do what (POSIX ACL). One that cannot be looked at counts as one
/// that has.
fn has_list(folder: &Path) -> bool {
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(sys::open_flags())
        .open(folder);
    let list = opened.and_then(|open| sys::has_xattr(&open, c"system.posix_acl_access"));
    list.unwrap_or(true)
}

/// A path, followed part by part as the kernel does.
pub(super) struct Walk {
    parts: Vec<Part>,
    /// The end of the path, or of that of it which is there.
    pub found: Part,
    /// The first part of the path that is not there, and what the system says of it.
    missing: Option<(PathBuf, io::Error)>,
}

impl Walk {
    /// Errors: a part of the path is not there, or cannot be looked at.
    pub(super) fn along(path: &Path) -> Result<Walk, Unsafe> {
        let mut walked = Walk::as_far_as_it_leads(path)?;
        match walked.missing.take() {
            Some((path, error)) => Err(Unsafe::Io { path, error }),
            None => Ok(walked),
        }
    }

    fn as_far_as_it_leads(path: &Path) -> Result<Walk, Unsafe> {
        let path = std::path::absolute(path).map_err(|error| Unsafe::io(path, error))?;
        let look = |path: &Path| {
            path.symlink_metadata()
                .map(|found| (Part::of(path, &found), found.is_symlink()))
                .map_err(|error| Unsafe::io(path, error))
        };
        let mut to_come: Vec<OsString> = names_of(&path);
        let (mut here, _) = look(Path::new("/"))?;
        let mut parts = Vec::new();
        let mut links = 0;
        while let Some(name) = to_come.pop() {
            if name == ".." {
                let above = here.path.parent().unwrap_or(Path::new("/")).to_owned();
                (here, _) = look(&above)?;
                continue;
            }
            let (next, is_link) = match look(&here.path.join(&name)) {
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
            if !is_link {
                parts.push(std::mem::replace(&mut here, next));
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                let error = io::Error::from_raw_os_error(libc::ELOOP);
                return Err(Unsafe::io(&next.path, error));
            }
            let target =
                fs::read_link(&next.path).map_err(|error| Unsafe::io(&next.path, error))?;
            to_come.extend(names_of(&target));
            let folder = if target.is_absolute() {
                PathBuf::from("/")
            } else {
                here.path.clone()
            };
            parts.push(std::mem::replace(&mut here, look(&folder)?.0));
        }
        Ok(Walk {
            parts,
            found: here,
            missing: None,
        })
    }

    /// An error if anybody but root and `owner` could exchange a part.
    pub(super) fn check(&self, owner: Owner) -> Result<(), Unsafe> {
        let may =
            |uid: u32| is_root(uid) || matches!(owner, Owner::User { uid: own } if own == uid);
        for part in &self.parts {
            if !may(part.uid) {
                return Err(Unsafe::Open {
                    words: format!(
                        "{} belongs to the user {}, who could put another folder there",
                        part.path.display(),
                        name_of(part.uid)
                    ),
                    remedy: format!(
                        "choose a folder whose path is root's, or give this part to root: sudo chown root {}",
                        part.path.display()
                    ),
                });
            }
            let is_kept = part.is_sticky() && may(part.next_uid);
            if part.is_open() && !is_kept {
                return Err(open_to_others(part));
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
    let (who, bits) = if part.mode & OTHERS_WRITE != 0 {
        ("everybody on this machine".to_owned(), "go-w")
    } else if part.has_list {
        ("whoever its access list (getfacl) names".to_owned(), "g-w")
    } else {
        (format!("the group {}", part.gid), "g-w")
    };
    Unsafe::Open {
        words: format!("{who} may write to {path}, and put another folder there"),
        remedy: format!(
            "sudo chmod {bits} {path}; a folder that a service works in belongs to that service's user (exFAT and FAT, which know no owners, have no hard links either and cannot hold a store: use ext4, xfs, btrfs or f2fs)"
        ),
    }
}

#[cfg(test)]
mod tests;
