//! The table of hosts: the state of each, those with problems first.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use super::Scene;
use super::html::{Ago, commit, counted, escape};
use crate::clock;
use crate::human;
use crate::names::CommitHash;
pub(super) use crate::receiver::findings::Place;
use crate::receiver::findings::{Finding, Kind};
use crate::receiver::lab_states::Reported;
use crate::receiver::stats::{HOSTS_MAX, HostStats};
use crate::receiver::survey::phrases;
use crate::refusal_table;

/// The state of a host, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Bad,
    Warn,
    Well,
    Gone,
}

impl State {
    pub(super) fn class(self) -> &'static str {
        match self {
            State::Bad => "b",
            State::Warn => "w",
            State::Well => "o",
            State::Gone => "g",
        }
    }
}

/// One host and its conditions.
#[derive(Debug)]
pub(super) struct Host<'a> {
    pub name: &'a str,
    pub stats: &'a HostStats,
    pub place: Place,
    /// Where the commit of its newest attempt stands, stored or refused: the code that it has now.
    pub code_place: Place,
    /// Since its last upload; `None` without one, or if its time is not known.
    pub silence: Option<Duration>,
    pub state: State,
    /// Its last upload was refused because the gate could not look up its commit.
    pub waits_for_gate: bool,
    /// What the judgement found of it, each in a word or two.
    conditions: Vec<&'static str>,
    absent: bool,
}

impl<'a> Host<'a> {
    fn of(name: &'a str, stats: &'a HostStats, found: &[&Finding], scene: &Scene) -> Host<'a> {
        let last_at_s = stats.last.as_ref().and_then(|last| last.at_s);
        let place_of = |commit: Option<CommitHash>| {
            commit.map_or(Place::Unknown, |commit| scene.gate.place(&commit))
        };
        let stored = stats.last.as_ref().and_then(|last| last.commit);
        let open = stats.open_refusal();
        let attempted = open.and_then(|refused| refused.commit).or(stored);
        let reason = open.and_then(|refused| scene.gate.reason_now(refused));
        let is_gone = found.iter().any(|finding| finding.is(Kind::HostGone));
        let waits = reason == Some(refusal_table::Kind::GateCannotTell.name()) && !is_gone;
        let worst = found
            .iter()
            .map(|finding| State::of(finding.severity))
            .min();
        let state = match worst {
            _ if is_gone => State::Gone,
            None if waits => State::Warn,
            None => State::Well,
            Some(worst) => worst,
        };
        Host {
            name,
            stats,
            place: place_of(stored),
            code_place: place_of(attempted),
            silence: Ago::of(last_at_s, scene.now_s).past(),
            state,
            waits_for_gate: waits,
            conditions: found
                .iter()
                .filter_map(|finding| condition(finding))
                .collect(),
            absent: stats.last.is_none(),
        }
    }

    fn words(&self) -> String {
        let mut words = self.conditions.clone();
        words.dedup();
        if self.waits_for_gate {
            words.push("waits for the gate");
        }
        if self.absent {
            words.push("no upload yet");
        }
        if words.is_empty() {
            words.push("OK");
        }
        words.join(", ")
    }

    fn row(&self, scene: &Scene) -> String {
        let stats = self.stats;
        let mut row = format!(
            "<tr class={}><th>{}<td>{}",
            self.state.class(),
            self.name,
            self.words()
        );
        let last = match &stats.last {
            Some(last) => Ago::of(last.at_s, scene.now_s).to_string(),
            None => "never".to_owned(),
        };
        let today = stats.today(scene.now_s);
        // Writing to a String cannot fail.
        let _ = write!(
            row,
            "<td>{last}<td>{}<td>{}",
            amount(today.episodes, today.bytes),
            amount(stats.all.episodes, stats.all.bytes)
        );
        let last_commit = stats.last.as_ref().map(|last| last.commit);
        let _ = match last_commit {
            None => write!(row, "<td>–"),
            Some(last_commit) => write!(
                row,
                "<td>{} {}",
                commit(last_commit.as_ref()),
                place(self.place, scene.gate.size)
            ),
        };
        let _ = match &stats.refused {
            None => write!(row, "<td class=x>–"),
            Some(refused) => {
                let ago = Ago::of(clock::parse_rfc3339(&refused.at), scene.now_s);
                let over = if stats.open_refusal().is_some() {
                    ""
                } else {
                    " class=m"
                };
                write!(
                    row,
                    "<td{over}>{} {}, {ago}",
                    refused.status,
                    escape(&refused.reason, 30)
                )
            }
        };
        let _ = write!(
            row,
            "<td>{}",
            queue(scene.reports.get(self.name), scene.now_s)
        );
        row.push('\n');
        row
    }
}

