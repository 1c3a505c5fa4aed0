//! Everything that is asked for without a body: receipts, the gate, health, the report of `status`, the pages, metrics.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::guard::Answer;
use super::page::Kept;
use super::route::Route;
use super::{Exchange, Shared, metrics, page};
use crate::events;
use crate::names::{CommitHash, HostId};
use crate::receiver::archive::{Archive, ObjectPlace, Totals};
use crate::receiver::findings::{DiskFacts, Finding, Trouble, findings};
use crate::receiver::refusal::Refusal;
use crate::receiver::store::Store;
use crate::receiver::survey::{Health, Live, Process, Survey, facts};
use crate::wire::{GateVerdict, Receipt, Slot};

impl Exchange<'_> {
    /// Everything that is asked for without a body.
    pub(super) fn read(self, route: Route) -> Answer {
        let found = match route {
            Route::Receipt(slot) => {
                let store = Arc::clone(&self.shared.store);
                let archive = self.shared.archive.clone();
                let name = slot.clone();
                let found = self
                    .shared
                    .blocking
                    .ask(move || receipt(&store, archive.as_deref(), &name));
                match found {
                    Some(Ok(Some(receipt))) => Ok(Answer::json(200, &receipt)),
                    Some(Ok(None)) => Err(Refusal::NotFound {
                        what: format!("no episode is stored as {slot}"),
                    }),
                    Some(Err(error)) => {
                        events::lookup_failed(&slot, self.peer(), &error);
                        Err(Refusal::Internal)
                    }
                    None => Err(Refusal::Internal),
                }
            }
            Route::Gate => Ok(Answer::json(200, &self.shared.gate.state())),
            Route::GateCommit(commit) => self.verdict(commit),
            Route::Health => self.health(),
            Route::Status => self.status(),
            Route::Metrics => self.made(|shared| &shared.metrics, metrics::text, Answer::metrics),
            Route::Options { allow } => Ok(Answer::allowed(allow)),
            Route::Page => self.made(|shared| &shared.page, page::html, Answer::page),
            Route::HostPage(host) => self.page_of_host(host),
            Route::Help(kind) => {
                let remediation = self.shared.gate.facts().remediation;
                Ok(Answer::page(page::help(kind, &remediation).into_bytes()))
            }
            // `answer` does not send these here.
            Route::Upload(_)
            | Route::Resume(_)
            | Route::LabState(_)
            | Route::Tarball(_)
            | Route::List
            | Route::Bundle => Err(Refusal::Internal),
        };
        found.unwrap_or_else(|refusal| Answer::refusal(&refusal))
    }

    /// A text about the whole receiver. One that was made within the last second is as good; else a
    /// clerk makes it, since it reads what plain threads write.
    fn made(
        self,
        kept: fn(&Shared) -> &Kept,
        make: fn(&Shared) -> String,
        answer: fn(Vec<u8>) -> Answer,
    ) -> Result<Answer, Refusal> {
        if let Some(text) = kept(self.shared).fresh() {
            return Ok(answer(text));
        }
        let shared = Arc::clone(self.shared);
        let made = self.shared.blocking.ask(move || {
            // A request just before this one may have had it made.
            let kept = kept(&shared);
            kept.fresh().unwrap_or_else(|| kept.keep(make(&shared)))
        });
        made.map(answer).ok_or(Refusal::Internal)
    }

    /// The page of one host. A clerk makes it of what was looked up within the last second, or anew.
    fn page_of_host(self, host: HostId) -> Result<Answer, Refusal> {
        let shared = Arc::clone(self.shared);
        let name = host.clone();
        let made = self
            .shared
            .blocking
            .ask(move || page::of_host(&shared, &name));
        match made {
            Some(Some(html)) => Ok(Answer::page(html.into_bytes())),
            Some(None) => Err(Refusal::NotFound {
                what: format!(
                    "nothing is known of a host {host}: it is not configured, and neither an upload nor a report of it has come, or it is one of the many names that have no figures of their own"
                ),
            }),
            None => Err(Refusal::Internal),
        }
    }

    /// Would this commit get in?
    fn verdict(self, commit: CommitHash) -> Result<Answer, Refusal> {
        let gate = &self.shared.gate;
        let position = match self.look_twice(&commit) {
            Ok(position) => Some(position),
            Err(_) if !gate.enabled() => None,
            Err(refusal) => return Err(refusal),
        };
        let verdict = GateVerdict {
            allowed: true,
            position,
            window: gate.configured_window(),
            head_commit: gate.window().map(|window| window.head()),
        };
        Ok(Answer::json(200, &verdict).with_header(self.shared.positions.load().line(position)))
    }

    fn health(self) -> Result<Answer, Refusal> {
        let shared = self.shared;
        shared.check_health()?;
        let health = serde_json::json!({
            "status": "ok",
            "version": env!("CARGO_PKG_VERSION"),
            "uploads": shared.uploads.running(),
        });
        Ok(Answer::json(200, &health))
    }

    /// The report of `cis490 status`. It is made anew for each request, so that it has the upload that
    /// was answered just before it.
    fn status(self) -> Result<Answer, Refusal> {
        let shared = Arc::clone(self.shared);
        let made = self.shared.blocking.ask(move || shared.survey());
        match made {
            Some(Ok(survey)) => Ok(Answer::json(200, &survey)),
            // The disk does not say how much of it is free: the store is not there, and health says so.
            Some(Err(_)) | None => Err(Refusal::Internal),
        }
    }
}

