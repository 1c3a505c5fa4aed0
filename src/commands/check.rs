//! `cis490 check`: asks the receiver's gate about the commit of the local checkout.

use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::thread;

use argh::{ArgsInfo, FromArgs};

use crate::events;
use crate::failure::Failure;
use crate::human::counted;
use crate::names::CommitHash;
use crate::shipper::config::{Config, DEFAULT_PATH};
use crate::shipper::{self, Answer, ReceiverClient, Stop};
use crate::sys::{self, Signal};
use crate::terminal::say;
use crate::wire::{GateVerdict, Known};

/// ask the receiver whether it would accept episodes made by the local code
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "check",
    example = "{command_name} --repo /opt/cis490",
    error_code(1, "the receiver could not be asked, or cannot say"),
    error_code(2, "refused: stdout says why, and what to paste if that helps")
)]
pub(super) struct Check {
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
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        end_on_signal();
        let config = Config::load(&self.config, None)?;
        let commit = shipper::local_commit(&self.repo)?;
        let receiver = ReceiverClient::new(&config, Stop::default())?;
        let answer = receiver.gate(&commit).map_err(|no_answer| {
            Failure::new(
                format!("could not ask {}: {no_answer}", config.receiver_url),
                "does the receiver run, and is WireGuard up? cis490 doctor tries each step",
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
            say!("accepted: commit {commit}{}", place(&verdict));
            Ok(ExitCode::SUCCESS)
        }
        // The receiver cannot ask its source, so this answer is no verdict on the commit.
        (412, _, Some(problem)) if problem.known == Some(Known::Unknown) => Err(Failure::new(
            format!("the receiver cannot say: {}", problem.detail),
            "nothing on this lab host; on the receiver: cis490 doctor",
        )),
        (412, _, Some(problem)) => {
            say!("refused: {}", problem.detail);
            if let Some(remediation) = &problem.remediation {
                say!("\npaste this on the lab host:\n");
                for line in events::remediation_lines(remediation) {
                    say!("    {line}");
                }
            }
            Ok(ExitCode::from(EXIT_REFUSED))
        }
        _ => Err(Failure::new(
            format!("the receiver said neither yes nor no: {}", answer.words()),
            "the receiver's log says more; if this is not a receiver's answer, find out what listens at receiver_url",
        )),
    }
}

/// The commit's position in the window, in words. A disabled gate accepts commits without a position.
fn place(verdict: &GateVerdict) -> String {
    let window = verdict.window;
    match verdict.position {
        Some(position) => {
            let left = match window.saturating_sub(position) {
                0 => "the next commit pushes it out of the window".to_owned(),
                left => format!("{} until it is refused", counted(left, "more commit")),
            };
            format!(", {position} of {window}; {left}")
        }
        None => ", unknown to the gate, which is disabled".to_owned(),
    }
}

/// Ends the process at SIGINT or SIGTERM. Both are blocked in every thread, so that a thread of its own
/// has to wait for them.
fn end_on_signal() {
    thread::spawn(|| {
        while sys::wait_signal() != Signal::Stop {}
        process::exit(EXIT_COULD_NOT_ASK);
    });
}
