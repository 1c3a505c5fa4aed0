//! The figures of each host and hour, the newest uploads, and which uploads were refused and why.
//!
//! 1. The figures come from the index: from all its rows at start, then from each row that the
//!    committer adds. So they are right after a restart, and a row costs one look-up.
//! 2. Memory is bounded, whatever senders do. Without `[[host]]` tables a sender may use any host
//!    name. So only the configured names and the first [`HOSTS_MAX`] others of the index have figures
//!    of their own, and the rest are summed up as one. The order of the index is fixed, so these are
//!    the same names after every restart.
//! 3. A time comes from a clock that may be wrong, so rows count in the order of `seq`. There is one
//!    exception: a row that `backfill` has added, with an earlier time than its host's last row, does
//!    not become the last row, unless the time of the last row lies in the future.
//! 4. The newest rows and refusals of each host are kept by its own figures, a fixed number of each.
//! 5. Plain threads read and write the figures under a lock, for microseconds; coroutines never do.

mod host;
mod refusal_runs;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

pub(crate) use self::host::{HostStats, Totals, UnknownHost};
use self::refusal_runs::RUNS_WITHOUT_HOST_MAX;
pub(crate) use self::refusal_runs::{RefusalRun, RefusalRuns};
use super::refused_upload::RefusedUpload;
use crate::clock;
use crate::names::HostId;
use crate::sync::lock;
use crate::wire::{Receipt, RowBrief};

/// The most names that are not configured and have figures of their own.
pub(crate) const HOSTS_MAX: usize = 256;
/// The most names without an upload whose last refusal is kept.
pub(crate) const UNKNOWN_HOSTS_MAX: usize = 32;
/// How many of the newest uploads are kept: of all, and of each host.
pub(crate) const NEWEST_MAX: usize = 10;
/// The most hours whose uploads, and whose refusals, are kept. Far more than the page shows, since a clock that jumps
/// adds hours too.
const HOURS_MAX: usize = 1024;

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;

/// The figures, shared by the threads that count and the threads that show them.
pub(crate) struct Stats {
    books: Mutex<StatsTables>,
    /// A copy of [`StatsTables::last_seq`] for coroutines, which must not wait for the lock.
    last_seq: AtomicU64,
}

/// All figures at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatsTables {
    pub hosts: HashMap<HostId, HostStats>,
    /// The figures of all names beyond [`HOSTS_MAX`], summed up.
    pub others: HostStats,
    /// Names that have no upload, with their last refusal; the latest is last.
    pub unknown_hosts: VecDeque<UnknownHost>,
    pub all: Totals,
    /// The newest rows of the index; the newest is last.
    pub uploads: VecDeque<Arc<Receipt>>,
    /// Refusals of requests that named no host.
    pub runs_without_host: RefusalRuns,
    /// The largest `seq` up to which all rows are counted.
    pub last_seq: u64,
    /// How many lines of the index were no receipts when it was opened.
    pub unreadable_rows: u64,
    hours: BTreeMap<u64, Totals>,
    /// How many uploads were refused in each hour.
    refused_hours: BTreeMap<u64, u64>,
    /// How many refusals were counted, those of earlier runs included.
    refusals: u64,
    /// How many of the newest rows are kept of each host.
    newest_of_host_max: usize,
    unconfigured: usize,
    unconfigured_max: usize,
    /// Where the newest rows lie, if they are not read whole yet.
    newest_offsets: VecDeque<u64>,
}

impl StatsTables {
    /// Configured hosts have figures from the beginning, and so many others get figures of their own. So many
    /// of the newest rows are kept of each host.
    pub(crate) fn new(
        configured: impl Iterator<Item = HostId>,
        unconfigured_max: usize,
        newest_of_host_max: usize,
    ) -> StatsTables {
        StatsTables {
            hosts: configured
                .map(|host| (host, HostStats::default()))
                .collect(),
            unconfigured_max,
            newest_of_host_max,
            ..StatsTables::default()
        }
    }

    /// What was stored in the hour that begins at `hour * 3600` seconds since 1970.
    pub(crate) fn hour(&self, hour: u64) -> Totals {
        self.hours.get(&hour).copied().unwrap_or_default()
    }

    /// How many uploads were refused in the hour that begins at `hour * 3600` seconds since 1970.
    pub(crate) fn refused_in(&self, hour: u64) -> u64 {
        self.refused_hours.get(&hour).copied().unwrap_or_default()
    }

