//! `cis490 receive`: runs the receiver in the foreground until SIGTERM.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::cli::folder;
use crate::config::values::listen_option;
use crate::events::logger::{self, Format};
use crate::failure::Failure;
use crate::receiver;
use crate::receiver::config::{Config, DEFAULT_PATH};

/// accept episodes and store them (on the Pi). Runs until SIGTERM, or until its terminal is
/// closed; SIGHUP (systemctl reload) reads the configuration again
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "receive",
    example = "cis490 receive --config /etc/cis490/receiver.toml"
)]
pub(super) struct Receive {
    /// the configuration (default /etc/cis490/receiver.toml)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)")]
    config: PathBuf,
    /// listen here instead of where the configuration says; port 0 chooses a free port
    #[argh(option, from_str_fn(listen_option))]
    listen: Option<SocketAddr>,
    /// store here instead of where the configuration says
    #[argh(option)]
    data_dir: Option<PathBuf>,
    /// the form of log lines: text or json, one object a line (default text)
    #[argh(option, default = "Format::Text")]
    log: Format,
}

impl Receive {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        logger::start(self.log);
        let as_read = Config::load(&self.config)?;
        let mut config = as_read.clone();
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if let Some(data_dir) = self.data_dir {
            config.data_dir = folder::absolute(data_dir);
        }
        folder::enter_to_stay(&config.data_dir, &config.secret_files())?;
        receiver::run(config, as_read, &self.config)?;
        Ok(ExitCode::SUCCESS)
    }
}
