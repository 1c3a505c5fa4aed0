//! Episodes on their way to the bucket, and what goes wrong there.

use std::fs;
use std::time::Duration;

use super::store::{Mishap, ScriptedStore};
use super::{
    archived, body, hurry, key, ledger, put, wait_for_metric, wait_proven, world, write_secret,
};
use crate::client::sha256;
use crate::world::World;

fn wait_for_object(store: &ScriptedStore, world: &World, key: &str) {
    world.wait_until(key, |_| store.keys().contains(&key.to_owned()));
}

#[test]
fn an_episode_is_copied_with_its_row_read_back_and_proven() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    archived(&world, "ep-1");
    let key = key("ep-1", &body("ep-1"));
    assert_eq!(store.keys(), std::slice::from_ref(&key));
    let requests = store.requests();
    let methods: Vec<_> = requests.iter().map(|one| &one[..4]).collect();
    assert_eq!(methods, ["HEAD", "PUT ", "HEAD", "GET "], "{requests:?}");
    let row = world.rows().remove(0);
    let id = fs::read_to_string(world.data_dir().join("cis490-store")).unwrap();
    store.with(&key, |object| {
        assert_eq!(object.bytes, body("ep-1"));
        let receipt = &object.meta["x-amz-meta-cis490-receipt"];
        let receipt: serde_json::Value = serde_json::from_str(receipt).unwrap();
        assert_eq!(receipt, row);
        let store = &object.meta["x-amz-meta-cis490-store"];
        assert!(id.contains(&format!("id {store}\n")), "{id} {store}");
        assert_eq!(object.meta["x-amz-content-sha256"], sha256(&body("ep-1")));
    });
    assert_eq!(world.stored("lab-1", "ep-1"), Some(body("ep-1")));
    world.wait_until("it is in the log", |world| {
        world
            .log()
            .contains("event=archive_proven host=lab-1 episode=ep-1")
    });
    // A restart asks nothing: the proof is there.
    let before = store.requests().len();
    world.stop();
    hurry(&mut world);
    world.start();
    archived(&world, "ep-2");
    let after = store.requests();
    let of_the_first = after[before..].iter().filter(|one| one.contains("ep-1"));
    assert_eq!(of_the_first.count(), 0, "{after:?}");
}

#[test]
fn an_object_is_read_back_an_hour_after_it_was_stored_and_not_before() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    world.start();
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    wait_for_object(&store, &world, &key("ep-1", &body("ep-1")));
    // The next episode is copied meanwhile.
    assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
    wait_for_object(&store, &world, &key("ep-2", &body("ep-2")));
    world.wait_until("it was looked at again", |_| store.count("HEAD") >= 3);
    assert_eq!(store.count("GET"), 0);
    assert!(ledger(&world).is_empty());
    world.stop();
    // An hour later, by the store's own dates.
    store.age(Duration::from_secs(3600));
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    world.start();
    wait_proven(&world, "ep-1");
    wait_proven(&world, "ep-2");
    assert_eq!(store.count("PUT"), 2);
}

/// Each mishap comes once, and the episode is proven all the same, with nothing lost and nothing
/// believed.
#[test]
fn each_mishap_of_the_store_is_got_over() {
    let cases = [
        ("HEAD", Mishap::Refuses(503, "SlowDown")),
        (
            "HEAD",
            Mishap::RefusesWith(503, "SlowDown", "Retry-After: 1\r\n".to_owned()),
        ),
        ("HEAD", Mishap::Refuses(500, "InternalError")),
        ("HEAD", Mishap::Refuses(403, "SignatureDoesNotMatch")),
        ("HEAD", Mishap::LosesTheAnswer),
        ("PUT", Mishap::Refuses(503, "SlowDown")),
        ("PUT", Mishap::Refuses(403, "SignatureDoesNotMatch")),
        ("PUT", Mishap::HangsUpInTheBody),
        ("PUT", Mishap::LosesTheAnswer),
        ("PUT", Mishap::Pretends),
        ("PUT", Mishap::IsSilent(Duration::from_millis(1500))),
        ("GET", Mishap::SendsHalf),
        ("GET", Mishap::FlipsABit),
        ("GET", Mishap::Refuses(500, "InternalError")),
        ("GET", Mishap::Refuses(404, "NoSuchKey")),
    ];
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.env("CIS490_ARCHIVE_SILENCE_MS", 700);
    world.start();
    for (n, (method, mishap)) in cases.into_iter().enumerate() {
        let episode = format!("ep-{n}");
        store.once(method, &episode, mishap.clone());
        assert_eq!(world.put(&put(&world, &episode)).status, 201);
        wait_proven(&world, &episode);
        store.with(&key(&episode, &body(&episode)), |object| {
            assert_eq!(object.bytes, body(&episode), "{mishap:?}");
        });
    }
    // The two that a reader of the log must know of: a flipped bit, and an object that GET did not find.
    let log = world.log();
    assert_eq!(log.matches("event=archive_mismatch").count(), 2, "{log}");
    assert!(!log.contains("SECRET") && !log.contains("event=archive_lost"));
}

