//! The list of problems and warnings at the top of the page: each with its place and its remedy.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use super::hosts::{Host, State};
use super::html::{Ago, counted, escape, names};
use super::{HOUR_S, Scene};
use crate::clock;
use crate::human;
use crate::receiver::stats::Totals;
use crate::receiver::store::sequence::INDEX_REMEDY;
use crate::receiver::version_gate::failing_words;
use crate::refusal::what_to_do;
use crate::wire::Source;

const NAMES_MAX: usize = 8;
const REMEDIATION_CHARS_MAX: usize = 600;
const DETAIL_CHARS_MAX: usize = 900;
/// A clock before this was never set: this program is younger.
const CLOCK_MIN_S: u64 = 1_767_225_600; // 2026-01-01
/// Ignore skew below this.
const AHEAD_MIN: Duration = Duration::from_secs(300);

/// One problem or warning. Both texts are HTML.
pub(super) struct Todo {
    pub state: State,
    pub what: String,
    pub remedy: String,
}

fn bad(what: impl Into<String>, remedy: impl Into<String>) -> Todo {
    Todo {
        state: State::Bad,
        what: what.into(),
        remedy: remedy.into(),
    }
}

fn warn(what: impl Into<String>, remedy: impl Into<String>) -> Todo {
    Todo {
        state: State::Warn,
        ..bad(what, remedy)
    }
}

/// All problems and warnings, worst first.
pub(super) fn all(scene: &Scene, hosts: &[Host]) -> Vec<Todo> {
    let mut all: Vec<Todo> = Vec::new();
    all.extend(stopping(scene));
    all.extend(gate(scene, hosts));
    all.extend(disk(scene));
    all.extend(index(scene));
    all.extend(clock(scene));
    all.extend(of_hosts(scene, hosts));
    all.sort_by_key(|todo| todo.state);
    all
}

fn stopping(scene: &Scene) -> Option<Todo> {
    scene.draining.then(|| {
        warn(
            "The receiver is stopping: running uploads are finished, new ones wait on their hosts.",
            "Nothing, if you have just restarted it; otherwise <code>systemctl start cis490-receiver</code>.",
        )
    })
}

fn gate(scene: &Scene, hosts: &[Host]) -> Option<Todo> {
    let gate = &scene.gate;
    let waiting = hosts.iter().filter(|host| host.waits_for_gate);
    let waiting: Vec<_> = waiting
        .map(|host| Cow::Owned(format!("<b>{}</b>", host.name)))
        .collect();
    let who_waits = if waiting.is_empty() {
        String::new()
    } else {
        let verb = if waiting.len() == 1 { "waits" } else { "wait" };
        format!(
            " {} {verb} for that: the commit may be newer than what is known here. Nothing needs to be done there.",
            names(waiting.into_iter(), NAMES_MAX)
        )
    };
    if !gate.enabled {
        return Some(warn(
            "The version gate is switched off: episodes of any commit are accepted.",
            "To switch it on: <code>enabled = true</code> in [version_gate] of receiver.toml, then restart the receiver.",
        ));
    }
    let Some(source) = gate.source else {
        return Some(bad(
            "The version gate knows no commits yet: every upload is answered 503 and waits on its host.",
            "Fix the source that the log names: <code>journalctl -u cis490-receiver | grep gate_refresh_failed</code>.",
        ));
    };
    let Some(failing) = &gate.failing else {
        return (!who_waits.is_empty()).then(|| {
            warn(
                format!("The version gate could not ask in time what a commit is.{who_waits}"),
                "Nothing: the lab host asks again automatically.",
            )
        });
    };
    let how = failing_words(failing);
    let detail = escape(&failing.detail, DETAIL_CHARS_MAX);
    Some(match source {
        Source::GitFallback => warn(
            format!(
                "The version gate uses its fallback: Forgejo {how}, so the local repository is used.{who_waits}"
            ),
            format!(
                "{}. Until then a push takes effect once it is fetched into the local repository.",
                capital(&detail)
            ),
        ),
        _ => warn(
            format!("The version gate cannot look for new commits: its source {how}.{who_waits}"),
            format!(
                "{}. Known commits are accepted as before, a new push is not.",
                capital(&detail)
            ),
        ),
    })
}

fn disk(scene: &Scene) -> Option<Todo> {
    let data_dir = escape(&scene.data_dir, 200);
    if let Some(unwritable) = &scene.unwritable {
        let what = escape(&unwritable.to_string(), 300);
        return Some(bad(
            format!("The store cannot be written: {what}."),
            format!(
                "{}. data_dir is <code>{data_dir}</code>.",
                capital(&escape(&unwritable.remedy(), 400))
            ),
        ));
    }
    let Some(space) = scene.space else {
        return Some(bad(
            "The free space of the disk cannot be read; uploads are refused.",
            format!(
                "Check that the disk of <code>{data_dir}</code> is mounted and healthy (<code>dmesg</code>)."
            ),
        ));
    };
    let make_room = format!(
        "Make room on the disk of <code>{data_dir}</code>: move stored episodes elsewhere (their rows stay in the index), or lower min_free_bytes. Lab hosts resume automatically."
    );
    let room = space
        .free
        .saturating_sub(space.floor)
        .saturating_sub(space.reserved);
    if !space.holds(0) {
        return Some(bad(
            format!(
                "The disk is full: {} free, the limit is {}, and every upload is refused.",
                human::bytes(space.free),
                human::bytes(space.floor)
            ),
            make_room,
        ));
    }
    let hours = (0..48).map(|ago| scene.books.hour((scene.now_s / HOUR_S).saturating_sub(ago)));
    let bytes_a_day = hours.sum::<Totals>().bytes / 2;
    let days = room.checked_div(bytes_a_day).filter(|days| *days < 14);
    if let Some(days) = days {
        let state = if days < 2 { State::Bad } else { State::Warn };
        let when = if days < 1 {
            "within a day".to_owned()
        } else {
            format!("in about {days} d")
        };
        return Some(Todo {
            state,
            what: format!(
                "The disk will be full {when} at the pace of the last two days: {} left, {} a day.",
                human::bytes(room),
                human::bytes(bytes_a_day)
            ),
            remedy: make_room,
        });
    }
    (room < space.total / 20).then(|| {
        warn(
            format!("Little space is left on the disk: {}.", human::bytes(room)),
            make_room,
        )
    })
}

