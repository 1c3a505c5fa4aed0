//! `cis490 pull`: from a real receiver, from a server in literal bytes that is slow or lies, and killed
//! at any instant.

mod bundle;
mod folder;
mod hostile;
pub mod kills;
mod line;
mod progress;
mod proxy;
mod readme;
mod receiver;
mod shelf;
pub mod storm;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::here::TempDir;
use crate::program::cis490;

/// The files of a shelf or a store, by `host/episode`.
type Files = BTreeMap<String, Vec<u8>>;

/// A folder to pull into.
struct Target {
    dir: TempDir,
}

/// What one pull came to.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {:?}\n{}\n{}", self.code, self.out, self.err)
    }
}

impl Target {
    fn new() -> Target {
        Target {
            dir: TempDir::new(),
        }
    }

    /// The folder itself, which the first pull makes.
    fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn tarball(&self, slot: &str) -> PathBuf {
        self.file(&format!("{slot}.tar.zst"))
    }

    fn command(&self, url: &str, more: &[&str]) -> Command {
        let mut command = cis490();
        command
            .args(["pull", "--url", url, "--to"])
            .arg(self.path())
            .args(more);
        command
    }

    fn pull(&self, url: &str, more: &[&str]) -> Ran {
        ran(&mut self.command(url, more))
    }

    /// The same, and its receiver must give something within this time.
    fn pull_impatient(&self, url: &str, ms: u64) -> Ran {
        let mut command = self.command(url, &[]);
        ran(command.env("CIS490_PULL_PATIENCE_MS", ms.to_string()))
    }

    /// Pulls, and all must be here then.
    fn pull_all(&self, url: &str, files: &Files) -> Ran {
        let ran = self.pull(url, &[]);
        assert_eq!(ran.code, Some(0), "{ran}");
        self.check(files, &ran.to_string());
        ran
    }

    fn receipts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file("index.jsonl")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Exactly these files are here, whole, each with one receipt, and nothing half done is left.
    fn check(&self, files: &Files, place: &str) {
        let mut found = Files::new();
        for host in fs::read_dir(self.path()).unwrap() {
            let host = host.unwrap().path();
            if !host.is_dir() {
                continue;
            }
            for file in fs::read_dir(&host).unwrap() {
                let path = file.unwrap().path();
                let name = path
                    .strip_prefix(self.path())
                    .unwrap()
                    .display()
                    .to_string();
                let slot = name.strip_suffix(".tar.zst");
                let slot = slot.unwrap_or_else(|| panic!("{name} is left\n{place}"));
                found.insert(slot.to_owned(), fs::read(&path).unwrap());
            }
        }
        let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(files), "{place}");
        for (slot, bytes) in files {
            assert!(found[slot] == *bytes, "{slot} has other bytes\n{place}");
        }
        let receipts = self.receipts();
        let mut with_receipt: Vec<String> = receipts.iter().map(|line| slot_of(line)).collect();
        with_receipt.sort();
        assert_eq!(with_receipt, names(files), "{place}");
        assert!(!self.file("pull-missing.jsonl").exists(), "{place}");
    }
}

fn slot_of(line: &str) -> String {
    let row: serde_json::Value = serde_json::from_str(line).unwrap();
    format!(
        "{}/{}",
        row["host"].as_str().unwrap(),
        row["episode"].as_str().unwrap()
    )
}

fn ran(command: &mut Command) -> Ran {
    ran_of(command.output().unwrap())
}

/// The same, of a pull that has to end within this time.
fn ran_within(command: &mut Command, most: Duration) -> Ran {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut pull = piped.spawn().unwrap();
    let until = Instant::now() + most;
    while pull.try_wait().unwrap().is_none() {
        if until < Instant::now() {
            pull.kill().unwrap();
            let ran = ran_of(pull.wait_with_output().unwrap());
            panic!("the pull does not end: {ran}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    ran_of(pull.wait_with_output().unwrap())
}

fn ran_of(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().ino()
}
