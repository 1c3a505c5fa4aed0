//! The tiles below the problems: whether the data set grows, the gate, the disk, the receiver itself.

use std::fmt::Write;

use super::html::{When, counted, escape};
use super::links::Links;
use super::{GateScene, HOUR_S, Scene, hosts};
use crate::clock;
use crate::human;
use crate::receiver::findings::Finding;
use crate::receiver::stats::Totals;
use crate::receiver::version_gate::failing_words;
use crate::wire::Source;

pub(super) fn section(scene: &Scene, links: Links) -> String {
    let mut tiles = String::from("<section class=t>\n");
    // Writing to a String cannot fail.
    let mut tile = |name: &str, value: String, lines: [String; 2]| {
        let [first, second] = lines;
        let class = class_of_tile(name, &scene.findings);
        let _ = writeln!(
            tiles,
            "<div{class}><h2>{name}</h2><b>{value}</b><p>{first}<p>{second}</div>"
        );
    };
    let books = &scene.books;
    let today_hours = scene.now_s / HOUR_S % 24;
    let now_hour = scene.now_s / HOUR_S;
    let today: Totals = (now_hour - today_hours.min(now_hour)..=now_hour)
        .map(|hour| books.hour(hour))
        .sum();
    let newest = books.uploads.back().map(|row| {
        let at_s = row.received_at.as_deref().and_then(clock::parse_rfc3339);
        format!("latest upload {}", When::of(at_s, scene.now_s).span())
    });
    tile(
        "Episodes",
        human::count(books.all.episodes),
        [
            format!(
                "{}; {} today ({})",
                human::bytes(books.all.bytes),
                human::count(today.episodes),
                human::bytes(today.bytes)
            ),
            newest.unwrap_or("no upload yet".to_owned()),
        ],
    );
    let gate = &scene.gate;
    let (head, known) = match &gate.window {
        None => ("unknown".to_owned(), 0),
        Some(window) => (links.commit(Some(&window.head())), window.commits().len()),
    };
    let source = match (gate.source, gate.age) {
        (Some(source), Some(age)) => {
            let checked = before(scene.now_s, age.as_secs()).span();
            format!("latest commit (from {source}, checked {checked})")
        }
        _ => "no source has answered yet".to_owned(),
    };
    let window = format!(
        "accepting the newest {}, {known} known",
        counted(gate.size.into(), "commit")
    );
    let window = if gate.enabled {
        how_it_fails(gate, scene.now_s).unwrap_or(window)
    } else {
        "The version gate is switched off: every commit is accepted".to_owned()
    };
    tile("Version gate", head, [source, window]);
    tile_of_disk(&mut tile, scene);
    let uploads = if scene.draining {
        "stopping, accepts no new uploads"
    } else if scene.unwritable.is_some() {
        "accepts no uploads: see above"
    } else {
        "accepts uploads"
    };
    let kept = match scene.kept {
        0 => String::new(),
        kept => format!(", {kept} broken kept to be resumed"),
    };
    tile(
        "Receiver",
        before(scene.now_s, scene.up.as_secs()).around(&format!("up {}", human::span(scene.up))),
        [
            format!("version {}, {uploads}", env!("CARGO_PKG_VERSION")),
            format!(
                "{} running{kept}, {}",
                counted(scene.uploads.into(), "upload"),
                counted(scene.connections.into(), "connection")
            ),
        ],
    );
    tiles + "</section>\n"
}

const ARCHIVE_CHARS_MAX: usize = 500;

/// How many episodes are in the bucket too, in a line below the tiles.
pub(super) fn archive(scene: &Scene) -> String {
    let archive = scene.archive.as_ref();
    archive.map_or(String::new(), |archive| {
        let sentence = archive.sentence(scene.books.all.episodes);
        let sentence = escape(&sentence, ARCHIVE_CHARS_MAX);
        format!("<p class=m>Archive: {sentence}.\n")
    })
}

/// The colour of the worst finding that a tile is about.
fn class_of_tile(name: &str, findings: &[Finding]) -> String {
    let subjects: &[&str] = match name {
        "Episodes" => &["store", "archive"],
        "Version gate" => &["gate"],
        "Disk" => &["disk"],
        _ => &["receiver"],
    };
    let is_its = |finding: &&Finding| {
        subjects.contains(&finding.subject.as_str())
            || (name == "Episodes" && finding.subject.starts_with("episode/"))
    };
    let worst = findings
        .iter()
        .filter(is_its)
        .map(|finding| finding.severity)
        .min();
    worst.map_or(String::new(), |worst| {
        format!(" class={}", hosts::State::of(worst).class())
    })
}

/// The time so many seconds ago.
fn before(now_s: u64, seconds: u64) -> When {
    When::of(now_s.checked_sub(seconds), now_s)
}

/// The source's trouble as it is now. It is a finding only once it lasts.
fn how_it_fails(gate: &GateScene, now_s: u64) -> Option<String> {
    let failing = gate.failing.as_ref()?;
    let how = failing_words(failing);
    let words = match gate.source {
        Some(Source::GitFallback) => format!(
            "The version gate uses its fallback: Forgejo {how}, so the local repository is used"
        ),
        _ => format!("its source {how}"),
    };
    Some(before(now_s, failing.seconds).around(&words))
}

fn tile_of_disk(tile: &mut dyn FnMut(&str, String, [String; 2]), scene: &Scene) {
    let Some(space) = scene.space else {
        return tile("Disk", "?".to_owned(), [String::new(), String::new()]);
    };
    let used = scene.books.all.bytes;
    let thousandth = |bytes: u64| {
        (bytes
            .saturating_mul(1000)
            .checked_div(space.total)
            .unwrap_or(0))
        .min(1000)
    };
    let taken = 1000 - thousandth(space.free);
    let ours = thousandth(used);
    let bar = format!(
        "<svg viewBox=\"0 0 1000 8\" preserveAspectRatio=none role=img aria-label=\"{} % of the disk is in use\"><rect width=1000 height=8 class=r /><rect width={taken} height=8 class=u /><rect width={} height=8 class=e /><rect x={} width=3 height=8 class=f /></svg>",
        taken / 10,
        ours.min(taken),
        1000 - thousandth(space.floor),
    );
    let reserved = match space.reserved {
        0 => String::new(),
        reserved => format!(", {} reserved", human::bytes(reserved)),
    };
    tile(
        "Disk",
        format!("{} free", human::bytes(space.free)),
        [
            format!(
                "{bar}of {}; {} of episodes",
                human::bytes(space.total),
                human::bytes(used)
            ),
            format!("limit {}{reserved}", human::bytes(space.floor)),
        ],
    );
}
