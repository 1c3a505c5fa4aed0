//! Files that are still there after the plug is pulled: every fsync, link and rename of the crate.
//!
//! 1. A name is made by `link` (refuses to replace) or `rename` (replaces), never by writing to it.
//! 2. A name counts as made once its directory is synced; until then a power cut may take it back.
//! 3. A failed fsync is never retried on the same file: the kernel has dropped the pages it could
//!    not write, and a second fsync would say yes to data that is gone.
//!
//! 4. Whatever is opened under a name that somebody else may have made is opened here too: no link is
//!    followed at its end, nothing is waited for, and it must be a regular file. A FIFO, a folder or a
//!    device in its place is an error in words, and holds nobody up.
//!
//! Each effect is preceded by a named [`step`]. In debug builds the environment can stop the
//! process at a step, fail it, slow the syncs or write the names down, so that tests walk every
//! crash and compare the order with the one the design states; release builds have none of it.
//!
//! | variable | effect in a debug build |
//! | --- | --- |
//! | `CIS490_CRASH_AT=N` | abort before the Nth step |
//! | `CIS490_FAIL_AT=N`, `CIS490_FAIL_FROM=N` | the Nth step, or every step from it on, is an error |
//! | `CIS490_FAIL_ON=N:TEXT` | the Nth step whose name and paths contain TEXT is an error |
//! | `CIS490_HOLD_SYNCS=FILE` | no sync ends while FILE has a line that its name and path contain |
//! | `CIS490_FAIL_ERRNO=E` | which error (default 5, EIO) |
//! | `CIS490_STEPS=FILE` | append each step's name and paths to FILE, and `synced` where a sync has ended |
//! | `CIS490_SYNC_DELAY_MS=D` | every sync takes D ms longer |

mod removal;

use std::ffi::CStr;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::histogram::Histogram;
use crate::sys;

/// How long the syncs of this process took, whether they failed or not.
pub(crate) struct SyncTimes {
    pub file: Histogram<SYNC_BUCKETS>,
    pub data: Histogram<SYNC_BUCKETS>,
    pub dir: Histogram<SYNC_BUCKETS>,
}

const SYNC_BUCKETS: usize = 12;

pub(crate) static SYNC_TIMES: SyncTimes = {
    // An SD card takes 5 to 100 ms, and seconds when it tidies up.
    const BOUNDS_MS: [u64; SYNC_BUCKETS] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000];
    SyncTimes {
        file: Histogram::new(BOUNDS_MS),
        data: Histogram::new(BOUNDS_MS),
        dir: Histogram::new(BOUNDS_MS),
    }
};

fn timed<T>(times: &Histogram<SYNC_BUCKETS>, sync: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    slow_sync();
    let done = sync();
    times.add(began.elapsed());
    done
}

/// Makes `bytes` appear at `path` whole or not at all, replacing what was there, and still be
/// there after the plug is pulled.
///
///     create(tmp)  write(tmp)  fsync(tmp)  rename(tmp, path)  fsync(dir)
///
/// A crash can leave `<path>.tmp`, which the next call replaces.
pub(crate) fn publish(path: &Path, bytes: &[u8]) -> io::Result<()> {
    publish_as(path, bytes, |_| Ok(()))
}

/// As [`publish`], with whatever `dress` does to the file before it has its name: its mode and
/// owner, so that at no instant anybody finds it with others.
pub(crate) fn publish_as(
    path: &Path,
    bytes: &[u8],
    dress: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let tmp = tmp_beside(path);
    let mut file = create(&tmp)?;
    dress(&file)?;
    step_on("write", || name_of(&tmp))?;
    file.write_all(bytes)?;
    sync_file(&file)?;
    rename(&tmp, path)?;
    sync_dir(parent(path))
}

/// Makes one directory, and its name stay. One that exists is fine, and synced too: the run that
/// made it may have been killed before it did.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    mkdir(path)?;
    sync_dir(parent(path))
}

