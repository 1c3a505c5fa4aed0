//! What makes a folder a store, and which process may work in it: the marker, the lock, hard links.
//!
//! 1. Only `cis490 init` writes the marker, last of all. A typo or a disk that is not mounted has
//!    none, so neither can begin an empty store.
//! 2. The marker has the store's id, which is random and stays. A store of an older version is given
//!    one by the first start of a receiver.
//! 3. A process that works in the folder holds the lock, from before its first look until its end.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::ATTRIBUTE;
use super::layout::Layout;
use super::marker;
use crate::failure::Failure;
use crate::folder_lock::{FolderLock, NoLock, holder};
use crate::names::StoreId;
use crate::{durable, events, folder_lock, owner, sys};

/// How long [`enter`] waits for the lock: `status` and `doctor` hold it for an instant when they look
/// whether a receiver runs.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

/// The name of the file that we try links and attributes with.
pub(crate) const PROBE: &str = ".probe";

/// What [`make`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// It was a store before.
    Already,
    /// A folder with other things in it became one.
    Adopted,
    New,
}

/// Makes `root` a store, or completes one. Doing it twice is as doing it once.
pub(crate) fn make(root: &Path) -> Result<Made, Failure> {
    make_with_id(root, None)
}

/// As [`make`]. A new store gets `id`, or else a random one.
///
/// Errors: the folder cannot be made; or it is a store already, and `id` is not its id.
pub(crate) fn make_with_id(root: &Path, id: Option<StoreId>) -> Result<Made, Failure> {
    let layout = Layout::new(root);
    if layout.marker().exists() {
        let marker = marker::check(&layout, Path::new(""))?;
        check_wanted_id(root, marker.id, id)?;
    }
    make_all(&layout, id).map_err(|error| {
        Failure::new(
            format!("cannot make a store of {}: {error}", root.display()),
            owner::hint(&error, "look at the folder and at its disk (ls -l, dmesg)"),
        )
    })
}

/// A store's id stays: its readers and the objects of its archive know it.
fn check_wanted_id(
    root: &Path,
    has: Option<StoreId>,
    wanted: Option<StoreId>,
) -> Result<(), Failure> {
    if wanted.is_none() || wanted == has {
        return Ok(());
    }
    let root = root.display();
    let what = match has {
        Some(id) => format!("{root} is a store already, and its id is {id}"),
        None => format!("{root} is a store already; it gets an id when a receiver starts on it"),
    };
    Err(Failure::new(
        what,
        "--store-id is for a new disk: leave it out, or name another folder",
    ))
}

fn make_all(layout: &Layout, id: Option<StoreId>) -> io::Result<Made> {
    let was_store = layout.marker().exists();
    let was_filled = layout.root().is_dir() && fs::read_dir(layout.root())?.next().is_some();
    make_with_parents(layout.root())?;
    for dir in layout.folders() {
        make_inner(&dir)?;
    }
    if was_store {
        return Ok(Made::Already);
    }
    let id = id.map_or_else(marker::random_id, Ok)?;
    durable::publish(&layout.marker(), marker::text(id).as_bytes())?;
    Ok(if was_filled { Made::Adopted } else { Made::New })
}

/// As `mkdir -p`, and the names stay.
pub(crate) fn make_with_parents(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    make_with_parents(durable::parent(dir))?;
    durable::make_dir(dir)
}

/// Makes a folder of the store's. An error names the folder, since it may be the only one that is not
/// what it should be.
pub(crate) fn make_inner(dir: &Path) -> io::Result<()> {
    durable::make_dir(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))
}

/// Enters the store to work in it. The lock is held until the returned value is dropped.
///
/// `config_path` is for the command that a person types to make the folder a store.
pub(crate) fn enter(layout: &Layout, config_path: &Path) -> Result<FolderLock, Failure> {
    marker::check(layout, config_path)?;
    owner::check_inner(&layout.folders(), "receiver")?;
    let lock = FolderLock::take(layout.root(), &layout.lock(), LOCK_PATIENCE);
    lock.map_err(|no_lock| not_in(layout, no_lock))
}

