//! What holds for every command that a person types.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::PATIENCE;
use crate::here::{TempDir, mkfifo};
use crate::process::signal;
use crate::program::cis490;

/// Signals were blocked for all commands, and those that do not wait for them could not be stopped.
#[test]
fn a_command_that_takes_long_ends_on_a_signal() {
    let dir = TempDir::new();
    let fifo = dir.path().join("never-written");
    mkfifo(&fifo);
    for command in ["status", "requeue", "backfill"] {
        let mut child = cis490()
            .args([command, "--config", fifo.to_str().unwrap()])
            .args((command == "requeue").then_some("ep-1"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + PATIENCE;
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "{command} goes on after SIGTERM");
            signal(child.id(), "TERM");
            thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(ended.signal(), Some(15), "{command}: {ended}");
    }
}

#[test]
fn the_version_names_commit_and_target() {
    let output = cis490().arg("--version").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let (version, rest) = told.split_once(" (").expect(&told);
    assert_eq!(version, concat!("cis490 ", env!("CARGO_PKG_VERSION")));
    let (commit, target) = rest
        .trim()
        .trim_end_matches(')')
        .split_once(", ")
        .expect(&told);
    let digits = commit.trim_end_matches("-dirty");
    let is_hash = digits.len() >= 12 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(is_hash || commit == "of unknown commit", "{told}");
    assert!(target.contains("-linux-"), "{told}");
}
