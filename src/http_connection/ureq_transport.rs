//! The connection as ureq's `Transport`: `socket` below, ureq above.
//!
//! ureq 3.5 stays the client. Three things that it does with an answer to `Expect: 100-continue`
//! would lose answers, so they are done here, where a transport may do them:
//!
//! 1. It knows a `100 Continue` by its having no fields, and a second one with fields is an error to
//!    it. Interim answers are therefore passed over in `socket`, and ureq sees one bare [`CONTINUE`]
//!    while it waits for it, and else final answers alone.
//! 2. What comes in place of `100 Continue` it looks at, leaves in the buffer, and then waits for
//!    *more* before it reads it: for as long as the peer keeps the connection open, or until its end
//!    is an error that takes the answer along. `UreqTransport::await_input` says that there is input when ureq
//!    comes back for it.
//! 3. An answer whose end is the connection's it takes for whole even if that was cut off. Here a
//!    reset, or TLS that ended without its end, is no such end ([`cut_off`]).

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

use super::Attendant;
use super::socket::{EarlyResponse, Socket};
use crate::tls::Trust;

/// For the name of the server to be found, and for the connection.
pub(crate) const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// The bytes that ureq recognizes as `100 Continue`.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What has become of a request: its client and the connection that carries it share this. One client has
/// one request at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange {
    pub early_response: EarlyResponse,
    shared: Arc<Flags>,
}

#[derive(Debug, Default)]
struct Flags {
    /// There is a connection.
    is_connected: AtomicBool,
    /// The connection has carried another request before.
    is_kept: AtomicBool,
    /// Bytes of the peer's have come.
    is_heard: AtomicBool,
    /// The peer has ended the connection.
    is_ended: AtomicBool,
}

impl Exchange {
    /// A new request begins.
    pub(crate) fn begin(&self) {
        self.early_response.clear();
        let Flags {
            is_connected,
            is_kept,
            is_heard,
            is_ended,
        } = &*self.shared;
        for flag in [is_connected, is_kept, is_heard, is_ended] {
            flag.store(false, Ordering::SeqCst);
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.shared.is_connected.load(Ordering::SeqCst)
    }

    /// Whether the request went into a kept connection which the peer ended, and from which nothing had
    /// come since. A peer that is only slow may still have the request.
    pub(crate) fn was_closed_before(&self) -> bool {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        let Flags {
            is_kept,
            is_heard,
            is_ended,
            ..
        } = &*self.shared;
        is_set(is_kept) && !is_set(is_heard) && is_set(is_ended)
    }
}

/// Makes [`UreqTransport`]s.
#[derive(Debug)]
pub(crate) struct UreqConnector {
    pub exchange: Exchange,
    pub attendant: Arc<dyn Attendant>,
    pub trust: Option<Trust>,
}

impl Connector for UreqConnector {
    type Out = UreqTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<UreqTransport>, Error> {
        let addrs: Vec<SocketAddr> = details.addrs.iter().copied().collect();
        let timeout = (*details.timeout.after).min(CONNECT_WAIT);
        let mut socket = Socket::connect(
            &addrs,
            timeout,
            self.exchange.early_response.clone(),
            Arc::clone(&self.attendant),
        )?;
        if let (true, Some(trust)) = (details.needs_tls(), &self.trust) {
            let host = details.uri.host().unwrap_or("");
            let host = host.trim_start_matches('[').trim_end_matches(']');
            socket
                .secure(trust, host, timeout)
                .map_err(|error| ureq_error(error, details.timeout))?;
        }
        let flags = &self.exchange.shared;
        flags.is_connected.store(true, Ordering::SeqCst);
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(UreqTransport {
            socket,
            buffers,
            exchange: self.exchange.clone(),
            is_left: false,
        }))
    }
}

/// A [`Socket`] as ureq's [`Transport`].
#[derive(Debug)]
pub(crate) struct UreqTransport {
    socket: Socket,
    buffers: LazyBuffers,
    exchange: Exchange,
    /// The buffer holds an answer that came in place of `100 Continue`: ureq has looked at it and left
    /// it there.
    is_left: bool,
}

