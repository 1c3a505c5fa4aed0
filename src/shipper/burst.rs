//! A burst: small episodes are sent several at once over kept connections, and their moves share syncs.
//!
//! 1. A burst begins when the receiver has just accepted an episode, and at least [`EPISODES_MIN`] small ones
//!    wait. So one upload finds out whether the receiver is away or full, and not four.
//! 2. At the first answer that moves no episode out of the queue no other upload is begun. Those under way
//!    end as they end, each by its own answer, and a fault that all of them see counts once.
//! 3. No large episode is under way beside a small one: a burst ends before the first one in turn that is
//!    not small, also if that is found only when it is packed, and writes nothing to outbox/. There is no
//!    scan, no reload and no tidying of shipped/ before it has ended, nor is room made on a full disk.
//! 4. The loop packs (`parcel`) and decides, the senders wait for the receiver, and one thread carries out
//!    the moves (`ending_batch`). While a batch is moved, the next one gathers.

use std::io;
use std::mem;
use std::panic;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::answers::{Answers, Attempt, Judged};
use super::backlog::Backlog;
use super::client::{Answer, ReceiverClient};
use super::departures::Leaver;
use super::ending_batch::{self, Departure, Moved};
use super::endings::Endings;
use super::entry::Entry;
use super::holds::Holds;
use super::packing::Packer;
use super::parcel::{self, NoParcel, Parcel};
use super::queue::Root;
use super::senders::{Answered, Senders, UnderWay};
use super::wakeup::Wakeup;
use crate::durable;
use crate::episode::Compressor;
use crate::names::{EpisodeId, HostId};
use crate::service;
use crate::wire::Problem;

/// Fewer are sent one after the other: they are soon over, and each answer counts before the next is sent.
const EPISODES_MIN: usize = 4;
/// The episodes of one burst at most: then the loop looks around.
const EPISODES_MAX: usize = 1000;
/// A batch begins when this many episodes are to be moved, or when it has gathered for [`GATHER`], or when
/// nothing is under way.
const BATCH: usize = 8;
const GATHER: Duration = Duration::from_millis(50);
/// No upload begins while so many that were accepted are not moved yet: a crash sends them again.
const NOT_MOVED_MAX: usize = 64;
/// Between two looks at the watchdog, at signals and at the scan that is due.
const TICK: Duration = Duration::from_millis(20);
/// The longest time that the moves of a batch are waited for without alarming the watchdog.
const BATCH_PATIENCE: Duration = Duration::from_secs(120);

/// The receiver's refusals of more uploads at once than it has places for.
const CROWDED: [&str; 2] = ["too-many-uploads", "too-many-uploads-of-yours"];

/// How a burst ended.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    /// Whether the receiver accepted all that were sent, all could be moved, and threads could be had.
    pub is_healthy: bool,
    /// Whether it has no places for so many uploads at once.
    pub is_crowded: bool,
}

/// What a burst goes through: the loop's own.
pub(super) struct Burst<'a> {
    /// How many uploads are under way at once, at most.
    pub at_once: usize,
    pub host: &'a HostId,
    pub receiver: &'a ReceiverClient,
    pub wakeup: &'a Wakeup,
    pub backlog: &'a mut Backlog,
    pub holds: &'a mut Holds,
    pub packer: &'a mut Packer,
    pub endings: &'a mut Endings,
}

enum Event {
    Answered(Box<Answered>),
    Moved(Batch, Vec<io::Result<Moved>>),
    Panicked,
}

/// Episodes that are moved together.
type Batch = Vec<Leaver>;

/// How far a burst is.
struct Course {
    /// The episodes to send, the next one last.
    turns: Vec<EpisodeId>,
    /// The next one, packed while all senders are busy.
    ready: Option<Parcel>,
    /// Packs all of them: its memory is fetched once.
    compressor: Compressor,
    /// Those to be moved.
    leavers: Batch,
    gathers_since: Instant,
    /// How many are being moved, and since when.
    batch: Option<(usize, Instant)>,
    /// No other upload is begun.
    is_ending: bool,
    all_wait: bool,
    /// The disk was full when an episode of so many bytes was to be moved: room is made once the burst is over.
    disk_full: Option<(u64, io::Error)>,
    ended: Ended,
}

