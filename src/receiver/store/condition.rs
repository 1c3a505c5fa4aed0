//! Whether the store can be written at all, looked at once a second by a thread of its own and after
//! every fault. Requests read the result, an atomic pointer, and never ask the disk for it.
//!
//! 1. What is looked at: the marker is the file that it was at the start (else the disk was unmounted
//!    or the folder moved), the mount takes writes, incoming/ and episodes/ may be written in, and
//!    inodes are left. While one of these is not so, uploads are answered 503.
//! 2. A fault that none of these explains closes nothing: the next upload is tried. But health says no
//!    until one went through, or a file of our own did, once a minute.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::layout::Layout;
use super::store_dir::PROBE;
use crate::file_identity::FileIdentity;
use crate::mounts::{Mount, READ_ONLY_REMEDY};
use crate::receiver::data_dir::DataDir;
use crate::sync::lock;
use crate::{durable, events, owner, sys};

/// After a fault, a file of our own is written so often until that works.
const PROBE_EVERY: Duration = Duration::from_secs(60);
/// An upload needs one for its file and one for a new host's folder; our own small files the others.
const INODES_MIN: u64 = 4;

/// Why the store cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unwritable {
    /// The marker is not there any more.
    Gone,
    /// There is a marker, and it is another file.
    Another,
    /// By this mount option.
    ReadOnly(String),
    FolderGone(&'static str),
    NotAllowed {
        folder: &'static str,
        user: String,
    },
    NoInodes {
        left: u64,
    },
    /// It cannot be asked.
    Unreadable {
        folder: &'static str,
        why: String,
    },
    /// A fault that the above do not explain. Uploads are tried.
    Failed(String),
}

impl Unwritable {
    /// In a few words, for one line of status.
    pub(crate) fn short(&self) -> &'static str {
        match self {
            Unwritable::Gone => "its disk is unmounted or data_dir moved",
            Unwritable::Another => "another store is mounted on data_dir",
            Unwritable::ReadOnly(_) => "its disk is read-only: see dmesg",
            Unwritable::FolderGone(_) => "a folder of data_dir is gone",
            Unwritable::NotAllowed { .. } => "data_dir is not writable for this user",
            Unwritable::NoInodes { .. } => "no inodes are left",
            Unwritable::Unreadable { .. } => "data_dir cannot be read: see dmesg",
            Unwritable::Failed(_) => "a write failed: see the log and dmesg",
        }
    }

    /// What a person does about it.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Unwritable::Gone => "mount the disk again (findmnt, lsblk), or move data_dir back; if it was mounted anew: systemctl restart cis490-receiver".to_owned(),
            Unwritable::Another => "systemctl restart cis490-receiver, if that is the store's disk; otherwise mount the right one".to_owned(),
            Unwritable::ReadOnly(_) => READ_ONLY_REMEDY.to_owned(),
            Unwritable::FolderGone(folder) => format!(
                "move {folder}/ back into data_dir; if it is lost, cis490 init makes an empty one"
            ),
            Unwritable::NotAllowed { folder, user } => format!(
                "give {folder} to the user of the receiver and let it write there: sudo chown {user}, sudo chmod u+rwx"
            ),
            Unwritable::NoInodes { .. } => "remove or move small files on the disk of data_dir (df -i; du --inodes -x | sort -n): it has room for bytes, and none for names".to_owned(),
            Unwritable::Unreadable { .. } => "look at the disk (dmesg, smartctl) and at its mount (findmnt)".to_owned(),
            Unwritable::Failed(_) => "look in the log (store_fault) and at the disk (dmesg, smartctl); uploads are tried meanwhile, and one that goes through ends this".to_owned(),
        }
    }
}

/// The cause in words.
impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unwritable::Gone => f.write_str(
                "the store is gone: data_dir has no file cis490-store any more, so its disk was unmounted or the folder moved",
            ),
            Unwritable::Another => f.write_str(
                "data_dir is another store now than the one that this receiver opened: a disk was mounted over it, or anew",
            ),
            Unwritable::ReadOnly(option) => {
                write!(f, "the disk of data_dir is read-only (mount option {option})")
            }
            Unwritable::FolderGone(folder) => {
                write!(f, "the folder {folder}/ is gone from data_dir")
            }
            Unwritable::NotAllowed { folder, user } => {
                write!(f, "{folder} is not writable for the user {user}, which the receiver runs as")
            }
            Unwritable::NoInodes { left } => write!(
                f,
                "the disk of data_dir has {left} inodes left: no file can be made, however many bytes are free"
            ),
            Unwritable::Unreadable { folder, why } => {
                write!(f, "{folder} cannot be read: {why}")
            }
            Unwritable::Failed(why) => write!(f, "the store failed when it was written last: {why}"),
        }
    }
}

