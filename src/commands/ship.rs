//! `cis490 ship`: runs the shipper in the foreground until SIGTERM, or with `--once` until nothing more
//! can be sent.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::cli::folder;
use crate::config;
use crate::events::logger::{self, Format};
use crate::failure::Failure;
use crate::shipper::config::{Config, DEFAULT_PATH};
use crate::shipper::{self, ConfigFile, Mode};

/// pack finished episodes and send them (on a lab host). Runs until SIGTERM, or until its terminal is
/// closed; SIGHUP (systemctl reload) reads the configuration again and tries everything now
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "ship",
    example = "{command_name} --config /etc/cis490/shipper.toml",
    error_code(
        1,
        "--once: something is still waiting, or the receiver could not be asked"
    ),
    error_code(
        3,
        "--once: everything left is held, or something was refused (1 takes precedence)"
    )
)]
pub(super) struct Ship {
    /// exit once nothing more can be sent now (0: the queue is empty)
    #[argh(switch)]
    once: bool,
    /// shipper.toml (default /etc/cis490/shipper.toml)
    #[argh(option, default = "DEFAULT_PATH.into()")]
    config: PathBuf,
    /// the queue's folder, instead of the configuration's root
    #[argh(option)]
    root: Option<PathBuf>,
    /// the form of log lines: text or json, one object a line (default text)
    #[argh(option, default = "Format::Text")]
    log: Format,
}

impl Ship {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        logger::start(self.log);
        let mode = if self.once { Mode::Once } else { Mode::Forever };
        let at_start = Config::load(&self.config, None)?;
        let config = match self.root {
            Some(root) => Config {
                root,
                ..at_start.clone()
            },
            None => at_start.clone(),
        };
        config::check_folder(&self.config, "root", &config.root)?;
        folder::enter_to_stay(&config.root, &config.secret_files())?;
        let file = ConfigFile {
            path: self.config,
            at_start,
        };
        shipper::run(config, file, mode)
    }
}