impl Burst<'_> {
    /// Whether small episodes wait for a burst.
    pub(super) fn is_due(&self) -> bool {
        self.at_once > 1 && self.turns(EPISODES_MIN).len() == EPISODES_MIN
    }

    /// Sends the small episodes that are first in turn.
    pub(super) fn run(mut self) -> Ended {
        service::status("sending small episodes");
        let mut course = Course {
            turns: self.turns(EPISODES_MAX).into_iter().rev().collect(),
            ready: None,
            compressor: Compressor::new(),
            leavers: Vec::new(),
            gathers_since: Instant::now(),
            batch: None,
            is_ending: false,
            all_wait: false,
            disk_full: None,
            ended: Ended {
                is_healthy: true,
                is_crowded: false,
            },
        };
        self.settle_ahead(&course.turns);
        let root = self.endings.root.clone();
        let receiver = self.receiver;
        thread::scope(|scope| {
            let (tell, events) = mpsc::channel();
            let tell_answer = {
                let tell = tell.clone();
                move |answered: Option<Answered>| {
                    let event = answered.map_or(Event::Panicked, |answered| {
                        Event::Answered(Box::new(answered))
                    });
                    // The loop hears until the last thread has ended.
                    let _ = tell.send(event);
                }
            };
            let mut senders = Senders::new(scope, receiver, Arc::new(tell_answer));
            let Some(mover) = Mover::begin(scope, &root, tell.clone()) else {
                course.ended.is_healthy = false;
                return;
            };
            loop {
                self.begin_uploads(&mut course, &mut senders);
                course.begin_batch(&mover, senders.under_way().is_empty());
                if senders.under_way().is_empty() && course.batch.is_none() {
                    break;
                }
                course.beat();
                self.note_under_way(senders.under_way().first());
                match events.recv_timeout(TICK) {
                    Ok(Event::Answered(answered)) => {
                        senders.is_over(&answered.parcel.entry.id);
                        self.hear(&mut course, *answered);
                    }
                    Ok(Event::Moved(batch, moved)) => self.settle(&mut course, batch, moved),
                    Ok(Event::Panicked) => panic!("a thread of this burst has panicked"),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => unreachable!("the loop can tell too"),
                }
            }
        });
        if let Some(parcel) = course.ready.take() {
            self.backlog.put(parcel.into_entry());
        }
        self.note_under_way(None);
        if let Some((bytes, error)) = course.disk_full {
            self.endings.disk_full(bytes, &error);
        }
        course.ended
    }

    /// Handles the episode that was packed ahead, if its turn comes in this burst. Nothing is under way yet, so
    /// it may be moved to refused/, and room may be made for that.
    fn settle_ahead(&mut self, turns: &[EpisodeId]) {
        let Some(id) = self.packer.ahead().filter(|id| turns.contains(id)) else {
            return;
        };
        if let Some(entry) = self.backlog.take(&id.clone())
            && let Some(entry) = self.packer.take_ahead(entry, self.endings)
        {
            self.backlog.put(entry);
        }
    }

    /// The oldest upload under way is the one that `state.json` names.
    fn note_under_way(&mut self, oldest: Option<&UnderWay>) {
        let report = &mut self.endings.report;
        match oldest {
            Some(one) => report.under_way(&one.id, one.bytes, one.bytes_sent(), one.begun),
            None => report.none_under_way(),
        }
    }

    /// The first in turn, as far as they are small.
    fn turns(&self, most: usize) -> Vec<EpisodeId> {
        let now = Instant::now();
        let pace = &self.endings.pace;
        if !pace.may_ask(now) || pace.closed_for().is_some() {
            return Vec::new();
        }
        let may_move = |entry: &Entry| pace.may_move(entry, self.holds, now);
        let first = self.backlog.in_turn(now, most, may_move).into_iter();
        first
            .take_while(|entry| parcel::may_be_small(entry))
            .map(|entry| entry.id.clone())
            .collect()
    }

    fn begin_uploads(&mut self, course: &mut Course, senders: &mut Senders<'_, '_>) {
        while self.goes_on(course) {
            let Some(parcel) = course.ready.take().or_else(|| self.next_parcel(course)) else {
                return;
            };
            if senders.under_way().len() >= self.at_once {
                course.ready = Some(parcel);
                return;
            }
            if let Some(parcel) = senders.send(parcel) {
                course.ready = Some(parcel);
                course.is_ending = true;
                course.ended.is_healthy = false;
            }
        }
    }

    fn goes_on(&self, course: &mut Course) -> bool {
        let pace = &self.endings.pace;
        let is_due = pace.next_scan() <= Instant::now() || pace.closed_for().is_some();
        course.is_ending |= is_due || self.wakeup.is_called();
        !course.is_ending && course.not_moved() < NOT_MOVED_MAX
    }

    fn next_parcel(&mut self, course: &mut Course) -> Option<Parcel> {
        while let Some(id) = course.turns.pop() {
            let Some(entry) = self.backlog.take(&id) else {
                continue;
            };
            let made = self.parcel(entry, &mut course.compressor);
            match made {
                Ok(parcel) => return Some(parcel),
                Err(NoParcel::Stays(entry)) => self.backlog.put(*entry),
                Err(NoParcel::GoesAlone(entry)) => {
                    self.backlog.put(*entry);
                    course.is_ending = true;
                    return None;
                }
            }
        }
        None
    }

    fn parcel(
        &mut self,
        mut entry: Entry,
        compressor: &mut Compressor,
    ) -> Result<Parcel, NoParcel> {
        self.endings.drop_outdated_tarball(&mut entry);
        let pace = &self.endings.pace;
        if !pace.may_move(&entry, self.holds, Instant::now()) {
            return Err(NoParcel::Stays(Box::new(entry)));
        }
        let stop = &self.wakeup.stop;
        let parcel = Parcel::make(entry, self.host, compressor, stop, self.endings)?;
        // Packing may have read another commit than the first look did.
        if self.holds.is_held(&parcel.entry) {
            return Err(NoParcel::Stays(Box::new(parcel.into_entry())));
        }
        Ok(parcel)
    }

    fn hear(&mut self, course: &mut Course, answered: Answered) {
        let Answered {
            parcel,
            heard,
            took,
        } = answered;
        // A broken connection while the process ends is no fault. Nor is it news that a commit is held.
        let is_stopped = heard.is_err() && self.wakeup.stop.is_set();
        let was_held = self.holds.is_held(&parcel.entry);
        if is_stopped || was_held && heard.as_ref().is_ok_and(|answer| answer.status == 412) {
            course.is_ending = true;
            return self.backlog.put(parcel.into_entry());
        }
        course.ended.is_crowded |= heard.as_ref().is_ok_and(is_crowded);
        let Parcel { entry, content } = parcel;
        let attempt = Attempt {
            upload: &content.upload(),
            seal: content.seal,
            has_file: content.has_file,
            took,
            all_wait: course.all_wait,
        };
        let mut answers = Answers {
            holds: self.holds,
            endings: self.endings,
        };
        match answers.judge(entry, &attempt, heard) {
            Judged::Leaves(leaver) => course.gather(*leaver),
            Judged::Stays {
                mut entry,
                all_wait,
            } => {
                if !content.has_file {
                    entry.set_unpacked();
                }
                self.backlog.put(*entry);
                course.is_ending = true;
                course.ended.is_healthy = false;
                course.all_wait |= all_wait;
            }
        }
    }

    fn settle(&mut self, course: &mut Course, batch: Batch, moved: Vec<io::Result<Moved>>) {
        course.batch = None;
        for (leaver, moved) in batch.into_iter().zip(moved) {
            if let Err(error) = &moved {
                course.move_failed(&leaver, error);
            }
            if let Some(entry) = self.endings.settle(leaver, moved, self.holds) {
                self.backlog.put(entry);
            }
        }
        self.endings.report.flush_lazily();
    }
}

