//! Root becomes the folder's user, for good; and what root alone can read is read before.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use super::{USER, give, is_root, open_dir, run, set_mode, wait};
use crate::client::{Put, sha256};
use crate::process::{signal, status};
use crate::world::{World, cis490};

/// Makes a store as root.
fn make_store(data_dir: &str) {
    let ended = run(&["init", "--config", "x", "--data-dir", data_dir]);
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// Real, effective, saved and of files.
fn four_times(id: u32) -> String {
    format!("{id} {id} {id} {id}")
}

fn owners(dir: &Path) -> Vec<(String, u32)> {
    let mut owners = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        owners.push((
            path.display().to_string(),
            path.symlink_metadata().unwrap().uid(),
        ));
        if path.is_dir() {
            owners.extend(self::owners(&path));
        }
    }
    owners
}

/// `sudo cis490 receive` in the service's folder: the service can go on with what it leaves.
#[test]
fn a_receiver_that_root_starts_is_its_folders_user() {
    if !is_root("a_receiver_that_root_starts_is_its_folders_user") {
        return;
    }
    let mut world = World::with("[version_gate]\nenabled = false\n");
    set_mode(world.dir(), 0o755);
    assert_eq!(status(world.pid(), "Uid:"), "0 0 0 0", "root's own folder");
    world.stop();
    give(&world.data_dir());
    world.start();
    let user = four_times(USER);
    assert_eq!(status(world.pid(), "Uid:"), user);
    assert_eq!(status(world.pid(), "Gid:"), user);
    assert_eq!(status(world.pid(), "Groups:"), USER.to_string());
    assert_eq!(status(world.pid(), "NoNewPrivs:"), "1");
    for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(status(world.pid(), set), "0000000000000000", "{set}");
    }
    // Root's secrets are in its memory, which its user cannot read.
    let memory = fs::metadata(format!("/proc/{}/mem", world.pid())).unwrap();
    assert_eq!(memory.uid(), 0);
    // All of its threads.
    for task in fs::read_dir(format!("/proc/{}/task", world.pid())).unwrap() {
        assert_eq!(task.unwrap().metadata().unwrap().uid(), USER);
    }
    assert!(world.log().contains("event=became_user"), "{world}");
    let put = Put::sample(&"0".repeat(40));
    assert_eq!(world.put(&put).status, 201, "{world}");
    assert_eq!(world.put(&put.body(b"other")).status, 409, "{world}");
    world.stop();
    for (path, uid) in owners(&world.data_dir()) {
        assert_eq!(uid, USER, "{path}");
    }
}

#[test]
fn commands_of_root_leave_all_to_the_folders_user() {
    if !is_root("commands_of_root_leave_all_to_the_folders_user") {
        return;
    }
    let dir = open_dir();
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("episodes/lab-1")).unwrap();
    fs::write(data.join("episodes/lab-1/ep.tar.zst"), "bytes").unwrap();
    give(&data);
    let config = dir.path().join("receiver.toml");
    fs::write(&config, format!("data_dir = {data:?}\n")).unwrap();
    // Only root can read it, and goes on with what it has read.
    set_mode(&config, 0o600);
    let config = config.to_str().unwrap();
    for command in ["init", "backfill", "scrub", "status", "refusals", "list"] {
        let ended = run(&[command, "--config", config]);
        assert_eq!(ended.code, 0, "{command}\n{ended:?}");
    }
    assert!(data.join("index.jsonl").exists() && data.join("scrub.json").exists());
    for (path, uid) in owners(&data) {
        assert_eq!(uid, USER, "{path}");
    }
    // A new folder in one of his is his; one in root's own stays root's.
    let made = |path: &Path| {
        let ended = run(&[
            "init",
            "--config",
            config,
            "--data-dir",
            path.to_str().unwrap(),
        ]);
        assert_eq!(ended.code, 0, "{ended:?}");
        path.join("incoming").metadata().unwrap().uid()
    };
    assert_eq!(made(&data.join("quarantine/a/b")), USER);
    assert_eq!(made(&dir.path().join("new/data")), 0);
}