/// The condition of one store, shared by all that serve it.
pub(crate) struct Condition {
    layout: Layout,
    home: DataDir,
    /// What the last look found.
    found: ArcSwapOption<Unwritable>,
    /// A fault after which nothing has gone through yet.
    failed: ArcSwapOption<Failed>,
    /// The cause that was logged last, so that a change is logged once.
    logged: Mutex<Option<Unwritable>>,
}

struct Failed {
    why: Unwritable,
    /// Or the last time that our own file was tried.
    at: Instant,
}

impl Condition {
    pub(crate) fn new(layout: Layout, home: DataDir) -> Arc<Condition> {
        Arc::new(Condition {
            layout,
            home,
            found: ArcSwapOption::empty(),
            failed: ArcSwapOption::empty(),
            logged: Mutex::new(None),
        })
    }

    pub(crate) fn home(&self) -> &DataDir {
        &self.home
    }

    /// Why the store takes no upload, as far as is known. No I/O and no lock.
    pub(crate) fn unwritable(&self) -> Option<Arc<Unwritable>> {
        self.found.load_full()
    }

    /// Why health says no: that, or a fault after which nothing has gone through. No I/O and no lock.
    pub(crate) fn unwell(&self) -> Option<Arc<Unwritable>> {
        let failed = || {
            self.failed
                .load()
                .as_ref()
                .map(|failed| Arc::new(failed.why.clone()))
        };
        self.unwritable().or_else(failed)
    }

    /// incoming/, the index or the marker could not be read or written.
    pub(crate) fn failed(&self, doing: &str, error: &io::Error) {
        self.failed.store(Some(Arc::new(Failed {
            why: Unwritable::Failed(format!("{doing}: {error}")),
            at: Instant::now(),
        })));
    }

    /// An upload was stored.
    pub(crate) fn went_through(&self) {
        if self.failed.load().is_some() {
            self.failed.store(None);
        }
    }

    /// Looks now, on a plain thread.
    pub(crate) fn look(&self) -> Option<Arc<Unwritable>> {
        let found = look(&self.layout, &self.home).err().map(Arc::new);
        self.found.store(found.clone());
        if found.is_some() {
            // That explains a fault of before, and when it has passed so has the fault.
            self.failed.store(None);
        }
        self.log_change();
        found
    }

    /// Writes and syncs a file of our own, if a minute has passed since a fault.
    pub(crate) fn probe_if_due(&self, now: Instant) {
        let Some(failed) = self.failed.load_full() else {
            return;
        };
        if self.found.load().is_some() || now.saturating_duration_since(failed.at) < PROBE_EVERY {
            return;
        }
        let next = match write_probe(&self.layout, &self.home) {
            Ok(()) => None,
            Err(_) => Some(Arc::new(Failed {
                why: failed.why.clone(),
                at: now,
            })),
        };
        // A fault that came meanwhile stays.
        self.failed.compare_and_swap(&failed, next);
        self.log_change();
    }

    fn log_change(&self) {
        let mut logged = lock(&self.logged);
        let found = self.unwell().map(|found| (*found).clone());
        if *logged == found {
            return;
        }
        match &found {
            Some(found) => {
                events::store_unwritable(self.layout.root(), &found.to_string(), &found.remedy());
            }
            None => events::store_writable(self.layout.root()),
        }
        *logged = found;
    }
}

/// Why the store of `data_dir` cannot be written by this user, looked at by a process that does not
/// serve it.
pub(crate) fn unwritable(data_dir: &Path) -> Option<Unwritable> {
    let home = DataDir::open(data_dir).ok()?;
    look(&Layout::new(data_dir), &home).err()
}