impl Course {
    fn not_moved(&self) -> usize {
        self.leavers.len() + self.batch.map_or(0, |(moving, _)| moving)
    }

    fn gather(&mut self, leaver: Leaver) {
        if self.leavers.is_empty() {
            self.gathers_since = Instant::now();
        }
        self.leavers.push(leaver);
    }

    /// What stops one move may stop the others too.
    fn move_failed(&mut self, leaver: &Leaver, error: &io::Error) {
        self.is_ending = true;
        self.ended.is_healthy = false;
        if durable::is_full(error) && self.disk_full.is_none() {
            self.disk_full = Some((leaver.bytes(), durable::same(error)));
        }
    }

    /// Begins to move what has gathered, if it is time.
    fn begin_batch(&mut self, mover: &Mover, is_last: bool) {
        let is_full = self.leavers.len() >= BATCH || self.gathers_since.elapsed() >= GATHER;
        if self.batch.is_some() || self.leavers.is_empty() || !(is_full || is_last) {
            return;
        }
        let batch = mem::take(&mut self.leavers);
        self.batch = Some((batch.len(), Instant::now()));
        mover.give(batch);
    }

    /// The senders' waits have their own bounds. A disk that hangs has none.
    fn beat(&self) {
        let is_hanging = self
            .batch
            .is_some_and(|(_, since)| since.elapsed() > BATCH_PATIENCE);
        if !is_hanging {
            service::alive();
        }
    }
}

fn is_crowded(answer: &Answer) -> bool {
    let problem = answer.problem();
    let name = problem.as_ref().and_then(Problem::name);
    name.is_some_and(|name| CROWDED.contains(&name))
}

/// The thread that moves the batches, one after the other. It ends when this is dropped.
struct Mover(Sender<Batch>);

impl Mover {
    /// `None` if no thread can be had.
    fn begin<'scope>(
        scope: &'scope Scope<'scope, '_>,
        root: &'scope Root,
        tell: Sender<Event>,
    ) -> Option<Mover> {
        let (give, batches) = mpsc::channel::<Batch>();
        let work = move || {
            let moving = || {
                for batch in batches {
                    let departures: Vec<&Departure> = batch.iter().map(Leaver::departure).collect();
                    let moved = ending_batch::carry_out(root, &departures);
                    // The loop hears until the last thread has ended.
                    let _ = tell.send(Event::Moved(batch, moved));
                }
            };
            if let Err(fault) = panic::catch_unwind(panic::AssertUnwindSafe(moving)) {
                let _ = tell.send(Event::Panicked);
                panic::resume_unwind(fault);
            }
        };
        let thread = thread::Builder::new().name("moves".to_owned());
        thread.spawn_scoped(scope, work).ok()?;
        Some(Mover(give))
    }

    fn give(&self, batch: Batch) {
        self.0.send(batch).expect("the thread has not ended");
    }
}
