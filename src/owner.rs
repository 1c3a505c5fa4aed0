//! Root works in nobody's folder as root. A command that root runs on a folder of somebody else
//! reads its configuration and secrets, and then becomes that user, for good.
//!
//! 1. Whose a folder is counts only if nobody but root and that user can put another folder in its
//!    place. So each part of its path is looked at, through every link, before it is entered.
//! 2. After that the user may plant what he likes: it acts with his own rights and no others.
//! 3. A secret that only root can read is read before ([`Kept`]), since nothing can be read with
//!    root's rights afterwards. A new one then takes a restart.
//!
//! In a user namespace (`unshare -r`, a container of an ordinary user) root is root over the users
//! of that namespace alone. Files of all others have one stand-in for an owner there: they count as
//! root's, for they are as far out of reach.

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

pub(crate) use self::kept::{read_kept, read_secret};
pub(crate) use self::path::{Owner, Unsafe, check_path_is_roots, owner_of, owner_or_maker};

use self::account::Account;
pub(crate) use self::account::{group_of, name_of};
use self::kept::Kept;
use self::path::{Part, Walk, open_to_others};

/// The user whom root has become in this process.
static BECAME: OnceLock<u32> = OnceLock::new();

/// What root has become for a folder's sake.
#[derive(Debug)]
pub(crate) struct Became {
    pub uid: u32,
    pub gid: u32,
    /// Secrets that the user cannot read: what root read of them is used until the process ends.
    pub unreadable: Vec<PathBuf>,
}

/// Before a folder is touched: where root runs this and the folder belongs to somebody else, the
/// process becomes that user. `secrets` are files to be read before. `None` if it stays who it is.
/// That there is no such folder is for others to report: who could make it counts then.
///
/// Errors: the folder's path is open to others, or the system does not let us.
pub(crate) fn enter(folder: &Path, secrets: &[&Path]) -> Result<Option<Became>, Failure> {
    if sys::effective_user() != 0 {
        return Ok(None);
    }
    // Whoever may make a missing folder could do so before it is looked for again.
    match owner_or_maker(folder) {
        Ok(Owner::Root) => Ok(None),
        Ok(Owner::User { uid }) => become_user(folder, uid, secrets).map(Some),
        Err(why) => Err(refusal(folder, &why)),
    }
}

/// After [`enter`]: that root, if this still is root, works within its own folder in no folder that
/// somebody else could exchange: not one that was restored from a backup with its old owner, nor one
/// that is open to others, nor a link. `side` is what `cis490 install` makes of the folder's owner.
pub(crate) fn check_inner(folders: &[PathBuf], side: &str) -> Result<(), Failure> {
    if sys::effective_user() != 0 {
        return Ok(());
    }
    for folder in folders {
        // That it is missing is for others to report.
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

/// As `mkdir -p`, and the names stay; with whose rights is decided anew for each part, as [`enter`]
/// does, and last of all for the folder itself.
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

/// Root's own sticky folder, such as /tmp, is one to make something in, though not one to work in.
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
    // The C library changes every thread; that there is only one makes sure of it.
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
    let opened = fs::File::open(file);
    !opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The words for a folder that root does not enter.
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

/// What to do about a file or folder that cannot be had: the error's own remedy where it has one.
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

/// The same for a file outside the folder, such as a configuration that is read again.
pub(crate) fn hint_to_read(error: &io::Error, otherwise: impl Into<String>) -> String {
    match BECAME.get() {
        Some(uid) if error.kind() == io::ErrorKind::PermissionDenied => format!(
            "root started the program, which has become the user {}: let that user read the file (chgrp, chmod g+r), or restart the program",
            name_of(*uid)
        ),
        _ => hint(error, otherwise),
    }
}
