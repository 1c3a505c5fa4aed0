//! `cis490 demo`: the story that it prints is true, and nothing that it starts outlives it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::process;
use crate::world::{TempDir, cis490, is_emulated};

const PATIENCE: Duration = Duration::from_secs(60);

/// The demo starts its own file again, which a runner like qemu does only where the kernel knows it.
fn is_run_by_another() -> bool {
    if is_emulated() {
        skip!("the demo under CIS490_RUNNER, since its processes would run without it");
    }
    is_emulated()
}

fn demo(place: &TempDir) -> Command {
    let mut command = cis490();
    command.arg("demo").env("TMPDIR", place.path());
    command.stdin(Stdio::null());
    command
}

fn told(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn is_empty(place: &TempDir) -> bool {
    fs::read_dir(place.path()).unwrap().next().is_none()
}

#[test]
fn the_demo_prints_its_story_and_leaves_a_folder() {
    if is_run_by_another() {
        return;
    }
    let place = TempDir::new();
    let output = demo(&place).output().unwrap();
    let told = told(&output);
    assert!(output.status.success(), "{told}");
    for part in [
        "knows 3 commits",
        "ep-1-swing  accepted: receipt number 1,",
        "ep-2-swing  accepted: receipt number 2,",
        "commit 3 of 3",
        "ep-3-swing  kept here and not sent: 412,",
        "    sudo systemctl restart cis490-orchestrator\n",
        "episodes/lab-1/ep-1-swing.tar.zst",
        "episodes/lab-1/ep-2-swing.tar.zst",
        "\"seq\":1,",
        "\"seq\":2,",
        "the new latest commit; the gate knew it",
        "PUT /v1/episodes/lab-1/ep-2-swing",
        "200 with receipt number 2, as before: nothing new is stored, the index has 2 rows",
    ] {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }
    assert!(!told.contains("ep-3-swing.tar.zst"), "{told}");
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{told}");
    let left = left[0].as_ref().unwrap().path();
    assert!(told.contains(left.to_str().unwrap()), "{told}");
}

/// What the README shows is what is seen, numbers aside; `...` stands for the rest of a line.
#[test]
fn the_readme_shows_what_the_demo_prints() {
    if is_run_by_another() {
        return;
    }
    let output = demo(&TempDir::new()).arg("--clean").output().unwrap();
    let told = without_numbers(&told(&output));
    let readme = include_str!("../../README.md");
    let (_, shown) = readme.split_once("```\ncis490 demo:").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    for line in shown
        .lines()
        .filter(|line| !line.starts_with("That is all"))
    {
        let begin = without_numbers(line.split("...").next().unwrap_or(""));
        let begin = begin.split(" /").next().unwrap_or("");
        assert!(
            told.contains(begin),
            "README shows {line:?}, seen is\n{told}"
        );
    }
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[test]
fn a_clean_demo_leaves_nothing() {
    if is_run_by_another() {
        return;
    }
    let place = TempDir::new();
    let output = demo(&place).arg("--clean").output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert!(is_empty(&place), "{}", told(&output));
}

#[test]
fn a_demo_that_fails_says_why_and_cleans_up() {
    if is_run_by_another() {
        return;
    }
    let place = TempDir::new();
    let output = demo(&place)
        .arg("--clean")
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("cis490: error: cannot run git"), "{told}");
    assert!(told.contains("cis490: hint: install git"), "{told}");
    assert!(is_empty(&place), "{told}");
}

#[test]
fn a_demo_that_is_stopped_takes_its_receiver_with_it() {
    if is_run_by_another() {
        return;
    }
    for (signal, expected) in [("TERM", (Some(130), None)), ("KILL", (None, Some(9)))] {
        let place = TempDir::new();
        let slow_git = SlowGit::new();
        let mut demo = demo(&place)
            .arg("--clean")
            .env("PATH", slow_git.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_serving(&mut demo);
        slow_git.wait_until_called(&mut demo);
        let receiver = receiver_of(&demo);
        process::signal(demo.id(), signal);
        let status = demo.wait().unwrap();
        assert_eq!((status.code(), status.signal()), expected, "SIG{signal}");
        let begun = Instant::now();
        while lives(receiver) {
            assert!(
                begun.elapsed() < PATIENCE,
                "the receiver lives on after SIG{signal}"
            );
            thread::sleep(Duration::from_millis(10));
        }
        assert!(
            signal == "KILL" || is_empty(&place),
            "the folder is still there"
        );
    }
}

/// A `git` that stops at the demo's last commit, so that the demo is in the middle of its story for
/// as long as the test needs it.
struct SlowGit {
    dir: TempDir,
}

impl SlowGit {
    fn new() -> SlowGit {
        let dir = TempDir::new();
        let path = std::env::var("PATH").unwrap();
        let at = dir.path().display();
        // Its wait ends when the test's folder is gone, also after the death of the demo that started it.
        let script = format!(
            "#!/bin/sh
PATH='{path}'
case \"$*\" in
*'warm up before the first run'*)
    : > '{at}/called'
    while [ -e '{at}/called' ]; do sleep 0.05; done
    ;;
esac
exec git \"$@\"
"
        );
        let git = dir.path().join("git");
        fs::write(&git, script).unwrap();
        fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
        SlowGit { dir }
    }

    /// A value for PATH in which this git comes first.
    fn path(&self) -> String {
        let path = std::env::var("PATH").unwrap();
        format!("{}:{path}", self.dir.path().display())
    }

    fn wait_until_called(&self, demo: &mut Child) {
        let begun = Instant::now();
        while !self.dir.path().join("called").exists() {
            assert_eq!(demo.try_wait().unwrap(), None, "the demo ended by itself");
            assert!(begun.elapsed() < PATIENCE, "the demo makes no last commit");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Reads what the demo says until its receiver takes uploads.
fn wait_until_serving(demo: &mut Child) {
    let mut said = String::new();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    for line in &mut lines {
        said += &line.unwrap();
        said += "\n";
        if said.contains("it accepts uploads") {
            // Goes on being read, so that the demo does not end for want of a listener.
            thread::spawn(move || lines.count());
            return;
        }
    }
    panic!("the demo ended before its receiver served:\n{said}");
}

/// The demo's child that receives.
fn receiver_of(demo: &Child) -> u32 {
    let children = process::children(demo.id());
    let receives = |pid: &u32| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split('\0').nth(1) == Some("receive")
    };
    let receiver = children.iter().copied().find(receives);
    receiver.unwrap_or_else(|| panic!("none of {children:?} receives"))
}

/// Whether a process runs. Its port would say less: another test may have that by now.
fn lives(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}
