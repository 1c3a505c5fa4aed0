//! The same against a real store: Ceph's gateway, whose packages `tests/it/archive/rgw fetch target/rgw` unpacks,
//! if `CIS490_RGW` names that folder. CI does both. Its start takes all processors for a while: tests that run
//! beside it are too late for their own bounds.

use std::fs;

use serde_json::Value;

use super::ceph::{Gateway, KEYS};
use super::{body, hurry, key, ledger, put, wait_for_metric, wait_proven, write_secret};
use crate::condition::reload::{edit, reload};
use crate::operator::doctor;
use crate::world::{World, is_release_build};

/// A world whose receiver archives into it, not started.
fn world(gateway: &Gateway, more: &str) -> World {
    let mut world = World::prepared("");
    let secret = world.dir().join("s3-keys");
    write_secret(&secret, &format!("{}\n{}\n", KEYS.0, KEYS.1));
    world.add_tables(&format!("{}{more}", gateway.config(&secret)));
    hurry(&mut world);
    world
}

/// One gateway, since it takes seconds to start: its way from a doctor's look to an episode that is only
/// there.
#[test]
fn episodes_go_to_a_real_store_and_come_back() {
    if std::env::var_os("CIS490_RGW").is_none() {
        return skip!(
            "a real store: CIS490_RGW=$PWD/target/rgw cargo test --test it archive::real tries it"
        );
    }
    let Some(gateway) = Gateway::start() else {
        return;
    };
    let mut world = world(
        &gateway,
        "[[reader]]\nid = \"r\"\naddress = \"127.0.0.1\"\n",
    );
    let (_, report) = doctor(&world.config_path(), &[]);
    let found = |words: &str| {
        let findings = report["findings"].as_array().unwrap();
        let is_it = |one: &Value| one["found"].as_str().unwrap().contains(words);
        assert!(findings.iter().any(is_it), "{words}\n{report:#}");
    };
    found("LIST is allowed");
    found("bytes that have not the stated digest are refused");
    found("GET brings the same bytes back");

    // In a debug build the large one goes up in three parts; what an earlier run left of it is aborted.
    world.env("CIS490_ARCHIVE_PARTS", "5242880,5242880");
    world.start();
    let large: Vec<u8> = (0..3u32 << 20).flat_map(u32::to_le_bytes).collect();
    let large_key = key("large", &large);
    let begun = gateway.asked("POST", &format!("lab/{large_key}?uploads="));
    assert!(begun.contains("<UploadId>"), "{begun}");
    let large_put = world.good().episode("large").body(&large);
    assert_eq!(world.put(&large_put).status, 201);
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    wait_proven(&world, "large");
    wait_proven(&world, "ep-1");
    if !is_release_build() {
        let line = "cis490_archive_requests_total{op=\"part\",outcome=\"ok\"} 3\n";
        wait_for_metric(&world, line);
        let left = gateway.asked("GET", "lab?uploads=");
        assert!(left.contains("<ListMultipartUploadsResult"), "{left}");
        assert!(!left.contains("<UploadId>"), "{left}");
    }

    // A file that has rotted is refused by the store, by the digest of the row.
    world.stop();
    let path = world.data_dir().join("episodes/lab-1/rotten.tar.zst");
    hurry(&mut world);
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    let secret = world.dir().join("s3-keys");
    write_secret(&secret, &format!("{}\nWRONG\n", KEYS.0));
    world.start();
    assert_eq!(world.put(&put(&world, "rotten")).status, 201);
    world.wait_until("the wrong keys are loud", |world| {
        world.log().contains("event=archive_stopped kind=denied")
    });
    fs::write(&path, b"the bytes of r0tten").unwrap();
    write_secret(&secret, &format!("{}\n{}\n", KEYS.0, KEYS.1));
    world.wait_until("it is refused", |world| {
        world
            .log()
            .contains("event=archive_refused host=lab-1 episode=rotten kind=own-file")
    });
    fs::write(&path, body("rotten")).unwrap();

    // Evicted, and fetched from there.
    world.stop();
    world.replace_in_config(
        "[archive]\n",
        "[archive]\nevict_below_bytes = 1000000000000000\n",
    );
    hurry(&mut world);
    world.start();
    world.wait_until("all are evicted", |world| {
        world.names("episodes/lab-1").is_empty() && ledger(world).len() == 3
    });
    let dir = world.dir().join("pulled");
    let url = format!("http://{}", world.address());
    world.run(&["pull", "--url", &url, "--to", dir.to_str().unwrap()]);
    assert_eq!(fs::read(dir.join("lab-1/large.tar.zst")).unwrap(), large);
    assert_eq!(
        fs::read(dir.join("lab-1/ep-1.tar.zst")).unwrap(),
        body("ep-1")
    );
    let place = &world.get("/v1/episodes/lab-1/ep-1").json()["archive"];
    assert_eq!(place["key"], key("ep-1", &body("ep-1")));
    wait_for_metric(&world, "cis490_archive_episodes{state=\"evicted\"} 3\n");

    // The keys are rotated there, and then here.
    gateway.tell(
        "run radosgw-admin key create --uid=t --key-type=s3 --access-key=RGWACCESSKEY0000000B --secret-key=NEWSECRET",
    );
    gateway.tell(&format!(
        "run radosgw-admin key rm --uid=t --key-type=s3 --access-key={}",
        KEYS.0
    ));
    assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
    world.wait_until("the revoked keys are loud", |world| {
        world.log().contains("event=archive_stopped kind=denied")
    });
    write_secret(
        &world.dir().join("new-keys"),
        "RGWACCESSKEY0000000B\nNEWSECRET\n",
    );
    edit(&world, "s3-keys", "new-keys");
    reload(&world, "reloaded");
    wait_proven(&world, "ep-2");
}
