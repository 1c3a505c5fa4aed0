//! The C library's `recv` and `send`, defined by this program: std reads and writes sockets with them, so
//! that a read or a write can be answered before the system is asked.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::slice;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Answers a plain `recv` on a descriptor in place of the system; `None` leaves it to the system. The
/// result is how many bytes it has filled. It must neither block nor panic.
pub(crate) type Intake = fn(RawFd, &mut [MaybeUninit<u8>]) -> Option<io::Result<usize>>;

/// Takes what a plain `send` on a descriptor would write, in place of the system; `None` leaves it to the
/// system. The result is how many bytes it has taken. It must neither block nor panic.
pub(crate) type Outlet = fn(RawFd, &[u8]) -> Option<usize>;

static INTAKE: OnceLock<Intake> = OnceLock::new();
static OUTLET: OnceLock<Outlet> = OnceLock::new();
/// Whether std's reads come to our `recv`.
static RECV_IS_OURS: AtomicBool = AtomicBool::new(false);
/// Whether std's writes come to our `send`.
static SEND_IS_OURS: AtomicBool = AtomicBool::new(false);

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

/// From here on each write to a socket in this process asks `outlet` first. The first outlet that is set
/// stays.
///
/// Errors: std writes to sockets past our `send`, or there is no socket to try it with.
pub(crate) fn set_outlet(outlet: Outlet) -> io::Result<()> {
    let _ = OUTLET.set(outlet);
    // It has no peer, so nothing is sent: what counts is that the write comes to our `send`.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .or_else(|_| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)))?;
    let _ = socket.send(&[0]);
    if SEND_IS_OURS.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err(io::Error::other("the system's send is not this program's"))
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

/// The C library's `send`, which a program may define for itself. A call that no [`Outlet`] takes goes to the
/// system as ever.
///
/// # Safety
///
/// That of send(2): `buffer` is valid for reads of `length` bytes.
#[cfg_attr(not(fuzzing), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn send(
    fd: libc::c_int,
    buffer: *const libc::c_void,
    length: libc::size_t,
    flags: libc::c_int,
) -> libc::ssize_t {
    if !SEND_IS_OURS.load(Ordering::Relaxed) {
        SEND_IS_OURS.store(true, Ordering::Relaxed);
    }
    if length > 0
        && !buffer.is_null()
        && let Some(outlet) = OUTLET.get()
    {
        // SAFETY: the caller vouches for `length` readable bytes, which stay so until this returns.
        let bytes = unsafe { slice::from_raw_parts(buffer.cast::<u8>(), length) };
        if let Some(taken) = outlet(fd, bytes) {
            return taken as libc::ssize_t;
        }
    }
    // SAFETY: the caller's own arguments; without an address this is `send`.
    unsafe { libc::sendto(fd, buffer, length, flags, ptr::null(), 0) }
}
