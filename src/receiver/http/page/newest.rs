//! The newest uploads and the newest refusals, each within its share of the page.

use super::Scene;
use super::hosts::Place;
use super::html::{Ago, commit, escape};
use crate::clock;
use crate::human;
use crate::wire::TARBALL_ENDING;

/// The links of the newest twenty are within it.
const UPLOADS_BYTES_MAX: usize = 6500;
const REFUSALS_BYTES_MAX: usize = 5000;

/// Each with a link to its receipt, and one to its bytes if there are readers: the route itself gives them
/// to readers alone.
pub(super) fn uploads(scene: &Scene) -> String {
    let rows = scene.books.uploads.iter().rev().map(|row| {
        let at_s = row.received_at.as_deref().and_then(clock::parse_rfc3339);
        // Without the first `/`: a proxy may have the page below a path of its own.
        let path = row.slot().path();
        let path = path.trim_start_matches('/');
        let size = row.bytes.map_or("?".to_owned(), human::bytes);
        let size = if scene.has_readers {
            format!("<a href={path}{TARBALL_ENDING}>{size}</a>")
        } else {
            size
        };
        format!(
            "<tr><td>{}<th>{}<td><a href={path}>{}</a><td>{size}<td>{}\n",
            Ago::of(at_s, scene.now_s),
            row.host,
            row.episode,
            commit(row.commit.as_ref()),
        )
    });
    let head = "<section><h2>Newest uploads</h2>\n<table class=n><thead><tr><th>when<th>host<th>episode<th>size<th>commit<tbody>\n";
    section(
        head,
        rows,
        "No episode has been stored yet.",
        UPLOADS_BYTES_MAX,
    )
}

pub(super) fn refusals(scene: &Scene) -> String {
    let rows = scene.books.refusals.iter().rev().map(|refused| {
        let who = match &refused.host {
            Some(host) => host.to_string(),
            None => refused.peer.to_string(),
        };
        let what = match (&refused.episode, &refused.path) {
            (Some(episode), _) => episode.to_string(),
            (None, path) => escape(path.as_deref().unwrap_or("?"), 60),
        };
        let place = match refused.commit.map(|commit| scene.gate.place(&commit)) {
            Some(Place::At(_)) => ", accepted now",
            _ => "",
        };
        format!(
            "<tr><td>{}<th>{who}<td>{what}<td>{} {}<td>{}{place}<td>{}\n",
            Ago::of(clock::parse_rfc3339(&refused.at), scene.now_s),
            refused.status,
            escape(&refused.reason, 30),
            commit(refused.commit.as_ref()),
            escape(&refused.why, 110),
        )
    });
    let head = "<section><h2>Newest refusals</h2>\n<table class=r><thead><tr><th>when<th>host<th>episode<th>answer<th>commit<th>reason<tbody>\n";
    section(head, rows, "Nothing has been refused.", REFUSALS_BYTES_MAX)
}

fn section(head: &str, rows: impl Iterator<Item = String>, none: &str, bytes_max: usize) -> String {
    let mut section = head.to_owned();
    let empty = section.len();
    for row in rows {
        if section.len() + row.len() > bytes_max {
            break;
        }
        section += &row;
    }
    if section.len() == empty {
        let title = head.split("<table").next().unwrap_or_default();
        return format!("{title}<p class=m>{none}</section>\n");
    }
    section + "</table></section>\n"
}
