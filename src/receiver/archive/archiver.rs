//! The thread that copies episodes to the bucket, reads them back and makes room.
//!
//! 1. Two walks over the index: the first copies what is not in the bucket, the second comes an hour behind
//!    it and proves. Both begin anew with each process, and nothing but the proofs is remembered.
//! 2. Oldest first; an episode that fails three times goes to the end of the line.
//! 3. Proofs of small episodes share a sync of the ledger, and count after it.
//! 4. Nobody waits for this thread, and it gives way to uploads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::Archive;
use super::evict::{Eviction, Made};
use super::figures::Place;
use super::held::{Held, HeldRow};
use super::patience::Patience;
use super::proofs::{Proof, Proofs, is_small};
use super::reload::Terms;
use super::rest::{self, Rest};
use super::s3::{Fault, FaultKind};
use super::shelf::Shelf;
use super::spot_check::{Looked, SpotCheck};
use super::step::{Stand, Step, Trouble, place_of};
use super::walk::Walk;
use crate::receiver::local_file::LocalFile;
use crate::test_times::in_tests;
use crate::wire::Receipt;
use crate::{clock, events, sys};

/// How often the index and the disk are looked at without being asked to.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Failures of one episode in a row before it goes to the end of the line.
const STRIKES_MAX: u32 = 3;

pub(super) struct Archiver {
    archive: Arc<Archive>,
    shelf: Arc<dyn Shelf>,
    /// Copies.
    ahead: Walk,
    /// When the row that the first walk copies now was received, in seconds since 1970; `None` at the end of
    /// the index. Held rows do not count: they may wait for a person.
    front_received_s: Option<u64>,
    /// Proves, an hour behind the other.
    behind: Walk,
    /// How long the row that comes next in `behind` is too young.
    young_until: Option<Instant>,
    held: Held,
    /// A file has come for a row that was passed: both walks begin anew once this pass is over, so that a
    /// stream of such files cannot keep it from its end.
    walks_again: bool,
    proofs: Proofs,
    patience: Patience,
    rest: Rest,
    eviction: Eviction,
    spot_check: SpotCheck,
    /// What the step of now goes by.
    terms: Terms,
    /// Failures in a row of the row that comes next.
    strikes: u32,
    look_every: Duration,
    /// The three lines take turns: the one that took the last step comes last.
    turns: [Turn; 3],
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Held,
    Walk(Pass),
}

/// Which of the walks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Ahead,
    Behind,
}

impl Archiver {
    pub(super) fn new(archive: Arc<Archive>, shelf: Arc<dyn Shelf>) -> Archiver {
        Archiver {
            eviction: Eviction::new(archive.terms.load().evict_below_bytes),
            terms: **archive.terms.load(),
            spot_check: SpotCheck::new(),
            archive,
            shelf,
            ahead: Walk::default(),
            front_received_s: None,
            behind: Walk::default(),
            young_until: None,
            held: Held::default(),
            walks_again: false,
            proofs: Proofs::default(),
            patience: Patience::new(),
            rest: Rest::default(),
            strikes: 0,
            look_every: in_tests("CIS490_ARCHIVE_LOOK_MS", LOOK_EVERY),
            turns: [
                Turn::Held,
                Turn::Walk(Pass::Behind),
                Turn::Walk(Pass::Ahead),
            ],
        }
    }

    /// Works for as long as the process lives.
    pub(super) fn run(mut self) {
        sys::run_when_idle();
        loop {
            if self.archive.has_new_terms.swap(false, Ordering::SeqCst) {
                self.take_new_terms();
            }
            if let Some(wait) = self.patience.left() {
                match self.note_proofs() {
                    Ok(()) => thread::park_timeout(wait),
                    Err(trouble) => self.fail(trouble),
                }
                continue;
            }
            let began = Instant::now();
            match self.turn() {
                Ok(None) => self.give_way(began),
                Ok(Some(wait)) => thread::park_timeout(wait),
                Err(trouble) => self.fail(trouble),
            }
        }
    }

    /// Leaves the processor and the disk to uploads for a while, if this loop can. Its step began at `began`.
    fn give_way(&mut self, began: Instant) {
        let is_overdue = self.front_received_s.is_some_and(rest::is_overdue);
        let is_urgent = self.eviction.needs_room() || is_overdue;
        let ended = self.archive.uploads_ended.load(Ordering::Relaxed);
        if let Some(rest) = self.rest.due(began.elapsed(), ended, is_urgent) {
            thread::sleep(rest);
        }
    }

