//! What is known of the receiver, brought together for the one judgement (`receiver::findings`).

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::Process;
use crate::clock;
use crate::names::{CommitHash, HostId};
use crate::receiver::archive::{self, Archive};
use crate::receiver::config::Config;
use crate::receiver::findings::{
    DiskFacts, Facts, GateFacts, HostFacts, Place, RefusalFacts, ReportFacts, Trouble,
};
use crate::receiver::lab_states::Reports;
use crate::receiver::observed::{Observed, restarts};
use crate::receiver::refusal::kind_of;
use crate::receiver::refused_upload::RefusedUpload;
use crate::receiver::stats::{HostStats, StatsTables, Totals};
use crate::receiver::store::condition::{self, Unwritable};
use crate::receiver::store::scrub::{self, Pass};
use crate::receiver::store::{marker, quarantine_path, sequence};
use crate::receiver::version_gate::Kept as Beyond;
use crate::refusal_table::{Kind, is_about_the_commit};
use crate::sys;
use crate::wire::GateState;

/// What only the running receiver knows.
pub(crate) struct Live {
    pub observed: Arc<Observed>,
    pub unwritable: Option<Trouble>,
    /// `None` if the disk could not be asked.
    pub disk: Option<DiskFacts>,
    /// For how long the gate's window has been from its source.
    pub source_seconds: u64,
    /// What is known of commits that are not in the window.
    pub beyond: Arc<Beyond>,
    /// `None` without `[archive]`.
    pub archive: Option<Arc<Archive>>,
}

/// The facts of this moment. Small files of the store are read.
pub(crate) fn facts(
    config: &Config,
    process: &Process,
    tables: &StatsTables,
    reports: &Reports,
) -> Facts {
    let now_s = clock::unix_seconds(SystemTime::now());
    let live = process.live.as_ref();
    let data_dir = &config.data_dir;
    let mut facts = Facts {
        now_s,
        started_at_s: live.map(|live| live.observed.started_at_s),
        accepts_uploads: (process.health.as_ref()).is_some_and(|health| health.takes_uploads),
        data_dir: data_dir.display().to_string(),
        gate: process.gate.as_ref().map(|state| gate(state, live)),
        hosts: hosts(config, process, tables, reports),
        silent_after_s: config.silent_after_hours * 3600,
        index: sequence::finding(data_dir),
        episodes: tables.all.episodes,
        waiting_keys: process.config_waiting.clone(),
        store_made_at_s: marker::made_at_s(data_dir),
        in_quarantine: fs::read_dir(quarantine_path(data_dir))
            .map_or(0, |entries| entries.count() as u64),
        ..Facts::default()
    };
    match live {
        Some(live) => {
            facts.unwritable.clone_from(&live.unwritable);
            facts.disk = live.disk;
            live.observed.add_to(&mut facts);
            let all = archive::Totals {
                episodes: tables.all.episodes,
                bytes: tables.all.bytes,
            };
            let archive = live.archive.as_ref();
            facts.archive = archive.map(|archive| archive.condition(all));
        }
        None => {
            facts.unwritable = unwritable(data_dir);
            facts.disk = disk(config);
            facts.restarts_at_s = restarts::read(data_dir);
        }
    }
    if let Some(disk) = &mut facts.disk {
        disk.stored_in_a_day = stored_in_a_day(tables, now_s);
    }
    let newest = tables.uploads.back();
    facts.clock.newest_row_at_s = newest
        .and_then(|row| row.received_at.as_deref())
        .and_then(clock::parse_rfc3339);
    add_scrub(data_dir, &mut facts);
    facts
}

fn gate(state: &GateState, live: Option<&Live>) -> GateFacts {
    GateFacts {
        enabled: state.enabled,
        window: state.window,
        source: state.source,
        source_seconds: live.map_or(0, |live| live.source_seconds),
        age_seconds: state.age_seconds,
        failing: state.failing.clone(),
    }
}

/// As a process finds it that does not serve the store. What this user may do says nothing of the receiver's.
fn unwritable(data_dir: &Path) -> Option<Trouble> {
    match condition::unwritable(data_dir)? {
        Unwritable::NotAllowed { .. } => None,
        unwritable => Some(Trouble {
            words: unwritable.to_string(),
            remedy: unwritable.remedy(),
        }),
    }
}

fn disk(config: &Config) -> Option<DiskFacts> {
    let free = sys::free_bytes(&config.data_dir).ok()?;
    Some(DiskFacts {
        free,
        floor: config.min_free_bytes,
        ..DiskFacts::default()
    })
}

fn stored_in_a_day(tables: &StatsTables, now_s: u64) -> u64 {
    let hours = (0..24).map(|ago| tables.hour((now_s / 3600).saturating_sub(ago)));
    hours.sum::<Totals>().bytes
}

