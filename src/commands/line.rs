//! The command line: parsed, and told in words when it is not right, with the name that was meant.

use std::env;
use std::process::ExitCode;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfoKind, FromArgs};

use super::Cis490;
use crate::failure::Failure;
use crate::terminal::print;

/// Parses the command line of this process. What is asked for in passing (`--help`) or not right
/// is told here; the exit status is the error.
pub fn parse() -> Result<Cis490, ExitCode> {
    let words = words().map_err(|failure| failure.report())?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Cis490::from_args(&["cis490"], &words).map_err(|exit| match exit.status {
        Ok(()) => match print(&format!("{}\n", exit.output.trim_end())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        },
        Err(()) => not_right(&words, &exit.output).report(),
    })
}

/// The help of the program, or of one of its commands.
///
/// Errors: there is no such command.
pub fn help_of(command: Option<&str>) -> Result<String, Failure> {
    let asked: Vec<&str> = command.into_iter().chain(["--help"]).collect();
    match Cis490::from_args(&["cis490"], &asked) {
        Err(exit) if exit.status.is_ok() => Ok(format!("{}\n", exit.output.trim_end())),
        Err(exit) => Err(not_right(&asked, &exit.output)),
        Ok(_) => Ok(String::new()),
    }
}

/// The words after the program's name, as the parser wants them: `--option=value` becomes two.
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
    if let Some(first) = words.first_mut().filter(|first| *first == "help") {
        *first = "explain".to_owned();
    }
    let info = Cis490::get_args_info();
    let command = command_of(&info, &words);
    let takes_value = |name: &str| {
        let mut flags = command.map_or(&[][..], |command| command.flags).iter();
        flags.any(|flag| flag.long == name && matches!(flag.kind, FlagInfoKind::Option { .. }))
    };
    let split = |word: String| match word.split_once('=') {
        Some((name, value)) if takes_value(name) => vec![name.to_owned(), value.to_owned()],
        _ => vec![word],
    };
    Ok(words.into_iter().flat_map(split).collect())
}

/// The command that is named by the first word that is no option.
fn command_of<'a>(
    info: &'a CommandInfoWithArgs,
    words: &[impl AsRef<str>],
) -> Option<&'a CommandInfoWithArgs> {
    let name = words.iter().find(|word| !word.as_ref().starts_with('-'))?;
    let mut commands = info.commands.iter();
    let found = commands.find(|command| command.name == name.as_ref())?;
    Some(&found.command)
}

/// The parser's complaint, as all that we tell: what is wrong, and what to do.
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
        return Failure::new(
            uncapitalised(&lines.join(" ")),
            format!("{help} tells more"),
        );
    };
    let in_command = command.map_or(&info, |command| command);
    let flags = in_command.flags.iter().map(|flag| flag.long);
    let commands = info.commands.iter().filter(|_| command.is_none());
    let known = flags.chain(commands.map(|command| command.name));
    let what = match (unknown.starts_with('-'), command) {
        (true, Some(command)) => format!("cis490 {} has no option {unknown}", command.name),
        (true, None) => format!("there is no option {unknown}"),
        (false, Some(command)) => format!("cis490 {} takes no {unknown:?}", command.name),
        (false, None) => format!("there is no command {unknown}"),
    };
    let hint = match nearest(unknown, known) {
        Some(meant) => format!("did you mean {meant}? {help} lists what there is"),
        None => format!("{help} lists what there is"),
    };
    Failure::new(what, hint)
}

fn uncapitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

/// What was most likely meant: the known name that takes the fewest slips to `unknown`, or of which
/// it is the beginning; `None` if nothing is near.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips_max = unknown.trim_start_matches('-').chars().count().div_ceil(3);
    let measured = known.map(|name| {
        let begins = unknown.len() > 2 && name.starts_with(unknown);
        (if begins { 1 } else { slips(unknown, name) }, name)
    });
    let (slips, name) = measured.min_by_key(|(slips, _)| *slips)?;
    (slips <= slips_max).then_some(name)
}

/// How many letters must be added, left out, changed or swapped with their neighbour.
fn slips(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let same = usize::from(from[i - 1] != to[j - 1]);
            let mut least = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_near_name_is_found_and_no_far_one() {
        let known = ["status", "ship", "scrub", "--config", "--json"];
        for (unknown, meant) in [
            ("stauts", Some("status")),
            ("stat", Some("status")),
            ("shp", Some("ship")),
            ("scurb", Some("scrub")),
            ("--jsn", Some("--json")),
            ("--conf", Some("--config")),
            ("frobnicate", None),
            ("x", None),
            ("--x", None),
        ] {
            assert_eq!(nearest(unknown, known.into_iter()), meant, "{unknown}");
        }
    }
}