    /// All runs of refusals, of whatever host, the newest first.
    pub(crate) fn runs(&self) -> Vec<&RefusalRun> {
        let of_hosts = self.hosts.values().map(|stats| &stats.runs);
        let of_unknown = self.unknown_hosts.iter().map(|unknown| &unknown.runs);
        let all = of_hosts.chain(of_unknown).chain([&self.runs_without_host]);
        let mut all: Vec<&RefusalRun> = all.flat_map(RefusalRuns::iter).collect();
        all.sort_by_key(|run| std::cmp::Reverse(run.newest_number));
        all
    }

    /// Counts a row of the index. `now_s` shows only whether a row's time lies in the future.
    pub(crate) fn enter(&mut self, row: Receipt, now_s: u64) -> &mut HostStats {
        let (host, is_last) = self.count(&row.brief(), now_s);
        if is_last {
            host.complete_last(&row);
        }
        let row = Arc::new(row);
        enter_newest(&mut self.uploads, Arc::clone(&row), NEWEST_MAX);
        let of_host_max = self.newest_of_host_max;
        let host = self.of(Some(&row.host));
        enter_newest(&mut host.newest, row, of_host_max);
        host
    }

    /// Counts the row that lies at `offset`. [`StatsTables::settle`] is called after the last one.
    pub(crate) fn enter_at(&mut self, row: &RowBrief, offset: u64, now_s: u64) {
        let of_host_max = self.newest_of_host_max;
        let (host, is_last) = self.count(row, now_s);
        push(&mut host.newest_offsets, offset, of_host_max);
        if is_last {
            host.last_offset = Some(offset);
        }
        push(&mut self.newest_offsets, offset, NEWEST_MAX);
    }

    /// Reads whole, with `read`, the rows that are shown: each host's last, its newest, and the newest of all.
    ///
    /// Errors: those of `read`.
    pub(crate) fn settle(
        &mut self,
        mut read: impl FnMut(u64) -> io::Result<Option<Receipt>>,
    ) -> io::Result<()> {
        for host in self.hosts.values_mut().chain([&mut self.others]) {
            if let Some(offset) = host.last_offset.take()
                && let Some(row) = read(offset)?
            {
                host.complete_last(&row);
            }
            for offset in std::mem::take(&mut host.newest_offsets) {
                if let Some(row) = read(offset)? {
                    push(&mut host.newest, Arc::new(row), self.newest_of_host_max);
                }
            }
        }
        for offset in std::mem::take(&mut self.newest_offsets) {
            if let Some(row) = read(offset)? {
                push(&mut self.uploads, Arc::new(row), NEWEST_MAX);
            }
        }
        Ok(())
    }

    /// The host's figures with this row, and whether the row became the host's last.
    fn count(&mut self, row: &RowBrief, now_s: u64) -> (&mut HostStats, bool) {
        let at_s = row.received_at.and_then(clock::parse_rfc3339);
        let bytes = row.bytes.unwrap_or(0);
        self.all.add(bytes);
        self.last_seq = self.last_seq.max(row.seq.unwrap_or(0));
        if let Some(at_s) = at_s {
            self.hours.entry(at_s / HOUR_S).or_default().add(bytes);
            if self.hours.len() > HOURS_MAX {
                self.hours.pop_first();
            }
        }
        if !self.hosts.contains_key(row.host) && self.unconfigured < self.unconfigured_max {
            self.give_figures(row.host);
        }
        let host = self.hosts.get_mut(row.host).unwrap_or(&mut self.others);
        let is_last = host.count(row, at_s, now_s);
        (host, is_last)
    }

    /// Gives a host that is not configured figures of its own.
    fn give_figures(&mut self, host: &str) {
        let Ok(host) = HostId::parse(host) else {
            return;
        };
        self.unconfigured += 1;
        let unknown = self.take_unknown_host(&host);
        self.hosts.insert(host, HostStats::of_unknown_host(unknown));
    }

    /// Counts a refusal of this run or an earlier one.
    pub(crate) fn recall(&mut self, refused: &Arc<RefusedUpload>) {
        self.refusals += 1;
        let number = self.refusals;
        if let Some(at_s) = clock::parse_rfc3339(&refused.at) {
            *self.refused_hours.entry(at_s / HOUR_S).or_default() += 1;
            if self.refused_hours.len() > HOURS_MAX {
                self.refused_hours.pop_first();
            }
        }
        let Some(host) = &refused.host else {
            self.others.refused = Some(Arc::clone(refused));
            let runs = &mut self.runs_without_host;
            return runs.add(refused, number, RUNS_WITHOUT_HOST_MAX);
        };
        if let Some(stats) = self.hosts.get_mut(host) {
            return stats.refuse(refused, number);
        }
        let before = self.take_unknown_host(host);
        let mut stats = HostStats::of_unknown_host(before);
        stats.refuse(refused, number);
        let unknown = UnknownHost {
            refused: Arc::clone(refused),
            tries: stats.tries,
            runs: stats.runs,
        };
        push(&mut self.unknown_hosts, unknown, UNKNOWN_HOSTS_MAX);
    }

