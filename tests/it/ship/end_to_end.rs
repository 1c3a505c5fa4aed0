//! The shipper and the real receiver.

use super::{Lab, noise};
use crate::world::{World, own_address};

fn lab_of(world: &World) -> Lab {
    Lab::with(&format!("http://{}", world.address()), "scan_seconds = 1")
}

#[test]
fn an_episode_travels_and_an_old_one_is_held_until_it_is_set_aside() {
    let world = World::new();
    let lab = lab_of(&world);
    lab.episode_with("ep-1", world.repo.head(), &noise(3 << 20));
    lab.episode("ep-2", world.too_old());
    let ended = lab.ship_once();
    assert_eq!(ended.code, 3, "{ended}\n{world}");
    assert_eq!(ended.count("git pull origin main"), 1, "{ended}");
    assert_eq!(lab.names("shipped"), ["ep-1", "ep-1.receipt.json"]);
    let rows = world.rows();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0], lab.json("shipped/ep-1.receipt.json"));
    assert_eq!(rows[0]["commit"], world.repo.head());
    assert!(world.stored("lab-1", "ep-1").is_some());
    assert_eq!(lab.json("state.json")["gate"]["position"], 1);
    assert_eq!(
        lab.run(&["set-aside", "--commit", world.too_old()], &[])
            .code,
        0
    );
    assert_eq!(lab.ship_once().code, 0);
}

#[test]
fn a_commit_that_is_pushed_late_is_released() {
    let mut world = World::new();
    let lab = lab_of(&world);
    let unpushed = {
        world.repo.git(&["checkout", "-q", "-b", "work"]);
        world.repo.commit()
    };
    lab.episode("ep-1", &unpushed);
    let shipper = lab.ship();
    shipper.wait_until("it is held", || shipper.log().contains("event=held"));
    world.repo.git(&["branch", "-f", "main", "work"]);
    shipper.wait_until("it is shipped", || lab.names("episodes").is_empty());
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn check_agrees_with_the_gate() {
    let world = World::new();
    let lab = lab_of(&world);
    let repo = world.repo.dir.to_str().unwrap();
    let ended = lab.run(&["check", "--repo", repo], &[]);
    assert!(
        ended
            .out
            .contains("1 of 3; 2 more commits until it is refused"),
        "{ended}"
    );
    world.repo.git(&["checkout", "-q", world.too_old()]);
    let ended = lab.run(&["check", "--repo", repo], &[]);
    assert_eq!(
        (ended.code, ended.out.matches("git pull").count()),
        (3, 1),
        "{ended}"
    );
}

#[test]
fn check_says_the_same_as_json() {
    let world = World::new();
    let lab = lab_of(&world);
    let repo = world.repo.dir.to_str().unwrap();
    let check = || {
        let ended = lab.run(&["check", "--json", "--repo", repo], &[]);
        assert_eq!(ended.out.lines().count(), 1, "{ended}");
        let verdict: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        (ended.code, verdict)
    };
    let head = world.repo.head();
    let accepted = serde_json::json!({
        "commit": head, "accepted": true, "position": 1, "window": 3, "head_commit": head,
        "known": null, "detail": null, "remediation": null,
    });
    assert_eq!(check(), (0, accepted));
    world.repo.git(&["checkout", "-q", world.too_old()]);
    let (code, refused) = check();
    assert_eq!(code, 3);
    assert_eq!(
        (&refused["accepted"], &refused["commit"]),
        (&false.into(), &world.too_old().into())
    );
    assert_eq!(
        (&refused["known"], &refused["window"]),
        (&"older".into(), &3.into())
    );
    assert!(
        refused["remediation"]
            .as_str()
            .unwrap()
            .contains("git pull"),
        "{refused}"
    );
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains(world.too_old()),
        "{refused}"
    );
}

#[test]
fn both_sides_are_killed_again_and_again_and_nothing_is_missing() {
    // The port is kept over restarts, so that the shipper finds the receiver again.
    let mut world = World::with(&format!("listen = \"{}\"\n", own_address()));
    let lab = lab_of(&world);
    let ids: Vec<String> = (0..40).map(|n| format!("ep-{n:02}")).collect();
    for (n, id) in ids.iter().enumerate() {
        lab.episode_with(id, world.repo.head(), &noise(n * 8000));
    }
    let mut round = 0;
    while !lab.names("episodes").is_empty() {
        let goal = lab.names("episodes").len().saturating_sub(2 + round % 3);
        let shipper = lab.ship();
        shipper.wait_until("some are gone", || lab.names("episodes").len() <= goal);
        if round % 2 == 0 {
            world.kill();
            shipper.kill();
            world.start();
        } else {
            shipper.kill();
        }
        round += 1;
    }
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}\n{world}");
    lab.assert_all_shipped(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut names: Vec<String> = world
        .rows()
        .iter()
        .map(|row| row["episode"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ids, "one row each\n{world}");
    world.wait_until("incoming/ is tidied up", |world| {
        world.names("incoming").is_empty()
    });
}