#[test]
fn an_episode_that_the_store_refuses_holds_up_no_other() {
    for mishap in [
        Mishap::Refuses(400, "InvalidDigest"),
        Mishap::Refuses(413, "EntityTooLarge"),
        Mishap::Refuses(500, "InternalError"),
        Mishap::Refuses(403, "AccessDenied"),
    ] {
        let store = ScriptedStore::start();
        let mut world = world(&store, "");
        world.start();
        store.always("PUT", "bad", mishap.clone());
        assert_eq!(world.put(&put(&world, "bad")).status, 201);
        for episode in ["ep-1", "ep-2"] {
            archived(&world, episode);
        }
        assert!(
            !ledger(&world).contains(&"bad proven".to_owned()),
            "{mishap:?}"
        );
        // It is tried again, and gets there.
        store.calm();
        wait_proven(&world, "bad");
    }
}

/// A file that the system does not open, as on a disk with a bad block in a folder.
#[test]
fn a_file_that_cannot_be_opened_holds_up_no_other() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    store.always("HEAD", "", Mishap::Refuses(503, "SlowDown"));
    world.start();
    let bad = world.good().path("/v1/episodes/lab-0/ep-1");
    assert_eq!(world.put(&bad).status, 201);
    assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
    world.stop();
    let folder = world.data_dir().join("episodes/lab-0");
    let aside = world.dir().join("aside");
    fs::rename(&folder, &aside).unwrap();
    std::os::unix::fs::symlink("lab-0", &folder).unwrap();
    store.calm();
    hurry(&mut world);
    world.start();
    wait_proven(&world, "ep-2");
    world.wait_until("the other is named", |world| {
        world
            .log()
            .contains("event=archive_refused host=lab-0 episode=ep-1 kind=own-file")
    });
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    wait_proven(&world, "ep-1");
}

#[test]
fn a_file_that_has_rotted_here_is_refused_there_and_named() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    store.always("HEAD", "", Mishap::Refuses(503, "SlowDown"));
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    let path = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    let mut rotten = body("ep-1");
    rotten[3] ^= 1;
    fs::write(&path, &rotten).unwrap();
    store.calm();
    world.wait_until("it is named", |world| {
        world
            .log()
            .contains("event=archive_refused host=lab-1 episode=ep-1 kind=own-file")
    });
    assert!(store.keys().is_empty() && ledger(&world).is_empty());
}

#[test]
fn a_store_that_keeps_other_bytes_is_found_out() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    world.start();
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    let key = key("ep-1", &body("ep-1"));
    wait_for_object(&store, &world, &key);
    world.stop();
    // HEAD still shows the right length and the right digest.
    store.damage(&key, |bytes| bytes[0] ^= 1);
    store.age(Duration::from_secs(3600));
    hurry(&mut world);
    world.start();
    wait_proven(&world, "ep-1");
    assert!(
        world
            .log()
            .contains("event=archive_mismatch host=lab-1 episode=ep-1")
    );
    store.with(&key, |object| assert_eq!(object.bytes, body("ep-1")));
    wait_for_metric(&world, "cis490_archive_mismatches_total 1\n");
}

#[test]
fn an_object_that_is_always_broken_behind_a_right_head_is_copied_again() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    store.always("GET", "ep-1", Mishap::SendsHalf);
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    // A store may give up one broken block at each try, and needs several. The waits grow from failure to
    // failure, and a copy is none.
    world.wait_until("it is copied again", |_| store.count("PUT") >= 4);
    assert!(ledger(&world).is_empty());
    store.calm();
    wait_proven(&world, "ep-1");
}

