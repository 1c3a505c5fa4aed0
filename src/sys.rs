//! The system calls that std lacks, each behind a safe function: the only `unsafe` of the crate.

#![allow(unsafe_code)]

mod at;
mod identity;

pub(crate) use self::at::{Open, open_at, open_flags};
pub(crate) use self::identity::{become_user, effective_user, give_open, in_own_session};

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// -1 is an error with errno set; anything else a result.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path with a NUL byte"))
}

// --- files ---

/// Allocates `bytes` of disk for a file without changing its size, so that a full disk says so now.
///
/// Errors: `ENOSPC` and `EDQUOT` when there is no room; `EOPNOTSUPP` (`Unsupported`) where the
/// filesystem cannot.
pub(crate) fn fallocate_keep_size(file: &File, bytes: u64) -> io::Result<()> {
    let length =
        libc::off_t::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    loop {
        // SAFETY: plain integers, and a descriptor that `file` keeps open over the call.
        let result =
            unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, length) };
        match check(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => return other.map(drop),
        }
    }
}

/// From here on writes to this open file go past the page cache, or through it again.
///
/// Errors: `EINVAL` where the filesystem has no direct I/O.
pub(crate) fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    let flag = if is_direct { libc::O_DIRECT } else { 0 };
    // SAFETY: plain integers, and a descriptor that `file` keeps open. Of the flags that this can
    // change, none else is set on a file of ours that is not appended to.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flag) })?;
    Ok(())
}

/// Lets the kernel begin to write what a file has in memory, and waits only where the disk's queue is
/// full. Only a hint: whether it went well is for `fsync` to say, and no error is lost to it.
pub(crate) fn begin_writeback(file: &File) {
    // SAFETY: plain integers, and a descriptor that `file` keeps open over the call.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// The filesystem of a path, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskBytes {
    /// What an unprivileged user may still allocate (`f_bavail`).
    pub free: u64,
    pub total: u64,
}

/// Bytes that an unprivileged user may still allocate on the filesystem of `path`.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    Ok(disk_bytes(path)?.free)
}

pub(crate) fn disk_bytes(path: &Path) -> io::Result<DiskBytes> {
    let stat = statvfs(path)?;
    // The fields' width differs between targets.
    #[allow(clippy::unnecessary_cast)]
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize as u64);
    #[allow(clippy::unnecessary_cast)]
    Ok(DiskBytes {
        free: bytes(stat.f_bavail as u64),
        total: bytes(stat.f_blocks as u64),
    })
}

/// How many files an unprivileged user may still make on the filesystem of `path`; `None` where it
/// does not count them (btrfs).
pub(crate) fn free_inodes(path: &Path) -> io::Result<Option<u64>> {
    let stat = statvfs(path)?;
    // The fields' width differs between targets.
    #[allow(clippy::unnecessary_cast)]
    Ok((stat.f_files > 0).then_some(stat.f_favail as u64))
}

fn statvfs(path: &Path) -> io::Result<libc::statvfs> {
    let path = c_path(path)?;
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: a NUL-terminated path and room for one statvfs, both alive over the call.
    check(unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: statvfs succeeded, so it filled the struct.
    Ok(unsafe { stat.assume_init() })
}

/// Whether this process may make files in a directory, as far as its mode and the mount say. Errors
/// say why not: `PermissionDenied`, `ReadOnlyFilesystem`, `NotFound`, ...
pub(crate) fn may_write_in(dir: &Path) -> io::Result<()> {
    let path = c_path(dir)?;
    // SAFETY: a NUL-terminated path that lives over the call.
    check(unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) }).map(drop)
}

/// Sets an extended attribute. `Unsupported` where the filesystem has none.
pub(crate) fn set_xattr(file: &File, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: name is NUL-terminated, value is passed with its length, the descriptor is open.
    check(unsafe {
        libc::fsetxattr(
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    })
    .map(drop)
}

/// Reads an extended attribute of at most 4 KiB; `None` if it is absent, larger, or the
/// filesystem has none.
pub(crate) fn get_xattr(file: &File, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; 4096];
    // SAFETY: the buffer is writable for the length that is passed; the rest as in set_xattr.
    let length = unsafe {
        libc::fgetxattr(
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    if length < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENODATA | libc::EOPNOTSUPP | libc::ERANGE) => Ok(None),
            _ => Err(error),
        };
    }
    value.truncate(length as usize);
    Ok(Some(value))
}