/// Enters to change nothing: a missing lock file is not made.
pub(crate) fn enter_as_it_is(layout: &Layout, config_path: &Path) -> Result<FolderLock, Failure> {
    marker::check(layout, config_path)?;
    owner::check_inner(&layout.folders(), "receiver")?;
    let lock = FolderLock::take_as_it_is(layout.root(), &layout.lock(), LOCK_PATIENCE);
    lock.map_err(|no_lock| not_in(layout, no_lock))
}

fn not_in(layout: &Layout, no_lock: NoLock) -> Failure {
    match no_lock {
        NoLock::Taken => holder::refused(layout.root(), &layout.lock()),
        NoLock::Io(error) => Failure::new(
            format!("cannot open the lock {}: {error}", layout.lock().display()),
            owner::hint(&error, "look at the folder and at its disk (ls -l, dmesg)"),
        ),
    }
}

/// As [`enter_as_it_is`], or beside the receiver that works in the folder: then `None`. A command that works there
/// is waited for, as ever.
pub(crate) fn enter_or_look_on(
    layout: &Layout,
    config_path: &Path,
) -> Result<Option<FolderLock>, Failure> {
    let has_receiver =
        is_in_use(layout.root()) == Some(true) && noted_address(layout.root()).is_some();
    if !has_receiver {
        return enter_as_it_is(layout, config_path).map(Some);
    }
    marker::check(layout, config_path)?;
    owner::check_inner(&layout.folders(), "receiver")?;
    Ok(None)
}

/// Whether the folder is a store that this program knows; nothing is locked or changed.
pub(crate) fn look(data_dir: &Path, config_path: &Path) -> Result<(), Failure> {
    marker::check(&Layout::new(data_dir), config_path).map(|_| ())
}

/// Whether somebody holds the lock now; `None` if that cannot be seen.
pub(crate) fn is_in_use(data_dir: &Path) -> Option<bool> {
    FolderLock::is_taken(data_dir, &Layout::new(data_dir).lock())
}

/// The address that the receiver in this folder has noted; `None` if it has not, or noted no address.
pub(crate) fn noted_address(data_dir: &Path) -> Option<SocketAddr> {
    folder_lock::noted(&Layout::new(data_dir).lock())?
        .parse()
        .ok()
}

/// Enters only to read, beside a process that works there: one such reader at a time.
pub(crate) fn enter_to_look(layout: &Layout, config_path: &Path) -> Result<File, Failure> {
    marker::check(layout, config_path)?;
    // The marker is there for good, and nobody else locks it.
    let marker = durable::open_regular(&layout.marker())
        .and_then(|marker| marker.try_lock().map(|()| marker).map_err(io::Error::from));
    marker.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Failure::new(
            format!("another cis490 scrub reads {}", layout.root().display()),
            "one at a time: wait for it, or end it; the next one goes on where it was",
        ),
        _ => Failure::new(
            format!("cannot lock {}: {error}", layout.marker().display()),
            owner::hint(&error, "look at the folder and at its disk (ls -l, dmesg)"),
        ),
    })
}

/// Tries hard links and attributes, which the store is built on. A filesystem without hard links is refused; one without
/// attributes is named; a full one is no reason not to start.
///
/// Returns whether the filesystem has attributes, as far as is known.
pub(crate) fn probe(layout: &Layout) -> Result<bool, Failure> {
    let from = layout.incoming().join(PROBE);
    let to = layout.episodes().join(PROBE);
    match try_links(layout, &from, &to) {
        Err(error) if durable::is_full(&error) => Ok(true),
        tried => tried.map_err(|error| why_not(layout, &error)),
    }
}

fn try_links(layout: &Layout, from: &Path, to: &Path) -> io::Result<bool> {
    remove_both(from, to)?;
    let mut options = File::options();
    let file = durable::open_regular_with(from, options.write(true).create_new(true))?;
    let mut has_attributes = true;
    match sys::set_xattr(&file, ATTRIBUTE, b"{}") {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            has_attributes = false;
            events::no_attributes(layout.root());
        }
        Err(error) if !durable::is_full(&error) => events::store_untidy(from, error),
        _ => {}
    }
    let linked = durable::link_new(from, to);
    remove_both(from, to)?;
    linked.map(|()| has_attributes)
}

fn remove_both(from: &Path, to: &Path) -> io::Result<()> {
    durable::unlink(from)?;
    durable::unlink(to)
}

