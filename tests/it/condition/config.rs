//! `cis490 config`: what holds, and where each value is from.

use std::fs;
use std::process::Output;

use crate::client::sha256;
use crate::lab::Lab;
use crate::program::cis490;
use crate::world::World;

fn config(path: &str, args: &[&str]) -> Output {
    let command = ["config", "--config", path];
    cis490().args(command).args(args).output().unwrap()
}

fn shown(path: &str, args: &[&str]) -> String {
    let output = config(path, args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The line of a key, in single blanks.
fn line<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let is_it = |words: &Vec<&str>| words.contains(&key);
    lines
        .into_iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("{key}\n{text}"))
}

#[test]
fn the_receivers_values_stand_with_their_lines_and_without_secrets() {
    let digest = sha256(b"x");
    let world = World::prepared(&format!(
        "max_uploads = 7\n[version_gate]\nforgejo_url = \"http://pi:3000\"\nrepo_owner = \"a\"\nrepo_name = \"b\"\nauth_token = \"hunter2hunter2\"\n[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"{digest}\"\n[[host]]\nid = \"lab-2\"\naddress = \"10.0.0.2\"\n"
    ));
    let text = shown(&world.config_path(), &[]);
    assert!(
        !text.contains("hunter2") && !text.contains(&digest),
        "{text}"
    );
    let legend = " (* needs a restart; the rest, a reload)";
    assert!(text.lines().next().unwrap().ends_with(legend), "{text}");
    let file = fs::read_to_string(world.config_path()).unwrap();
    let place =
        |key: &str| (file.lines().position(|line| line.starts_with(key)).unwrap() + 1).to_string();
    assert_eq!(
        line(&text, "max_uploads"),
        ["max_uploads", "7", "#", "line", &place("max_uploads")]
    );
    assert_eq!(
        line(&text, "max_downloads"),
        ["max_downloads", "8", "#", "default"]
    );
    assert_eq!(
        line(&text, "version_gate.ca_file"),
        ["*", "version_gate.ca_file", "#", "not", "set"]
    );
    assert!(text.contains("(secret)  # line"), "{text}");
    assert!(
        text.contains("id = \"lab-1\", token_sha256 is set  # line"),
        "{text}"
    );
    assert!(
        text.contains("id = \"lab-2\", address = \"10.0.0.2\"  # line"),
        "{text}"
    );
    let json = shown(&world.config_path(), &["--json"]);
    let lines = json
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let listen = lines
        .into_iter()
        .find(|line| line["key"] == "listen")
        .unwrap();
    assert_eq!(
        (&listen["value"], &listen["restart"]),
        (&"\"127.0.0.1:0\"".into(), &true.into())
    );
}

#[test]
fn a_mistake_ends_it_with_1_and_a_lab_hosts_file_is_shown_too() {
    let lab = Lab::new("http://10.8.0.1:8490");
    let path = lab.config().display().to_string();
    let text = shown(&path, &[]);
    assert_eq!(line(&text, "receiver_url")[1], "\"http://10.8.0.1:8490\"");
    assert_eq!(
        line(&text, "scan_seconds"),
        ["scan_seconds", "5", "#", "default"]
    );
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good + "scan_seconds = 0\n").unwrap();
    let output = config(&path, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("scan_seconds accepts"),
        "{output:?}"
    );
    assert!(output.stdout.is_empty());
}