/// Whether a file has an extended attribute, however large; false where the filesystem has none.
pub(crate) fn has_xattr(file: &File, name: &CStr) -> io::Result<bool> {
    // SAFETY: name is NUL-terminated, the descriptor is open, and no buffer is passed.
    let length =
        unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), std::ptr::null_mut(), 0) };
    if length >= 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENODATA | libc::EOPNOTSUPP) => Ok(false),
        _ => Err(error),
    }
}

/// Opens a directory by its name in an open one (or `..`). `NotADirectory` for anything else, a link
/// to one too.
pub(crate) fn open_dir_at(dir: &File, name: &OsStr) -> io::Result<File> {
    let name = c_path(Path::new(name))?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: a NUL-terminated name that lives over the call, and a descriptor that `dir` keeps open.
    let fd = check(unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags) })?;
    // SAFETY: openat gave us this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Removes the name of whatever is no directory from an open directory. `IsADirectory` for one.
pub(crate) fn unlink_at(dir: &File, name: &OsStr) -> io::Result<()> {
    remove_at(dir, name, 0)
}

/// Removes an empty directory from an open one.
pub(crate) fn remove_dir_at(dir: &File, name: &OsStr) -> io::Result<()> {
    remove_at(dir, name, libc::AT_REMOVEDIR)
}

fn remove_at(dir: &File, name: &OsStr, flags: libc::c_int) -> io::Result<()> {
    let name = c_path(Path::new(name))?;
    // SAFETY: a NUL-terminated name that lives over the call, and a descriptor that `dir` keeps open.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) }).map(drop)
}

/// Names in an open directory, from where it was last listed to: as many as fit 32 KiB, and none at its
/// end. `.` and `..` are left out.
pub(crate) fn list_some(dir: &File) -> io::Result<Vec<OsString>> {
    /// Of one `struct linux_dirent64`: where its length lies, and where its name begins.
    const LENGTH_AT: usize = 16;
    const NAME_AT: usize = 19;
    let mut buffer = vec![0u8; 32 << 10];
    loop {
        // SAFETY: the buffer is writable for the length that is passed, and the descriptor is open.
        let filled = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                dir.as_raw_fd(),
                buffer.as_mut_ptr(),
                buffer.len(),
            )
        };
        if filled < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut names = Vec::new();
        let mut entries = &buffer[..filled as usize];
        while let Some(&[low, high]) = entries.get(LENGTH_AT..NAME_AT - 1) {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let Some(entry) = entries.get(NAME_AT..length) else {
                break;
            };
            let name = entry.split(|&byte| byte == 0).next().unwrap_or(entry);
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
            entries = &entries[length..];
        }
        // One that has no other names than these two is listed to its end.
        if filled == 0 || !names.is_empty() {
            return Ok(names);
        }
    }
}

/// `renameat2` with `RENAME_NOREPLACE`: `AlreadyExists` if `to` is taken. Filesystems that do not
/// know the flag get a look before the rename. Between the two, a name made by another process can
/// be missed; rename itself still refuses to replace a directory that is not empty.
pub(crate) fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    let (from_c, to_c) = (c_path(from)?, c_path(to)?);
    // SAFETY: two NUL-terminated paths that live over the call, and plain integers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from_c.as_ptr(),
            libc::AT_FDCWD,
            to_c.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    match check(result as libc::c_int) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
            match to.symlink_metadata() {
                Ok(_) => Err(io::Error::from_raw_os_error(libc::EEXIST)),
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
                Err(other) => Err(other),
            }
        }
        other => other.map(drop),
    }
}

