//! One look at the receiver's list: from the last row that was seen to the end, or from the start if the
//! list is another than it was.
//!
//! The next page is asked for while tarballs of the last one are under way. But pages end in the order of the
//! list: the cursor is written after each page whose rows are all here or noted as missing. After something
//! that a person has to look at it stays where it was, so that each later pull finds it again.

use std::collections::VecDeque;
use std::thread;

use super::cursor::{Cursor, LastRow, State};
use super::end::End;
use super::folder::Folder;
use super::judge::{Judge, Rows};
use super::list::{Answer, Asker, Page};
use super::missing::Missing;
use super::patience::Patience;
use super::receipts::Receipts;
use super::row::{Row, digest};
use super::transfer::Line;
use super::workers::{Bench, Workers};
use super::{Outcome, Step, Wish};
use crate::names::StoreId;
use crate::reader_client::ReaderClient;
use crate::sys::KeptBlocks;

/// A list of this many pages in a row without a name that is new in this pass has no end.
const PAGES_WITHOUT_NEWS_MAX: u32 = 1000;
/// How often one pass begins at the start: the index was rebuilt while it was read.
const STARTS_MAX: u32 = 3;

pub(super) struct Pass<'a> {
    folder: &'a Folder,
    client: &'a ReaderClient,
    asker: Asker<'a>,
    wish: &'a Wish,
    judge: Judge<'a>,
    patience: &'a Patience,
    /// The receipts were here when the pass began.
    has_index: bool,
    /// What the last pull has left, and then what this one will leave.
    state: Option<State>,
    /// The store of the pages so far, which `state` names once one has ended.
    store: Option<StoreId>,
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
            judge: Judge::new(folder, wish.host.as_ref(), receipts)?,
            asker: Asker::new(client, patience, wish.host.as_ref()),
            patience,
            store: state.as_ref().map(|state| state.store),
            state,
            folder,
            client,
            wish,
        })
    }

    /// Reads the list and fetches what is not here.
    ///
    /// Errors: see [`End`].
    pub(super) fn run(mut self, verify: bool, tell: &mut dyn FnMut(Step)) -> Result<Outcome, End> {
        if verify {
            self.judge.verify(tell)?;
            self.begin_at_start();
        }
        if !self.has_index && self.last().is_some() {
            self.judge.forget_receipts();
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
        // The rows of one page go as those of the next come.
        let _kept = KeptBlocks::keep();
        thread::scope(|scope| {
            let mut workers = Workers::new(scope, &line, &bench, self.wish.jobs);
            let read = self.read_list_and_ask_again(&mut workers, tell);
            if read.is_err() {
                self.judge.end(&mut workers, tell);
            }
            read
        })?;
        Ok(self.judge.into_outcome())
    }

    /// Reads the list to its end, and then asks again for what was missing before.
    fn read_list_and_ask_again(
        &mut self,
        workers: &mut Workers,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(), End> {
        let before: Vec<Row> = self.judge.missing.rows().cloned().collect();
        self.read_list(workers, tell)?;
        let again = self.judge.still_missing(before);
        if again.is_empty() {
            return Ok(());
        }
        let rows = self.judge.begin(workers, again, None, tell)?;
        let done = loop {
            if let Some(done) = workers.next_done() {
                break done;
            }
            self.judge.go_on(workers, tell)?;
        };
        self.judge.note(rows, done);
        self.judge.missing.save(self.folder)
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
                self.judge.go_on(workers, tell)?;
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
                self.judge.note_here(&done);
                continue;
            }
            self.judge.note(std::mem::take(&mut ended.rows), done);
            if self.judge.missing.is_saved() {
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
                self.judge.missing.clear();
                let why = "another store is at this address";
                tell(Step::Note(starts_anew(why)));
            }
            Anew::Flipped => self.judge.missing = Missing::load(self.folder)?,
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
        self.judge.missing.save(self.folder)?;
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
        let names = self.judge.names_seen();
        let lines = page.lines().skip(usize::from(reading.is_first));
        let bundle = self.asker.bundle_path(reading.cursor.as_ref());
        let rows = self.judge.begin_lines(workers, lines, bundle, tell)?;
        reading.without_news = if names < self.judge.names_seen() {
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

    fn last(&self) -> Option<&LastRow> {
        self.state.as_ref()?.last.as_ref()
    }

    fn begin_at_start(&mut self) {
        self.state = None;
        self.store = None;
        self.judge.forget_names();
    }

    /// Notes how far the list was read.
    fn write_cursor(&mut self, page: &Page) -> Result<(), End> {
        if self.judge.needs_a_person() {
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