    fn take_new_terms(&mut self) {
        self.terms = **self.archive.terms.load();
        self.eviction.set_below(self.terms.evict_below_bytes);
        self.patience.ask_now();
        self.held.ask_now();
    }

    /// One step of the work. How long there is nothing to do then; `None` if there may be more.
    fn turn(&mut self) -> Result<Option<Duration>, Trouble> {
        if self.archive.ledger.read_on()?.unsettles {
            self.begin_anew();
        }
        self.walks_again |= self.archive.looks_again.swap(false, Ordering::SeqCst);
        if self.proofs.are_due() {
            self.note_proofs()?;
        }
        let makes_room = self.make_room()?;
        for place in 0..self.turns.len() {
            if self.has_stepped(self.turns[place])? {
                self.turns[place..].rotate_left(1);
                return Ok(None);
            }
        }
        self.note_proofs()?;
        self.note_oldest(None);
        if self.walks_again && !self.held.is_full() {
            self.begin_walks_anew();
            return Ok(None);
        }
        if makes_room || self.has_looked()? {
            return Ok(None);
        }
        let young = self.young_until.map(|until| {
            let now = Instant::now();
            until.saturating_duration_since(now)
        });
        let waits = [
            Some(self.look_every),
            self.held.left(),
            self.eviction.left(),
            Some(self.spot_check.left()),
            young,
        ];
        Ok(waits.into_iter().flatten().min())
    }

    /// Writes the proofs that wait, with one sync. If another process has said meanwhile that an object is
    /// lost, all is looked at again in place of it.
    fn note_proofs(&mut self) -> Result<(), Trouble> {
        if !self.proofs.is_empty() && self.archive.ledger.read_on()?.unsettles {
            self.begin_anew();
        }
        if self.proofs.is_empty() {
            return Ok(());
        }
        let proofs = self.proofs.take();
        let entries: Vec<_> = proofs.iter().map(|proof| proof.entry.clone()).collect();
        let noted = self.archive.ledger.append_all(&entries);
        for proof in proofs {
            if noted.is_ok() {
                self.count_proof(&proof);
            } else {
                // Its object is read back at another time.
                self.hold(proof.row, proof.place, |held, _| held.fail());
            }
        }
        Ok(noted?)
    }

    fn count_proof(&self, proof: &Proof) {
        let row = &proof.row;
        events::archive_proven(&row.slot(), proof.bytes);
        let place = place_of(Stand::Proven, self.is_here(row));
        self.archive.figures.moves(row, proof.place, place);
    }

    /// The row's object was read back. `place`: where the row is counted.
    fn read_back(&mut self, row: Receipt, place: Option<Place>, bytes: u64) {
        // A Pi that began in 1970 must not have an old proof once its clock is right.
        let time = self.archive.bucket.latest_time();
        self.proofs.push(Proof::at(row, place, bytes, time));
    }

    /// True if there is more of this work.
    fn make_room(&mut self) -> Result<bool, Trouble> {
        let row = match self.eviction.make_room(&self.archive, &*self.shelf)? {
            Made::Enough => return Ok(false),
            Made::NotYet => return Ok(true),
            Made::Removed(row) => row,
        };
        self.heard(false);
        let figures = &self.archive.figures;
        figures.evict();
        // A row that the first walk has not reached is counted there, as evicted.
        if self.ahead.has_passed(&row) {
            figures.moves(&row, Some(Place::Archived), Some(Place::Evicted));
        }
        Ok(true)
    }

    /// Looks whether the bucket still has what it should have. True if there is work now.
    fn has_looked(&mut self) -> Result<bool, Trouble> {
        let looked = self.spot_check.look(&self.archive)?;
        if looked == Looked::Back {
            self.begin_anew();
        }
        Ok(looked != Looked::Nothing)
    }

    /// Takes a step of this line, if one is due.
    fn has_stepped(&mut self, turn: Turn) -> Result<bool, Trouble> {
        match turn {
            Turn::Held => {
                if self.held.left().is_some_and(|left| left.is_zero()) {
                    self.note_proofs()?;
                }
                let Some(held) = self.held.take_due() else {
                    return Ok(false);
                };
                self.step_held(held);
            }
            Turn::Walk(pass) => {
                let Some(row) = self.next(pass)? else {
                    return Ok(false);
                };
                // A step that may last long lets no proof wait. The row is looked up again behind it: all may
                // have begun anew.
                if !row.bytes.is_some_and(is_small) && !self.proofs.is_empty() {
                    self.note_proofs()?;
                    return Ok(true);
                }
                self.step(pass, row);
            }
        }
        Ok(true)
    }

