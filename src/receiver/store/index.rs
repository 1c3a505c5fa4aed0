//! `index.jsonl`: one receipt a line, append-only, derived from episodes/ and never the truth.
//!
//! 1. What can be found here is on the disk: a row is entered into the map after its `fdatasync`.
//! 2. A row never moves and never changes, so readers need no lock but the map's.
//! 3. Only the committer appends, and only a tail that no answer was built on is ever cut.
//!
//! The map costs 16 bytes an episode: a keyed 64-bit hash of the name and the row's offset. Equal
//! hashes are all kept, and each is checked against the row that it points to. The newest ones, an
//! eighth of all at most, lie in a tree that takes more than twice as much, until they are merged.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::SystemTime;

use super::layout::Layout;
use super::rows::{self, Line};
use super::watch;
use crate::clock;
use crate::receiver::stats::{Stats, StatsTables};
use crate::wire::{Receipt, Slot};
use crate::{durable, events};

/// Unreadable lines that are named one by one at start.
const NAMED_MAX: usize = 10;
/// So many new rows are not worth a merge.
const NEW_MIN: usize = 4096;

/// The readers' side: finds rows by name.
pub(super) struct Index {
    file: File,
    names: RwLock<Names>,
}

/// The committer's side: where the next row goes. There is one in a process.
pub(crate) struct Tail {
    file: Arc<File>,
    /// Bytes of whole rows.
    pub length: u64,
    pub next_seq: u64,
    /// The largest number in it.
    pub last_seq: u64,
    syncer: Option<Syncer>,
}

/// A thread that syncs the index while the committer syncs directories. One that stands by: each
/// batch would else wait for a thread to be made and to end.
struct Syncer {
    asks: SyncSender<()>,
    synced: Receiver<io::Result<()>>,
}

/// What one pass over the file found.
struct Pass {
    entries: Vec<(u64, u64)>,
    seq_max: u64,
    /// Where the whole rows end. What follows was torn by a crash.
    sound_length: u64,
    /// Whose row the end looks like, if it lacks no more than its line break.
    torn_row: Option<Slot>,
    unreadable: usize,
}

impl Index {
    /// Opens the index, mends its end, and makes sure that all of it is on the disk. Its rows are
    /// entered into `stats`.
    pub(super) fn open(layout: &Layout, stats: &Stats) -> io::Result<(Index, Tail)> {
        let file = open_or_create(layout)?;
        let hasher = RandomState::new();
        let pass = stats.fill(|books| look_through(&file, &hasher, Some(books)))?;
        let length = file.metadata()?.len();
        if pass.sound_length < length {
            let torn_row = pass.torn_row.as_ref();
            cut_tail(layout, &file, pass.sound_length, length, torn_row)?;
        }
        // Rows that a killed process had appended may be in memory only; from here on we answer
        // from them.
        durable::sync_data(&file)?;
        let tail = Tail {
            file: Arc::new(file.try_clone()?),
            length: pass.sound_length,
            next_seq: pass.seq_max.saturating_add(1),
            last_seq: pass.seq_max,
            syncer: None,
        };
        Ok((Index::of(file, hasher, pass.entries), tail))
    }

    /// Opens the index only to look, and changes nothing. A missing one is empty.
    pub(super) fn look(layout: &Layout) -> io::Result<Option<Index>> {
        let file = match durable::open_regular(&layout.index()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let hasher = RandomState::new();
        let pass = look_through(&file, &hasher, None)?;
        Ok(Some(Index::of(file, hasher, pass.entries)))
    }

    fn of(file: File, hasher: RandomState, entries: Vec<(u64, u64)>) -> Index {
        Index {
            file,
            names: RwLock::new(Names::new(hasher, entries)),
        }
    }

    /// All rows of a slot, oldest first. More than one is odd and tolerated.
    pub(super) fn rows_of(&self, slot: &Slot) -> io::Result<Vec<Receipt>> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let offsets = names.of_hash(names.hash(slot));
        drop(names);
        let mut found = Vec::new();
        for offset in offsets {
            match rows::read_row(&self.file, offset)? {
                Some(row) if row.slot() == *slot => found.push(row),
                Some(_) => {} // another name with the same hash
                None => {
                    events::unreadable_row(offset, "it was a receipt when the store was opened")
                }
            }
        }
        Ok(found)
    }

    /// Makes a row findable that lies on the disk at `offset`.
    pub(super) fn enter(&self, slot: &Slot, offset: u64) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let hash = names.hash(slot);
        names.enter(hash, offset);
    }

    /// How many rows can be found.
    pub(super) fn count(&self) -> usize {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.old.len() + names.new.len()
    }
}

