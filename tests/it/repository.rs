//! Real git repositories in temporary folders: no user's configuration, and dates that we choose.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use cis490::names::CommitHash;

use crate::world::TempDir;

/// git without anybody's settings, in a folder. Panics with git's words if it fails.
pub fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = git_command(dir, arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub fn git_command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "protocol.file.allow=always", "-c", "gc.auto=0"])
        .args(["-c", "safe.directory=*", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", "/")
        .stdin(Stdio::null());
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "cis490 test")
            .env(format!("GIT_{who}_EMAIL"), "test@example.invalid")
            .env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    command
}

/// A repository with a checkout.
pub struct Repository {
    folder: TempDir,
    commits: AtomicU64,
}

impl Repository {
    /// Empty: no branch yet.
    pub fn empty() -> Repository {
        Repository::with_format("sha1")
    }

    pub fn with_format(object_format: &str) -> Repository {
        let folder = TempDir::new();
        let format = format!("--object-format={object_format}");
        git(folder.path(), &["init", "-q", "--template=", &format]);
        Repository {
            folder,
            commits: AtomicU64::new(0),
        }
    }

    /// With so many commits on `main`.
    pub fn new(commits: u64) -> Repository {
        let repository = Repository::empty();
        repository.commit("main", commits);
        repository
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        git(self.path(), arguments)
    }

    /// Adds commits to a branch, in one process however many. Their messages name other hashes.
    pub fn commit(&self, branch: &str, count: u64) {
        let mut script = String::new();
        let exists = git_command(self.path(), &["rev-parse", "-q", "--verify", branch])
            .output()
            .unwrap();
        for n in 0..count {
            let number = self.commits.fetch_add(1, Ordering::Relaxed);
            let date = 1_600_000_000 + number * 60;
            let message = format!("number {number}, which reverts {}", "ab".repeat(20));
            write!(
                script,
                "commit refs/heads/{branch}\ncommitter cis490 test <test@example.invalid> {date} +0000\ndata {}\n{message}\n",
                message.len()
            )
            .unwrap();
            if n == 0 && exists.status.success() {
                writeln!(script, "from refs/heads/{branch}^0").unwrap();
            }
            writeln!(script, "M 100644 inline file\ndata <<END\n{number}\nEND\n").unwrap();
        }
        let mut child = git_command(self.path(), &["fast-import", "--quiet", "--force"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// The newest `count` commits of a ref.
    pub fn log(&self, reference: &str, count: u32) -> Vec<CommitHash> {
        log(self.path(), reference, count)
    }

    pub fn head(&self) -> CommitHash {
        self.log("refs/heads/main", 1)[0]
    }
}

pub fn log(dir: &Path, reference: &str, count: u32) -> Vec<CommitHash> {
    let count = count.to_string();
    let text = git(dir, &["log", "--format=%H", "-n", &count, reference, "--"]);
    text.lines()
        .map(|line| CommitHash::parse(line).unwrap())
        .collect()
}
