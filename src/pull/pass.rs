//! One look at the receiver's list: from the last row that was seen to the end, or from the start if the
//! list is another than it was.
//!
//! The cursor is written after each page whose rows are all here or noted as missing. After something
//! that a person has to look at it stays where it was, so that each later pull finds it again.

use std::collections::HashMap;

use super::batch::Done;
use super::cursor::{Cursor, LastRow, State};
use super::end::End;
use super::folder::{Folder, Found, digest_of, look};
use super::list::{self, Answer, Page};
use super::missing::Missing;
use super::patience::Patience;
use super::receipts::{Known, Receipts};
use super::row::{Row, digest};
use super::transfer::Line;
use super::workers::{Work, fetch_all};
use super::{Outcome, Step, Wish};
use crate::durable;
use crate::names::{Sha256Digest, StoreId};
use crate::reader_client::ReaderClient;
use crate::terminal::one_line;
use crate::wire::Slot;

/// A list of this many pages in a row without a name that is new in this pass has no end.
const PAGES_WITHOUT_NEWS_MAX: u32 = 1000;
/// How often one pass begins at the start: the index was rebuilt while it was read.
const STARTS_MAX: u32 = 3;

pub(super) struct Pass<'a> {
    folder: &'a Folder,
    client: &'a ReaderClient,
    wish: &'a Wish,
    /// Read when the first row is not the last one that was seen: a pull with nothing new does not
    /// need them.
    receipts: &'a mut Option<Receipts>,
    missing: Missing,
    patience: Patience,
    /// The receipts were here when the pass began.
    has_index: bool,
    /// What the last pull has left, and then what this one will leave.
    state: Option<State>,
    /// The names that this pass has seen in the list, with their digests.
    seen: HashMap<Slot, Sha256Digest>,
    outcome: Outcome,
}

