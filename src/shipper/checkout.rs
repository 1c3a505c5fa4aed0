//! Which commit this lab host's code is at: what `cis490 check` asks the receiver about.

use std::path::Path;
use std::time::Duration;

use crate::failure::Failure;
use crate::git::{self, Fault};
use crate::names::CommitHash;

const GIT_WAIT: Duration = Duration::from_secs(10);
/// More than enough for a hash, or for an error message of git.
const LINE_BYTES_MAX: u64 = 4096;

/// The commit that is checked out in `repo` (the checkout or its `.git`).
///
/// Errors: git cannot be run, does not answer, or knows no commit there.
pub(crate) fn local_commit(repo: &Path) -> Result<CommitHash, Failure> {
    let failed = |why: String| {
        Failure::new(
            format!("cannot tell the commit of {}: {why}", repo.display()),
            "name the checkout of the lab host's code with --repo DIR, and install git",
        )
    };
    let repo = repo
        .canonicalize()
        .map_err(|error| failed(error.to_string()))?;
    let ask = ["rev-parse", "--verify", "HEAD^{commit}"];
    let output = match git::run(&repo, &ask, LINE_BYTES_MAX, GIT_WAIT) {
        Ok(output) => output,
        Err(Fault::Unsafe(failure)) => return Err(failure),
        Err(Fault::TimedOut) => return Err(failed("git did not answer".to_owned())),
        Err(Fault::Missing(error)) => return Err(failed(format!("cannot run git: {error}"))),
    };
    let commit = String::from_utf8_lossy(&output.stdout);
    CommitHash::parse(commit.trim()).map_err(|_| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        failed(
            complaint
                .lines()
                .next()
                .unwrap_or("git said nothing")
                .to_owned(),
        )
    })
}
