//! The C library's `recv`, defined by this program: std reads sockets with it, so that a read can be
//! answered before the system is asked.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::slice;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Answers a plain `recv` on a descriptor in place of the system; `None` leaves it to the system. The
/// result is how many bytes it has filled. It must neither block nor panic.
pub(crate) type Intake = fn(RawFd, &mut [MaybeUninit<u8>]) -> Option<io::Result<usize>>;

static INTAKE: OnceLock<Intake> = OnceLock::new();
/// Whether std's reads come to our `recv`.
static RECV_IS_OURS: AtomicBool = AtomicBool::new(false);

/// From here on each read of a socket in this process asks `intake` first. The first intake that is set
/// stays.
///
/// Errors: std reads sockets past our `recv`.
pub(crate) fn set_intake(intake: Intake) -> io::Result<()> {
    let _ = INTAKE.set(intake);
    let (socket, _peer) = UnixStream::pair()?;
    socket.set_nonblocking(true)?;
    // Nothing is there to be read: what counts is that the read comes to our `recv`.
    let _ = io::Read::read(&mut &socket, &mut [0]);
    if RECV_IS_OURS.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err(io::Error::other("the system's recv is not this program's"))
}

/// The C library's `recv`, which a program may define for itself. A call that no [`Intake`] answers goes
/// to the system as ever.
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
