//! The findings at the top of the page: those of one kind in one place, with their remedy.

use std::borrow::Cow;
use std::fmt::Write;

use super::Scene;
use super::hosts::{Host, Place, State};
use super::html::{When, capital, counted, escape, names};
use super::links::Links;
use crate::clock;
use crate::human;
use crate::receiver::findings::{Finding, Kind, Severity};
use crate::refusal_table;

const NAMES_MAX: usize = 8;
/// So many findings of one kind are shown in their own words.
const WORDS_MAX: usize = 5;
const WORDS_CHARS_MAX: usize = 400;
const REMEDY_CHARS_MAX: usize = 900;
const REMEDIATION_CHARS_MAX: usize = 600;
/// The list is cut behind this many bytes, so that the rest of the page keeps its room.
const LIST_BYTES_MAX: usize = 9_000;

/// Findings of one kind. Both texts are HTML.
pub(super) struct Todo {
    pub state: State,
    pub what: String,
    pub remedy: String,
    /// When it began, in the words of one who points at it; empty if that is not known.
    title: String,
}

/// The findings of one kind and reason.
struct Group<'a> {
    kind: &'a str,
    reason: Option<&'a str>,
    findings: Vec<&'a Finding>,
}

impl State {
    /// The colour of a finding.
    pub(super) fn of(severity: Severity) -> State {
        match severity {
            Severity::Error => State::Bad,
            Severity::Warning => State::Warn,
        }
    }
}

/// All findings, errors first.
pub(super) fn all(scene: &Scene, hosts: &[Host]) -> Vec<Todo> {
    let of = |group: &Group| Todo {
        state: State::of(group.findings[0].severity),
        what: what(group, scene, hosts),
        remedy: remedy(group, scene),
        title: since(&group.findings, scene.now_s),
    };
    groups(&scene.findings).iter().map(of).collect()
}

/// The attribute that says when the oldest of them began.
fn since(findings: &[&Finding], now_s: u64) -> String {
    let began = findings
        .iter()
        .filter_map(|finding| finding.since.as_deref());
    let oldest = began.filter_map(clock::parse_rfc3339).min();
    When::of(oldest, now_s).title_with("since")
}

fn groups(findings: &[Finding]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for finding in findings {
        let reason = shown_reason(finding);
        let is_its = |group: &&mut Group| group.kind == finding.kind && group.reason == reason;
        match groups.iter_mut().find(is_its) {
            Some(group) => group.findings.push(finding),
            None => groups.push(Group {
                kind: &finding.kind,
                reason,
                findings: vec![finding],
            }),
        }
    }
    groups
}

/// A host whose code is too old is out of date, whether or not it has tried to upload since.
fn shown_reason(finding: &Finding) -> Option<&str> {
    let is_plain = finding.reason.as_deref() == Some(refusal_table::Kind::NotInWindow.name());
    finding.reason.as_deref().filter(|_| !is_plain)
}

fn what(group: &Group, scene: &Scene, hosts: &[Host]) -> String {
    let is = |kind: Kind| group.kind == kind.name();
    let who = |detail: &dyn Fn(&Host) -> String| {
        let of = |finding: &&Finding| {
            let name = finding.host().unwrap_or_default();
            let host = hosts.iter().find(|host| host.name == name);
            let detail = host.map(detail).unwrap_or_default();
            Cow::Owned(format!("<b>{}</b>{detail}", escape(name, 63)))
        };
        let all: Vec<_> = group.findings.iter().map(of).collect();
        names(all.into_iter(), NAMES_MAX)
    };
    let plain = |_: &Host| String::new();
    match group.reason {
        Some(reason) if is(Kind::HostRefused) || is(Kind::HostOutOfDate) => {
            let status = refusal_table::status_of(reason).unwrap_or_default();
            let reason = Links::of_front(None).reason(reason);
            format!("Refused, {status} {reason}: {}.", who(&plain))
        }
        _ if is(Kind::HostOutOfDate) => format!("Out of date: {}.", who(&plain)),
        _ if is(Kind::HostFallingOut) => format!("Expiring: {}.", who(&|host| left(host, scene))),
        _ if is(Kind::HostSilent) => format!(
            "Silent for more than {}: {}.",
            human::span(scene.silent_after),
            who(&|host| silence(host, scene))
        ),
        _ if is(Kind::HostGone) => format!("Gone, nothing for 30 days: {}.", who(&plain)),
        _ if is(Kind::HostNeverSeen) => format!("Configured but never seen: {}.", who(&plain)),
        _ => own_words(group) + &who_waits(group, hosts),
    }
}

/// How many commits are left to a host.
fn left(host: &Host, scene: &Scene) -> String {
    match host.code_place {
        Place::At(place) => {
            let left = scene.gate.size.saturating_sub(place);
            format!(" ({})", counted(left.into(), "more commit"))
        }
        Place::Outside | Place::Unknown => String::new(),
    }
}

fn silence(host: &Host, scene: &Scene) -> String {
    let Some(silence) = host.silence.map(human::span) else {
        return String::new();
    };
    let last = host.stats.last.as_ref().and_then(|last| last.at_s);
    format!(" ({})", When::of(last, scene.now_s).around(&silence))
}

