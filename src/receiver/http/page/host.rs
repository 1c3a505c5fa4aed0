//! `/hosts/{host}`: all that is known of one host.

use super::hosts::{self, Host, State, amount};
use super::html::{When, absolute, counted, escape};
use super::links::Links;
use super::{BYTES_MAX, RENEW_S, Scene, frame, newest, running, todo, unknown_hosts};
use crate::clock;
use crate::human;
use crate::names::HostId;
use crate::receiver::lab_states::Reported;
use crate::wire::{HeldCommit, LabState, RefusedName};

/// The most that its own report gets, that its refusals get, and that its uploads get.
const QUEUE_BYTES_MAX: usize = 8_000;
const REFUSALS_BYTES_MAX: usize = 5_000;
const UPLOADS_BYTES_MAX: usize = 5_500;

/// `None` if nothing is known of a host with this name.
pub(super) fn page(scene: &Scene, name: &HostId) -> Option<String> {
    let unknown_hosts = unknown_hosts(scene);
    let hosts = hosts::all(scene, &unknown_hosts);
    let host = hosts.iter().find(|host| host.name == name.as_str())?;
    let reported = scene.reports.get(name);
    let links = Links::of_inner(scene.commits.as_deref());
    let before = frame::begin(
        host.name,
        host.state.colour(),
        links.root(),
        frame::IS_RENEWED,
    ) + &condition(host, scene, links)
        + &tiles(host, reported, scene, links)
        + &running::of_host(scene, host.name);
    let foot = foot(scene, links);
    let mut room = BYTES_MAX.saturating_sub(before.len() + foot.len());
    let queue = queue(reported, scene, links, QUEUE_BYTES_MAX.min(room / 2));
    room = room.saturating_sub(queue.len());
    let runs = host.stats.runs.iter();
    let bytes_max = REFUSALS_BYTES_MAX.min(room / 2);
    let refusals = newest::refusals_of_host(scene, links, runs, bytes_max);
    room = room.saturating_sub(refusals.len());
    let rows = host.stats.newest.iter().map(|row| &**row);
    let bytes_max = UPLOADS_BYTES_MAX.min(room);
    let uploads = newest::uploads_of_host(scene, links, rows, bytes_max);
    Some(before + &queue + &uploads + &refusals + &foot)
}

/// Its state, and the findings about it and its episodes.
fn condition(host: &Host, scene: &Scene, links: Links) -> String {
    let of_episodes = format!("episode/{}/", host.name);
    let findings = scene.findings.iter().filter(|finding| {
        finding.host() == Some(host.name) || finding.subject.starts_with(&of_episodes)
    });
    let todos = todo::of_host(scene, links, findings);
    let list = if todos.is_empty() {
        String::new()
    } else {
        format!("<ul>\n{}</ul>\n", todo::list(&todos))
    };
    format!(
        "<section class={}><h1>{}</h1>\n<p>{}\n{list}</section>\n",
        host.state.class(),
        host.name,
        state_in_words(host),
    )
}

fn state_in_words(host: &Host) -> String {
    match host.state {
        State::Gone => format!("{}.", host.words()),
        _ => format!("State: {}.", host.words()),
    }
}

fn tiles(host: &Host, reported: Option<&Reported>, scene: &Scene, links: Links) -> String {
    let stats = host.stats;
    let last = match &stats.last {
        Some(last) => When::of(last.at_s, scene.now_s).span(),
        None => "never".to_owned(),
    };
    let refusal = host.last_refusal(scene, links);
    let refused_at = stats.refused.as_ref().map(|refused| refused.at.as_str());
    let refusal = match refused_at {
        Some(at) => {
            let refusal = When::of_text(at, scene.now_s).around(&refusal);
            format!("last refusal: {refusal}")
        }
        None => "nothing of it has been refused".to_owned(),
    };
    let today = stats.today(scene.now_s);
    let today = match amount(today.episodes, today.bytes) {
        none if none.is_empty() => "none today".to_owned(),
        amount => format!("{amount} today"),
    };
    let commit = match host.last_commit(scene, links) {
        none if none.is_empty() => "–".to_owned(),
        commit => commit,
    };
    let (version, report) = match reported {
        Some(reported) => {
            let state = if reported.is_old() { "old, " } else { "" };
            let report = format!("{state}reported {}", came(reported, scene.now_s).span());
            (escape(&reported.state.version, 40), report)
        }
        None => (
            "–".to_owned(),
            "it has sent no report on its queue".to_owned(),
        ),
    };
    format!(
        "<section class=t>\n<div><h2>Last upload</h2><b>{last}</b><p>{refusal}</div>\n\
         <div><h2>Episodes</h2><b>{}</b><p>{}<p>{today}</div>\n\
         <div><h2>Code of the last upload</h2><b>{commit}</b></div>\n\
         <div><h2>Its program</h2><b>{version}</b><p>{report}</div>\n</section>\n",
        human::count(stats.all.episodes),
        human::bytes(stats.all.bytes),
    )
}

/// When a report came, by the clock of this machine.
fn came(reported: &Reported, now_s: u64) -> When {
    When::of(now_s.checked_sub(reported.age().as_secs()), now_s)
}

