//! `scrub --json` and `backfill --json`: one JSON object a line, for programs.

use std::fs;

use serde_json::{Value, json};

use crate::world::{World, cis490};

/// The exit status, and the lines.
fn lines(world: &World, command: &[&str]) -> (Option<i32>, Vec<Value>) {
    let config = [
        "--json".to_owned(),
        "--config".to_owned(),
        world.config_path(),
    ];
    let output = cis490().args(command).args(config).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let parsed = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}")));
    (output.status.code(), parsed.collect())
}

#[test]
fn scrub_and_backfill_say_in_json_what_they_find_and_do() {
    let mut world = World::new();
    for episode in ["ep-1", "ep-2"] {
        assert_eq!(world.put(&world.good().episode(episode)).status, 201);
    }
    let (code, clean) = lines(&world, &["scrub"]);
    let bytes = &clean[0]["bytes"];
    let whole = json!({"episodes": 2, "bytes": bytes, "found": {}, "clean": true});
    assert_eq!((code, &clean[..]), (Some(0), &[whole][..]));
    assert!(bytes.as_u64().unwrap() > 0);
    assert_eq!(world.stop(), Some(0));

    let lost = world.data_dir().join("episodes/lab-1/ep-2.tar.zst");
    let bytes = fs::read(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    fs::write(
        world.data_dir().join("episodes/lab-1/by-hand.tar.zst"),
        bytes,
    )
    .unwrap();
    let (code, found) = lines(&world, &["scrub", "--restart"]);
    assert_eq!(code, Some(2), "{found:?}");
    let of_kind = |kind: &str| {
        found
            .iter()
            .find(|line| line["kind"] == kind)
            .unwrap_or_else(|| panic!("{found:?}"))
    };
    assert!(
        of_kind("missing")["path"]
            .as_str()
            .unwrap()
            .contains("ep-2"),
        "{found:?}"
    );
    assert!(
        of_kind("unindexed")["path"]
            .as_str()
            .unwrap()
            .contains("by-hand"),
        "{found:?}"
    );
    assert!(of_kind("missing")["why"].is_string(), "{found:?}");
    let last = found.last().unwrap();
    assert_eq!(last["found"], json!({"missing": 1, "unindexed": 1}));
    assert_eq!(last["clean"], false);

    let (code, would) = lines(&world, &["backfill", "--dry-run"]);
    assert_eq!(code, Some(0), "{would:?}");
    assert!(
        would.contains(&json!({"event": "would-add", "episode": "lab-1/by-hand"})),
        "{would:?}"
    );
    let done = would.last().unwrap();
    assert_eq!(
        (&done["event"], &done["dry_run"], &done["added"]),
        (&"done".into(), &true.into(), &0.into())
    );
    let (code, did) = lines(&world, &["backfill"]);
    assert_eq!(code, Some(0), "{did:?}");
    let added = did.iter().find(|line| line["event"] == "added").unwrap();
    assert_eq!(
        (&added["row"]["episode"], &added["row"]["host"]),
        (&"by-hand".into(), &"lab-1".into())
    );
    assert_eq!(did.last().unwrap()["added"], 1);
}
