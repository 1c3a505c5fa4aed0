//! Each source asked once, without the gate of a running receiver: for `cis490 doctor`.

use std::path::Path;

use super::disk::WindowFile;
use super::forgejo::{Forgejo, Unlisted};
use super::git::LocalGit;
use super::trouble::Trouble;
use super::withdrawn::Withdrawn;
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::receiver::config::GateConfig;

/// One source and its answer.
pub struct Tried {
    pub name: &'static str,
    pub answer: Result<SourceAnswer, Trouble>,
    /// Warnings about a source that answers.
    pub beware: Vec<Trouble>,
}

/// The answer of a source to doctor's question.
pub struct SourceAnswer {
    pub head: CommitHash,
    /// How many of the wanted commits it has.
    pub commits: usize,
    /// Whether the source counts. A local repository counts only if it is not older than the window.
    pub stands_in: bool,
}

/// The receiver's window, as far as a local repository is compared with it.
#[derive(Default)]
pub struct Ours {
    pub head: Option<CommitHash>,
    withdrawn: Withdrawn,
}

impl Ours {
    /// From `window.json`, and from the head that the running receiver reports.
    pub fn of(config: &GateConfig, data_dir: &Path, running: Option<CommitHash>) -> Ours {
        let file = WindowFile::new(data_dir, config, &LocalGit::new(config));
        let memory = file.peek(config.window);
        let kept = memory.as_ref().map(|memory| memory.window.head());
        Ours {
            head: running.or(kept),
            withdrawn: memory.map(|memory| memory.withdrawn).unwrap_or_default(),
        }
    }
}

/// Asks every configured source for its window, Forgejo first. Waits for each, up to its timeouts.
///
/// Errors: a token that cannot be read, or a URL that this build cannot speak to.
pub fn try_sources(config: &GateConfig, ours: &Ours) -> Result<Vec<Tried>, Failure> {
    let mut tried = Vec::new();
    if let Some(mut forgejo) = Forgejo::new(config)? {
        let answer = try_forgejo(&mut forgejo, config.window);
        tried.push(Tried {
            name: "forgejo",
            beware: if answer.is_ok() {
                beware(&mut forgejo)
            } else {
                Vec::new()
            },
            answer,
        });
    }
    let git = LocalGit::new(config);
    if git.path().is_some() {
        tried.push(Tried {
            name: "local git",
            answer: try_git(&git, config.window, ours),
            beware: Vec::new(),
        });
    }
    Ok(tried)
}

/// The head of the branch now, asked of the source that decides. `None` if it does not answer.
pub fn head_now(config: &GateConfig) -> Option<CommitHash> {
    match Forgejo::new(config).ok()? {
        Some(mut forgejo) => forgejo.head().ok(),
        None => {
            let listing = LocalGit::new(config).list(1).ok()?;
            listing.commits.first().copied()
        }
    }
}

fn try_forgejo(forgejo: &mut Forgejo, window: u32) -> Result<SourceAnswer, Trouble> {
    let head = forgejo.head()?;
    let listed = forgejo.list(head, window);
    let commits = listed.map_err(|unlisted| match unlisted {
        Unlisted::NotYet(trouble) | Unlisted::Failed(trouble) => trouble,
    })?;
    Ok(SourceAnswer {
        head,
        commits: commits.len(),
        stands_in: true,
    })
}

fn try_git(git: &LocalGit, window: u32, ours: &Ours) -> Result<SourceAnswer, Trouble> {
    let listing = git.list(window)?;
    let stands_in = ours.head.is_none_or(|head| {
        git.includes(&listing, head) && !ours.withdrawn.returns_in(&listing.commits, head)
    });
    Ok(SourceAnswer {
        head: listing.commits[0],
        commits: listing.commits.len(),
        stands_in,
    })
}

/// Warnings about a repository that answers now, and may not get all that is pushed.
fn beware(forgejo: &mut Forgejo) -> Vec<Trouble> {
    let Ok(repository) = forgejo.repository() else {
        return Vec::new(); // an old version of Forgejo; the branch was answered, and that counts
    };
    let mut beware = Vec::new();
    if repository.mirror {
        beware.push(Trouble::new(
            "mirror",
            "the repository is a mirror, which Forgejo pulls every 8 h by default: a push to its original is accepted only then",
            "name the original in [version_gate], then systemctl restart cis490-receiver; or shorten the mirror's interval in its settings",
        ));
    }
    if repository.archived {
        beware.push(Trouble::new(
            "archived",
            "the repository is archived: nothing can be pushed to it",
            "take it out of the archive in its settings; or name the one that is in use in [version_gate], then systemctl restart cis490-receiver",
        ));
    }
    beware
}
