//! `cis490 check`: asks the receiver's gate about the commit of the local checkout.

use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::thread;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use crate::events;
use crate::failure::Failure;
use crate::human::counted;
use crate::names::CommitHash;
use crate::shipper::config::{Config, DEFAULT_PATH};
use crate::shipper::{self, Answer, ReceiverClient, Stop};
use crate::sys::{self, Signal};
use crate::terminal::{say, say_json};
use crate::wire::{GateVerdict, Known, Problem};

/// ask the receiver whether it would accept episodes made by the local code
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "check",
    example = "{command_name} --repo /opt/cis490",
    error_code(1, "the receiver could not be asked, or cannot say"),
    error_code(3, "refused: stdout says why, and what to paste if that helps")
)]
pub(super) struct Check {
    /// shipper.toml (default /etc/cis490/shipper.toml)
    #[argh(option, default = "DEFAULT_PATH.into()")]
    config: PathBuf,
    /// the checkout of the lab host's code (default /opt/cis490)
    #[argh(option, default = "PathBuf::from(\"/opt/cis490\")")]
    repo: PathBuf,
    /// print the verdict as one JSON object: members are added, never renamed or removed
    #[argh(switch)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Verdict<'a> {
    commit: CommitHash,
    accepted: bool,
    /// 1 is the head; null for a commit that only a disabled gate accepts, and for one that is refused.
    position: Option<u32>,
    window: Option<u32>,
    head_commit: Option<CommitHash>,
    /// Of a commit that is refused: what the receiver knows of it, in one word and in a sentence.
    known: Option<Known>,
    detail: Option<&'a str>,
    /// Shell lines to paste, with newlines.
    remediation: Option<&'a str>,
}

const EXIT_COULD_NOT_ASK: i32 = 1;
const EXIT_REFUSED: u8 = 3;

impl Check {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let config = Config::load(&self.config, None)?;
        let receiver = ReceiverClient::new(&config, Stop::default())?;
        // Only now: a signal ends by itself the wait for the writer of a pipe, from which configuration, token
        // or certificate may have come.
        end_on_signal();
        let commit = shipper::local_commit(&self.repo)?;
        let answer = receiver.gate(&commit).map_err(|no_answer| {
            Failure::new(
                format!("could not ask {}: {no_answer}", config.receiver_url),
                "does the receiver run, and is WireGuard up? cis490 doctor tries each step",
            )
        })?;
        say(&commit, &answer, self.json)
    }
}

fn say(commit: &CommitHash, answer: &Answer, as_json: bool) -> Result<ExitCode, Failure> {
    match (
        answer.status,
        answer.json::<GateVerdict>(),
        answer.problem(),
    ) {
        (200, Some(verdict), _) if verdict.allowed => {
            if as_json {
                say_json(&accepted(commit, &verdict));
            } else {
                say!("accepted: commit {commit}{}", place(&verdict));
            }
            Ok(ExitCode::SUCCESS)
        }
        // The receiver cannot ask its source, so this answer is no verdict on the commit.
        (412, _, Some(problem)) if problem.known == Some(Known::Unknown) => Err(Failure::new(
            format!("the receiver cannot say: {}", problem.detail),
            "nothing on this lab host; on the receiver: cis490 doctor",
        )),
        (412, _, Some(problem)) => {
            if as_json {
                say_json(&refused(commit, &problem));
            } else {
                say_refused(&problem);
            }
            Ok(ExitCode::from(EXIT_REFUSED))
        }
        _ => Err(Failure::new(
            format!("the receiver said neither yes nor no: {}", answer.words()),
            "the receiver's log says more; if this is not a receiver's answer, find out what listens at receiver_url",
        )),
    }
}

fn accepted(commit: &CommitHash, verdict: &GateVerdict) -> Verdict<'static> {
    Verdict {
        commit: *commit,
        accepted: true,
        position: verdict.position,
        window: Some(verdict.window),
        head_commit: verdict.head_commit,
        known: None,
        detail: None,
        remediation: None,
    }
}

fn refused<'a>(commit: &CommitHash, problem: &'a Problem) -> Verdict<'a> {
    Verdict {
        commit: *commit,
        accepted: false,
        position: None,
        window: problem.window,
        head_commit: problem.head_commit,
        known: problem.known,
        detail: Some(&problem.detail),
        remediation: problem.remediation.as_deref(),
    }
}

fn say_refused(problem: &Problem) {
    say!("refused: {}", problem.detail);
    if let Some(remediation) = &problem.remediation {
        say!("\npaste this on the lab host:\n");
        for line in events::remediation_lines(remediation) {
            say!("    {line}");
        }
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
