//! Parses the command line. A mistake is answered in words, with the name that was probably meant.

use std::env;
use std::process::ExitCode;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfoKind, FromArgs};

use super::report::report;
use crate::commands::Cis490;
use crate::config::mistake::ACCEPTS;
use crate::failure::Failure;
use crate::human::nearest;
use crate::terminal::{print, wrapped};

/// Parses the command line of this process. It answers `--help` and mistakes itself; the error is
/// then the exit status.
pub(crate) fn parse() -> Result<Cis490, ExitCode> {
    let words = words().map_err(|failure| report(&failure))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Cis490::from_args(&["cis490"], &words).map_err(|exit| match exit.status {
        Ok(()) => match print(&help(&words, &exit.output)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => report(&failure),
        },
        Err(()) => report(&mistake(&words, &exit.output)),
    })
}

/// The help of the program, or of one of its commands.
///
/// Errors: there is no such command.
pub(crate) fn help_of(command: Option<&str>) -> Result<String, Failure> {
    let asked: Vec<&str> = command.into_iter().chain(["--help"]).collect();
    match Cis490::from_args(&["cis490"], &asked) {
        Err(exit) if exit.status.is_ok() => Ok(help(&asked, &exit.output)),
        Err(exit) => Err(mistake(&asked, &exit.output)),
        Ok(_) => Ok(String::new()),
    }
}

/// The groups of the program's own help. The last group gets every command that no other names.
const GROUPS: [(&str, &[&str]); 4] = [
    (
        "Every day",
        &["status", "list", "pull", "ship", "receive", "check"],
    ),
    (
        "When something is wrong",
        &[
            "doctor",
            "explain",
            "refusals",
            "requeue",
            "resend",
            "set-aside",
            "scrub",
            "backfill",
            "archive",
        ],
    ),
    (
        "Setting up",
        &[
            "install",
            "uninstall",
            "config",
            "host",
            "init",
            "token",
            "demo",
        ],
    ),
    ("Other", &[]),
];

const HELP_COLUMNS: usize = 100;

/// The help that these words ask for: the parser's own text for a command, and for the program a
/// list of the commands in groups.
fn help(words: &[&str], parsers_text: &str) -> String {
    let info = Cis490::get_args_info();
    if command_of(&info, words).is_some() {
        return format!("{}\n", parsers_text.trim_end());
    }
    grouped_help(&info)
}

fn grouped_help(info: &CommandInfoWithArgs) -> String {
    let description = format!("{}.", info.description.trim_end_matches('.'));
    let mut text = wrapped(&description, 0, HELP_COLUMNS);
    text += "\nUsage: cis490 COMMAND [OPTIONS]\n";
    let grouped = |name: &&str| GROUPS.iter().any(|(_, names)| names.contains(name));
    for (title, names) in GROUPS {
        let mut names = names.to_vec();
        if names.is_empty() {
            let all = info.commands.iter().map(|command| command.name);
            names.extend(all.filter(|name| !grouped(name)));
        }
        text += &format!("\n{title}:\n");
        for name in names {
            let known = info.commands.iter().find(|command| command.name == name);
            let description = known.map_or("", |command| command.command.description);
            let first = description.split(". ").next().unwrap_or_default();
            let flat: Vec<&str> = first.split_whitespace().collect();
            text += &format!("  {name:12}  {}\n", flat.join(" "));
        }
    }
    text + "\ncis490 COMMAND --help explains a command, cis490 help events the log, cis490 help refusals each\nrefusal. cis490 --version (-V) prints version, commit and target.\nExit status: 0 success, 1 failure, 2 a mistake on the command line; a command may have others.\n"
}

/// The words after the program's name in the parser's form: `--option=value` becomes two words,
/// `help` becomes `explain`, and `version` becomes `--version`.
///
/// Errors: a word is not UTF-8.
fn words() -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    for word in env::args_os().skip(1) {
        let word = word.into_string().map_err(|word| {
            Failure::usage(
                format!("{word:?} on the command line is not UTF-8"),
                "give the file another name, or go to its folder and use a relative path",
            )
        })?;
        words.push(word);
    }
    if let Some(first) = words.first_mut() {
        match first.as_str() {
            "help" => *first = "explain".to_owned(),
            "version" => *first = "--version".to_owned(),
            _ => {}
        }
    }
    let info = Cis490::get_args_info();
    let command = command_of(&info, &words);
    let takes_value = |name: &str| {
        let mut flags = command.map_or(&[][..], |command| command.flags).iter();
        flags.any(|flag| flag.long == name && matches!(flag.kind, FlagInfoKind::Option { .. }))
    };
    let split = |word: String| match word.split_once('=') {
        _ if word == "-h" => vec!["--help".to_owned()],
        Some((name, value)) if takes_value(name) => vec![name.to_owned(), value.to_owned()],
        _ => vec![word],
    };
    Ok(words.into_iter().flat_map(split).collect())
}

