//! `sequence`: which numbers rows may have had, and how long the index was, kept beside the index so
//! that neither is forgotten with it.
//!
//! 1. A number is never given twice, whatever happens to the index: no row has ever had one from
//!    `next` on. While the receiver runs, `next` is up to [`RAISED_BY`] ahead, raised before that is
//!    needed, so it is seldom written; after a stop it is exact. A kill or a power cut leaves a gap.
//!    Where this file is lost together with the index, any other number that is known is passed by.
//! 2. An index that is shorter at start than it was at the last stop, or at the last full hour before
//!    a kill, was cut. That is found here, and stays a finding until `cis490 backfill` went through.

mod finding;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

pub(crate) use self::finding::{INDEX_REMEDY, IndexFault, IndexFinding};

use super::layout::Layout;
use super::rows::SEQ_MAX;
use super::tail::Tail;
use crate::failure::Failure;
use crate::receiver::data_dir::DataDir;
use crate::{clock, durable, events, owner};

/// How far `next` is raised at once.
const RAISED_BY: u64 = 10_000;
/// Far more than this program writes into the file.
const BYTES_MAX: u64 = 64 << 10;
/// How often the length of the index is noted while it grows.
const NOTE_EVERY: Duration = Duration::from_secs(3600);

/// The file, as the committer keeps it.
pub(crate) struct Sequence {
    home: DataDir,
    path: PathBuf,
    /// The content of the file.
    kept: Kept,
    noted: Instant,
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// No row has reached this number.
    next: u64,
    /// The length of the index when this was written, and the largest number in it.
    #[serde(default)]
    index_bytes: u64,
    #[serde(default)]
    index_last: u64,
    /// RFC 3339.
    #[serde(default)]
    written_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finding: Option<IndexFinding>,
}

/// The finding that is kept in `data_dir`, if there is one. Reads only.
pub(crate) fn finding(data_dir: &Path) -> Option<IndexFinding> {
    let text = durable::read_regular(&Layout::new(data_dir).sequence(), BYTES_MAX).ok()?;
    let kept: Kept = serde_json::from_slice(&text).ok()?;
    kept.finding
}

impl Sequence {
    /// Compares the opened index with its last known length, and moves the number of the next
    /// row behind every number that is known. `was_there` is whether the index existed before this
    /// start. `seq_seen` is a number that a row had, known from neither index nor sequence; 0 for none.
    ///
    /// Errors: the file cannot be read, or what was found cannot be kept.
    pub(crate) fn open(
        home: &DataDir,
        layout: &Layout,
        was_there: bool,
        seq_seen: u64,
        tail: &mut Tail,
    ) -> Result<Sequence, Failure> {
        let path = layout.sequence();
        let cannot = |what: &str, error: io::Error| {
            Failure::new(
                format!("cannot {what} {}: {error}", layout.sequence().display()),
                owner::hint(
                    &error,
                    "look at the disk and at who owns the file (dmesg, ls -l)",
                ),
            )
        };
        let known = read(layout).map_err(|error| cannot("read", error))?;
        let kept = known.clone().unwrap_or_else(|| Kept::of(tail));
        tail.next_seq = tail.next_seq.max(kept.next).max(seq_seen.saturating_add(1));
        let mut sequence = Sequence {
            home: home.clone(),
            path,
            kept,
            noted: Instant::now(),
        };
        let fault = finding::of_index(layout, known.as_ref(), was_there, tail);
        if let Some((kind, why)) = fault.map_err(|error| cannot("look into", error))? {
            events::index_fault(kind.name(), &why, INDEX_REMEDY);
            sequence.kept.finding = Some(IndexFinding {
                kind,
                found_at: clock::rfc3339(SystemTime::now()),
                why,
            });
            let next = tail.next_seq;
            // Without room for this file there is none for a row, and the next start finds it again.
            if let Err(error) = sequence.write(next, tail)
                && !durable::is_full(&error)
            {
                return Err(cannot("write", error));
            }
        } else if let Some(finding) = sequence.finding() {
            events::index_fault(finding.kind.name(), &finding.why, INDEX_REMEDY);
        }
        Ok(sequence)
    }

    pub(crate) fn finding(&self) -> Option<&IndexFinding> {
        self.kept.finding.as_ref()
    }

    /// Called before at most `rows` are appended: when this is `Ok`, the file on the disk says that
    /// their numbers may have been given.
    pub(crate) fn reach(&mut self, rows: u64, tail: &Tail) -> io::Result<()> {
        let next = tail.next_seq.saturating_add(rows);
        if next <= self.kept.next {
            return Ok(());
        }
        if SEQ_MAX < next.saturating_sub(1) {
            return Err(io::Error::other(format!(
                "the numbers of rows are used up: {} says that all up to {SEQ_MAX} were given",
                self.path.display()
            )));
        }
        self.write(
            next.saturating_sub(1)
                .saturating_add(RAISED_BY)
                .min(SEQ_MAX + 1),
            tail,
        )
    }

