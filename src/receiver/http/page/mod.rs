//! `GET /`: one page on which a maintainer sees whether the data set grows, which host needs help,
//! and what to do. It has no script, loads nothing from elsewhere, and refreshes itself.
//!
//! 1. It is made only on request, and kept for a second: each clerk makes at most one in an instant.
//! 2. Text that a peer has sent is escaped, and cut to a length.
//! 3. It has at most [`BYTES_MAX`], however many hosts there are: the table of hosts gets the room
//!    that the other parts leave, shows hosts with problems first, and says how many it left out.

mod chart;
mod hosts;
mod html;
mod newest;
mod todo;

#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use sha2::{Digest, Sha256};

use self::hosts::Place;
use self::html::{Ago, commit, counted, escape};
use super::Shared;
use crate::clock;
use crate::human;
use crate::names::CommitHash;
use crate::receiver::archive::{self, ArchiveReport};
use crate::receiver::base64::base64;
use crate::receiver::findings::Finding;
use crate::receiver::lab_states::Reports;
use crate::receiver::refused_upload::RefusedUpload;
use crate::receiver::stats::{HostStats, StatsTables, Totals};
use crate::receiver::store::Space;
use crate::receiver::store::condition::Unwritable;
use crate::receiver::survey::reason_now;
use crate::receiver::version_gate::{Kept as Beyond, Window, failing_words};
use crate::wire::{Failing, Source};

pub(super) const BYTES_MAX: usize = 30_000;

/// How often the browser refreshes the page.
const RENEW_S: u32 = 20;
const HOUR_S: u64 = 3600;
const ARCHIVE_CHARS_MAX: usize = 500;

const CSS: &str = include_str!("page.css");

/// A text that was made a moment ago.
#[derive(Default)]
pub(super) struct Kept(ArcSwapOption<(Instant, String)>);

impl Kept {
    const FRESH: Duration = Duration::from_secs(1);

    /// The text, unless it is too old. No lock, so a coroutine may ask.
    pub(super) fn fresh(&self) -> Option<Vec<u8>> {
        let kept = self.0.load();
        let (made, text) = &**kept.as_ref()?;
        (made.elapsed() < Self::FRESH).then(|| text.clone().into_bytes())
    }

    pub(super) fn keep(&self, text: String) -> Vec<u8> {
        let bytes = text.clone().into_bytes();
        self.0.store(Some(Arc::new((Instant::now(), text))));
        bytes
    }
}

/// What the page is about, at one moment.
pub(super) struct Scene {
    pub now_s: u64,
    pub gate: GateScene,
    pub space: Option<Space>,
    /// Why the store cannot be written.
    pub unwritable: Option<Arc<Unwritable>>,
    /// What a person should know or do, errors first.
    pub findings: Vec<Finding>,
    pub books: StatsTables,
    /// `None` without `[archive]`.
    pub archive: Option<ArchiveReport>,
    /// The hosts' own reports on their queues.
    pub reports: Reports,
    pub connections: u32,
    pub uploads: u32,
    /// Broken uploads that their senders may go on with.
    pub kept: u64,
    pub draining: bool,
    pub up: Duration,
    pub data_dir: String,
    /// Whether anyone who can reach the port may upload.
    pub is_open: bool,
    /// Whether anybody may list and fetch.
    pub has_readers: bool,
    /// How long a host may be silent before the page says so.
    pub silent_after: Duration,
}

pub(super) struct GateScene {
    pub enabled: bool,
    /// The configured window.
    pub size: u32,
    pub window: Option<Arc<Window>>,
    pub source: Option<Source>,
    pub age: Option<Duration>,
    /// Why the source that decides does not report the newest commits.
    pub failing: Option<Failing>,
    /// What is known of commits that are not in the window.
    pub beyond: Arc<Beyond>,
    pub remediation: String,
}

impl GateScene {
    pub(super) fn place(&self, commit: &CommitHash) -> Place {
        match &self.window {
            None => Place::Unknown,
            Some(window) => window.position(commit).map_or(Place::Outside, Place::At),
        }
    }

    /// See [`reason_now`].
    pub(super) fn reason_now<'a>(&self, refused: &'a RefusedUpload) -> Option<&'a str> {
        let place = |commit: &CommitHash| self.place(commit);
        let is_failing = self.failing.is_some();
        reason_now(refused, self.enabled, is_failing, place, Some(&self.beyond))
    }
}

/// The page as it is now.
pub(super) fn html(shared: &Shared) -> String {
    let gate = &shared.gate;
    let window = gate.window();
    let books = shared.stats.look();
    let all = archive::Totals {
        episodes: books.all.episodes,
        bytes: books.all.bytes,
    };
    let archive = shared.archive.as_ref();
    page(&Scene {
        archive: archive.map(|archive| archive.report(all)),
        now_s: clock::unix_seconds(SystemTime::now()),
        gate: GateScene {
            enabled: gate.enabled(),
            size: gate.configured_window(),
            source: window.as_ref().map(|window| window.source()),
            window,
            age: gate.age(),
            failing: gate.failing(),
            beyond: gate.beyond(),
            remediation: gate.facts().remediation,
        },
        space: shared.space.load().as_deref().copied(),
        unwritable: shared.store.unwell(),
        findings: shared.findings(),
        books,
        reports: shared.lab_reports.states.look(),
        connections: shared.guard.connections(),
        uploads: shared.uploads.running(),
        kept: shared.uploads.kept.count() as u64,
        draining: shared.draining.load(Ordering::Acquire),
        up: shared.began_here.elapsed(),
        data_dir: shared.store.data_dir().display().to_string(),
        is_open: shared.access.is_open(),
        has_readers: shared.readers.are_any(),
        silent_after: Duration::from_secs(shared.config.load().silent_after_hours * HOUR_S),
    })
}

