//! One connection to the receiver, which hears an answer while it is still talking.
//!
//! A receiver may refuse in the middle of a body of gigabytes, and close. A sender that only
//! writes learns of it as a broken pipe and loses the answer: the remediation, in our case. So
//! every write waits for either way, and once something has arrived, or the peer no longer takes
//! anything, the rest of the body is swallowed here ([`Hush`]) and the answer is read.
//!
//! 1. Nothing waits without a bound, nor longer than a fraction of a second after [`Stop`].
//! 2. A connection carries one request: an answer read here can belong to no other.
//! 3. Under TLS bytes arrive that are no answer (session tickets), so only decrypted bytes count as
//!    one. Interim answers do not count either, and are passed over wherever they come ([`Ear`]).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::ear::Ear;
use crate::service;
use crate::sys::{self, Direction};
use crate::tls::{self, Session, Trust};

/// Between two looks at [`Stop`].
const SLICE: Duration = Duration::from_millis(200);
/// How many bytes are read at once before the final answer has begun.
const EAR_BYTES: usize = 4096;

/// Set when the program is to end: everything that waits on a socket gives up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Set once the rest of the body need not be sent: the peer has answered, or accepts no more.
#[derive(Clone, Debug, Default)]
pub(super) struct Hush(Arc<AtomicBool>);

impl Hush {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    hush: Hush,
    stop: Stop,
    /// The TLS session, for an https:// receiver.
    session: Option<Session>,
    ear: Ear,
    /// False if the whole body is to be sent even when an answer comes before its end.
    listens: bool,
}

