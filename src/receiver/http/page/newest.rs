//! The newest uploads and refusals, of all hosts or of one.

use super::Scene;
use super::hosts::Place;
use super::html::{When, escape};
use super::links::Links;
use crate::human;
use crate::receiver::stats::RefusalRun;
use crate::wire::Receipt;

/// The newest uploads of all hosts, in at most `bytes_max`.
pub(super) fn uploads(scene: &Scene, links: Links, bytes_max: usize) -> String {
    let rows = scene.books.uploads.iter().rev().map(|row| {
        let when = when(row, scene.now_s);
        let rest = episode(row, scene, links);
        format!(
            "<tr>{}<th>{}{rest}\n",
            when.cell(),
            links.host(row.host.as_str())
        )
    });
    let head = "<section><h2>Newest uploads</h2>\n<table class=n><thead><tr><th>when<th>host<th>episode<th>size<th>commit<tbody>\n";
    section(head, rows, "No episode has been stored yet.", bytes_max)
}

/// The newest uploads of one host.
pub(super) fn uploads_of_host<'a>(
    scene: &Scene,
    links: Links,
    newest: impl DoubleEndedIterator<Item = &'a Receipt>,
    bytes_max: usize,
) -> String {
    let rows = newest.rev().map(|row| {
        let when = when(row, scene.now_s);
        format!("<tr>{}{}\n", when.cell(), episode(row, scene, links))
    });
    let head = "<section><h2>Newest uploads</h2>\n<table class=e><thead><tr><th>when<th>episode<th>size<th>commit<tbody>\n";
    section(head, rows, "No episode has been stored yet.", bytes_max)
}

fn when(row: &Receipt, now_s: u64) -> When {
    When::of_text(row.received_at.as_deref().unwrap_or_default(), now_s)
}

/// Its name with a link to its receipt, its size with one to its bytes if there are readers, and its commit.
fn episode(row: &Receipt, scene: &Scene, links: Links) -> String {
    let size = row.bytes.map_or("?".to_owned(), human::bytes);
    let size = if scene.has_readers {
        links.bytes(row, &size)
    } else {
        size
    };
    let commit = links.commit(row.commit.as_ref());
    format!("<td>{}<td>{size}<td>{commit}", links.receipt(row))
}

/// The refusals of all hosts, in at most `bytes_max`: those of one host and reason in one line.
pub(super) fn refusals(scene: &Scene, links: Links, bytes_max: usize) -> String {
    let rows = scene.books.runs().into_iter().map(|run| {
        let who = match &run.newest.host {
            Some(host) => links.host(host.as_str()),
            None => run.newest.peer.to_string(),
        };
        let when = When::of_text(&run.newest.at, scene.now_s);
        format!(
            "<tr>{}<th>{who}{}\n",
            when.cell(),
            refusal(run, scene, links)
        )
    });
    let head = "<section><h2>Newest refusals</h2>\n<table class=r><thead><tr><th>last<th>host<th>newest episode<th>answer<th>commit<th>reason<tbody>\n";
    section(head, rows, "Nothing has been refused.", bytes_max)
}

/// The refusals of one host.
pub(super) fn refusals_of_host<'a>(
    scene: &Scene,
    links: Links,
    runs: impl Iterator<Item = &'a RefusalRun>,
    bytes_max: usize,
) -> String {
    let rows = runs.map(|run| {
        let when = When::of_text(&run.newest.at, scene.now_s);
        format!("<tr>{}{}\n", when.cell(), refusal(run, scene, links))
    });
    let head = "<section><h2>Refusals</h2>\n<table class=f><thead><tr><th>last<th>newest episode<th>answer<th>commit<th>reason<tbody>\n";
    section(head, rows, "Nothing of it has been refused.", bytes_max)
}

fn refusal(run: &RefusalRun, scene: &Scene, links: Links) -> String {
    let refused = &run.newest;
    let what = match (&refused.episode, &refused.path) {
        (Some(episode), _) => episode.to_string(),
        (None, path) => escape(path.as_deref().unwrap_or("?"), 60),
    };
    let place = match refused.commit.map(|commit| scene.gate.place(&commit)) {
        Some(Place::At(_)) => ", accepted now",
        _ => "",
    };
    let answer = format!("{} {}", refused.status, links.reason(&refused.reason));
    let answer = match run.count {
        1 => answer,
        count => {
            let since = When::of_text(&run.since, scene.now_s).of_day();
            format!("{} × {answer} since {since}", human::count(count))
        }
    };
    format!(
        "<td>{what}<td>{answer}<td>{}{place}<td>{}",
        links.commit(refused.commit.as_ref()),
        escape(&refused.why, 110),
    )
}

/// `none` says that there are none.
fn section(head: &str, rows: impl Iterator<Item = String>, none: &str, bytes_max: usize) -> String {
    let mut section = head.to_owned();
    let empty = section.len();
    let mut is_cut = false;
    for row in rows {
        if section.len() + row.len() > bytes_max {
            is_cut = true;
            break;
        }
        section += &row;
    }
    if section.len() == empty {
        let title = head.split("<table").next().unwrap_or_default();
        let words = if is_cut {
            "Not shown, to keep the page small."
        } else {
            none
        };
        return format!("{title}<p class=m>{words}</section>\n");
    }
    section + "</table></section>\n"
}
