//! The loop: scan the folders, ask the gate about the held commits, then move one episode after the
//! other. Only the next episode is packed beside the loop (`packing`).
//!
//! 1. A fault of one episode defers that episode alone; a receiver that is away defers all, once.
//! 2. Every failure here is logged, written to `state.json` and tried again: only a person or a
//!    signal ends the loop.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use super::backlog::{Backlog, Entry};
use super::backoff::Backoff;
use super::client::{ReceiverClient, Upload};
use super::config::Config;
use super::holds::Holds;
use super::moves::{self, Judge, Why};
use super::outbox;
use super::prefetch::Prefetch;
use super::progress::Progress;
use super::queue::{self, Identity, Root, Told};
use super::state::reporter::Sent;
use super::state::{self, StateFile, Trouble};
use super::wakeup::Wakeup;
use super::{Mode, Outcome, retention};
use crate::durable;
use crate::episode;
use crate::events;
use crate::names::{CommitHash, EpisodeId};
use crate::service;
use crate::wire::Slot;

/// Between two looks for episodes that have been in shipped/ long enough.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// After a 507, or a proxy's 413: episodes of at least `bytes` are not sent before `until`.
#[derive(Clone, Copy)]
pub(super) struct NoRoom {
    pub bytes: u64,
    pub until: Instant,
}

pub(super) struct Shipper {
    pub config: Config,
    pub root: Root,
    pub receiver: ReceiverClient,
    pub mode: Mode,
    pub wakeup: Wakeup,

    pub backlog: Backlog,
    pub holds: Holds,
    pub state: StateFile,
    /// The receiver cannot be reached, or accepts no upload.
    pub away: Backoff,
    /// Why the receiver is away, and at which failure in a row that was noted.
    pub away_why: (u32, String),
    /// The next try that `state.json` has.
    pub next_try_noted: Option<Instant>,
    pub no_room: Option<NoRoom>,
    /// Answers in a row which say that our head did not arrive as it was sent.
    pub garbled_in_row: u32,
    /// The last known place of each commit: its position and the window's length.
    pub places: HashMap<CommitHash, (u32, u32)>,
    /// Our own disk is full: nothing is packed, and tarballs that are ready are still sent.
    pub packing: Backoff,
    /// The episode that is packed while another is sent.
    pub prefetch: Option<Prefetch>,
    /// Our own disk had no room to pack ahead.
    pub prefetch_pauses: Backoff,
    told: Told,
    next_scan: Instant,
    next_expire: Instant,

    pub shipped: usize,
    pub refused: usize,
    /// For `--once`: something could not be asked or looked at.
    pub failed: bool,
}

