//! The next request of a connection, taken by the plain thread that has answered the one before, while the
//! coroutine of the connection still waits for that thread: may_minihttp hears nothing of it.
//!
//! 1. The head is looked at (`MSG_PEEK`), and leaves the kernel's buffer only when it is wanted. Whatever
//!    else comes stays there for may_minihttp, as if nobody had looked: half a head, one that is no request, another
//!    kind of request, the peer's end.
//! 2. may_minihttp looks for it when the coroutine goes on: may remembers that something has come since the
//!    coroutine last waited for the socket, and what came before that is known to `intake`.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::{FIELDS_MAX, Request, Responder};
use crate::sys::{self, Direction};

/// Longer heads are left to may_minihttp. The program's own are shorter.
const HEAD_BYTES_HERE_MAX: usize = 2048;

impl Responder {
    /// Waits for the next request, `patience` at most; the one before was answered whole by this, and its body
    /// read. Returns what `judge` makes of it: the head is taken then, and the same thread is to answer. `None` leaves
    /// the request to the coroutine of the connection.
    pub(crate) fn next<T>(
        &self,
        patience: Duration,
        judge: impl FnOnce(&Request) -> Option<T>,
    ) -> Option<T> {
        let is_here = sys::wait_socket(self.0.socket(), Direction::Readable, patience);
        if !is_here.unwrap_or(false) {
            return None;
        }
        take_head(&self.0, judge)
    }
}

fn take_head<T>(
    connection: &Arc<Connection>,
    judge: impl FnOnce(&Request) -> Option<T>,
) -> Option<T> {
    let mut bytes = [0; HEAD_BYTES_HERE_MAX];
    let seen = connection.socket().peek(&mut bytes).ok()?;
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head) = parsed.parse(&bytes[..seen]).ok()? else {
        return None;
    };
    let judged = judge(&Request {
        method: parsed.method?,
        target: parsed.path?,
        version: parsed.version?,
        // The one before had a place.
        is_over_cap: false,
        fields: parsed.headers,
        connection,
    })?;
    if !connection.begin_request() {
        return None;
    }
    match connection.socket().read(&mut bytes[..head]) {
        Ok(count) if count == head => Some(judged),
        // Not what was looked at: where the request ends is not known.
        _ => {
            connection.kill();
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::super::connection::Phase;
    use super::*;

    const PUT: &[u8] = b"PUT /a HTTP/1.1\r\nHost: pi\r\nContent-Length: 4\r\n\r\nbody";

    fn pair() -> (TcpStream, Arc<Connection>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        (client, Arc::new(Connection::guard(socket).unwrap()))
    }

    /// The target and the body of the next request, if it is a PUT.
    fn next(connection: &Arc<Connection>) -> Option<(String, Vec<u8>)> {
        let responder = Responder(Arc::clone(connection));
        let judge = |request: &Request| {
            let is_put = request.method == "PUT";
            is_put.then(|| (request.target.to_owned(), request.body(4)))
        };
        let (target, mut body) = responder.next(Duration::from_millis(100), judge)?;
        let mut bytes = [0; 16];
        let count = body.read(&mut bytes).unwrap();
        Some((target, bytes[..count].to_vec()))
    }

    fn unread(connection: &Connection) -> usize {
        connection.socket().peek(&mut [0; 16 << 10]).unwrap_or(0)
    }

    #[test]
    fn a_wanted_request_is_taken_and_its_body_is_left() {
        let (mut client, connection) = pair();
        assert!(connection.begin_request());
        connection.begin_to_wait();
        client.write_all(&[PUT, PUT].concat()).unwrap();
        for requests in 2..4 {
            let taken = next(&connection);
            assert_eq!(taken, Some(("/a".to_owned(), b"body".to_vec())));
            assert_eq!(connection.requests(), requests);
            assert_eq!(connection.phase(), Phase::Busy);
            connection.begin_to_wait();
        }
        assert_eq!(next(&connection), None, "nothing comes in time");
        let (begin, end) = PUT.split_at(20);
        client.write_all(begin).unwrap();
        assert_eq!(next(&connection), None, "half a head");
        client.write_all(end).unwrap();
        assert!(next(&connection).is_some());
    }

    #[test]
    fn whatever_else_comes_is_left_where_it_is() {
        let long = format!("PUT /a HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(3000));
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: pi\r\n\r\n"[..],
            &PUT[..20],
            b"\r\n\r\n",
            b"\x16\x03\x01\x00\xa5\x01 no request \r\n\r\n",
            long.as_bytes(),
        ] {
            let (mut client, connection) = pair();
            client.write_all(bytes).unwrap();
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!(next(&connection), None, "{shown}");
            assert_eq!(unread(&connection), bytes.len(), "{shown}");
            assert_eq!((connection.requests(), connection.is_dead()), (0, false));
        }
        let (client, connection) = pair();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(next(&connection), None);
        assert!(!connection.is_dead());
    }

    /// It has made room for another connection since its answer.
    #[test]
    fn nothing_is_taken_from_a_connection_that_is_over() {
        let (mut client, connection) = pair();
        client.write_all(PUT).unwrap();
        assert!(sys::wait_socket(connection.socket(), Direction::Readable, Duration::MAX).unwrap());
        connection.kill();
        assert_eq!(next(&connection), None);
        assert_eq!(connection.phase(), Phase::Over);
    }
}
