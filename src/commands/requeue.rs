//! `cis490 requeue`: moves refused episodes back into the queue.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::cli::chosen::{self, quoted};
use super::cli::folder;
use crate::failure::Failure;
use crate::names::EpisodeId;
use crate::owner;
use crate::shipper::config::{Config, DEFAULT_PATH};
use crate::shipper::queue::Root;
use crate::shipper::{self, CommitPrefix, NoReturn, Refused};
use crate::terminal::say;

/// put refused episodes back into the queue, once the cause is fixed. Or give an episode in episodes/
/// whose name is not allowed a new one. Never replaces a waiting episode; the shipper may keep running
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "requeue",
    example = "{command_name} ep-0042 ep-0043",
    example = "{command_name} ep-0042 --new-id ep-0042-b",
    example = "{command_name} '2026-11-28T10:11:12 swing' --new-id 2026-11-28T10-11-12-swing",
    example = "{command_name} --reason bad-json",
    example = "{command_name} --commit 0123abc",
    example = "{command_name} --all --json",
    error_code(1, "at least one stayed where it is")
)]
pub(super) struct Requeue {
    /// their names in refused/, or one in episodes/ that is not allowed, as cis490 status shows it
    #[argh(positional)]
    names: Vec<String>,
    /// its new name, if another episode has its id or its name is not allowed; for one episode
    #[argh(option)]
    new_id: Option<EpisodeId>,
    /// all in refused/ that were made by this commit: 7 digits of it or more
    #[argh(option)]
    commit: Option<CommitPrefix>,
    /// all in refused/ for this reason: a refusal's name (cis490 help refusals), or not-a-file,
    /// bad-json, no-commit, two-commits, meta-too-large, path-too-long, set-aside
    #[argh(option)]
    reason: Option<String>,
    /// all that lie in refused/
    #[argh(switch)]
    all: bool,
    /// shipper.toml (default /etc/cis490/shipper.toml)
    #[argh(option, default = "DEFAULT_PATH.into()")]
    config: PathBuf,
    /// the queue's folder, instead of the configuration's root
    #[argh(option)]
    root: Option<PathBuf>,
    /// print a line of JSON for each episode: members are added, never renamed or removed
    #[argh(switch)]
    json: bool,
}

impl Requeue {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        self.check()?;
        let config = Config::load(&self.config, self.root.clone())?;
        folder::enter(&config.root, &[])?;
        let root = Root::open(&config.root)?;
        let names = if self.names.is_empty() {
            self.chosen(&root)?
        } else {
            self.names.clone()
        };
        if names.is_empty() && !self.json {
            say!("{} is empty", root.refused().display());
        }
        chosen::move_each(&names, self.json, |name| {
            shipper::requeue(&root, name, self.new_id.as_ref())
                .map_err(|no_return| explain(&root, name, no_return))
        })
    }

    /// Errors: neither names nor a choice is given, both are, or `--new-id` comes without one name.
    fn check(&self) -> Result<(), Failure> {
        let hint = "cis490 status lists what is refused; cis490 requeue --help shows how to choose";
        let has_choice = self.all || self.commit.is_some() || self.reason.is_some();
        let is_narrowed = self.commit.is_some() || self.reason.is_some();
        if self.names.is_empty() && !has_choice {
            return Err(Failure::usage("no episode was named", hint));
        }
        if (!self.names.is_empty() && has_choice) || (self.all && is_narrowed) {
            return Err(Failure::usage(
                "names, --all, and --commit or --reason exclude each other",
                hint,
            ));
        }
        if self.new_id.is_some() && self.names.len() != 1 {
            return Err(Failure::usage(
                "--new-id names one episode, and needs exactly one NAME",
                "run it once for each",
            ));
        }
        Ok(())
    }

    /// The names of the episodes in refused/ that match every given option.
    fn chosen(&self, root: &Root) -> Result<Vec<String>, Failure> {
        let mut refused = shipper::refused(root).map_err(|error| {
            Failure::new(
                format!("cannot look through {}: {error}", root.refused().display()),
                owner::hint(
                    &error,
                    "look at the disk (dmesg) and at who owns it (ls -l)",
                ),
            )
        })?;
        if let Some(prefix) = &self.commit {
            keep_commit(&mut refused, prefix)?;
        }
        if let Some(reason) = &self.reason {
            keep_reason(&mut refused, reason)?;
        }
        Ok(refused.into_keys().collect())
    }
}

