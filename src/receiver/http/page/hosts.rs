//! The table of hosts: the state of each, those with problems first.

use std::fmt::Write;
use std::time::Duration;

use super::Scene;
use super::html::{Ago, commit, counted, escape};
use crate::clock;
use crate::human;
use crate::names::CommitHash;
use crate::receiver::lab_states::Reported;
use crate::receiver::stats::{HOSTS_MAX, HostStats};
use crate::receiver::survey::phrases;
use crate::refusal_table::{self, Kind, what_to_do};
use crate::wire::remaining_low;

/// A host that has sent nothing for so long is listed last, and is no warning any more.
const GONE_AFTER: Duration = Duration::from_secs(30 * 86_400);

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

/// Where the commit of a host's last episode stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    At(u32),
    Outside,
    /// The gate knows no commits yet, or the episode names none.
    Unknown,
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
    pub out_of_date: bool,
    /// Why its last upload was refused, if it still is.
    pub reason: Option<&'a str>,
    /// Its last upload was refused because the gate could not look up its commit.
    pub waits_for_gate: bool,
    /// Its last upload was refused for another reason, which a person has to fix.
    pub refused: bool,
    pub falling_out: bool,
    pub silent: bool,
    pub absent: bool,
}

impl<'a> Host<'a> {
    pub(super) fn of(name: &'a str, stats: &'a HostStats, scene: &Scene) -> Host<'a> {
        let last_at_s = stats.last.as_ref().and_then(|last| last.at_s);
        let silence = Ago::of(last_at_s, scene.now_s).past();
        let refused_at_s = stats
            .refused
            .as_ref()
            .and_then(|refused| clock::parse_rfc3339(&refused.at));
        let heard_at_s = last_at_s.max(refused_at_s);
        let is_gone = Ago::of(heard_at_s, scene.now_s).past() > Some(GONE_AFTER);
        let place_of = |commit: Option<CommitHash>| {
            commit.map_or(Place::Unknown, |commit| scene.gate.place(&commit))
        };
        let stored = stats.last.as_ref().and_then(|last| last.commit);
        let open = stats.open_refusal();
        let attempted = open.and_then(|refused| refused.commit).or(stored);
        let place = place_of(stored);
        let code_place = place_of(attempted);
        let reason = open.and_then(|refused| scene.gate.reason_now(refused));
        let is_for = |kind: Kind| reason == Some(kind.name());
        let waits_for_gate = is_for(Kind::GateCannotTell);
        let is_stale = match reason {
            Some(_) if is_for(Kind::NotInWindow) || is_for(Kind::BadCommit) => true,
            Some(reason) if refusal_table::is_about_the_commit(reason) => false,
            // Of a commit that was never stored, a gate that is blind cannot know this.
            _ if attempted != stored && scene.gate.failing.is_some() => false,
            _ => code_place == Place::Outside,
        };
        let low = remaining_low(scene.gate.size);
        let is_near_the_end = |place| matches!(place, Place::At(place) if scene.gate.size.saturating_sub(place) < low);
        let mut host = Host {
            name,
            stats,
            place,
            code_place,
            silence,
            state: State::Gone,
            out_of_date: !is_gone && scene.gate.enabled && is_stale,
            reason,
            waits_for_gate: !is_gone && waits_for_gate,
            refused: !is_gone
                && !is_stale
                && !waits_for_gate
                && reason.is_some_and(|reason| what_to_do(reason).is_some()),
            falling_out: !is_gone && scene.gate.enabled && is_near_the_end(code_place),
            silent: !is_gone && silence >= Some(scene.silent_after),
            absent: stats.last.is_none(),
        };
        host.state = if is_gone {
            State::Gone
        } else if host.out_of_date || host.refused {
            State::Bad
        } else if host.waits_for_gate || host.falling_out || host.silent || host.absent {
            State::Warn
        } else {
            State::Well
        };
        host
    }

    fn words(&self) -> String {
        let words = [
            (self.state == State::Gone, "gone"),
            (self.out_of_date, "out of date"),
            (self.waits_for_gate, "waits for the gate"),
            (self.refused, "refused"),
            (self.falling_out, "expiring"),
            (self.silent, "silent"),
            (self.absent, "no upload yet"),
            (self.state == State::Well, "OK"),
        ];
        let said: Vec<&str> = words
            .into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, word)| word)
            .collect();
        said.join(", ")
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
    let known = scene.books.hosts.iter();
    let known = known.map(|(name, stats)| Host::of(name.as_str(), stats, scene));
    let unknown_hosts = unknown_hosts
        .iter()
        .map(|(name, stats)| Host::of(name, stats, scene));
    // Hide unknown hosts that have sent nothing for GONE_AFTER.
    let unknown_hosts = unknown_hosts.filter(|host| host.state != State::Gone);
    let mut all: Vec<Host> = known.chain(unknown_hosts).collect();
    all.sort_by_cached_key(|host| (host.state, host.absent, natural(host.name)));
    all
}

/// A key by which `lab-9` comes before `lab-10`: each run of digits is preceded by its length.
fn natural(name: &str) -> String {
    let mut key = String::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let is_number = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_number);
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        if is_number {
            let significant = part.trim_start_matches('0');
            // A byte's worth: no name is longer.
            key.extend(char::from_u32(0x30 + significant.len() as u32));
            key.push_str(significant);
        } else {
            key.push_str(part);
        }
        rest = after;
    }
    key
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
