//! `cis490 completions`: completions for a shell, made from the same definitions as `--help`.

use std::process::ExitCode;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgs};

use super::Cis490;
use crate::failure::Failure;
use crate::terminal::print;

/// print completions for a shell
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "completions",
    example = "cis490 completions bash > /usr/share/bash-completion/completions/cis490",
    example = "cis490 completions zsh > /usr/share/zsh/vendor-completions/_cis490",
    example = "cis490 completions fish > /usr/share/fish/vendor_completions.d/cis490.fish"
)]
pub(super) struct Completions {
    /// bash, zsh or fish
    #[argh(positional)]
    shell: String,
}

impl Completions {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let info = Cis490::get_args_info();
        print(&match self.shell.as_str() {
            "bash" => bash(&info),
            "zsh" => zsh(&info),
            "fish" => fish(&info),
            other => {
                return Err(Failure::usage(
                    format!("there are no completions for {other:?}"),
                    "use bash, zsh or fish",
                ));
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The options of a command that a shell may offer, `--help` included.
fn options(command: &CommandInfoWithArgs) -> Vec<&str> {
    let mut options: Vec<&str> = command.flags.iter().map(|flag| flag.long).collect();
    options.retain(|option| *option != "--help");
    options.push("--help");
    options
}

/// Whether the value of the option is a path.
fn wants_file(flag: &FlagInfo) -> bool {
    let of_files = [
        "--config",
        "--root",
        "--data-dir",
        "--repo",
        "--dir",
        "--prefix",
    ];
    matches!(flag.kind, FlagInfoKind::Option { .. }) && of_files.contains(&flag.long)
}

/// The words that a command accepts as its positional argument, where they are few and fixed.
fn words(command: &str) -> &'static str {
    match command {
        "completions" => "bash zsh fish",
        "explain" | "help" => "events refusals",
        _ => "",
    }
}

fn names(info: &CommandInfoWithArgs) -> String {
    let names: Vec<&str> = info.commands.iter().map(|command| command.name).collect();
    format!("{} help", names.join(" "))
}

fn bash(info: &CommandInfoWithArgs) -> String {
    let mut cases = String::new();
    for command in &info.commands {
        let name = command.name;
        let options = options(&command.command).join(" ");
        cases += &format!("        {name}) words=\"{options} {}\" ;;\n", words(name));
    }
    format!(
        r#"# Completions of cis490 for bash, printed by `cis490 completions bash`.
_cis490() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words
    case $before in
        --config|--root|--data-dir|--repo|--dir|--prefix) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    case ${{COMP_WORDS[1]}} in
{cases}        help) words="events refusals {names}" ;;
        *) words="--help --version {names}" ;;
    esac
    ((COMP_CWORD == 1)) && words="--help --version {names}"
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o filenames -F _cis490 cis490
"#,
        names = names(info)
    )
}

/// The first sentence of a description, without characters that would end a quoted text.
fn short(description: &str) -> String {
    let first = description.split(". ").next().unwrap_or(description);
    let flat = first.split_whitespace().collect::<Vec<_>>().join(" ");
    flat.replace(['\'', '"', '[', ']', ':', '`', '$', '\\'], " ")
}

fn zsh(info: &CommandInfoWithArgs) -> String {
    let mut commands = String::new();
    let mut cases = String::new();
    for command in &info.commands {
        let name = command.name;
        commands += &format!("        '{name}:{}'\n", short(command.command.description));
        let arguments = zsh_arguments(name, &command.command);
        cases += &format!(
            "        {name}) _arguments '--help[display usage information]'{arguments} ;;\n"
        );
    }
    format!(
        r#"#compdef cis490
# Completions of cis490 for zsh, printed by `cis490 completions zsh`.
_cis490() {{
    local -a commands
    commands=(
{commands}        'help:explain a command, or the lines of the log'
    )
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    ((CURRENT--))
    case $command in
{cases}        help) _arguments '1:topic:(events refusals {names})' ;;
    esac
}}
_cis490 "$@"
"#,
        names = names(info)
    )
}

fn zsh_arguments(name: &str, command: &CommandInfoWithArgs) -> String {
    let mut arguments = String::new();
    for flag in command.flags.iter().filter(|flag| flag.long != "--help") {
        let value = match flag.kind {
            FlagInfoKind::Switch => "",
            FlagInfoKind::Option { .. } if wants_file(flag) => ":file:_files",
            FlagInfoKind::Option { .. } => ":value:",
        };
        arguments += &format!(" '{}[{}]{value}'", flag.long, short(flag.description));
    }
    if !words(name).is_empty() {
        arguments += &format!(" '1:topic:({})'", words(name));
    }
    arguments
}

fn fish(info: &CommandInfoWithArgs) -> String {
    let mut text = String::from(
        "# Completions of cis490 for fish, printed by `cis490 completions fish`.\ncomplete -c cis490 -f\n",
    );
    for command in &info.commands {
        let name = command.name;
        let definition = &command.command;
        text += &format!(
            "complete -c cis490 -n __fish_use_subcommand -a {name} -d '{}'\n",
            short(definition.description)
        );
        for flag in definition.flags {
            let long = flag.long.trim_start_matches('-');
            let value = match flag.kind {
                FlagInfoKind::Switch => "",
                FlagInfoKind::Option { .. } if wants_file(flag) => " -r -F",
                FlagInfoKind::Option { .. } => " -x",
            };
            text += &format!(
                "complete -c cis490 -n '__fish_seen_subcommand_from {name}' -l {long}{value} -d '{}'\n",
                short(flag.description)
            );
        }
        if !words(name).is_empty() {
            text += &format!(
                "complete -c cis490 -n '__fish_seen_subcommand_from {name}' -a '{}'\n",
                words(name)
            );
        }
    }
    text + &format!(
        "complete -c cis490 -n __fish_use_subcommand -a help -d 'explain a command, or the lines of the log'\ncomplete -c cis490 -n '__fish_seen_subcommand_from help' -a 'events refusals {}'\n",
        names(info)
    )
}