/// Asks the kernel to drop what it has of a file in memory, so that the disk is read. What it
/// cannot drop stays, which is no fault.
pub(crate) fn forget_cached(file: &File) {
    // SAFETY: plain integers, and a descriptor that `file` keeps open over the call.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

// --- memory ---

/// What a huge page is where pages are of 4 KiB, and what [`huge_halves`] gives in two parts.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Half of a huge page: zeroed memory that begins at a multiple of its size. The page goes back to
/// the system with the second half.
pub(crate) struct HugeHalf {
    page: Arc<HugePage>,
    offset: usize,
}

/// A mapping of our own, twice as long as the page in it, so that the page can be aligned. What
/// lies around the page is never touched, and so takes no memory.
struct HugePage {
    mapping: NonNull<u8>,
    page: NonNull<u8>,
}

// SAFETY: a HugePage owns its mapping, which is bound to no thread, and gives out no reference.
unsafe impl Send for HugePage {}
// SAFETY: as above; the halves that share it reach disjoint parts of it.
unsafe impl Sync for HugePage {}

/// Memory that lies in one piece for the disk too, where the system has a huge page of this size: a
/// direct write from it is one request to the disk, where scattered pages are hundreds of pieces in
/// several. Elsewhere (pages of 16 or 64 KiB, none free, switched off) it is aligned and no more.
///
/// Errors: `ENOMEM`.
pub(crate) fn huge_halves() -> io::Result<[HugeHalf; 2]> {
    let bytes = 2 * HUGE_PAGE_BYTES;
    // SAFETY: a new private mapping, at a place of the system's choice.
    let mapping = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if mapping == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mapping = NonNull::new(mapping.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
    let offset = mapping.align_offset(HUGE_PAGE_BYTES).min(HUGE_PAGE_BYTES);
    // SAFETY: `offset` is at most half of the mapping, and the page is the other half.
    let page = unsafe { mapping.add(offset) };
    // SAFETY: the page lies in our mapping. Only advice: where it is not taken, all goes on.
    unsafe { libc::madvise(page.as_ptr().cast(), HUGE_PAGE_BYTES, libc::MADV_HUGEPAGE) };
    let page = Arc::new(HugePage { mapping, page });
    let half = |offset| HugeHalf {
        page: Arc::clone(&page),
        offset,
    };
    Ok([half(0), half(HugeHalf::BYTES)])
}

impl HugeHalf {
    pub(crate) const BYTES: usize = HUGE_PAGE_BYTES / 2;

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: this half of the page is mapped as long as `page` lives, is initialised (zeroed by
        // the system), and is reached through this value alone, which is borrowed.
        unsafe { slice::from_raw_parts(self.page.page.add(self.offset).as_ptr(), Self::BYTES) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.page.page.add(self.offset).as_ptr(), Self::BYTES) }
    }
}

impl Drop for HugePage {
    fn drop(&mut self) {
        // SAFETY: our whole mapping, and both halves are gone.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), 2 * HUGE_PAGE_BYTES) };
    }
}

// --- the terminal ---

/// Columns of the terminal behind `file`; `None` if it is none, or does not say.
#[allow(clippy::unnecessary_cast)] // The request's type differs between C libraries.
pub(crate) fn terminal_columns(file: &impl AsRawFd) -> Option<u16> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the request writes one winsize, which lives over the call; the descriptor is open.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCGWINSZ as _, size.as_mut_ptr()) };
    check(result).ok()?;
    // SAFETY: zeroed before, all fields are integers, and the kernel filled it.
    let columns = unsafe { size.assume_init() }.ws_col;
    (columns > 0).then_some(columns)
}

// --- sockets ---

/// A socket of our own beside the socket `fd`, which somebody else owns and closes. Any number may be
/// asked for: the kernel says in the same step whether it is open, and a look at the new descriptor
/// whether it is a TCP socket.
///
/// Errors: the number is not open, is no TCP socket, or there is no descriptor left.
pub(crate) fn dup_socket(fd: RawFd) -> io::Result<TcpStream> {
    // SAFETY: plain integers; a number that is not open is an EBADF.
    let number = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nobody else knows of it.
    let socket = TcpStream::from(unsafe { OwnedFd::from_raw_fd(number) });
    // What is no TCP socket has no such option.
    socket.nodelay()?;
    Ok(socket)
}

/// Ends the connection behind `fd`, which somebody else owns and closes. The way out when there is
/// no descriptor left for [`dup_socket`].
pub(crate) fn shut_down(fd: RawFd) {
    // SAFETY: plain integers; a descriptor that is no socket, or not open, is an error and no more.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Makes the last close of this connection a reset, which the peer sees at once, whatever it is
/// doing. What it has not read by then is lost to it.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: one linger with its size, alive over the call, and an open descriptor. A failure
    // leaves an orderly close.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            mem::size_of::<libc::linger>() as libc::socklen_t,
        );
    }
}

