//! `GET /metrics`: the Prometheus text format (version 0.0.4).
//!
//! 1. Labels are bounded: hosts by the figures' own bound, reasons and sources by their lists. Hosts
//!    beyond the bound share `host="_other"`, a name that no host can have.
//! 2. Counters begin at 0 with the process; figures from the index are gauges, and true across
//!    restarts.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::Shared;
use super::kept_uploads::KeptUploads;
use crate::durable::SYNC_TIMES;
use crate::histogram::Reading;
use crate::receiver::archive::{Archive, Place, Totals};
use crate::receiver::findings::{Finding, Kind, Severity};
use crate::receiver::lab_states::{Reported, Reports};
use crate::receiver::stats::{HostStats, StatsTables};
use crate::receiver::store::sequence::IndexFault;
use crate::receiver::version_gate::Look;
use crate::wire::Source;
use crate::{clock, receiver::version_gate::VersionGate};

const OTHER: &str = "_other";

pub(super) fn text(shared: &Shared) -> String {
    let mut text = Text(String::new());
    process(&mut text, shared);
    gate(&mut text, &shared.gate);
    disk(&mut text, shared);
    findings(&mut text, shared);
    traffic(&mut text, shared);
    if let Some(archive) = &shared.archive {
        self::archive(&mut text, archive, &shared.stats.look());
    }
    hosts(&mut text, &shared.stats.look(), &shared.gate);
    queues(&mut text, &shared.lab_reports.states.look());
    text.0
}

fn process(text: &mut Text, shared: &Shared) {
    text.family(
        "cis490_build_info",
        "gauge",
        "The version of the running program; always 1.",
    );
    let version = env!("CARGO_PKG_VERSION");
    text.sample("cis490_build_info", &format!("version={version:?}"), 1);
    text.gauge(
        "process_start_time_seconds",
        "When the process began, in seconds since 1970, by its own clock.",
        clock::unix_seconds(shared.began),
    );
}

fn gate(text: &mut Text, gate: &VersionGate) {
    text.gauge(
        "cis490_gate_enabled",
        "Whether the version gate refuses uploads (1), or only logs what it would refuse (0).",
        u8::from(gate.enabled()),
    );
    let window = gate.window();
    text.gauge(
        "cis490_gate_window_size_commits",
        "How many of the newest commits are accepted, as configured.",
        gate.configured_window(),
    );
    text.gauge(
        "cis490_gate_window_known_commits",
        "How many of them are known; 0 until a source has reported them, and every upload is then answered 503.",
        window.as_ref().map_or(0, |window| window.commits().len()),
    );
    if let Some(age) = gate.age() {
        text.gauge(
            "cis490_gate_window_age_seconds",
            "Seconds since a source last confirmed the window.",
            age.as_secs_f64(),
        );
    }
    let failing = gate.failing();
    text.gauge(
        "cis490_gate_source_failing_seconds",
        "For how long the deciding source (Forgejo, or git without one) has not reported the newest commits; 0 while it reports them.",
        failing.as_ref().map_or(0, |failing| failing.seconds.max(1)),
    );
    if let Some(failing) = failing {
        let name = "cis490_gate_source_failing_kind";
        text.family(name, "gauge", "How it fails, while it does: always 1.");
        text.sample(name, &format!("kind={:?}", failing.kind), 1);
    }
    text.family(
        "cis490_gate_source",
        "gauge",
        "The source of the window: 1 for that source, 0 for the others.",
    );
    for source in [
        Source::Forgejo,
        Source::Git,
        Source::GitFallback,
        Source::Disk,
    ] {
        let is_it = window
            .as_ref()
            .is_some_and(|window| window.source() == source);
        let label = format!("source=\"{source}\"");
        text.sample("cis490_gate_source", &label, u8::from(is_it));
    }
}