impl Shipper {
    pub(super) fn new(
        config: Config,
        root: Root,
        receiver: ReceiverClient,
        wakeup: Wakeup,
        mode: Mode,
    ) -> Shipper {
        let state = StateFile::open(
            root.state_file(),
            config.host_id.as_str(),
            &config.receiver_url,
        );
        let now = Instant::now();
        Shipper {
            receiver,
            holds: Holds::restore(&state.get().holds),
            backlog: Backlog::default(),
            away: Backoff::default(),
            away_why: (0, String::new()),
            next_try_noted: None,
            no_room: None,
            garbled_in_row: 0,
            places: HashMap::new(),
            packing: Backoff::default(),
            prefetch: None,
            prefetch_pauses: Backoff::default(),
            told: Told::default(),
            next_scan: now,
            next_expire: now,
            shipped: 0,
            refused: 0,
            failed: false,
            config,
            root,
            state,
            mode,
            wakeup,
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        self.look();
        service::ready(&self.how_it_goes());
        while !self.wakeup.stop.is_set() {
            service::alive();
            if self.wakeup.take_reload() {
                self.reload();
            }
            if self.next_scan <= Instant::now() {
                self.look();
            }
            self.look_at_ahead();
            self.ask_gate();
            match self.next() {
                Some(id) => self.advance(&id),
                // With --once, episodes that arrived meanwhile count too: scan again before ending.
                None if self.mode == Mode::Once => {
                    self.look();
                    if self.next().is_none() {
                        break;
                    }
                }
                None => self.rest(),
            }
            self.state.flush_lazily();
        }
        if let Some(prefetch) = self.prefetch.take() {
            prefetch.cancel();
        }
        if self.next_try_noted.is_some() {
            self.state.update(|state| state.next_try = None);
        }
        self.state.flush();
        self.outcome()
    }

    /// For `systemctl status`.
    fn how_it_goes(&self) -> String {
        let Outcome { held, waiting, .. } = self.outcome();
        let away = match self.away.failures() {
            0 => "",
            _ => ", and the receiver is away",
        };
        let shipped = self.shipped;
        format!("{shipped} shipped since the start, {waiting} waiting, {held} held{away}")
    }

    /// SIGHUP: reads the token and the CA again, and makes everything that waits due now.
    fn reload(&mut self) {
        events::shipper_reloading();
        match ReceiverClient::new(&self.config, self.wakeup.stop.clone()) {
            Ok(receiver) => self.receiver = receiver,
            Err(failure) => events::shipper_trouble(&failure),
        }
        self.holds.ask_now();
        self.backlog.retry_now();
        self.away.retry_now();
        self.packing.retry_now();
        self.no_room = None;
        self.next_scan = Instant::now();
    }

    /// Scans the folders and folds the result into the backlog.
    fn look(&mut self) {
        self.next_scan = Instant::now() + Duration::from_secs(self.config.scan_seconds);
        if let Err(error) = self.try_to_look() {
            self.failed = true;
            self.trouble(
                None,
                format!("cannot look through {}: {error}", self.root.dir().display()),
            );
        }
        if let Err(error) = self.tidy_shipped() {
            self.trouble(None, format!("cannot tidy shipped/: {error}"));
        }
    }

    fn try_to_look(&mut self) -> io::Result<()> {
        let scan = queue::sweep_and_scan(
            &self.root,
            self.prefetch.as_ref().map(|prefetch| &prefetch.id),
            &mut self.told,
        )?;
        // An overlooked episode waits, so the queue is not empty.
        self.failed |= scan.overlooked > 0;
        for (id, identity) in self.backlog.fold_in(scan.finished) {
            self.meet(&id, identity);
        }
        // A hold is forgotten only when the commit of every waiting episode is known.
        let all_known = self
            .backlog
            .entries()
            .all(|(_, entry)| entry.meta.is_some());
        if all_known && scan.overlooked == 0 {
            self.holds.keep_only(&self.backlog.commits());
        }
        self.keep_holds();
        Ok(())
    }

    /// A finished episode that this process has not seen.
    fn meet(&mut self, id: &EpisodeId, identity: Identity) {
        service::alive();
        self.backlog
            .insert(id.clone(), Entry::new(identity, Instant::now()));
        if let Err(error) = self.adopt_tarball(id, identity) {
            self.defer(id, None, &format!("cannot look at its tarball: {error}"));
        }
        self.read_meta(id);
    }

    /// A tarball of an earlier shipper is sent as it is if its seal names this very episode.
    fn adopt_tarball(&mut self, id: &EpisodeId, identity: Identity) -> io::Result<()> {
        if outbox::tarball_bytes(&self.root, id).is_none() {
            return Ok(());
        }
        let seal = outbox::read_seal(&self.root, id, identity)?;
        if seal.is_none() {
            durable::unlink(&outbox::tarball(&self.root, id))?;
        }
        if let Some(entry) = self.backlog.get_mut(id) {
            entry.seal = seal;
        }
        Ok(())
    }

    /// Learns the commit and the size; an episode that can never be packed goes to refused/.
    fn read_meta(&mut self, id: &EpisodeId) {
        match episode::inspect(&self.root.episodes().join(id.as_str())) {
            Ok(found) => {
                if let Some(entry) = self.backlog.get_mut(id) {
                    entry.meta = Some(found.meta);
                    entry.bytes = found.bytes;
                }
            }
            Err(unfit) => match unfit.reason() {
                Some(reason) => {
                    self.refuse(id, &Why::new(Judge::Shipper, reason, unfit.to_string()));
                }
                None => self.defer(id, None, &unfit.to_string()),
            },
        }
    }

    fn tidy_shipped(&mut self) -> io::Result<()> {
        if self.next_expire <= Instant::now() {
            self.next_expire = Instant::now() + EXPIRE_EVERY;
            retention::expire(&self.root, self.config.keep_shipped_days)?;
        }
        retention::relieve(&self.root, &self.config)
    }

    /// The episode to move now.
    fn next(&self) -> Option<EpisodeId> {
        let now = Instant::now();
        if !self.is_due(&self.away, now) {
            return None;
        }
        self.backlog.next(now, |entry| self.may_move(entry, now))
    }

    pub(super) fn may_move(&self, entry: &Entry, now: Instant) -> bool {
        let held = entry
            .commit()
            .is_some_and(|commit| self.holds.contains(&commit));
        let can_pack = entry.seal.is_some() || self.is_due(&self.packing, now);
        let has_room = match self.no_room {
            Some(no_room) if now < no_room.until => entry.bytes_to_send() < no_room.bytes,
            _ => true,
        };
        !held && can_pack && has_room && self.is_due(&entry.backoff, now)
    }

    /// With --once, everything that has failed waits for the next run.
    pub(super) fn is_due(&self, backoff: &Backoff, now: Instant) -> bool {
        match self.mode {
            Mode::Forever => backoff.is_due(now),
            Mode::Once => backoff.not_before().is_none(),
        }
    }

    /// Nothing can move: brings `state.json` up to date and sleeps until something may move.
    fn rest(&mut self) {
        self.note_next_try();
        self.state.flush();
        service::status(&self.how_it_goes());
        let now = Instant::now();
        let wakes = [
            self.away.not_before(),
            self.packing.not_before(),
            self.no_room.map(|no_room| no_room.until),
            self.backlog.next_due(),
            self.holds.next_due(),
        ];
        // Work that is due and did not move waits for another of these times, or for the next scan.
        let first = wakes.into_iter().flatten().filter(|at| *at > now).min();
        let until = first.map_or(self.next_scan, |at| at.min(self.next_scan));
        self.wakeup.wait_until(until);
    }

    /// Takes one episode as far as it goes.
    fn advance(&mut self, id: &EpisodeId) {
        if self
            .backlog
            .get(id)
            .is_some_and(|entry| entry.meta.is_none())
        {
            // Its size is known only now, so its turn may be later: the loop chooses anew.
            return self.read_meta(id);
        }
        self.drop_outdated_tarball(id);
        if self
            .backlog
            .get(id)
            .is_some_and(|entry| entry.meta.is_some() && entry.seal.is_none())
        {
            self.pack(id);
        }
        self.send(id);
    }

    fn send(&mut self, id: &EpisodeId) {
        let Some(entry) = self.backlog.get(id) else {
            return;
        };
        let (Some(meta), Some(seal)) = (entry.meta, entry.seal) else {
            return;
        };
        // Packing may have read another commit than the first look did.
        if self.holds.contains(&meta.commit) {
            return;
        }
        let file = match durable::open_regular(&outbox::tarball(&self.root, id)) {
            Ok(file) => file,
            Err(error) => return self.repack(id, &format!("cannot open its tarball: {error}")),
        };
        let slot = Slot {
            host: self.config.host_id.clone(),
            episode: id.clone(),
        };
        let upload = Upload {
            slot: &slot,
            commit: meta.commit,
            dirty: meta.dirty == Some(true),
            sha256: seal.sha256,
            bytes: seal.bytes,
            file: &file,
        };
        let start = Instant::now();
        service::status(&format!("sending {id}, {} bytes", seal.bytes));
        let mut progress = Progress::new(format!("sending {id}"));
        self.note_next_try();
        let sent = Sent::default();
        let mut begun = None;
        let mut tell = |done| {
            sent.set(done);
            if begun.is_none() {
                begun = Some(self.begin_ahead(id));
            }
            progress.tell(done, seal.bytes);
        };
        let send = || self.receiver.put(&upload, &mut tell);
        let (heard, written) = self.state.while_sending((id, seal.bytes), &sent, send);
        drop(progress);
        self.state.has_sent(written);
        if let Some(Some(prefetch)) = begun {
            self.prefetch = Some(prefetch);
        }
        self.obey(&upload, heard, start.elapsed());
    }

    /// Moves an episode to refused/.
    pub(super) fn refuse(&mut self, id: &EpisodeId, why: &Why) {
        let Some(entry) = self.backlog.get(id) else {
            return;
        };
        let judged = entry.identity;
        let mut why = why.clone();
        if entry.changed_after_sending && why.status == Some(409) {
            why.why += ". It is the episode that was stored before its files changed here: cis490 requeue NAME --new-id ID sends what is there now as another";
        }
        match moves::into_refused(&self.root, id, judged, &why) {
            Ok(name) => {
                events::set_aside(id, &name, why.status, &why.why);
                self.refused += 1;
                self.note_trouble(Some(id), why.why);
                self.backlog.remove(id);
            }
            Err(error) => self.move_failed(id, "refused", &error),
        }
    }

    /// A move stopped half-way: the next scan reads the folders as they are.
    pub(super) fn move_failed(&mut self, id: &EpisodeId, there: &str, error: &io::Error) {
        if durable::is_full(error) {
            self.disk_full(id, error);
        }
        self.defer(id, None, &format!("cannot move it to {there}/: {error}"));
        self.next_scan = Instant::now();
        // Its tarball may have made room for the note.
        let has_tarball = outbox::tarball_bytes(&self.root, id).is_some();
        if !has_tarball && let Some(entry) = self.backlog.get_mut(id) {
            entry.seal = None;
        }
    }

    /// The tarball is of no use: the next one is made from the directory.
    pub(super) fn repack(&mut self, id: &EpisodeId, why: &str) {
        self.drop_tarball(id);
        self.defer(id, None, why);
    }

    pub(super) fn drop_tarball(&mut self, id: &EpisodeId) {
        if let Err(error) = durable::unlink(&outbox::tarball(&self.root, id)) {
            events::shipper_trouble(format_args!("cannot remove the tarball of {id}: {error}"));
        }
        if let Some(entry) = self.backlog.get_mut(id) {
            entry.seal = None;
        }
    }

    /// This episode waits; the others go on.
    pub(super) fn defer(&mut self, id: &EpisodeId, asked: Option<Duration>, why: &str) {
        let Some(entry) = self.backlog.get_mut(id) else {
            return;
        };
        let wait = entry.backoff.fail(asked);
        events::deferred(id, entry.backoff.failures(), wait, why);
        self.note_trouble(Some(id), why.to_owned());
    }

    /// All wait: the receiver cannot be reached, or accepts nothing.
    pub(super) fn defer_all(&mut self, asked: Option<Duration>, why: &str) {
        let wait = self.away.fail(asked);
        events::receiver_away(self.away.failures(), wait, None, why);
        self.note_trouble(None, why.to_owned());
    }

    /// The fault may be the episode's or the receiver's: this episode waits, and so do all.
    pub(super) fn defer_with_all(&mut self, id: &EpisodeId, asked: Option<Duration>, why: &str) {
        let own = self
            .backlog
            .get_mut(id)
            .map(|entry| entry.backoff.fail(asked));
        let wait = self.away.fail(asked);
        let under_way = own.map(|own| (id, own));
        events::receiver_away(self.away.failures(), wait, under_way, why);
        self.note_trouble(None, why.to_owned());
    }

    fn trouble(&mut self, id: Option<&EpisodeId>, why: String) {
        events::shipper_trouble(&why);
        self.note_trouble(id, why);
    }

    pub(super) fn note_trouble(&mut self, id: Option<&EpisodeId>, why: String) {
        match id {
            Some(id) => {
                if let Some(entry) = self.backlog.get_mut(id) {
                    entry.why = Some(why.clone());
                }
            }
            // Trouble that is of no episode and not of the receiver is not why all wait.
            None if self.away.failures() != self.away_why.0 => {
                self.away_why = (self.away.failures(), why.clone());
            }
            None => {}
        }
        let trouble = Trouble {
            at: state::now(),
            episode: id.cloned(),
            why,
            over: false,
        };
        self.state.update(|state| state.last_error = Some(trouble));
    }

    /// Holds are persisted at once when they change.
    pub(super) fn keep_holds(&mut self) {
        let holds = self.holds.to_state();
        if self.state.get().holds != holds {
            self.state.update(|state| state.holds = holds);
            self.state.flush();
        }
    }

    fn outcome(&self) -> Outcome {
        let is_held = |entry: &Entry| entry.commit().is_some_and(|c| self.holds.contains(&c));
        let held = self
            .backlog
            .entries()
            .filter(|(_, entry)| is_held(entry))
            .count();
        Outcome {
            shipped: self.shipped,
            refused: self.refused,
            held,
            waiting: self.backlog.len() - held,
            failed: self.failed,
        }
    }
}
