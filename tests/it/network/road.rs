//! A road of ours between shippers and a receiver: it counts who passes, makes everybody late, or
//! is closed.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// One connection, which is one request of a shipper.
#[derive(Clone, Debug)]
pub struct Trip {
    /// Since the road was opened.
    pub at: Duration,
    /// The whole head, as far as it came in one piece; nothing while the road was closed.
    pub head: String,
}

impl Trip {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or("")
    }
}

struct Shared {
    to: Mutex<SocketAddr>,
    closed: AtomicBool,
    /// Each way.
    delay: Duration,
    trips: Mutex<Vec<Trip>>,
    start: Instant,
}

pub struct Road {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Road {
    pub fn open(at: &str, to: SocketAddr, delay: Duration) -> Road {
        let listener = TcpListener::bind(at).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to: Mutex::new(to),
            closed: AtomicBool::new(false),
            delay,
            trips: Mutex::default(),
            start: Instant::now(),
        });
        let served = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = served.clone();
                // Either end may go away at any time: that is what happens on roads.
                thread::spawn(move || shared.carry(stream));
            }
        });
        Road { address, shared }
    }

    /// From now on each connection is accepted and closed without a word.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
    }

    pub fn reopen(&self, to: SocketAddr) {
        *self.shared.to.lock().unwrap() = to;
        self.shared.closed.store(false, Ordering::SeqCst);
    }

    pub fn now(&self) -> Duration {
        self.shared.start.elapsed()
    }

    pub fn trips(&self) -> Vec<Trip> {
        self.shared.trips.lock().unwrap().clone()
    }
}

impl Shared {
    fn carry(&self, mut near: TcpStream) -> Option<()> {
        let at = self.start.elapsed();
        let note = |head| self.trips.lock().unwrap().push(Trip { at, head });
        if self.closed.load(Ordering::SeqCst) {
            note(String::new());
            return None;
        }
        near.set_nodelay(true).ok()?;
        let mut first = vec![0; 4096];
        let length = near.read(&mut first).ok()?;
        first.truncate(length);
        note(String::from_utf8_lossy(&first).into_owned());
        let to = *self.to.lock().unwrap();
        let mut far = TcpStream::connect(to).ok()?;
        far.set_nodelay(true).ok()?;
        thread::sleep(self.delay);
        far.write_all(&first).ok()?;
        thread::scope(|scope| {
            scope.spawn(|| one_way(&near, &far, self.delay));
            one_way(&far, &near, self.delay);
        });
        Some(())
    }
}

/// What arrives leaves `delay` later. Ends when either end does.
fn one_way(mut from: &TcpStream, mut to: &TcpStream, delay: Duration) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        thread::sleep(delay);
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
