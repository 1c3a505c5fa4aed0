//! A table of every kind: the facts that bring it about, and the nearest facts that do not.

use std::sync::Arc;

use super::*;
use crate::receiver::archive::{ArchiveFailing, Condition, ObjectTrouble, Totals};
use crate::receiver::store::scrub;
use crate::receiver::store::sequence::{IndexFault, IndexFinding};
use crate::wire::{Failing, LabState, Source};

const NOW_S: u64 = 1_795_477_572; // 2026-11-23T23:46:12Z
const HOUR_S: u64 = 3600;
const DAY_S: u64 = 86_400;

/// A lab in which nothing is wrong: one host that has just stored an episode of the head.
fn well() -> Facts {
    Facts {
        now_s: NOW_S,
        started_at_s: Some(NOW_S - 2 * DAY_S),
        accepts_uploads: true,
        data_dir: "/srv/cis490".to_owned(),
        gate: Some(GateFacts {
            enabled: true,
            window: 100,
            source: Some(Source::Forgejo),
            source_seconds: DAY_S,
            age_seconds: Some(3),
            failing: None,
        }),
        hosts: vec![HostFacts {
            name: "lab-1".to_owned(),
            is_configured: true,
            has_stored: true,
            stored_at_s: Some(NOW_S - 60),
            place: Place::At(1),
            ..HostFacts::default()
        }],
        silent_after_s: DAY_S,
        disk: Some(DiskFacts {
            free: 1000,
            floor: 100,
            reserved: 0,
            stored_in_a_day: 10,
        }),
        episodes: 7,
        store_made_at_s: Some(NOW_S - 300 * DAY_S),
        scrubbed_at_s: Some(NOW_S - DAY_S),
        ..Facts::default()
    }
}

fn gate(facts: &mut Facts) -> &mut GateFacts {
    facts.gate.as_mut().unwrap()
}

fn host(facts: &mut Facts) -> &mut HostFacts {
    &mut facts.hosts[0]
}

fn disk(facts: &mut Facts) -> &mut DiskFacts {
    facts.disk.as_mut().unwrap()
}

fn failing(seconds: u64) -> Option<Failing> {
    Some(Failing {
        kind: "timeout".to_owned(),
        seconds,
        detail: "it is silent; look at it".to_owned(),
    })
}

fn refused(status: u16, reason: &str, tries: u32) -> Option<RefusalFacts> {
    Some(RefusalFacts {
        status,
        reason: reason.to_owned(),
        at_s: Some(NOW_S - 5),
        episode: Some("ep-9".to_owned()),
        tries,
        first_try_at_s: Some(NOW_S - 500),
    })
}

fn report(json: &str) -> Option<ReportFacts> {
    Some(ReportFacts {
        is_old: false,
        state: LabState::parse(json.as_bytes()).unwrap().into(),
    })
}

fn damage(kind: scrub::Kind, count: usize) -> Vec<scrub::Finding> {
    let one = |n| scrub::Finding {
        kind,
        path: format!("episodes/lab-1/ep-{n}.tar.zst"),
        why: "its bytes are others".to_owned(),
    };
    (0..count).map(one).collect()
}

fn index(kind: IndexFault) -> Option<IndexFinding> {
    Some(IndexFinding {
        kind,
        found_at: "2026-11-23T23:00:00Z".to_owned(),
        why: "index.jsonl is not there".to_owned(),
    })
}

/// An archive in which nothing is wrong and nothing waits.
fn archive(facts: &mut Facts) -> &mut Condition {
    facts.archive.get_or_insert_with(|| Condition {
        bucket: "lab".to_owned(),
        idle_s: 30 * DAY_S,
        ..Condition::default()
    })
}

fn away(seconds: u64) -> Option<ArchiveFailing> {
    Some(ArchiveFailing {
        seconds,
        why: "the store answered 403 AccessDenied".to_owned(),
        remedy: "look at the keys".to_owned(),
    })
}

/// So many episodes, received at this time, with something wrong of their objects.
fn objects(count: usize, received_at_s: u64) -> Vec<Arc<ObjectTrouble>> {
    let one = |n| {
        Arc::new(ObjectTrouble::of_test(
            "lab-1",
            &format!("ep-{n}"),
            received_at_s,
        ))
    };
    (0..count).map(one).collect()
}

