//! A request as the room sees it, and the body behind it.

use std::io::{self, Read};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::connection::unsettled::Standing;
use super::{Answer, Outgoing};
use crate::sys::{self, Direction};

/// At most so many bytes of a body are waited for before a wake-up. Each packet would wake its reader otherwise, and
/// with it the worker of the connection's coroutine, which has nothing to do: over a line of 1 Gbit/s that was more than
/// half of the processor time of a large upload (`just bench line`).
const BYTES_TO_WAKE_FOR_MAX: u64 = 128 << 10;
/// And no more than the bytes that have come before divided by this. TCP's window opens as the bytes are read: a reader
/// that waits for a large part of a small window holds the peer up. With 128 KiB from the beginning an upload over 20 ms
/// there and back took more than six times as long (`just bench far`).
const RECEIVED_DIVISOR: u64 = 16;
/// How long they are waited for. Any byte is enough after that: the peer is slow.
const GATHERS: Duration = Duration::from_millis(20);

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
            wakes_from: 1,
            has_read: false,
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
    /// Who waits for the socket is woken when so many bytes are in it.
    wakes_from: u64,
    /// Something has been read since the last wait.
    has_read: bool,
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
        self.has_read |= count > 0;
        Ok(count)
    }

    /// Waits until there is something to read, or the peer has ended. After a read it first waits up to [`GATHERS`] for as
    /// much as is worth a wake-up ([`bytes_to_wake_for`]), then for any byte. False if `patience` is over before anything
    /// has come.
    pub(crate) fn wait(&mut self, patience: Duration) -> io::Result<bool> {
        let mut left = patience;
        if mem::take(&mut self.has_read) {
            let gathers = patience.min(GATHERS);
            if self.wait_for(bytes_to_wake_for(self.received(), self.left), gathers)? {
                return Ok(true);
            }
            left -= gathers;
        }
        self.wait_for(1, left)
    }

    fn wait_for(&mut self, bytes: u64, patience: Duration) -> io::Result<bool> {
        self.wake_from(bytes);
        sys::wait_socket(self.connection.socket(), Direction::Readable, patience)
    }

    fn wake_from(&mut self, bytes: u64) {
        if self.wakes_from != bytes {
            sys::wake_readers_at(self.connection.socket(), bytes as usize);
            self.wakes_from = bytes;
        }
    }
}

impl Drop for Body {
    /// The next head of the connection may be shorter than what the body would have been waited for.
    fn drop(&mut self) {
        self.wake_from(1);
    }
}

/// How many bytes are worth a wake-up when so many have been received and so many are left.
fn bytes_to_wake_for(received: u64, left: u64) -> u64 {
    let part = (received / RECEIVED_DIVISOR).clamp(1, BYTES_TO_WAKE_FOR_MAX);
    part.min(left)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::thread;
    use std::time::Instant;

    use rustix::event::{Timespec, epoll};

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

    /// A body of which so much has been read.
    fn body(connection: &Arc<Connection>, received: u64, left: u64) -> Body {
        Body {
            connection: Arc::clone(connection),
            stated: received + left,
            left,
            wakes_from: 1,
            has_read: received > 0,
        }
    }

    /// Sends so many bytes and waits until they are in the other's socket.
    fn send(client: &mut TcpStream, connection: &Connection, bytes: u64) {
        let unread = || sys::unread_bytes(connection.socket()).unwrap();
        let before = unread();
        client.write_all(&vec![7; bytes as usize]).unwrap();
        let give_up = Instant::now() + SOON;
        while unread() < before + bytes {
            assert!(Instant::now() < give_up);
            thread::yield_now();
        }
    }

    fn read_all(body: &mut Body) -> usize {
        body.read(&mut vec![0; 1 << 20]).unwrap()
    }

    const SOON: Duration = Duration::from_secs(20);
    const MIB: u64 = 1 << 20;

    #[test]
    fn a_body_wakes_for_a_part_of_what_has_come_and_for_its_end() {
        for (received, left, bytes) in [
            (0, 10 * MIB, 1),
            (16, 10 * MIB, 1),
            (64 << 10, 10 * MIB, 4 << 10),
            (64 << 10, 100, 100),
            (MIB, 10 * MIB, 64 << 10),
            (3 * MIB, 10 * MIB, 128 << 10),
            (3 * MIB, 5000, 5000),
            (1 << 50, 1 << 50, 128 << 10),
        ] {
            assert_eq!(bytes_to_wake_for(received, left), bytes, "{received}");
        }
    }

    #[test]
    fn a_part_of_a_body_wakes_nobody_before_enough_is_here() {
        let (mut client, connection) = connection();
        // A 16th of the first is 2 KiB, and the rest of the second is less than a 16th.
        for (received, left, enough) in [(32 << 10, MIB, 2048), (MIB, 3000, 3000)] {
            let mut body = body(&connection, received, left);
            send(&mut client, &connection, 1000);
            assert!(!body.wait_for(enough, Duration::ZERO).unwrap());
            thread::scope(|scope| {
                let waiting = scope.spawn(|| body.wait_for(enough, SOON).unwrap());
                send(&mut client, &connection, enough - 1000);
                assert!(waiting.join().unwrap());
            });
            assert!(body.wait(SOON).unwrap());
            assert_eq!((body.wakes_from, body.has_read), (enough, false));
            assert_eq!(read_all(&mut body) as u64, enough);
        }
    }

    #[test]
    fn a_slow_body_is_read_as_it_comes() {
        let (mut client, connection) = connection();
        let mut body = body(&connection, 10 * MIB, MIB);
        for _ in 0..3 {
            send(&mut client, &connection, 1);
            let began = Instant::now();
            assert!(body.wait(SOON).unwrap());
            assert!(began.elapsed() < SOON / 2);
            assert_eq!((body.wakes_from, body.has_read), (1, false));
            assert_eq!(read_all(&mut body), 1);
        }
        assert!(!body.wait(GATHERS).unwrap());
        client.shutdown(Shutdown::Write).unwrap();
        assert!(
            body.wait_for(BYTES_TO_WAKE_FOR_MAX, SOON).unwrap(),
            "the end"
        );
        assert_eq!(read_all(&mut body), 0);
    }

    /// may_minihttp is woken by an edge: it hears of what came while that was not enough to wake anybody.
    #[test]
    fn what_comes_behind_a_body_wakes_at_its_end() {
        let (mut client, connection) = connection();
        let edges = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let wanted = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(
            &edges,
            connection.socket(),
            epoll::EventData::new_u64(1),
            wanted,
        )
        .unwrap();
        let woken = || {
            let mut events = [epoll::Event {
                flags: epoll::EventFlags::empty(),
                data: epoll::EventData::new_u64(0),
            }];
            epoll::wait(&edges, &mut events[..], Some(&Timespec::default())).unwrap() > 0
        };
        let mut whole = body(&connection, 10 * MIB, MIB);
        assert!(
            !whole
                .wait_for(BYTES_TO_WAKE_FOR_MAX, Duration::ZERO)
                .unwrap()
        );
        send(&mut client, &connection, 3);
        assert!(!woken());
        drop(whole);
        assert!(woken());
        assert!(!woken(), "an edge");
    }
}
