//! `cis490 completions`: completions for a shell. The commands and their options come from the same
//! definitions as `--help`; the values that a folder or a configuration of this machine has are listed by
//! the program itself, each time that the shell asks for them (`--list`).

mod bash;
mod fish;
mod listed;
mod zsh;

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgs};

use self::listed::{Kind, Place};
use super::Cis490;
use crate::failure::Failure;
use crate::terminal::print;

/// print completions for a shell. cis490 install puts those of all three where each looks for them
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "completions",
    example = "cis490 completions bash > /usr/local/share/bash-completion/completions/cis490",
    example = "cis490 completions zsh > /usr/local/share/zsh/site-functions/_cis490",
    example = "cis490 completions fish > /etc/fish/completions/cis490.fish"
)]
pub(super) struct Completions {
    /// bash, zsh or fish
    #[argh(positional)]
    shell: Option<String>,
    /// what the completions themselves ask: the words of one kind that this machine has, one a line.
    /// Kinds: refused, refused-commits, refused-reasons, held-commits, shipped, hosts, configured-hosts
    #[argh(option)]
    list: Option<Kind>,
    /// with --list: the configuration, as the completed command has it
    #[argh(option)]
    config: Option<PathBuf>,
    /// with --list: the queue's folder
    #[argh(option)]
    root: Option<PathBuf>,
    /// with --list: the store
    #[argh(option)]
    data_dir: Option<PathBuf>,
    /// with --list: the folder of a pull
    #[argh(option)]
    to: Option<PathBuf>,
}

impl Completions {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let text = match (self.shell, self.list) {
            (Some(shell), None) => of_shell(&shell)?,
            (None, Some(kind)) => listed::text(
                kind,
                &Place {
                    config: self.config,
                    root: self.root,
                    data_dir: self.data_dir,
                    to: self.to,
                },
            )?,
            _ => {
                return Err(Failure::usage(
                    "completions are for one shell",
                    "cis490 completions bash, zsh or fish",
                ));
            }
        };
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Errors: there are none for this shell.
pub(super) fn of_shell(shell: &str) -> Result<String, Failure> {
    let info = Cis490::get_args_info();
    Ok(match shell {
        "bash" => bash::text(&info),
        "zsh" => zsh::text(&info),
        "fish" => fish::text(&info),
        other => {
            return Err(Failure::usage(
                format!("there are no completions for {other:?}"),
                "use bash, zsh or fish",
            ));
        }
    })
}

/// The words that may stand in one place of a command line.
enum Words {
    /// The name of a file.
    Files,
    Fixed(Vec<&'static str>),
    /// Those that the program lists.
    Listed(Kind),
    /// Anything: there is nothing to offer.
    Unknown,
}

/// The values of an option; `None` for a switch.
fn values(command: &str, flag: &FlagInfo) -> Option<Words> {
    if matches!(flag.kind, FlagInfoKind::Switch) {
        return None;
    }
    Some(match (command, flag.long) {
        ("check", "--repo")
        | (_, "--config" | "--root" | "--data-dir" | "--dir")
        | (_, "--to" | "--token-file" | "--ca-file") => Words::Files,
        (_, "--log") => Words::Fixed(vec!["text", "json"]),
        ("requeue", "--commit") => Words::Listed(Kind::RefusedCommits),
        ("requeue", "--reason") => Words::Listed(Kind::RefusedReasons),
        ("set-aside", "--commit") => Words::Listed(Kind::HeldCommits),
        ("refusals", "--reason") => Words::Fixed(reasons()),
        (_, "--host") => Words::Listed(Kind::Hosts),
        ("completions", "--list") => {
            Words::Fixed(Kind::ALL.iter().map(|kind| kind.name()).collect())
        }
        _ => Words::Unknown,
    })
}

/// The words that are a command's arguments.
struct Arguments {
    /// Of the first argument.
    first: Words,
    /// Of the one behind a word that has more to say.
    behind: Vec<(&'static str, Words)>,
}

fn arguments(info: &CommandInfoWithArgs, command: &str) -> Arguments {
    let first = match command {
        "completions" => Words::Fixed(vec!["bash", "zsh", "fish"]),
        "explain" | "help" => {
            let topics = ["events", "refusals"];
            Words::Fixed(topics.into_iter().chain(names(info)).collect())
        }
        "install" | "uninstall" => Words::Fixed(vec!["receiver", "shipper", "puller"]),
        "host" => Words::Fixed(vec!["add", "remove"]),
        "man" => {
            let pages = ["receiver.toml", "shipper.toml", "events"];
            Words::Fixed(pages.into_iter().chain(names(info)).collect())
        }
        "requeue" => Words::Listed(Kind::Refused),
        "resend" => Words::Listed(Kind::Shipped),
        _ => Words::Unknown,
    };
    let behind = match command {
        "explain" | "help" => vec![
            ("events", Words::Fixed(events())),
            ("refusals", Words::Fixed(reasons())),
        ],
        "host" => vec![("remove", Words::Listed(Kind::ConfiguredHosts))],
        _ => Vec::new(),
    };
    Arguments { first, behind }
}

fn names(info: &CommandInfoWithArgs) -> impl Iterator<Item = &'static str> {
    info.commands.iter().map(|command| command.name)
}

/// The commands, and `help`, which is one to those who type it.
fn commands(info: &CommandInfoWithArgs) -> Vec<(&'static str, &CommandInfoWithArgs)> {
    let mut commands: Vec<_> = info
        .commands
        .iter()
        .map(|command| (command.name, &command.command))
        .collect();
    let explain = info
        .commands
        .iter()
        .find(|command| command.name == "explain");
    commands.extend(explain.map(|explain| ("help", &explain.command)));
    commands
}

fn reasons() -> Vec<&'static str> {
    crate::refusal_table::ENTRIES
        .iter()
        .map(|entry| entry.name)
        .collect()
}

fn events() -> Vec<&'static str> {
    crate::events::manual::all()
        .map(|event| event.name)
        .collect()
}

/// The options of a command, `--help` at their end.
fn options(command: &CommandInfoWithArgs) -> Vec<&'static str> {
    let mut options: Vec<_> = command.flags.iter().map(|flag| flag.long).collect();
    options.retain(|option| *option != "--help");
    options.push("--help");
    options
}

/// The first sentence of a description, without characters that would end a quoted text.
fn short(description: &str) -> String {
    let first = description.split(". ").next().unwrap_or(description);
    let flat = first.split_whitespace().collect::<Vec<_>>().join(" ");
    flat.replace(['\'', '"', '[', ']', ':', '`', '$', '\\'], " ")
}
