//! The loop: scan the folders, ask the gate about the held commits, then move one episode after the
//! other, or several small ones in a `burst`. Only the next episode is packed beside the loop (`packing`).
//!
//! 1. The loop takes an episode out of the backlog, works on it, and puts it back unless it has left.
//! 2. Every failure here is logged, written to `state.json` and tried again: only a person or a
//!    signal ends the loop. `endings` has the ways in which a step fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answers::{Answers, Attempt};
use super::backlog::Backlog;
use super::burst::Burst;
use super::client::{Answer, NoAnswer, ReceiverClient, Upload};
use super::config::Config;
use super::endings::Endings;
use super::entry::{Entry, Stage};
use super::holds::Holds;
use super::looks::Looks;
use super::next_try::next_try;
use super::outbox::{self, Seal};
use super::pace::Pace;
use super::packing::Packer;
use super::progress::Progress;
use super::queue::Root;
use super::report::Report;
use super::resume::{self, Begin, Next};
use super::senders::SENDERS_MAX;
use super::state::reporter::Sent;
use super::state_sender::StateSender;
use super::upload_body::Tarball;
use super::wakeup::Wakeup;
use super::{ConfigFile, Mode, Outcome};
use crate::config::settings::{TakesEffect, changed};
use crate::durable;
use crate::episode::Meta;
use crate::events;
use crate::failure::Failure;
use crate::names::EpisodeId;
use crate::service;
use crate::wire::Slot;

/// The loop, and what it goes through.
pub(super) struct Shipper {
    config: Config,
    file: ConfigFile,
    wakeup: Wakeup,
    receiver: Arc<ReceiverClient>,
    /// Not with `--once`.
    reports: Option<StateSender>,
    backlog: Backlog,
    holds: Holds,
    looks: Looks,
    packer: Packer,
    endings: Endings,
    /// The last upload was accepted: the next ones may go several at once.
    is_welcome: bool,
    /// How many may go at once, by the receiver's last word on that, and when that was.
    at_once: usize,
    crowded_at: Option<Instant>,
}

/// For so long after the receiver had no place for an upload, fewer are sent at once.
const CROWDED_FOR: Duration = Duration::from_secs(600);

impl Shipper {
    pub(super) fn new(
        config: Config,
        file: ConfigFile,
        root: Root,
        receiver: ReceiverClient,
        wakeup: Wakeup,
        mode: Mode,
    ) -> Shipper {
        let report = Report::open(&config, &root);
        let pace = Pace::new(mode, config.hours());
        let receiver = Arc::new(receiver);
        let reports = (mode == Mode::Forever).then(|| {
            let client = Arc::clone(&receiver);
            let stop = wakeup.stop.clone();
            StateSender::start(&config.host_id, &root, client, report.live(), stop)
        });
        Shipper {
            config,
            file,
            receiver,
            reports,
            backlog: Backlog::default(),
            holds: Holds::restore(report.holds()),
            looks: Looks::new(),
            packer: Packer::new(wakeup.stop.clone()),
            endings: Endings { root, pace, report },
            is_welcome: false,
            at_once: SENDERS_MAX,
            crowded_at: None,
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
            if self.endings.pace.next_scan() <= Instant::now() {
                self.look();
            }
            self.packer
                .look_at_ahead(&mut self.backlog, &mut self.endings);
            self.ask_gate();
            if self.send_burst() {
                continue;
            }
            match self.take_next() {
                Some(entry) => {
                    if let Some(entry) = self.advance(entry) {
                        self.backlog.put(entry);
                    }
                }
                // With --once, episodes that arrived meanwhile count too: scan again before ending.
                None if self.endings.pace.mode() == Mode::Once => {
                    self.look();
                    if self.next().is_none() {
                        break;
                    }
                }
                None => self.rest(),
            }
            self.endings.report.flush_lazily();
        }
        let outcome = self.outcome();
        self.packer.end();
        self.endings.report.end();
        outcome
    }

    /// For `systemctl status`.
    fn how_it_goes(&self) -> String {
        let Outcome {
            shipped,
            held,
            waiting,
            ..
        } = self.outcome();
        let away = match self.endings.pace.away().failures() {
            0 => "",
            _ => ", and the receiver is away",
        };
        format!("{shipped} shipped since the start, {waiting} waiting, {held} held{away}")
    }

    fn outcome(&self) -> Outcome {
        let entries = self.backlog.entries();
        let held = entries.filter(|entry| self.holds.is_held(entry)).count();
        self.endings.report.outcome(held, self.backlog.len() - held)
    }

    /// SIGHUP: reads the configuration, the token and the CA again, and makes everything that waits due now.
    fn reload(&mut self) {
        events::shipper_reloading();
        if let Err(failure) = self.read_again() {
            events::reload_failed(&self.file.path, &failure);
        }
        self.holds.ask_now();
        self.backlog.retry_now();
        self.endings.pace.retry_now();
    }

