//! Source 2: a local repository, read by the `git` program.
//!
//! The repository belongs to somebody else, and its configuration may say anything. So:
//! 1. git gets a clean environment and no configuration but the repository's own; what of that
//!    could start a program (signature checks, fetches of missing objects) is switched off.
//! 2. Only `refs/remotes/origin/<branch>`, else `refs/heads/<branch>`: HEAD may be detached, and
//!    a local branch beside the remote one may hold work that nobody pushed.
//! 3. Only lines that are whole hashes count, and only of a git that ended well.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::{self, Output};
use super::trouble::Trouble;
use crate::names::CommitHash;
use crate::receiver::config::GateConfig;

/// Where the installer puts the checkout: used if nothing is configured and it is there.
const DEFAULT_REPOSITORY: &str = "/opt/cis490/.git";

/// The slowest honest `git log`: a cold SD card that other programs are reading too.
const GIT_TIMEOUT: Duration = Duration::from_secs(20);
/// A line of `git log --format=%H`, and room for chatter that does not count.
const LINE_BYTES_MAX: u64 = 80;
const CHATTER_BYTES_MAX: u64 = 64 << 10;

/// A branch of a repository on this machine.
pub struct LocalGit {
    /// Absolute. The checkout or its `.git`.
    path: PathBuf,
    configured: bool,
    branch: String,
}

/// What `git log` told.
pub struct Listing {
    /// Newest first, at least one.
    pub commits: Vec<CommitHash>,
    /// The ref that they were listed from.
    reference: String,
}

impl LocalGit {
    pub fn new(config: &GateConfig) -> LocalGit {
        let configured = config.local_repo_path.as_deref();
        let path = configured.unwrap_or(Path::new(DEFAULT_REPOSITORY));
        LocalGit {
            // An error means an empty path or no working directory: git will say the rest.
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            configured: configured.is_some(),
            branch: config.branch.clone(),
        }
    }

    /// The configured path, or the default where it exists now: it may be cloned later.
    pub fn path(&self) -> Option<&Path> {
        (self.configured || self.path.exists()).then_some(&self.path)
    }

    /// The newest `size` commits of the branch. Runs git, up to its timeout.
    pub fn list(&self, size: u32) -> Result<Listing, Trouble> {
        let remote = format!("refs/remotes/origin/{}", self.branch);
        let local = format!("refs/heads/{}", self.branch);
        self.log(remote, size)
            .or_else(|trouble| match trouble.kind {
                "git-refused" => self.log(local, size),
                _ => Err(trouble),
            })
    }

    /// Whether the listed branch includes `commit`, however far back. Runs git unless it is listed.
    pub fn includes(&self, listing: &Listing, commit: CommitHash) -> bool {
        let commit_text = commit.to_string();
        let ask = [
            "merge-base",
            "--is-ancestor",
            &commit_text,
            &listing.reference,
        ];
        listing.commits.contains(&commit)
            || self
                .git(&ask, 0)
                .is_ok_and(|output| output.status.success())
    }

    fn log(&self, reference: String, size: u32) -> Result<Listing, Trouble> {
        let count = size.to_string();
        let ask = [
            "log",
            "--no-show-signature",
            "--format=%H",
            "-n",
            &count,
            &reference,
            "--",
        ];
        let output = self.git(&ask, size)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let hashes = text.lines().filter_map(|line| CommitHash::parse(line).ok());
        let commits: Vec<CommitHash> = hashes.collect();
        if commits.is_empty() || !output.status.success() {
            return Err(self.refused(&reference, &output));
        }
        Ok(Listing { commits, reference })
    }

    /// Runs git to its end. `lines` bounds what is read of its output.
    fn git(&self, arguments: &[&str], lines: u32) -> Result<Output, Trouble> {
        let bytes_max = u64::from(lines) * LINE_BYTES_MAX + CHATTER_BYTES_MAX;
        let mut command = git_command(&repository(&self.path));
        match child::run(command.args(arguments), bytes_max, GIT_TIMEOUT) {
            Ok(Some(output)) => Ok(output),
            Ok(None) => Err(self.hangs()),
            Err(error) => Err(Trouble::new(
                "git-missing",
                format!("cannot run git: {error}"),
                "install git (apt install git), and see that this program may start it",
            )),
        }
    }

    fn hangs(&self) -> Trouble {
        let (path, wait_s) = (self.path.display(), GIT_TIMEOUT.as_secs());
        Trouble::new(
            "git-timeout",
            format!("git did not end within {wait_s} s in {path}"),
            "see whether the disk or network share that holds the repository hangs",
        )
    }

    fn refused(&self, reference: &str, output: &Output) -> Trouble {
        let path = self.path.display();
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.lines().next().unwrap_or("it said nothing");
        Trouble::new(
            "git-refused",
            format!("git reported no commits of {reference} in {path}: {words}"),
            format!(
                "see that local_repo_path is a repository with the branch {} that this program's user may read",
                self.branch
            ),
        )
    }
}

/// git on a repository and on nothing else: no user, no system settings, no prompt, no network.
fn git_command(repository: &Path) -> Command {
    let with_path = |text: &str| {
        let mut argument = OsString::from(text);
        argument.push(repository);
        argument
    };
    let search_path = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut command = Command::new("git");
    command
        .arg(with_path("--git-dir="))
        .arg("-c")
        .arg(with_path("safe.directory="))
        .env_clear()
        .env("PATH", search_path)
        .env("LC_ALL", "C")
        .env("HOME", "/") // a service may have none, and git asks for one
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_REPLACE_OBJECTS", "1") // the history that was pushed
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_ALLOW_PROTOCOL", "none") // as the line before, for git before 2.45
        .current_dir("/");
    command
}

/// The `.git` of a checkout (a directory, or a worktree's file), or the path itself.
fn repository(path: &Path) -> PathBuf {
    let inner = path.join(".git");
    match inner.exists() {
        true => inner,
        false => path.to_owned(),
    }
}
