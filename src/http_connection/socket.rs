//! One connection to a server, which notices an answer while the body is still being sent.
//!
//! A server may refuse in the middle of a body of gigabytes, and close. A sender that only
//! writes learns of it as a broken pipe and loses the answer: the receiver's remediation, the store's code.
//! So each write also waits for bytes to read. Once the final answer begins, or the peer no longer
//! accepts anything, the rest of the body is discarded here ([`EarlyResponse`]) and the answer is read.
//!
//! 1. Nothing waits without a bound, nor longer than a fraction of a second after the [`Attendant`] has
//!    had enough.
//! 2. A connection carries one request at a time, and another one only after the answer was read to its end
//!    and nothing followed ([`Socket::is_ready_for_next`]), and never after a body that was cut short: an answer read here can belong to no other.
//! 3. Under TLS bytes arrive that are no answer (session tickets), so only decrypted bytes count as
//!    one. Interim answers do not count either, and are passed over wherever they come ([`InterimFilter`]).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Attendant;
use super::interim::InterimFilter;
use crate::sys::{self, Direction};
use crate::tls::{self, Session, Trust};

/// Between two calls of the [`Attendant`].
const SLICE: Duration = Duration::from_millis(200);
/// How many bytes are read at once before the final answer has begun.
const RESPONSE_BYTES: usize = 4096;

/// Set once the rest of the body need not be sent: the peer has answered, or accepts no more.
#[derive(Clone, Debug, Default)]
pub(crate) struct EarlyResponse(Arc<AtomicBool>);

impl EarlyResponse {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    /// Another request begins.
    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    early_response: EarlyResponse,
    attendant: Arc<dyn Attendant>,
    /// The TLS session, for an https:// server.
    session: Option<Session>,
    interim: InterimFilter,
    /// A body was not sent to its end: this connection carries no other request.
    is_cut_short: bool,
    /// False if the whole body is to be sent even when an answer comes before its end.
    watches_for_response: bool,
}

impl Socket {
    /// Connects to the first address that answers; each gets its share of the time.
    pub(crate) fn connect(
        addrs: &[SocketAddr],
        timeout: Duration,
        early_response: EarlyResponse,
        attendant: Arc<dyn Attendant>,
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
                        early_response,
                        attendant,
                        session: None,
                        interim: InterimFilter::default(),
                        is_cut_short: false,
                        watches_for_response: true,
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
    pub(crate) fn secure(
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

    pub(crate) fn is_secure(&self) -> bool {
        self.session.is_some()
    }

    /// From here on an early answer does not end the sending.
    pub(crate) fn ignore_early_response(&mut self) {
        self.watches_for_response = false;
    }

    /// Bytes that have left and not arrived.
    pub(crate) fn unacked_bytes(&self) -> io::Result<u64> {
        sys::unacked_bytes(&self.stream)
    }

    /// The path MTU that the kernel goes by, in bytes.
    pub(crate) fn path_mtu(&self) -> Option<u32> {
        sys::path_mtu(&self.stream)
    }

    /// Sends all, or discards the rest once the peer has answered or is gone: then the answer, or
    /// the reason for its absence, is what [`Socket::receive`] gives.
    ///
    /// Errors: no byte could be sent for `stall`.
    pub(crate) fn send(&mut self, mut bytes: &[u8], stall: Duration) -> io::Result<()> {
        while (!bytes.is_empty() || self.has_to_push()) && !self.is_cut_short {
            let way = if self.watches_for_response {
                Direction::Either
            } else {
                Direction::Writable
            };
            self.wait(way, stall)?;
            if self.watches_for_response && self.has_answer()? {
                self.cut_short();
                break;
            }
            match self.write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if is_passing(&error) => {}
                Err(error) if is_hang_up(&error) => self.cut_short(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits up to `timeout` until the peer asks for the body. False if it has answered instead, or
    /// is gone: [`Socket::receive`] says which.
    ///
    /// Errors: a timeout among them.
    pub(crate) fn await_continue(&mut self, timeout: Duration) -> io::Result<bool> {
        let begun = Instant::now();
        loop {
            if self.has_answer()? {
                self.cut_short();
                return Ok(false);
            }
            if self.interim.saw_continue() {
                return Ok(true);
            }
            let left = timeout.saturating_sub(begun.elapsed());
            self.wait(Direction::Readable, left)?;
        }
    }

    /// Reads the bytes of the final answer that have arrived, waiting up to `timeout`. 0 is the end.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
        let begun = Instant::now();
        loop {
            let taken = self.interim.take(buffer);
            if taken > 0 {
                return Ok(taken);
            }
            // Read before waiting: bytes that are decrypted already do not make the socket readable.
            if self.interim.is_final() {
                match self.read(buffer) {
                    Err(error) if is_passing(&error) => {}
                    other => return other,
                }
            } else if self.read_interim()? {
                if !self.interim.is_final() {
                    return Ok(0);
                }
                continue;
            }
            let left = timeout.saturating_sub(begun.elapsed());
            self.wait(Direction::Readable, left)?;
        }
    }

    /// Whether the connection is open and quiet, after an answer was read to its end: then it can carry
    /// another request, and its interim answers are passed over anew.
    pub(crate) fn is_ready_for_next(&mut self) -> bool {
        let is_quiet = !self.is_cut_short
            && !self.interim.holds_bytes()
            && !self.has_to_push()
            && self.read(&mut [0]).is_err_and(|error| is_passing(&error));
        if is_quiet {
            self.interim = InterimFilter::default();
        }
        is_quiet
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

    /// The rest of the body is not sent.
    fn cut_short(&mut self) {
        self.is_cut_short = true;
        self.early_response.set();
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

    /// Whether the final answer has begun, or the peer has hung up.
    fn has_answer(&mut self) -> io::Result<bool> {
        match self.read_interim() {
            Err(error) if is_hang_up(&error) => Ok(true),
            other => other,
        }
    }

    /// Reads all bytes that have arrived, up to where the final answer begins. False if it has not
    /// begun and more bytes may come.
    fn read_interim(&mut self) -> io::Result<bool> {
        let mut part = [0; RESPONSE_BYTES];
        while !self.interim.is_final() {
            match self.read(&mut part) {
                Ok(0) => return Ok(true),
                Ok(n) => self.interim.push(&part[..n])?,
                Err(error) if is_passing(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn wait(&self, way: Direction, timeout: Duration) -> io::Result<()> {
        let start = Instant::now();
        loop {
            self.attendant.attend()?;
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

/// The error of a peer that hangs up during the TLS handshake.
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
mod tests;
