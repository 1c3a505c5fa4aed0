//! The table of hosts: the state of each, those with problems first.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use super::Scene;
use super::html::{When, absolute, counted, escape};
use super::links::Links;
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

    /// Of the page's icon.
    pub(super) fn colour(self) -> &'static str {
        match self {
            State::Bad => "crimson",
            State::Warn => "orange",
            State::Well | State::Gone => "seagreen",
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
            silence: When::of(last_at_s, scene.now_s).past(),
            state,
            waits_for_gate: waits,
            conditions: found
                .iter()
                .filter_map(|finding| condition(finding))
                .collect(),
            absent: stats.last.is_none(),
        }
    }

    /// Its state in a few words.
    pub(super) fn words(&self) -> String {
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

    fn row(&self, scene: &Scene, links: Links) -> String {
        let stats = self.stats;
        // A table has many that are well: they are shown as such without a class.
        let class = match self.state {
            State::Well => String::new(),
            state => format!(" class={}", state.class()),
        };
        let mut row = format!(
            "<tr{class}><th>{}<td>{}",
            links.host(self.name),
            self.words()
        );
        let last = match &stats.last {
            Some(last) => When::of(last.at_s, scene.now_s).cell(),
            None => "<td>never".to_owned(),
        };
        let today = stats.today(scene.now_s);
        // Writing to a String cannot fail.
        let _ = write!(
            row,
            "{last}<td>{}<td>{}<td>{}",
            amount(today.episodes, today.bytes),
            amount(stats.all.episodes, stats.all.bytes),
            self.last_commit(scene, links)
        );
        // What is empty at the end of a row is left out.
        let reported = scene.reports.get(self.name);
        if let Some(refused) = &stats.refused {
            let title = When::of_text(&refused.at, scene.now_s).title();
            let is_over = stats.open_refusal().is_none();
            let over = if is_over { " class=m" } else { "" };
            let refusal = self.last_refusal(scene, links);
            let _ = write!(row, "<td{over}{title}>{refusal}");
        } else if reported.is_some() {
            row += "<td>";
        }
        row += &reported.map_or(String::new(), |reported| queue(reported, scene.now_s));
        row.push('\n');
        row
    }

    /// The commit of its last upload, and where that stands; nothing without an upload.
    pub(super) fn last_commit(&self, scene: &Scene, links: Links) -> String {
        let Some(last) = &self.stats.last else {
            return String::new();
        };
        let commit = links.commit(last.commit.as_ref());
        format!("{commit} {}", place(self.place, scene.gate.size))
    }

    /// Its last refusal, over or not; nothing without one.
    pub(super) fn last_refusal(&self, scene: &Scene, links: Links) -> String {
        let Some(refused) = &self.stats.refused else {
            return String::new();
        };
        let ago = When::of_text(&refused.at, scene.now_s);
        format!(
            "{} {}, {ago}",
            refused.status,
            links.reason(&refused.reason)
        )
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

/// The lab host's own report on its queue, as a cell that has its times as a title.
fn queue(reported: &Reported, now_s: u64) -> String {
    let text = escape(&phrases(&reported.state, now_s).join("; "), 240);
    let age = human::ago(reported.age());
    let title = times(reported, now_s);
    if reported.is_old() {
        format!("<td title=\"{title}\"><i>old, {age}: {text}</i>")
    } else {
        format!("<td title=\"{title}\">{text} <s>{age}</s>")
    }
}

/// When the report came, and the times in it.
fn times(reported: &Reported, now_s: u64) -> String {
    let at_s = now_s.saturating_sub(reported.age().as_secs());
    let mut times = absolute(at_s);
    let state = &reported.state;
    for (words, at) in [
        ("oldest", &state.waiting.oldest_at),
        ("next try", &state.next_try_at),
    ] {
        if let Some(at_s) = at.as_deref().and_then(clock::parse_rfc3339) {
            // Writing to a String cannot fail.
            let _ = write!(times, ", {words} {}", absolute(at_s));
        }
    }
    times
}

fn place(place: Place, window: u32) -> String {
    match place {
        Place::At(1) => "latest".to_owned(),
        Place::At(place) => format!("{place} of {window}"),
        Place::Outside => "too old".to_owned(),
        Place::Unknown => String::new(),
    }
}

pub(super) fn amount(episodes: u64, bytes: u64) -> String {
    match episodes {
        0 => String::new(),
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

/// What follows the rows of the table.
const AFTER_BYTES_MAX: usize = 500;

/// The first rows that fit into `bytes_max`, and how many they are.
fn rows(scene: &Scene, hosts: &[Host], links: Links, bytes_max: usize) -> (String, usize) {
    let mut rows = String::new();
    for (place, host) in hosts.iter().enumerate() {
        let row = host.row(scene, links);
        if rows.len() + row.len() > bytes_max {
            return (rows, place);
        }
        rows += &row;
    }
    (rows, hosts.len())
}

/// The table with as many rows as fit into `bytes_max`, and how many were left out. The commits are links if all
/// rows fit with them.
pub(super) fn table(scene: &Scene, hosts: &[Host], links: Links, bytes_max: usize) -> String {
    let mut table = String::from("<section><h2>Hosts</h2>\n");
    if hosts.is_empty() {
        return table
            + "<p class=m>No host has uploaded anything yet. On a lab host: <code>cis490 ship</code>.</section>\n";
    }
    table += "<table class=h><thead><tr><th>host<th>state<th>last upload<th>today<th>total<th>last commit<th>last refusal<th>its queue<tbody>\n";
    let room = bytes_max.saturating_sub(table.len() + AFTER_BYTES_MAX);
    let mut rows = rows(scene, hosts, links, room);
    if rows.1 < hosts.len() {
        rows = self::rows(scene, hosts, links.without_commits(), room);
    }
    let (rows, shown) = rows;
    table += &rows;
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