/// A finding in a word or two, for the table.
fn condition(finding: &Finding) -> Option<&'static str> {
    let is_old_code = finding
        .reason
        .as_deref()
        .is_none_or(|reason| reason == refusal_table::Kind::NotInWindow.name());
    Some(match Kind::of(&finding.kind)? {
        Kind::HostOutOfDate if is_old_code => "out of date",
        Kind::HostOutOfDate | Kind::HostRefused => "refused",
        Kind::HostStuck => "stuck",
        Kind::HostFallingOut => "expiring",
        Kind::HostSilent => "silent",
        Kind::HostGone => "gone",
        Kind::LabRefused => "refused episodes",
        Kind::LabDiskFull => "disk full",
        Kind::LabQueueGrowing => "queue growing",
        Kind::LabHeld => "held",
        Kind::LabOldProgram => "old program",
        _ => return None,
    })
}

/// The lab host's own report on its queue.
fn queue(reported: Option<&Reported>, now_s: u64) -> String {
    let Some(reported) = reported else {
        return "–".to_owned();
    };
    let text = escape(&phrases(&reported.state, now_s).join("; "), 240);
    let age = human::ago(reported.age());
    if reported.is_old() {
        format!("<i>old, {age}: {text}</i>")
    } else {
        format!("{text} <s>{age}</s>")
    }
}

fn place(place: Place, window: u32) -> String {
    match place {
        Place::At(1) => "latest".to_owned(),
        Place::At(place) => format!("{place} of {window}"),
        Place::Outside => "too old".to_owned(),
        Place::Unknown => String::new(),
    }
}

fn amount(episodes: u64, bytes: u64) -> String {
    match episodes {
        0 => "–".to_owned(),
        _ => format!("{} <s>{}</s>", human::count(episodes), human::bytes(bytes)),
    }
}

/// All hosts, those with problems first. Names that were only refused come after the others.
pub(super) fn all<'a>(scene: &'a Scene, unknown_hosts: &'a [(String, HostStats)]) -> Vec<Host<'a>> {
    let mut found: HashMap<&str, Vec<&Finding>> = HashMap::new();
    for finding in &scene.findings {
        if let Some(name) = finding.host() {
            found.entry(name).or_default().push(finding);
        }
    }
    let found = |name: &str| found.get(name).map_or(&[][..], Vec::as_slice);
    let known = scene.books.hosts.iter();
    let known =
        known.map(|(name, stats)| Host::of(name.as_str(), stats, found(name.as_str()), scene));
    let unknown_hosts = unknown_hosts
        .iter()
        .map(|(name, stats)| Host::of(name, stats, found(name), scene));
    let mut all: Vec<Host> = known.chain(unknown_hosts).collect();
    all.sort_by_cached_key(|host| (host.state, host.absent, human::natural(host.name)));
    all
}

/// The table with as many rows as fit into `bytes_max`, and how many were left out.
pub(super) fn table(scene: &Scene, hosts: &[Host], bytes_max: usize) -> String {
    let mut table = String::from("<section><h2>Hosts</h2>\n");
    if hosts.is_empty() {
        return table
            + "<p class=m>No host has uploaded anything yet. On a lab host: <code>cis490 ship</code>.</section>\n";
    }
    table += "<table class=h><thead><tr><th>host<th>state<th>last upload<th>today<th>total<th>last commit<th>last refusal<th>its queue<tbody>\n";
    const AFTER: usize = 500;
    let mut shown = 0;
    for host in hosts {
        let row = host.row(scene);
        if table.len() + row.len() + AFTER > bytes_max {
            break;
        }
        table += &row;
        shown += 1;
    }
    table += "</table>\n";
    let left_out = &hosts[shown..];
    if !left_out.is_empty() {
        let of = |state| left_out.iter().filter(|host| host.state == state).count();
        let mut states = Vec::new();
        for (state, words) in [
            (State::Bad, "with problems"),
            (State::Warn, "with warnings"),
            (State::Well, "OK"),
            (State::Gone, "gone"),
        ] {
            if of(state) > 0 {
                states.push(format!("{} {words}", of(state)));
            }
        }
        let _ = writeln!(
            table,
            "<p class=m>Not shown, to keep the page small: {} ({}). <a href=/metrics>/metrics</a> lists all hosts.",
            counted(left_out.len() as u64, "host"),
            states.join(", ")
        );
    }
    let others = scene.books.others.all;
    if others.episodes > 0 {
        let _ = writeln!(
            table,
            "<p class=m>At most {HOSTS_MAX} unconfigured host names are listed separately. Others have uploaded {} ({}).",
            counted(others.episodes, "episode"),
            human::bytes(others.bytes)
        );
    }
    table + "</section>\n"
}
