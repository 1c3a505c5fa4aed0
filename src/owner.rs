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

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::failure::Failure;
use crate::mounts::READ_ONLY_REMEDY;
use crate::sys;

mod account;
mod kept;
mod path;

pub use self::kept::{read_kept, read_secret};
pub use self::path::{Owner, Unsafe, check_path_is_roots, owner_of};

pub use self::account::name_of;
use self::account::{Account, is_root};
use self::kept::Kept;
use self::path::{Walk, open_to_others};

/// The user whom root has become in this process.
static BECAME: OnceLock<u32> = OnceLock::new();

/// What root has become for a folder's sake.
#[derive(Debug)]
pub struct Became {
    pub uid: u32,
    pub gid: u32,
    /// Secrets that the user cannot read: what root read of them is used until the process ends.
    pub unreadable: Vec<PathBuf>,
}

/// Before a folder is touched: where root runs this and the folder belongs to somebody else, the
/// process becomes that user. `secrets` are files to be read before. `None` if it stays who it is.
/// That there is no such folder is for others to report: whose the folder above it is counts then.
///
/// Errors: the folder's path is open to others, or the system does not let us.
pub fn enter(folder: &Path, secrets: &[&Path]) -> Result<Option<Became>, Failure> {
    if sys::effective_user() != 0 {
        return Ok(None);
    }
    match owner_of(folder) {
        Ok(Owner::Root) => Ok(None),
        Ok(Owner::User { uid, gid }) => become_user(folder, uid, gid, secrets).map(Some),
        Err(Unsafe::Io { path, error }) if is_missing(&error) => {
            // Whoever may make it now could do so before it is looked for again.
            let above = path.ancestors().skip(1);
            let nearest = above.into_iter().find(|part| part.exists());
            match owner_of(nearest.unwrap_or(Path::new("/"))) {
                Ok(Owner::Root) => Ok(None),
                Ok(Owner::User { uid, gid }) => become_user(folder, uid, gid, secrets).map(Some),
                Err(why) => Err(refusal(folder, &why)),
            }
        }
        Err(why) => Err(refusal(folder, &why)),
    }
}

/// After [`enter`]: that root, if this still is root, works in no folder of somebody else within its
/// own either, as one that was restored from a backup with its old owner.
pub fn check_inner(folders: &[PathBuf]) -> Result<(), Failure> {
    if sys::effective_user() != 0 {
        return Ok(());
    }
    for folder in folders {
        let found = folder.symlink_metadata().ok();
        let owner = found.filter(Metadata::is_dir).map(|found| found.uid());
        if let Some(uid) = owner.filter(|&uid| !is_root(uid)) {
            let above = folder.parent().unwrap_or(folder).display();
            return Err(Failure::new(
                format!(
                    "root does not work in {}: it belongs to the user {}, and the folder above it to root",
                    folder.display(),
                    name_of(uid)
                ),
                format!(
                    "give all of {above} to one of them: sudo cis490 install receiver does it for the service, sudo chown -R root: {above} for root"
                ),
            ));
        }
    }
    Ok(())
}

/// As `mkdir -p`, and the names stay; with whose rights is decided anew for each part, as [`enter`]
/// does, and last of all for the folder itself.
pub fn enter_new(
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
        Owner::User { uid, gid } => become_user(above, uid, gid, &[]).map(Some),
        Owner::Root if walked.found.is_open() && !walked.found.is_sticky() => {
            Err(refusal(above, &open_to_others(&walked.found)))
        }
        Owner::Root => Ok(None),
    }
}

fn become_user(folder: &Path, uid: u32, gid: u32, secrets: &[&Path]) -> Result<Became, Failure> {
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
    let group = account.as_ref().map_or(gid, |account| account.gid);
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
pub fn refusal(folder: &Path, why: &Unsafe) -> Failure {
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

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// What to do about a file or folder that cannot be had: the error's own remedy where it has one.
pub fn hint(error: &io::Error, otherwise: impl Into<String>) -> String {
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
pub fn hint_to_read(error: &io::Error, otherwise: impl Into<String>) -> String {
    match BECAME.get() {
        Some(uid) if error.kind() == io::ErrorKind::PermissionDenied => format!(
            "root started the program, which has become the user {}: let that user read the file (chgrp, chmod g+r), or restart the program",
            name_of(*uid)
        ),
        _ => hint(error, otherwise),
    }
}
