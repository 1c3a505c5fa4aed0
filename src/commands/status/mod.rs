//! `cis490 status`: the state of either side, problems first.

mod lab_host;
mod receiver;
mod watch;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use argh::{ArgsInfo, FromArgs};

use self::watch::{Keys, fitted};
use super::cli::configuration::{named_or_default, side_of};
use super::cli::folder;
use crate::config::Side;
use crate::failure::Failure;
use crate::receiver::config as receiver_config;
use crate::shipper::config as lab_host_config;
use crate::terminal::{Paint, is_closed, one_line, print};
use crate::{clock, human};

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
    example = "cis490 status --config /etc/cis490/receiver.toml --json",
    error_code(1, "could not look; with --exit-code also: there are warnings"),
    error_code(
        2,
        "only with --exit-code: there is an error, or this side does not run"
    )
)]
pub(super) struct Status {
    /// print JSON: members are added, never renamed or removed
    #[argh(switch)]
    json: bool,
    /// refresh every two seconds, until q is pressed
    #[argh(switch)]
    watch: bool,
    /// end with 0 if there is nothing to do, with 1 if there are warnings, with 2 if there is an error or
    /// this side does not run
    #[argh(switch)]
    exit_code: bool,
    /// receiver.toml or shipper.toml (default: the one in /etc/cis490)
    #[argh(option)]
    config: Option<PathBuf>,
    /// on a lab host: the queue's folder, instead of the configuration's root
    #[argh(option)]
    root: Option<PathBuf>,
}

/// One look at a side.
struct Look {
    /// The page, or the JSON.
    text: String,
    /// 0 there is nothing to do, 1 there are warnings, 2 there is an error.
    how_bad: u8,
}

impl Status {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let path = named_or_default(self.config.clone())?;
        let side = side_of(&path)?;
        self.enter(side, &path)?;
        let first = self.look(side, &path)?;
        if !self.watch {
            print(&first.text)?;
            let status = if self.exit_code { first.how_bad } else { 0 };
            return Ok(ExitCode::from(status));
        }
        if self.is_for_a_pane() {
            return self.watch_in_a_pane(side, &path, &first.text);
        }
        print(&first.text)?;
        while !is_closed() {
            thread::sleep(WATCH_EVERY);
            self.print_next(&self.look(side, &path)?.text)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Whether it draws pages on a terminal, one over the other, and so reads keys and handles signals.
    pub(super) fn is_for_a_pane(&self) -> bool {
        self.watch && !self.json && io::stdout().is_terminal()
    }

    fn watch_in_a_pane(&self, side: Side, path: &Path, first: &str) -> Result<ExitCode, Failure> {
        let keys = Keys::begin()?;
        print("\x1b[2J")?;
        print(&over_the_last(&fitted(first)))?;
        while !keys.wait_for_q(WATCH_EVERY) && !is_closed() {
            print(&over_the_last(&fitted(&self.look(side, path)?.text)))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn enter(&self, side: Side, path: &Path) -> Result<(), Failure> {
        let folder = match side {
            Side::Receiver => receiver_config::Config::load(path)?.data_dir,
            Side::LabHost => lab_host_config::Config::load(path, self.root.clone())?.root,
        };
        // The configuration counts as a secret here: --watch reads it again, as the folder's owner.
        folder::enter(&folder, &[path])
    }

    fn look(&self, side: Side, path: &Path) -> Result<Look, Failure> {
        match side {
            Side::Receiver => receiver::look(path, self.json),
            Side::LabHost => lab_host::look(path, self.root.clone(), self.json),
        }
    }

    /// A later page of `--watch` in a file or a pipe.
    fn print_next(&self, text: &str) -> Result<(), Failure> {
        if self.json {
            print(text)
        } else {
            print(&format!("\n{text}"))
        }
    }
}

/// `text` with the terminal's codes to draw it over the page before, line by line and so without a
/// flash.
fn over_the_last(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

fn json(survey: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(survey)
        .map(|text| text + "\n")
        .map_err(|error| {
            Failure::new(
                format!("cannot write the status as JSON: {error}"),
                "please report this",
            )
        })
}

/// How long ago a time that a file has was; the time itself where it cannot be read.
fn ago(at: &str) -> String {
    let now_s = clock::unix_seconds(SystemTime::now());
    match clock::parse_rfc3339(at) {
        Some(at_s) => human::ago(Duration::from_secs(now_s.saturating_sub(at_s))),
        None => one_line(at).to_string(),
    }
}

/// One line of a page: a name and its text.
fn line(name: &str, text: &str) -> String {
    format!("{name:12}  {text}\n")
}

/// One line of a page that names a problem.
fn alarm(paint: Paint, name: &str, text: &str) -> String {
    format!("{}  {text}\n", paint.bad(&format!("{name:12}")))
}
