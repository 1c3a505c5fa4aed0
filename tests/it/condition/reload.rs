//! SIGHUP on either side: what of a configuration takes effect while the program runs, what waits for a
//! restart, and that a file with a mistake changes nothing.

use std::fs;

use crate::client::sha256;
use crate::here::mkfifo;
use crate::lab::Lab;
use crate::ship::A;
use crate::ship::stub::{Reply, Stub};
use crate::world::World;

/// The receiver's file with these lines in place of those.
pub fn edit(world: &World, from: &str, to: &str) {
    let text = fs::read_to_string(world.config_path()).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(world.config_path(), text.replace(from, to)).unwrap();
}

fn append(world: &World, lines: &str) {
    let text = fs::read_to_string(world.config_path()).unwrap();
    fs::write(world.config_path(), format!("{text}\n{lines}")).unwrap();
}

/// SIGHUP, and waits for the line that follows.
pub fn reload(world: &World, event: &str) {
    let count = |world: &World| world.log().matches(&format!("event={event} ")).count();
    let before = count(world);
    world.signal("HUP");
    world.wait_until("it was reloaded", |world| count(world) > before);
}

fn host(id: &str, token: &str) -> String {
    let digest = sha256(token.as_bytes());
    format!("[[host]]\nid = \"{id}\"\ntoken_sha256 = \"{digest}\"\n")
}

#[test]
fn a_host_gets_in_after_a_reload_and_is_out_again_after_another() {
    let world = World::with(&host("lab-9", "other"));
    let put = || {
        let put = world.good().extra("Authorization: Bearer sesame\r\n");
        world.put(&put).status
    };
    assert_eq!(put(), 403, "{world}");
    append(&world, &host("lab-1", "sesame"));
    reload(&world, "reloaded");
    assert!(
        world.log().contains("event=reloaded changed=\"host\""),
        "{world}"
    );
    assert_eq!(put(), 201, "{world}");
    let hosts = world.get("/v1/status").json()["hosts"].to_string();
    assert!(hosts.contains("lab-1"), "{hosts}");
    edit(&world, &host("lab-1", "sesame"), &host("lab-1", "another"));
    reload(&world, "reloaded");
    assert_eq!(put(), 401, "{world}");
    // Without any table anybody may, and the log says so as at a start.
    assert!(!world.log().contains("event=open_to_all"), "{world}");
    edit(&world, &host("lab-1", "another"), "");
    edit(&world, &host("lab-9", "other"), "");
    reload(&world, "reloaded");
    assert!(world.log().contains("event=open_to_all"), "{world}");
    assert_eq!(
        world.put(&world.good().episode("ep-2")).status,
        201,
        "{world}"
    );
}