/// A file that an earlier version left there as root is named: it is not taken for a missing one.
#[test]
fn a_file_that_root_left_in_the_users_folder_is_named() {
    if !is_root("a_file_that_root_left_in_the_users_folder_is_named") {
        return;
    }
    let dir = open_dir();
    let data = dir.path().join("data");
    let data_dir = data.to_str().unwrap();
    make_store(data_dir);
    give(&data);
    let index = data.join("index.jsonl");
    fs::write(&index, "").unwrap();
    set_mode(&index, 0o600);
    let ended = run(&["backfill", "--data-dir", data_dir]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.said.contains("it is root's"), "{ended:?}");
    assert!(
        ended.said.contains("sudo cis490 install hands it over"),
        "{ended:?}"
    );
}

#[test]
fn a_folder_that_a_third_could_exchange_is_refused_in_words() {
    if !is_root("a_folder_that_a_third_could_exchange_is_refused_in_words") {
        return;
    }
    let dir = open_dir();
    let above = dir.path().join("above");
    let data = above.join("data");
    let data_dir = data.to_str().unwrap();
    fs::create_dir(&above).unwrap();
    make_store(data_dir);
    give(&data);
    std::os::unix::fs::chown(&above, Some(USER + 1), None).unwrap();
    for words in [
        &["init", "--config", "x"][..],
        &["backfill"],
        &["scrub"],
        &["refusals"],
    ] {
        let words = [words, &["--data-dir", data_dir]].concat();
        let ended = run(&words);
        assert_eq!(ended.code, 1, "{words:?} {ended:?}");
        assert!(ended.said.contains("root does not work in"), "{ended:?}");
        assert!(
            ended.said.contains(&format!("the user {}", USER + 1)),
            "{ended:?}"
        );
    }
    std::os::unix::fs::chown(&above, Some(0), None).unwrap();
    set_mode(&above, 0o777);
    let ended = run(&["backfill", "--data-dir", data_dir]);
    assert!(
        ended.said.contains("everybody on this machine may write"),
        "{ended:?}"
    );
    set_mode(&above, 0o1777);
    assert_eq!(run(&["backfill", "--data-dir", data_dir]).code, 0);
}

/// Where the user could make it at any moment, root does not wait for that as root.
#[test]
fn a_folder_that_is_missing_in_the_users_own_is_looked_for_as_he() {
    if !is_root("a_folder_that_is_missing_in_the_users_own_is_looked_for_as_he") {
        return;
    }
    let mut world = World::prepared("[version_gate]\nenabled = false\n");
    set_mode(world.dir(), 0o755);
    let above = world.dir().join("above");
    fs::create_dir(&above).unwrap();
    give(&above);
    world.configure("drain_seconds = 0");
    let config = fs::read_to_string(world.config_path()).unwrap();
    let data = world.data_dir().display().to_string();
    let moved = config.replace(&data, above.join("none").to_str().unwrap());
    fs::write(world.config_path(), moved).unwrap();
    assert!(!world.try_start(), "{world}");
    let log = world.log();
    assert!(log.contains("event=became_user"), "{log}");
    assert!(log.contains("none does not exist"), "{log}");
}

/// In a folder of root's, one of another user is as little root's to work in.
#[test]
fn a_folder_of_another_within_roots_own_is_refused_in_words() {
    if !is_root("a_folder_of_another_within_roots_own_is_refused_in_words") {
        return;
    }
    let dir = open_dir();
    let data = dir.path().join("data");
    let data_dir = data.to_str().unwrap();
    make_store(data_dir);
    give(&data.join("episodes"));
    for words in [&["backfill"][..], &["backfill", "--dry-run"]] {
        let ended = run(&[words, &["--data-dir", data_dir]].concat());
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(
            ended.said.contains("episodes: it belongs to the user"),
            "{ended:?}"
        );
        assert!(
            ended.said.contains("sudo cis490 install receiver"),
            "{ended:?}"
        );
    }
}

