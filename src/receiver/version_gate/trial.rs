//! Each source asked once, beside the gate and without it: for `cis490 doctor`.

use super::forgejo::Forgejo;
use super::git::LocalGit;
use super::trouble::Trouble;
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::receiver::config::GateConfig;

/// What one source answered.
pub struct Tried {
    pub name: &'static str,
    pub told: Result<Told, Trouble>,
}

pub struct Told {
    pub head: CommitHash,
    /// How many of the wanted commits it has.
    pub commits: usize,
}

/// Asks every configured source for its window, Forgejo first. Waits for each, up to its timeouts.
///
/// Errors: a token that cannot be read, or a URL that this build cannot speak to.
pub fn try_sources(config: &GateConfig) -> Result<Vec<Tried>, Failure> {
    let mut tried = Vec::new();
    if let Some(forgejo) = Forgejo::new(config)? {
        let told = forgejo.head().and_then(|head| {
            let commits = forgejo.list(head, config.window)?.len();
            Ok(Told { head, commits })
        });
        let name = "forgejo";
        tried.push(Tried { name, told });
    }
    let git = LocalGit::new(config);
    if git.path().is_some() {
        let told = git.list(config.window).map(|listing| Told {
            head: listing.commits[0],
            commits: listing.commits.len(),
        });
        tried.push(Tried {
            name: "local git",
            told,
        });
    }
    Ok(tried)
}