    /// Applies the keys of the configuration that take effect on a reload.
    ///
    /// Errors: the file has a mistake, or a secret cannot be read. Nothing is changed then.
    fn read_again(&mut self) -> Result<(), Failure> {
        let new = Config::load(&self.file.path, None)?;
        let settings = new.settings();
        let at_start = self.file.at_start.settings();
        let waiting = changed(&at_start, &settings, TakesEffect::OnRestart);
        let config = self.config.reloaded(new);
        let before = self.config.settings();
        let applied = changed(&before, &config.settings(), TakesEffect::OnReload);
        let receiver = ReceiverClient::new(&config, self.wakeup.stop.clone())?;
        self.receiver = Arc::new(receiver);
        if let Some(reports) = &self.reports {
            reports.use_client(Arc::clone(&self.receiver));
        }
        self.endings.pace.set_hours(config.hours());
        self.endings.report.reloaded(&config, &waiting);
        self.config = config;
        events::reloaded(&applied);
        if !waiting.is_empty() {
            events::config_waiting(&waiting);
        }
        Ok(())
    }

    /// Scans the folders and folds the result into the backlog.
    fn look(&mut self) {
        let interval = Duration::from_secs(self.config.scan_seconds);
        self.endings.pace.scan_after(interval);
        self.looks.look(
            self.packer.ahead(),
            &mut self.backlog,
            &mut self.holds,
            &mut self.endings,
        );
        self.looks.tidy_shipped(&self.config, &mut self.endings);
    }

    fn ask_gate(&mut self) {
        let mut answers = Answers {
            holds: &mut self.holds,
            endings: &mut self.endings,
        };
        answers.ask_gate(&self.receiver, &self.wakeup.stop);
    }

    /// Sends small episodes several at once. False if it is not the time for that.
    fn send_burst(&mut self) -> bool {
        if self
            .crowded_at
            .is_some_and(|at| at.elapsed() >= CROWDED_FOR)
        {
            self.at_once = SENDERS_MAX;
        }
        let burst = Burst {
            at_once: self.at_once,
            host: &self.config.host_id,
            receiver: &self.receiver,
            wakeup: &self.wakeup,
            backlog: &mut self.backlog,
            holds: &mut self.holds,
            packer: &mut self.packer,
            endings: &mut self.endings,
        };
        if !self.is_welcome || !burst.is_due() {
            return false;
        }
        let ended = burst.run();
        self.is_welcome = ended.is_healthy;
        if ended.is_crowded {
            self.at_once -= 1;
            self.crowded_at = Some(Instant::now());
        }
        true
    }

    /// Takes the episode to move now out of the backlog.
    fn take_next(&mut self) -> Option<Entry> {
        let id = self.next()?.clone();
        self.backlog.take(&id)
    }

    /// The episode to move now.
    fn next(&self) -> Option<&EpisodeId> {
        let now = Instant::now();
        let pace = &self.endings.pace;
        if !pace.may_ask(now) || pace.closed_for().is_some() {
            return None;
        }
        let may_move = |entry: &Entry| pace.may_move(entry, &self.holds, now);
        self.backlog.next(now, may_move).map(|entry| &entry.id)
    }

    /// Nothing can move: brings `state.json` up to date and sleeps until something may move.
    fn rest(&mut self) {
        self.note_next_try();
        self.endings.report.flush();
        service::status(&self.how_it_goes());
        let now = Instant::now();
        let pace = &self.endings.pace;
        let of_work = [self.backlog.next_due(), self.holds.next_due()];
        let wakes = pace.waits().chain(of_work.into_iter().flatten());
        // Work that is due and did not move waits for another of these times, or for the next scan.
        let first = wakes.filter(|at| *at > now).min();
        let next_scan = pace.next_scan();
        let until = first.map_or(next_scan, |at| at.min(next_scan));
        self.wakeup.wait_until(until);
    }

    fn note_next_try(&mut self) {
        let now = Instant::now();
        let next = next_try(&self.endings.pace, &self.backlog, &self.holds, now);
        self.endings.report.next_try(next, now);
    }

    /// Takes one episode as far as it goes. `None` if it has left for shipped/ or refused/.
    fn advance(&mut self, mut entry: Entry) -> Option<Entry> {
        if let Stage::Found = entry.stage() {
            // Its size is known only now, so its turn may be later: the loop chooses anew.
            return self.endings.inspect(entry);
        }
        self.endings.drop_outdated_tarball(&mut entry);
        if !entry.is_packed() {
            entry = self.packer.pack(entry, &mut self.endings)?;
        }
        match entry.stage() {
            // Packing may have read another commit than the first look did.
            Stage::Packed(..) if self.holds.is_held(&entry) => Some(entry),
            Stage::Packed(inspected, seal) => self.send(entry, inspected.meta, seal),
            // It could not be packed now.
            Stage::Found | Stage::Recorded(_) => Some(entry),
        }
    }