impl Socket {
    /// Connects to the first address that answers; each gets its share of the time.
    pub(super) fn connect(
        addrs: &[SocketAddr],
        timeout: Duration,
        hush: Hush,
        stop: Stop,
    ) -> io::Result<Socket> {
        let share = timeout / u32::try_from(addrs.len().max(1)).unwrap_or(u32::MAX);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for addr in addrs {
            match TcpStream::connect_timeout(addr, share.max(SLICE)) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_nonblocking(true)?;
                    return Ok(Socket {
                        stream,
                        hush,
                        stop,
                        session: None,
                        ear: Ear::default(),
                        listens: true,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Makes the TLS handshake with `host`. From here on all bytes are encrypted for `host`.
    ///
    /// Errors: `host` has not proved itself (a [`crate::tls::Fault`] within), or not in time.
    pub(super) fn secure(
        &mut self,
        trust: &Trust,
        host: &str,
        timeout: Duration,
    ) -> io::Result<()> {
        let give_up_at = Instant::now() + timeout;
        let mut session = trust.session(host)?;
        while session.is_shaking_hands() {
            let left = give_up_at.saturating_duration_since(Instant::now());
            let has_to_push = session.has_to_push();
            self.wait(
                if has_to_push {
                    Direction::Writable
                } else {
                    Direction::Readable
                },
                left,
            )?;
            let moved = if has_to_push {
                session.push(&mut self.stream).map(|()| 1)
            } else {
                session.pull(&mut self.stream)
            };
            match moved {
                Ok(0) => return Err(no_tls()),
                Err(error) if is_hang_up(&error) => return Err(no_tls()),
                Err(error) if !is_passing(&error) => return Err(error),
                _ => {}
            }
        }
        self.session = Some(session);
        Ok(())
    }

    pub(super) fn is_secure(&self) -> bool {
        self.session.is_some()
    }

    /// From here on an answer does not end the sending.
    pub(super) fn stop_listening(&mut self) {
        self.listens = false;
    }

    /// Bytes that have left and not arrived.
    pub(super) fn unacked_bytes(&self) -> io::Result<u64> {
        sys::unacked_bytes(&self.stream)
    }

    /// The path MTU that the kernel goes by, in bytes.
    pub(super) fn path_mtu(&self) -> Option<u32> {
        sys::path_mtu(&self.stream)
    }

    /// Sends all, or swallows the rest once the peer has answered or is gone: then the answer, or
    /// the reason for its absence, is what [`Socket::receive`] gives.
    ///
    /// Errors: no byte could be sent for `stall`.
    pub(super) fn send(&mut self, mut bytes: &[u8], stall: Duration) -> io::Result<()> {
        while (!bytes.is_empty() || self.has_to_push()) && !self.hush.is_set() {
            let way = if self.listens {
                Direction::Either
            } else {
                Direction::Writable
            };
            self.wait(way, stall)?;
            if self.listens && self.has_answer()? {
                self.hush.set();
                break;
            }
            match self.write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if is_passing(&error) => {}
                Err(error) if is_hang_up(&error) => self.hush.set(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits up to `timeout` until the peer asks for the body. False if it has answered instead, or
    /// is gone: [`Socket::receive`] says which.
    ///
    /// Errors: a timeout among them.
    pub(super) fn await_continue(&mut self, timeout: Duration) -> io::Result<bool> {
        let begun = Instant::now();
        loop {
            if self.has_answer()? {
                self.hush.set();
                return Ok(false);
            }
            if self.ear.was_told_to_go_on() {
                return Ok(true);
            }
            let left = timeout.saturating_sub(begun.elapsed());
            self.wait(Direction::Readable, left)?;
        }
    }

    /// Reads what is there of the final answer, waiting up to `timeout`. 0 is the end.
    pub(super) fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
        let begun = Instant::now();
        loop {
            let heard = self.ear.take(buffer);
            if heard > 0 {
                return Ok(heard);
            }
            // Read before waiting: bytes that are decrypted already do not make the socket readable.
            if self.ear.is_final() {
                match self.read(buffer) {
                    Err(error) if is_passing(&error) => {}
                    other => return other,
                }
            } else if self.listen()? {
                if !self.ear.is_final() {
                    return Ok(0);
                }
                continue;
            }
            let left = timeout.saturating_sub(begun.elapsed());
            self.wait(Direction::Readable, left)?;
        }
    }

    /// Writes as much as the kernel accepts now, encrypted under TLS. Returns how many bytes of
    /// `bytes` were accepted.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else {
            return self.stream.write(bytes);
        };
        // Seal new bytes only when the last ones have left, so that the buffer does not grow.
        let sealed = if session.has_to_push() {
            0
        } else {
            session.seal(bytes)?
        };
        match session.push(&mut self.stream) {
            Err(error) if !is_passing(&error) => Err(error),
            _ => Ok(sealed),
        }
    }

    fn has_to_push(&self) -> bool {
        self.session.as_ref().is_some_and(Session::has_to_push)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else {
            return self.stream.read(buffer);
        };
        loop {
            match session.take(buffer) {
                Err(error) if is_passing(&error) => {}
                other => return other,
            }
            session.pull(&mut self.stream)?;
        }
    }

    /// Whether the peer has said something final, its hanging up included.
    fn has_answer(&mut self) -> io::Result<bool> {
        match self.listen() {
            Err(error) if is_hang_up(&error) => Ok(true),
            other => other,
        }
    }

    /// Reads all bytes that have arrived, up to where the final answer begins. False if it has not
    /// begun and more bytes may come.
    fn listen(&mut self) -> io::Result<bool> {
        let mut part = [0; EAR_BYTES];
        while !self.ear.is_final() {
            match self.read(&mut part) {
                Ok(0) => return Ok(true),
                Ok(n) => self.ear.hear(&part[..n])?,
                Err(error) if is_passing(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn wait(&self, way: Direction, timeout: Duration) -> io::Result<()> {
        let start = Instant::now();
        loop {
            if self.stop.is_set() {
                return Err(io::Error::other("the shipper is stopping"));
            }
            // This wait has a bound, so the watchdog is pinged however long the receiver's disk takes.
            service::alive();
            let left = timeout.saturating_sub(start.elapsed());
            if sys::wait_socket(&self.stream, way, left.min(SLICE))? {
                return Ok(());
            }
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// What hangs up in the handshake.
fn no_tls() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        tls::Fault {
            kind: "not-tls",
            what: "it hung up during the TLS handshake".to_owned(),
            remedy: "a receiver itself speaks http alone (http:// in place of https://), and TLS is the business of a proxy in front of it",
        },
    )
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionReset | ConnectionAborted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    const PATIENCE: Duration = Duration::from_secs(20);
    /// More than the kernel's socket buffers hold.
    const BODY_BYTES: usize = 64 << 20;

    /// A connected socket, and its other end.
    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addrs = [listener.local_addr().unwrap()];
        let socket = Socket::connect(&addrs, PATIENCE, Hush::default(), Stop::default()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        (socket, peer)
    }

    fn receive_all(socket: &mut Socket) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 100];
        while let Ok(n @ 1..) = socket.receive(&mut buffer, PATIENCE) {
            text.extend_from_slice(&buffer[..n]);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn an_answer_ends_the_sending_whether_the_peer_reads_stays_or_resets() {
        for reset in [false, true] {
            let (mut socket, mut peer) = pair();
            let other_side = thread::spawn(move || {
                peer.read_exact(&mut [0; 1000]).unwrap();
                peer.write_all(b"HTTP/1.1 412 No").unwrap();
                // Dropped with bytes unread, it resets the connection.
                (!reset).then_some(peer)
            });
            socket.send(&vec![0; BODY_BYTES], PATIENCE).unwrap();
            assert!(socket.hush.is_set());
            let peer = other_side.join().unwrap();
            drop(peer);
            assert_eq!(
                receive_all(&mut socket),
                "HTTP/1.1 412 No",
                "reset: {reset}"
            );
        }
    }

    #[test]
    fn an_answer_after_a_late_continue_is_heard_in_mid_body() {
        let (mut socket, mut peer) = pair();
        let other_side = thread::spawn(move || {
            peer.read_exact(&mut [0; 1000]).unwrap();
            let late = b"HTTP/1.1 100 Continue\r\nServer: x\r\n\r\n";
            peer.write_all(late).unwrap();
            peer.read_exact(&mut [0; 1 << 20]).unwrap();
            peer.write_all(b"HTTP/1.1 413 No").unwrap();
            peer
        });
        socket.send(&vec![0; BODY_BYTES], PATIENCE).unwrap();
        assert!(socket.hush.is_set());
        drop(other_side.join().unwrap());
        assert_eq!(receive_all(&mut socket), "HTTP/1.1 413 No");
    }

    #[test]
    fn what_comes_in_place_of_a_continue_is_the_answer() {
        for (said, goes_on) in [
            (
                "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\nA: b\r\n\r\n",
                true,
            ),
            ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 412 No", false),
            ("", false),
        ] {
            let (mut socket, mut peer) = pair();
            peer.write_all(said.as_bytes()).unwrap();
            if said.is_empty() {
                drop(peer);
                assert!(!socket.await_continue(PATIENCE).unwrap(), "hung up");
                continue;
            }
            assert_eq!(socket.await_continue(PATIENCE).unwrap(), goes_on, "{said}");
            drop(peer);
            let rest = if goes_on { "" } else { "HTTP/1.1 412 No" };
            assert_eq!(receive_all(&mut socket), rest);
        }
        let (mut socket, _peer) = pair();
        let silent = socket.await_continue(Duration::from_millis(50));
        assert_eq!(silent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_late_continue_is_no_answer() {
        let (mut socket, mut peer) = pair();
        let other_side = thread::spawn(move || {
            peer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            let mut body = Vec::new();
            peer.read_to_end(&mut body).unwrap();
            body.len()
        });
        assert!(sys::wait_socket(&socket.stream, Direction::Readable, PATIENCE).unwrap());
        socket.send(&vec![0; BODY_BYTES], PATIENCE).unwrap();
        assert!(!socket.hush.is_set());
        drop(socket);
        assert_eq!(other_side.join().unwrap(), BODY_BYTES);
    }

    #[test]
    fn a_peer_that_takes_nothing_is_a_timeout_and_a_stop_is_heard() {
        let (mut socket, _peer) = pair();
        let body = vec![0; BODY_BYTES];
        let stalled = socket.send(&body, Duration::from_millis(50)).unwrap_err();
        assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
        let silent = socket
            .receive(&mut [0], Duration::from_millis(50))
            .unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        socket.stop.set();
        let stopped = socket.send(&body, PATIENCE).unwrap_err();
        assert_eq!(stopped.to_string(), "the shipper is stopping");
    }
}