/// The bytes of several objects are gone behind a HEAD that is right, and the bucket accepts nothing: the
/// store is not away for that, and no other episode waits.
#[test]
fn objects_that_cannot_be_read_hold_up_no_other() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    world.start();
    let bad: Vec<_> = (0..6).map(|n| format!("bad-{n}")).collect();
    for episode in &bad {
        assert_eq!(world.put(&put(&world, episode)).status, 201);
        wait_for_object(&store, &world, &key(episode, &body(episode)));
    }
    store.age(Duration::from_secs(3600));
    world.stop();
    store.always("GET", "/bad-", Mishap::SendsHalf);
    store.always("PUT", "/bad-", Mishap::Refuses(403, "AccessDenied"));
    hurry(&mut world);
    world.start();
    for episode in &bad {
        world.wait_until("the object is named", |world| {
            let line = format!("event=archive_mismatch host=lab-1 episode={episode}");
            world.log().contains(&line)
        });
    }
    for n in 0..20 {
        archived(&world, &format!("ep-{n}"));
    }
    let log = world.log();
    assert!(!log.contains("kind=away"), "{log}");
    assert!(ledger(&world).iter().all(|line| !line.starts_with("bad")));
    store.calm();
    // Each waits longer from failure to failure, and a new process begins at once.
    world.stop();
    hurry(&mut world);
    world.start();
    for episode in &bad {
        wait_proven(&world, episode);
    }
}

#[test]
fn the_store_is_believed_with_verify_head_where_it_shows_the_digest() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "verify = \"head\"\n");
    world.start();
    archived(&world, "ep-1");
    assert_eq!(store.count("GET"), 0);
    store.set_digests(false, true);
    archived(&world, "ep-2");
    assert_eq!(store.count("GET"), 1);
}

#[test]
fn new_keys_are_read_when_the_store_refuses_the_old_ones() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    archived(&world, "ep-1");
    store.always("HEAD", "", Mishap::Refuses(403, "InvalidAccessKeyId"));
    assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
    world.wait_until("the fault is loud", |world| {
        world.log().contains("event=archive_stopped kind=denied")
    });
    // Three tries, then five minutes at a time, which are 200 ms here.
    let log = world.log();
    assert_eq!(log.matches("event=archive_failing").count(), 1, "{log}");
    assert!(log.contains("secret_file"), "{log}");
    write_secret(&world.dir().join("s3-keys"), "NEW-KEY\nNEW-SECRET\n");
    store.calm();
    wait_proven(&world, "ep-2");
    store.with(&key("ep-2", &body("ep-2")), |object| {
        let authorization = &object.meta["authorization"];
        assert!(
            authorization.contains("Credential=NEW-KEY/")
                || authorization.contains("Credential=KEY/")
        );
    });
    assert!(world.log().contains("event=archive_back"));
}

/// Some stores answer 403 while the body is still on its way, and the connection breaks: whether the answer
/// is seen is then chance.
#[test]
fn refused_rights_are_loud_though_connections_break_in_between() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    for _ in 0..3 {
        store.once("PUT", "", Mishap::Refuses(403, "AccessDenied"));
        store.once("PUT", "", Mishap::HangsUpInTheBody);
    }
    world.start();
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    world.wait_until("it is loud", |world| {
        world.log().contains("event=archive_stopped kind=denied")
    });
    wait_proven(&world, "ep-1");
}

#[test]
fn a_session_token_is_sent_and_signed() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    write_secret(&world.dir().join("s3-keys"), "KEY\nSECRET\nTOKEN\n");
    world.start();
    archived(&world, "ep-1");
    store.with(&key("ep-1", &body("ep-1")), |object| {
        assert_eq!(object.meta["x-amz-security-token"], "TOKEN");
        assert!(object.meta["authorization"].contains("x-amz-security-token"));
    });
}

/// A redirect could send episodes to anybody.
#[test]
fn no_redirect_is_followed() {
    let store = ScriptedStore::start();
    let elsewhere = ScriptedStore::start();
    let location = format!("Location: http://u:p@{}/lab/x\r\n", elsewhere.address);
    store.always(
        "HEAD",
        "",
        Mishap::RefusesWith(307, "TemporaryRedirect", location),
    );
    let mut world = world(&store, "");
    world.start();
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    world.wait_until("it is loud", |world| {
        world.log().contains("event=archive_stopped kind=moved")
    });
    assert!(elsewhere.requests().is_empty());
    assert!(!world.log().contains("u:p@"), "{world}");
    store.calm();
    wait_proven(&world, "ep-1");
}