fn own_words(group: &Group) -> String {
    let mut words = String::new();
    for finding in group.findings.iter().take(WORDS_MAX) {
        let sentence = capital(&escape(&finding.words, WORDS_CHARS_MAX));
        let subject = match finding.subject.as_str() {
            "gate" if finding.words.starts_with("it") => "The version gate: ",
            _ => "",
        };
        let sentence = if subject.is_empty() {
            sentence
        } else {
            escape(&finding.words, WORDS_CHARS_MAX)
        };
        // Writing to a String cannot fail.
        let _ = write!(
            words,
            "{}{subject}{sentence}.",
            if words.is_empty() { "" } else { " " }
        );
    }
    let more = group.findings.len().saturating_sub(WORDS_MAX);
    if more > 0 {
        let _ = write!(
            words,
            " And {more} more: <code>cis490 status</code> lists them."
        );
    }
    words
}

/// The hosts that wait for the gate, behind its own trouble.
fn who_waits(group: &Group, hosts: &[Host]) -> String {
    let waiting: Vec<_> = hosts
        .iter()
        .filter(|host| host.waits_for_gate)
        .map(|host| Cow::Owned(format!("<b>{}</b>", host.name)))
        .collect();
    if group.kind != Kind::GateFailing.name() || waiting.is_empty() {
        return String::new();
    }
    let verb = if waiting.len() == 1 { "waits" } else { "wait" };
    format!(
        " {} {verb} for that: the commit may be newer than what is known here. Nothing needs to be done there.",
        names(waiting.into_iter(), NAMES_MAX)
    )
}

fn remedy(group: &Group, scene: &Scene) -> String {
    let first = &group.findings[0].remedy;
    let remediation = || {
        format!(
            "<pre>{}</pre>",
            escape(&scene.gate.remediation, REMEDIATION_CHARS_MAX)
        )
    };
    let is = |kind: Kind| group.kind == kind.name();
    match group.reason {
        None if is(Kind::HostOutOfDate) => {
            let where_to = if group.findings.len() == 1 {
                "there"
            } else {
                "on each of them"
            };
            format!(
                "Uploads made by that code are refused. Paste {where_to}:{}",
                remediation()
            )
        }
        None if is(Kind::HostFallingOut) => {
            "Update them soon: after that many more commits their uploads are refused.".to_owned()
        }
        Some(reason) if reason == refusal_table::Kind::BadCommit.name() => {
            format!(
                "{}:{}",
                capital(&escape(first, REMEDY_CHARS_MAX)),
                remediation()
            )
        }
        _ => format!("{}.", capital(&escape(first, REMEDY_CHARS_MAX))),
    }
}

/// The findings of one host, each in its own words.
pub(super) fn of_host<'a>(
    scene: &Scene,
    links: Links,
    findings: impl Iterator<Item = &'a Finding>,
) -> Vec<Todo> {
    let of = |finding: &Finding| {
        let group = Group {
            kind: &finding.kind,
            reason: shown_reason(finding),
            findings: vec![finding],
        };
        let words = own_words(&group);
        let what = match finding.reason.as_deref() {
            Some(reason) => words.replacen(reason, &links.reason(reason), 1),
            None => words,
        };
        Todo {
            state: State::of(finding.severity),
            what,
            remedy: remedy(&group, scene),
            title: since(&group.findings, scene.now_s),
        }
    };
    findings.map(of).collect()
}

/// The headline, and the list.
pub(super) fn section(todos: &[Todo]) -> String {
    let count = |state| todos.iter().filter(|todo| todo.state == state).count();
    let mut section = format!(
        "<section class={}><h1>{}</h1>\n",
        state(todos).class(),
        headline(count(State::Bad), count(State::Warn))
    );
    if !todos.is_empty() {
        section += "<ul>\n";
        section += &list(todos);
        section += "</ul>\n";
    }
    section + "</section>\n"
}

pub(super) fn list(todos: &[Todo]) -> String {
    let mut list = String::new();
    for (place, todo) in todos.iter().enumerate() {
        let item = format!(
            "<li class={}><p{}>{}<div>{}</div>\n",
            todo.state.class(),
            todo.title,
            todo.what,
            todo.remedy
        );
        if list.len() + item.len() > LIST_BYTES_MAX {
            let _ = writeln!(
                list,
                "<li><p>Not shown, to keep the page small: {} more. <code>cis490 status</code> lists them.",
                todos.len() - place
            );
            break;
        }
        list += &item;
    }
    list
}

/// The worst of all.
pub(super) fn state(todos: &[Todo]) -> State {
    todos
        .iter()
        .map(|todo| todo.state)
        .min()
        .unwrap_or(State::Well)
}

pub(super) fn headline(bad: usize, warn: usize) -> String {
    let problems = human::counted(bad, "problem");
    let warnings = human::counted(warn, "warning");
    match (bad, warn) {
        (0, 0) => "Everything is OK".to_owned(),
        (0, _) => warnings,
        (_, 0) => problems,
        _ => format!("{problems}, {warnings}"),
    }
}
