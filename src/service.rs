//! Notifications to the service manager, as in sd_notify(3): ready, stopping, a status in words, and
//! watchdog beats. Each is one datagram to the socket that systemd names in `NOTIFY_SOCKET`.
//!
//! 1. Without that socket, on a person's terminal or in a container, nothing is sent.
//! 2. The work never fails for a notification: one that cannot be sent is dropped.
//! 3. A beat (`WATCHDOG=1`) is sent by a thread that has proof that the work goes on, never by a
//!    timer, which would outlive the work: [`alive`] by a loop that does the work itself, [`beat`] by
//!    a loop that has had an answer from each thread that does.

use crate::sync::lock;
use std::cell::Cell;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The longest wait for a systemd that is busy: the work must not wait for it.
const SEND_WAIT: Duration = Duration::from_secs(1);
/// Beats in the time after which systemd, without a beat, ends this process.
const BEATS: u32 = 4;

/// The manager that started this process and accepts notifications.
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

/// Notifies that the work has begun. `systemctl status` shows `status`.
pub(crate) fn ready(status: &str) {
    if let Some(manager) = manager() {
        manager.say_status("READY=1\n", status);
    }
}

/// Notifies that the process is stopping, which may take `wait`.
pub(crate) fn stopping(status: &str, wait: Duration) {
    if let Some(manager) = manager() {
        let extend = format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\n", wait.as_micros());
        manager.say_status(&extend, status);
    }
}

/// Notifies of the status in words. The same words are not sent again.
pub(crate) fn status(status: &str) {
    if let Some(manager) = manager() {
        manager.say_status("", status);
    }
}

/// The time between two calls of [`beat`]; `None` if the manager has no watchdog for this process.
pub(crate) fn beat_interval() -> Option<Duration> {
    manager()?.watchdog.map(|time| time / BEATS)
}

/// Sends a beat. The caller has proof that the work goes on.
pub(crate) fn beat() {
    if let Some(manager) = manager() {
        manager.say("WATCHDOG=1");
    }
}

thread_local! {
    static IS_ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// This thread works beside the loop that the watchdog watches: what it does from here on is no proof
/// that the loop goes on, and [`alive`] does nothing in it.
pub(crate) fn set_thread_aside() {
    IS_ASIDE.set(true);
}

/// Sends a beat if one is due: cheap enough to be called in each turn of a loop.
pub(crate) fn alive() {
    if IS_ASIDE.get() {
        return;
    }
    if let Some(manager) = manager() {
        manager.beat_if_due();
    }
}

/// Runs a step that may take `time` and cannot call [`alive`], such as the sync of a large file. The
/// watchdog waits so much longer for it.
pub(crate) fn long_step<T>(time: Duration, step: impl FnOnce() -> T) -> T {
    let Some(manager) = manager() else {
        return step();
    };
    let Some(usual) = manager.watchdog else {
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
    /// Without a beat for so long, the manager ends this process.
    watchdog: Option<Duration>,
    start: Instant,
    /// When [`alive`] sent its last beat, in microseconds since `start`; 0 before the first.
    beaten_us: AtomicU64,
    last_status: Mutex<String>,
}

impl Manager {
    /// `name` is a path, or `@NAME` in the abstract namespace.
    fn at(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Manager> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            // `vsock:`, which is for virtual machines, is not supported.
            _ => return Err(io::ErrorKind::InvalidInput.into()),
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
        // A failure changes nothing for the work, and nobody could do anything about it.
        let _ = self.socket.send_to_addr(words.as_bytes(), &self.address);
    }

    /// Sends `before` with the status; the status alone only if it is a new one.
    fn say_status(&self, before: &str, status: &str) {
        let line = status.replace('\n', " ");
        let mut last = lock(&self.last_status);
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

/// The watchdog's time by `WATCHDOG_USEC` and `WATCHDOG_PID`; `None` if there is none, or if it is
/// for another process.
fn watchdog_time(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let is_for_us = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    let usec: u64 = usec?.parse().ok()?;
    if !is_for_us || usec == 0 {
        return None;
    }
    Some(Duration::from_micros(usec))
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
            assert_eq!(heard(socket), "end", "no beat, without a watchdog");
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
    fn a_notification_to_a_manager_that_is_gone_is_dropped() {
        let manager = Manager::at("@cis490-nobody-is-here".as_ref(), None).unwrap();
        let sent = manager.socket.send_to_addr(b"READY=1", &manager.address);
        assert!(sent.is_err(), "nobody listens");
        // Each of these calls must not panic.
        manager.say("READY=1");
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
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
