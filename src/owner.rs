//! Root does not work as root in the folder of another user. A command that root runs on such a folder
//! reads its configuration and secrets, and then the process becomes that user, for good.
//!
//! 1. The owner of a folder counts only if nobody but root and that user can put another folder in its
//!    place. So each part of its path, through every link, is checked before the folder is entered.
//! 2. After that the user may put anything into the folder: the process has only his rights.
//! 3. A secret that only root can read is read before the change ([`Kept`]), since nothing can be read
//!    with root's rights afterwards. A new secret then takes effect with a restart.
//!
//! In a user namespace (`unshare -r`, a container of an ordinary user) root is root over the users of
//! that namespace alone. The files of all other users have one substitute owner there. They count as
//! root's files, since the users of the namespace can change neither.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::durable::kind_words;
use crate::failure::Failure;
use crate::mounts::READ_ONLY_REMEDY;
use crate::sys;

mod account;
mod kept;
mod path;

pub(crate) use self::kept::{read_files_alone, read_kept, read_secret};
pub(crate) use self::path::{Owner, Unsafe, check_path_is_roots, owner_of, owner_or_maker};

use self::account::Account;
pub(crate) use self::account::{group_of, name_of};
use self::kept::Kept;
use self::path::{Part, Walk, open_to_others};

/// The user whom root has become in this process.
static BECAME: OnceLock<u32> = OnceLock::new();

/// The user that root has become, to work in a folder.
#[derive(Debug)]
pub(crate) struct Became {
    pub uid: u32,
    pub gid: u32,
    /// Secrets that the user cannot read. What root has read of them is used until the process ends.
    pub unreadable: Vec<PathBuf>,
}

/// To be called before a folder is touched: if root runs this process and the folder belongs to another
/// user, the process becomes that user. `secrets` are files that are read before. `None` if the process
/// keeps its user. For a missing folder the user who could make it counts; the caller reports that it
/// is missing.
///
/// Errors: others may write to the folder's path, or the system does not allow the change.
pub(crate) fn enter(folder: &Path, secrets: &[&Path]) -> Result<Option<Became>, Failure> {
    if sys::effective_user() != 0 {
        return Ok(None);
    }
    // A user who may make a missing folder could do so before the caller looks for it again.
    match owner_or_maker(folder) {
        Ok(Owner::Root) => Ok(None),
        Ok(Owner::User { uid }) => become_user(folder, uid, secrets).map(Some),
        Err(why) => Err(refusal(folder, &why)),
    }
}

/// To be called after [`enter`]. If the process is still root's, it checks that each of `folders`, which
/// lie in root's own folder, is a directory of root's that others may not write to: a backup may have
/// restored one with its old owner. `side` is the argument of `cis490 install` that gives the folder to
/// its user.
///
/// Errors: one of the folders is a link, is another user's, or others may write to it.
pub(crate) fn check_inner(folders: &[PathBuf], side: &str) -> Result<(), Failure> {
    if sys::effective_user() != 0 {
        return Ok(());
    }
    for folder in folders {
        // The caller reports a missing folder.
        let Ok(found) = folder.symlink_metadata() else {
            continue;
        };
        let part = Part::of(folder, &found);
        let above = folder.parent().unwrap_or(folder).display();
        if let Owner::User { uid } = part.owner() {
            return Err(Failure::new(
                format!(
                    "root does not work in {}: it belongs to the user {}, and the folder above it to root",
                    folder.display(),
                    name_of(uid)
                ),
                format!(
                    "give all of {above} to that user, and sudo works there too: sudo chown -R {} {above}; for the service, sudo cis490 install {side} does it",
                    Account::of(uid).map_or(uid.to_string(), |account| account.name)
                ),
            ));
        }
        if !found.is_dir() {
            return Err(Failure::new(
                format!(
                    "root does not work in {}: it is {}, and must be a directory",
                    folder.display(),
                    kind_words(found.file_type())
                ),
                format!("put the directory itself there (a disk of its own is mounted at {above})"),
            ));
        }
        if part.is_open() {
            return Err(refusal(folder, &open_to_others(&part)));
        }
    }
    Ok(())
}