/// Makes one directory and leaves the sync of its parent to the caller, who may have more names
/// to make there. One that exists is fine: true if it was made.
pub(crate) fn mkdir(path: &Path) -> io::Result<bool> {
    step_on("mkdir", || name_of(path))?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = path.symlink_metadata()?;
            if found.is_dir() {
                return Ok(false);
            }
            Err(wrong_kind(found.file_type(), "a directory"))
        }
        other => other.map(|()| true),
    }
}

/// A new, empty file to write and read. `AlreadyExists` if the name is taken.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    step_on("create", || name_of(path))?;
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

/// A new, empty file to write, in place of whatever file had the name: what was there before is not
/// written to, so that a link leads nowhere.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    step_on("create", || name_of(path))?;
    let create_new = || File::options().write(true).create_new(true).open(path);
    match create_new() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create_new()
        }
        made => made,
    }
}

/// Opens a file to read. See rule 4.
///
/// Errors: as `File::open`; or it is no regular file.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    open_regular_with(path, File::options().read(true))
}

/// As [`open_regular`], with options of the caller's: to write, to append, to make it if it is not
/// there. It is never truncated.
pub(crate) fn open_regular_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    open_regular_flagged(path, options, 0)
}

/// As [`open_regular_with`], with more of `open`'s flags.
pub(crate) fn open_regular_flagged(
    path: &Path,
    options: &mut OpenOptions,
    flags: libc::c_int,
) -> io::Result<File> {
    let opened = options.custom_flags(sys::open_flags() | flags).open(path);
    let file = opened.map_err(|error| why_not_regular(path, error))?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() {
        return Err(wrong_kind(kind, "a regular file"));
    }
    Ok(file)
}

/// The whole of a file, of which a person or this program has made at most `bytes_max`.
///
/// Errors: as [`open_regular`]; or it is longer.
pub(crate) fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_regular(path)?;
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let why = format!("it has more than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// Opens a directory, whose own name may be a link: to sync or to lock it.
pub(crate) fn open_dir(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK);
    options.open(path)
}

/// What open says of a link, a socket, or a FIFO that nobody reads, in words.
fn why_not_regular(path: &Path, error: io::Error) -> io::Error {
    let may_be_of_its_kind = matches!(
        error.raw_os_error(),
        Some(libc::ELOOP | libc::ENXIO | libc::EISDIR)
    );
    match path.symlink_metadata() {
        Ok(found) if may_be_of_its_kind && !found.is_file() => {
            wrong_kind(found.file_type(), "a regular file")
        }
        _ => error,
    }
}

fn wrong_kind(found: FileType, wanted: &str) -> io::Error {
    let what = kind_words(found);
    io::Error::other(format!(
        "it is {what} and not {wanted}: look who made it, and remove it"
    ))
}

/// What something that is no regular file is, with its article.
pub(crate) fn kind_words(kind: FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a file"
    } else {
        "a device"
    }
}

/// Allocates `bytes` of disk and leaves the size, so that a full disk says so now.
pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    step_on("allocate", || name_of_open(file))?;
    sys::fallocate_keep_size(file, bytes)
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    step_on("write", || name_of_open(file))?;
    file.write_all_at(bytes, offset)
}

/// Sets an extended attribute. `Unsupported` where the filesystem has none.
pub(crate) fn set_attribute(file: &File, name: &CStr, value: &[u8]) -> io::Result<()> {
    step_on("attribute", || name_of_open(file))?;
    sys::set_xattr(file, name, value)
}

/// Whether an error says that the disk has no room left: the floor, inodes or a quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Cuts a file back to `bytes`.
pub(crate) fn truncate(file: &File, bytes: u64) -> io::Result<()> {
    step_on("truncate", || name_of_open(file))?;
    file.set_len(bytes)
}

/// Appends in one write. What a crash or an error may leave of it is an unterminated tail.
pub(crate) fn append(file: &File, bytes: &[u8]) -> io::Result<()> {
    let mut file = file;
    if let Err(error) = step_on("append", || name_of_open(file)) {
        // As on a disk that fills up in the middle of it.
        let _ = file.write_all(&bytes[..bytes.len() / 2]);
        return Err(error);
    }
    file.write_all(bytes)
}