/// Answers a plain `recv` on a descriptor in place of the system; `None` leaves it to the system. The
/// result is how many bytes it has filled. It must neither block nor panic.
pub(crate) type Intake = fn(RawFd, &mut [MaybeUninit<u8>]) -> Option<io::Result<usize>>;

static INTAKE: OnceLock<Intake> = OnceLock::new();
/// Whether std's reads come to our `recv`.
static RECV_IS_OURS: AtomicBool = AtomicBool::new(false);

/// From here on each read of a socket in this process asks `intake` first. The first one stays.
///
/// Errors: std reads sockets past our `recv`.
pub(crate) fn set_intake(intake: Intake) -> io::Result<()> {
    let _ = INTAKE.set(intake);
    let (socket, _peer) = UnixStream::pair()?;
    socket.set_nonblocking(true)?;
    // Nothing is there to be read: only that it was asked for counts.
    let _ = io::Read::read(&mut &socket, &mut [0]);
    if RECV_IS_OURS.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err(io::Error::other("the system's recv is not this program's"))
}

/// The C library's `recv`, which a program may define for itself: std reads sockets with it. What no
/// [`Intake`] answers goes to the system as ever.
///
/// # Safety
///
/// That of recv(2): `buffer` is valid for writes of `length` bytes.
// A fuzz target serves nobody, and its sanitizer has a `recv` of its own.
#[cfg_attr(not(fuzzing), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn recv(
    fd: libc::c_int,
    buffer: *mut libc::c_void,
    length: libc::size_t,
    flags: libc::c_int,
) -> libc::ssize_t {
    if !RECV_IS_OURS.load(Ordering::Relaxed) {
        RECV_IS_OURS.store(true, Ordering::Relaxed);
    }
    if flags == 0
        && length > 0
        && !buffer.is_null()
        && let Some(intake) = INTAKE.get()
    {
        // SAFETY: the caller vouches for `length` writable bytes, and has no other use of them before
        // this returns. `MaybeUninit` asks nothing of what they hold.
        let bytes = unsafe { slice::from_raw_parts_mut(buffer.cast::<MaybeUninit<u8>>(), length) };
        match intake(fd, bytes) {
            Some(Ok(given)) => return given as libc::ssize_t,
            Some(Err(error)) => {
                let number = match error.kind() {
                    io::ErrorKind::WouldBlock => libc::EAGAIN,
                    io::ErrorKind::ConnectionReset => libc::ECONNRESET,
                    _ => error.raw_os_error().unwrap_or(libc::EIO),
                };
                // SAFETY: the calling thread's own errno, which is always there.
                unsafe { *libc::__errno_location() = number };
                return -1;
            }
            None => {}
        }
    }
    // SAFETY: the caller's own arguments; without room for an address this is `recv`.
    unsafe { libc::recvfrom(fd, buffer, length, flags, ptr::null_mut(), ptr::null_mut()) }
}