fn why_not(layout: &Layout, error: &io::Error) -> Failure {
    let root = layout.root().display();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS) => Failure::new(
            format!("{root} is on a filesystem without hard links ({error})"),
            "put data_dir on ext4, xfs, btrfs or f2fs; exFAT and FAT cannot hold a store",
        ),
        Some(libc::EXDEV) => Failure::new(
            format!("incoming and episodes in {root} are on different filesystems"),
            "mount the disk on data_dir itself, so that both are on it",
        ),
        Some(libc::ENOENT) => Failure::new(
            format!("incoming or episodes is missing in {root}"),
            "if it is on a disk of its own, mount that; else cis490 init makes it again",
        ),
        _ => Failure::new(
            format!("cannot write in {root}: {error}"),
            owner::hint(error, "look at the folder and at its disk (ls -l, dmesg)"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::receiver::store::testing::Folder;

    #[test]
    fn init_twice_is_as_once_and_adopts_what_is_there() {
        let folder = Folder::new("init");
        let root = folder.path().join("a/b");
        assert_eq!(make(&root).unwrap(), Made::New);
        assert_eq!(make(&root).unwrap(), Made::Already);
        let filled = folder.path().join("filled");
        fs::create_dir_all(filled.join("episodes/lab-1")).unwrap();
        fs::write(filled.join("episodes/lab-1/ep.tar.zst"), b"stays").unwrap();
        assert_eq!(make(&filled).unwrap(), Made::Adopted);
        let kept = fs::read(filled.join("episodes/lab-1/ep.tar.zst")).unwrap();
        assert_eq!(kept, b"stays");
        assert!(filled.join("incoming").is_dir());
    }

    #[test]
    fn a_folder_without_the_marker_is_refused_with_the_command_to_type() {
        let folder = Folder::new("marker");
        let enter = |root: &Path| {
            let words = enter(&Layout::new(root), Path::new("x.toml")).unwrap_err();
            words.to_string()
        };
        let words = enter(folder.path());
        assert!(words.contains("is not a store"), "{words}");
        let command = format!(
            "cis490 init --config x.toml --data-dir {}",
            folder.path().display()
        );
        assert!(words.contains(&command), "{words}");
        let words = enter(&folder.path().join("absent"));
        assert!(words.contains("does not exist"), "{words}");
        make(folder.path()).unwrap();
        fs::write(
            folder.path().join("cis490-store"),
            "cis490 store, format 9\n",
        )
        .unwrap();
        let words = enter(folder.path());
        assert!(words.contains("format 9"), "{words}");
        assert!(make(folder.path()).is_err());
    }

    #[test]
    fn only_one_may_be_in() {
        let folder = Folder::new("lock");
        make(folder.path()).unwrap();
        let layout = Layout::new(folder.path());
        let lock = enter(&layout, Path::new("x.toml")).unwrap();
        let words = enter(&layout, Path::new("x.toml")).unwrap_err().to_string();
        assert!(words.contains("another cis490"), "{words}");
        drop(lock);
        enter(&layout, Path::new("x.toml")).unwrap();
    }

    #[test]
    fn the_probe_leaves_nothing_and_mounts_are_named() {
        let folder = Folder::new("probe");
        make(folder.path()).unwrap();
        let layout = Layout::new(folder.path());
        fs::write(layout.incoming().join(PROBE), b"of a killed run").unwrap();
        probe(&layout).unwrap();
        for dir in [layout.incoming(), layout.episodes()] {
            assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
        }
        let elsewhere = Path::new("/dev/shm");
        let Ok(there) = fs::metadata(elsewhere) else {
            eprintln!("skipped: no /dev/shm here to stand for another filesystem");
            return;
        };
        if there.dev() == fs::metadata(folder.path()).unwrap().dev() {
            eprintln!("skipped: /dev/shm is the filesystem of the temporary folder");
            return;
        }
        fs::remove_dir(layout.incoming()).unwrap();
        std::os::unix::fs::symlink(elsewhere, layout.incoming()).unwrap();
        let words = probe(&layout).unwrap_err().to_string();
        assert!(words.contains("different filesystems"), "{words}");
    }
}
