//! One look at the receiver's list: from the last row that was seen to the end, or from the start if the
//! list is another than it was.
//!
//! The next page is asked for while tarballs of the last one are under way. But pages end in the order of the
//! list: the cursor is written after each page whose rows are all here or noted as missing. After something
//! that a person has to look at it stays where it was, so that each later pull finds it again.

use std::collections::{HashMap, VecDeque};
use std::thread;

use super::cursor::{Cursor, LastRow, State};
use super::end::End;
use super::folder::Folder;
use super::here::{Needs, in_the_way, needs, verify};
use super::list::{Answer, Asker, Page};
use super::missing::Missing;
use super::pages::{Done, Work};
use super::patience::Patience;
use super::receipts::Receipts;
use super::row::{Row, digest};
use super::transfer::Line;
use super::workers::{Bench, Workers};
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
    asker: Asker<'a>,
    wish: &'a Wish,
    /// Read when the first row is not the last one that was seen: a pull with nothing new does not
    /// need them.
    receipts: &'a mut Option<Receipts>,
    missing: Missing,
    patience: &'a Patience,
    /// The receipts were here when the pass began.
    has_index: bool,
    /// What the last pull has left, and then what this one will leave.
    state: Option<State>,
    /// The store of the pages so far, which `state` names once one has ended.
    store: Option<StoreId>,
    /// The names that this pass has seen in the list, with their digests.
    seen: HashMap<Slot, Sha256Digest>,
    outcome: Outcome,
}

/// What a question for the next page came to.
enum Looked {
    Page(Page),
    /// The list is another than it was.
    Another(Anew),
    /// No answer: the question may be asked again later.
    Away,
}

/// Why the list is read from its start again.
enum Anew {
    /// For this reason, which a person should know.
    Note(&'static str),
    /// For this one; and what was missing is of no interest any more.
    OtherStore,
    /// It came otherwise the second time: a line that flips bits has changed it, not the receiver.
    Flipped,
}

/// Where the reading of the list is.
#[derive(Default)]
struct Reading {
    /// Where the next page begins; `None` for the start.
    cursor: Option<Cursor>,
    /// The next page begins with the last row that the last pull has seen.
    is_first: bool,
    /// There is another page.
    goes_on: bool,
    /// How many pages in a row had no name that is new in this pass.
    without_news: u32,
    /// How often it began at the start again.
    starts: u32,
    /// The oldest first.
    under_way: VecDeque<UnderWay>,
    /// All of this page has ended, and episodes of it are missing. Before that is believed the page is asked for
    /// again; no other page ends meanwhile.
    doubted: Option<UnderWay>,
    /// A page came otherwise the second time: the rows of those that are under way come again.
    is_flipped: bool,
    /// Why the list is not read on, which waits until all that is under way has ended.
    stop: Option<Result<Anew, End>>,
}

/// A page whose tarballs are under way.
struct UnderWay {
    page: Page,
    /// The question that it was the answer to.
    cursor: Option<Cursor>,
    rows: Rows,
}

/// What the rows of a page came to before anything was fetched.
#[derive(Default)]
struct Rows {
    /// These are here.
    here: Vec<Slot>,
    /// What a person has to look at.
    wrong: Vec<String>,
}

impl Reading {
    /// Whether another page is to be asked for.
    fn wants_page(&self) -> bool {
        self.goes_on && self.doubted.is_none()
    }