    /// All is looked at again: an object that was proven is not.
    fn begin_anew(&mut self) {
        self.begin_walks_anew();
        self.eviction.begin_anew();
    }

    /// All rows are looked at again.
    fn begin_walks_anew(&mut self) {
        self.walks_again = false;
        self.ahead = Walk::default();
        self.behind = Walk::default();
        self.front_received_s = None;
        self.young_until = None;
        self.held.clear();
        self.proofs.take();
        self.strikes = 0;
        self.archive.figures.clear();
    }

    /// The row that comes next in a walk, if a step of it is due.
    fn next(&mut self, pass: Pass) -> Result<Option<Receipt>, Trouble> {
        if self.held.is_full() {
            return Ok(None);
        }
        if pass == Pass::Ahead {
            return Ok(self.ahead.front(&*self.shelf)?.cloned());
        }
        let now = Instant::now();
        let is_young = self.young_until.is_some_and(|until| now < until);
        if is_young || !self.behind.is_behind(&self.ahead) {
            return Ok(None);
        }
        self.young_until = None;
        Ok(self.behind.front(&*self.shelf)?.cloned())
    }

    fn step(&mut self, pass: Pass, row: Receipt) {
        let done = match pass {
            Pass::Ahead => self.step_ahead(&row),
            Pass::Behind => self.step_behind(&row),
        };
        match done {
            Ok(true) => self.pass(pass),
            Ok(false) => {}
            Err(trouble) => self.strike(pass, row, trouble),
        }
    }

    fn pass(&mut self, pass: Pass) {
        self.strikes = 0;
        match pass {
            Pass::Ahead => self.ahead.pass(),
            Pass::Behind => self.behind.pass(),
        }
    }

    /// Copies a row, unless it is proven or in the bucket. True: the walk goes on.
    fn step_ahead(&mut self, row: &Receipt) -> Result<bool, Trouble> {
        let figures = &self.archive.figures;
        if self.is_proven(row)? {
            let is_here = self.is_here(row);
            figures.moves(row, None, place_of(Stand::Proven, is_here));
            if is_here {
                // The row or the file may be younger than the proof, which the eviction has passed then.
                self.eviction.look_again();
            }
            return Ok(true);
        }
        self.note_oldest(Some(row));
        let stand = self.take(row, false)?;
        self.heard(stand == Stand::Copied);
        let place = place_of(stand, self.is_here(row));
        self.note_step(row, None, place);
        match stand {
            Stand::ReadBack(bytes) => self.read_back(row.clone(), place, bytes),
            Stand::InFlight => self.hold(row.clone(), place, |held, _| held.fail()),
            Stand::Proven | Stand::Copied | Stand::Young(_) | Stand::Gone => {}
        }
        Ok(true)
    }

    /// Proves a row that the first walk has passed. True: the walk goes on.
    fn step_behind(&mut self, row: &Receipt) -> Result<bool, Trouble> {
        if self.is_proven(row)? || self.held.has(row) || self.proofs.has(row) {
            return Ok(true);
        }
        let stand = self.take(row, false)?;
        self.heard(stand == Stand::Copied);
        let place = Some(Place::Copied);
        match stand {
            Stand::Young(wait) => {
                self.young_until = Some(Instant::now() + wait);
                return Ok(false);
            }
            // The bucket has lost it. A file in flight is copied at the look that follows.
            Stand::Copied | Stand::InFlight => self.hold(row.clone(), place, |held, archive| {
                held.wait(archive.verify_after);
            }),
            Stand::ReadBack(bytes) => self.read_back(row.clone(), place, bytes),
            Stand::Proven | Stand::Gone => {}
        }
        Ok(true)
    }

    fn step_held(&mut self, mut held: HeldRow) {
        const READS_MAX: u32 = 3;
        let copies_again = held.failed_reads >= READS_MAX;
        match self.take(&held.row, copies_again) {
            Ok(stand) => {
                // The store may not have been asked for a file in flight.
                if stand != Stand::InFlight {
                    self.heard(stand == Stand::Copied);
                }
                let place = place_of(stand, self.is_here(&held.row));
                self.note_step(&held.row, held.place, place);
                held.place = place;
                match stand {
                    Stand::ReadBack(bytes) => {
                        self.read_back(held.row, place, bytes);
                        return;
                    }
                    Stand::Proven | Stand::Gone => return,
                    Stand::Copied | Stand::Young(_) if self.walk_behind_comes(&held.row) => return,
                    Stand::Young(wait) => held.wait(wait),
                    Stand::Copied => held.wait(self.archive.verify_after),
                    Stand::InFlight => held.fail(),
                }
            }
            Err(trouble) => {
                held.fail();
                held.failed_reads += u32::from(matches!(trouble, Trouble::Read(_)));
                self.fail_of(&held.row, trouble);
            }
        }
        self.held.push(held);
    }

