//! `cis490 set-aside`.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use crate::failure::Failure;
use crate::human::counted;
use crate::names::CommitHash;
use crate::shipper;
use crate::shipper::config::{Config, DEFAULT_PATH};
use crate::shipper::queue::Root;
use crate::terminal::say;

/// move the waiting episodes of a commit to refused/: they are kept, and not sent. The shipper may
/// keep running; cis490 requeue brings an episode back
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "set-aside",
    example = "{command_name} --commit 0123456789abcdef0123456789abcdef01234567"
)]
pub struct SetAside {
    /// the whole hash, as cis490 status shows it
    #[argh(option)]
    commit: CommitHash,
    /// shipper.toml (default /etc/cis490/shipper.toml)
    #[argh(option, default = "DEFAULT_PATH.into()")]
    config: PathBuf,
    /// the queue's folder, instead of the configuration's root
    #[argh(option)]
    root: Option<PathBuf>,
}

impl SetAside {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let root = Root::open(&Config::load(&self.config, self.root)?.root)?;
        let moved = shipper::set_aside(&root, self.commit).map_err(|error| {
            Failure::new(
                format!("cannot move to {}: {error}", root.refused().display()),
                "run it as the user that runs cis490 ship; episodes that were moved already stay in refused/",
            )
        })?;
        for id in &moved {
            say!("{id}");
        }
        if moved.is_empty() {
            say!("no waiting episode was made by commit {}", self.commit);
        } else {
            let moved = counted(moved.len(), "episode");
            say!("{moved} moved to {}", root.refused().display());
        }
        Ok(ExitCode::SUCCESS)
    }
}