    /// Notes the length of the index, once an hour if it has grown.
    pub(crate) fn note_hourly(&mut self, tail: &Tail, now: Instant) {
        let is_due = NOTE_EVERY <= now.saturating_duration_since(self.noted);
        if is_due && self.kept.index_bytes != tail.length {
            self.noted = now;
            self.try_to_note(self.kept.next, tail);
        }
    }

    /// Writes down the exact end before the process ends: no number is given after this.
    pub(crate) fn note_end(&mut self, tail: &Tail) {
        let is_noted = self.kept.next == tail.next_seq && self.kept.index_bytes == tail.length;
        // A store that nothing came to has no such file, and needs none.
        let is_new = tail.length == 0 && tail.next_seq <= 1 && self.kept.finding.is_none();
        if !is_noted && !is_new {
            self.try_to_note(tail.next_seq, tail);
        }
    }

    /// Every stored file has its row again.
    pub(crate) fn settle(&mut self, tail: &Tail) {
        if self.kept.finding.take().is_some() {
            self.try_to_note(tail.next_seq, tail);
        }
    }

    fn try_to_note(&mut self, next: u64, tail: &Tail) {
        if let Err(error) = self.write(next, tail) {
            events::sequence_unwritable(&self.path, &error);
        }
    }

    fn write(&mut self, next: u64, tail: &Tail) -> io::Result<()> {
        let kept = Kept {
            next,
            finding: self.kept.finding.clone(),
            ..Kept::of(tail)
        };
        let mut text = serde_json::to_vec(&kept)?;
        text.push(b'\n');
        self.home.check()?;
        durable::publish(&self.path, &text)?;
        self.kept = kept;
        self.noted = Instant::now();
        Ok(())
    }
}

impl Kept {
    fn of(tail: &Tail) -> Kept {
        Kept {
            next: tail.next_seq,
            index_bytes: tail.length,
            index_last: tail.last_seq,
            written_at: clock::rfc3339(SystemTime::now()),
            finding: None,
        }
    }
}