impl Tail {
    /// Whether the name of the index is still this file, as long as it was left, `appended` bytes being
    /// in it that were not accepted yet. Errors say what not.
    pub(crate) fn watch(&self, path: &Path, appended: u64) -> Result<(), String> {
        watch::compare(&self.file, self.length.saturating_add(appended), path)
    }

    /// Appends whole rows; they count once [`Tail::sync`] and [`Tail::accept`] were called.
    pub(crate) fn append(&mut self, rows: &[u8]) -> io::Result<()> {
        durable::append(&self.file, rows)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        durable::sync_data(&self.file)
    }

    /// Starts the thread that syncs, whose priority is its starter's.
    pub(crate) fn start_syncer(&mut self) {
        self.syncer = Syncer::start(&self.file).ok();
    }

    /// [`Tail::sync`], and meanwhile `other`, which is done in any case.
    pub(crate) fn sync_beside(&mut self, other: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.syncer.is_none() {
            self.start_syncer();
        }
        let Some(syncer) = &self.syncer else {
            // The system has no thread for us now: one after the other does as well.
            return other().and_then(|()| self.sync());
        };
        let ended = |_| io::Error::other("the thread that syncs the index has ended");
        let asked = syncer.asks.send(()).map_err(|_| ended(mpsc::RecvError));
        let done = other();
        asked?;
        let synced = syncer.synced.recv().map_err(ended)?;
        done.and(synced)
    }

    /// `bytes` more at the end are rows on the disk.
    pub(crate) fn accept(&mut self, bytes: u64) {
        self.length += bytes;
    }

    /// All numbers before `next` are in rows on the disk, or will never be.
    pub(crate) fn number_on(&mut self, next: u64) {
        if self.next_seq < next {
            self.next_seq = next;
            self.last_seq = next - 1;
        }
    }

    /// Cuts what was appended since the last [`Tail::accept`].
    pub(crate) fn take_back(&self) -> io::Result<()> {
        durable::truncate(&self.file, self.length)
    }
}

