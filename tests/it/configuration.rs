//! Mistakes in a configuration and on the command line, as the operator meets them: what is wrong,
//! what is allowed, and never a secret.

use std::fs;
use std::process::Output;

use crate::lab::Lab;
use crate::world::{TempDir, World, cis490};

/// The exit status, stdout and stderr.
fn run(args: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = cis490().args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// What a failing command says; it says no more than an error and a hint.
fn refused(args: &[&str]) -> String {
    ended_with(1, args)
}

/// As [`refused`], where the command line itself is the mistake.
fn mistaken(args: &[&str]) -> String {
    ended_with(2, args)
}

fn ended_with(status: i32, args: &[&str]) -> String {
    let (code, out, err) = run(args);
    assert_eq!((code, out.as_str()), (status, ""), "{args:?}\n{err}");
    assert!(err.starts_with("cis490: error: "), "{args:?}\n{err}");
    assert!(err.lines().count() <= 2, "{args:?}\n{err}");
    err
}

#[test]
fn an_unknown_key_is_named_and_its_value_never_shown() {
    let dir = TempDir::new();
    let file = dir.path().join("receiver.toml");
    let config = file.to_str().unwrap();
    for (text, named, meant) in [
        (
            "[version_gate]\nauth_tokn = \"my-secret\"\n",
            "line 3, column 1: version_gate.auth_tokn is not a known key",
            "did you mean version_gate.auth_token?",
        ),
        (
            "[[host]]\nid = \"lab-1\"\ntoken_sha265 = \"my-secret\"\n",
            "line 4, column 1: host.token_sha265 is not a known key",
            "did you mean host.token_sha256?",
        ),
        (
            "[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"my-secret\"\n",
            "host.token_sha256 is not right; its value is not shown",
            "the 64 hex digits that cis490 token prints",
        ),
        (
            "[version_gate]\nauth_token = \"my-secret\n",
            "line 3, column 24: not valid TOML",
            "fix that place",
        ),
    ] {
        fs::write(&file, format!("data_dir = \"/d\"\n{text}")).unwrap();
        for command in [
            "receive", "doctor", "status", "init", "scrub", "refusals", "list",
        ] {
            let words = refused(&[command, "--config", config]);
            for part in [config, named, meant] {
                assert!(words.contains(part), "{command}: {part}\n{words}");
            }
            assert!(!words.contains("my-secret"), "{command}\n{words}");
        }
    }
}

#[test]
fn the_configuration_of_the_other_side_is_named() {
    let world = World::prepared("");
    let lab = Lab::new("http://127.0.0.1:1");
    let (receiver, shipper) = (world.config_path(), lab.config().display().to_string());
    for args in [
        &["ship", "--config", &receiver][..],
        &["check", "--config", &receiver],
        &["requeue", "ep-1", "--config", &receiver],
    ] {
        let words = refused(args);
        let named = format!("{receiver} is a receiver's configuration (receiver.toml), not a lab");
        assert!(words.contains(&named), "{words}");
        assert!(words.contains("--config FILE"), "{words}");
    }
    for command in ["receive", "backfill", "scrub", "refusals"] {
        let words = refused(&[command, "--config", &shipper]);
        let named = format!("{shipper} is a lab host's configuration (shipper.toml), not a rec");
        assert!(words.contains(&named), "{words}");
    }
}

#[test]
fn a_value_on_the_command_line_is_explained() {
    for (args, error, hint) in [
        (
            &["refusals", "--last", "x"][..],
            "--last x is not allowed",
            "--last accepts a whole number",
        ),
        (
            &["receive", "--listen", "x"],
            "--listen x is not allowed",
            "--listen accepts ADDRESS:PORT, such as 10.8.0.1:8490",
        ),
        (
            &["scrub", "--rate", "fast"],
            "--rate fast is not allowed",
            "--rate accepts bytes a second, such as 500k, 20M or 1G",
        ),
        (
            &["scrub", "--since", "yesterday"],
            "--since yesterday is not allowed",
            "--since accepts 2026-01-31",
        ),
        (
            &["token", "Lab 1"],
            "\"Lab 1\" is not a host id (1-63 of a-z",
            "cis490 token --help says more",
        ),
    ] {
        let words = mistaken(args);
        assert!(words.contains(error) && words.contains(hint), "{words}");
    }
}

/// An editor's mark at the beginning is skipped, in the configuration and in the token file.
#[test]
fn a_byte_order_mark_is_skipped() {
    let world = World::new();
    let url = format!("http://{}", world.address());
    let lab = Lab::with(&url, "token_file = \"TOKEN\"");
    let token = lab.dir().join("token");
    fs::write(&token, "\u{feff}sesame\r\n").unwrap();
    let text = fs::read_to_string(lab.config()).unwrap();
    let text = text.replace("TOKEN", token.to_str().unwrap());
    fs::write(lab.config(), format!("\u{feff}{text}")).unwrap();
    lab.episode("ep-1", world.repo.head());
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}");
}

#[test]
fn init_makes_a_lab_hosts_folder_that_is_named() {
    let dir = TempDir::new();
    let root = dir.path().join("queue");
    let (code, out, err) = run(&["init", "--root", root.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("is ready for cis490 ship"), "{out}");
    assert!(root.join("episodes").is_dir() && root.join("refused").is_dir());
    let words = mistaken(&["init", "--root", "/r", "--data-dir", "/d"]);
    assert!(words.contains("give one of them"), "{words}");
}

#[test]
fn manual_pages_are_written_to_a_new_folder() {
    let dir = TempDir::new();
    let pages = dir.path().join("share/man/man1");
    let (code, _, err) = run(&["man", "--dir", pages.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert!(pages.join("cis490-ship.1").is_file() && pages.join("cis490.1").is_file());
}

#[test]
fn the_version_is_asked_in_any_way() {
    let (_, version, _) = run(&["--version"]);
    assert!(version.starts_with("cis490 "), "{version}");
    for word in ["-V", "version"] {
        let (code, out, _) = run(&[word]);
        assert_eq!((code, out), (0, version.clone()), "{word}");
    }
}