#[test]
fn without_a_store_uploads_go_on_and_are_copied_when_it_is_there() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    store.always("HEAD", "", Mishap::LosesTheAnswer);
    world.env("CIS490_ARCHIVE_AGED_MS", 20 * 60_000);
    world.start();
    for n in 0..5 {
        assert_eq!(world.put(&put(&world, &format!("ep-{n}"))).status, 201);
    }
    world.wait_until("the store is away", |world| {
        world.log().contains("event=archive_failing kind=away")
    });
    assert_eq!(world.get("/v1/health").status, 200);
    let status = world.run(&["status", "--config", &world.config_path()]);
    for words in [
        "ARCHIVE",
        "bucket lab cannot be used for 20 min",
        "nothing is copied or evicted",
        "does the store run",
        "0 of 5 episodes proven in bucket lab, 0 evicted, 5 waiting (",
        "; failing for 20 min: ",
    ] {
        assert!(status.contains(words), "{words}\n{status}");
    }
    store.calm();
    for n in 0..5 {
        wait_proven(&world, &format!("ep-{n}"));
    }
    for line in [
        "cis490_archive_episodes{state=\"archived\"} 5\n",
        "cis490_archive_episodes{state=\"waiting\"} 0\n",
        "cis490_archive_oldest_waiting_seconds 0\n",
        "cis490_archive_requests_total{op=\"put\",outcome=\"ok\"} 5\n",
    ] {
        wait_for_metric(&world, line);
    }
    let metrics = world.get("/metrics").body;
    // The alerts are on findings, each of which has a series.
    for kind in ["lost", "mismatch", "away", "behind"] {
        assert!(
            metrics.contains(&format!("\ncis490_finding{{kind=\"archive-{kind}\"")),
            "{kind}"
        );
    }
    world.wait_until("the page says so too", |world| {
        let page = world.get("/").body;
        page.contains(
            "<p class=m>Archive: 5 of 5 episodes proven in bucket lab, 0 evicted, none waiting",
        )
    });
    let status = world.run(&["status", "--config", &world.config_path()]);
    let words =
        "5 of 5 episodes proven in bucket lab, 0 evicted, none waiting; the last error was ";
    assert!(
        status.contains(words) && !status.contains("ARCHIVE"),
        "{status}"
    );
}

/// Two receivers with other bytes under one name: two objects, both whole.
#[test]
fn receivers_that_share_a_bucket_replace_nothing() {
    let store = ScriptedStore::start();
    let mut first = world(&store, "");
    let mut second = world(&store, "");
    first.start();
    second.start();
    let other = b"other bytes of the same name".to_vec();
    archived(&first, "ep-1");
    let put_other = second.good().episode("ep-1").body(&other);
    assert_eq!(second.put(&put_other).status, 201);
    wait_proven(&second, "ep-1");
    // The same bytes are there already.
    let puts = store.count("PUT");
    archived(&second, "ep-2");
    assert_eq!(store.count("PUT"), puts + 1);
    archived(&first, "ep-2");
    assert_eq!(store.count("PUT"), puts + 1);
    for bytes in [body("ep-1"), other] {
        store.with(&key("ep-1", &bytes), |object| {
            assert_eq!(object.bytes, bytes)
        });
    }
}

#[test]
fn without_its_ledger_everything_is_proven_again_and_nothing_copied() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    archived(&world, "ep-1");
    archived(&world, "ep-2");
    world.stop();
    let path = world.data_dir().join("archive.jsonl");
    for damage in [
        &b""[..],
        b"{\"host\":\"lab-1\",\"episode\":\"ep-1\",\"sh",
        &[0; 700],
    ] {
        fs::write(&path, damage).unwrap();
        hurry(&mut world);
        world.start();
        let proven = |world: &World, episode: &str| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let word = format!("\"episode\":\"{episode}\"");
            text.lines()
                .any(|line| line.contains(&word) && line.ends_with("\"proven\"}"))
                && world.stored("lab-1", episode).is_some()
        };
        world.wait_until("both are proven", |world| {
            proven(world, "ep-1") && proven(world, "ep-2")
        });
        world.stop();
    }
    assert_eq!(store.count("PUT"), 2);
}
