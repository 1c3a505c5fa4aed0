//! A request as the room sees it, and the body behind it.

use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::connection::unsettled::Standing;
use super::{Answer, Outgoing};
use crate::sys::{self, Direction};

/// One request whose head is whole. Its body is still in the socket.
pub(crate) struct Request<'a> {
    pub method: &'a str,
    /// The request target, as it was sent.
    pub target: &'a str,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub version: u8,
    /// There was no place for its connection: it is to be refused.
    pub is_over_cap: bool,
    pub(super) fields: &'a [httparse::Header<'a>],
    pub(super) connection: &'a Arc<Connection>,
}

impl<'a> Request<'a> {
    /// The header fields in the order they came: name and value.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.fields.iter().map(|field| (field.name, field.value))
    }

    /// The address that the request came from; an IPv4 address behind IPv6 as IPv4.
    pub(crate) fn peer(&self) -> IpAddr {
        self.connection.peer()
    }

    /// The body of so many bytes that follows the head.
    pub(crate) fn body(&self, bytes: u64) -> Body {
        Body {
            connection: Arc::clone(self.connection),
            stated: bytes,
            left: bytes,
        }
    }

    /// Bytes of answers that the connection was given so far, whether they have left or not.
    pub(crate) fn answered_bytes(&self) -> u64 {
        self.connection.answered_bytes()
    }

    /// For a plain thread to answer the request, while the coroutine of the connection waits.
    pub(crate) fn responder(&self) -> Responder {
        Responder(Arc::clone(self.connection))
    }

    /// Asks the peer for the body; see [`Body::ask_for_it`].
    pub(crate) fn ask_for_the_body(&self) {
        ask_for_the_body(self.connection);
    }
}

fn ask_for_the_body(connection: &Connection) {
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
    let written = connection.write_directly(go_on);
    if !written.is_ok_and(|written| written == go_on.len()) {
        connection.kill();
    }
}

/// Answers one request from a plain thread, while the coroutine of its connection waits.
pub(crate) struct Responder(pub(super) Arc<Connection>);

impl Responder {
    /// Whether the connection can go on after an answer that is left unsettled (`Outgoing::leave`): the
    /// one before is settled, and the request was the last thing that the peer has sent.
    pub(crate) fn may_go_on(&self) -> bool {
        self.0.settle_if_taken() == Standing::Settled && self.0.is_followed_by_nothing()
    }

    /// The answer, on its way. `closes`: it is the last one of its connection.
    pub(crate) fn outgoing(self, answer: Answer, closes: bool) -> Outgoing {
        Outgoing::new(self.0, answer, closes)
    }

    /// Sends an answer, after which the connection goes on. It comes back if nothing of it could be
    /// sent: then the coroutine has to. `Ok(false)` if a part of it was, and nothing may follow: a peer that
    /// sends one upload after the other and reads no answer may come to that.
    pub(crate) fn send(&self, answer: Answer) -> Result<bool, Answer> {
        if !answer.is_for_the_crate() {
            return Err(answer);
        }
        let bytes = answer.to_bytes(true, false);
        self.0.begin_to_wait();
        match self.0.write_directly(&bytes) {
            Ok(written) => Ok(written == bytes.len()),
            Err(_) => {
                self.0.be_busy_again();
                Err(answer)
            }
        }
    }
}

/// What is still to come of a request's body. A plain thread may read it while the coroutine of the
/// connection waits.
pub(crate) struct Body {
    connection: Arc<Connection>,
    stated: u64,
    left: u64,
}

/// Ends the connection of a body, from any thread or coroutine.
#[derive(Clone)]
pub(crate) struct Cutter(Arc<Connection>);

impl Cutter {
    /// The reader of the body finds its end. The peer gets a reset.
    pub(crate) fn cut(&self) {
        self.0.kill();
    }
}

impl Body {
    pub(crate) fn cutter(&self) -> Cutter {
        Cutter(Arc::clone(&self.connection))
    }

    pub(crate) fn peer(&self) -> IpAddr {
        self.connection.peer()
    }

    /// Writes `100 Continue`, which a peer waits for that expects it. Where that cannot be written, the
    /// connection is ended, and a reader of the body finds its end.
    pub(crate) fn ask_for_it(&self) {
        ask_for_the_body(&self.connection);
    }

    /// How many bytes the head has stated.
    pub(crate) fn stated(&self) -> u64 {
        self.stated
    }

    /// How many of them have been read.
    pub(crate) fn received(&self) -> u64 {
        self.stated - self.left
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Reads what has come, and nothing behind the body; how many bytes that was. 0 if the peer has
    /// ended, if the connection was ended here, or if the body is complete.
    ///
    /// Errors: `WouldBlock` while nothing is here, and those of read(2).
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.connection.is_dead() {
            return Ok(0);
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let end = buffer.len().min(left);
        let count = self.connection.socket().read(&mut buffer[..end])?;
        self.left -= count as u64;
        Ok(count)
    }

    /// Waits until there is something to read, or the peer has ended. False if `patience` is over
    /// before that.
    pub(crate) fn wait(&self, patience: Duration) -> io::Result<bool> {
        sys::wait_socket(self.connection.socket(), Direction::Readable, patience)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::super::connection::Phase;
    use super::*;

    fn connection() -> (TcpStream, Arc<Connection>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        (client, Arc::new(Connection::guard(socket).unwrap()))
    }

    fn answer() -> Answer {
        Answer::new(201, Vec::new(), b"stored".to_vec())
    }

    /// At the cap a newcomer may count on the place of one that has its answer.
    #[test]
    fn a_connection_waits_when_its_peer_has_the_answer() {
        let (mut client, connection) = connection();
        assert!(connection.begin_request());
        let sent = Responder(Arc::clone(&connection)).send(answer());
        assert!(matches!(sent, Ok(true)));
        let mut heard = vec![0; answer().to_bytes(true, false).len()];
        client.read_exact(&mut heard).unwrap();
        assert!(heard.starts_with(b"HTTP/1.1 201 ") && heard.ends_with(b"\r\n\r\nstored"));
        assert_eq!(connection.phase(), Phase::Between);
    }

    #[test]
    fn an_answer_that_cannot_be_sent_comes_back_and_the_connection_stays_busy() {
        let (_client, connection) = connection();
        assert!(connection.begin_request());
        let responder = Responder(Arc::clone(&connection));
        let own = answer().with_own_line("X-Own: 1".to_owned());
        assert!(responder.send(own).is_err());
        assert_eq!(connection.phase(), Phase::Busy);
        // may_minihttp has not written the answer before.
        connection.end_request(5);
        assert!(connection.begin_request());
        assert!(responder.send(answer()).is_err());
        assert_eq!(connection.phase(), Phase::Busy);
    }
}
