//! The proof that the receiver works, for systemd's watchdog. Nothing here keeps time alone: a beat
//! is sent after a round in which all that every request needs has answered.
//!
//! 1. The shared threads (clerks, committer, gate timer) answer from their own loops, between two
//!    pieces of work. Slow work delays them, and the unit's `WatchdogSec` is longer than any.
//! 2. Connections to ourselves are answered by the accept loop and by the coroutines. may polls a
//!    socket on the worker that its descriptor's number falls to, so several are held at once and
//!    all must be answered: one worker that is stuck is found out.
//! 3. Where we cannot connect to ourselves (a packet filter, an address that has gone) that part
//!    proves nothing, and is no reason to be ended.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::http::Server;
use super::vital::{Stopper, spawn_vital};
use crate::events;
use crate::failure::Failure;
use crate::service;

/// Connections held at once: each takes three descriptors of ours, so they fall to both workers.
const PROBES: usize = 4;
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Longer than any answer of `GET /v1/health`.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
const QUESTION: &[u8] =
    b"GET /v1/health HTTP/1.1\r\nHost: cis490-watchdog\r\nConnection: close\r\n\r\n";
const CONNECTIONS: &str = "connections";

/// Starts to prove it, if systemd waits for that.
///
/// Errors: the system gave no thread.
pub fn start(server: Server, stopper: &Stopper) -> Result<(), Failure> {
    let Some(interval) = service::beat_interval() else {
        return Ok(());
    };
    let mut heart = Heart {
        server,
        interval,
        cannot_connect: false,
    };
    spawn_vital("heartbeat", stopper, move || heart.run())
}

struct Heart {
    server: Server,
    interval: Duration,
    /// It was told that we cannot connect to ourselves.
    cannot_connect: bool,
}

impl Heart {
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

    /// Asks all parts, and names those that had not answered by then.
    fn round(&mut self, deadline: Instant) -> Vec<&'static str> {
        let (sender, pongs) = mpsc::channel();
        let mut silent = self.server.ping(|part| {
            let sender = sender.clone();
            Box::new(move || {
                // A round that is over hears no more.
                let _ = sender.send(part);
            })
        });
        drop(sender);
        if !self.connections_answer(deadline) {
            silent.push(CONNECTIONS);
        }
        while silent.iter().any(|part| *part != CONNECTIONS) {
            let left = deadline.saturating_duration_since(Instant::now());
            match pongs.recv_timeout(left) {
                Ok(part) => silent.retain(|other| *other != part),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        silent
    }

    fn connections_answer(&mut self, deadline: Instant) -> bool {
        let address = reachable(self.server.address);
        let asked: io::Result<Vec<_>> = (0..PROBES).map(|_| ask(address, deadline)).collect();
        match asked {
            Ok(mut asked) => {
                self.cannot_connect = false;
                asked.iter_mut().all(|probe| hears(probe, deadline)) || self.server.is_crowded()
            }
            Err(error) => {
                if !self.cannot_connect {
                    events::cannot_probe(address, &error);
                }
                self.cannot_connect = true;
                true
            }
        }
    }
}

fn ask(address: SocketAddr, deadline: Instant) -> io::Result<TcpStream> {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut probe = TcpStream::connect_timeout(&address, left.clamp(MOMENT, CONNECT_WAIT))?;
    probe.write_all(QUESTION)?;
    Ok(probe)
}

/// std refuses a timeout of nothing.
const MOMENT: Duration = Duration::from_millis(1);

fn hears(probe: &mut TcpStream, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut answer = Vec::new();
    probe.set_read_timeout(Some(left.max(MOMENT))).is_ok()
        && probe
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut answer)
            .is_ok()
        && answer.starts_with(b"HTTP/1.1 ")
}

/// Where we reach ourselves: an unspecified address is every one of ours.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_reach_ourselves_where_we_listen() {
        for (listen, address) in [
            ("0.0.0.0:8490", "127.0.0.1:8490"),
            ("[::]:8490", "[::1]:8490"),
            ("10.8.0.1:1", "10.8.0.1:1"),
        ] {
            let reached = reachable(listen.parse().unwrap());
            assert_eq!(reached, address.parse().unwrap());
        }
    }
}