/// A page, or the reason why the list is another than it was.
enum Looked {
    Page(Page),
    Another(&'static str),
}

/// What a row needs.
enum Needs {
    Nothing,
    Work { is_there: bool },
    APerson(String),
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        folder: &'a Folder,
        client: &'a ReaderClient,
        wish: &'a Wish,
        receipts: &'a mut Option<Receipts>,
    ) -> Result<Pass<'a>, End> {
        let has_index = folder.has_index()?;
        Ok(Pass {
            has_index,
            missing: Missing::load(folder)?,
            patience: Patience::new(wish.watch),
            state: State::load(folder)?,
            seen: HashMap::new(),
            outcome: Outcome::default(),
            folder,
            client,
            wish,
            receipts,
        })
    }

    /// Reads the list and fetches what is not here.
    ///
    /// Errors: see [`End`].
    pub(super) fn run(mut self, verify: bool, tell: &mut dyn FnMut(Step)) -> Result<Outcome, End> {
        if verify {
            self.verify(tell)?;
            self.begin_at_start();
        }
        if !self.has_index && self.last().is_some() {
            *self.receipts = None;
            let why = "index.jsonl is not there any more; it is written again";
            tell(Step::Note(starts_anew(why)));
            self.begin_at_start();
        }
        if let Some(state) = &self.state
            && state.host != self.wish.host
        {
            let why = "the last pull asked for other hosts";
            tell(Step::Note(starts_anew(why)));
            self.begin_at_start();
        }
        self.read_list_and_ask_again(tell)?;
        let is_asked = |slot: &Slot| {
            let host = self.wish.host.as_ref();
            host.is_none_or(|host| *host == slot.host)
        };
        for (slot, why) in self.missing.reasons().filter(|(slot, _)| is_asked(slot)) {
            let words = format!("{slot}: {}", one_line(why));
            self.outcome.missing.add(words);
        }
        Ok(self.outcome)
    }

    /// Reads the list to its end, and then asks again for what was missing before.
    fn read_list_and_ask_again(&mut self, tell: &mut dyn FnMut(Step)) -> Result<(), End> {
        let before: Vec<Row> = self.missing.rows().cloned().collect();
        self.read_list(tell)?;
        let is_asked = |row: &Row| {
            let host = self.wish.host.as_ref();
            let is_left = self.missing.rows().any(|left| left == row);
            is_left && host.is_none_or(|host| *host == row.slot.host)
        };
        let again: Vec<Row> = before.into_iter().filter(is_asked).collect();
        if again.is_empty() {
            return Ok(());
        }
        self.fetch(again, tell)?;
        self.missing.save(self.folder)
    }

    fn read_list(&mut self, tell: &mut dyn FnMut(Step)) -> Result<(), End> {
        let mut cursor = self.last().map(|last| last.cursor.clone());
        let mut is_first = cursor.is_some();
        let mut starts = 0;
        let mut without_news = 0;
        loop {
            let page = match self.look(cursor.as_ref(), is_first)? {
                Looked::Page(page) => page,
                Looked::Another(_) if starts == STARTS_MAX => {
                    let what = "its list changes while it is read";
                    return Err(End::Waits(self.client.odd(what)));
                }
                Looked::Another(why) => {
                    starts += 1;
                    tell(Step::Note(starts_anew(why)));
                    self.begin_at_start();
                    cursor = None;
                    is_first = false;
                    continue;
                }
            };
            let names = self.seen.len();
            self.take(&page, is_first, tell)?;
            if self.has_new_missing() && !self.comes_again(&page, cursor.as_ref())? {
                // A line that flips bits has changed the rows, not the receiver.
                starts += 1;
                if starts > STARTS_MAX {
                    let what = "its list comes otherwise each time";
                    return Err(End::Waits(self.client.odd(what)));
                }
                self.missing = Missing::load(self.folder)?;
                self.begin_at_start();
                cursor = None;
                is_first = false;
                continue;
            }
            self.missing.save(self.folder)?;
            self.write_cursor(&page)?;
            without_news = if names < self.seen.len() {
                0
            } else {
                without_news + 1
            };
            if !page.has_more {
                return Ok(());
            }
            let stands = cursor.as_ref() == Some(&page.next);
            if stands || without_news == PAGES_WITHOUT_NEWS_MAX {
                let what = "its list does not go on";
                return Err(End::Wrong(self.client.odd(what)));
            }
            cursor = Some(page.next);
            is_first = false;
        }
    }

    /// Asks for a page, and compares it with what was seen before. `is_first`: it begins with the last
    /// row that was seen.
    fn look(&mut self, cursor: Option<&Cursor>, is_first: bool) -> Result<Looked, End> {
        let host = self.wish.host.as_ref();
        let page = match list::ask(self.client, &self.patience, cursor, host)? {
            Answer::Page(page) => page,
            Answer::BadCursor => return Ok(Looked::Another("its index was rebuilt")),
        };
        let is_other = |state: &State| state.store != page.store;
        if self.state.as_ref().is_some_and(is_other) {
            self.missing.clear();
            return Ok(Looked::Another("another store is at this address"));
        }
        if is_first
            && let Some(last) = self.last()
            && page.lines().next().map(digest) != Some(last.line_sha256)
        {
            return Ok(Looked::Another(
                "the last row that was seen is not where it was: its index was rebuilt or changed",
            ));
        }
        Ok(Looked::Page(page))
    }

    /// Whether episodes of the last page could not be had.
    fn has_new_missing(&self) -> bool {
        !self.missing.is_saved()
    }

    /// Whether the receiver answers the question for a page with the same rows again.
    fn comes_again(&self, page: &Page, cursor: Option<&Cursor>) -> Result<bool, End> {
        let host = self.wish.host.as_ref();
        Ok(
            match list::ask(self.client, &self.patience, cursor, host)? {
                // New rows may stand behind them by now.
                Answer::Page(again) => {
                    again.text.starts_with(&page.text) && again.store == page.store
                }
                Answer::BadCursor => false,
            },
        )
    }

    /// Brings here what a page lists.
    fn take(
        &mut self,
        page: &Page,
        begins_with_last: bool,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(), End> {
        let mut rows = Vec::new();
        for line in page.lines().skip(usize::from(begins_with_last)) {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match Row::parse(line) {
                Ok(row) => self.note(row, &mut rows),
                Err(why) => {
                    let start = String::from_utf8_lossy(line.get(..120).unwrap_or(line));
                    let words = format!("a row of the receiver is none: {why}: {start}");
                    self.outcome.wrong.add(one_line(&words));
                }
            }
        }
        self.fetch(rows, tell)
    }

    /// Takes a row unless its name was seen before in this pass.
    fn note(&mut self, row: Row, rows: &mut Vec<Row>) {
        match self.seen.get(&row.slot) {
            None => {
                self.seen.insert(row.slot.clone(), row.sha256);
                rows.push(row);
            }
            Some(sha256) if *sha256 == row.sha256 => {}
            Some(_) => self.outcome.wrong.add(format!(
                "{}: the receiver lists it twice, with different bytes: cis490 scrub on the Pi says more",
                row.slot
            )),
        }
    }

    /// Fetches those of the rows that are not here.
    fn fetch(&mut self, rows: Vec<Row>, tell: &mut dyn FnMut(Step)) -> Result<(), End> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut receipts = match self.receipts.take() {
            Some(receipts) => receipts,
            None => Receipts::open(self.folder)?,
        };
        let work = self.work(&receipts, rows)?;
        let to_come = work.iter().filter(|work| !work.is_there);
        tell(Step::More(to_come.filter_map(|work| work.row.bytes).sum()));
        let line = Line {
            folder: self.folder,
            client: self.client,
            patience: &self.patience,
        };
        // Receipts that an error has left half written are opened again.
        let done = fetch_all(&line, &mut receipts, work, self.wish.jobs, tell)?;
        *self.receipts = Some(receipts);
        self.note_done(done);
        Ok(())
    }

    fn note_done(&mut self, done: Done) {
        for row in &done.here {
            self.missing.remove(&row.slot);
            self.outcome.episodes += 1;
            self.outcome.bytes += row.bytes.unwrap_or(0);
        }
        for (row, why) in done.missing {
            self.missing.add(row, why);
        }
        for (row, why) in done.in_the_way {
            self.outcome.wrong.add(self.in_the_way(&row.slot, &why));
        }
    }

    /// What of these rows has to be done, with the folders for it made.
    fn work(&mut self, receipts: &Receipts, rows: Vec<Row>) -> Result<Vec<Work>, End> {
        let mut work = Vec::new();
        let mut made = None;
        for row in rows {
            match self.needs(receipts.of(&row.slot), &row)? {
                Needs::Nothing => self.missing.remove(&row.slot),
                Needs::APerson(why) => self.outcome.wrong.add(why),
                Needs::Work { is_there } => {
                    if made.as_ref() != Some(&row.slot.host) {
                        let dir = self.folder.host(&row.slot.host);
                        durable::make_dir(&dir).map_err(|error| End::disk("make", &dir, &error))?;
                        made = Some(row.slot.host.clone());
                    }
                    work.push(Work { row, is_there });
                }
            }
        }
        Ok(work)
    }

    fn needs(&self, known: Option<Known>, row: &Row) -> Result<Needs, End> {
        if known.is_some_and(|known| known.sha256 != row.sha256) {
            return Ok(Needs::APerson(format!(
                "{}: the receiver has other bytes than the receipt here says: keep both apart: pull into another folder",
                row.slot
            )));
        }
        let bytes = known.map_or(row.bytes, |known| known.bytes);
        let found = look(&self.folder.tarball(&row.slot))?;
        Ok(match found {
            Found::Nothing => Needs::Work { is_there: false },
            Found::File { bytes: there } if bytes.is_none_or(|bytes| bytes == there) => match known
            {
                Some(_) => Needs::Nothing,
                None => Needs::Work { is_there: true },
            },
            Found::File { bytes: there } => {
                let bytes = bytes.unwrap_or_default();
                let why = format!("it has {there} bytes, and should have {bytes}");
                Needs::APerson(self.in_the_way(&row.slot, &why))
            }
            Found::Other(kind) => {
                let why = format!("it is {kind} and not a file");
                Needs::APerson(self.in_the_way(&row.slot, &why))
            }
        })
    }

    /// Reads each file that has a receipt.
    fn verify(&mut self, tell: &mut dyn FnMut(Step)) -> Result<(), End> {
        let receipts = Receipts::open(self.folder)?;
        let all: u64 = receipts.all().filter_map(|(_, known)| known.bytes).sum();
        tell(Step::More(all));
        for (slot, known) in receipts.all() {
            let path = self.folder.tarball(slot);
            // Of those that are not here, or have another length, the list's rows find out.
            if let Found::File { bytes } = look(&path)?
                && known.bytes.is_none_or(|known| known == bytes)
                && digest_of(&path)? != known.sha256
            {
                let why = "its SHA-256 is not that of its receipt";
                let words = self.in_the_way(slot, why);
                self.outcome.wrong.add(words);
            }
            tell(Step::Bytes(known.bytes.unwrap_or(0)));
        }
        *self.receipts = Some(receipts);
        Ok(())
    }

    fn in_the_way(&self, slot: &Slot, why: &str) -> String {
        let path = self.folder.tarball(slot);
        let path = path.display();
        format!("{path}: {why}: it stays as it is; move it away, and pull again with --verify")
    }

    fn last(&self) -> Option<&LastRow> {
        self.state.as_ref()?.last.as_ref()
    }

    fn begin_at_start(&mut self) {
        self.state = None;
        self.seen.clear();
    }

    /// Notes how far the list was read.
    fn write_cursor(&mut self, page: &Page) -> Result<(), End> {
        if !self.outcome.wrong.is_empty() {
            return Ok(());
        }
        let last = page.last.clone().zip(page.lines().next_back());
        let last = last.map(|(cursor, line)| LastRow {
            cursor,
            line_sha256: digest(line),
        });
        let state = self.state_of(page.store, last);
        if self.state.as_ref() != Some(&state) {
            state.save(self.folder)?;
            self.state = Some(state);
        }
        Ok(())
    }

    fn state_of(&self, store: StoreId, last: Option<LastRow>) -> State {
        State {
            store,
            host: self.wish.host.clone(),
            last: last.or_else(|| self.last().cloned()),
        }
    }
}

fn starts_anew(why: &str) -> String {
    format!("the list is read from its start, and what is here is skipped: {why}")
}