/// Episodes in refused/, by name.
type ByName = BTreeMap<String, Refused>;

fn keep_commit(refused: &mut ByName, prefix: &CommitPrefix) -> Result<(), Failure> {
    let commits = refused.values().filter_map(|refused| refused.commit);
    let commit = chosen::one_commit(prefix, commits)?.ok_or_else(|| {
        Failure::new(
            format!(
                "no episode in refused/ was made by a commit {}...",
                prefix.as_str()
            ),
            "cis490 status --json shows the commits",
        )
    })?;
    refused.retain(|_, refused| refused.commit == Some(commit));
    Ok(())
}

fn keep_reason(refused: &mut ByName, reason: &str) -> Result<(), Failure> {
    let has_reason = |refused: &Refused| refused.reason.as_deref() == Some(reason);
    if !refused.values().any(has_reason) {
        return Err(Failure::new(
            format!("no episode in refused/ has the reason {reason:?}"),
            reasons_found(refused),
        ));
    }
    refused.retain(|_, refused| has_reason(refused));
    Ok(())
}

/// The reasons that would have matched, each with the number of its episodes.
fn reasons_found(refused: &ByName) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for refused in refused.values() {
        let reason = refused.reason.as_deref().unwrap_or("unknown");
        *counts.entry(reason).or_default() += 1;
    }
    if counts.is_empty() {
        return "refused/ has no other episode either".to_owned();
    }
    let shown: Vec<String> = counts
        .iter()
        .map(|(reason, count)| format!("{reason} ({count})"))
        .collect();
    format!("the reasons there: {}", shown.join(", "))
}

/// Why an episode stayed where it is, and what to do.
pub(super) fn explain(root: &Root, name: &str, no_return: NoReturn) -> Failure {
    let lists = "cis490 status lists what is refused, and what has a name that is not allowed";
    match no_return {
        NoReturn::BadName(bad) => Failure::new(bad, lists),
        NoReturn::Unknown => Failure::new(
            format!("there is no {name:?} in {}", root.refused().display()),
            lists,
        ),
        NoReturn::Waits(id) => Failure::new(
            format!("{id} is in the queue already"),
            "nothing: it is sent when it is its turn; cis490 status says what it waits for",
        ),
        NoReturn::In("shipped") => Failure::new(
            format!("{name:?} is not refused: the receiver has accepted it, and it is in shipped/"),
            format!("to send it again: cis490 resend {}", quoted(name)),
        ),
        NoReturn::In(folder) => Failure::new(
            format!("{name:?} was not accepted by the receiver: it is in {folder}/"),
            format!("cis490 requeue {}", quoted(name)),
        ),
        NoReturn::NeedsId(id) => Failure::new(
            format!("{name:?} is in the queue under a name that is not allowed, and needs another"),
            format!("such as: cis490 requeue {} --new-id {id}", quoted(name)),
        ),
        NoReturn::Unfinished => Failure::new(
            format!("{name:?} has no meta.json yet: it is still being recorded"),
            "wait until the recorder has written its meta.json",
        ),
        NoReturn::Taken(id) => Failure::new(
            format!("an episode {id} is in the queue already, and is not replaced"),
            "wait until that one has left, or give this one another name: cis490 requeue NAME --new-id ID",
        ),
        NoReturn::Io(error) => Failure::new(
            format!("cannot move {name:?} back: {error}"),
            owner::hint(
                &error,
                "look at the disk (dmesg) and at who owns it (ls -l)",
            ),
        ),
    }
}
