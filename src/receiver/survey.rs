//! What `cis490 status` shows of a receiver: read from its store, and asked of the running process.
//! Nothing is changed; the store's lock is tried for an instant, to see whether a receiver has it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use super::config::{Config, own_address};
use super::refusal_log;
use super::refused_upload::RefusedUpload;
use super::stats::{UNKNOWN_HOSTS_MAX, becomes_last};
use super::store::scrub::Pass;
use super::store::sequence::{self, IndexFinding};
use super::store::{index_path, marker, quarantine_path, rows, store_dir};
use crate::failure::Failure;
use crate::names::{CommitHash, HostId, StoreId};
use crate::refusal_table::{is_about_the_commit, what_to_do};
use crate::wire::{Failing, GateState, Problem, Receipt};
use crate::{clock, doctor, durable, owner, sys, wire};

/// An older refusal is not shown, as on the page.
const REFUSAL_COUNTS_S: u64 = 30 * 86_400;

/// The report of `cis490 status`. Members are added, never renamed or removed: programs read them.
#[derive(Debug, Serialize)]
pub(crate) struct Survey {
    pub side: &'static str,
    /// Whether a receiver works in the store now; null if this user cannot see that.
    pub running: Option<bool>,
    pub listen: String,
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
}

#[derive(Debug, Serialize)]
pub(crate) struct Health {
    pub takes_uploads: bool,
    pub detail: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Gate {
    pub enabled: bool,
    pub loaded: bool,
    pub source: Option<String>,
    pub head_commit: Option<CommitHash>,
    pub window: u32,
    pub commits: usize,
    pub age_seconds: Option<u64>,
    /// Why its source does not report the newest commits; null while it does.
    pub failing: Option<Failing>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Disk {
    /// Bytes.
    pub free: u64,
    /// Bytes that must stay free.
    pub floor: u64,
}

#[derive(Debug, Serialize)]
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
}

#[derive(Debug, Serialize)]
pub(crate) struct OpenRefusal {
    /// RFC 3339.
    pub at: String,
    pub seconds: Option<u64>,
    pub status: u16,
    /// The problem's name.
    pub reason: String,
    pub why: String,
    /// Null if nothing needs to be done: it passes by itself, or its commit is accepted by now.
    pub remedy: Option<&'static str>,
}

impl OpenRefusal {
    fn of(refused: RefusedUpload, gate: Option<&GateState>, now_s: u64) -> OpenRefusal {
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
                what_to_do(&refused.reason)
            },
            at: refused.at,
            status: refused.status,
            reason: refused.reason,
            why: refused.why,
        }
    }
}

impl Host {
    /// Whether its newest upload was refused for its commit. Then that commit says more than the last
    /// commit that was stored.
    pub(crate) fn is_refused_for_its_commit(&self) -> bool {
        let refused = self.refused.as_ref();
        refused.is_some_and(|refused| is_about_the_commit(&refused.reason))
    }

