//! `cis490 config`: what holds in a configuration, and where each value is from.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::cli::configuration::{Configuration, named_or_default};
use crate::config;
use crate::config::settings::{self, Setting, TakesEffect};
use crate::failure::Failure;
use crate::terminal::{one_line, say};

/// show what holds in the configuration and where each value is from, without secrets. Keys marked with *
/// need a restart; the others take effect on systemctl reload
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "config",
    example = "{command_name}",
    example = "{command_name} --config /etc/cis490/receiver.toml",
    error_code(1, "the file has a mistake, or cannot be read")
)]
pub(super) struct Config {
    /// receiver.toml or shipper.toml (default: the one in /etc/cis490)
    #[argh(option)]
    config: Option<PathBuf>,
    /// print JSON lines: key, value (null if it is not set), line (null if it is a default), restart
    #[argh(switch)]
    json: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    value: Option<&'a str>,
    line: Option<usize>,
    restart: bool,
}

impl Config {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let path = named_or_default(self.config)?;
        let (path, configuration) = Configuration::find(Some(path))?;
        let text = config::read(&path, "name the file with --config FILE")?;
        let settings = match &configuration {
            Configuration::Receiver(config) => config.settings(),
            Configuration::LabHost(config) => config.settings(),
        };
        let lines = settings::lines_of(&text);
        if !self.json {
            let path = path.display().to_string();
            say!(
                "# {} (* needs a restart; the rest, a reload)",
                one_line(&path)
            );
        }
        let mut before = "";
        let mut nth = 0;
        for setting in &settings {
            nth = if setting.key == before { nth + 1 } else { 0 };
            before = setting.key;
            let of_key = lines.iter().filter(|(key, _)| key == setting.key);
            let line = of_key.map(|(_, line)| *line).nth(nth);
            show(setting, line, self.json);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(setting: &Setting, line: Option<usize>, as_json: bool) {
    let restart = setting.takes_effect == TakesEffect::OnRestart;
    if as_json {
        let line = Line {
            key: setting.key,
            value: setting.shown.as_deref(),
            line,
            restart,
        };
        // Texts and numbers always serialize.
        say!("{}", serde_json::to_string(&line).unwrap_or_default());
        return;
    }
    let key = setting.key;
    let star = if restart { "*" } else { " " };
    match (&setting.shown, line) {
        (Some(value), Some(line)) => say!("{star} {key:38} {value}  # line {line}"),
        (Some(value), None) => say!("{star} {key:38} {value}  # default"),
        (None, _) => say!("{star} {key:38} # not set"),
    }
}