/// Reads what has come as std does, into bytes that nobody has to have initialised. How many of them,
/// from the first on, are filled; 0 for the end.
pub(crate) fn read_socket(socket: &TcpStream, bytes: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    let fd = socket.as_raw_fd();
    let buffer = bytes.as_mut_ptr().cast();
    // SAFETY: the bytes are ours to write to over the call, as many as is said, and the descriptor is
    // open. Without room for an address this is `recv`; the kernel writes bytes and reads none.
    let read =
        unsafe { libc::recvfrom(fd, buffer, bytes.len(), 0, ptr::null_mut(), ptr::null_mut()) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Wakes the readers that wait for this socket, if it has anything to read or the peer has ended. (Since
/// Linux 4.18 the kernel looks for that when a program sets from how many bytes on a reader is woken;
/// one byte is the default.)
pub(crate) fn wake_reader(socket: &TcpStream) {
    let from_bytes: libc::c_int = 1;
    // SAFETY: one int with its size, alive over the call, and an open descriptor. A failure leaves
    // the reader asleep.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const from_bytes).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// What the kernel has counted on one TCP connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpCounters {
    /// Payload bytes that were given to the socket: sent at least once, or waiting to be.
    pub written: u64,
    /// The peer sends no more: its FIN is here, though it may still lie behind unread bytes.
    pub peer_has_ended: bool,
    /// Nothing goes either way any more: a reset came. What had come before it can still be read.
    pub is_closed: bool,
}

/// `TCP_CLOSE_WAIT` of the kernel's include/net/tcp_states.h.
const CLOSE_WAIT: u8 = 8;
/// `TCP_CLOSE` of the same file.
const CLOSED: u8 = 7;

/// The head of the kernel's `struct tcp_info` up to `tcpi_bytes_retrans`, as in linux/tcp.h; libc's
/// own type ends earlier on some targets.
#[repr(C)]
struct TcpInfo {
    small: [u8; 8],
    words: [u32; 24],
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    delivery_rate: u64,
    busy_time: u64,
    rwnd_limited: u64,
    sndbuf_limited: u64,
    delivered: u32,
    delivered_ce: u32,
    bytes_sent: u64,
    bytes_retrans: u64,
}

/// The connection's counters; `None` where the kernel does not tell them all (before Linux 4.19,
/// and under qemu-user).
pub(crate) fn tcp_counters(socket: &TcpStream) -> Option<TcpCounters> {
    let mut info = MaybeUninit::<TcpInfo>::zeroed();
    let mut length = mem::size_of::<TcpInfo>() as libc::socklen_t;
    // SAFETY: info is writable for `length` bytes and the descriptor is open over the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if result != 0 || (length as usize) < mem::size_of::<TcpInfo>() {
        return None;
    }
    // SAFETY: zeroed before, all fields are integers, and the kernel filled every byte.
    let info = unsafe { info.assume_init() };
    Some(TcpCounters {
        peer_has_ended: info.small[0] == CLOSE_WAIT,
        is_closed: info.small[0] == CLOSED,
        // The kernel counts a retransmission before the sending: unknown while it is between the two.
        written: info.bytes_sent.checked_sub(info.bytes_retrans)? + u64::from(info.notsent_bytes),
    })
}

/// Bytes that have arrived and nobody has read (FIONREAD).
// The request's type differs between C libraries, hence the casts.
#[allow(clippy::unnecessary_cast)]
pub(crate) fn unread_bytes(socket: &TcpStream) -> io::Result<u64> {
    int_ioctl(socket, libc::FIONREAD as u64)
}

/// Bytes that were written and the peer has not acknowledged (TIOCOUTQ).
#[allow(clippy::unnecessary_cast)]
pub(crate) fn unacked_bytes(socket: &TcpStream) -> io::Result<u64> {
    int_ioctl(socket, libc::TIOCOUTQ as u64)
}

fn int_ioctl(socket: &TcpStream, request: u64) -> io::Result<u64> {
    let mut value: libc::c_int = 0;
    // SAFETY: both requests write one int, which lives over the call. The request's type
    // differs between C libraries, hence the inferred cast.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), request as _, &mut value) })?;
    Ok(value.max(0) as u64)
}

/// The path MTU that the kernel goes by on a connection, in bytes; `None` if it does not say.
pub(crate) fn path_mtu(socket: &TcpStream) -> Option<u32> {
    let (level, name) = match socket.peer_addr().ok()? {
        std::net::SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        std::net::SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    let mut mtu: libc::c_int = 0;
    let mut length = mem::size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: mtu is writable for `length` bytes and the descriptor is open over the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut mtu).cast(),
            &mut length,
        )
    };
    check(result).ok()?;
    u32::try_from(mtu).ok()
}

/// Which way a socket is waited for.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Readable,
    Writable,
    /// Whichever comes first.
    Either,
}

impl Direction {
    fn events(self) -> libc::c_short {
        match self {
            Direction::Readable => libc::POLLIN,
            Direction::Writable => libc::POLLOUT,
            Direction::Either => libc::POLLIN | libc::POLLOUT,
        }
    }
}

/// Waits until the socket can be read or written, was closed, or the time is over: false then.
pub(crate) fn wait_socket(
    socket: &TcpStream,
    way: Direction,
    timeout: Duration,
) -> io::Result<bool> {
    wait_any([socket].into_iter(), way, timeout)
}

