//! What the rows of the list come to: their files are here, or are fetched, or are missing, or a person has to
//! look at them.
//!
//! A name counts once in a pass: the first row that has it.

use std::collections::HashMap;

use super::bundle::Offer;
use super::end::End;
use super::folder::{Folder, Found, look};
use super::here::{Needs, in_the_way, needs, verify};
use super::missing::Missing;
use super::pages::{Done, Work};
use super::receipts::Receipts;
use super::row::Row;
use super::workers::Workers;
use super::{Outcome, Step};
use crate::durable;
use crate::names::{HostId, Sha256Digest};
use crate::terminal::one_line;
use crate::wire::Slot;

pub(super) struct Judge<'a> {
    folder: &'a Folder,
    /// The only host that was asked for.
    host: Option<&'a HostId>,
    /// Read when the first row is not the last one that was seen: a pull with nothing new does not
    /// need them.
    receipts: &'a mut Option<Receipts>,
    pub missing: Missing,
    /// The names that this pass has seen in the list, with their digests.
    seen: HashMap<Slot, Sha256Digest>,
    /// Whether the folders of hosts were not there when this pass came to them. What it brings there is of names
    /// that it has seen, so nothing is under those that are to come.
    was_empty: HashMap<HostId, bool>,
    outcome: Outcome,
}

/// What the rows of a page came to before anything was fetched.
#[derive(Default)]
pub(super) struct Rows {
    /// These are here.
    here: Vec<Slot>,
    /// What a person has to look at.
    wrong: Vec<String>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        folder: &'a Folder,
        host: Option<&'a HostId>,
        receipts: &'a mut Option<Receipts>,
    ) -> Result<Judge<'a>, End> {
        Ok(Judge {
            folder,
            host,
            receipts,
            missing: Missing::load(folder)?,
            seen: HashMap::new(),
            was_empty: HashMap::new(),
            outcome: Outcome::default(),
        })
    }

    /// Reads each file that has a receipt.
    pub(super) fn verify(&mut self, tell: &mut dyn FnMut(Step)) -> Result<(), End> {
        let folder = self.folder;
        let receipts = self.open_receipts()?;
        for words in verify(folder, receipts, tell)? {
            self.outcome.wrong.add(words);
        }
        Ok(())
    }

    /// Begins to bring here what these lines of a page list, whose small tarballs come together at the path
    /// `bundle`.
    pub(super) fn begin_lines<'l>(
        &mut self,
        workers: &mut Workers,
        lines: impl Iterator<Item = &'l [u8]>,
        bundle: String,
        tell: &mut dyn FnMut(Step),
    ) -> Result<Rows, End> {
        let mut rows = Vec::new();
        let mut wrong = Vec::new();
        for line in lines {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match Row::parse(line) {
                Ok(row) => self.take_row(row, &mut rows, &mut wrong),
                Err(why) => {
                    let start = String::from_utf8_lossy(line.get(..120).unwrap_or(line));
                    let words = format!("a row of the receiver is none: {why}: {start}");
                    wrong.push(one_line(&words));
                }
            }
        }
        let offer = Offer::of(bundle, &rows);
        let mut rows = self.begin(workers, rows, Some(offer), tell)?;
        rows.wrong.splice(0..0, wrong);
        Ok(rows)
    }

    /// Takes a row unless its name was seen before in this pass.
    fn take_row(&mut self, row: Row, rows: &mut Vec<Row>, wrong: &mut Vec<String>) {
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
    pub(super) fn begin(
        &mut self,
        workers: &mut Workers,
        rows: Vec<Row>,
        offer: Option<Offer>,
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
        workers.begin(work, offer)?;
        Ok(noted)
    }

    /// What of these rows has to be done, with the folders for it made.
    fn work(&mut self, rows: Vec<Row>, noted: &mut Rows) -> Result<Vec<Work>, End> {
        let mut work = Vec::new();
        let mut made = None;
        for row in rows {
            let host = &row.slot.host;
            let was_empty = match self.was_empty.get(host) {
                Some(was_empty) => *was_empty,
                None => {
                    let is_empty = look(&self.folder.host(host))? == Found::Nothing;
                    self.was_empty.insert(host.clone(), is_empty);
                    is_empty
                }
            };
            let known = self.receipts.as_ref();
            let known = known.and_then(|receipts| receipts.of(&row.slot));
            match needs(self.folder, known, &row, was_empty)? {
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

    /// Waits for work that is under way.
    pub(super) fn go_on(
        &mut self,
        workers: &mut Workers,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(), End> {
        let receipts = self.open_receipts()?;
        workers.go_on(receipts, tell)
    }

    /// Ends the work after an error: what has come whole gets its receipts.
    pub(super) fn end(&mut self, workers: &mut Workers, tell: &mut dyn FnMut(Step)) {
        // Without receipts nothing was begun.
        if let Some(receipts) = self.receipts.as_mut() {
            workers.end(receipts, tell);
        }
    }

    /// The receipts that are open are of a file that is gone.
    pub(super) fn forget_receipts(&mut self) {
        *self.receipts = None;
    }

    fn open_receipts(&mut self) -> Result<&mut Receipts, End> {
        let receipts = match self.receipts.take() {
            Some(receipts) => receipts,
            None => Receipts::open(self.folder)?,
        };
        Ok(self.receipts.insert(receipts))
    }

    /// Notes what the rows of a page and the work for them came to.
    pub(super) fn note(&mut self, rows: Rows, done: Done) {
        self.note_rows(rows);
        self.note_done(done);
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
    pub(super) fn note_here(&mut self, done: &Done) {
        for row in &done.here {
            self.outcome.episodes += 1;
            self.outcome.bytes += row.bytes.unwrap_or(0);
        }
    }

    /// Those of the rows that are missing still, and were asked for.
    pub(super) fn still_missing(&self, rows: Vec<Row>) -> Vec<Row> {
        let is_left = |row: &Row| self.missing.rows().any(|left| left == row);
        let is_still = |row: &Row| is_left(row) && self.is_asked(&row.slot);
        rows.into_iter().filter(is_still).collect()
    }

    fn is_asked(&self, slot: &Slot) -> bool {
        self.host.is_none_or(|host| *host == slot.host)
    }

    /// How many names this pass has seen in the list.
    pub(super) fn names_seen(&self) -> usize {
        self.seen.len()
    }

    /// The list begins at its start.
    pub(super) fn forget_names(&mut self) {
        self.seen.clear();
        self.was_empty.clear();
    }

    /// Whether a person has to look at something.
    pub(super) fn needs_a_person(&self) -> bool {
        !self.outcome.wrong.is_empty()
    }

    pub(super) fn into_outcome(mut self) -> Outcome {
        let mut missing = std::mem::take(&mut self.outcome.missing);
        for (slot, why) in self.missing.reasons() {
            if self.is_asked(slot) {
                missing.add(format!("{slot}: {}", one_line(why)));
            }
        }
        Outcome {
            missing,
            ..self.outcome
        }
    }
}