fn waits(facts: &mut Facts, oldest_waiting_s: u64) {
    *archive(facts) = Condition {
        waiting: Totals {
            episodes: 3,
            bytes: 3 << 20,
        },
        oldest_waiting_s: Some(oldest_waiting_s),
        ..archive(facts).clone()
    };
}

/// What changes of the lab in which nothing is wrong.
type Change = fn(&mut Facts);

/// A kind, its subject, what brings it about, and a part of its words.
type Row = (Kind, &'static str, Change, &'static str);

const ROWS: &[Row] = &[
    (
        Kind::HostOutOfDate,
        "host/lab-1",
        |f| host(f).refusal = refused(412, "not-in-window", 1),
        "lab-1: 412 not-in-window, 5 s ago",
    ),
    (
        Kind::HostOutOfDate,
        "host/lab-1",
        |f| host(f).refusal = refused(412, "never-pushed", 1),
        "412 never-pushed",
    ),
    (
        Kind::HostOutOfDate,
        "host/lab-1",
        |f| host(f).refusal = refused(412, "not-on-branch", 1),
        "412 not-on-branch",
    ),
    (
        Kind::HostOutOfDate,
        "host/lab-1",
        |f| host(f).place = Place::Outside,
        "no longer accepted",
    ),
    (
        Kind::HostFallingOut,
        "host/lab-1",
        |f| host(f).place = Place::At(81),
        "19 more commits until its code is refused",
    ),
    (
        Kind::HostRefused,
        "host/lab-1",
        |f| host(f).refusal = refused(400, "bad-commit", 1),
        "400 bad-commit",
    ),
    (
        Kind::HostRefused,
        "host/lab-1",
        |f| host(f).refusal = refused(401, "unknown-token", 1),
        "401 unknown-token",
    ),
    (
        Kind::HostRefused,
        "host/lab-1",
        |f| host(f).refusal = refused(403, "not-your-name", 1),
        "403 not-your-name",
    ),
    (
        Kind::HostRefused,
        "host/lab-1",
        |f| host(f).refusal = refused(409, "taken", 1),
        "409 taken",
    ),
    (
        Kind::HostRefused,
        "host/lab-1",
        |f| host(f).refusal = refused(413, "too-large", 1),
        "413 too-large",
    ),
    (
        Kind::HostStuck,
        "host/lab-1",
        |f| host(f).refusal = refused(422, "body-cut-short", 5),
        "ep-9 was refused or broken off 5 times in a row",
    ),
    (
        Kind::HostStuck,
        "host/lab-1",
        |f| {
            host(f).stored_at_s = Some(NOW_S - 2 * HOUR_S);
            host(f).report =
                report(r#"{"waiting":{"episodes":2,"oldest_at":"2026-11-23T22:40:00Z"}}"#)
        },
        "has not moved for an hour",
    ),
    (
        Kind::HostSilent,
        "host/lab-1",
        |f| host(f).stored_at_s = Some(NOW_S - DAY_S),
        "for 1 d",
    ),
    (
        Kind::HostGone,
        "host/lab-1",
        |f| host(f).stored_at_s = Some(NOW_S - 31 * DAY_S),
        "30 days",
    ),
    (
        Kind::HostNeverSeen,
        "host/lab-1",
        never_came,
        "no upload yet",
    ),
    (
        Kind::GateFallback,
        "gate",
        |f| {
            *gate(f) = GateFacts {
                source: Some(Source::GitFallback),
                source_seconds: 300,
                ..gate(f).clone()
            }
        },
        "fallback",
    ),
    (
        Kind::GateFallback,
        "gate",
        |f| {
            *gate(f) = GateFacts {
                source: Some(Source::Disk),
                source_seconds: 300,
                ..gate(f).clone()
            }
        },
        "left on the disk",
    ),
    (
        Kind::GateFailing,
        "gate",
        |f| gate(f).failing = failing(60),
        "its source has not answered for 1 min (timeout)",
    ),
    (
        Kind::GateNotLoaded,
        "gate",
        |f| {
            *gate(f) = GateFacts {
                source: None,
                age_seconds: None,
                ..gate(f).clone()
            }
        },
        "knows no commits yet",
    ),
    (
        Kind::GateOld,
        "gate",
        |f| gate(f).age_seconds = Some(HOUR_S),
        "for an hour",
    ),
    (
        Kind::DiskLow,
        "disk",
        |f| disk(f).free = 100,
        "the disk is full",
    ),
    (
        Kind::DiskLow,
        "disk",
        |f| disk(f).reserved = 900,
        "the disk is full",
    ),
    (
        Kind::DiskFullSoon,
        "disk",
        |f| disk(f).stored_in_a_day = 130,
        "in about 6 d",
    ),
    (
        Kind::StoreUnwritable,
        "store",
        |f| {
            f.unwritable = Some(Trouble {
                words: "its disk is read-only".to_owned(),
                remedy: "mount it".to_owned(),
            })
        },
        "cannot be written: its disk is read-only",
    ),
    (
        Kind::StoreUnwritable,
        "store",
        |f| f.disk = None,
        "cannot be read",
    ),
    (
        Kind::IndexMissing,
        "store",
        |f| f.index = index(IndexFault::IndexMissing),
        "rows were lost",
    ),
    (
        Kind::IndexShort,
        "store",
        |f| f.index = index(IndexFault::IndexShort),
        "rows were lost",
    ),
    (
        Kind::ScrubOverdue,
        "store",
        |f| f.scrubbed_at_s = Some(NOW_S - 60 * DAY_S),
        "last read again 60 d ago",
    ),
    (
        Kind::ScrubOverdue,
        "store",
        |f| f.scrubbed_at_s = None,
        "never read again",
    ),
    (
        Kind::EpisodeRotten,
        "episode/lab-1/ep-0",
        |f| f.damage = damage(scrub::Kind::Rotten, 1),
        "its bytes are others",
    ),
    (
        Kind::EpisodeRotten,
        "episode/lab-1/ep-0",
        |f| f.damage = damage(scrub::Kind::Unreadable, 1),
        "its bytes are others",
    ),
    (
        Kind::EpisodeMissing,
        "episode/lab-1/ep-0",
        |f| f.damage = damage(scrub::Kind::Missing, 1),
        "its bytes are others",
    ),
    (
        Kind::EpisodeUnindexed,
        "episode/lab-1/ep-0",
        |f| f.damage = damage(scrub::Kind::Unindexed, 1),
        "its bytes are others",
    ),
    (
        Kind::Quarantine,
        "store",
        |f| f.in_quarantine = 2,
        "2 unrecognised files in /srv/cis490/quarantine",
    ),
    (
        Kind::ArchiveAway,
        "archive",
        |f| archive(f).failing = away(900),
        "bucket lab cannot be used for 15 min: the store answered 403 AccessDenied. Uploads are accepted, and nothing is copied or evicted",
    ),
    (
        Kind::ArchiveAway,
        "archive",
        |f| {
            archive(f).failing = away(900);
            archive(f).stores_nothing = true;
        },
        "nothing can be stored in bucket lab for 15 min: the store answered 403",
    ),
    (
        Kind::ArchiveBehind,
        "archive",
        |f| {
            waits(f, NOW_S - DAY_S);
            archive(f).idle_s = DAY_S;
        },
        "nothing was copied to bucket lab for 1 d, and 3 episodes wait (3.1 MB) to be copied, the oldest for 1 d",
    ),
    (
        Kind::ArchiveBehind,
        "archive",
        |f| {
            archive(f).idle_s = 0;
            archive(f).refused = objects(1, NOW_S - DAY_S);
        },
        "1 episode waits to be copied to bucket lab for 1 d: lab-1/ep-0: it is odd",
    ),
    (
        Kind::ArchiveMismatch,
        "episode/lab-1/ep-0",
        |f| archive(f).mismatched = objects(1, NOW_S),
        "the object of lab-1/ep-0 is not what was stored: it is odd",
    ),
    (
        Kind::ArchiveLost,
        "episode/lab-1/ep-0",
        |f| {
            archive(f).lost = objects(1, NOW_S);
            archive(f).lost_episodes = 1;
        },
        "episode lab-1/ep-0 is lost: it is odd",
    ),
    (
        Kind::Clock,
        "receiver",
        |f| f.clock.jump = Some((NOW_S - 100, -7200)),
        "jumped 2 h back",
    ),
    (
        Kind::Clock,
        "receiver",
        |f| f.clock.newest_row_at_s = Some(NOW_S + 7200),
        "was set back: the newest upload is dated 2 h ahead",
    ),
    (
        Kind::Restarts,
        "receiver",
        |f| f.restarts_at_s = (1..=5).map(|n| NOW_S - n * 700).collect(),
        "5 times within an hour",
    ),
    (
        Kind::ConfigWaiting,
        "receiver",
        |f| f.waiting_keys = vec!["listen".to_owned()],
        "listen: changed, and needs a restart",
    ),
    (
        Kind::LabQueueGrowing,
        "host/lab-1",
        |f| {
            host(f).report = report(
                r#"{"waiting":{"episodes":3,"oldest_at":"2026-11-22T23:00:00Z"},"last_success_at":"2026-11-23T23:46:00Z"}"#,
            )
        },
        "3 episodes wait, the oldest for more than a day",
    ),
    (
        Kind::LabHeld,
        "host/lab-1",
        |f| {
            host(f).report = report(
                r#"{"held":[{"commit":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","episodes":2,"since":"2026-11-23T23:00:00Z"}]}"#,
            )
        },
        "2 episodes held for 1 commit",
    ),
    (
        Kind::LabRefused,
        "host/lab-1",
        |f| host(f).report = report(r#"{"refused":[{"episode":"ep-4","reason":"taken"}]}"#),
        "1 episode in refused/, the newest ep-4 (taken)",
    ),
    (
        Kind::LabDiskFull,
        "host/lab-1",
        |f| host(f).report = report(r#"{"packing_stopped_since":"2026-11-23T23:00:00Z"}"#),
        "packs nothing",
    ),
    (
        Kind::LabOldProgram,
        "host/lab-1",
        |f| host(f).report = report(r#"{"version":"0.0.1"}"#),
        "version 0.0.1, older",
    ),
];

fn never_came(facts: &mut Facts) {
    *host(facts) = HostFacts {
        name: "lab-1".to_owned(),
        is_configured: true,
        ..HostFacts::default()
    };
}

#[test]
fn each_kind_is_found_with_its_subject_severity_and_words() {
    assert_eq!(findings(&well()), []);
    for (kind, subject, change, words) in ROWS {
        let mut facts = well();
        change(&mut facts);
        let found = findings(&facts);
        let [finding] = &found[..] else {
            panic!("{}: {found:#?}", kind.name());
        };
        assert!(finding.is(*kind), "{}: {finding:?}", kind.name());
        assert_eq!(finding.severity, kind.severity());
        assert_eq!(finding.subject, *subject);
        assert!(finding.words.contains(words), "{words}: {finding:?}");
        assert!(!finding.remedy.is_empty(), "{finding:?}");
        assert_eq!(
            exit_status(&found),
            if finding.severity == Severity::Error {
                2
            } else {
                1
            }
        );
    }
    for kind in Kind::ALL {
        assert!(
            ROWS.iter().any(|(row, ..)| row == kind),
            "{} has no row",
            kind.name()
        );
    }
    assert_eq!(exit_status(&[]), 0);
}

/// The nearest facts with which there is nothing to find.
#[test]
fn what_is_not_so_yet_is_no_finding() {
    let changes: &[(&str, Change)] = &[
        ("the gate cannot tell", |f| {
            // It is the gate's own finding.
            host(f).refusal = refused(412, "gate-cannot-tell", 1);
            gate(f).enabled = false;
        }),
        ("a broken upload", |f| {
            host(f).refusal = refused(422, "body-cut-short", 4)
        }),
        ("a receiver that stops", |f| {
            host(f).refusal = refused(503, "draining", 1)
        }),
        ("the place before the last ones", |f| {
            host(f).place = Place::At(80)
        }),
        ("outside, and the gate is blind", |f| {
            host(f).place = Place::Outside;
            gate(f).failing = failing(59);
        }),
        ("outside of a gate that is switched off", |f| {
            host(f).place = Place::Outside;
            gate(f).enabled = false;
        }),
        ("not silent yet", |f| {
            host(f).stored_at_s = Some(NOW_S - DAY_S + 1)
        }),
        ("it was refused, so it is not silent", |f| {
            host(f).stored_at_s = Some(NOW_S - 2 * DAY_S);
            host(f).refusal = refused(503, "draining", 1);
        }),
        ("within an hour after the start", |f| {
            never_came(f);
            f.started_at_s = Some(NOW_S - HOUR_S + 1);
        }),
        ("it reports, so it was seen", |f| {
            never_came(f);
            host(f).report = report("{}");
        }),
        ("not configured, and never came", |f| {
            never_came(f);
            host(f).is_configured = false;
        }),
        ("a short failure", |f| gate(f).failing = failing(59)),
        ("an archive in which all is well", |f| {
            archive(f);
        }),
        ("a store that is away for a short time", |f| {
            archive(f).failing = away(899)
        }),
        ("an episode that waits for less than a day", |f| {
            waits(f, NOW_S - DAY_S + 1)
        }),
        ("old ones wait, and the others are copied", |f| {
            waits(f, NOW_S - 9 * DAY_S);
            archive(f).idle_s = DAY_S - 1;
        }),
        ("refused for less than a day", |f| {
            archive(f).refused = objects(1, NOW_S - DAY_S + 1)
        }),
        ("a short fallback", |f| {
            gate(f).source = Some(Source::GitFallback);
            gate(f).source_seconds = 299;
        }),
        ("git alone is no fallback", |f| {
            gate(f).source = Some(Source::Git)
        }),
        ("not old yet", |f| gate(f).age_seconds = Some(HOUR_S - 1)),
        ("one byte above the floor", |f| {
            *disk(f) = DiskFacts {
                free: 101,
                floor: 100,
                ..DiskFacts::default()
            }
        }),
        ("a week", |f| disk(f).stored_in_a_day = 128),
        ("a scrub of late", |f| {
            f.scrubbed_at_s = Some(NOW_S - 60 * DAY_S + 1)
        }),
        ("a young store", |f| {
            f.scrubbed_at_s = None;
            f.store_made_at_s = Some(NOW_S - DAY_S);
        }),
        ("an empty store", |f| {
            f.scrubbed_at_s = None;
            f.episodes = 0;
        }),
        ("odd files harm nothing", |f| {
            f.damage = damage(scrub::Kind::Odd, 3)
        }),
        ("a jump of two days ago", |f| {
            f.clock.jump = Some((NOW_S - 2 * DAY_S, 900))
        }),
        ("a row a little ahead", |f| {
            f.clock.newest_row_at_s = Some(NOW_S + 299)
        }),
        ("four restarts", |f| f.restarts_at_s = vec![NOW_S - 4; 4]),
        ("five restarts, one of them earlier", |f| {
            f.restarts_at_s = vec![NOW_S - 4000, NOW_S - 4, NOW_S - 3, NOW_S - 2, NOW_S - 1];
        }),
        ("a queue that moves", |f| {
            host(f).report = report(
                r#"{"waiting":{"episodes":2,"oldest_at":"2026-11-23T22:40:00Z"},"last_success_at":"2026-11-23T23:40:00Z"}"#,
            );
        }),
        ("a queue that waits for the receiver", |f| {
            host(f).stored_at_s = Some(NOW_S - 2 * HOUR_S);
            f.accepts_uploads = false;
            host(f).report =
                report(r#"{"waiting":{"episodes":2,"oldest_at":"2026-11-23T22:40:00Z"}}"#);
        }),
        ("a queue that waited for the receiver's start", |f| {
            host(f).stored_at_s = Some(NOW_S - 2 * HOUR_S);
            f.started_at_s = Some(NOW_S - 1800);
            host(f).report =
                report(r#"{"waiting":{"episodes":2,"oldest_at":"2026-11-23T22:40:00Z"}}"#);
        }),
        ("the same program", |f| {
            let version = format!(r#"{{"version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
            host(f).report = report(&version);
        }),
        ("a version that is none", |f| {
            host(f).report = report(r#"{"version":"mine"}"#)
        }),
    ];
    for (name, change) in changes {
        let mut facts = well();
        change(&mut facts);
        assert_eq!(findings(&facts), [], "{name}");
    }
}

/// While hosts wait for a gate that cannot look, it is its trouble at once, and not theirs.
#[test]
fn a_host_that_waits_is_under_the_gates_trouble() {
    let mut facts = well();
    host(&mut facts).refusal = refused(412, "gate-cannot-tell", 1);
    gate(&mut facts).failing = failing(3);
    let found = findings(&facts);
    let kinds: Vec<&str> = found.iter().map(|finding| finding.kind.as_str()).collect();
    assert_eq!(kinds, ["gate-failing"], "{found:#?}");
    assert_eq!(found[0].since.as_deref(), Some("2026-11-23T23:46:09Z"));
    gate(&mut facts).failing = None;
    assert!(findings(&facts)[0].words.contains("could not ask in time"));
}

#[test]
fn a_receiver_that_is_stopped_is_judged_from_the_disk() {
    let mut facts = Facts {
        started_at_s: None,
        accepts_uploads: false,
        gate: None,
        ..well()
    };
    assert_eq!(findings(&facts), []);
    host(&mut facts).place = Place::Unknown;
    host(&mut facts).refusal = refused(409, "taken", 6);
    never_came_too(&mut facts);
    let found = findings(&facts);
    let kinds: Vec<&str> = found.iter().map(|finding| finding.kind.as_str()).collect();
    assert_eq!(kinds, ["host-refused", "host-stuck", "host-never-seen"]);
    assert_eq!(found[0].reason.as_deref(), Some("taken"));
    assert_eq!(found[1].since.as_deref(), Some("2026-11-23T23:37:52Z"));
    assert_eq!(found[2].since, None);
}

fn never_came_too(facts: &mut Facts) {
    facts.hosts.push(HostFacts {
        name: "lab-2".to_owned(),
        is_configured: true,
        ..HostFacts::default()
    });
}

/// However much is damaged, the list is short, and counts what it does not name.
#[test]
fn many_damaged_episodes_share_a_finding() {
    let mut facts = well();
    facts.damage = damage(scrub::Kind::Rotten, 100);
    facts.more_damage = vec![(scrub::Kind::Rotten, 900), (scrub::Kind::Odd, 5)];
    let found = findings(&facts);
    assert_eq!(found.len(), EPISODES_NAMED_MAX + 1);
    let shared = found.iter().find(|finding| finding.subject == "store");
    let words = format!("{} more episodes", 1000 - EPISODES_NAMED_MAX);
    assert!(shared.unwrap().words.contains(&words), "{found:#?}");
}

/// The JSON is a promise.
#[test]
fn a_finding_as_programs_read_it() {
    let mut facts = well();
    host(&mut facts).refusal = refused(409, "taken", 1);
    let json = serde_json::to_value(findings(&facts)).unwrap();
    let wanted = serde_json::json!([{
        "kind": "host-refused", "severity": "error", "subject": "host/lab-1", "since": "2026-11-23T23:46:07Z",
        "reason": "taken", "words": "lab-1: 409 taken, 5 s ago",
        "remedy": json[0]["remedy"],
    }]);
    assert_eq!(json, wanted);
    assert_eq!(
        json[0]["remedy"].as_str(),
        crate::refusal_table::what_to_do("taken")
    );
}

/// A store that is away for a day is an error; of many objects the first have a finding each.
#[test]
fn the_archive_grows_worse_and_its_findings_are_bounded() {
    let mut facts = well();
    archive(&mut facts).failing = away(DAY_S - 1);
    assert_eq!(exit_status(&findings(&facts)), 1);
    archive(&mut facts).failing = away(DAY_S);
    let found = findings(&facts);
    assert_eq!((found.len(), exit_status(&found)), (1, 2));
    assert_eq!(found[0].since.as_deref(), Some("2026-11-22T23:46:12Z"));
    assert_eq!(found[0].remedy, "look at the keys");

    let mut facts = well();
    archive(&mut facts).lost = objects(9, NOW_S);
    archive(&mut facts).lost_episodes = 20;
    let found = findings(&facts);
    assert_eq!(found.len(), EPISODES_NAMED_MAX + 1);
    let of_archive = found.iter().find(|finding| finding.subject == "archive");
    let of_archive = of_archive.unwrap();
    assert!(of_archive.is(Kind::ArchiveLost));
    assert!(
        of_archive.words.starts_with("12 more episodes"),
        "{of_archive:?}"
    );
}