/// The token is root's alone: it goes with the first upload, and the log says what follows from it.
#[test]
fn a_token_that_only_root_can_read_is_read_before() {
    if !is_root("a_token_that_only_root_can_read_is_read_before") {
        return;
    }
    let token = "a-token-of-thirty-two-characters";
    let rule = format!(
        "[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"{}\"\n",
        sha256(token.as_bytes())
    );
    let world = World::with(&format!("[version_gate]\nenabled = false\n{rule}"));
    let dir = open_dir();
    let file = dir.path().join("token");
    fs::write(&file, token).unwrap();
    set_mode(&file, 0o600);
    let root = dir.path().join("root");
    let config = dir.path().join("shipper.toml");
    let text = format!(
        "receiver_url = \"http://{}\"\nhost_id = \"lab-1\"\nroot = {root:?}\ntoken_file = {file:?}\nscan_seconds = 1\n",
        world.address()
    );
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    assert_eq!(run(&["init", "--config", config]).code, 0);
    let episode = root.join("episodes/ep");
    fs::create_dir(&episode).unwrap();
    let meta = format!("{{\"code_version\":{{\"commit\":\"{}\"}}}}", "0".repeat(40));
    fs::write(episode.join("meta.json"), meta).unwrap();
    give(&root);
    let log = dir.path().join("log");
    let mut shipper = cis490()
        .args(["ship", "--config", config])
        .stdin(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !root.join("shipped/ep").exists() {
        assert!(Instant::now() < until, "{}", said());
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(status(shipper.id(), "Uid:"), four_times(USER));
    signal(shipper.id(), "TERM");
    wait(&mut shipper, "ship");
    assert!(
        said().contains(&format!("event=secret_of_root file={file:?}")),
        "{}",
        said()
    );
    assert!(!said().contains(token), "{}", said());
    for (path, uid) in owners(&root) {
        assert_eq!(uid, USER, "{path}");
    }
}

/// The user's link names a folder that is not there, in a folder of root's: he could exchange the link
/// at any moment.
#[test]
fn a_users_link_to_nowhere_does_not_make_root_work_as_root() {
    if !is_root("a_users_link_to_nowhere_does_not_make_root_work_as_root") {
        return;
    }
    let dir = open_dir();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir(at("his")).unwrap();
    fs::create_dir(at("roots")).unwrap();
    symlink(at("roots/none"), at("his/data")).unwrap();
    give(&at("his"));
    let data_dir = at("his/data");
    let receiver = dir.path().join("receiver.toml");
    let text = format!(
        "data_dir = {data_dir:?}\nlisten = \"127.0.0.1:0\"\n[version_gate]\nenabled = false\n"
    );
    fs::write(&receiver, text).unwrap();
    let receiver = receiver.to_str().unwrap();
    let ended = run(&["receive", "--config", receiver]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.said.contains("event=became_user"), "{ended:?}");
    for command in ["init", "backfill"] {
        let ended = run(&[command, "--config", receiver]);
        assert_eq!(ended.code, 1, "{command}: {ended:?}");
    }
    assert_eq!(fs::read_dir(at("roots")).unwrap().count(), 0);
}

/// Root's own folder, and within it one that leads elsewhere, is open to all, or is the recorder's.
#[test]
fn an_inner_folder_that_another_could_exchange_is_refused_in_words() {
    if !is_root("an_inner_folder_that_another_could_exchange_is_refused_in_words") {
        return;
    }
    let dir = open_dir();
    let at = |path: &str| dir.path().join(path);
    let config = |name: &str, text: String| {
        fs::write(at(name), text).unwrap();
        at(name).display().to_string()
    };
    let (data, root) = (at("data"), at("root"));
    let receiver = config("r.toml", format!("data_dir = {data:?}\n"));
    let shipper = config(
        "s.toml",
        format!("receiver_url = \"http://127.0.0.1:1\"\nhost_id = \"lab-1\"\nroot = {root:?}\n"),
    );
    let refused = |words: &str, config: &str, why: &str| {
        let words: Vec<&str> = words.split(' ').chain(["--config", config]).collect();
        let ended = run(&words);
        assert_eq!(ended.code, 1, "{words:?} {ended:?}");
        assert!(ended.said.contains("root does not work in"), "{ended:?}");
        assert!(ended.said.contains(why), "{why}: {ended:?}");
    };
    for config in [&receiver, &shipper] {
        assert_eq!(run(&["init", "--config", config]).code, 0);
    }
    give(&root.join("episodes"));
    for words in ["ship --once", "requeue --all", "set-aside --commit abcdef0"] {
        refused(
            words,
            &shipper,
            &format!("sudo chown -R {USER} {}", root.display()),
        );
    }
    // What the words advise.
    give(&root);
    let ended = run(&["requeue", "--all", "--config", &shipper]);
    assert_eq!(ended.code, 0, "{ended:?}");
    set_mode(&data.join("incoming"), 0o777);
    refused("backfill", &receiver, "everybody on this machine may write");
    set_mode(&data.join("incoming"), 0o755);
    fs::rename(data.join("incoming"), at("elsewhere")).unwrap();
    symlink(at("elsewhere"), data.join("incoming")).unwrap();
    refused("backfill", &receiver, "it is a symbolic link");
}

/// Somebody who may write the configuration could name root's secret as a token, and a receiver of his
/// own.
#[test]
fn a_configuration_that_others_may_write_has_root_read_no_secret() {
    if !is_root("a_configuration_that_others_may_write_has_root_read_no_secret") {
        return;
    }
    let dir = open_dir();
    let at = |path: &str| dir.path().join(path);
    fs::write(at("secret"), "a-secret-of-thirty-two-characters").unwrap();
    set_mode(&at("secret"), 0o600);
    let (data, root, secret) = (at("data"), at("root"), at("secret"));
    let config = |name: &str, text: String| {
        fs::write(at(name), text).unwrap();
        at(name)
    };
    let receiver = config(
        "r.toml",
        format!(
            "data_dir = {data:?}\nlisten = \"127.0.0.1:0\"\n[version_gate]\nforgejo_url = \"http://127.0.0.1:1\"\nrepo_owner = \"lab\"\nrepo_name = \"x\"\nauth_token_file = {secret:?}\n"
        ),
    );
    let shipper = config(
        "s.toml",
        format!(
            "receiver_url = \"http://127.0.0.1:1\"\nhost_id = \"lab-1\"\nroot = {root:?}\ntoken_file = {secret:?}\n"
        ),
    );
    let asks = [
        ("receive", &receiver),
        ("doctor", &receiver),
        ("ship --once", &shipper),
        ("doctor", &shipper),
        ("check --repo /nonexistent", &shipper),
    ];
    let ask = |words: &str, config: &Path| {
        let words = words
            .split(' ')
            .chain(["--config", config.to_str().unwrap()]);
        run(&words.collect::<Vec<_>>())
    };
    let his = format!("the user {USER} may write it");
    for (is_his, why) in [
        (true, his.as_str()),
        (false, "everybody on this machine may write"),
    ] {
        for (words, config) in asks {
            std::os::unix::fs::chown(config, Some(0), Some(0)).unwrap();
            set_mode(config, 0o644);
            let ended = ask(words, config);
            assert!(!ended.said.contains("root reads no file"), "{ended:?}");
            if is_his {
                give(config);
            } else {
                set_mode(config, 0o666);
            }
            let ended = ask(words, config);
            assert_eq!(ended.code, 1, "{words}: {ended:?}");
            assert!(ended.said.contains("root reads no file"), "{ended:?}");
            assert!(ended.said.contains(why), "{ended:?}");
            let file = config.display();
            let to_type = if is_his {
                format!("sudo chown root {file} && sudo chmod go-w {file}")
            } else {
                format!("read what is in {file}, then: sudo chmod go-w {file}")
            };
            assert!(ended.said.contains(&to_type), "{ended:?}");
            for of_folders in ["another folder", "a store"] {
                assert!(!ended.said.contains(of_folders), "{ended:?}");
            }
        }
    }
}
