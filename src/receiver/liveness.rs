//! The proof that the receiver works, for systemd's watchdog. No beat is sent by a timer alone: it
//! follows a round in which every part that requests need has answered.
//!
//! 1. The shared threads (clerks, the committer's sync threads, gate timer) answer from their own loops, between two
//!    pieces of work. Slow work delays the answer, but never as long as the unit's `WatchdogSec`.
//! 2. So do may's workers, which run the coroutines: one that is stuck keeps the connections that fell to it.
//!    And the receiver connects to itself: the accept loop and a connection's coroutine answer.
//! 3. Where the receiver cannot connect to itself (a packet filter, an address that is gone), that
//!    part of the round proves nothing, and the process must not be ended for it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::config::own_address;
use super::critical_thread::{ShutdownHandle, spawn_critical};
use super::http::{CONNECTIONS, Server};
use crate::events;
use crate::failure::Failure;
use crate::service;

/// The pause before the question. A coroutine that found the question at once would not wait for its
/// worker, and so would prove nothing about it.
const BEFORE_QUESTION: Duration = Duration::from_millis(10);
const CONNECT_WAIT: Duration = Duration::from_secs(2);
const QUESTION: &[u8] = b"GET /v1/health HTTP/1.1\r\nHost: cis490-watchdog\r\n\r\n";

/// Starts the rounds, if systemd has a watchdog for this process.
///
/// Errors: the system could not start a thread.
pub(super) fn start(server: Server, shutdown: &ShutdownHandle) -> Result<(), Failure> {
    let Some(interval) = service::beat_interval() else {
        return Ok(());
    };
    let mut heartbeat = Heartbeat {
        server,
        interval,
        cannot_connect: false,
    };
    spawn_critical("heartbeat", shutdown, move || heartbeat.run())
}

struct Heartbeat {
    server: Server,
    interval: Duration,
    /// The log says already that the receiver cannot connect to itself.
    cannot_connect: bool,
}

impl Heartbeat {
    fn run(&mut self) {
        let mut last_beat = Instant::now();
        loop {
            let begun = Instant::now();
            let silent = self.round(begun + self.interval);
            if silent.is_empty() {
                service::beat();
                service::status(&self.server.status_line());
                last_beat = Instant::now();
            } else {
                events::parts_silent(&silent, last_beat.elapsed());
            }
            thread::sleep(self.interval.saturating_sub(begun.elapsed()));
        }
    }

    /// Asks all parts, and returns the names of those that have not answered by the deadline.
    fn round(&mut self, deadline: Instant) -> Vec<&'static str> {
        let (sender, pongs) = mpsc::channel();
        let mut silent = self.server.ping(|part| {
            let sender = sender.clone();
            Box::new(move || {
                // After the round nobody receives this.
                let _ = sender.send(part);
            })
        });
        drop(sender);
        let is_answered = self.connection_is_answered(deadline);
        while !silent.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match pongs.recv_timeout(left) {
                Ok(part) => {
                    let place = silent.iter().position(|other| *other == part);
                    place.map(|place| silent.remove(place));
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        if !is_answered {
            silent.push(CONNECTIONS);
        }
        silent.dedup();
        silent
    }

    fn connection_is_answered(&mut self, deadline: Instant) -> bool {
        let address = own_address(self.server.address);
        let mut probe = match TcpStream::connect_timeout(&address, CONNECT_WAIT) {
            Ok(probe) => probe,
            Err(error) => return self.proves_nothing(address, &error),
        };
        if !is_answered(&mut probe, deadline) && !self.server.is_crowded() {
            return false;
        }
        self.cannot_connect = false;
        true
    }

    fn proves_nothing(&mut self, address: SocketAddr, error: &io::Error) -> bool {
        if !self.cannot_connect {
            events::cannot_probe(address, error);
        }
        self.cannot_connect = true;
        true
    }
}

fn is_answered(probe: &mut TcpStream, deadline: Instant) -> bool {
    thread::sleep(BEFORE_QUESTION);
    // std does not accept a timeout of zero.
    let left = deadline.saturating_duration_since(Instant::now());
    let left = left.max(Duration::from_millis(1));
    let mut answer = [0; 2048];
    probe.set_read_timeout(Some(left)).is_ok()
        && probe.write_all(QUESTION).is_ok()
        && probe.read(&mut answer).is_ok_and(|bytes| bytes > 0)
        && answer.starts_with(b"HTTP/1.1 ")
}