/// Makes `folder` and all that is missing above it with `make_dir`, which also syncs. Before each part,
/// and at the end for the folder itself, the process becomes the owner as with [`enter`].
///
/// Errors: as [`enter`]; or a part cannot be made.
pub(crate) fn enter_new(
    folder: &Path,
    make_dir: impl Fn(&Path) -> io::Result<()>,
) -> Result<Option<Became>, Failure> {
    let mut became = None;
    let folder = &std::path::absolute(folder)
        .map_err(|error| refusal(folder, &Unsafe::io(folder, error)))?;
    for part in folder.ancestors().collect::<Vec<_>>().into_iter().rev() {
        if part.as_os_str().is_empty() || part.symlink_metadata().is_ok() {
            continue;
        }
        let above = part.parent().unwrap_or(Path::new("/"));
        became = became.or(enter_to_make_in(above)?);
        make_dir(part).map_err(|error| {
            Failure::new(
                format!("cannot make {}: {error}", part.display()),
                hint(
                    &error,
                    "run it as a user that may write there, or with sudo",
                ),
            )
        })?;
    }
    Ok(became.or(enter(folder, &[])?))
}

/// As [`enter`], for a folder in which another is made: root's own sticky folder, such as /tmp, is
/// allowed here.
fn enter_to_make_in(above: &Path) -> Result<Option<Became>, Failure> {
    if sys::effective_user() != 0 {
        return Ok(None);
    }
    let walked = Walk::along(above).map_err(|why| refusal(above, &why))?;
    let owner = walked.found.owner();
    walked.check(owner).map_err(|why| refusal(above, &why))?;
    match owner {
        Owner::User { uid } => become_user(above, uid, &[]).map(Some),
        Owner::Root if walked.found.is_open() && !walked.found.is_sticky() => {
            Err(refusal(above, &open_to_others(&walked.found)))
        }
        Owner::Root => Ok(None),
    }
}

fn become_user(folder: &Path, uid: u32, secrets: &[&Path]) -> Result<Became, Failure> {
    let cannot = |why: String| {
        Failure::new(
            format!(
                "{} belongs to the user {}, and root works there only as that user: {why}",
                folder.display(),
                name_of(uid)
            ),
            format!(
                "run it as that user: sudo -u {} cis490 ...",
                Account::of(uid).map_or(format!("'#{uid}'"), |account| account.name)
            ),
        )
    };
    // The C library changes the user of every thread. With a single thread nothing can go wrong there.
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(cannot(format!("the program has {threads} threads already")));
    }
    Kept::read(secrets);
    let account = Account::of(uid);
    let group = group_of(uid);
    let mut groups = vec![group];
    groups.extend(account.iter().flat_map(Account::more_groups));
    sys::become_user(uid, group, &groups).map_err(|error| cannot(error.to_string()))?;
    let _ = BECAME.set(uid);
    let unreadable = secrets.iter().filter(|file| !is_readable(file));
    Ok(Became {
        uid,
        gid: group,
        unreadable: unreadable.map(|&file| file.to_owned()).collect(),
    })
}

fn is_readable(file: &Path) -> bool {
    !sys::may_read(file).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The error for a folder that root does not enter.
pub(crate) fn refusal(folder: &Path, why: &Unsafe) -> Failure {
    match why {
        Unsafe::Io { path, error } => Failure::new(
            format!("cannot look at {}: {error}", path.display()),
            hint(error, "look at the path and at its disk"),
        ),
        Unsafe::Open { words, remedy } => Failure::new(
            format!("root does not work in {}: {words}", folder.display()),
            remedy,
        ),
    }
}

/// What to do about a file or folder that cannot be opened or made: the remedy for this kind of error,
/// or `otherwise`.
pub(crate) fn hint(error: &io::Error, otherwise: impl Into<String>) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => match BECAME.get() {
            Some(uid) => format!(
                "it is root's, in a folder of the user {}: an earlier run as root left it there; sudo cis490 install hands it over",
                name_of(*uid)
            ),
            None => "run it with sudo, or as the user that owns it; a service is given its folder by: sudo cis490 install".to_owned(),
        },
        io::ErrorKind::ReadOnlyFilesystem => {
            READ_ONLY_REMEDY.to_owned()
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on that disk, or free inodes (df -i)".to_owned()
        }
        _ => otherwise.into(),
    }
}

/// As [`hint`], for a file outside the folder, such as a configuration that is read again.
pub(crate) fn hint_to_read(error: &io::Error, otherwise: impl Into<String>) -> String {
    match BECAME.get() {
        Some(uid) if error.kind() == io::ErrorKind::PermissionDenied => format!(
            "root started the program, which has become the user {}: let that user read the file (chgrp, chmod g+r), or restart the program",
            name_of(*uid)
        ),
        _ => hint(error, otherwise),
    }
}
