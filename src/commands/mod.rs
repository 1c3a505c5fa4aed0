//! The command line: a file or a folder for each command, and the one match that starts it. `cli/` has
//! what the commands share. No other part of the program imports a command.

mod cli;

// Every day.
mod check;
mod list;
mod pull;
mod puller;
mod receive;
mod ship;
mod status;

// When something is wrong.
mod archive;
mod backfill;
mod doctor;
mod explain;
mod refusals;
mod requeue;
mod resend;
mod scrub;
mod set_aside;

// Setting up.
mod config;
mod demo;
mod host;
mod init;
mod install;
mod token;

mod completions;
mod man;

use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use self::cli::command_line;
use self::cli::report::report;
use crate::failure::Failure;
use crate::sys;
use crate::terminal::{self, say};
use crate::version;

/// Collects recordings from lab hosts on a Raspberry Pi. Nothing acknowledged is lost, nothing out of
/// date gets in.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "cis490 demo",
    example = "sudo cis490 install receiver --forgejo-url http://127.0.0.1:3000 --repo lab/cis490",
    example = "sudo cis490 install shipper --receiver-url http://10.8.0.1:8490",
    example = "cis490 status",
    example = "sudo cis490 doctor"
)]
struct Cis490 {
    /// print version, commit and target, and exit
    #[argh(switch, short = 'V')]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Receive(receive::Receive),
    Ship(ship::Ship),
    Check(check::Check),
    Status(status::Status),
    List(list::List),
    Pull(pull::Pull),
    Requeue(requeue::Requeue),
    Resend(resend::Resend),
    SetAside(set_aside::SetAside),
    Init(init::Init),
    Config(config::Config),
    Host(host::Host),
    Install(install::Install),
    Uninstall(install::Uninstall),
    Token(token::Token),
    Refusals(refusals::Refusals),
    Archive(archive::Archive),
    Backfill(backfill::Backfill),
    Scrub(scrub::Scrub),
    Doctor(doctor::Doctor),
    Demo(demo::Demo),
    Explain(explain::Explain),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    /// Whether the command handles SIGTERM and SIGINT itself. The kernel ends every other command at
    /// once, which is safe: each change is a single rename, or an append that recovery understands.
    fn handles_signals(&self) -> bool {
        use Command::{Check, Demo, Receive, Ship, Status};
        match self {
            Receive(_) | Ship(_) | Check(_) | Demo(_) => true,
            Status(status) => status.is_for_a_pane(),
            _ => false,
        }
    }

    /// The command as a boxed call, which the compiler does not inline. Inlined, all commands would
    /// share the frame of `run`, and a service would keep a page or two for the others' variables.
    #[inline(never)]
    fn boxed(self) -> Box<dyn FnOnce() -> Result<ExitCode, Failure>> {
        match self {
            Command::Receive(command) => Box::new(move || command.run()),
            Command::Ship(command) => Box::new(move || command.run()),
            Command::Check(command) => Box::new(move || command.run()),
            Command::Status(command) => Box::new(move || command.run()),
            Command::List(command) => Box::new(move || command.run()),
            Command::Pull(command) => Box::new(move || command.run()),
            Command::Requeue(command) => Box::new(move || command.run()),
            Command::Resend(command) => Box::new(move || command.run()),
            Command::SetAside(command) => Box::new(move || command.run()),
            Command::Init(command) => Box::new(move || command.run()),
            Command::Host(command) => Box::new(move || command.run()),
            Command::Config(command) => Box::new(move || command.run()),
            Command::Install(command) => Box::new(move || command.run()),
            Command::Uninstall(command) => Box::new(move || command.run()),
            Command::Token(command) => Box::new(move || command.run()),
            Command::Refusals(command) => Box::new(move || command.run()),
            Command::Archive(command) => Box::new(move || command.run()),
            Command::Backfill(command) => Box::new(move || command.run()),
            Command::Scrub(command) => Box::new(move || command.run()),
            Command::Doctor(command) => Box::new(move || command.run()),
            Command::Demo(command) => Box::new(move || command.run()),
            Command::Explain(command) => Box::new(move || command.run()),
            Command::Completions(command) => Box::new(move || command.run()),
            Command::Man(command) => Box::new(move || command.run()),
        }
    }
}

/// Runs the command that the command line names. The exit status is 0, 1 on failure, or 2 for a mistake on
/// the command line; a command's `--help` names any other.
pub fn run() -> ExitCode {
    let line = match command_line::parse() {
        Ok(line) => line,
        Err(done) => return done,
    };
    if line.version {
        say!("{}", version::line());
        return ended(ExitCode::SUCCESS);
    }
    let Some(command) = line.command else {
        return report(&Failure::usage(
            "no command was given",
            "cis490 --help lists them",
        ));
    };
    if command.handles_signals() {
        // Before any thread is started: threads inherit the mask.
        sys::block_signals();
    }
    let run = command.boxed();
    run().map_or_else(|failure| report(&failure), ended)
}

/// `done`, or a failure if output was lost. A closed pipe loses none; a full disk does.
fn ended(done: ExitCode) -> ExitCode {
    match terminal::lost_output() {
        Some(failure) if done == ExitCode::SUCCESS => report(&failure),
        Some(failure) => {
            report(&failure);
            done
        }
        None => done,
    }
}