    /// Seconds since its last upload, stored or refused.
    pub(crate) fn unheard_seconds(&self) -> Option<u64> {
        let refused_s = self.refused.as_ref().and_then(|refused| refused.seconds);
        [self.silent_seconds, refused_s].into_iter().flatten().min()
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct LastScrub {
    pub begun_at: String,
    pub done_at: Option<String>,
    pub episodes: u64,
    pub clean: bool,
    pub found: u64,
}

/// Looks at the store of a configuration.
///
/// Errors: the folder is no store, or cannot be read by this user.
pub(crate) fn survey(config: &Config, config_path: &Path) -> Result<Survey, Failure> {
    store_dir::look(&config.data_dir, config_path)?;
    let running = store_dir::is_in_use(&config.data_dir);
    let gate = running
        .filter(|running| *running)
        .and_then(|_| gate(config));
    let cannot = |error: io::Error| {
        Failure::new(
            format!("cannot read {}: {error}", config.data_dir.display()),
            owner::hint(
                &error,
                "look at the disk (dmesg) and at who owns it (ls -l)",
            ),
        )
    };
    // Read before the index, so that an upload stored meanwhile still ends its host's refusal. If they
    // cannot be read, `cis490 refusals` says why, and the rest of the report is right without them.
    let refusals = refusal_log::read(&config.data_dir).unwrap_or_default();
    let mut tally = Tally::of(config).map_err(cannot)?;
    tally.enter_refusals(refusals);
    Ok(Survey {
        side: "receiver",
        running,
        listen: config.listen.to_string(),
        data_dir: config.data_dir.display().to_string(),
        store_id: marker::id(&config.data_dir),
        health: running.filter(|running| *running).map(|_| health(config)),
        disk: Disk {
            free: sys::free_bytes(&config.data_dir).map_err(cannot)?,
            floor: config.min_free_bytes,
        },
        episodes: tally.hosts.values().map(|host| host.episodes).sum(),
        bytes: (tally.hosts.values().map(|host| host.bytes)).fold(0, u64::saturating_add),
        silent_after_seconds: config.silent_after_hours * 3600,
        remaining_low: wire::remaining_low(config.version_gate.window),
        unreadable_rows: tally.unreadable,
        index_finding: sequence::finding(&config.data_dir),
        hosts: tally.into_hosts(config, gate.as_ref()),
        gate: gate.map(Gate::from),
        in_quarantine: fs::read_dir(quarantine_path(&config.data_dir))
            .map_or(0, |entries| entries.count() as u64),
        scrub: Pass::to_tell(&config.data_dir).map(LastScrub::from),
    })
}

impl From<GateState> for Gate {
    fn from(state: GateState) -> Gate {
        Gate {
            enabled: state.enabled,
            loaded: state.loaded,
            source: state.source.map(|source| source.to_string()),
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

fn health(config: &Config) -> Health {
    let (takes_uploads, detail) = match ask(config, wire::HEALTH_PATH) {
        Ok(answer) if answer.status == 200 => (true, "accepts uploads".to_owned()),
        Ok(answer) => {
            let problem: Option<Problem> = serde_json::from_str(&answer.body).ok();
            let detail = problem.map_or(format!("status {}", answer.status), |p| p.detail);
            (false, detail)
        }
        Err(error) => (
            false,
            format!("does not answer on {}: {error}", config.listen),
        ),
    };
    Health {
        takes_uploads,
        detail,
    }
}

/// The state of the running receiver's gate; `None` if the receiver does not run, or is too old to
/// have this answer.
pub(crate) fn gate(config: &Config) -> Option<GateState> {
    let answer = ask(config, wire::GATE_PATH).ok()?;
    serde_json::from_str(&answer.body).ok()
}

/// Sends `GET path` to the receiver of this configuration.
///
/// Errors: no connection, or what answers does not speak HTTP.
pub(crate) fn ask(config: &Config, path: &str) -> io::Result<doctor::PlainAnswer> {
    let address = own_address(config.listen);
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    doctor::ask(address, &head)
}

#[derive(Default)]
struct Tally {
    hosts: BTreeMap<HostId, HostTally>,
    unreadable: u64,
    /// The largest `seq`.
    last_seq: u64,
}

#[derive(Default)]
struct HostTally {
    episodes: u64,
    bytes: u64,
    newest: Option<Receipt>,
    /// The newest refusal.
    refused: Option<RefusedUpload>,
}

impl HostTally {
    /// The host's last refusal, if no upload was stored after it. The page has the same rule.
    fn take_open_refusal(&mut self, last_seq: u64) -> Option<RefusedUpload> {
        let stored_seq = self.newest.as_ref().and_then(|row| row.seq).unwrap_or(0);
        let refused = self.refused.take()?;
        (stored_seq <= refused.after_seq.min(last_seq)).then_some(refused)
    }
}

impl Tally {
    fn of(config: &Config) -> io::Result<Tally> {
        let mut tally = Tally::default();
        // A host that is configured and never came is shown as silent.
        for rule in &config.hosts {
            tally.hosts.entry(rule.id.clone()).or_default();
        }
        let file = match durable::open_regular(&index_path(&config.data_dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(tally),
            other => other?,
        };
        let now_s = clock::unix_seconds(SystemTime::now());
        let at_s = |row: &Receipt| row.received_at.as_deref().and_then(clock::parse_rfc3339);
        rows::each_line(&file, |line| match rows::parse(line) {
            _ if line.is_blank() => {}
            Ok(row) => {
                tally.last_seq = tally.last_seq.max(row.seq.unwrap_or(0));
                let host = tally.hosts.entry(row.host.clone()).or_default();
                host.episodes += 1;
                host.bytes = host.bytes.saturating_add(row.bytes.unwrap_or(0));
                let is_last = |last: &Receipt| becomes_last(at_s(&row), at_s(last), now_s);
                if host.newest.as_ref().is_none_or(is_last) {
                    host.newest = Some(row);
                }
            }
            // A last line without its newline may be one that is just being written.
            Err(_) if line.whole => tally.unreadable += 1,
            Err(_) => {}
        })?;
        Ok(tally)
    }

    /// Counts the newest refusal of each host, and of at most [`UNKNOWN_HOSTS_MAX`] hosts that have no
    /// upload.
    fn enter_refusals(&mut self, oldest_first: Vec<RefusedUpload>) {
        let now_s = clock::unix_seconds(SystemTime::now());
        let mut unknown = 0;
        for refused in oldest_first.into_iter().rev() {
            let at_s = clock::parse_rfc3339(&refused.at);
            let is_old = at_s.is_some_and(|at_s| now_s.saturating_sub(at_s) > REFUSAL_COUNTS_S);
            let Some(host) = refused.host.clone() else {
                continue;
            };
            if is_old {
                continue;
            }
            let is_known = self.hosts.contains_key(&host);
            if !is_known && unknown == UNKNOWN_HOSTS_MAX {
                continue;
            }
            unknown += usize::from(!is_known);
            let tally = self.hosts.entry(host).or_default();
            tally.refused.get_or_insert(refused);
        }
    }

    fn into_hosts(self, config: &Config, gate: Option<&GateState>) -> Vec<Host> {
        let now = clock::unix_seconds(SystemTime::now());
        let commits = gate.map_or(&[][..], |gate| &gate.commits);
        let last_seq = self.last_seq;
        let mut hosts: Vec<Host> = self
            .hosts
            .into_iter()
            .map(|(host, mut tally)| {
                let refused = tally.take_open_refusal(last_seq);
                let last_at = tally
                    .newest
                    .as_ref()
                    .and_then(|row| row.received_at.clone());
                let then = last_at.as_deref().and_then(clock::parse_rfc3339);
                let commit = tally.newest.as_ref().and_then(|row| row.commit);
                let place = commits.iter().position(|known| Some(*known) == commit);
                let position = place.and_then(|place| u32::try_from(place + 1).ok());
                Host {
                    host,
                    episodes: tally.episodes,
                    bytes: tally.bytes,
                    silent_seconds: then.map(|then| now.saturating_sub(then)),
                    last_at,
                    last_episode: tally.newest.map(|row| row.episode.to_string()),
                    commit,
                    remaining: position.map(|p| config.version_gate.window.saturating_sub(p)),
                    position,
                    refused: refused.map(|refused| OpenRefusal::of(refused, gate, now)),
                }
            })
            .collect();
        // Hosts that never came are last.
        hosts.sort_by_key(|host| host.silent_seconds.unwrap_or(u64::MAX));
        hosts
    }
}

impl Survey {
    /// Hosts whose newest commit is not in the window. Empty while the gate cannot ask its source,
    /// since their commits may then be newer than the window.
    pub(crate) fn out_of_date(&self) -> Vec<&HostId> {
        if self.is_failing() {
            Vec::new()
        } else {
            self.outside()
        }
    }

    /// The same hosts, while the gate cannot ask its source; else empty.
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