fn disk(text: &mut Text, shared: &Shared) {
    text.gauge(
        "cis490_store_writable",
        "Whether the store can be written (1); while it cannot (0), uploads are answered 503 or 500.",
        u8::from(shared.store.unwell().is_none()),
    );
    text.family(
        "cis490_index_findings",
        "gauge",
        "Whether rows of the index were lost (1) and cis490 backfill has not brought them back yet.",
    );
    for kind in [IndexFault::IndexMissing, IndexFault::IndexShort] {
        let is_it = shared
            .store
            .finding()
            .is_some_and(|found| found.kind == kind);
        let label = format!("kind=\"{}\"", kind.name());
        text.sample("cis490_index_findings", &label, u8::from(is_it));
    }
    let Some(space) = shared.space.load_full() else {
        return;
    };
    for (name, help, bytes) in [
        (
            "cis490_disk_size_bytes",
            "Size of the filesystem of data_dir.",
            space.total,
        ),
        ("cis490_disk_free_bytes", "Free bytes there.", space.free),
        (
            "cis490_disk_floor_bytes",
            "min_free_bytes: with less free, uploads are answered 507.",
            space.floor,
        ),
        (
            "cis490_disk_reserved_bytes",
            "Bytes reserved for uploads in progress.",
            space.reserved,
        ),
    ] {
        text.gauge(name, help, bytes);
    }
}

/// How many findings of each kind there are. Every kind has a sample, so that an alert on it has a series.
fn findings(text: &mut Text, shared: &Shared) {
    let name = "cis490_finding";
    text.family(
        name,
        "gauge",
        "How many things of this kind a person should know or do; cis490 status says which.",
    );
    let found = shared.findings();
    for kind in Kind::ALL {
        for severity in [Severity::Error, Severity::Warning] {
            let is_its = |one: &&Finding| one.is(*kind) && one.severity == severity;
            let count = found.iter().filter(is_its).count();
            if count > 0 || severity == kind.severity() {
                let labels = format!("kind=\"{}\",severity=\"{}\"", kind.name(), severity.name());
                text.sample(name, &labels, count);
            }
        }
    }
}

fn traffic(text: &mut Text, shared: &Shared) {
    text.gauge(
        "cis490_connections",
        "Open connections.",
        shared.guard.connections(),
    );
    text.gauge(
        "cis490_uploads_in_progress",
        "Uploads whose body is being received.",
        shared.uploads.running(),
    );
    kept_uploads(text, &shared.uploads.kept);
    downloads(text, shared);
    text.gauge(
        "cis490_draining",
        "Whether the receiver is stopping and accepts no more uploads.",
        u8::from(shared.draining.load(Ordering::Acquire)),
    );
    text.family(
        "cis490_refusals_total",
        "counter",
        "Refused requests by reason; kind is upload for a PUT or PATCH, otherwise other.",
    );
    for (reason, uploads, requests) in shared.counters.refusals() {
        for (kind, count) in [("upload", uploads), ("other", requests)] {
            let labels = format!("reason=\"{reason}\",kind=\"{kind}\"");
            text.sample("cis490_refusals_total", &labels, count);
        }
    }
    text.counter(
        "cis490_refusals_dropped_total",
        "Refusals not recorded individually (rate-limited).",
        shared.refusals.dropped(),
    );
    text.family(
        "cis490_upload_duration_seconds",
        "histogram",
        "From the accepted head of an upload to its answer, for stored uploads.",
    );
    text.histogram(
        "cis490_upload_duration_seconds",
        "",
        &shared.counters.upload_seconds.read(),
    );
    text.family(
        "cis490_fsync_duration_seconds",
        "histogram",
        "Time of a sync: of a file (fsync), the index (fdatasync), a directory (fsync).",
    );
    for (what, times) in [
        ("what=\"file\"", &SYNC_TIMES.file),
        ("what=\"index\"", &SYNC_TIMES.data),
        ("what=\"directory\"", &SYNC_TIMES.dir),
    ] {
        text.histogram("cis490_fsync_duration_seconds", what, &times.read());
    }
}

fn kept_uploads(text: &mut Text, kept: &KeptUploads) {
    text.gauge(
        "cis490_uploads_kept",
        "Broken uploads that are kept for their senders to go on with; max_uploads is the most.",
        kept.count(),
    );
    text.gauge(
        "cis490_uploads_kept_bytes",
        "Bytes of them that are here.",
        kept.bytes_but_for(None),
    );
    text.counter(
        "cis490_uploads_resumed_total",
        "Broken uploads that went on where they had broken off.",
        kept.resumed(),
    );
    text.counter(
        "cis490_upload_bytes_saved_total",
        "Bytes of resumed uploads that were not sent again.",
        kept.bytes_saved(),
    );
    text.family(
        "cis490_uploads_given_up_total",
        "counter",
        "Broken uploads that are kept no longer; cis490 help events (upload_given_up) explains reason.",
    );
    for (reason, count) in kept.given_up() {
        let label = format!("reason=\"{reason}\"");
        text.sample("cis490_uploads_given_up_total", &label, count);
    }
}

