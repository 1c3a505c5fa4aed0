//! `cis490 requeue`.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use crate::failure::Failure;
use crate::names::EpisodeId;
use crate::shipper::config::{Config, DEFAULT_PATH};
use crate::shipper::queue::Root;
use crate::shipper::{self, NoReturn};
use crate::terminal::say;

/// put a refused episode back into the queue, once the cause is fixed. Never replaces a waiting
/// episode; the shipper may keep running
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "requeue",
    example = "{command_name} ep-0042",
    example = "{command_name} ep-0042 --new-id ep-0042-b"
)]
pub struct Requeue {
    /// its name in refused/
    #[argh(positional)]
    name: String,
    /// its new name, if another episode has its id
    #[argh(option)]
    new_id: Option<EpisodeId>,
    /// shipper.toml (default /etc/cis490/shipper.toml)
    #[argh(option, default = "DEFAULT_PATH.into()")]
    config: PathBuf,
    /// the queue's folder, instead of the configuration's root
    #[argh(option)]
    root: Option<PathBuf>,
}

impl Requeue {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let root = Root::open(&Config::load(&self.config, self.root.clone())?.root)?;
        let id = shipper::requeue(&root, &self.name, self.new_id.as_ref())
            .map_err(|no_return| self.explain(&root, no_return))?;
        say!("{id} is in the queue again");
        Ok(ExitCode::SUCCESS)
    }

    fn explain(&self, root: &Root, no_return: NoReturn) -> Failure {
        let name = &self.name;
        let refused = root.refused();
        match no_return {
            NoReturn::BadName(bad) => {
                Failure::new(bad, format!("ls {} shows the names", refused.display()))
            }
            NoReturn::Unknown => Failure::new(
                format!("there is no {name:?} in {}", refused.display()),
                "cis490 status lists what is refused",
            ),
            NoReturn::Taken(id) => Failure::new(
                format!("an episode {id} is in the queue already, and is not replaced"),
                "give this one a new name with --new-id ID",
            ),
            NoReturn::Io(error) => Failure::new(
                format!("cannot move {name:?} back: {error}"),
                "run it as the user that runs cis490 ship",
            ),
        }
    }
}