impl UreqTransport {
    /// The wait for `100 Continue`, or for an answer in its place.
    fn await_continue(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let asked_for = !self.is_left
            && self
                .socket
                .await_continue(*timeout.after)
                .map_err(|error| self.broken(error, timeout))?;
        if asked_for {
            self.has_heard();
            self.buffers.input_append_buf()[..CONTINUE.len()].copy_from_slice(CONTINUE);
            self.buffers.input_appended(CONTINUE.len());
            return Ok(true);
        }
        self.is_left = true;
        self.receive(timeout)
    }

    fn receive(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let room = self.buffers.input_append_buf();
        let read = self
            .socket
            .receive(room, *timeout.after)
            .map_err(|error| self.broken(error, timeout))?;
        self.buffers.input_appended(read);
        if read > 0 {
            self.has_heard();
        } else {
            self.has_ended();
        }
        Ok(read > 0)
    }

    fn broken(&self, error: io::Error, timeout: NextTimeout) -> Error {
        if is_of_the_peer(error.kind()) {
            self.has_ended();
        }
        ureq_error(error, timeout)
    }

    fn has_ended(&self) {
        let flags = &self.exchange.shared;
        flags.is_ended.store(true, Ordering::SeqCst);
    }

    fn has_heard(&self) {
        let flags = &self.exchange.shared;
        flags.is_heard.store(true, Ordering::SeqCst);
    }
}

impl Transport for UreqTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        let output = &self.buffers.output()[..amount];
        self.socket
            .send(output, *timeout.after)
            .map_err(|error| self.broken(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        if timeout.reason == Timeout::Await100 {
            return self.await_continue(timeout);
        }
        let comes_back = mem::take(&mut self.is_left);
        if comes_back && !self.buffers.input().is_empty() {
            return Ok(true);
        }
        self.receive(timeout)
    }

    fn is_tls(&self) -> bool {
        self.socket.is_secure()
    }

    /// ureq asks this when an answer has been read to its end, and again before the next request. A
    /// connection on which the body was cut short is not kept: the peer may still wait for the rest.
    fn is_open(&mut self) -> bool {
        let is_kept = self.socket.is_ready_for_next();
        if is_kept {
            self.is_left = false;
            let flags = &self.exchange.shared;
            flags.is_connected.store(true, Ordering::SeqCst);
            flags.is_kept.store(true, Ordering::SeqCst);
        }
        is_kept
    }
}

/// Whether it is the peer that has ended the connection.
fn is_of_the_peer(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

/// A timeout under the name that ureq gave it, and a connection that was cut off under one that ureq
/// does not take for the end of an answer.
fn ureq_error(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ if timeout.reason == Timeout::RecvBody => Error::Io(cut_off(error)),
        _ => Error::Io(error),
    }
}

/// The same error text, as `ErrorKind::Other`.
fn cut_off(error: io::Error) -> io::Error {
    io::Error::other(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that is slow may have the request; one that had answered has heard of it.
    #[test]
    fn only_a_kept_connection_that_the_peer_ended_in_silence_is_tried_again() {
        let exchange = Exchange::default();
        let Flags {
            is_kept,
            is_heard,
            is_ended,
            ..
        } = &*exchange.shared;
        for [kept, ended, heard] in [
            [false, false, false],
            [false, true, false],
            [true, false, false],
            [true, true, false],
            [true, true, true],
        ] {
            exchange.begin();
            is_kept.store(kept, Ordering::SeqCst);
            is_ended.store(ended, Ordering::SeqCst);
            is_heard.store(heard, Ordering::SeqCst);
            assert_eq!(
                exchange.was_closed_before(),
                kept && ended && !heard,
                "kept {kept}, ended {ended}, heard {heard}"
            );
        }
        assert!(is_of_the_peer(io::ErrorKind::ConnectionReset));
        for ours in [io::ErrorKind::TimedOut, io::ErrorKind::Interrupted] {
            assert!(!is_of_the_peer(ours));
        }
    }
}