/// `fsync`: the file's data, size and attributes are on the disk.
pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    step_on("fsync file", || name_of_open(file))?;
    timed(&SYNC_TIMES.file, || file.sync_all())?;
    synced("fsync file", || name_of_open(file));
    Ok(())
}

/// `fdatasync`: the file's data and size are on the disk.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    step_on("fdatasync", || name_of_open(file))?;
    timed(&SYNC_TIMES.data, || file.sync_data())?;
    synced("fdatasync", || name_of_open(file));
    Ok(())
}

/// `fsync` of a directory: the names made and removed in it so far stay so.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    step_on("fsync dir", || name_of(path))?;
    timed(&SYNC_TIMES.dir, || open_dir(path)?.sync_all())?;
    synced("fsync dir", || name_of(path));
    Ok(())
}

/// A second name for a file. `AlreadyExists` if the name is taken: it never replaces.
pub(crate) fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    step_on("link", || names_of(from, to))?;
    fs::hard_link(from, to)
}

/// Moves a file or directory over whatever file is there.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step_on("rename", || names_of(from, to))?;
    fs::rename(from, to)
}

/// Moves a file or directory to a free name. `AlreadyExists` if it is taken.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    step_on("rename", || names_of(from, to))?;
    sys::rename_no_replace(from, to)
}

/// Removes a file's name. One that is gone already is fine.
pub(crate) fn unlink(path: &Path) -> io::Result<()> {
    step_on("unlink", || name_of(path))?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a directory with all that is in it, however deep it is: see `removal`. A crash may leave a
/// part, or a power cut all of it.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    step_on("remove tree", || name_of(path))?;
    removal::remove_all(path)
}

/// The directory that holds `path`'s name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn tmp_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// The instant before an effect that is of no path: where a debug build can be told to crash or fail.
pub(crate) fn step(name: &'static str) -> io::Result<()> {
    step_on(name, String::new)
}

fn name_of(path: &Path) -> String {
    path.display().to_string()
}

fn names_of(from: &Path, to: &Path) -> String {
    format!("{} {}", from.display(), to.display())
}

fn name_of_open(file: &File) -> String {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::read_link(link).map_or("?".to_owned(), |path| name_of(&path))
}

/// The same before an effect on what `paths` names.
#[cfg(not(debug_assertions))]
#[inline(always)]
fn step_on(_name: &'static str, _paths: impl FnOnce() -> String) -> io::Result<()> {
    Ok(())
}

#[cfg(not(debug_assertions))]
#[inline(always)]
fn slow_sync() {}