/// The receipt of a stored episode as it is shown, or that of one whose bytes the archive alone has, which
/// says where.
fn receipt(store: &Store, archive: Option<&Archive>, slot: &Slot) -> io::Result<Option<Shown>> {
    if let Some(receipt) = store.receipt(slot)? {
        return Ok(Some(Shown {
            receipt,
            archive: None,
        }));
    }
    let Some(archive) = archive else {
        return Ok(None);
    };
    let kept = archive.newest_kept(&store.rows_of(slot)?)?;
    Ok(kept.map(|receipt| Shown {
        archive: Some(archive.place_of(&receipt)),
        receipt,
    }))
}

/// A receipt, and where the bytes are if they are not here.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    receipt: Receipt,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<ObjectPlace>,
}

impl Shared {
    /// Errors say why no upload is accepted now.
    fn check_health(&self) -> Result<(), Refusal> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Refusal::Draining);
        }
        if let Some(unwell) = self.store.unwell() {
            return Err(Refusal::from(&*unwell));
        }
        if !self.has_room() {
            return Err(Refusal::DiskAtFloor);
        }
        if self.gate.enabled() && self.gate.window().is_none() {
            return Err(Refusal::GateNotLoaded);
        }
        Ok(())
    }

    /// For plain threads: it waits for the figures' lock, and looks at the disk.
    fn survey(&self) -> io::Result<Survey> {
        let tables = self.stats.look();
        let reports = self.lab_reports.states.look();
        let mut survey = Survey::of(&self.config.load(), self.process(), &tables, &reports)?;
        let all = Totals {
            episodes: tables.all.episodes,
            bytes: tables.all.bytes,
        };
        survey.archive = self.archive.as_ref().map(|archive| archive.report(all));
        Ok(survey)
    }

    /// What a person should know or do. For plain threads, as [`Shared::survey`].
    pub(super) fn findings(&self) -> Vec<Finding> {
        let reports = self.lab_reports.states.look();
        findings(&facts(
            &self.config.load(),
            &self.process(),
            &self.stats.look(),
            &reports,
        ))
    }

    fn process(&self) -> Process {
        let well = self.check_health();
        let space = self.space.load_full();
        let unwell = self.store.unwell();
        Process {
            running: Some(true),
            health: Some(Health::of(well.map_err(|refusal| refusal.problem().detail))),
            gate: Some(self.gate.state()),
            config_waiting: self
                .config_waiting
                .load()
                .iter()
                .map(|key| (*key).to_owned())
                .collect(),
            live: Some(Live {
                observed: Arc::clone(&self.observed),
                unwritable: unwell.map(|unwritable| Trouble {
                    words: unwritable.to_string(),
                    remedy: unwritable.remedy(),
                }),
                disk: space.map(|space| DiskFacts {
                    free: space.free,
                    floor: space.floor,
                    reserved: space.reserved,
                    stored_in_a_day: 0,
                }),
                source_seconds: self.gate.source_age().as_secs(),
                beyond: self.gate.beyond(),
                archive: self.archive.clone(),
            }),
        }
    }
}