fn downloads(text: &mut Text, shared: &Shared) {
    text.gauge(
        "cis490_downloads_in_progress",
        "Downloads of readers that are being sent; max_downloads is the most.",
        shared.downloads.running(),
    );
    text.family(
        "cis490_downloads_total",
        "counter",
        "Requests for the bytes of episodes that have ended so; cis490 help events (download_ended) explains outcome.",
    );
    for (outcome, count) in shared.downloads.outcomes() {
        let label = format!("outcome=\"{outcome}\"");
        text.sample("cis490_downloads_total", &label, count);
    }
    text.counter(
        "cis490_download_bytes_total",
        "Bytes of episodes that readers have received.",
        shared.downloads.bytes(),
    );
}

fn archive(text: &mut Text, archive: &Archive, tables: &StatsTables) {
    let figures = archive.figures();
    let of_places: Vec<_> = Place::ALL
        .iter()
        .map(|place| (place.name(), figures.of(*place)))
        .collect();
    let waiting = figures.waiting(Totals {
        episodes: tables.all.episodes,
        bytes: tables.all.bytes,
    });
    let states: Vec<_> = of_places
        .into_iter()
        .chain([("waiting", waiting)])
        .collect();
    text.family(
        "cis490_archive_episodes",
        "gauge",
        "Episodes by where they are: waiting (here alone, or not looked at since the start), copied, archived (proven), evicted (proven, in the bucket alone), lost.",
    );
    for (state, totals) in &states {
        let label = format!("state=\"{state}\"");
        text.sample("cis490_archive_episodes", &label, totals.episodes);
    }
    text.family("cis490_archive_bytes", "gauge", "Their bytes.");
    for (state, totals) in &states {
        let label = format!("state=\"{state}\"");
        text.sample("cis490_archive_bytes", &label, totals.bytes);
    }
    let now_s = clock::unix_seconds(SystemTime::now());
    let oldest = figures.oldest_waiting();
    text.gauge(
        "cis490_archive_oldest_waiting_seconds",
        "How long ago the oldest episode was received that is not in the bucket yet; 0 if none waits.",
        oldest.map_or(0, |at_s| now_s.saturating_sub(at_s)),
    );
    text.family(
        "cis490_archive_requests_total",
        "counter",
        "Requests to the store by how they ended.",
    );
    for (op, outcome, count) in archive.requests() {
        let labels = format!("op=\"{op}\",outcome=\"{outcome}\"");
        text.sample("cis490_archive_requests_total", &labels, count);
    }
    text.counter(
        "cis490_archive_mismatches_total",
        "Objects that were not what had been stored; should stay 0.",
        figures.mismatches(),
    );
    text.counter(
        "cis490_archive_evicted_total",
        "Local files that were removed to make room.",
        figures.evicted(),
    );
    text.gauge(
        "cis490_archive_clock_difference_seconds",
        "The store's clock minus this machine's, at the store's last answer.",
        archive.clock_difference_s(),
    );
}

/// One sample of each host, where it has one.
type Sample<'a> = dyn Fn(&HostStats) -> Option<u64> + 'a;

fn hosts(text: &mut Text, books: &StatsTables, gate: &VersionGate) {
    let mut hosts: Vec<(&str, &HostStats)> = books
        .hosts
        .iter()
        .map(|(host, stats)| (host.as_str(), stats))
        .collect();
    hosts.sort_unstable_by_key(|(host, _)| *host);
    hosts.push((OTHER, &books.others));
    outcomes(text, &hosts);
    let last_at = |host: &HostStats| host.last.as_ref()?.at_s;
    let refused_at = |host: &HostStats| clock::parse_rfc3339(&host.refused.as_ref()?.at);
    let position = |host: &HostStats| match gate.look(&host.last.as_ref()?.commit?) {
        Look::Admitted(position) => Some(u64::from(position)),
        Look::NotInWindow => Some(0),
        Look::NotLoaded => None,
    };
    let families: [(&str, &str, &Sample); 5] = [
        ("cis490_host_episodes", "Episodes in the index.", &|host| {
            Some(host.all.episodes)
        }),
        ("cis490_host_episode_bytes", "Their bytes.", &|host| {
            Some(host.all.bytes)
        }),
        (
            "cis490_host_last_success_timestamp_seconds",
            "When the host's last episode was stored, in seconds since 1970, by the receiver's clock.",
            &last_at,
        ),
        (
            "cis490_host_last_refusal_timestamp_seconds",
            "When an upload of the host was last refused.",
            &refused_at,
        ),
        (
            "cis490_host_commit_position",
            "Position in the window of the commit of the host's last stored episode: 1 is the latest, 0 is outside.",
            &position,
        ),
    ];
    for (name, help, sample) in families {
        text.family(name, "gauge", help);
        for (host, stats) in &hosts {
            // The sum of many hosts has no last commit of its own.
            let is_of_one = *host != OTHER || !name.ends_with("position");
            if is_of_one && let Some(value) = sample(stats) {
                text.sample(name, &format!("host=\"{host}\""), value);
            }
        }
    }
}