fn add_scrub(data_dir: &Path, facts: &mut Facts) {
    let at_s = |at: &Option<String>| clock::parse_rfc3339(at.as_deref()?);
    facts.scrubbed_at_s = Pass::newest_whole(data_dir).and_then(|pass| at_s(&pass.done_at));
    let Some(pass) = Pass::to_tell(data_dir) else {
        return;
    };
    for (kind, count) in &pass.found {
        let named = pass.findings.iter().filter(|found| found.kind == *kind);
        let more = count.saturating_sub(named.count() as u64);
        facts.more_damage.push((*kind, more));
    }
    facts.damage_since = Some(pass.begun_at);
    let known: HashSet<(scrub::Kind, String)> = (facts
        .damage
        .iter()
        .map(|found| (found.kind, found.path.clone())))
    .collect();
    let new = pass.findings.into_iter();
    let new = new.filter(|found| !known.contains(&(found.kind, found.path.clone())));
    facts.damage.extend(new);
}

fn hosts(
    config: &Config,
    process: &Process,
    tables: &StatsTables,
    reports: &Reports,
) -> Vec<HostFacts> {
    let mut names: Vec<(&HostId, HostStats)> = tables
        .hosts
        .iter()
        .map(|(name, stats)| (name, stats.clone()))
        .collect();
    for unknown in &tables.unknown_hosts {
        if let Some(name) = &unknown.refused.host {
            names.push((name, HostStats::of_unknown_host(Some(unknown.clone()))));
        }
    }
    let known: HashSet<&HostId> = names.iter().map(|(name, _)| *name).collect();
    let only_reported = reports.keys().filter(|name| !known.contains(name));
    let only_reported: Vec<&HostId> = only_reported.collect();
    names.extend(
        only_reported
            .into_iter()
            .map(|name| (name, HostStats::default())),
    );
    let configured: HashSet<&HostId> = config.hosts.iter().map(|rule| &rule.id).collect();
    let of = |(name, stats): (&HostId, HostStats)| {
        let reported = reports.get(name);
        HostFacts {
            is_configured: configured.contains(name),
            report: reported.map(|reported| ReportFacts {
                is_old: reported.is_old(),
                state: Arc::clone(&reported.state),
            }),
            ..host(name, &stats, process)
        }
    };
    names.into_iter().map(of).collect()
}

fn host(name: &HostId, stats: &HostStats, process: &Process) -> HostFacts {
    let stored = stats.last.as_ref();
    let open = stats.open_refusal();
    let attempted = open.and_then(|refused| refused.commit);
    let commit = attempted.or(stored.and_then(|last| last.commit));
    let refusal = open.and_then(|refused| refusal(refused, stats, process));
    HostFacts {
        name: name.to_string(),
        has_stored: stored.is_some(),
        stored_at_s: stored.and_then(|last| last.at_s),
        place: commit.map_or(Place::Unknown, |commit| place(process, &commit)),
        refusal,
        ..HostFacts::default()
    }
}

fn place(process: &Process, commit: &CommitHash) -> Place {
    let Some(gate) = process.gate.as_ref().filter(|gate| gate.loaded) else {
        return Place::Unknown;
    };
    let place = gate.commits.iter().position(|known| known == commit);
    let number = place.and_then(|place| u32::try_from(place + 1).ok());
    number.map_or(Place::Outside, Place::At)
}

/// `None` if it counts no more: its commit is accepted by now.
fn refusal(refused: &RefusedUpload, stats: &HostStats, process: &Process) -> Option<RefusalFacts> {
    let gate = process.gate.as_ref();
    let place = |commit: &CommitHash| place(process, commit);
    let beyond = process.live.as_ref().map(|live| &*live.beyond);
    let is_failing = gate.is_some_and(|gate| gate.failing.is_some());
    let is_enabled = gate.is_none_or(|gate| gate.enabled);
    let reason = reason_now(refused, is_enabled, is_failing, place, beyond)?;
    Some(RefusalFacts {
        status: refused.status,
        reason: reason.to_owned(),
        at_s: clock::parse_rfc3339(&refused.at),
        episode: refused.episode.as_ref().map(ToString::to_string),
        tries: stats.tries.count,
        first_try_at_s: stats.tries.first_at_s,
    })
}

/// The name of a refusal by now: one that is about the commit is judged again, by what is known of the commit
/// now. `None` if the commit is accepted now.
pub(crate) fn reason_now<'a>(
    refused: &'a RefusedUpload,
    is_enabled: bool,
    is_failing: bool,
    place: impl Fn(&CommitHash) -> Place,
    beyond: Option<&Beyond>,
) -> Option<&'a str> {
    let reason = refused.reason.as_str();
    if !is_about_the_commit(reason) {
        return Some(reason);
    }
    if !is_enabled {
        return None;
    }
    let Some(commit) = refused.commit else {
        return Some(reason);
    };
    let known = beyond.and_then(|beyond| beyond.get(&commit));
    match (place(&commit), known) {
        (Place::At(_), _) => None,
        (_, Some(known)) if reason == Kind::GateCannotTell.name() && !is_failing => {
            Some(kind_of(*known).name())
        }
        _ => Some(reason),
    }
}
