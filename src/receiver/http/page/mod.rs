//! The pages for people: `GET /`, on which a maintainer sees whether the data set grows, which host needs help,
//! and what to do; `/hosts/{host}`, with all that is known of one host; and `/help/{reason}`, which explains a
//! refusal. They have no script and load nothing from elsewhere. The first two refresh themselves.
//!
//! 1. They are made only on request. The page at `/` is kept for a second, and so is what it shows: the pages of
//!    hosts are made of that, so that many requests for them cost little more than one.
//! 2. Text that a peer has sent is escaped, and cut to a length.
//! 3. Each has at most [`BYTES_MAX`], however many hosts there are: the table of hosts gets the room
//!    that the parts before it leave, shows hosts with problems first, and says how many it left out. What follows
//!    it gets the rest.

mod chart;
mod frame;
mod help;
mod host;
mod hosts;
mod html;
mod links;
mod newest;
mod running;
mod tiles;
mod todo;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use sha2::{Digest, Sha256};

use self::hosts::Place;
use self::html::escape;
use self::links::Links;
use super::Shared;
use super::running::RunningUpload;
use crate::clock;
use crate::names::{CommitHash, HostId};
use crate::receiver::archive::{self, ArchiveReport};
use crate::receiver::base64::base64;
use crate::receiver::findings::Finding;
use crate::receiver::lab_states::Reports;
use crate::receiver::refused_upload::RefusedUpload;
use crate::receiver::stats::{HostStats, StatsTables};
use crate::receiver::store::Space;
use crate::receiver::store::condition::Unwritable;
use crate::receiver::survey::reason_now;
use crate::receiver::version_gate::{Kept as Beyond, Window};
use crate::refusal_table::Kind;
use crate::wire::{Failing, Source};

pub(super) const BYTES_MAX: usize = 30_000;
/// What the table of hosts leaves to the lists behind it, and the most that each of these gets. The links of the
/// newest ten uploads are within it.
const LISTS_BYTES_MIN: usize = 2_000;
const REFUSALS_BYTES_MAX: usize = 5_000;
const UPLOADS_BYTES_MAX: usize = 6_500;

/// How often the browser refreshes the page.
const RENEW_S: u32 = 20;
const HOUR_S: u64 = 3600;

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

/// What was looked up a moment ago.
#[derive(Default)]
pub(super) struct KeptScene(ArcSwapOption<(Instant, Arc<Scene>)>);

impl KeptScene {
    fn fresh(&self) -> Option<Arc<Scene>> {
        let kept = self.0.load();
        let (made, scene) = &**kept.as_ref()?;
        (made.elapsed() < Kept::FRESH).then(|| Arc::clone(scene))
    }

    fn keep(&self, scene: Scene) -> Arc<Scene> {
        let scene = Arc::new(scene);
        let kept = (Instant::now(), Arc::clone(&scene));
        self.0.store(Some(Arc::new(kept)));
        scene
    }
}

/// What the pages are about, at one moment.
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
    /// The uploads whose bodies come here now.
    pub running: Vec<RunningUpload>,
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
    /// What stands before the hash in the URL of a commit, if there is such a URL.
    pub commits: Option<String>,
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

/// The page at `/` as it is now.
pub(super) fn html(shared: &Shared) -> String {
    page(&shared.scene.keep(look(shared)))
}

/// The page of one host; `None` if nothing is known of it.
pub(super) fn of_host(shared: &Shared, name: &HostId) -> Option<String> {
    let kept = shared.scene.fresh();
    if let Some(page) = kept.as_ref().and_then(|scene| host::page(scene, name)) {
        return Some(page);
    }
    // It may have come since. A name of which nothing has come costs no look.
    if kept.is_some() && !is_known(shared, name) {
        return None;
    }
    host::page(&shared.scene.keep(look(shared)), name)
}

fn is_known(shared: &Shared, name: &HostId) -> bool {
    let on_the_way = shared.uploads.on_the_way.look();
    shared.stats.knows(name)
        || shared.lab_reports.states.knows(name)
        || on_the_way.iter().any(|one| one.slot.host == *name)
}

/// The explanation of a refusal. `remediation` is what is to be pasted on a lab host that is out of date.
pub(super) fn help(kind: Kind, remediation: &str) -> String {
    help::page(kind, remediation)
}

/// For plain threads: it waits for the figures' lock, and looks at the disk.
fn look(shared: &Shared) -> Scene {
    let gate = &shared.gate;
    let window = gate.window();
    let config = shared.config.load();
    let books = shared.stats.look();
    let all = archive::Totals {
        episodes: books.all.episodes,
        bytes: books.all.bytes,
    };
    let archive = shared.archive.as_ref();
    Scene {
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
        running: shared.uploads.on_the_way.look(),
        kept: shared.uploads.kept.count() as u64,
        draining: shared.draining.load(Ordering::Acquire),
        up: shared.began_here.elapsed(),
        data_dir: shared.store.data_dir().display().to_string(),
        is_open: shared.access.is_open(),
        has_readers: shared.readers.are_any(),
        silent_after: Duration::from_secs(config.silent_after_hours * HOUR_S),
        commits: links::commits_url(config.listen, &config.version_gate),
    }
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
    let unknown_hosts = unknown_hosts(scene);
    let hosts = hosts::all(scene, &unknown_hosts);
    let todos = todo::all(scene, &hosts);
    let links = Links::of_front(scene.commits.as_deref());
    let before = head(&todos)
        + &todo::section(&todos)
        + &tiles::section(scene, links)
        + &tiles::archive(scene)
        + &running::section(scene, links)
        + &chart::section(scene);
    let foot = foot(scene);
    let mut room = BYTES_MAX.saturating_sub(before.len() + foot.len());
    let table = hosts::table(scene, &hosts, links, room.saturating_sub(LISTS_BYTES_MIN));
    room = room.saturating_sub(table.len());
    let bytes_max = REFUSALS_BYTES_MAX.min(room / 4 * 3);
    let refusals = newest::refusals(scene, links, bytes_max);
    room = room.saturating_sub(refusals.len());
    let uploads = newest::uploads(scene, links, UPLOADS_BYTES_MAX.min(room));
    before + &table + &uploads + &refusals + &foot
}

/// Names without an upload, in the form of hosts: those that were refused, and those of which nothing but a
/// report or a part of an upload has come.
fn unknown_hosts(scene: &Scene) -> Vec<(String, HostStats)> {
    let books = &scene.books;
    let named = books.unknown_hosts.iter().filter_map(|unknown| {
        let name = unknown.refused.host.as_ref()?.to_string();
        Some((name, HostStats::of_unknown_host(Some(unknown.clone()))))
    });
    let mut all: Vec<(String, HostStats)> = named.collect();
    let running = scene.running.iter().map(|running| &running.slot.host);
    for name in scene.reports.keys().chain(running) {
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
    let colour = todo::state(todos).colour();
    let headline = todo::headline(count(hosts::State::Bad), count(hosts::State::Warn));
    frame::begin(&headline, colour, "", frame::IS_RENEWED)
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