#[cfg(not(debug_assertions))]
#[inline(always)]
fn synced(_name: &'static str, _path: impl FnOnce() -> String) {}

#[cfg(debug_assertions)]
use faults::{slow_sync, step_on, synced};

#[cfg(debug_assertions)]
mod faults {
    use std::fs::OpenOptions;
    use std::io::{self, Write};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    /// Steps taken by this process so far.
    static COUNT: AtomicU64 = AtomicU64::new(0);

    struct Plan {
        crash_at: Option<u64>,
        fail_at: Option<u64>,
        fail_from: Option<u64>,
        fail_on: Option<(u64, String)>,
        errno: i32,
        hold_file: Option<String>,
        steps_file: Option<String>,
        sync_delay: Option<Duration>,
    }

    /// Steps so far whose text is that of `CIS490_FAIL_ON`.
    static MATCHED: AtomicU64 = AtomicU64::new(0);

    fn plan() -> &'static Plan {
        static PLAN: OnceLock<Plan> = OnceLock::new();
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        PLAN.get_or_init(|| Plan {
            crash_at: number("CIS490_CRASH_AT"),
            fail_at: number("CIS490_FAIL_AT"),
            fail_from: number("CIS490_FAIL_FROM"),
            fail_on: std::env::var("CIS490_FAIL_ON").ok().map(|value| {
                let (nth, text) = value.split_once(':').expect("N:TEXT");
                (nth.parse().expect("N is a number"), text.to_owned())
            }),
            hold_file: std::env::var("CIS490_HOLD_SYNCS").ok(),
            errno: number("CIS490_FAIL_ERRNO").map_or(libc::EIO, |errno| errno as i32),
            steps_file: std::env::var("CIS490_STEPS").ok(),
            sync_delay: number("CIS490_SYNC_DELAY_MS").map(Duration::from_millis),
        })
    }

    pub(super) fn step_on(name: &'static str, paths: impl FnOnce() -> String) -> io::Result<()> {
        let plan = plan();
        let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
        let step = format!("{name} {}", paths());
        if let Some(file) = &plan.steps_file {
            note(file, &step)?;
        }
        if plan.crash_at == Some(number) {
            std::process::abort();
        }
        let fails = plan.fail_at == Some(number) || plan.fail_from.is_some_and(|n| n <= number);
        let is_named = plan.fail_on.as_ref().is_some_and(|(nth, text)| {
            step.contains(text) && MATCHED.fetch_add(1, Ordering::SeqCst) + 1 == *nth
        });
        if fails || is_named {
            return Err(io::Error::from_raw_os_error(plan.errno));
        }
        Ok(())
    }

    fn note(file: &str, line: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(file)?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// A sync is over, once it is not held. No step: nothing can be crashed or failed here.
    pub(super) fn synced(name: &'static str, path: impl FnOnce() -> String) {
        let plan = plan();
        if plan.hold_file.is_none() && plan.steps_file.is_none() {
            return;
        }
        let path = path();
        if let Some(file) = &plan.hold_file {
            let sync = format!("{name} {path}");
            while is_held(file, &sync) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if let Some(file) = &plan.steps_file {
            note(file, &format!("synced {path}")).expect("the steps can be written down");
        }
    }

    fn is_held(file: &str, sync: &str) -> bool {
        let held = std::fs::read_to_string(file).unwrap_or_default();
        held.lines().any(|line| sync.contains(line))
    }

    pub(super) fn slow_sync() {
        if let Some(delay) = plan().sync_delay {
            std::thread::sleep(delay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_replaces_and_leaves_no_temporary() {
        let dir = std::env::temp_dir().join(format!("cis490-durable-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("window.json");
        publish(&path, b"one").unwrap();
        publish(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert_eq!(
            link_new(&path, &path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let other = dir.join("other");
        fs::write(&other, b"stays").unwrap();
        assert_eq!(
            rename_new(&path, &other).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&other).unwrap(), b"stays");
        fs::remove_dir_all(&dir).unwrap();
    }

    /// Whatever lies under a name, it is told in words, at once, and is neither followed nor written.
    #[test]
    fn what_is_no_regular_file_is_neither_read_nor_written() {
        let dir = std::env::temp_dir().join(format!("cis490-regular-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        fs::write(at("victim"), b"stays").unwrap();
        std::os::unix::fs::symlink(at("victim"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("nothing"), at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(at("fifo"))
            .status();
        assert!(made.unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, words) in [
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("folder", "a directory"),
            ("fifo", "a fifo"),
            ("socket", "a socket"),
        ] {
            let path = at(name);
            let writes = || open_regular_with(&path, File::options().write(true).create(true));
            let appends = || open_regular_with(&path, File::options().read(true).append(true));
            for opened in [open_regular(&path), writes(), appends()] {
                let said = opened.unwrap_err().to_string();
                assert!(said.contains(words), "{name}: {said}");
            }
            if name != "folder" {
                let said = mkdir(&path).unwrap_err().to_string();
                assert!(said.contains("and not a directory"), "{name}: {said}");
            }
            let replaced = publish(&path, b"new");
            assert_eq!(replaced.is_ok(), name != "folder", "{name}");
        }
        // Under its temporary name too.
        std::os::unix::fs::symlink(at("victim"), at("state.tmp")).unwrap();
        publish(&at("state"), b"new").unwrap();
        assert_eq!(fs::read(at("victim")).unwrap(), b"stays");
        assert_eq!(read_regular(&at("victim"), 5).unwrap(), b"stays");
        assert!(read_regular(&at("victim"), 4).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
