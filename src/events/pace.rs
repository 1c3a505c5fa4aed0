//! How many lines a peer may cause: without a limit one peer fills the disk, or has journald drop the
//! lines of all the others.
//!
//! 1. Of each event and peer, [`BURST`] lines at once and then [`LINES_PER_SECOND`]. Of all such lines
//!    together, [`BYTES_PER_SECOND`].
//! 2. The lines that are left out are counted, and reported once a minute in a line for each event and peer:
//!    `event=left_out of=NAME peer=ADDRESS count=N`.
//! 3. The peers that are remembered are bounded by [`PEERS_MAX`]. Beyond them the others share one
//!    entry for each event, as does each network of 2^64 IPv6 addresses, which a host has to itself.
//!
//! `stored` is not paced: each such line is an episode.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::sync::lock;

const BURST: u64 = 100;
const LINES_PER_SECOND: u64 = 20;
const BYTES_PER_SECOND: u64 = 100_000;
const REPORT_EVERY: Duration = Duration::from_secs(60);
const PEERS_MAX: usize = 1024;

/// A peer whose lines are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    V4(IpAddr),
    /// A network of 2^64 addresses, by the first of them.
    V6Net(Ipv6Addr),
    /// All peers that have no entry of their own.
    Others,
}

impl Peer {
    fn of(address: IpAddr) -> Peer {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Peer::V6Net(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => Peer::V4(v4),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::V4(address) => write!(f, "{address}"),
            Peer::V6Net(first) => write!(f, "{first}/64"),
            Peer::Others => f.write_str("others"),
        }
    }
}

/// Lines of one event that one peer's doing would have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub event: &'static str,
    pub peer: Peer,
    pub count: u64,
}

/// Whether a line of this event may be written now that `peer` has caused. If so, [`charge`] it.
pub(crate) fn admits(event: &'static str, peer: IpAddr) -> bool {
    let now = now();
    let mut pace = the_pace();
    let admits = pace.admits(event, peer, now);
    let needs_reporter = !admits && !pace.has_reporter;
    pace.has_reporter |= needs_reporter;
    drop(pace);
    if needs_reporter {
        start_reporter();
    }
    admits
}

/// A line of so many bytes was written.
pub(crate) fn charge(bytes: usize) {
    the_pace().bytes.take_even_if_empty(bytes as u64);
}

/// The lines that were left out and not reported yet, for the last lines of a process.
pub(crate) fn left_out() -> Vec<LeftOut> {
    the_pace().report()
}

/// A thread that reports for as long as anything is left out, and ends then.
fn start_reporter() {
    let started = thread::Builder::new()
        .name("left-out".to_owned())
        .spawn(|| {
            loop {
                thread::sleep(REPORT_EVERY);
                let mut pace = the_pace();
                let report = pace.report();
                pace.has_reporter = !report.is_empty();
                drop(pace);
                for left_out in &report {
                    super::left_out(left_out);
                }
                if report.is_empty() {
                    return;
                }
            }
        });
    if started.is_err() {
        the_pace().has_reporter = false; // the next line that is left out tries again
    }
}

fn the_pace() -> MutexGuard<'static, Pace> {
    static PACE: OnceLock<Mutex<Pace>> = OnceLock::new();
    let pace = PACE.get_or_init(|| Mutex::new(Pace::new()));
    lock(pace)
}

/// Time since the first question, on a monotonic clock.
fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// An amount that grows back with time: by `per_second`, and never beyond `most`. In thousandths, so that
/// a millisecond counts.
struct Allowance {
    most: u64,
    per_second: u64,
    left_thousandths: i128,
    at: Duration,
}

impl Allowance {
    fn full(most: u64, per_second: u64, now: Duration) -> Allowance {
        Allowance {
            most,
            per_second,
            left_thousandths: i128::from(most) * 1000,
            at: now,
        }
    }

    fn refill(&mut self, now: Duration) {
        let passed_ms = now.saturating_sub(self.at).as_millis();
        if passed_ms == 0 {
            return;
        }
        let more = i128::from(self.per_second)
            * i128::try_from(passed_ms).unwrap_or(i128::MAX / 1_000_000);
        let most = i128::from(self.most) * 1000;
        self.left_thousandths = (self.left_thousandths + more).min(most);
        self.at += Duration::from_millis(u64::try_from(passed_ms).unwrap_or(u64::MAX));
    }

    fn has(&self, count: u64) -> bool {
        self.left_thousandths >= i128::from(count) * 1000
    }

    fn is_full(&self) -> bool {
        self.left_thousandths >= i128::from(self.most) * 1000
    }

    /// The debt is paid before anything else is allowed.
    fn take_even_if_empty(&mut self, count: u64) {
        self.left_thousandths -= i128::from(count) * 1000;
    }
}

struct Entry {
    lines: Allowance,
    left_out: u64,
}

struct Pace {
    entries: HashMap<(&'static str, Peer), Entry>,
    bytes: Allowance,
    has_reporter: bool,
}

impl Pace {
    fn new() -> Pace {
        Pace {
            entries: HashMap::new(),
            bytes: Allowance::full(BYTES_PER_SECOND, BYTES_PER_SECOND, Duration::ZERO),
            has_reporter: false,
        }
    }

