//! `cis490 ship`: runs the shipper in the foreground until SIGTERM, or with `--once` until nothing more
//! can be sent.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::cli::chosen::{quoted, requeue_command};
use super::cli::folder;
use crate::events::logger::{self, Format};
use crate::failure::Failure;
use crate::shipper::config::{Config, DEFAULT_PATH};
use crate::shipper::{self, ConfigFile, Ended, Mode, Outcome, OverlookedEpisode};
use crate::terminal::{one_line, say};
use crate::{config, human};

/// pack finished episodes and send them (on a lab host). Runs until SIGTERM, or until its terminal is
/// closed; SIGHUP (systemctl reload) reads the configuration again and tries everything now
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "ship",
    example = "{command_name} --config /etc/cis490/shipper.toml",
    error_code(
        1,
        "--once: something is still waiting or finished under a name that is not allowed, or the receiver could not be asked"
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
        match shipper::run(config, file, mode)? {
            Some(ended) => end(&ended),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Prints what `--once` leaves behind.
///
/// Errors: episodes are finished and only a person can have them sent, or nobody knows what is left.
fn end(ended: &Ended) -> Result<ExitCode, Failure> {
    let Outcome {
        shipped,
        refused,
        held,
        waiting,
        overlooked,
        failed,
    } = ended.outcome;
    let not_sent = if overlooked > 0 {
        format!(", {overlooked} not sent")
    } else {
        String::new()
    };
    say!("{shipped} shipped, {refused} refused, {held} held, {waiting} waiting{not_sent}");
    if failed && waiting == 0 && overlooked == 0 {
        return Err(Failure::new(
            "the receiver could not be asked, or a folder could not be read",
            "the lines above say which; cis490 doctor tries each step",
        ));
    }
    match (overlooked, ended.overlooked_named.first()) {
        (0, _) => Ok(ExitCode::from(ended.outcome.exit_code())),
        (1, Some(episode)) => Err(not_sent_alone(episode)),
        _ => Err(Failure::new(
            format!(
                "{} in episodes/ {} not sent: with a name that is not allowed, or not readable",
                human::counted(overlooked, "finished episode"),
                if overlooked == 1 { "is" } else { "are" }
            ),
            "cis490 status shows for each of them what to do",
        )),
    }
}

fn not_sent_alone(episode: &OverlookedEpisode) -> Failure {
    let name = quoted(&episode.name);
    match requeue_command(episode) {
        Some(command) => Failure::new(
            format!("{name} in episodes/ is not sent: its name is not allowed"),
            command,
        ),
        None => {
            let error = one_line(episode.error.as_deref().unwrap_or("it cannot be read"));
            Failure::new(
                format!("{name} in episodes/ is not sent: {error}"),
                "let the user that runs cis490 ship read it",
            )
        }
    }
}
