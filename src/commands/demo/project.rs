//! The demo's project: a bare repository, such as a forge has, and a developer's clone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::talk::cannot;
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::sys;

#[derive(Clone)]
pub(super) struct Commit {
    pub hash: CommitHash,
    pub subject: String,
}

/// The clone that the developer pushes from, and the commits that were pushed.
pub(super) struct Project {
    clone: PathBuf,
    commits: Vec<Commit>,
}

impl Project {
    /// Makes repository and clone in `folder`.
    pub(super) fn init(folder: &Path) -> Result<Project, Failure> {
        git(
            folder,
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                "project.git",
            ],
        )?;
        git(
            folder,
            &["init", "--quiet", "--initial-branch=main", "developer"],
        )?;
        let clone = folder.join("developer");
        git(&clone, &["remote", "add", "origin", "../project.git"])?;
        Ok(Project {
            clone,
            commits: Vec::new(),
        })
    }

    /// The pushed commits, the oldest first.
    pub(super) fn commits(&self) -> &[Commit] {
        &self.commits
    }

    pub(super) fn commit_and_push(&mut self, subject: &str) -> Result<&Commit, Failure> {
        let file = self.clone.join("recorder.py");
        let version = self.commits.len() + 1;
        let code = format!("# {subject}\nVERSION = {version}\n");
        fs::write(&file, code).map_err(|error| cannot("write", &file, &error))?;
        git(&self.clone, &["add", "recorder.py"])?;
        git(&self.clone, &["commit", "--quiet", "--message", subject])?;
        git(&self.clone, &["push", "--quiet", "origin", "main"])?;
        let hash = git(&self.clone, &["rev-parse", "HEAD"])?;
        let hash = CommitHash::parse(hash.trim())
            .map_err(|bad| Failure::new(format!("git rev-parse HEAD: {bad}"), ""))?;
        self.commits.push(Commit {
            hash,
            subject: subject.to_owned(),
        });
        Ok(&self.commits[version - 1])
    }
}

/// Runs git and returns its output.
fn git(dir: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let output = command(dir, arguments).output().map_err(|error| {
        Failure::new(
            format!("cannot run git: {error}"),
            "install git (apt install git)",
        )
    })?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(
            format!(
                "git {} ended with {}: {}",
                arguments.join(" "),
                output.status,
                words.trim()
            ),
            "the demo needs git 2.28 or later",
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// git without the settings of the user or the system, and with fixed names and dates, so that the
/// hashes are the same every time.
fn command(dir: &Path, arguments: &[&str]) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(dir)
        .args(["-c", "commit.gpgsign=false"])
        .args(arguments);
    command.env_clear().env("PATH", path).stdin(Stdio::null());
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "cis490 demo");
        command.env(format!("GIT_{role}_EMAIL"), "demo@localhost");
        command.env(format!("GIT_{role}_DATE"), "2026-01-01T00:00:00Z");
    }
    sys::ends_with_us(&mut command);
    command
}
