//! The page as a function of its scene: what no running receiver can be brought to in a test.

use super::*;
use crate::receiver::findings::{DiskFacts, Facts, GateFacts, Kind, findings};
use crate::receiver::lab_states::LabStates;
use crate::receiver::stats::Stats;
use crate::wire::{LabState, Slot};

fn scene(now_s: u64) -> Scene {
    Scene {
        now_s,
        gate: GateScene {
            enabled: true,
            size: 100,
            window: None,
            source: None,
            age: None,
            failing: None,
            beyond: Arc::default(),
            remediation: String::new(),
        },
        space: Some(Space {
            free: 500,
            total: 1000,
            floor: 100,
            reserved: 0,
        }),
        unwritable: None,
        findings: Vec::new(),
        archive: None,
        reports: Reports::new(),
        books: Stats::new(std::iter::empty()).look(),
        connections: 0,
        uploads: 0,
        running: Vec::new(),
        kept: 0,
        draining: false,
        up: Duration::ZERO,
        data_dir: "/data".to_owned(),
        is_open: true,
        has_readers: true,
        silent_after: Duration::from_secs(86_400),
        commits: None,
    }
}

#[test]
fn a_clock_that_was_never_set_breaks_nothing() {
    for now_s in [0, 1, 3600, 86_399, 200_000] {
        let mut scene = scene(now_s);
        scene.findings = findings(&Facts {
            now_s,
            ..Facts::default()
        });
        assert!(page(&scene).contains("clock is not set"));
    }
}

/// Everything that the configuration and peers can bring, together.
fn full_scene() -> Scene {
    let mut scene = scene(1_795_477_572);
    scene.data_dir = "<".repeat(4096);
    scene.gate.remediation = "\"\n".repeat(100_000);
    scene.commits = Some(format!("http://{}/", "&".repeat(500)));
    let hour = |hour: u64| html::absolute(scene.now_s - hour * HOUR_S);
    let long = |n: u64| format!("{n:0>63}");
    let episode = |n: u64| format!("{n:0>128}");
    let mut books = Stats::new(std::iter::empty()).look();
    for n in 0..300 {
        let row = serde_json::json!({
            "seq": n, "host": long(n % 60), "episode": episode(n), "bytes": u64::MAX, "commit": "ab".repeat(32),
            "sha256": "0f".repeat(32), "received_at": hour(n % 48),
        });
        books.enter(serde_json::from_value(row).unwrap(), scene.now_s);
    }
    for n in 0..400 {
        let refused = serde_json::json!({
            "at": hour(n % 48), "after_seq": n, "host": long(n % 80), "path": "\"".repeat(300),
            "peer": "10.8.0.11", "status": 412, "reason": "<".repeat(290 + n as usize / 80),
            "why": "\"".repeat(300), "commit": "cd".repeat(32),
        });
        books.recall(&Arc::new(serde_json::from_value(refused).unwrap()));
    }
    for n in 0..64 {
        scene.running.push(RunningUpload {
            slot: Slot::parse(&format!("{}/{}", long(n % 60), episode(n))).unwrap(),
            bytes: u64::MAX,
            received: n,
            bytes_per_second: 1,
        });
    }
    let odd = "\"".repeat(150);
    let refused = serde_json::json!({"episode": odd, "reason": odd, "at": odd});
    let held = serde_json::json!({"commit": "cd".repeat(32), "episodes": u64::MAX, "since": odd});
    let state = serde_json::json!({
        "version": odd, "held": vec![&held; 250], "refused": vec![&refused; 250],
        "waiting": {"episodes": u64::MAX, "bytes": u64::MAX, "oldest_at": hour(9)},
        "uploading": {"episode": odd, "bytes_sent": 7, "bytes": u64::MAX, "bytes_per_second": 1},
        "next_try_at": hour(1), "packing_stopped_since": hour(2), "more": {"refused": u64::MAX},
    });
    let state = LabState::parse(state.to_string().as_bytes()).unwrap();
    let states = LabStates::new(std::iter::empty());
    for n in 0..90 {
        states.keep(HostId::parse(&long(n)).unwrap(), state.clone(), |_| false);
    }
    scene.reports = states.look();
    scene.books = books;
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let finding = |n: u64| {
            serde_json::json!({
                "kind": kind.name(), "severity": kind.severity().name(), "subject": format!("host/{}", long(n)),
                "since": hour(n), "reason": "<".repeat(30), "words": "<".repeat(900), "remedy": "&".repeat(2000),
            })
        };
        found.extend((0..9).map(|n| serde_json::from_value(finding(n)).unwrap()));
    }
    scene.findings = found;
    scene
}