/// No script runs and nothing is loaded; the only style is ours, known by its hash.
pub(super) fn content_security_policy() -> &'static str {
    static LINE: LazyLock<String> = LazyLock::new(|| {
        let hash = base64(&Sha256::digest(CSS));
        format!(
            "Content-Security-Policy: default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    });
    &LINE
}

fn page(scene: &Scene) -> String {
    let unknown_hosts = unknown_hosts(&scene.books, &scene.reports);
    let hosts = hosts::all(scene, &unknown_hosts);
    let todos = todo::all(scene, &hosts);
    let before = head(&todos)
        + &todo::section(&todos)
        + &tiles(scene)
        + &archive_line(scene)
        + &chart::section(scene);
    let after = newest::uploads(scene) + &newest::refusals(scene) + &foot(scene);
    let room = BYTES_MAX.saturating_sub(before.len() + after.len());
    before + &hosts::table(scene, &hosts, room) + &after
}

/// Names without an upload, in the form of hosts: those that were refused, and those of which nothing but a
/// report has come.
fn unknown_hosts(books: &StatsTables, reports: &Reports) -> Vec<(String, HostStats)> {
    let named = books.unknown_hosts.iter().filter_map(|unknown| {
        let name = unknown.refused.host.as_ref()?.to_string();
        Some((name, HostStats::of_unknown_host(Some(unknown.clone()))))
    });
    let mut all: Vec<(String, HostStats)> = named.collect();
    for name in reports.keys() {
        let is_known =
            books.hosts.contains_key(name) || all.iter().any(|(one, _)| one == name.as_str());
        if !is_known {
            all.push((name.to_string(), HostStats::default()));
        }
    }
    all
}

fn head(todos: &[todo::Todo]) -> String {
    let count = |state| todos.iter().filter(|todo| todo.state == state).count();
    let state = todo::state(todos);
    let colour = match state {
        hosts::State::Bad => "crimson",
        hosts::State::Warn => "orange",
        _ => "seagreen",
    };
    format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>cis490: {}</title>\n\
         <meta name=viewport content=\"width=device-width,initial-scale=1\"><meta name=color-scheme content=\"light dark\">\n\
         <meta http-equiv=refresh content={RENEW_S}><meta name=robots content=noindex>\n\
         <link rel=icon href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'%3E%3Ccircle cx='4.5' cy='4.5' r='4' fill='{colour}'/%3E%3C/svg%3E\">\n\
         <style>{CSS}</style></head><body>\n<header>cis490 receiver</header><main>\n",
        todo::headline(count(hosts::State::Bad), count(hosts::State::Warn)),
    )
}

fn tiles(scene: &Scene) -> String {
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
        format!("latest upload {}", Ago::of(at_s, scene.now_s))
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
        Some(window) => (commit(Some(&window.head())), window.commits().len()),
    };
    let source = match (gate.source, gate.age) {
        (Some(source), Some(age)) => {
            format!("latest commit (from {source}, checked {})", Ago::Past(age))
        }
        _ => "no source has answered yet".to_owned(),
    };
    let window = format!(
        "accepting the newest {}, {known} known",
        counted(gate.size.into(), "commit")
    );
    let window = if gate.enabled {
        how_it_fails(gate).unwrap_or(window)
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
        format!("up {}", human::span(scene.up)),
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

/// How many episodes are in the bucket too.
fn archive_line(scene: &Scene) -> String {
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

/// The source's trouble as it is now. It is a finding only once it lasts.
fn how_it_fails(gate: &GateScene) -> Option<String> {
    let how = failing_words(gate.failing.as_ref()?);
    Some(match gate.source {
        Some(Source::GitFallback) => format!(
            "The version gate uses its fallback: Forgejo {how}, so the local repository is used"
        ),
        _ => format!("its source {how}"),
    })
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

fn foot(scene: &Scene) -> String {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(scene.now_s);
    let now = clock::rfc3339(now).replace('T', " ").replace('Z', " UTC");
    let open = if scene.is_open {
        " No [[host]] is configured: anyone who can reach the port may upload, under any name."
    } else {
        ""
    };
    format!(
        "</main><footer>As of <time>{now}</time> by this machine's clock; days begin at 0:00 UTC. Refreshes every {RENEW_S} s.{open} Episodes are stored in <code>{}</code>. \
         <a href=/metrics>/metrics</a> <a href=/v1/gate>/v1/gate</a> <a href=/v1/health>/v1/health</a></footer></body></html>\n",
        escape(&scene.data_dir, 200)
    )
}
