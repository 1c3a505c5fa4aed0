//! `cis490 status`: the state of either side, problems first.

mod lab_host;
mod receiver;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::side::{self, ConfigSide, owner_of, the_one_there};
use crate::failure::Failure;
use crate::receiver::config as receiver_config;
use crate::shipper::config as lab_host_config;
use crate::terminal::{Paint, is_closed, print};

/// How often `--watch` looks again.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// show the state of this side, problems first. On a lab host that is its queue and what is held, on
/// the receiver its gate, its disk and its hosts
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "status",
    example = "cis490 status",
    example = "cis490 status --watch",
    example = "cis490 status --config /etc/cis490/receiver.toml --json"
)]
pub(super) struct Status {
    /// print JSON: members are added, never renamed or removed
    #[argh(switch)]
    json: bool,
    /// refresh every two seconds, until Ctrl-C
    #[argh(switch)]
    watch: bool,
    /// receiver.toml or shipper.toml (default: the one in /etc/cis490)
    #[argh(option)]
    config: Option<PathBuf>,
    /// on a lab host: the queue's folder, instead of the configuration's root
    #[argh(option)]
    root: Option<PathBuf>,
}

impl Status {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None => the_one_there()?,
        };
        let owner = owner_of(&path)?;
        self.enter(owner, &path)?;
        print(&self.look(owner, &path)?)?;
        if !self.watch {
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            if is_closed() {
                return Ok(ExitCode::SUCCESS);
            }
            thread::sleep(WATCH_EVERY);
            let text = self.look(owner, &path)?;
            print(&match io::stdout().is_terminal() {
                true => over_the_last(&text),
                false if self.json => text,
                false => format!("\n{text}"),
            })?;
        }
    }

    fn enter(&self, owner: ConfigSide, path: &Path) -> Result<(), Failure> {
        let folder = match owner {
            ConfigSide::Receiver => receiver_config::Config::load(path)?.data_dir,
            ConfigSide::LabHost => lab_host_config::Config::load(path, self.root.clone())?.root,
        };
        // With --watch the configuration is read again and again.
        side::enter(&folder, &[path])
    }

    fn look(&self, owner: ConfigSide, path: &Path) -> Result<String, Failure> {
        // Clear the screen once; later frames overwrite the one before.
        let begins = self.watch && !self.json && io::stdout().is_terminal();
        let text = match owner {
            ConfigSide::Receiver => receiver::look(path, self.json)?,
            ConfigSide::LabHost => lab_host::look(path, self.root.clone(), self.json)?,
        };
        Ok(match begins {
            true => format!("\x1b[2J\x1b[H{text}"),
            false => text,
        })
    }
}

/// The text in place of the last one, without a flash in between.
fn over_the_last(text: &str) -> String {
    let text = text.strip_prefix("\x1b[2J\x1b[H").unwrap_or(text);
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

fn json(survey: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(survey)
        .map(|text| text + "\n")
        .map_err(|error| Failure::new(format!("cannot print it: {error}"), "please report this"))
}

/// One line of a page: a name and its text.
fn line(name: &str, text: &str) -> String {
    format!("{name:12}  {text}\n")
}

/// As [`line`], for a problem.
fn alarm(paint: Paint, name: &str, text: &str) -> String {
    format!("{}  {text}\n", paint.bad(&format!("{name:12}")))
}
