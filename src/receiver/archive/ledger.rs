//! `archive.jsonl`: what is known of the objects in the bucket, a line each; of several lines about one
//! object the last counts.
//!
//! 1. The ledger is derived from the bucket and never the truth: without it everything is read back again.
//! 2. A line counts here once it is on the disk: it is appended and synced under a lock on the file, and
//!    read under the same lock. So other processes may append beside a running receiver.
//! 3. A line never moves. A line that a crash has torn is ended by the next one, and ignored.
//! 4. After a failed sync nothing more is appended by this process: what it would say may be lost.

use std::fs::File;
use std::hash::RandomState;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::file_identity::{FileIdentity, is_absent};
use crate::names::{EpisodeId, HostId, Sha256Digest};
use crate::receiver::name_map::NameMap;
use crate::wire::{Receipt, Slot};
use crate::{clock, durable};

pub(super) const NAME: &str = "archive.jsonl";
/// How much is read at once, where all of it is read.
const PASS_BYTES: usize = 256 << 10;
/// A longer line is none of ours.
const LINE_BYTES_MAX: usize = 1024;

/// What is known of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It was read back, and had the receipt's digest.
    Proven,
    /// It was seen in the bucket's list, and not read yet.
    Listed,
    /// It is gone, or its bytes are others.
    Lost,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub host: HostId,
    pub episode: EpisodeId,
    pub sha256: Sha256Digest,
    /// RFC 3339, by the clock of the process that wrote it; of a proof by that of the store, if that was
    /// ahead.
    pub at: String,
    pub state: State,
}

impl Entry {
    /// A line of now about the object of a row.
    pub(crate) fn now(row: &Receipt, state: State) -> Entry {
        Entry::at(row, state, SystemTime::now())
    }

    /// A line of this time.
    pub(crate) fn at(row: &Receipt, state: State, time: SystemTime) -> Entry {
        Entry {
            host: row.host.clone(),
            episode: row.episode.clone(),
            sha256: row.sha256,
            at: clock::rfc3339(time),
            state,
        }
    }

    /// A line of now about the same object.
    pub(super) fn at_now(self, state: State) -> Entry {
        Entry {
            at: clock::rfc3339(SystemTime::now()),
            state,
            ..self
        }
    }

    pub(crate) fn slot(&self) -> Slot {
        Slot {
            host: self.host.clone(),
            episode: self.episode.clone(),
        }
    }
}

/// The ledger of one store.
pub(crate) struct Ledger {
    path: PathBuf,
    inner: RwLock<Inner>,
}

struct Inner {
    file: File,
    identity: FileIdentity,
    names: NameMap,
    /// Bytes of whole lines that were read.
    read_to: u64,
    sync_has_failed: bool,
    /// What was read and not reported yet.
    news: News,
}

/// What was found since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// A line says that an object is not proven any more, or the file is another one: rows that were
    /// settled are not.
    pub unsettles: bool,
}

