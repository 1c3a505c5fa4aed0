//! What the service manager hears of us: ready, stopping, in words how it goes, and that the work
//! goes on. One datagram each, to the socket that systemd names in `NOTIFY_SOCKET`.
//!
//! 1. Without that socket nothing is sent and nothing costs: a person's terminal, a container.
//! 2. Nothing here fails the work: what cannot be told is not told.
//! 3. A beat (`WATCHDOG=1`) is sent by whoever has proof that the work goes on, never by a timer
//!    that would outlive it: [`alive`] by a loop that does the work itself, [`beat`] by one that
//!    has had answers from all that do.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long systemd may keep us waiting: it is busy, and the work is not to wait for it.
const SEND_WAIT: Duration = Duration::from_secs(1);
/// Beats in the time after which systemd gives us up.
const BEATS: u32 = 4;

/// The one that started this process.
fn manager() -> Option<&'static Manager> {
    static MANAGER: OnceLock<Option<Manager>> = OnceLock::new();
    MANAGER
        .get_or_init(|| {
            let watchdog = watchdog_time(
                env::var("WATCHDOG_USEC").ok().as_deref(),
                env::var("WATCHDOG_PID").ok().as_deref(),
                process::id(),
            );
            Manager::at(&env::var_os("NOTIFY_SOCKET")?, watchdog).ok()
        })
        .as_ref()
}

/// The work has begun. `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    if let Some(manager) = manager() {
        manager.say_status("READY=1\n", status);
    }
}

/// The end has begun, and may take so long.
pub fn stopping(status: &str, wait: Duration) {
    if let Some(manager) = manager() {
        let extend = format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\n", wait.as_micros());
        manager.say_status(&extend, status);
    }
}

/// How it goes, in words; the same words are sent once.
pub fn status(status: &str) {
    if let Some(manager) = manager() {
        manager.say_status("", status);
    }
}

/// Between two beats that [`beat`] should send; `None` if nobody waits for them.
pub fn beat_interval() -> Option<Duration> {
    manager()?.watchdog.map(|time| time / BEATS)
}

/// The work goes on: there is proof of it.
pub fn beat() {
    if let Some(manager) = manager() {
        manager.say("WATCHDOG=1");
    }
}

/// The work goes on, says the loop that does it. Cheap: a beat is sent when one is due.
pub fn alive() {
    if let Some(manager) = manager() {
        manager.beat_if_due();
    }
}

/// Does a step that cannot tell how it goes on, such as the sync of a large file, and has systemd
/// wait `time` longer meanwhile. For a loop that says [`alive`].
pub fn long_step<T>(time: Duration, step: impl FnOnce() -> T) -> T {
    let watched = manager().and_then(|manager| Some((manager, manager.watchdog?)));
    let Some((manager, usual)) = watched else {
        return step();
    };
    manager.set_watchdog(usual.saturating_add(time));
    let done = step();
    manager.set_watchdog(usual);
    done
}

struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Without a beat for this long, it ends us.
    watchdog: Option<Duration>,
    start: Instant,
    /// When the last beat of [`alive`] was sent, in microseconds since `start`; 0 is never.
    beaten_us: AtomicU64,
    last_status: Mutex<String>,
}