    fn send(&mut self, mut entry: Entry, meta: Meta, seal: Seal) -> Option<Entry> {
        let file = match durable::open_regular(&outbox::tarball(&self.endings.root, &entry.id)) {
            Ok(file) => file,
            Err(error) => {
                let why = format!("cannot open its tarball: {error}");
                self.endings.repack(&mut entry, &why);
                return Some(entry);
            }
        };
        let slot = Slot {
            host: self.config.host_id.clone(),
            episode: entry.id.clone(),
        };
        let upload = Upload {
            slot: &slot,
            commit: meta.commit,
            dirty: meta.dirty == Some(true),
            sha256: seal.sha256,
            bytes: seal.bytes,
            tarball: Tarball::File(&file),
        };
        let start = Instant::now();
        let heard = if resume::is_large(&upload) {
            self.resume(&mut entry, &upload)
        } else {
            self.upload(&upload, None)
        };
        // A broken connection while the process ends is no fault.
        if heard.is_err() && self.wakeup.stop.is_set() {
            return Some(entry);
        }
        self.is_welcome = heard.as_ref().is_ok_and(Answer::is_success);
        let attempt = Attempt {
            upload: &upload,
            seal,
            has_file: true,
            took: start.elapsed(),
            all_wait: false,
        };
        let mut answers = Answers {
            holds: &mut self.holds,
            endings: &mut self.endings,
        };
        answers.obey(entry, &attempt, heard)
    }

    /// Sends what the receiver does not have of a large tarball.
    fn resume(&mut self, entry: &mut Entry, upload: &Upload<'_>) -> Result<Answer, NoAnswer> {
        for _ in 0..resume::ASKS_MAX {
            let asked = resume::ask(&self.receiver, upload);
            if matches!(asked, Ok(Begin::Not(_)) | Err(NoAnswer::Broken(_))) {
                entry.resume_failed();
            }
            let offset = match asked {
                Ok(Begin::At(offset)) => offset,
                Ok(Begin::Whole) => {
                    entry.is_not_kept();
                    break;
                }
                Ok(Begin::Not(_)) | Err(NoAnswer::Broken(_)) if entry.resumes_in_vain() => break,
                Ok(Begin::Not(answer)) => return Ok(answer),
                Err(no_answer) => return Err(no_answer),
            };
            if entry.is_kept_to(offset) {
                self.endings.pace.receiver_is_there();
            }
            if entry.resumes_in_vain() {
                break;
            }
            events::resumed(&upload.slot.episode, offset, upload.bytes);
            let heard = self.upload(upload, Some(offset));
            if !resume::is_receivers(&heard) {
                entry.resume_failed();
            }
            let answer = heard?;
            match resume::next(&answer) {
                Next::Obey => return Ok(answer),
                Next::AskAgain => {}
                Next::SendWhole => break,
            }
        }
        entry.goes_whole();
        self.upload(upload, None)
    }

    /// Sends one tarball, or what follows its first bytes, shows how far that is, and packs the next episode
    /// meanwhile.
    fn upload(&mut self, upload: &Upload<'_>, from: Option<u64>) -> Result<Answer, NoAnswer> {
        let id = &upload.slot.episode;
        service::status(&format!("sending {id}, {} bytes", upload.bytes));
        let resumed = from.and_then(|offset| (offset * 100).checked_div(upload.bytes));
        let resumed = resumed.map_or(String::new(), |percent| format!(", resumed at {percent} %"));
        let mut progress = Progress::new(format!("sending {id}{resumed}"));
        self.note_next_try();
        let Endings { root, pace, report } = &mut self.endings;
        let sent = Sent::default();
        let mut is_begun = false;
        let mut reloads = self.wakeup.reloads();
        let mut tell = |done| {
            sent.set(done);
            let so_far = self.wakeup.reloads();
            if reloads != so_far {
                reloads = so_far;
                reload_rate(&self.file, &self.receiver);
            }
            if !is_begun {
                is_begun = true;
                let now = Instant::now();
                let may_move = |entry: &Entry| pace.may_move(entry, &self.holds, now);
                self.packer.begin_ahead(&self.backlog, root, may_move);
            }
            progress.tell(done, upload.bytes);
        };
        let send = || match from {
            Some(offset) => self.receiver.patch(upload, offset, &mut tell),
            None => self.receiver.put(upload, &mut tell),
        };
        report.while_sending(id, upload.bytes, from, &sent, send)
    }
}

/// SIGHUP came in the middle of an upload, which may last for hours: the new rate holds for it at once. All
/// else, and what is to be logged, waits for the loop.
fn reload_rate(file: &ConfigFile, receiver: &ReceiverClient) {
    if let Ok(config) = Config::load(&file.path, None) {
        receiver.set_rate(config.rate_bytes_per_second);
    }
}