impl Ledger {
    /// Opens the ledger, makes it if there is none, and reads all of it.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Ledger> {
        let path = data_dir.join(NAME);
        Ok(Ledger {
            inner: RwLock::new(Inner::open(&path)?),
            path,
        })
    }

    /// The ledger of a store whose receiver may be running, only to read; `None` if there is none.
    pub(crate) fn look(data_dir: &Path) -> io::Result<Option<Ledger>> {
        let path = data_dir.join(NAME);
        let mut inner = match durable::open_regular(&path) {
            Err(error) if is_absent(&error) => return Ok(None),
            opened => Inner::of(opened?)?,
        };
        inner.locked(Inner::read_all)?;
        Ok(Some(Ledger {
            inner: RwLock::new(inner),
            path,
        }))
    }

    /// When it was written last, by this machine's clock.
    pub(crate) fn written_at(&self) -> SystemTime {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let written = inner.file.metadata().and_then(|found| found.modified());
        written.unwrap_or_else(|_| SystemTime::now())
    }

    /// Whether the object of a row was read back and is what it should be.
    ///
    /// Errors: the file cannot be read.
    pub(crate) fn is_proven(&self, row: &Receipt) -> io::Result<bool> {
        Ok(self.state(&row.slot(), &row.sha256)? == Some(State::Proven))
    }

    /// What is known of the object of this name and digest.
    ///
    /// Errors: the file cannot be read.
    pub(crate) fn state(&self, slot: &Slot, sha256: &Sha256Digest) -> io::Result<Option<State>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let last = inner.last_line(slot, sha256)?;
        Ok(last.map(|(_, entry)| entry.state))
    }

    /// Whether any object of this name is proven.
    ///
    /// Errors: the file cannot be read.
    pub(crate) fn has_proof(&self, slot: &Slot) -> io::Result<bool> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        for at in inner.names.of_hash(inner.names.hash(slot)) {
            let Some(entry) = inner.entry_at(at)? else {
                continue;
            };
            let is_of_name = entry.slot() == *slot;
            let last = inner.last_line(slot, &entry.sha256)?;
            if is_of_name && last.is_some_and(|(_, last)| last.state == State::Proven) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads what other processes have appended since, and begins anew if the file was replaced or cut.
    ///
    /// Errors: the file cannot be read or locked.
    pub(crate) fn read_on(&self) -> io::Result<News> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let bytes = inner.file.metadata()?.len();
        if FileIdentity::at(&self.path)? != Some(inner.identity) || bytes < inner.read_to {
            *inner = Inner::open(&self.path)?;
            return Ok(News { unsettles: true });
        }
        if bytes != inner.read_to {
            inner.locked(Inner::read_lines)?;
        }
        Ok(std::mem::take(&mut inner.news))
    }

    /// Reads the lines that other processes have appended since, if there are any. [`Ledger::read_on`] still
    /// reports them.
    ///
    /// Errors: the file cannot be read or locked.
    pub(crate) fn catch_up(&self) -> io::Result<()> {
        let has_more =
            |inner: &Inner| io::Result::Ok(inner.file.metadata()?.len() != inner.read_to);
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if !has_more(&inner)? {
            return Ok(());
        }
        drop(inner);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if has_more(&inner)? {
            inner.locked(Inner::read_lines)?;
        }
        Ok(())
    }

    /// Appends a line. It is on the disk when this returns, and known here.
    ///
    /// Errors: the disk's. Nothing of it is known then.
    pub(crate) fn append(&self, entry: &Entry) -> io::Result<()> {
        self.append_all(std::slice::from_ref(entry))
    }

    /// Appends lines with one sync. They are on the disk when this returns, and known here.
    ///
    /// Errors: the disk's. Nothing of them is known then; some of them may be there at the next start.
    pub(crate) fn append_all(&self, entries: &[Entry]) -> io::Result<()> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.sync_has_failed {
            return Err(io::Error::other("an earlier sync of it has failed"));
        }
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        inner.locked(|inner| {
            if !inner.ends_whole()? {
                lines.insert(0, b'\n');
            }
            durable::append(&inner.file, &lines)?;
            durable::sync_data(&inner.file).inspect_err(|_| inner.sync_has_failed = true)?;
            inner.read_lines()
        })
    }

    /// The first proof at or behind `offset` that is still the last word on its object, and where the
    /// next line begins; `None` behind the last one.
    ///
    /// Errors: the file cannot be read.
    pub(crate) fn next_proof(&self, offset: u64) -> io::Result<Option<(Entry, u64)>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        inner.each_line(offset, inner.read_to, |at, line, next| {
            let Some(entry) = parse(line).filter(|entry| entry.state == State::Proven) else {
                return Ok(true);
            };
            let last = inner.last_line(&entry.slot(), &entry.sha256)?;
            if last.is_some_and(|(last, _)| last == at) {
                found = Some((entry, next));
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }
}

impl Inner {
    fn open(path: &Path) -> io::Result<Inner> {
        let mut options = File::options();
        options.read(true).append(true).create(true);
        let mut inner = Inner::of(durable::open_regular_with(path, &mut options)?)?;
        if inner.file.metadata()?.len() == 0 {
            durable::sync_dir(durable::parent(path))?;
        }
        inner.locked(|inner| {
            // The lines of a process that was killed before its sync may be in memory alone.
            durable::sync_data(&inner.file)?;
            inner.read_all()
        })?;
        Ok(inner)
    }

    /// An open file of which nothing was read yet.
    fn of(file: File) -> io::Result<Inner> {
        Ok(Inner {
            identity: FileIdentity::of(&file.metadata()?),
            file,
            names: NameMap::new(RandomState::new(), Vec::new()),
            read_to: 0,
            sync_has_failed: false,
            news: News::default(),
        })
    }

    /// Does what needs the lock on the file.
    fn locked<T>(&mut self, work: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        self.file.lock()?;
        let done = work(self);
        let unlocked = self.file.unlock();
        let done = done?;
        unlocked.map(|()| done)
    }

    fn ends_whole(&self) -> io::Result<bool> {
        let length = self.file.metadata()?.len();
        if length == 0 {
            return Ok(true);
        }
        let mut last = [0];
        self.file.read_exact_at(&mut last, length - 1)?;
        Ok(last == *b"\n")
    }

    /// Reads the file from its beginning into an empty map.
    fn read_all(&mut self) -> io::Result<()> {
        let hasher = RandomState::new();
        let names = NameMap::new(hasher.clone(), Vec::new());
        let mut entries = Vec::new();
        let end = self.file.metadata()?.len();
        let read_to = self.each_line(0, end, |at, line, _| {
            entries.extend(parse(line).map(|entry| (names.hash(&entry.slot()), at)));
            Ok(true)
        })?;
        self.names = NameMap::new(hasher, entries);
        self.read_to = read_to;
        Ok(())
    }

    /// Reads the whole lines that are new.
    fn read_lines(&mut self) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let mut fresh = Vec::new();
        let mut news = News::default();
        let read_to = self.each_line(self.read_to, end, |at, line, _| {
            if let Some(entry) = parse(line) {
                news.unsettles |= entry.state != State::Proven;
                fresh.push((self.names.hash(&entry.slot()), at));
            }
            Ok(true)
        })?;
        for (hash, at) in fresh {
            self.names.enter(hash, at);
        }
        self.read_to = read_to;
        self.news.unsettles |= news.unsettles;
        Ok(())
    }

    /// The last line about an object, and where it begins.
    fn last_line(&self, slot: &Slot, sha256: &Sha256Digest) -> io::Result<Option<(u64, Entry)>> {
        let offsets = self.names.of_hash(self.names.hash(slot));
        for at in offsets.into_iter().rev() {
            let found = self.entry_at(at)?;
            let is_it = |entry: &Entry| entry.slot() == *slot && entry.sha256 == *sha256;
            if let Some(entry) = found.filter(is_it) {
                return Ok(Some((at, entry)));
            }
        }
        Ok(None)
    }

    /// The line that begins there; `None` if it is none of ours.
    fn entry_at(&self, at: u64) -> io::Result<Option<Entry>> {
        let mut found = None;
        self.each_line(at, self.read_to, |_, line, _| {
            found = parse(line);
            Ok(false)
        })?;
        Ok(found)
    }

    /// Shows the whole lines from `begin` to `end` to `visit`, each with its offset and that of the next
    /// one, for as long as it says so; where the last whole line ends.
    fn each_line(
        &self,
        begin: u64,
        end: u64,
        mut visit: impl FnMut(u64, &[u8], u64) -> io::Result<bool>,
    ) -> io::Result<u64> {
        let mut offset = begin;
        let mut held: Vec<u8> = Vec::new();
        // A single line is looked up by a short read.
        let mut room = LINE_BYTES_MAX;
        loop {
            let behind = offset + held.len() as u64;
            // A caller may still have an offset in a longer file that this one has replaced.
            let left = end.saturating_sub(behind);
            let wanted = room.min(usize::try_from(left).unwrap_or(usize::MAX));
            let mut part = vec![0; wanted];
            let count = self.file.read_at(&mut part, behind)?;
            held.extend_from_slice(&part[..count]);
            let mut shown = 0;
            while let Some(length) = held[shown..].iter().position(|&byte| byte == b'\n') {
                let next = offset + (shown + length) as u64 + 1;
                let at = offset + shown as u64;
                let goes_on = visit(at, &held[shown..shown + length], next)?;
                shown += length + 1;
                if !goes_on {
                    return Ok(next);
                }
            }
            held.drain(..shown);
            offset += shown as u64;
            if count == 0 {
                return Ok(offset);
            }
            room = PASS_BYTES;
        }
    }
}

fn parse(line: &[u8]) -> Option<Entry> {
    if line.len() > LINE_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(line).ok()
}

#[cfg(test)]
mod tests;