/// `None` if there is no file, or one that this program did not write: that goes to quarantine/.
fn read(layout: &Layout) -> io::Result<Option<Kept>> {
    let parsed = match durable::read_regular(&layout.sequence(), BYTES_MAX) {
        Ok(text) => parse(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(none_of_ours(layout, error)?),
    };
    match parsed {
        Ok(kept) => Ok(Some(kept)),
        Err(why) => {
            let kept_as = layout.set_aside(&layout.sequence())?;
            events::sequence_unreadable(&layout.sequence(), &kept_as, &why);
            Ok(None)
        }
    }
}

/// Why what could not be read is no file of ours: it is too large, or a link, a folder, a fifo or the like.
///
/// Errors: the given one, if it may be a file of ours.
fn none_of_ours(layout: &Layout, error: io::Error) -> io::Result<String> {
    match layout.sequence().symlink_metadata() {
        Ok(found) if !found.is_file() => {
            let what = durable::kind_words(found.file_type());
            Ok(format!("it is {what} and not a regular file"))
        }
        _ if error.kind() == io::ErrorKind::FileTooLarge => Ok(error.to_string()),
        _ => Err(error),
    }
}

fn parse(text: &[u8]) -> Result<Kept, String> {
    let kept: Kept = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    match kept.next {
        next if next <= SEQ_MAX + 1 => Ok(kept),
        next => Err(format!("next is {next}, more than any number may be")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::receiver::stats::Stats;
    use crate::receiver::store::index::Index;
    use crate::receiver::store::store_dir;
    use crate::receiver::store::testing::Folder;

    fn opened(folder: &Folder) -> (Sequence, Tail) {
        opened_with(folder, 0)
    }

    fn opened_with(folder: &Folder, seq_seen: u64) -> (Sequence, Tail) {
        store_dir::make(folder.path()).unwrap();
        let layout = Layout::new(folder.path());
        let was_there = layout.index().exists();
        let stats = Stats::new(std::iter::empty());
        let (_, mut tail) = Index::open(&layout, &stats).unwrap();
        let home = DataDir::open(folder.path()).unwrap();
        let sequence = Sequence::open(&home, &layout, was_there, seq_seen, &mut tail).unwrap();
        (sequence, tail)
    }

    fn in_file(folder: &Folder) -> Option<Kept> {
        let text = fs::read(folder.path().join("sequence")).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    #[test]
    fn it_is_raised_before_it_is_needed_and_seldom() {
        let folder = Folder::new("sequence");
        let (mut sequence, mut tail) = opened(&folder);
        assert_eq!(in_file(&folder), None);
        let mut raised = Vec::new();
        for _ in 0..25_000 / 7 {
            sequence.reach(7, &tail).unwrap();
            tail.next_seq += 7;
            let next = in_file(&folder).unwrap().next;
            assert!(tail.next_seq <= next, "no row has reached {next}");
            if raised.last() != Some(&next) {
                raised.push(next);
            }
        }
        assert_eq!(raised.len(), 3, "{raised:?}");
        // A kill: nobody knows how far the numbers went. A stop: they go on.
        let (mut sequence, tail) = opened(&folder);
        assert_eq!(Some(&tail.next_seq), raised.last());
        sequence.note_end(&tail);
        let (_, again) = opened(&folder);
        assert_eq!(again.next_seq, tail.next_seq);
    }

    #[test]
    fn the_length_of_the_index_is_noted_once_an_hour_while_it_grows() {
        let folder = Folder::new("sequence");
        let (mut sequence, mut tail) = opened(&folder);
        sequence.reach(1, &tail).unwrap();
        tail.next_seq = 2;
        tail.accept(100, 1, None);
        let now = Instant::now();
        for (now, wanted) in [(now, 0), (now + NOTE_EVERY, 100)] {
            sequence.note_hourly(&tail, now);
            let kept = in_file(&folder).unwrap();
            assert_eq!((kept.index_bytes, kept.next), (wanted, 10_001));
        }
        fs::remove_file(folder.path().join("sequence")).unwrap();
        sequence.note_hourly(&tail, now + 3 * NOTE_EVERY);
        assert_eq!(in_file(&folder), None, "it has not grown");
    }

    #[test]
    fn the_last_number_is_given_and_none_beyond_it() {
        let folder = Folder::new("sequence");
        let (mut sequence, mut tail) = opened(&folder);
        tail.next_seq = SEQ_MAX;
        sequence.reach(1, &tail).unwrap();
        assert_eq!(in_file(&folder).unwrap().next, SEQ_MAX + 1);
        tail.next_seq = SEQ_MAX + 1;
        let words = sequence.reach(1, &tail).unwrap_err().to_string();
        assert!(words.contains("used up"), "{words}");
        let (_, tail) = opened(&folder);
        assert_eq!(tail.next_seq, SEQ_MAX + 1);
    }

    #[test]
    fn what_is_no_sequence_is_kept_and_numbers_go_on_behind_the_index() {
        for odd in [
            "",
            "{",
            "{\"next\":-1}",
            "{\"next\":9223372036854775809}",
            "7",
        ] {
            let folder = Folder::new("sequence");
            drop(opened(&folder));
            fs::write(folder.path().join("sequence"), odd).unwrap();
            let (sequence, tail) = opened(&folder);
            assert_eq!((tail.next_seq, sequence.finding()), (1, None), "{odd}");
            let kept = fs::read_to_string(folder.path().join("quarantine/sequence.1")).unwrap();
            assert_eq!(kept, odd);
        }
    }

    #[test]
    fn what_is_no_file_of_ours_is_kept_and_does_not_hold_up_a_start() {
        type Make = fn(&Path) -> io::Result<()>;
        let odds: [Make; 4] = [
            |path| fs::create_dir(path).and_then(|()| fs::write(path.join("x"), "x")),
            |path| std::os::unix::fs::symlink("/nowhere", path),
            |path| std::os::unix::net::UnixListener::bind(path).map(|_| ()),
            |path| fs::write(path, vec![b' '; BYTES_MAX as usize + 1]),
        ];
        for make in odds {
            let folder = Folder::new("sequence");
            drop(opened(&folder));
            let path = folder.path().join("sequence");
            make(&path).unwrap();
            let kind = path.symlink_metadata().unwrap().file_type();
            let (mut sequence, tail) = opened(&folder);
            assert_eq!((tail.next_seq, sequence.finding()), (1, None), "{kind:?}");
            let kept = folder.path().join("quarantine/sequence.1");
            assert_eq!(kept.symlink_metadata().unwrap().file_type(), kind);
            sequence.reach(1, &tail).unwrap();
            assert_eq!(in_file(&folder).unwrap().next, 10_001, "{kind:?}");
        }
    }

    #[test]
    fn numbers_go_on_behind_one_that_is_known_from_elsewhere() {
        let folder = Folder::new("sequence");
        let (mut sequence, tail) = opened_with(&folder, 41);
        assert_eq!(tail.next_seq, 42);
        sequence.reach(1, &tail).unwrap();
        assert_eq!(in_file(&folder).unwrap().next, 10_042);
        // It says nothing new where the file is there.
        let (_, tail) = opened_with(&folder, 41);
        assert_eq!(tail.next_seq, 10_042);
    }
}