impl Syncer {
    fn start(file: &Arc<File>) -> io::Result<Syncer> {
        let (asks, asked) = mpsc::sync_channel(1);
        let (tell, synced) = mpsc::sync_channel(1);
        let file = Arc::clone(file);
        let work = move || {
            while let Ok(()) = asked.recv() {
                if tell.send(durable::sync_data(&file)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("index sync".to_owned())
            .spawn(work)?;
        Ok(Syncer { asks, synced })
    }
}

/// Which rows may be of a name.
struct Names {
    hasher: RandomState,
    /// Hash and offset, sorted: exactly 16 bytes each.
    old: Box<[(u64, u64)]>,
    /// Those that came since, sorted too; all of them lie behind the old ones in the file.
    new: BTreeSet<(u64, u64)>,
}

impl Names {
    fn new(hasher: RandomState, mut entries: Vec<(u64, u64)>) -> Names {
        entries.sort_unstable();
        Names {
            hasher,
            old: entries.into_boxed_slice(),
            new: BTreeSet::new(),
        }
    }

    fn hash(&self, slot: &Slot) -> u64 {
        hash(&self.hasher, slot)
    }

    /// Merges when it is due: a row is moved about eight times in all, however many there are, and
    /// readers wait some milliseconds for a million rows.
    fn enter(&mut self, hash: u64, offset: u64) {
        self.new.insert((hash, offset));
        if NEW_MIN.max(self.old.len() / 8) < self.new.len() {
            self.old = merged(&self.old, &self.new);
            self.new.clear();
        }
    }

    /// Ascending, so oldest first: what is old lies before what came since.
    fn of_hash(&self, hash: u64) -> Vec<u64> {
        let first = self.old.partition_point(|entry| entry.0 < hash);
        let old = self.old[first..].iter().take_while(|entry| entry.0 == hash);
        let new = self.new.range((hash, 0)..=(hash, u64::MAX));
        old.chain(new).map(|entry| entry.1).collect()
    }
}

fn merged(old: &[(u64, u64)], new: &BTreeSet<(u64, u64)>) -> Box<[(u64, u64)]> {
    let mut all = Vec::with_capacity(old.len() + new.len());
    let mut old = old;
    for entry in new {
        let before = old.partition_point(|one| one < entry);
        all.extend_from_slice(&old[..before]);
        all.push(*entry);
        old = &old[before..];
    }
    all.extend_from_slice(old);
    all.into_boxed_slice()
}

fn hash(hasher: &RandomState, slot: &Slot) -> u64 {
    hasher.hash_one((slot.host.as_str(), slot.episode.as_str()))
}

fn open_or_create(layout: &Layout) -> io::Result<File> {
    let path = layout.index();
    let open = |create_new: bool| {
        let mut options = File::options();
        options.read(true).append(true).create_new(create_new);
        durable::open_regular_with(&path, &mut options)
    };
    let file = match open(false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => open(true)?,
        other => other?,
    };
    // Also when it was there: the run that made it may have been killed before its own sync.
    durable::sync_dir(layout.root())?;
    Ok(file)
}

fn look_through(
    file: &File,
    hasher: &RandomState,
    mut books: Option<&mut StatsTables>,
) -> io::Result<Pass> {
    let now_s = clock::unix_seconds(SystemTime::now());
    let mut pass = Pass {
        entries: Vec::new(),
        seq_max: 0,
        sound_length: 0,
        torn_row: None,
        unreadable: 0,
    };
    // Torn until a whole line follows: then it is a line in the middle, and stays.
    let mut torn = 0;
    rows::each_line(file, |line| {
        if !line.whole {
            torn += 1;
            pass.torn_row = rows::parse(line).ok().map(|row| row.slot());
            return;
        }
        pass.sound_length = line.offset + line.length;
        pass.unreadable += torn;
        torn = 0;
        pass.torn_row = None;
        if let (Some(row), Some(books)) = (pass.enter(line, hasher), &mut books) {
            books.enter(row, now_s);
        }
    })?;
    if pass.unreadable > 0 {
        events::unreadable_rows(pass.unreadable);
    }
    Ok(pass)
}

impl Pass {
    /// The row, if the line is one.
    fn enter(&mut self, line: &Line, hasher: &RandomState) -> Option<Receipt> {
        if line.is_blank() {
            return None;
        }
        match rows::parse_numbered(line) {
            Ok((row, too_large)) => {
                if let Some(seq) = too_large {
                    events::number_too_large(line.offset, &row.slot(), seq);
                }
                self.seq_max = self.seq_max.max(row.seq.unwrap_or(0));
                self.entries.push((hash(hasher, &row.slot()), line.offset));
                Some(row)
            }
            Err(why) => {
                self.unreadable += 1;
                if self.unreadable <= NAMED_MAX {
                    events::unreadable_row(line.offset, why);
                }
                None
            }
        }
    }
}

/// Cuts the index back to its whole rows, keeping what is cut.
///
///     create(quarantine)  write  fsync file  fsync dir  truncate(index)
fn cut_tail(
    layout: &Layout,
    index: &File,
    sound_length: u64,
    length: u64,
    torn_row: Option<&Slot>,
) -> io::Result<()> {
    let (kept_as, kept) = layout.new_in_quarantine("index.jsonl.tail")?;
    if let Err(error) = copy(index, sound_length..length, &kept) {
        // A disk without room is tried again and again, and each copy begun would stay.
        let _ = durable::unlink(&kept_as);
        return Err(error);
    }
    durable::sync_dir(&layout.quarantine())?;
    durable::truncate(index, sound_length)?;
    events::index_tail_cut(length - sound_length, &kept_as, torn_row);
    Ok(())
}

/// Copies a part of the index to a file, and that to the disk.
fn copy(index: &File, part: Range<u64>, to: &File) -> io::Result<()> {
    let mut block = vec![0; 64 << 10];
    let mut offset = part.start;
    while offset < part.end {
        let count = index.read_at(&mut block, offset)?;
        if count == 0 {
            break;
        }
        durable::write_at(to, &block[..count], offset - part.start)?;
        offset += count as u64;
    }
    durable::sync_file(to)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::receiver::store::testing::Folder;

    fn row(seq: u64, slot: &str) -> String {
        let (host, episode) = slot.split_once('/').unwrap();
        let sha256 = "0f".repeat(32);
        format!(r#"{{"seq":{seq},"host":"{host}","episode":"{episode}","sha256":"{sha256}"}}"#)
    }

    fn opened(content: &[u8]) -> (Folder, Index, Tail) {
        let folder = Folder::new("index");
        fs::create_dir(folder.path().join("quarantine")).unwrap();
        fs::write(folder.path().join("index.jsonl"), content).unwrap();
        let stats = Stats::new(std::iter::empty());
        let (index, tail) = Index::open(&Layout::new(folder.path()), &stats).unwrap();
        (folder, index, tail)
    }

    fn seqs(index: &Index, slot: &str) -> Vec<u64> {
        let rows = index.rows_of(&Slot::parse(slot).unwrap()).unwrap();
        rows.iter().map(|row| row.seq.unwrap()).collect()
    }

    #[test]
    fn rows_are_found_by_name_and_seq_goes_on_after_the_largest() {
        let text = format!("{}\n{}\n{}\n", row(7, "a/1"), row(3, "a/2"), row(4, "a/1"));
        let (_folder, index, tail) = opened(text.as_bytes());
        assert_eq!(seqs(&index, "a/1"), [7, 4]);
        assert_eq!(seqs(&index, "a/2"), [3]);
        assert!(seqs(&index, "a/3").is_empty());
        assert!(seqs(&index, "b/1").is_empty());
        assert_eq!((tail.next_seq, tail.length), (8, text.len() as u64));
    }

    #[test]
    fn only_a_torn_tail_is_cut_and_it_is_kept() {
        let good = format!("{}\n", row(1, "a/1"));
        let torn_row = row(2, "a/2");
        for tail in [
            &torn_row.as_bytes()[..20],
            torn_row.as_bytes(), // complete but for its line break
            &[0; 5000],
            &[b"\0\0\0\0".as_slice(), torn_row.as_bytes(), b"\n"].concat(),
            b"\0\n\0",
        ] {
            let (folder, index, end) = opened(&[good.as_bytes(), tail].concat());
            assert_eq!(seqs(&index, "a/1"), [1]);
            assert!(seqs(&index, "a/2").is_empty());
            assert_eq!(end.length, good.len() as u64);
            let file = |name: &str| fs::read(folder.path().join(name)).unwrap();
            assert_eq!(file("index.jsonl"), good.as_bytes());
            assert_eq!(file("quarantine/index.jsonl.tail.1"), tail);
        }
    }

    #[test]
    fn a_complete_line_stays_whatever_it_says() {
        let text = format!(
            "not json\n{}\n\n\0\0\n{{\"host\":\"..\"}}\n{}\n",
            row(1, "a/1"),
            row(2, "a/2")
        );
        let (folder, index, tail) = opened(text.as_bytes());
        assert_eq!(seqs(&index, "a/1"), [1]);
        assert_eq!(seqs(&index, "a/2"), [2]);
        assert_eq!(tail.length, text.len() as u64);
        let kept = fs::read_to_string(folder.path().join("index.jsonl")).unwrap();
        assert_eq!(kept, text);
        assert_eq!(
            fs::read_dir(folder.path().join("quarantine"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn an_appended_row_is_found_once_it_is_entered() {
        let (_folder, index, mut tail) = opened(b"");
        let text = format!("{}\n", row(tail.next_seq, "a/1"));
        tail.append(text.as_bytes()).unwrap();
        assert!(seqs(&index, "a/1").is_empty());
        index.enter(&Slot::parse("a/1").unwrap(), tail.length);
        tail.accept(text.len() as u64);
        assert_eq!(seqs(&index, "a/1"), [1]);
        tail.append(b"{half a row").unwrap();
        tail.take_back().unwrap();
        tail.append(text.as_bytes()).unwrap();
        index.enter(&Slot::parse("a/1").unwrap(), tail.length);
        assert_eq!(seqs(&index, "a/1"), [1, 1]);
    }

    #[test]
    fn many_new_rows_are_found_and_take_little_more_than_the_old_ones() {
        let mut names = Names::new(RandomState::new(), vec![(7, 0), (7, 1), (9, 2)]);
        let mut dice = crate::seeded::Seeded::new(490);
        let mut all: BTreeSet<(u64, u64)> = names.old.iter().copied().collect();
        for offset in 3..5 * NEW_MIN as u64 * 8 {
            // Some hashes come twice.
            let hash = dice.below(1 << 20);
            names.enter(hash, offset);
            all.insert((hash, offset));
            assert!(names.new.len() <= NEW_MIN.max(names.old.len() / 8));
        }
        assert_eq!(names.old.len() + names.new.len(), all.len());
        assert!(names.old.is_sorted() && NEW_MIN < names.old.len());
        for hash in (0..1 << 20).step_by(97).chain([7, 9]) {
            let wanted = all.range((hash, 0)..=(hash, u64::MAX)).map(|entry| entry.1);
            assert_eq!(names.of_hash(hash), wanted.collect::<Vec<_>>());
        }
    }

    #[test]
    fn names_of_one_hash_are_told_apart_by_their_rows() {
        let text = format!("{}\n{}\n", row(1, "a/1"), row(2, "a/2"));
        let (_folder, index, _tail) = opened(text.as_bytes());
        // As if both names had the same hash.
        index.enter(&Slot::parse("a/2").unwrap(), 0);
        assert_eq!(seqs(&index, "a/2"), [2]);
    }
}