    fn admits(&mut self, event: &'static str, peer: IpAddr, now: Duration) -> bool {
        self.bytes.refill(now);
        let has_bytes = self.bytes.has(1);
        let entry = self.entry(event, Peer::of(peer), now);
        entry.lines.refill(now);
        if has_bytes && entry.lines.has(1) {
            entry.lines.take_even_if_empty(1);
            return true;
        }
        entry.left_out += 1;
        false
    }

    fn entry(&mut self, event: &'static str, peer: Peer, now: Duration) -> &mut Entry {
        let is_full = self.entries.len() >= PEERS_MAX && !self.entries.contains_key(&(event, peer));
        if is_full {
            self.forget_the_quiet(now);
        }
        let is_full = is_full && self.entries.len() >= PEERS_MAX;
        let peer = if is_full { Peer::Others } else { peer };
        self.entries.entry((event, peer)).or_insert_with(|| Entry {
            lines: Allowance::full(BURST, LINES_PER_SECOND, now),
            left_out: 0,
        })
    }

    /// Forgets the entries that would be no different if they were made anew.
    fn forget_the_quiet(&mut self, now: Duration) {
        self.entries.retain(|_, entry| {
            entry.lines.refill(now);
            entry.left_out > 0 || !entry.lines.is_full()
        });
    }

    /// The lines that were left out since the last report, in order.
    fn report(&mut self) -> Vec<LeftOut> {
        let mut report: Vec<LeftOut> = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.left_out > 0)
            .map(|(&(event, peer), entry)| LeftOut {
                event,
                peer,
                count: std::mem::take(&mut entry.left_out),
            })
            .collect();
        report.sort_by_key(|one| (one.event, one.peer.to_string()));
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn written(pace: &mut Pace, event: &'static str, peer: IpAddr, now_ms: u64, tries: u32) -> u32 {
        let now = Duration::from_millis(now_ms);
        (0..tries)
            .map(|_| u32::from(pace.admits(event, peer, now)))
            .sum()
    }

    #[test]
    fn a_peer_has_a_burst_and_then_its_rate() {
        let mut pace = Pace::new();
        let one = address("10.0.0.1");
        let other = address("10.0.0.2");
        assert_eq!(written(&mut pace, "refused", one, 0, 1000), 100);
        assert_eq!(written(&mut pace, "refused", one, 49, 10), 0);
        assert_eq!(written(&mut pace, "refused", one, 50, 10), 1);
        assert_eq!(written(&mut pace, "refused", one, 1050, 1000), 20);
        assert_eq!(written(&mut pace, "refused", one, 3_600_000, 1000), 100);
        // Another peer, and another event, have their own.
        assert_eq!(written(&mut pace, "refused", other, 3_600_000, 1000), 100);
        assert_eq!(written(&mut pace, "crowded", one, 3_600_000, 7), 7);
        let left_out = |event, peer, count| LeftOut { event, peer, count };
        assert_eq!(
            pace.report(),
            [
                left_out("refused", Peer::V4(one), 900 + 10 + 9 + 980 + 900),
                left_out("refused", Peer::V4(other), 900),
            ]
        );
        assert_eq!(pace.report(), []);
    }

    #[test]
    fn all_together_have_so_many_bytes() {
        let mut pace = Pace::new();
        let mut bytes = 0;
        for second in 0..10u64 {
            for peer in 0..200u8 {
                let peer = IpAddr::from([10, 0, 0, peer]);
                if pace.admits("refused", peer, Duration::from_secs(second)) {
                    pace.bytes.take_even_if_empty(1500);
                    bytes += 1500;
                }
            }
        }
        let most = 10 * BYTES_PER_SECOND + 1500;
        assert!((most - 10_000..=most).contains(&bytes), "{bytes}");
    }

    #[test]
    fn addresses_of_one_host_are_one_peer() {
        let mut pace = Pace::new();
        for n in 0..150u16 {
            let peer = IpAddr::from([0x2001, 0xdb8, 1, 2, n, 0, 0, n]);
            assert_eq!(pace.admits("refused", peer, Duration::ZERO), n < 100);
        }
        let mapped = address("::ffff:10.0.0.1");
        assert_eq!(written(&mut pace, "refused", mapped, 0, 50), 50);
        assert_eq!(
            written(&mut pace, "refused", address("10.0.0.1"), 0, 60),
            50
        );
        let report: Vec<String> = pace
            .report()
            .iter()
            .map(|one| format!("{} {}", one.peer, one.count))
            .collect();
        assert_eq!(report, ["10.0.0.1 10", "2001:db8:1:2::/64 50"]);
    }

    #[test]
    fn so_many_peers_are_remembered() {
        let mut pace = Pace::new();
        let peer = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..5000 {
            pace.admits("refused", peer(n), Duration::ZERO);
        }
        assert!(
            pace.entries.len() <= PEERS_MAX + 1,
            "{}",
            pace.entries.len()
        );
        let report = pace.report();
        assert_eq!(report.len(), 1, "{report:?}");
        assert_eq!(report[0].peer, Peer::Others);
        // In time the quiet ones make room.
        assert!(pace.admits("refused", peer(9000), Duration::from_secs(60)));
        assert!(
            pace.entries
                .contains_key(&("refused", Peer::V4(peer(9000))))
        );
        assert!(pace.entries.len() < 10, "{}", pace.entries.len());
    }
}
