//! `index.jsonl`: one receipt a line, append-only, derived from episodes/ and never the truth.
//!
//! This file opens the index and finds rows by name; `tail` appends them.
//!
//! 1. A row that can be found here is on the disk: it is entered into the map after its `fdatasync`.
//! 2. A row never moves and never changes, so readers need no lock but the map's.
//! 3. Only the committer appends, and only a tail that no answer was built on is ever cut.
//! 4. The map may name rows of other slots, whose names have the same hash: each row is read and
//!    compared before it is returned.

use std::fs::File;
use std::hash::RandomState;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use super::layout::Layout;
use super::row_pages::{self, Page, PageQuestion};
use super::rows::{self, Line};
use super::tail::{self, Tail};
use crate::clock;
use crate::receiver::name_map::{NameMap, hash};
use crate::receiver::stats::{Stats, StatsTables};
use crate::wire::{Receipt, RowBrief, Slot};
use crate::{durable, events};

/// Unreadable lines that are named one by one at start.
const NAMED_MAX: usize = 10;

/// The readers' side: finds rows by name.
pub(super) struct Index {
    file: File,
    names: RwLock<NameMap>,
    /// Bytes of whole rows that are on the disk with their files. An atomic, so that a list takes no lock.
    shown: Arc<AtomicU64>,
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
    /// Opens the index, cuts a torn end off, and makes sure that all of it is on the disk. Its rows are
    /// entered into `stats`.
    pub(super) fn open(layout: &Layout, stats: &Stats) -> io::Result<(Index, Tail)> {
        let file = open_or_create(layout)?;
        let hasher = RandomState::new();
        let pass = stats.fill(|tables| {
            let pass = look_through(&file, &hasher, Some(tables))?;
            tables.settle(|offset| rows::read_row(&file, offset))?;
            io::Result::Ok(pass)
        })?;
        let length = file.metadata()?.len();
        if pass.sound_length < length {
            let torn_row = pass.torn_row.as_ref();
            tail::cut_torn(layout, &file, pass.sound_length, length, torn_row)?;
        }
        // Rows that a killed process had appended may be in memory only; from here on we answer
        // from them.
        durable::sync_data(&file)?;
        let tail = Tail::new(file.try_clone()?, pass.sound_length, pass.seq_max);
        let shown = tail.shown();
        Ok((Index::of(file, hasher, pass.entries, shown), tail))
    }

