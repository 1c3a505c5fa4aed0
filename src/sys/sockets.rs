//! What std lacks for sockets: descriptors that somebody else owns, resets, the bytes on their way, and
//! waiting for several sockets.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{SendFlags, sockopt};

use super::check;

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

/// Makes the last close of this connection a reset, which the peer sees at once: while it reads, writes
/// or waits. The bytes that the peer has not read by then are lost to it.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    // A failure leaves an orderly close.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Reads as std does, into bytes that nobody has to have initialised. The result is how many of them are
/// filled, from the first on; 0 for the end.
pub(crate) fn read_socket(socket: &TcpStream, bytes: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    // Not `recv`: that name is `intake`'s in this program, and rustix may call the C library's.
    // SAFETY: the bytes with their length, which live over the call; no address is asked for.
    let count = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Sends at most `most` bytes of `file`, from `offset` on, without a copy of them in this process; moves
/// `offset` behind what was sent, and gives the number of bytes. 0 if the file has no byte there.
///
/// Errors: `WouldBlock` while the socket has no room, and those of sendfile(2).
pub(crate) fn send_file(
    socket: &TcpStream,
    file: &File,
    offset: &mut u64,
    most: usize,
) -> io::Result<usize> {
    Ok(rustix::fs::sendfile(socket, file, Some(offset), most)?)
}

/// Writes as std does, for bytes that others follow at once: the kernel waits for those before it sends a
/// packet that is not full.
pub(crate) fn send_ahead(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
    Ok(rustix::net::send(socket, bytes, flags)?)
}

/// Wakes those who wait to read from this socket, if it has anything to read or the peer has ended.
pub(crate) fn wake_readers(socket: &TcpStream) {
    wake_readers_at(socket, 1);
}

/// Sets how many unread bytes wake those who wait to read, 1 by default. If so many are here already, they are woken
/// at once (since Linux 4.18). The peer's end always wakes them, and since Linux 5.10 so does a full receive window.
///
/// A failure leaves it as it was.
pub(crate) fn wake_readers_at(socket: &TcpStream, bytes: usize) {
    let from_bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: one int with its size, alive over the call, and an open descriptor.
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

/// Bytes that have arrived and nobody has read (FIONREAD).
pub(crate) fn unread_bytes(socket: &TcpStream) -> io::Result<u64> {
    Ok(rustix::io::ioctl_fionread(socket)?)
}

/// Bytes that were written and the peer has not acknowledged (TIOCOUTQ).
#[allow(clippy::unnecessary_cast)] // The request's type differs between C libraries.
pub(crate) fn unacked_bytes(socket: &TcpStream) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: the request writes one int, which lives over the call; the descriptor is open.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ as _, &mut count) })?;
    Ok(count.max(0) as u64)
}

/// The path MTU that the kernel goes by on a connection, in bytes; `None` if the kernel does not say.
pub(crate) fn path_mtu(socket: &TcpStream) -> Option<u32> {
    match socket.peer_addr().ok()? {
        SocketAddr::V4(_) => sockopt::ip_mtu(socket).ok(),
        SocketAddr::V6(_) => sockopt::ipv6_mtu(socket).ok(),
    }
}

/// Which way a socket is waited for.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Readable,
    Writable,
    /// The first of the two.
    Either,
}

impl Direction {
    fn events(self) -> PollFlags {
        match self {
            Direction::Readable => PollFlags::IN,
            Direction::Writable => PollFlags::OUT,
            Direction::Either => PollFlags::IN | PollFlags::OUT,
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
    let mut polls: Vec<PollFd> = sockets
        .map(|socket| PollFd::new(socket, way.events()))
        .collect();
    // A time that the kernel cannot count is no limit.
    let timeout = Timespec::try_from(timeout).ok();
    match rustix::event::poll(&mut polls, timeout.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    #[test]
    fn only_an_open_tcp_socket_is_duplicated() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let peer = here.peer_addr().unwrap();
        let ours = dup_socket(here.as_raw_fd()).unwrap();
        drop(here);
        assert_eq!(ours.peer_addr().unwrap(), peer);
        let (unix, _other) = UnixStream::pair().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
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
    fn what_was_written_waits_at_the_other_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (there, _) = listener.accept().unwrap();
        here.write_all(b"0123456789").unwrap();
        assert!(wait_socket(&there, Direction::Readable, Duration::from_secs(5)).unwrap());
        assert_eq!(unread_bytes(&there).unwrap(), 10);
        assert!(!wait_socket(&here, Direction::Readable, Duration::ZERO).unwrap());
        assert!(wait_socket(&here, Direction::Either, Duration::MAX).unwrap());
        assert!(path_mtu(&here).unwrap() > 0);

        let mut bytes = [MaybeUninit::uninit(); 4];
        assert_eq!(read_socket(&there, &mut bytes).unwrap(), 4);
        assert_eq!(unread_bytes(&there).unwrap(), 6);
    }

    #[test]
    fn a_wait_ends_with_its_time_and_not_before() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let began = Instant::now();
        let wait = Duration::from_micros(1500);
        assert!(!wait_socket(&here, Direction::Readable, wait).unwrap());
        assert!(began.elapsed() >= wait);
    }
}