fn index(scene: &Scene) -> Option<Todo> {
    let finding = scene.index.as_ref()?;
    Some(bad(
        format!(
            "Rows were lost ({}, found {}): {}.",
            finding.kind.name(),
            escape(&finding.found_at, 40),
            escape(&finding.why, 300)
        ),
        format!("{}.", capital(INDEX_REMEDY)),
    ))
}

fn clock(scene: &Scene) -> Option<Todo> {
    const SYNCHRONISE: &str = "Synchronise it: <code>timedatectl</code> shows how it stands. Nothing is lost, since episodes are ordered by number; but the ages on this page are wrong.";
    if scene.now_s < CLOCK_MIN_S {
        return Some(warn("This machine's clock is not set.", SYNCHRONISE));
    }
    let newest = scene.books.uploads.back()?.received_at.as_deref()?;
    match Ago::of(clock::parse_rfc3339(newest), scene.now_s) {
        Ago::Future(ahead) if ahead >= AHEAD_MIN => Some(warn(
            format!(
                "This machine's clock was set back: the newest upload is dated {} ahead.",
                human::span(ahead)
            ),
            SYNCHRONISE,
        )),
        _ => None,
    }
}

fn of_hosts(scene: &Scene, hosts: &[Host]) -> Vec<Todo> {
    let mut todos = Vec::new();
    let named = |is: &dyn Fn(&Host) -> bool, words: &dyn Fn(&Host) -> String| {
        let some: Vec<&Host> = hosts.iter().filter(|host| is(host)).collect();
        let said = some.iter().map(|host| Cow::Owned(words(host)));
        (!some.is_empty()).then(|| names(said, NAMES_MAX))
    };
    let bold = |host: &Host| format!("<b>{}</b>", host.name);
    if let Some(who) = named(&|host| host.out_of_date, &bold) {
        let mut remedy = "Uploads made by that code are refused. Paste on each of them:".to_owned();
        let _ = write!(
            remedy,
            "<pre>{}</pre>",
            escape(&scene.gate.remediation, REMEDIATION_CHARS_MAX)
        );
        todos.push(bad(format!("Out of date: {who}."), remedy));
    }
    let mut reasons: Vec<(u16, &str)> = hosts.iter().filter_map(of_reason).collect();
    reasons.sort_unstable();
    reasons.dedup();
    for reason in reasons {
        let Some(who) = named(&|host| of_reason(host) == Some(reason), &bold) else {
            continue;
        };
        let (status, name) = reason;
        let remedy = what_to_do(name).unwrap_or_default();
        todos.push(bad(
            format!("Refused, {status} {}: {who}.", escape(name, 30)),
            format!("{}.", capital(remedy)),
        ));
    }
    let left = |host: &Host| match host.code_place {
        super::hosts::Place::At(place) => format!(
            "<b>{}</b> ({})",
            host.name,
            counted(scene.gate.size.saturating_sub(place).into(), "more commit")
        ),
        _ => bold(host),
    };
    if let Some(who) = named(&|host| host.falling_out && !host.out_of_date, &left) {
        todos.push(warn(
            format!("Expiring: {who}."),
            "Update them soon: after that many more commits their uploads are refused.",
        ));
    }
    let since = |host: &Host| {
        format!(
            "<b>{}</b> ({})",
            host.name,
            human::span(host.silence.unwrap_or_default())
        )
    };
    if let Some(who) = named(
        &|host| host.silent && host.stats.open_refusal().is_none(),
        &since,
    ) {
        todos.push(warn(
            format!(
                "Silent for more than {}: {who}.",
                human::span(scene.silent_after)
            ),
            "Is it recording, and is its shipper running? <code>cis490 status</code> there shows both.",
        ));
    }
    if let Some(who) = named(&|host| host.absent && host.stats.refused.is_none(), &bold) {
        todos.push(warn(
            format!("Configured but never seen: {who}."),
            "Set up its shipper (<code>cis490 doctor</code> there tests the path to this receiver), or remove its [[host]].",
        ));
    }
    todos
}

/// Status and reason of the host's refusals, if a person has to fix their cause.
fn of_reason<'a>(host: &Host<'a>) -> Option<(u16, &'a str)> {
    if !host.refused {
        return None;
    }
    let refused = host.stats.open_refusal()?;
    Some((refused.status, host.reason?))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
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
        for todo in todos {
            let _ = writeln!(
                section,
                "<li class={}><p>{}<div>{}</div>",
                todo.state.class(),
                todo.what,
                todo.remedy
            );
        }
        section += "</ul>\n";
    }
    section + "</section>\n"
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