    fn take_unknown_host(&mut self, host: &HostId) -> Option<UnknownHost> {
        let is_it = |one: &UnknownHost| one.refused.host.as_ref() == Some(host);
        let place = self.unknown_hosts.iter().position(is_it)?;
        self.unknown_hosts.remove(place)
    }

    fn of(&mut self, host: Option<&HostId>) -> &mut HostStats {
        let known = host.and_then(|host| self.hosts.get_mut(host));
        known.unwrap_or(&mut self.others)
    }
}

/// Keeps the newest so many. None of them if that is 0.
fn push<T>(queue: &mut VecDeque<T>, newest: T, length_max: usize) {
    queue.push_back(newest);
    if queue.len() > length_max {
        queue.pop_front();
    }
}

/// Behind those with smaller numbers: uploads that finish together are counted in any order.
fn enter_newest(rows: &mut VecDeque<Arc<Receipt>>, row: Arc<Receipt>, length_max: usize) {
    let is_before = |other: &Arc<Receipt>| row.seq.is_none() || other.seq <= row.seq;
    let place = rows.iter().rposition(is_before);
    rows.insert(place.map_or(0, |place| place + 1), row);
    if rows.len() > length_max {
        rows.pop_front();
    }
}

impl Stats {
    /// The figures of an empty index. Configured hosts have theirs from the beginning.
    pub(crate) fn new(configured: impl Iterator<Item = HostId>) -> Arc<Stats> {
        Arc::new(Stats {
            books: Mutex::new(StatsTables::new(configured, HOSTS_MAX, NEWEST_MAX)),
            last_seq: AtomicU64::new(0),
        })
    }

    /// From here on these hosts have figures of their own too.
    pub(crate) fn configure(&self, configured: impl Iterator<Item = HostId>) {
        let mut books = self.open();
        for host in configured {
            if !books.hosts.contains_key(&host) {
                let refused = books.take_unknown_host(&host);
                books
                    .hosts
                    .insert(host, HostStats::of_unknown_host(refused));
            }
        }
    }

    /// Lets `pass` change the figures, such as the one pass over the index at start.
    pub(crate) fn fill<T>(&self, pass: impl FnOnce(&mut StatsTables) -> T) -> T {
        let mut books = self.open();
        let done = pass(&mut books);
        self.last_seq.store(books.last_seq, Ordering::Release);
        done
    }

    fn open(&self) -> MutexGuard<'_, StatsTables> {
        lock(&self.books)
    }

    /// Counts a row that was added to the index and is on the disk. All rows up to the number `complete_to`
    /// are counted with it.
    pub(crate) fn stored(&self, row: Receipt, complete_to: u64) {
        let now_s = clock::unix_seconds(SystemTime::now());
        self.fill(|books| {
            let last_seq = books.last_seq.max(complete_to);
            let bytes = row.bytes.unwrap_or(0);
            books.enter(row, now_s).stored.add(bytes);
            books.last_seq = last_seq;
        });
    }

    /// The largest `seq` up to which all rows are on the disk and counted. Takes no lock.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq.load(Ordering::Acquire)
    }

    /// Counts an upload that was answered with an earlier receipt, after `bytes` of its body.
    pub(crate) fn stored_already(&self, host: &HostId, bytes: u64) {
        self.open().of(Some(host)).stored_already.add(bytes);
    }

    /// Whether the host has stored an episode, as far as it has figures of its own.
    pub(crate) fn has_uploads(&self, host: &HostId) -> bool {
        let books = lock(&self.books);
        let host = books.hosts.get(host);
        host.is_some_and(|host| host.all.episodes > 0)
    }

    /// Counts an upload that was refused after `bytes` of its body.
    pub(crate) fn refused(&self, refused: &Arc<RefusedUpload>, bytes: u64) {
        let mut books = self.open();
        books.of(refused.host.as_ref()).refused_uploads.add(bytes);
        books.recall(refused);
    }

    /// Whether the host has figures of its own, or a refusal.
    pub(crate) fn knows(&self, host: &HostId) -> bool {
        let books = self.open();
        let is_refused = |unknown: &UnknownHost| unknown.refused.host.as_ref() == Some(host);
        books.hosts.contains_key(host) || books.unknown_hosts.iter().any(is_refused)
    }

    pub(crate) fn look(&self) -> StatsTables {
        self.open().clone()
    }
}

#[cfg(test)]
mod tests;
