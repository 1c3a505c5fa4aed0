//! What `cis490 status` and `GET /v1/status` show of a receiver. Both make it here, of the same figures:
//! the running receiver of those that it keeps, and `status` on a receiver that is stopped, or that does
//! not answer, of those in the files (`disk`). `running` asks the receiver.
//!
//! Nothing is changed; the store's lock is tried for an instant, to see whether a receiver has it.

mod disk;
mod facts;
mod lab_report;
mod running;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub(crate) use self::facts::{Live, facts, reason_now};
pub(crate) use self::lab_report::{LabReport, phrases};
pub(crate) use self::running::{ask, gate};

use super::archive::ArchiveReport;
use super::config::Config;
use super::findings::{Finding, findings};
use super::lab_states::Reports;
use super::refused_upload::RefusedUpload;
use super::stats::{HostStats, StatsTables};
use super::store::scrub::Pass;
use super::store::sequence::{self, IndexFinding};
use super::store::{marker, quarantine_path, store_dir};
use crate::failure::Failure;
use crate::names::{CommitHash, EpisodeId, HostId, StoreId};
use crate::refusal_table::{is_about_the_commit, what_to_do};
use crate::wire::{Failing, GateState, Source};
use crate::{clock, owner, sys, wire};

/// An older refusal is not shown, as on the page.
const REFUSAL_COUNTS_S: u64 = 30 * 86_400;

/// The report of `cis490 status`, and the answer of `GET /v1/status`. Members are added, never renamed or removed: programs read them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Survey {
    pub side: String,
    /// Whether a receiver works in the store now; null if this user cannot see that.
    pub running: Option<bool>,
    pub listen: SocketAddr,
    pub data_dir: String,
    /// 16 hex digits; null for a store of an older version that no receiver has started on since.
    pub store_id: Option<StoreId>,
    /// Null unless the receiver runs.
    pub health: Option<Health>,
    pub gate: Option<Gate>,
    pub disk: Disk,
    pub episodes: u64,
    pub bytes: u64,
    /// The host that was heard of last comes first.
    pub hosts: Vec<Host>,
    /// A host that sends nothing for so long is silent.
    pub silent_after_seconds: u64,
    /// A host with fewer remaining commits than this is about to fall out of the window.
    pub remaining_low: u32,
    /// How many lines of the index are not receipts.
    pub unreadable_rows: u64,
    /// Set if rows are missing that backfill has not restored yet.
    pub index_finding: Option<IndexFinding>,
    pub in_quarantine: u64,
    pub scrub: Option<LastScrub>,
    /// What a person should know or do, errors first.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// Keys of the configuration that were changed, and wait for a restart.
    #[serde(default)]
    pub config_waiting: Vec<String>,
    /// How many episodes are of hosts that have no figures of their own: only in the answer of a
    /// receiver whose index has more hosts than it keeps figures of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted_episodes: u64,
    /// Null without `[archive]`, and unless the receiver runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveReport>,
    /// Why the figures are those of the disk, although a process holds the lock.
    #[serde(skip)]
    pub from_disk_because: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes each member by reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Health {
    pub takes_uploads: bool,
    pub detail: String,
}