fn look(layout: &Layout, home: &DataDir) -> Result<(), Unwritable> {
    match FileIdentity::at(&layout.marker()) {
        Ok(Some(found)) if Some(found) == home.marker() => {}
        Ok(Some(_)) => return Err(Unwritable::Another),
        Ok(None) => return Err(Unwritable::Gone),
        Err(error) => return Err(of_error("data_dir", &error, Unwritable::Gone)),
    }
    let incoming = layout.incoming();
    if let Some(mount) = Mount::of(&incoming)
        && let Some(option) = mount.read_only()
    {
        return Err(Unwritable::ReadOnly(option.to_owned()));
    }
    for (name, dir) in [("incoming", &incoming), ("episodes", &layout.episodes())] {
        sys::may_write_in(dir)
            .map_err(|error| of_error(name, &error, Unwritable::FolderGone(name)))?;
    }
    match sys::free_inodes(&incoming) {
        Ok(Some(left)) if left < INODES_MIN => Err(Unwritable::NoInodes { left }),
        // Where they are not counted, or cannot be asked for, an upload finds out.
        _ => Ok(()),
    }
}

fn of_error(folder: &'static str, error: &io::Error, gone: Unwritable) -> Unwritable {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => gone,
        io::ErrorKind::ReadOnlyFilesystem => Unwritable::ReadOnly("ro".to_owned()),
        io::ErrorKind::PermissionDenied => Unwritable::NotAllowed {
            folder,
            user: owner::name_of(sys::effective_user()),
        },
        _ => Unwritable::Unreadable {
            folder,
            why: error.to_string(),
        },
    }
}

/// What an upload needs of incoming/, with a file that nobody else has.
fn write_probe(layout: &Layout, home: &DataDir) -> io::Result<()> {
    home.check()?;
    let path = layout.incoming().join(PROBE);
    durable::unlink(&path)?;
    let written = durable::create_new(&path)
        .and_then(|file| {
            durable::write_at(&file, b"a probe of the receiver's own\n", 0)?;
            durable::sync_file(&file)
        })
        .and_then(|()| durable::sync_dir(&layout.incoming()));
    let removed = durable::unlink(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::receiver::store::store_dir;
    use crate::receiver::store::testing::Folder;

    fn condition(folder: &Folder) -> Arc<Condition> {
        store_dir::make(folder.path()).unwrap();
        let home = DataDir::open(folder.path()).unwrap();
        Condition::new(Layout::new(folder.path()), home)
    }

    #[test]
    fn each_cause_is_named_and_passes() {
        let folder = Folder::new("condition");
        let condition = condition(&folder);
        let at = |name: &str| folder.path().join(name);
        assert_eq!(condition.look(), None);
        for (name, wanted) in [
            ("incoming", Unwritable::FolderGone("incoming")),
            ("episodes", Unwritable::FolderGone("episodes")),
            ("cis490-store", Unwritable::Gone),
        ] {
            fs::rename(at(name), at("away")).unwrap();
            assert_eq!(condition.look().as_deref(), Some(&wanted));
            assert_eq!(condition.home().check().is_ok(), wanted != Unwritable::Gone);
            fs::rename(at("away"), at(name)).unwrap();
            assert_eq!(condition.look(), None);
        }
        fs::copy(at("cis490-store"), at("other")).unwrap();
        fs::rename(at("other"), at("cis490-store")).unwrap();
        assert_eq!(condition.look().as_deref(), Some(&Unwritable::Another));
        assert!(condition.home().check().is_err());
    }

    #[test]
    fn a_fault_is_over_with_an_upload_or_with_a_probe_a_minute_later() {
        let folder = Folder::new("condition");
        let condition = condition(&folder);
        let fault = io::Error::from_raw_os_error(libc::EIO);
        condition.failed("write the body", &fault);
        assert!(condition.unwritable().is_none());
        let unwell = condition.unwell().unwrap();
        assert!(unwell.to_string().contains("write the body"));
        condition.went_through();
        assert!(condition.unwell().is_none());

        condition.failed("write the body", &fault);
        let now = Instant::now();
        condition.probe_if_due(now + PROBE_EVERY / 2);
        assert!(condition.unwell().is_some(), "it is not due yet");
        let incoming = folder.path().join("incoming");
        fs::rename(&incoming, folder.path().join("away")).unwrap();
        condition.probe_if_due(now + PROBE_EVERY * 2);
        assert!(condition.unwell().is_some(), "it failed");
        fs::rename(folder.path().join("away"), &incoming).unwrap();
        condition.probe_if_due(now + PROBE_EVERY * 2 + PROBE_EVERY / 2);
        assert!(condition.unwell().is_some(), "a minute after that");
        condition.probe_if_due(now + PROBE_EVERY * 4);
        assert!(condition.unwell().is_none());
        assert_eq!(fs::read_dir(incoming).unwrap().count(), 0);
    }
}