/// As [`wait_socket`], for the first of several.
pub(crate) fn wait_any<'a>(
    sockets: impl Iterator<Item = &'a TcpStream>,
    way: Direction,
    timeout: Duration,
) -> io::Result<bool> {
    let poll_of = |socket: &TcpStream| libc::pollfd {
        fd: socket.as_raw_fd(),
        events: way.events(),
        revents: 0,
    };
    let mut polls: Vec<libc::pollfd> = sockets.map(poll_of).collect();
    // Rounded up: a wait of half a millisecond must not become a busy loop.
    let timeout_ms = libc::c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: as many pollfds as are stated, alive over the call.
    let ready = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, timeout_ms) };
    match check(ready) {
        Ok(ready) => Ok(ready > 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

// --- the process ---

/// The signals that the program acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT: finish what is under way and end.
    Stop,
    /// SIGHUP: look again now.
    Reload,
}

fn our_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set, sigaddset gets valid signal numbers.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Blocks our signals in this thread and all that it starts, so that only [`wait_signal`] gets
/// them. To be called before any thread is started.
pub(crate) fn block_signals() {
    HANGS_UP.store(has_terminal() && !ignores_hangup(), Ordering::Relaxed);
    let set = our_signals();
    // SAFETY: a set that lives over the call; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
}

/// Waits for the next of our signals. [`block_signals`] must have been called.
pub(crate) fn wait_signal() -> Signal {
    let set = our_signals();
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: a set and room for one siginfo, both alive over the call.
        match unsafe { libc::sigwaitinfo(&set, info.as_mut_ptr()) } {
            libc::SIGTERM | libc::SIGINT => return Signal::Stop,
            libc::SIGHUP => {
                // SAFETY: a siginfo of zeros is a valid one, and sigwaitinfo has filled it.
                let is_of_kernel = unsafe { info.assume_init() }.si_code == libc::SI_KERNEL;
                let stops = HANGS_UP.load(Ordering::Relaxed) && (is_of_kernel || terminal_ended());
                return if stops { Signal::Stop } else { Signal::Reload };
            }
            _ => continue, // interrupted by a debugger or a stop and continue
        }
    }
}

/// Whether this process ends with its terminal: it was started on one, and not by `nohup`.
static HANGS_UP: AtomicBool = AtomicBool::new(false);

/// The shell passes a hang-up on to its jobs, and may do so before the terminal is gone.
const TERMINAL_ENDS_WITHIN: Duration = Duration::from_millis(200);