#[test]
fn window_remediation_and_limits_change_while_it_runs() {
    let world = World::new();
    let too_old = || world.put(&world.good().commit(world.too_old()).episode("ep-old"));
    assert_eq!(too_old().status, 412);
    edit(
        &world,
        "window = 3",
        "window = 3\nremediation = \"ask the maintainer\"",
    );
    reload(&world, "reloaded");
    assert_eq!(
        too_old().json()["remediation"],
        "ask the maintainer",
        "{world}"
    );
    // All five commits of the repository.
    edit(&world, "window = 3", "window = 9");
    reload(&world, "reloaded");
    world.wait_until("the window is longer", |world| {
        world.get("/v1/gate").json()["commits"]
            .as_array()
            .unwrap()
            .len()
            == 5
    });
    let admitted = too_old();
    assert_eq!(admitted.status, 201, "{world}");
    assert_eq!(admitted.header("X-Cis490-Gate-Position"), Some("5/9"));
    edit(&world, "window = 9", "window = 1");
    reload(&world, "reloaded");
    let gate = world.get("/v1/gate").json();
    assert_eq!(
        (&gate["window"], gate["commits"].as_array().unwrap().len()),
        (&1.into(), 1)
    );

    edit(
        &world,
        "min_free_bytes = 0",
        "min_free_bytes = 0\nmax_episode_bytes = 10",
    );
    reload(&world, "reloaded");
    let large = world.good().episode("ep-large").body(&[7; 11]);
    assert_eq!(world.put(&large).status, 413, "{world}");
    edit(
        &world,
        "min_free_bytes = 0",
        "min_free_bytes = 9223372036854775807",
    );
    reload(&world, "reloaded");
    let small = world.good().episode("ep-small").body(&[7; 5]);
    assert_eq!(world.put(&small).status, 507, "{world}");
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_the_log_says_so() {
    let world = World::with("max_uploads = 5\n");
    append(&world, &host("lab-9", "other"));
    edit(&world, "max_uploads = 5", "max_uploads = 0");
    reload(&world, "reload_failed");
    assert!(world.log().contains("max_uploads accepts"), "{world}");
    // No host table holds: anybody may still upload.
    assert_eq!(world.put(&world.good()).status, 201, "{world}");
    edit(&world, "max_uploads = 0", "max_uploads = 5");
    reload(&world, "reloaded");
    assert_eq!(
        world.put(&world.good().episode("ep-2")).status,
        403,
        "{world}"
    );
}

#[test]
fn a_key_that_needs_a_restart_is_named_and_the_others_apply() {
    let world = World::with("idle_timeout_seconds = 60\n");
    let waiting = || world.get("/v1/status").json()["config_waiting"].clone();
    assert_eq!(waiting(), serde_json::json!([]));
    edit(
        &world,
        "idle_timeout_seconds = 60",
        "idle_timeout_seconds = 61\nsilent_after_hours = 7",
    );
    edit(&world, "127.0.0.1:0", "127.0.0.1:1");
    reload(&world, "config_waiting");
    assert!(
        world
            .log()
            .contains("event=config_waiting keys=\"listen,idle_timeout_seconds\""),
        "{world}"
    );
    assert_eq!(
        waiting(),
        serde_json::json!(["listen", "idle_timeout_seconds"])
    );
    let status = world.get("/v1/status").json();
    assert_eq!(status["silent_after_seconds"], 7 * 3600);
    let shown = world.run(&["status", "--config", &world.config_path()]);
    assert!(
        shown.contains("listen, idle_timeout_seconds: changed, and needs a restart"),
        "{shown}"
    );
    edit(&world, "127.0.0.1:1", "127.0.0.1:0");
    edit(
        &world,
        "idle_timeout_seconds = 61",
        "idle_timeout_seconds = 60",
    );
    reload(&world, "reloaded");
    assert_eq!(waiting(), serde_json::json!([]));
}

#[test]
fn an_upload_under_way_ends_under_the_rules_that_it_began_with() {
    let world = World::with("max_uploads = 5\n");
    let body = vec![7; 100_000];
    let bytes = world.good().body(&body).bytes();
    let mut client = world.client();
    client.send(&bytes[..bytes.len() - 1]).unwrap();
    world.wait_until("it is under way", |world| {
        world.get("/v1/health").json()["uploads"] == 1
    });
    edit(
        &world,
        "max_uploads = 5",
        "max_uploads = 1\nmax_episode_bytes = 10",
    );
    append(&world, &host("lab-9", "other"));
    reload(&world, "reloaded");
    client.send(&bytes[bytes.len() - 1..]).unwrap();
    assert_eq!(client.answer().unwrap().status, 201, "{world}");
    assert_eq!(
        world.put(&world.good().episode("ep-2")).status,
        403,
        "{world}"
    );
}

#[test]
fn a_lab_host_goes_to_another_receiver_after_a_reload() {
    let first = Stub::new([Reply::Say(crate::ship::stub::answer(
        503,
        "Retry-After: 3600\r\n",
        "",
    ))]);
    let second = Stub::new([Reply::Store]);
    let lab = Lab::with(&first.url, "scan_seconds = 1");
    lab.episode("ep-1", A);
    let shipper = lab.ship();
    shipper.wait_until("it waits", || shipper.log().contains("event=receiver_away"));
    lab.point_at(&second.url);
    shipper.signal("HUP");
    shipper.wait_until("it is shipped", || lab.names("episodes").is_empty());
    assert!(
        shipper
            .log()
            .contains("event=reloaded changed=\"receiver_url\""),
        "{lab}"
    );
    assert_eq!(second.stored().len(), 1);
}

#[test]
fn a_mistake_in_shipper_toml_changes_nothing_and_a_host_id_waits() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    let good = fs::read_to_string(lab.config()).unwrap();
    let shipper = lab.ship();
    shipper.wait_until("it runs", || {
        shipper.log().contains("event=shipper_started")
    });
    fs::write(
        lab.config(),
        good.replace("scan_seconds = 1", "scan_seconds = 0"),
    )
    .unwrap();
    shipper.signal("HUP");
    shipper.wait_until("it says so", || {
        shipper.log().contains("event=reload_failed")
            && shipper.log().contains("scan_seconds accepts")
    });
    fs::write(lab.config(), good.replace("lab-1", "lab-2")).unwrap();
    shipper.signal("HUP");
    shipper.wait_until("it is named", || {
        shipper
            .log()
            .contains("event=config_waiting keys=\"host_id\"")
    });
    lab.episode("ep-1", A);
    shipper.wait_until("it is shipped", || lab.names("episodes").is_empty());
    assert!(
        stub.stored().keys().all(|path| path.contains("/lab-1/")),
        "{lab}"
    );
    shipper.wait_until("status names it", || {
        let status = lab.run(&["status"], &[]);
        status
            .out
            .contains("host_id changed, and needs a restart of the shipper")
    });
}

/// A service that waited for the writer of a pipe could act on no signal meanwhile.
#[test]
fn a_pipe_in_the_place_of_the_file_is_not_waited_for() {
    let mut world = World::with("");
    let before = fs::read(world.config_path()).unwrap();
    fs::remove_file(world.config_path()).unwrap();
    mkfifo(world.config_path().as_ref());
    reload(&world, "reload_failed");
    assert!(world.log().contains("it is no file"), "{world}");
    fs::remove_file(world.config_path()).unwrap();
    fs::write(world.config_path(), before).unwrap();
    reload(&world, "reloaded");
    assert_eq!(world.stop(), Some(0), "{world}");

    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    let shipper = lab.ship();
    shipper.wait_until("it runs", || {
        shipper.log().contains("event=shipper_started")
    });
    fs::remove_file(lab.config()).unwrap();
    mkfifo(&lab.config());
    shipper.signal("HUP");
    shipper.wait_until("it says so", || {
        shipper.log().contains("event=reload_failed")
    });
    assert_eq!(shipper.stop(), 0);
}