/// Its queue, as its own report has it.
fn queue(reported: Option<&Reported>, scene: &Scene, links: Links, bytes_max: usize) -> String {
    let Some(reported) = reported else {
        return String::new();
    };
    let state = &*reported.state;
    let age = When::span(came(reported, scene.now_s));
    let old = if reported.is_old() {
        ". It is old: what follows may be true no more"
    } else {
        ""
    };
    let head = format!("<section><h2>Its queue, as it reported {age}{old}</h2>\n");
    let facts = facts(state, scene.now_s);
    let rest = bytes_max.saturating_sub(head.len() + facts.len());
    let held = held(state, scene, links, rest / 2);
    let refused = refused(state, scene, links, rest.saturating_sub(held.len()));
    format!("{head}{facts}{held}{refused}</section>\n")
}

fn facts(state: &LabState, now_s: u64) -> String {
    let when = |at: &Option<String>| {
        let at_s = at.as_deref().and_then(clock::parse_rfc3339)?;
        Some(When::of(Some(at_s), now_s))
    };
    let waiting = match state.waiting.episodes {
        0 => "nothing".to_owned(),
        episodes => {
            let oldest = when(&state.waiting.oldest_at);
            let oldest = oldest.map_or(String::new(), |oldest| {
                format!(", the oldest finished {}", oldest.span())
            });
            let bytes = human::bytes(state.waiting.bytes);
            format!("{}, {bytes}{oldest}", counted(episodes, "episode"))
        }
    };
    let next_try = when(&state.next_try_at).map(|next_try| match next_try.past() {
        Some(_) => next_try.span(),
        None => next_try.around(&format!("in {}", human::span(next_try.ahead()))),
    });
    let facts = [
        ("waiting", Some(waiting)),
        ("next try", next_try),
        (
            "last accepted",
            when(&state.last_success_at).map(When::span),
        ),
        ("free on its disk", state.free_bytes.map(human::bytes)),
        (
            "packing",
            when(&state.packing_stopped_since)
                .map(|since| format!("stopped for want of room, {}", since.span())),
        ),
    ];
    let row =
        |(name, value): (&str, Option<String>)| Some(format!("<tr><th>{name}<td>{}\n", value?));
    let rows: String = facts.into_iter().filter_map(row).collect();
    format!("<table class=q><tbody>{rows}</table>\n")
}

fn held(state: &LabState, scene: &Scene, links: Links, bytes_max: usize) -> String {
    let row = |held: &HeldCommit| {
        let HeldCommit {
            commit,
            episodes,
            since,
        } = held;
        let since = When::of_text(since, scene.now_s);
        format!(
            "<tr>{}<td>{}<td>{}\n",
            since.cell(),
            links.commit(Some(commit)),
            counted(*episodes, "episode"),
        )
    };
    let episodes = counted(state.held_episodes(), "episode");
    let head = format!(
        "<h2>Held: {episodes}, whose commit the version gate refuses</h2>\n<table class=q><thead><tr><th>since<th>commit<th>episodes<tbody>\n"
    );
    list(
        &head,
        state.held.iter().map(row),
        state.held_commits(),
        bytes_max,
    )
}

fn refused(state: &LabState, scene: &Scene, links: Links, bytes_max: usize) -> String {
    let row = |refused: &RefusedName| {
        let RefusedName {
            episode,
            reason,
            at,
        } = refused;
        let at = When::of_text(at.as_deref().unwrap_or_default(), scene.now_s);
        let reason = reason.as_deref();
        let reason = reason.map_or("unknown reason".to_owned(), |reason| links.reason(reason));
        format!(
            "<tr>{}<td>{}<td>{reason}\n",
            at.cell(),
            escape(episode, 128)
        )
    };
    let episodes = counted(state.refused_episodes(), "episode");
    let head = format!(
        "<h2>In refused/ on the lab host: {episodes}</h2>\n<table class=q><thead><tr><th>when<th>episode<th>reason<tbody>\n"
    );
    list(
        &head,
        state.refused.iter().map(row),
        state.refused_episodes(),
        bytes_max,
    )
}

/// A table of as many rows as fit, and how many of `count` are not in it. Nothing if there are none.
fn list(head: &str, rows: impl Iterator<Item = String>, count: u64, bytes_max: usize) -> String {
    const AFTER_BYTES_MAX: usize = 100;
    if count == 0 {
        return String::new();
    }
    let mut list = head.to_owned();
    let mut shown = 0;
    for row in rows {
        if list.len() + row.len() + AFTER_BYTES_MAX > bytes_max {
            break;
        }
        list += &row;
        shown += 1;
    }
    list += "</table>\n";
    match count.saturating_sub(shown) {
        0 => list,
        more => list + &format!("<p class=m>And {} more.\n", human::count(more)),
    }
}

fn foot(scene: &Scene, links: Links) -> String {
    let now = When::of(Some(scene.now_s), scene.now_s);
    format!(
        "</main><footer>As of {} by the receiver's clock. Refreshes every {RENEW_S} s. <a href={}>All hosts</a></footer></body></html>\n",
        now.around(&absolute(scene.now_s)),
        links.root(),
    )
}