    /// The list is not read on, for this reason.
    fn stop_for(&mut self, why: Result<Anew, End>) {
        self.stop = Some(why);
        self.goes_on = false;
    }
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        folder: &'a Folder,
        client: &'a ReaderClient,
        wish: &'a Wish,
        patience: &'a Patience,
        receipts: &'a mut Option<Receipts>,
    ) -> Result<Pass<'a>, End> {
        let has_index = folder.has_index()?;
        let state = State::load(folder)?;
        Ok(Pass {
            has_index,
            missing: Missing::load(folder)?,
            asker: Asker::new(client, patience, wish.host.as_ref()),
            patience,
            store: state.as_ref().map(|state| state.store),
            state,
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
        let line = Line {
            folder: self.folder,
            client: self.client,
            patience: self.patience,
        };
        let bench = Bench::new();
        thread::scope(|scope| {
            let mut workers = Workers::new(scope, &line, &bench, self.wish.jobs);
            let read = self.read_list_and_ask_again(&mut workers, tell);
            // Without receipts nothing was begun.
            if read.is_err()
                && let Some(receipts) = self.receipts.as_mut()
            {
                workers.end(receipts, tell);
            }
            read
        })?;
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
    fn read_list_and_ask_again(
        &mut self,
        workers: &mut Workers,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(), End> {
        let before: Vec<Row> = self.missing.rows().cloned().collect();
        self.read_list(workers, tell)?;
        let is_asked = |row: &Row| {
            let host = self.wish.host.as_ref();
            let is_left = self.missing.rows().any(|left| left == row);
            is_left && host.is_none_or(|host| *host == row.slot.host)
        };
        let again: Vec<Row> = before.into_iter().filter(is_asked).collect();
        if again.is_empty() {
            return Ok(());
        }
        let rows = self.begin(workers, again, tell)?;
        let done = loop {
            if let Some(done) = workers.next_done() {
                break done;
            }
            self.go_on(workers, tell)?;
        };
        self.note_rows(rows);
        self.note_done(done);
        self.missing.save(self.folder)
    }

    fn read_list(&mut self, workers: &mut Workers, tell: &mut dyn FnMut(Step)) -> Result<(), End> {
        let cursor = self.last().map(|last| last.cursor.clone());
        let mut reading = Reading {
            is_first: cursor.is_some(),
            cursor,
            goes_on: true,
            ..Reading::default()
        };
        loop {
            while reading.wants_page() && workers.want_more() && self.asker.is_due() {
                self.begin_page(&mut reading, workers, tell)?;
            }
            self.end_pages(&mut reading, workers)?;
            if !workers.are_idle() {
                self.go_on(workers, tell)?;
            } else if self.asker.is_away() {
                self.asker.await_due()?;
            } else if let Some(why) = reading.stop.take() {
                self.read_anew(&mut reading, &why?, tell)?;
            } else if !reading.goes_on {
                return Ok(());
            }
        }
    }

    /// Asks once for the next page, and begins to fetch what it lists.
    ///
    /// Errors: those that do not wait until what is under way has ended.
    fn begin_page(
        &mut self,
        reading: &mut Reading,
        workers: &mut Workers,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(), End> {
        let taken = match self.look(reading.cursor.as_ref(), reading.is_first) {
            Ok(Looked::Page(page)) => self.take(reading, page, workers, tell),
            Ok(Looked::Away) => Ok(()),
            Ok(Looked::Another(why)) => {
                reading.stop_for(Ok(why));
                Ok(())
            }
            Err(end) => Err(end),
        };
        match taken {
            Err(end) if !self.patience.is_over() => {
                reading.stop_for(Err(end));
                Ok(())
            }
            taken => taken,
        }
    }

    /// Ends the pages all of which has ended, in the order of the list.
    fn end_pages(&mut self, reading: &mut Reading, workers: &mut Workers) -> Result<(), End> {
        loop {
            if let Some(ended) = &reading.doubted {
                if !self.asker.is_due() {
                    return Ok(());
                }
                match self.comes_again(ended)? {
                    None => return Ok(()),
                    Some(true) => self.save(&ended.page)?,
                    Some(false) => {
                        reading.is_flipped = true;
                        reading.stop_for(Ok(Anew::Flipped));
                    }
                }
                reading.doubted = None;
            }
            let Some(done) = workers.next_done() else {
                return Ok(());
            };
            let Some(mut ended) = reading.under_way.pop_front() else {
                continue;
            };
            if reading.is_flipped {
                // Its rows come again.
                self.note_here(&done);
                continue;
            }
            self.note_rows(std::mem::take(&mut ended.rows));
            self.note_done(done);
            if self.missing.is_saved() {
                self.save(&ended.page)?;
            } else {
                reading.doubted = Some(ended);
            }
        }
    }

    /// Nothing is under way: the list is read from its start.
    fn read_anew(
        &mut self,
        reading: &mut Reading,
        why: &Anew,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(), End> {
        if reading.starts == STARTS_MAX {
            let what = match why {
                Anew::Flipped => "its list comes otherwise each time",
                Anew::Note(_) | Anew::OtherStore => "its list changes while it is read",
            };
            return Err(End::Waits(self.client.odd(what)));
        }
        match why {
            Anew::Note(why) => tell(Step::Note(starts_anew(why))),
            Anew::OtherStore => {
                self.missing.clear();
                let why = "another store is at this address";
                tell(Step::Note(starts_anew(why)));
            }
            Anew::Flipped => self.missing = Missing::load(self.folder)?,
        }
        self.begin_at_start();
        *reading = Reading {
            goes_on: true,
            without_news: reading.without_news,
            starts: reading.starts + 1,
            ..Reading::default()
        };
        Ok(())
    }

    /// Notes on the disk what this page came to.
    fn save(&mut self, page: &Page) -> Result<(), End> {
        self.missing.save(self.folder)?;
        self.write_cursor(page)
    }

    /// Asks once for a page, and compares it with what was seen before. `is_first`: it begins with the last
    /// row that was seen.
    fn look(&mut self, cursor: Option<&Cursor>, is_first: bool) -> Result<Looked, End> {
        let page = match self.asker.ask(cursor)? {
            None => return Ok(Looked::Away),
            Some(Answer::Page(page)) => page,
            Some(Answer::BadCursor) => {
                return Ok(Looked::Another(Anew::Note("its index was rebuilt")));
            }
        };
        if self.store.is_some_and(|store| store != page.store) {
            return Ok(Looked::Another(Anew::OtherStore));
        }
        if is_first
            && let Some(last) = self.last()
            && page.lines().next().map(digest) != Some(last.line_sha256)
        {
            return Ok(Looked::Another(Anew::Note(
                "the last row that was seen is not where it was: its index was rebuilt or changed",
            )));
        }
        self.store = Some(page.store);
        Ok(Looked::Page(page))
    }

    /// Whether the receiver answers the question for a page with the same rows again. `None` without an answer.
    fn comes_again(&mut self, ended: &UnderWay) -> Result<Option<bool>, End> {
        let page = &ended.page;
        let answer = self.asker.ask(ended.cursor.as_ref())?;
        Ok(answer.map(|answer| match answer {
            // New rows may stand behind them by now.
            Answer::Page(again) => again.text.starts_with(&page.text) && again.store == page.store,
            Answer::BadCursor => false,
        }))
    }

    /// Begins to bring here what a page lists, and moves `reading` behind it.
    fn take(
        &mut self,
        reading: &mut Reading,
        page: Page,
        workers: &mut Workers,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(), End> {
        let names = self.seen.len();
        let mut rows = Vec::new();
        let mut wrong = Vec::new();
        for line in page.lines().skip(usize::from(reading.is_first)) {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match Row::parse(line) {
                Ok(row) => self.note(row, &mut rows, &mut wrong),
                Err(why) => {
                    let start = String::from_utf8_lossy(line.get(..120).unwrap_or(line));
                    let words = format!("a row of the receiver is none: {why}: {start}");
                    wrong.push(one_line(&words));
                }
            }
        }
        let mut rows = self.begin(workers, rows, tell)?;
        rows.wrong.splice(0..0, wrong);
        reading.without_news = if names < self.seen.len() {
            0
        } else {
            reading.without_news + 1
        };
        reading.is_first = false;
        reading.goes_on = page.has_more;
        let cursor = reading.cursor.replace(page.next.clone());
        let stands = cursor == reading.cursor || reading.without_news == PAGES_WITHOUT_NEWS_MAX;
        reading.under_way.push_back(UnderWay { page, cursor, rows });
        if reading.goes_on && stands {
            let what = "its list does not go on";
            return Err(End::Wrong(self.client.odd(what)));
        }
        Ok(())
    }

    /// Takes a row unless its name was seen before in this pass.
    fn note(&mut self, row: Row, rows: &mut Vec<Row>, wrong: &mut Vec<String>) {
        match self.seen.get(&row.slot) {
            None => {
                self.seen.insert(row.slot.clone(), row.sha256);
                rows.push(row);
            }
            Some(sha256) if *sha256 == row.sha256 => {}
            Some(_) => wrong.push(format!(
                "{}: the receiver lists it twice, with different bytes: cis490 scrub on the Pi says more",
                row.slot
            )),
        }
    }

    /// Begins to fetch those of the rows that are not here.
    fn begin(
        &mut self,
        workers: &mut Workers,
        rows: Vec<Row>,
        tell: &mut dyn FnMut(Step),
    ) -> Result<Rows, End> {
        let mut noted = Rows::default();
        let mut work = Vec::new();
        if !rows.is_empty() {
            self.open_receipts()?;
            work = self.work(rows, &mut noted)?;
        }
        let to_come = work.iter().filter(|work| !work.is_there);
        tell(Step::More(to_come.filter_map(|work| work.row.bytes).sum()));
        workers.begin(work)?;
        Ok(noted)
    }

    /// Waits for work that is under way.
    fn go_on(&mut self, workers: &mut Workers, tell: &mut dyn FnMut(Step)) -> Result<(), End> {
        let receipts = self.open_receipts()?;
        workers.go_on(receipts, tell)
    }

    fn open_receipts(&mut self) -> Result<&mut Receipts, End> {
        let receipts = match self.receipts.take() {
            Some(receipts) => receipts,
            None => Receipts::open(self.folder)?,
        };
        Ok(self.receipts.insert(receipts))
    }

    fn note_rows(&mut self, rows: Rows) {
        for slot in rows.here {
            self.missing.remove(&slot);
        }
        for words in rows.wrong {
            self.outcome.wrong.add(words);
        }
    }

    fn note_done(&mut self, done: Done) {
        self.note_here(&done);
        for row in &done.here {
            self.missing.remove(&row.slot);
        }
        for (row, why) in done.missing {
            self.missing.add(row, why);
        }
        for (row, why) in done.in_the_way {
            self.outcome
                .wrong
                .add(in_the_way(self.folder, &row.slot, &why));
        }
    }

    /// Counts the episodes that came.
    fn note_here(&mut self, done: &Done) {
        for row in &done.here {
            self.outcome.episodes += 1;
            self.outcome.bytes += row.bytes.unwrap_or(0);
        }
    }

    /// What of these rows has to be done, with the folders for it made.
    fn work(&self, rows: Vec<Row>, noted: &mut Rows) -> Result<Vec<Work>, End> {
        let mut work = Vec::new();
        let mut made = None;
        for row in rows {
            let known = self.receipts.as_ref();
            let known = known.and_then(|receipts| receipts.of(&row.slot));
            match needs(self.folder, known, &row)? {
                Needs::Nothing => noted.here.push(row.slot),
                Needs::APerson(why) => noted.wrong.push(why),
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

    /// Reads each file that has a receipt.
    fn verify(&mut self, tell: &mut dyn FnMut(Step)) -> Result<(), End> {
        let folder = self.folder;
        let receipts = self.open_receipts()?;
        for words in verify(folder, receipts, tell)? {
            self.outcome.wrong.add(words);
        }
        Ok(())
    }

    fn last(&self) -> Option<&LastRow> {
        self.state.as_ref()?.last.as_ref()
    }

    fn begin_at_start(&mut self) {
        self.state = None;
        self.store = None;
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
