//! Closing answers: every answer that is given before the whole body was read, or on a connection
//! that ends with it.
//!
//! Closing a socket with unread bytes resets the connection and can destroy an answer that the
//! peer has not read yet. So: write it whole, `shutdown(Write)`, take what the peer still sends (up
//! to a bound), `shutdown(Both)`. A client in the middle of a 1 GiB body then still reads its 412.
//! The draining of all such connections is one plain thread's; the coroutine waits on a channel.

use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use crate::failure::Failure;
use crate::receiver::vital::{self, Stopper};
use crate::sys::{self, Direction};

const DRAIN_BYTES_MAX: u64 = 64 << 20;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// How much one connection is given before the next has its turn.
const TURN_BYTES_MAX: u64 = 1 << 20;
/// How long a poll may last, and so how long a new closing waits for its first turn.
const POLL: Duration = Duration::from_millis(10);

struct Closing {
    connection: Arc<Connection>,
    drained_bytes: u64,
    until: Instant,
    /// Dropped when the closing is over; the coroutine waits for that.
    _done: may::sync::mpsc::Sender<()>,
}

pub struct Closer(mpsc::Sender<Closing>);

impl Closer {
    pub fn start(stopper: &Stopper) -> Result<Closer, Failure> {
        let (sender, arrivals) = mpsc::channel();
        vital::spawn_vital("closer", stopper, move || drain_all(&arrivals))?;
        Ok(Closer(sender))
    }

    /// Sends `answer` as the last thing on this connection. Called in the connection's coroutine,
    /// which waits here until the peer has had the time to read it.
    pub fn close(&self, connection: &Arc<Connection>, answer: &[u8]) {
        connection.mark_dead();
        if connection.write_directly(answer).is_err() {
            return connection.kill();
        }
        let _ = connection.socket().shutdown(Shutdown::Write);
        let (done, over) = may::sync::mpsc::channel();
        let closing = Closing {
            connection: Arc::clone(connection),
            drained_bytes: 0,
            until: Instant::now() + DRAIN_TIME_MAX,
            _done: done,
        };
        if self.0.send(closing).is_ok() {
            let _ = over.recv();
        }
        connection.kill();
    }
}

fn drain_all(arrivals: &mpsc::Receiver<Closing>) {
    let mut closings: Vec<Closing> = Vec::new();
    let mut scratch = vec![0; 64 * 1024];
    loop {
        if closings.is_empty() {
            match arrivals.recv() {
                Ok(closing) => closings.push(closing),
                Err(_) => return,
            }
        }
        closings.extend(arrivals.try_iter());
        let sockets = closings.iter().map(|closing| closing.connection.socket());
        if sys::wait_any(sockets, Direction::Readable, POLL).is_err() {
            // Out of kernel memory, say. Slower, and still bounded by each closing's deadline.
            std::thread::sleep(POLL);
        }
        closings.retain_mut(|closing| closing.goes_on(&mut scratch));
    }
}

impl Closing {
    /// Takes what has come. False once the peer has ended, or had its share of bytes or time.
    fn goes_on(&mut self, scratch: &mut [u8]) -> bool {
        let turn_end = self.drained_bytes + TURN_BYTES_MAX;
        while self.drained_bytes < turn_end {
            let mut socket = self.connection.socket();
            match socket.read(scratch) {
                Ok(0) => return false,
                Ok(n) => self.drained_bytes += n as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.drained_bytes < DRAIN_BYTES_MAX && Instant::now() < self.until
    }
}
