//! `cis490 check`.

use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::thread;

use argh::{ArgsInfo, FromArgs};

use crate::events;
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::shipper::config::{Config, DEFAULT_PATH};
use crate::shipper::{self, Answer, Receiver, Stop};
use crate::sys::{self, Signal};
use crate::terminal::say;
use crate::wire::GateVerdict;

/// ask the receiver whether episodes made by the local code would get in
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "check",
    example = "{command_name} --repo /opt/cis490",
    error_code(1, "could not ask"),
    error_code(2, "refused: stdout says what to paste")
)]
pub struct Check {
    /// shipper.toml (default /etc/cis490/shipper.toml)
    #[argh(option, default = "DEFAULT_PATH.into()")]
    config: PathBuf,
    /// the checkout of the lab host's code (default /opt/cis490)
    #[argh(option, default = "PathBuf::from(\"/opt/cis490\")")]
    repo: PathBuf,
}

const EXIT_COULD_NOT_ASK: i32 = 1;
const EXIT_REFUSED: u8 = 2;

impl Check {
    pub fn run(self) -> Result<ExitCode, Failure> {
        end_on_signal();
        let config = Config::load(&self.config, None)?;
        let commit = shipper::local_commit(&self.repo)?;
        let receiver = Receiver::new(&config, Stop::default())?;
        let answer = receiver.gate(&commit).map_err(|no_answer| {
            Failure::new(
                format!("could not ask {}: {no_answer}", config.receiver_url),
                "look whether the receiver runs and WireGuard is up: curl -v the same address",
            )
        })?;
        say(&commit, &answer)
    }
}

fn say(commit: &CommitHash, answer: &Answer) -> Result<ExitCode, Failure> {
    match (
        answer.status,
        answer.json::<GateVerdict>(),
        answer.problem(),
    ) {
        (200, Some(verdict), _) if verdict.allowed => {
            say!("admitted: commit {commit}{}", place(&verdict));
            Ok(ExitCode::SUCCESS)
        }
        (412, _, Some(problem)) => {
            say!("refused: {}", problem.detail);
            if let Some(remediation) = &problem.remediation {
                say!("\npaste this on the lab host:\n");
                events::remediation_lines(remediation)
                    .iter()
                    .for_each(|line| say!("    {line}"));
            }
            Ok(ExitCode::from(EXIT_REFUSED))
        }
        _ => Err(Failure::new(
            format!("the receiver did not say yes or no: {}", answer.words()),
            "its log says more; if this is not its way to speak, look who answers at receiver_url",
        )),
    }
}

/// Where in the window, in words; nothing where a disabled gate lets in what it does not know.
fn place(verdict: &GateVerdict) -> String {
    let window = verdict.window;
    match verdict.position {
        Some(position) => {
            let left = match window.saturating_sub(position) {
                0 => "the next commit pushes it out".to_owned(),
                1 => "1 commit until it falls out".to_owned(),
                left => format!("{left} commits until it falls out"),
            };
            format!(", place {position} of {window}, {left}")
        }
        None => ", which the gate does not know: it is disabled".to_owned(),
    }
}

/// Signals are blocked in this process, so that Ctrl-C needs somebody who hears it.
fn end_on_signal() {
    thread::spawn(|| {
        while sys::wait_signal() != Signal::Stop {}
        process::exit(EXIT_COULD_NOT_ASK);
    });
}
