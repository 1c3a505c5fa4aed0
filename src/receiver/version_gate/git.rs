//! Source 2: a local repository, read by the `git` program.
//!
//! The repository belongs to another user, and its configuration may have any settings. So:
//! 1. `crate::git` starts git, so that no setting of that configuration starts a program.
//! 2. Only `refs/remotes/origin/<branch>` is read, or `refs/heads/<branch>` if there is no remote one.
//!    HEAD may be detached, and a local branch beside the remote one may have work that nobody pushed.
//! 3. Only lines that are whole hashes count, and only if git ended without an error.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::trouble::Trouble;
use super::window::Window;
use crate::git::{self, Fault, Output};
use crate::names::CommitHash;
use crate::receiver::config::GateConfig;
use crate::wire::Known;

/// The folder where the installer puts the checkout. It is used if it exists and none is configured.
pub(crate) const DEFAULT_REPOSITORY: &str = "/opt/cis490/.git";

/// Longer than the slowest `git log`, on a cold SD card that other programs are reading too.
const GIT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest line of `git log --format=%H`, and room for other output, which is ignored.
const LINE_BYTES_MAX: u64 = 80;
const CHATTER_BYTES_MAX: u64 = 64 << 10;

/// A branch of a repository on this machine.
pub(super) struct LocalGit {
    /// Absolute. The checkout or its `.git`.
    path: PathBuf,
    configured: bool,
    branch: String,
}

/// The output of `git log`.
pub(super) struct Listing {
    /// Newest first, at least one.
    pub commits: Vec<CommitHash>,
    /// The ref that they were listed from.
    reference: String,
}

impl LocalGit {
    pub(super) fn new(config: &GateConfig) -> LocalGit {
        let configured = config.local_repo_path.as_deref();
        let path = configured.unwrap_or(Path::new(DEFAULT_REPOSITORY));
        LocalGit {
            // An error means an empty path or no working directory. git will report it.
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            configured: configured.is_some(),
            branch: config.branch.clone(),
        }
    }

    /// The configured path, or the default if it exists now: the checkout may be cloned later.
    pub(super) fn path(&self) -> Option<&Path> {
        (self.configured || self.path.exists()).then_some(&self.path)
    }

    /// The newest `size` commits of the branch. Runs git, up to its timeout.
    pub(super) fn list(&self, size: u32) -> Result<Listing, Trouble> {
        let remote = format!("refs/remotes/origin/{}", self.branch);
        let local = format!("refs/heads/{}", self.branch);
        self.log(remote, size)
            .or_else(|trouble| match trouble.kind {
                "git-refused" => self.log(local, size),
                _ => Err(trouble),
            })
    }

    /// Whether the listed branch includes `commit`, however far back. Runs git unless it is listed.
    pub(super) fn includes(&self, listing: &Listing, commit: CommitHash) -> bool {
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

    /// What the repository knows of a commit that the window below `head` lacks. It is the only
    /// source here, so what it lacks was never pushed; but a shallow one cannot say so.
    pub(super) fn known(&self, commit: CommitHash, head: CommitHash) -> Known {
        match self.is_ancestor(commit, head) {
            Some(true) => Known::Older,
            Some(false) => Known::Elsewhere,
            None if self.has(head) && !self.has(commit) && !self.is_shallow() => Known::NeverPushed,
            None => Known::Unknown,
        }
    }

    /// Whether `commit` is surely an ancestor of the window's head, by a repository that may be
    /// behind it: then its own newest commit must be one that the window has.
    pub(super) fn knows_as_older(&self, commit: CommitHash, window: &Window) -> bool {
        match self.is_ancestor(commit, window.head()) {
            Some(is_ancestor) => is_ancestor,
            None => self.list(1).is_ok_and(|listing| {
                let tip = listing.commits[0];
                window.position(&tip).is_some() && self.is_ancestor(commit, tip) == Some(true)
            }),
        }
    }

    /// `None` if it lacks one of the two, or cannot be asked.
    fn is_ancestor(&self, commit: CommitHash, of: CommitHash) -> Option<bool> {
        let commit = commit.to_string();
        let of = of.to_string();
        let output = self
            .git(&["merge-base", "--is-ancestor", &commit, &of], 0)
            .ok()?;
        match output.status.code() {
            Some(0) => Some(true),
            Some(1) => Some(false),
            _ => None,
        }
    }

    fn has(&self, commit: CommitHash) -> bool {
        let object = format!("{commit}^{{commit}}");
        self.git(&["cat-file", "-e", &object], 0)
            .is_ok_and(|output| output.status.success())
    }

    /// True also if it cannot be asked.
    fn is_shallow(&self) -> bool {
        self.git(&["rev-parse", "--is-shallow-repository"], 1)
            .map_or(true, |output| output.stdout.trim_ascii() != b"false")
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
        git::run(&self.path, arguments, bytes_max, GIT_TIMEOUT).map_err(|fault| match fault {
            Fault::TimedOut => self.hangs(),
            Fault::Missing(error) => Trouble::new(
                "git-missing",
                format!("cannot run git: {error}"),
                "install git (apt install git), and see that this program may start it",
            ),
            Fault::Unsafe(failure) => {
                Trouble::new("git-of-others", failure.error(), failure.hint())
            }
        })
    }

    fn hangs(&self) -> Trouble {
        let path = self.path.display();
        let wait_s = GIT_TIMEOUT.as_secs();
        Trouble::new(
            "git-timeout",
            format!("git did not end within {wait_s} s in {path}"),
            "check whether the disk or network share that holds the repository hangs",
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
                "see that local_repo_path is a repository with the branch {} that this program's user may read; if it is another, set it, then systemctl restart cis490-receiver",
                self.branch
            ),
        )
    }
}