impl Health {
    /// Errors of `well` say why no upload is accepted.
    pub(crate) fn of(well: Result<(), String>) -> Health {
        Health {
            takes_uploads: well.is_ok(),
            detail: well.err().unwrap_or_else(|| "accepts uploads".to_owned()),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gate {
    pub enabled: bool,
    pub loaded: bool,
    pub source: Option<Source>,
    pub head_commit: Option<CommitHash>,
    pub window: u32,
    pub commits: usize,
    pub age_seconds: Option<u64>,
    /// Why its source does not report the newest commits; null while it does.
    pub failing: Option<Failing>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Disk {
    /// Bytes.
    pub free: u64,
    /// Bytes that must stay free.
    pub floor: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Host {
    pub host: HostId,
    pub episodes: u64,
    pub bytes: u64,
    /// RFC 3339; null if the host has no row, or only old rows without a time.
    pub last_at: Option<String>,
    pub silent_seconds: Option<u64>,
    pub last_episode: Option<String>,
    pub commit: Option<CommitHash>,
    /// The position of that commit, 1 being the head; null if the window lacks it or is not known.
    pub position: Option<u32>,
    /// How many more commits until it falls out of the window.
    pub remaining: Option<u32>,
    /// Its last upload that was refused; null if one was stored since.
    pub refused: Option<OpenRefusal>,
    /// The host's own report on its queue; null if this process has none. A stopped receiver has none.
    #[serde(default)]
    pub report: Option<LabReport>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OpenRefusal {
    /// RFC 3339.
    pub at: String,
    pub seconds: Option<u64>,
    pub status: u16,
    /// The problem's name.
    pub reason: String,
    pub why: String,
    /// Null if nothing needs to be done: it passes by itself, or its commit is accepted by now.
    pub remedy: Option<String>,
}

impl OpenRefusal {
    fn of(refused: &RefusedUpload, gate: Option<&GateState>, now_s: u64) -> OpenRefusal {
        let is_accepted_now = gate.is_some_and(|gate| {
            let is_in_it = |commit| gate.commits.contains(&commit);
            is_about_the_commit(&refused.reason)
                && (!gate.enabled || refused.commit.is_some_and(is_in_it))
        });
        let at_s = clock::parse_rfc3339(&refused.at);
        OpenRefusal {
            seconds: at_s.map(|at_s| now_s.saturating_sub(at_s)),
            remedy: if is_accepted_now {
                None
            } else {
                what_to_do(&refused.reason).map(str::to_owned)
            },
            at: refused.at.clone(),
            status: refused.status,
            reason: refused.reason.clone(),
            why: refused.why.clone(),
        }
    }
}

impl Host {
    fn of(
        host: HostId,
        stats: &HostStats,
        config: &Config,
        gate: Option<&GateState>,
        now_s: u64,
    ) -> Host {
        let last = stats.last.as_ref();
        let at_s = last.and_then(|last| last.at_s);
        let commit = last.and_then(|last| last.commit);
        let commits = gate.map_or(&[][..], |gate| &gate.commits);
        let place = commits.iter().position(|known| Some(*known) == commit);
        let position = place.and_then(|place| u32::try_from(place + 1).ok());
        let open = stats.open_refusal();
        Host {
            host,
            episodes: stats.all.episodes,
            bytes: stats.all.bytes,
            last_at: last.and_then(|last| last.received_at.clone()),
            silent_seconds: at_s.map(|at_s| now_s.saturating_sub(at_s)),
            last_episode: last.and_then(|last| last.episode.as_ref().map(EpisodeId::to_string)),
            commit,
            remaining: position.map(|p| config.version_gate.window.saturating_sub(p)),
            position,
            refused: open
                .filter(|refused| !is_old(refused, now_s))
                .map(|refused| OpenRefusal::of(refused, gate, now_s)),
            report: None,
        }
    }

    /// Whether its newest upload was refused for its commit. Then that commit says more than the last
    /// commit that was stored.
    pub(crate) fn is_refused_for_its_commit(&self) -> bool {
        let refused = self.refused.as_ref();
        refused.is_some_and(|refused| is_about_the_commit(&refused.reason))
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LastScrub {
    pub begun_at: String,
    pub done_at: Option<String>,
    pub episodes: u64,
    pub clean: bool,
    pub found: u64,
}

/// The state of the process that may hold the store's lock.
pub(crate) struct Process {
    /// `None` if this user cannot see it.
    pub running: Option<bool>,
    pub health: Option<Health>,
    pub gate: Option<GateState>,
    /// Only of this process itself.
    pub live: Option<Live>,
    /// Keys of its configuration that wait for a restart.
    pub config_waiting: Vec<String>,
}

/// Asks the receiver of a configuration, or looks at its store.
///
/// Errors: the folder is no store, or cannot be read by this user.
pub(crate) fn survey(config: &Config, config_path: &Path) -> Result<Survey, Failure> {
    store_dir::look(&config.data_dir, config_path)?;
    let running = store_dir::is_in_use(&config.data_dir);
    let found = if running == Some(true) {
        running::survey(config).or_else(|none| none.fall_back(config))
    } else {
        let process = Process {
            running,
            health: None,
            gate: None,
            live: None,
            config_waiting: Vec::new(),
        };
        disk::survey(config, process)
    };
    found.map_err(|error| {
        Failure::new(
            format!("cannot read {}: {error}", config.data_dir.display()),
            owner::hint(
                &error,
                "look at the disk (dmesg) and at who owns it (ls -l)",
            ),
        )
    })
}

impl Survey {
    /// The report on a receiver and its figures. What is neither in them nor in `process` is read from
    /// small files.
    ///
    /// Errors: the filesystem of the store does not say how much of it is free.
    pub(crate) fn of(
        config: &Config,
        process: Process,
        tables: &StatsTables,
        reports: &Reports,
    ) -> io::Result<Survey> {
        let findings = findings(&facts(config, &process, tables, reports));
        Ok(Survey {
            findings,
            side: "receiver".to_owned(),
            running: process.running,
            listen: config.listen,
            data_dir: config.data_dir.display().to_string(),
            store_id: marker::id(&config.data_dir),
            health: process.health,
            disk: Disk {
                free: sys::free_bytes(&config.data_dir)?,
                floor: config.min_free_bytes,
            },
            episodes: tables.all.episodes,
            bytes: tables.all.bytes,
            silent_after_seconds: config.silent_after_hours * 3600,
            remaining_low: wire::remaining_low(config.version_gate.window),
            unreadable_rows: tables.unreadable_rows,
            index_finding: sequence::finding(&config.data_dir),
            hosts: hosts(config, process.gate.as_ref(), tables, reports),
            gate: process.gate.map(Gate::from),
            in_quarantine: fs::read_dir(quarantine_path(&config.data_dir))
                .map_or(0, |entries| entries.count() as u64),
            scrub: Pass::to_tell(&config.data_dir).map(LastScrub::from),
            config_waiting: process.config_waiting,
            unlisted_episodes: tables.others.all.episodes,
            archive: None,
            from_disk_because: None,
        })
    }
}

fn hosts(
    config: &Config,
    gate: Option<&GateState>,
    tables: &StatsTables,
    reports: &Reports,
) -> Vec<Host> {
    let now_s = clock::unix_seconds(SystemTime::now());
    let known = tables.hosts.iter();
    let mut hosts: Vec<Host> = known
        .map(|(name, stats)| Host::of(name.clone(), stats, config, gate, now_s))
        .collect();
    // A name that was only refused is shown until its refusal is old.
    for unknown in &tables.unknown_hosts {
        if let Some(name) = &unknown.refused.host
            && !is_old(&unknown.refused, now_s)
        {
            let stats = HostStats::of_unknown_host(Some(unknown.clone()));
            hosts.push(Host::of(name.clone(), &stats, config, gate, now_s));
        }
    }
    // So is a name of which nothing but a report has come.
    for name in reports.keys() {
        if !hosts.iter().any(|host| host.host == *name) {
            let stats = HostStats::default();
            hosts.push(Host::of(name.clone(), &stats, config, gate, now_s));
        }
    }
    for host in &mut hosts {
        host.report = reports.get(&host.host).map(LabReport::of);
    }
    // Hosts that never came are last.
    hosts.sort_by(|one, other| {
        let silence = |host: &Host| host.silent_seconds.unwrap_or(u64::MAX);
        (silence(one), &one.host).cmp(&(silence(other), &other.host))
    });
    hosts
}

fn is_old(refused: &RefusedUpload, now_s: u64) -> bool {
    let at_s = clock::parse_rfc3339(&refused.at);
    at_s.is_some_and(|at_s| now_s.saturating_sub(at_s) > REFUSAL_COUNTS_S)
}

impl From<GateState> for Gate {
    fn from(state: GateState) -> Gate {
        Gate {
            enabled: state.enabled,
            loaded: state.loaded,
            source: state.source,
            head_commit: state.head_commit,
            window: state.window,
            commits: state.commits.len(),
            age_seconds: state.age_seconds,
            failing: state.failing,
        }
    }
}

impl From<Pass> for LastScrub {
    fn from(pass: Pass) -> LastScrub {
        LastScrub {
            clean: pass.is_clean(),
            found: pass.found.values().copied().fold(0, u64::saturating_add),
            begun_at: pass.begun_at,
            done_at: pass.done_at,
            episodes: pass.episodes,
        }
    }
}

impl Survey {
    /// Hosts whose newest commit is not in the window while the gate cannot ask its source: their commits may be
    /// newer than the window. Empty while it can.
    pub(crate) fn not_known(&self) -> Vec<&HostId> {
        if self.is_failing() {
            self.outside()
        } else {
            Vec::new()
        }
    }

    fn is_failing(&self) -> bool {
        (self.gate.as_ref()).is_some_and(|gate| gate.failing.is_some())
    }

    /// Hosts whose newest commit is not in the window. A host that was refused for its commit since
    /// then is not among them: it is shown as refused.
    fn outside(&self) -> Vec<&HostId> {
        let is_known = (self.gate.as_ref()).is_some_and(|gate| gate.enabled && gate.loaded);
        let is_outside = |host: &&Host| {
            is_known
                && host.commit.is_some()
                && host.position.is_none()
                && !host.is_refused_for_its_commit()
        };
        let outside = self.hosts.iter().filter(is_outside);
        outside.map(|host| &host.host).collect()
    }
}
