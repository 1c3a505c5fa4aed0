//! `cis490 resend`: moves accepted episodes from shipped/ back into the queue.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::cli::{chosen, folder};
use super::requeue;
use crate::failure::Failure;
use crate::shipper::config::{Config, DEFAULT_PATH};
use crate::shipper::queue::Root;
use crate::shipper::{self, NoReturn};

/// send accepted episodes in shipped/ again. It is for those that the receiver has lost, or whose file
/// there is rotten (cis490 scrub names them). If the receiver still has one, the same bytes get the same
/// receipt. Running it again is harmless, and the shipper may keep running
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "resend",
    example = "{command_name} ep-0042",
    error_code(1, "at least one stayed where it is")
)]
pub(super) struct Resend {
    /// their names in shipped/
    #[argh(positional)]
    names: Vec<String>,
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

impl Resend {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        if self.names.is_empty() {
            return Err(Failure::usage(
                "no episode was named",
                "ls shipped/ in the queue's folder shows what can be sent again",
            ));
        }
        let config = Config::load(&self.config, self.root)?;
        folder::enter(&config.root, &[])?;
        let root = Root::open(&config.root)?;
        chosen::move_each(&self.names, self.json, |name| {
            shipper::resend(&root, name).map_err(|no_return| explain(&root, name, no_return))
        })
    }
}

fn explain(root: &Root, name: &str, no_return: NoReturn) -> Failure {
    match no_return {
        NoReturn::Unknown => Failure::new(
            format!("there is no {name:?} in {}", root.shipped().display()),
            "accepted episodes are kept for keep_shipped_days, or for less on a full disk; if this one is gone, restore it from a backup of the receiver",
        ),
        NoReturn::Taken(id) => Failure::new(
            format!("an episode {id} is in the queue already, and is not replaced"),
            "wait until that one is sent, then run this again",
        ),
        other => requeue::explain(root, name, other),
    }
}
