//! `cis490 set-aside`: gives up the waiting episodes of one commit, and keeps them in refused/.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::cli::{chosen, folder};
use crate::failure::Failure;
use crate::human::counted;
use crate::names::EpisodeId;
use crate::owner;
use crate::shipper;
use crate::shipper::CommitPrefix;
use crate::shipper::config::{Config, DEFAULT_PATH};
use crate::shipper::queue::Root;
use crate::terminal::{say, say_json};

/// move the waiting episodes of a commit to refused/: they are kept, and not sent. The shipper may
/// keep running; cis490 requeue brings an episode back
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "set-aside",
    example = "{command_name} --commit 0123abc"
)]
pub(super) struct SetAside {
    /// the commit, as cis490 status shows it: 7 digits of it or more
    #[argh(option)]
    commit: CommitPrefix,
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

/// What `--json` prints of one episode.
#[derive(Serialize)]
struct Moved<'a> {
    episode: &'a EpisodeId,
    moved: bool,
}

impl SetAside {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let config = Config::load(&self.config, self.root)?;
        folder::enter(&config.root, &[])?;
        let root = Root::open(&config.root)?;
        let failed = |error| {
            Failure::new(
                format!("cannot move to {}: {error}", root.refused().display()),
                owner::hint(
                    &error,
                    "look at the disk (dmesg); episodes that were moved already stay in refused/",
                ),
            )
        };
        let waiting = shipper::waiting_commits(&root).map_err(failed)?;
        let moved = match chosen::one_commit(&self.commit, waiting)? {
            Some(commit) => shipper::set_aside(&root, commit).map_err(failed)?,
            None => Vec::new(),
        };
        for id in &moved {
            if self.json {
                say_json(&Moved {
                    episode: id,
                    moved: true,
                });
            } else {
                say!("{id}");
            }
        }
        if self.json {
            return Ok(ExitCode::SUCCESS);
        }
        if moved.is_empty() {
            say!(
                "no waiting episode was made by commit {}",
                self.commit.as_str()
            );
        } else {
            let moved = counted(moved.len(), "episode");
            say!("{moved} moved to {}", root.refused().display());
        }
        Ok(ExitCode::SUCCESS)
    }
}