#[test]
fn the_worst_of_everything_has_its_bound() {
    let scene = full_scene();
    let front = page(&scene);
    assert!(front.len() <= BYTES_MAX, "{}", front.len());
    assert!(front.len() > 20_000, "{}", front.len());
    for part in [
        "Not shown, to keep the page small",
        "more uploads, not shown",
        "<h2>Hosts",
        "<h2>Newest refusals",
        "</html>",
    ] {
        assert!(front.contains(part), "{part} is not in\n{front}");
    }
    for name in scene.books.hosts.keys() {
        let page = host::page(&scene, name).unwrap();
        assert!(page.len() <= BYTES_MAX, "{}", page.len());
        assert!(page.len() > 15_000, "{}", page.len());
        for part in [
            "<h2>Uploads under way",
            "<h2>Held: 18\u{202f}446\u{202f}744\u{202f}073\u{202f}709\u{202f}551\u{202f}615 episodes",
            "<p class=m>And ",
            "<h2>Newest uploads",
            "<h2>Refusals",
            "</html>",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
    }
}

/// Git alone decides where no Forgejo is configured: nothing else would say that it has gone.
#[test]
fn a_source_that_fails_is_told_whichever_it_is() {
    let mut scene = scene(1_795_477_572);
    for source in [
        Source::Forgejo,
        Source::Git,
        Source::GitFallback,
        Source::Disk,
    ] {
        scene.gate.source = Some(source);
        for (kind, words) in [
            ("timeout", "has not answered for 2 h (timeout)"),
            (
                "renamed",
                "has not reported the newest commits for 2 h (renamed)",
            ),
        ] {
            scene.gate.failing = Some(Failing {
                kind: kind.to_owned(),
                seconds: 7200,
                detail: "it is <so>; do <that>".to_owned(),
            });
            scene.findings = findings(&of_gate(&scene));
            let page = page(&scene);
            // In the list and in the tile.
            assert_eq!(page.matches(words).count(), 2, "{source}: {page}");
            assert!(page.contains("It is &lt;so&gt;; do &lt;that&gt;"), "{page}");
            assert!(page.contains("<div class=w><h2>Version gate"), "{page}");
        }
        scene.gate.failing = None;
        scene.findings = findings(&of_gate(&scene));
        assert!(!page(&scene).contains("for 2 h"), "{source}");
    }
}

fn of_gate(scene: &Scene) -> Facts {
    Facts {
        now_s: scene.now_s,
        gate: Some(GateFacts {
            enabled: true,
            source: scene.gate.source,
            failing: scene.gate.failing.clone(),
            ..GateFacts::default()
        }),
        ..Facts::default()
    }
}

/// However much there is to find, the rest of the page keeps its room.
#[test]
fn a_list_of_everything_is_cut() {
    let mut scene = scene(1_795_477_572);
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let finding = |n: u32| {
            serde_json::json!({
                "kind": kind.name(), "severity": kind.severity().name(), "subject": format!("host/lab-{n}"),
                "since": null, "words": "<".repeat(900), "remedy": "&".repeat(2000),
            })
        };
        found.extend((0..9).map(|n| serde_json::from_value(finding(n)).unwrap()));
    }
    scene.findings = found;
    let page = page(&scene);
    assert!(page.len() <= BYTES_MAX, "{}", page.len());
    assert!(page.contains("Not shown, to keep the page small"), "{page}");
    assert!(page.contains("<h2>Version gate"), "{page}");
}

/// A row of the index may state any size.
#[test]
fn sizes_beyond_all_measure_break_nothing() {
    let mut scene = scene(1_795_477_572);
    for (seq, at) in [(1, "2026-11-23T22:10:00Z"), (2, "2026-11-23T23:10:00Z")] {
        let row = serde_json::from_value(serde_json::json!({
            "seq": seq, "host": "a", "episode": format!("e{seq}"), "bytes": u64::MAX,
            "sha256": "0f".repeat(32), "received_at": at,
        }));
        scene.books.enter(row.unwrap(), scene.now_s);
    }
    scene.findings = findings(&Facts {
        now_s: scene.now_s,
        disk: Some(DiskFacts {
            free: 500,
            floor: 100,
            reserved: 0,
            stored_in_a_day: scene.books.hour(scene.now_s / HOUR_S - 1).bytes,
        }),
        ..Facts::default()
    });
    let page = page(&scene);
    assert!(page.contains("18446.7 PB; 2 today (18446.7 PB)"), "{page}");
    assert!(page.contains("full within a day"), "{page}");
}