/// The command named by the first word that is no option.
fn command_of<'a>(
    info: &'a CommandInfoWithArgs,
    words: &[impl AsRef<str>],
) -> Option<&'a CommandInfoWithArgs> {
    let name = words.iter().find(|word| !word.as_ref().starts_with('-'))?;
    let mut commands = info.commands.iter();
    let found = commands.find(|command| command.name == name.as_ref())?;
    Some(&found.command)
}

/// The parser's complaint as a failure, with a hint.
fn mistake(words: &[&str], complaint: &str) -> Failure {
    let info = Cis490::get_args_info();
    let command = command_of(&info, words);
    let help = match command {
        Some(command) => format!("cis490 {} --help", command.name),
        None => "cis490 --help".to_owned(),
    };
    let Some(unknown) = complaint.trim().strip_prefix("Unrecognized argument: ") else {
        let complaint = complaint.trim().trim_end_matches('.');
        let lines: Vec<&str> = complaint.lines().map(str::trim).collect();
        let complaint = lines.join(" ");
        return bad_value(&complaint, &help).unwrap_or_else(|| {
            Failure::usage(uncapitalised(&complaint), format!("{help} says more"))
        });
    };
    let meant = match command {
        Some(command) => nearest(unknown, flags(command)),
        None => nearest(unknown, flags(&info).chain(names(&info))),
    };
    let hint = match meant {
        Some(meant) => format!("did you mean {meant}? {help} lists them all"),
        None => format!("{help} lists them all"),
    };
    Failure::usage(what_is_unknown(unknown, command), hint)
}

fn flags(command: &CommandInfoWithArgs) -> impl Iterator<Item = &str> {
    command.flags.iter().map(|flag| flag.long)
}

fn names(info: &CommandInfoWithArgs) -> impl Iterator<Item = &str> {
    info.commands.iter().map(|command| command.name)
}

fn what_is_unknown(unknown: &str, command: Option<&CommandInfoWithArgs>) -> String {
    let is_option = unknown.starts_with('-');
    match command {
        Some(command) if is_option => format!("cis490 {} has no option {unknown}", command.name),
        Some(command) => format!("cis490 {} does not accept {unknown:?}", command.name),
        None if is_option => format!("there is no option {unknown}"),
        None => format!("there is no command {unknown}"),
    }
}

/// The failure for a value that an option does not accept. The complaint ends with the error of the
/// option's `from_str`; where that is ours, it begins with "accepts" and names what is allowed.
fn bad_value(complaint: &str, help: &str) -> Option<Failure> {
    let rest = complaint.strip_prefix("Error parsing ")?;
    let (_, rest) = rest.split_once('\'')?;
    let (option, rest) = rest.split_once("' with value '")?;
    let (value, why) = rest.split_once("': ")?;
    Some(match why.strip_prefix(ACCEPTS) {
        Some(allowed) => Failure::usage(
            format!("{option} {value} is not allowed"),
            format!("{option} accepts {allowed}"),
        ),
        None => Failure::usage(format!("{option}: {why}"), format!("{help} says more")),
    })
}

fn uncapitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_of_the_help_has_commands_that_exist() {
        let info = Cis490::get_args_info();
        for name in GROUPS.iter().flat_map(|(_, names)| *names) {
            let is_there = info.commands.iter().any(|command| command.name == *name);
            assert!(is_there, "{name}");
        }
        let help = help(&["--help"], "");
        for command in &info.commands {
            let line = format!("\n  {:12}  ", command.name);
            assert_eq!(help.matches(&line).count(), 1, "{help}");
        }
        assert!(
            help.lines()
                .all(|line| line.chars().count() <= HELP_COLUMNS),
            "{help}"
        );
    }
}