impl Manager {
    /// `name` is a path, or `@NAME` in the abstract namespace.
    fn at(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Manager> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::ErrorKind::InvalidInput.into()), // vsock: we are no virtual machine
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_WAIT))?;
        Ok(Manager {
            socket,
            address,
            watchdog,
            start: Instant::now(),
            beaten_us: AtomicU64::new(0),
            last_status: Mutex::default(),
        })
    }

    fn say(&self, words: &str) {
        // A manager that does not listen is its own fault; it will end us or not.
        let _ = self.socket.send_to_addr(words.as_bytes(), &self.address);
    }

    /// `before` is sent in any case, the status if it is a new one.
    fn say_status(&self, before: &str, status: &str) {
        let line = status.replace('\n', " ");
        let mut last = self
            .last_status
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_new = *last != line;
        if is_new || !before.is_empty() {
            self.say(&format!("{before}STATUS={line}"));
            *last = line;
        }
    }

    fn beat_if_due(&self) {
        let Some(watchdog) = self.watchdog else {
            return;
        };
        let now_us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let between_us = u64::try_from((watchdog / BEATS).as_micros()).unwrap_or(u64::MAX);
        let beaten_us = self.beaten_us.load(Ordering::Relaxed);
        if beaten_us == 0 || now_us >= beaten_us.saturating_add(between_us) {
            self.beaten_us.store(now_us.max(1), Ordering::Relaxed);
            self.say("WATCHDOG=1");
        }
    }

    fn set_watchdog(&self, time: Duration) {
        self.say(&format!("WATCHDOG_USEC={}\nWATCHDOG=1", time.as_micros()));
    }
}

/// The time after which a beat is missed, if it is meant for this process.
fn watchdog_time(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    let usec = usec?.parse().ok().filter(|usec| *usec > 0)?;
    is_ours.then_some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 500];
        let n = socket.recv(&mut buffer).unwrap_or(0);
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }

    fn listener(address: &SocketAddr) -> UnixDatagram {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket
    }

    #[test]
    fn a_path_and_an_abstract_name_are_both_reached() {
        let name = format!("cis490-notify-{}", process::id());
        let path = env::temp_dir().join(&name);
        let by_path = listener(&SocketAddr::from_pathname(&path).unwrap());
        let by_name = listener(&SocketAddr::from_abstract_name(&name).unwrap());
        for (socket, address) in [
            (&by_path, path.clone().into_os_string()),
            (&by_name, format!("@{name}").into()),
        ] {
            let manager = Manager::at(&address, None).unwrap();
            manager.say_status("READY=1\n", "up");
            manager.say_status("", "up");
            manager.say_status("", "two\nlines");
            manager.beat_if_due();
            manager.say("end");
            assert_eq!(heard(socket), "READY=1\nSTATUS=up", "{address:?}");
            assert_eq!(heard(socket), "STATUS=two lines");
            assert_eq!(heard(socket), "end", "nobody waits for beats");
        }
        fs::remove_file(path).unwrap();
        for odd in ["vsock:2:1", "", "relative"] {
            assert!(Manager::at(odd.as_ref(), None).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_loop_may_say_alive_often_and_beats_are_few() {
        let name = format!("cis490-beats-{}", process::id());
        let socket = listener(&SocketAddr::from_abstract_name(&name).unwrap());
        let address = format!("@{name}");
        let hour = Duration::from_secs(3600);
        let manager = Manager::at(address.as_ref(), Some(hour)).unwrap();
        (0..1000).for_each(|_| manager.beat_if_due());
        manager.set_watchdog(hour * 2);
        assert_eq!(heard(&socket), "WATCHDOG=1");
        assert_eq!(heard(&socket), "WATCHDOG_USEC=7200000000\nWATCHDOG=1");
        let manager = Manager::at(address.as_ref(), Some(Duration::from_micros(1))).unwrap();
        manager.beat_if_due();
        manager.beat_if_due();
        assert_eq!(heard(&socket) + &heard(&socket), "WATCHDOG=1WATCHDOG=1");
    }

    #[test]
    fn a_manager_that_is_gone_costs_nothing() {
        let manager = Manager::at("@cis490-nobody-is-here".as_ref(), None).unwrap();
        manager.say("READY=1");
    }

    #[test]
    fn the_watchdog_is_heard_only_if_it_is_ours() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog_time(Some("1000000"), Some("7"), 7), second);
        assert_eq!(watchdog_time(Some("1000000"), None, 7), second);
        for (usec, pid) in [
            (Some("1000000"), Some("8")),
            (Some("0"), None),
            (Some("x"), None),
            (None, Some("7")),
        ] {
            assert_eq!(watchdog_time(usec, pid, 7), None, "{usec:?} {pid:?}");
        }
    }
}