    /// Opens the index only to look, and changes nothing. A missing one is empty.
    pub(super) fn look(layout: &Layout) -> io::Result<Option<Index>> {
        let file = match durable::open_regular(&layout.index()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let hasher = RandomState::new();
        let pass = look_through(&file, &hasher, None)?;
        let looked_at = Arc::new(AtomicU64::new(pass.sound_length));
        Ok(Some(Index::of(file, hasher, pass.entries, looked_at)))
    }

    fn of(
        file: File,
        hasher: RandomState,
        entries: Vec<(u64, u64)>,
        shown: Arc<AtomicU64>,
    ) -> Index {
        Index {
            file,
            shown,
            names: RwLock::new(NameMap::new(hasher, entries)),
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

    /// A page of the rows that are on the disk with their files. `None` if its cursor is not one.
    pub(super) fn page(&self, question: &PageQuestion) -> io::Result<Option<Page>> {
        let end = self.shown.load(Ordering::Acquire);
        row_pages::read(&self.file, end, question)
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
        names.count()
    }
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
    mut tables: Option<&mut StatsTables>,
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
    rows::each_row(file, |line, brief| {
        if !line.whole {
            torn += 1;
            pass.torn_row = rows::parse(line).ok().map(|row| row.slot());
            return;
        }
        pass.sound_length = line.offset + line.length;
        pass.unreadable += torn;
        torn = 0;
        pass.torn_row = None;
        let mut enter = |brief: RowBrief| {
            pass.enter(&brief, line.offset, hasher);
            if let Some(tables) = &mut tables {
                tables.enter_at(&brief, line.offset, now_s);
            }
        };
        match brief {
            Some(brief) => enter(brief),
            None if line.is_blank() => {}
            None => match parse(line) {
                Ok(row) => enter(row.brief()),
                Err(why) => {
                    pass.name_unreadable(line, why);
                    if let Some(tables) = &mut tables {
                        tables.unreadable_rows += 1;
                    }
                }
            },
        }
    })?;
    if pass.unreadable > 0 {
        events::unreadable_rows(pass.unreadable);
    }
    Ok(pass)
}

/// The row of a line. A number that is too large to count is logged.
fn parse(line: &Line) -> Result<Receipt, String> {
    let (row, too_large) = rows::parse_numbered(line)?;
    if let Some(seq) = too_large {
        events::number_too_large(line.offset, &row.slot(), seq);
    }
    Ok(row)
}

impl Pass {
    fn enter(&mut self, row: &RowBrief, offset: u64, hasher: &RandomState) {
        self.seq_max = self.seq_max.max(row.seq.unwrap_or(0));
        self.entries
            .push((hash(hasher, row.host, row.episode), offset));
    }

    fn name_unreadable(&mut self, line: &Line, why: String) {
        self.unreadable += 1;
        if self.unreadable <= NAMED_MAX {
            events::unreadable_row(line.offset, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
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
        let (folder, index, mut tail) = opened(b"");
        let text = format!("{}\n", row(tail.next_seq, "a/1"));
        let offset = tail.end;
        tail.append(text.as_bytes(), 2).unwrap();
        assert!(seqs(&index, "a/1").is_empty());
        assert_eq!((tail.length, tail.end), (0, text.len() as u64));
        index.enter(&Slot::parse("a/1").unwrap(), offset);
        tail.accept(tail.end, 1, None);
        assert_eq!(seqs(&index, "a/1"), [1]);
        assert_eq!((tail.length, tail.last_seq), (tail.end, 1));
        fs::write(folder.path().join("index.jsonl"), text.clone() + "{half").unwrap();
        tail.cut_to_end().unwrap();
        let offset = tail.end;
        tail.append(text.as_bytes(), 3).unwrap();
        index.enter(&Slot::parse("a/1").unwrap(), offset);
        assert_eq!(seqs(&index, "a/1"), [1, 1]);
        // Nobody has synced the second: an end into recovery takes it back.
        tail.cut_to_synced().unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join("index.jsonl")).unwrap(),
            text
        );
        assert_eq!((tail.end, tail.next_seq), (tail.length, 3));
    }

    /// Rows in our form are read without the parser, and the others with it.
    #[test]
    fn the_figures_do_not_depend_on_the_form_of_the_rows() {
        let figures = |form: fn(String) -> String| {
            let mut text = String::new();
            for seq in 1..=700 {
                let slot = format!("h{}/e{seq}", seq % 7);
                let mut row: Receipt = serde_json::from_str(&row(seq, &slot)).unwrap();
                row.bytes = Some(seq);
                row.received_at = Some(format!("2026-11-23T{:02}:00:00Z", seq % 24));
                row.commit = Some("49".repeat(20).parse().unwrap());
                text += &(form(serde_json::to_string(&row).unwrap()) + "\n");
            }
            let folder = Folder::new("index");
            fs::write(folder.path().join("index.jsonl"), text + "odd\n").unwrap();
            let stats = Stats::new(std::iter::empty());
            Index::open(&Layout::new(folder.path()), &stats).unwrap();
            let tables = stats.look();
            let hosts: BTreeMap<_, _> = tables.hosts.into_iter().collect();
            let rest = (tables.uploads, tables.all, tables.last_seq);
            format!("{hosts:#?} {rest:#?} {}", tables.unreadable_rows)
        };
        let scanned = figures(|row| row);
        assert!(
            scanned.contains("e700") && scanned.ends_with(" 1"),
            "{scanned}"
        );
        assert_eq!(scanned, figures(|row| row.replace("{\"seq\"", "{ \"seq\"")));
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