/// Whether the terminal that this process was started on is gone, or goes now. SIGHUP from `kill`,
/// on a terminal that stays, means something else.
fn terminal_ended() -> bool {
    let until = Instant::now() + TERMINAL_ENDS_WITHIN;
    while has_terminal() {
        if until <= Instant::now() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// Whether this process has a controlling terminal.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether SIGHUP was ignored when this process was started, as `nohup` does.
fn ignores_hangup() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed, and there is room for one sigaction over the call.
    let asked =
        check(unsafe { libc::sigaction(libc::SIGHUP, std::ptr::null(), action.as_mut_ptr()) });
    // SAFETY: a sigaction of zeros is a valid one, and the call may have filled it.
    asked.is_ok() && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Has the kernel kill the process that `command` will start when this one ends, however it ends.
pub(crate) fn ends_with_us(command: &mut Command) {
    let ask_kernel = || {
        // SAFETY: prctl with plain integers. It touches no memory of ours.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        // On failure the child just outlives us.
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed, and prctl is one.
    unsafe { command.pre_exec(ask_kernel) };
}

/// Sends SIGTERM to a process that we started and have not yet waited for.
pub(crate) fn ask_to_stop(child: &Child) {
    // SAFETY: plain integers. The child was not waited for, so its id is not another's yet.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
}

/// Whether something keeps the system's clock right; `None` if the kernel does not say.
pub(crate) fn clock_is_synchronised() -> Option<bool> {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: a zeroed timex asks for nothing to be changed, and lives over the call.
    let result = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    check(result).ok().map(|state| state != libc::TIME_ERROR)
}

/// From here on this process takes the processor and the disk only when nobody else wants them.
/// Schedulers that do not know such a class treat it as any other.
pub(crate) fn run_when_idle() {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: plain integers, about this process alone.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE);
    }
}

/// From here on this thread, with those that it starts, takes the processor after others of the
/// process that want it. On two cores eight bodies that were hashed let `GET /v1/health` wait 7 to
/// 21 ms at its 99th percentile (`just bench health`), and 3 ms so. It cannot be undone without a
/// privilege.
pub(crate) fn give_way() {
    // SAFETY: a plain integer. On Linux it is the calling thread's, whatever POSIX says.
    unsafe { libc::nice(5) };
}

/// Raises the limit on open files to at least `wanted`; the limit that now holds.
pub(crate) fn raise_file_limit(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: one rlimit, alive over the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    if limit.rlim_cur >= wanted {
        return Ok(limit.rlim_cur);
    }
    limit.rlim_cur = wanted.min(limit.rlim_max);
    // SAFETY: as above; the value is within the hard limit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(limit.rlim_cur)
}

/// Ends a process group that we started ([`in_own_session`]), whatever it is doing.
///
/// The leader must not have been waited for yet: until then its id cannot be given to another.
pub(crate) fn kill_group(leader: u32) -> io::Result<()> {
    let group = libc::pid_t::try_from(leader)
        .ok()
        .filter(|&group| group > 1) // 0 and 1 would mean our own group and everybody
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: plain integers; a group that is gone already is an ESRCH.
    check(unsafe { libc::kill(-group, libc::SIGKILL) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    #[test]
    fn a_thread_that_gives_way_does_so_alone() {
        // SAFETY: plain integers; 0 means the calling thread.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        let given_way = std::thread::spawn(move || {
            give_way();
            nice()
        });
        assert_eq!(given_way.join().unwrap(), (before + 5).min(19));
        assert_eq!(nice(), before);
    }

    #[test]
    fn only_an_open_tcp_socket_is_duplicated() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let peer = here.peer_addr().unwrap();
        let ours = dup_socket(here.as_raw_fd()).unwrap();
        drop(here);
        assert_eq!(ours.peer_addr().unwrap(), peer);
        let (unix, _other) = UnixStream::pair().unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = File::open("/dev/null").unwrap();
        // The last number is beyond what a process may have open.
        for number in [
            unix.as_raw_fd(),
            udp.as_raw_fd(),
            file.as_raw_fd(),
            -1,
            i32::MAX,
        ] {
            assert!(dup_socket(number).is_err(), "{number}");
        }
    }

    #[test]
    fn tcp_counters_count_what_was_written_and_received() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (there, _) = listener.accept().unwrap();
        here.write_all(b"0123456789").unwrap();
        assert!(wait_socket(&there, Direction::Readable, Duration::from_secs(5)).unwrap());
        assert_eq!(tcp_counters(&here).unwrap().written, 10);
        assert!(!tcp_counters(&there).unwrap().peer_has_ended);
        assert_eq!(unread_bytes(&there).unwrap(), 10);
        assert!(!wait_socket(&here, Direction::Readable, Duration::ZERO).unwrap());
    }

    #[test]
    fn the_halves_of_a_huge_page_are_aligned_and_apart() {
        let [mut one, mut other] = huge_halves().unwrap();
        one.as_mut_slice().fill(1);
        other.as_mut_slice().fill(2);
        for (half, byte) in [(&one, 1), (&other, 2)] {
            assert_eq!(half.as_slice().len(), HugeHalf::BYTES);
            assert_eq!(half.as_slice().as_ptr() as usize % HugeHalf::BYTES, 0);
            assert!(half.as_slice().iter().all(|&found| found == byte));
        }
        drop(one);
        assert_eq!(other.as_slice()[HugeHalf::BYTES - 1], 2);
    }

    #[test]
    fn a_receipt_fits_an_attribute() {
        let path = std::env::current_exe().unwrap();
        let disk = disk_bytes(&path).unwrap();
        assert!(0 < disk.free && disk.free <= disk.total, "{disk:?}");
        let file = File::open(&path).unwrap();
        assert_eq!(get_xattr(&file, c"user.cis490.absent").unwrap(), None);
    }
}
