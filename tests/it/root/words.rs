//! Whom a folder is closed to, and a disk that cannot be written: each has its own words.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::{Ended, USER, give, is_root, open_dir, run, set_mode};
use crate::world::cis490;

/// As a person of this machine who is neither root nor the service.
fn run_as_another(arguments: &[&str]) -> Ended {
    let output = cis490()
        .args(arguments)
        .uid(USER + 1)
        .gid(USER + 1)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    Ended {
        code: output.status.code().unwrap_or(-1),
        said: String::from_utf8_lossy(&said).into_owned(),
    }
}

/// As `install` makes them: 0750, and the configuration readable or not.
#[test]
fn a_plain_user_gets_the_hint_to_use_sudo_and_no_worse_one() {
    if !is_root("a_plain_user_gets_the_hint_to_use_sudo_and_no_worse_one") {
        return;
    }
    let dir = open_dir();
    let (data, root) = (dir.path().join("data"), dir.path().join("root"));
    let receiver = dir.path().join("receiver.toml");
    let shipper = dir.path().join("shipper.toml");
    fs::write(&receiver, format!("data_dir = {data:?}\n")).unwrap();
    fs::write(
        &shipper,
        format!("receiver_url = \"http://127.0.0.1:1\"\nhost_id = \"lab-1\"\nroot = {root:?}\n"),
    )
    .unwrap();
    for config in [&receiver, &shipper] {
        assert_eq!(run(&["init", "--config", config.to_str().unwrap()]).code, 0);
        set_mode(config, 0o644);
    }
    for folder in [&data, &root] {
        give(folder);
        set_mode(folder, 0o750);
    }
    let config_of = |words: &str| match words {
        "ship --once" | "requeue ep" | "lab status" => &shipper,
        _ => &receiver,
    };
    let ask = |words: &str| {
        let config = config_of(words).to_str().unwrap();
        let words = words.trim_start_matches("lab ").split(' ');
        run_as_another(&words.chain(["--config", config]).collect::<Vec<_>>())
    };
    let all = [
        "status",
        "lab status",
        "refusals",
        "list",
        "backfill",
        "scrub",
        "receive",
        "ship --once",
        "requeue ep",
        "init",
    ];
    for words in all {
        let ended = ask(words);
        assert_eq!(ended.code, 1, "{words}: {ended:?}");
        assert!(
            ended.said.contains("run it with sudo"),
            "{words}: {ended:?}"
        );
        for wrong in ["chown", "is no queue", "is not a store", "cis490 init"] {
            assert!(!ended.said.contains(wrong), "{words}: {ended:?}");
        }
    }
    // And a configuration that is closed: it is there.
    for config in [&receiver, &shipper] {
        set_mode(config, 0o600);
    }
    for words in all {
        let ended = ask(words);
        assert!(
            ended.said.contains("run it with sudo"),
            "{words}: {ended:?}"
        );
        assert!(!ended.said.contains("name the file"), "{words}: {ended:?}");
    }
}

#[test]
fn a_disk_that_is_read_only_is_called_so() {
    let test = "a_disk_that_is_read_only_is_called_so";
    if !is_root(test) {
        return;
    }
    let dir = open_dir();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let folder = folder.to_str().unwrap();
    let config = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let receiver = config(
        "r.toml",
        format!("data_dir = {folder:?}\nlisten = \"127.0.0.1:0\"\n"),
    );
    let shipper = config(
        "s.toml",
        format!("receiver_url = \"http://127.0.0.1:1\"\nhost_id = \"lab-1\"\nroot = {folder:?}\n"),
    );
    for (config, words) in [
        (&receiver, "receive"),
        (&receiver, "backfill"),
        (&receiver, "doctor"),
        (&shipper, "ship --once"),
        (&shipper, "doctor"),
    ] {
        let script = format!(
            "mount -t tmpfs -o mode=755 none {folder} && $0 init --config {config} && mount -o remount,ro {folder} && exec $0 {words} --config {config}"
        );
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .arg(cis490().get_program())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if said.contains("mount:") {
            return skip!("{test}: no mounts here");
        }
        assert!(!output.status.success(), "{words}: {said}");
        assert!(said.contains("read-only"), "{words}: {said}");
        assert!(!said.contains("chown"), "{words}: {said}");
        assert!(!said.contains("run it with sudo"), "{words}: {said}");
    }
}