/// One sample of each report, where it has one.
type ReportSample = fn(&Reported) -> Option<u64>;

/// What the hosts report of their own queues.
fn queues(text: &mut Text, reports: &Reports) {
    let families: [(&str, &str, ReportSample); 8] = [
        (
            "cis490_host_report_age_seconds",
            "Since the host's last report on its own queue. After 300 s the figures below are old.",
            |reported| Some(reported.age().as_secs()),
        ),
        (
            "cis490_host_waiting_episodes",
            "Episodes on the host that wait to be sent, by its report.",
            |reported| Some(reported.state.waiting.episodes),
        ),
        (
            "cis490_host_waiting_bytes",
            "Their bytes, unpacked.",
            |reported| Some(reported.state.waiting.bytes),
        ),
        (
            "cis490_host_oldest_waiting_timestamp_seconds",
            "When the oldest of them was finished, by the host's clock.",
            |reported| clock::parse_rfc3339(reported.state.waiting.oldest_at.as_ref()?),
        ),
        (
            "cis490_host_held_episodes",
            "Episodes on the host that are kept and not sent, since the gate refuses their commit.",
            |reported| Some(reported.state.held_episodes()),
        ),
        (
            "cis490_host_refused_episodes",
            "Episodes in refused/ on the host.",
            |reported| Some(reported.state.refused_episodes()),
        ),
        (
            "cis490_host_free_bytes",
            "Free bytes on the disk of the host's queue.",
            |reported| reported.state.free_bytes,
        ),
        (
            "cis490_host_packing_stopped",
            "Whether the host packs nothing, since its disk is full (1).",
            |reported| Some(reported.state.packing_stopped_since.is_some().into()),
        ),
    ];
    for (name, help, sample) in families {
        text.family(name, "gauge", help);
        for (host, reported) in reports {
            if let Some(value) = sample(reported) {
                text.sample(name, &format!("host=\"{host}\""), value);
            }
        }
    }
}

fn outcomes(text: &mut Text, hosts: &[(&str, &HostStats)]) {
    let outcomes = |stats: &HostStats| {
        [
            ("stored", stats.stored),
            ("stored_already", stats.stored_already),
            ("refused", stats.refused_uploads),
        ]
    };
    for (name, help, is_bytes) in [
        (
            "cis490_uploads_total",
            "Uploads by host and how they ended.",
            false,
        ),
        (
            "cis490_upload_bytes_total",
            "Bytes of received bodies, by host and how the upload ended.",
            true,
        ),
    ] {
        text.family(name, "counter", help);
        for (host, stats) in hosts {
            for (outcome, totals) in outcomes(stats) {
                let labels = format!("host=\"{host}\",outcome=\"{outcome}\"");
                let value = if is_bytes {
                    totals.bytes
                } else {
                    totals.episodes
                };
                text.sample(name, &labels, value);
            }
        }
    }
}

/// The text, as it grows. Writing to a `String` cannot fail.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Label values are of safe letters by their grammars: none needs an escape.
    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    fn histogram(&mut self, name: &str, labels: &str, reading: &Reading) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bucket = format!("{name}_bucket");
        for (bound_ms, count) in &reading.buckets {
            let bound_s = Duration::from_millis(*bound_ms).as_secs_f64();
            self.sample(&bucket, &format!("{labels}{comma}le=\"{bound_s}\""), count);
        }
        self.sample(
            &bucket,
            &format!("{labels}{comma}le=\"+Inf\""),
            reading.count,
        );
        self.sample(&format!("{name}_sum"), labels, reading.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), labels, reading.count);
    }
}
