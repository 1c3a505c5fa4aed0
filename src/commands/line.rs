//! The command line: parsed, and answered in words if it is wrong, with the name that was probably
//! meant.

use std::env;
use std::process::ExitCode;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfoKind, FromArgs};

use super::Cis490;
use super::report::report;
use crate::config::mistake::ACCEPTS;
use crate::failure::Failure;
pub(super) use crate::human::nearest;
use crate::terminal::{print, wrapped};

/// Parses the command line of this process. `--help` and mistakes are answered here; the exit status
/// is then the error.
pub(super) fn parse() -> Result<Cis490, ExitCode> {
    let words = words().map_err(|failure| report(&failure))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Cis490::from_args(&["cis490"], &words).map_err(|exit| match exit.status {
        Ok(()) => match print(&help(&words, &exit.output)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => report(&failure),
        },
        Err(()) => report(&not_right(&words, &exit.output)),
    })
}

/// The help of the program, or of one of its commands.
///
/// Errors: there is no such command.
pub(super) fn help_of(command: Option<&str>) -> Result<String, Failure> {
    let asked: Vec<&str> = command.into_iter().chain(["--help"]).collect();
    match Cis490::from_args(&["cis490"], &asked) {
        Err(exit) if exit.status.is_ok() => Ok(help(&asked, &exit.output)),
        Err(exit) => Err(not_right(&asked, &exit.output)),
        Ok(_) => Ok(String::new()),
    }
}

/// The groups of the program's own help. A command that is in none of them is in the last.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Every day", &["status", "ship", "receive", "check"]),
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
        ],
    ),
    (
        "Setting up",
        &["install", "uninstall", "init", "token", "demo"],
    ),
    ("Other", &[]),
];

const HELP_COLUMNS: usize = 100;

/// The help that the parser has for these words; of the program itself, in groups.
fn help(words: &[&str], parsers: &str) -> String {
    let info = Cis490::get_args_info();
    if command_of(&info, words).is_some() {
        return format!("{}\n", parsers.trim_end());
    }
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
    text + "\ncis490 COMMAND --help explains a command, cis490 help events the log, cis490 help refusals each\nrefusal. cis490 --version (-V) prints version, commit and target.\n"
}

/// The words after the program's name in the parser's form: `--option=value` becomes two.
fn words() -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    for word in env::args_os().skip(1) {
        let word = word.into_string().map_err(|word| {
            Failure::new(
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

/// The command that the first word names which is no option.
fn command_of<'a>(
    info: &'a CommandInfoWithArgs,
    words: &[impl AsRef<str>],
) -> Option<&'a CommandInfoWithArgs> {
    let name = words.iter().find(|word| !word.as_ref().starts_with('-'))?;
    let mut commands = info.commands.iter();
    let found = commands.find(|command| command.name == name.as_ref())?;
    Some(&found.command)
}

/// The parser's complaint in our form: what is wrong, and what to do.
fn not_right(words: &[&str], complaint: &str) -> Failure {
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
            Failure::new(uncapitalised(&complaint), format!("{help} says more"))
        });
    };
    let in_command = command.map_or(&info, |command| command);
    let flags = in_command.flags.iter().map(|flag| flag.long);
    let commands = info.commands.iter().filter(|_| command.is_none());
    let known = flags.chain(commands.map(|command| command.name));
    let what = match (unknown.starts_with('-'), command) {
        (true, Some(command)) => format!("cis490 {} has no option {unknown}", command.name),
        (true, None) => format!("there is no option {unknown}"),
        (false, Some(command)) => format!("cis490 {} does not accept {unknown:?}", command.name),
        (false, None) => format!("there is no command {unknown}"),
    };
    let hint = match nearest(unknown, known) {
        Some(meant) => format!("did you mean {meant}? {help} lists them all"),
        None => format!("{help} lists them all"),
    };
    Failure::new(what, hint)
}

/// A value that an option does not accept. The parser's words are those of `from_str`, which begin
/// with "accepts" where they are ours.
fn bad_value(complaint: &str, help: &str) -> Option<Failure> {
    let rest = complaint.strip_prefix("Error parsing ")?;
    let (_, rest) = rest.split_once('\'')?;
    let (option, rest) = rest.split_once("' with value '")?;
    let (value, why) = rest.split_once("': ")?;
    Some(match why.strip_prefix(ACCEPTS) {
        Some(allowed) => Failure::new(
            format!("{option} {value} is not allowed"),
            format!("{option} accepts {allowed}"),
        ),
        None => Failure::new(format!("{option}: {why}"), format!("{help} says more")),
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