    /// Whether the second walk has not passed the row yet, and so proves it.
    fn walk_behind_comes(&self, row: &Receipt) -> bool {
        row.seq.is_some() && !self.behind.has_passed(row)
    }

    /// Counts a row that was in one place before a step and is in another after it.
    fn note_step(&self, row: &Receipt, before: Option<Place>, after: Option<Place>) {
        let figures = &self.archive.figures;
        if before.is_none() && after.is_some_and(|place| place != Place::Lost) {
            figures.copied();
        }
        figures.moves(row, before, after);
    }

    /// A row has failed: at once, or after three times, it goes to the end of the line.
    fn strike(&mut self, pass: Pass, row: Receipt, trouble: Trouble) {
        self.strikes += 1;
        let is_read = matches!(trouble, Trouble::Read(_));
        let is_its_own = is_read || matches!(trouble, Trouble::Row(_));
        let is_disks = matches!(trouble, Trouble::Disk(_));
        self.fail_of(&row, trouble);
        if !is_disks && (is_its_own || self.strikes >= STRIKES_MAX) {
            let place = (pass == Pass::Behind).then_some(Place::Copied);
            self.pass(pass);
            self.hold(row, place, |held, _| {
                held.fail();
                held.failed_reads = u32::from(is_read);
            });
        }
    }

    fn hold(
        &mut self,
        row: Receipt,
        place: Option<Place>,
        set: impl FnOnce(&mut HeldRow, &Archive),
    ) {
        let mut held = HeldRow::new(row, place);
        set(&mut held, &self.archive);
        self.held.push(held);
    }

    /// A step has failed.
    fn fail_of(&mut self, row: &Receipt, trouble: Trouble) {
        match trouble {
            Trouble::Row(fault) => {
                // The store has answered, so the others may go on.
                self.heard(false);
                self.archive.figures.refuse(row, &fault);
                let kind = fault.kind.name();
                events::archive_refused(&row.slot(), kind, &fault.what, fault.remedy());
            }
            // The store has shown the object, so it is not away: the others go on, after a pause if the
            // store asks for one.
            Trouble::Read(fault) => {
                if fault.kind == FaultKind::Busy {
                    self.patience.pause(&fault);
                }
            }
            other => self.fail(other),
        }
    }

    /// The store has done what was asked, or refused one episode alone. `has_put`: it has stored an object.
    fn heard(&mut self, has_put: bool) {
        self.patience.reset();
        self.archive.figures.works(has_put);
    }

    fn fail(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Put(fault) => self.fail_at_store(&fault, true),
            Trouble::Store(fault) | Trouble::Read(fault) | Trouble::Row(fault) => {
                self.fail_at_store(&fault, false);
            }
            Trouble::Disk(error) => {
                events::archive_disk(&error);
                thread::park_timeout(self.look_every);
            }
        }
    }

    fn fail_at_store(&mut self, fault: &Fault, is_of_put: bool) {
        self.archive.figures.fails(fault, is_of_put);
        self.patience.fail(fault);
    }

    fn take(&self, row: &Receipt, copies_again: bool) -> Result<Stand, Trouble> {
        let step = Step {
            archive: &self.archive,
            shelf: &*self.shelf,
            row,
            copies_again,
            verify: self.terms.verify,
        };
        step.take()
    }

    fn is_proven(&self, row: &Receipt) -> Result<bool, Trouble> {
        Ok(self.archive.is_proven(row)?)
    }

    /// Whether the row's file is here. One that cannot be opened is, and one in flight.
    fn is_here(&self, row: &Receipt) -> bool {
        !matches!(self.shelf.whole_file(row), Ok(LocalFile::Nothing))
    }

    /// Keeps the time of the oldest row that waits: `front` is the one that is copied now.
    fn note_oldest(&mut self, front: Option<&Receipt>) {
        let at = |row: &Receipt| clock::parse_rfc3339(row.received_at.as_ref()?);
        self.front_received_s = front.and_then(at);
        let waiting = self.held.waiting().chain(front);
        let oldest = waiting.filter_map(at).min();
        self.archive.figures.set_oldest_waiting(oldest);
    }
}
