//! `cis490 man`: manual pages, made from the same definitions as `--help`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgs, Optionality};

use super::Cis490;
use crate::durable;
use crate::failure::Failure;
use crate::terminal::print;

/// print a manual page, or write all of them to a folder
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "man",
    example = "cis490 man scrub | man -l -",
    example = "cis490 man --dir /usr/local/share/man/man1"
)]
pub(super) struct Man {
    /// a command (default: the page of the program)
    #[argh(positional)]
    command: Option<String>,
    /// write cis490.1, cis490-status.1 and so on to this folder, which is made if it is missing
    #[argh(option)]
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let info = Cis490::get_args_info();
        if let Some(dir) = &self.dir {
            fs::create_dir_all(dir).map_err(|error| {
                Failure::new(
                    format!("cannot make {}: {error}", dir.display()),
                    "name a folder that you may make or write to",
                )
            })?;
            let pages = info.commands.iter().map(|command| Some(command.name));
            for name in std::iter::once(None).chain(pages) {
                let path = dir.join(format!("{}.1", title(name)));
                let text = page(&info, name).unwrap_or_default();
                durable::publish(&path, text.as_bytes()).map_err(|error| {
                    Failure::new(
                        format!("cannot write {}: {error}", path.display()),
                        "name a folder that you may make or write to",
                    )
                })?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let name = self.command.as_deref();
        // A page is called by its title too: cis490-ship.
        let name = match name {
            Some("cis490") => None,
            Some(name) => Some(name.strip_prefix("cis490-").unwrap_or(name)),
            None => None,
        };
        let text = page(&info, name).ok_or_else(|| {
            Failure::new(
                format!("there is no command {}", name.unwrap_or_default()),
                "cis490 --help lists them",
            )
        })?;
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `cis490`, or `cis490-status`.
fn title(command: Option<&str>) -> String {
    command.map_or("cis490".to_owned(), |name| format!("cis490-{name}"))
}

/// `None` if there is no such command.
fn page(info: &CommandInfoWithArgs, name: Option<&str>) -> Option<String> {
    let command = match name {
        None => info,
        Some(name) => {
            let mut commands = info.commands.iter();
            &commands.find(|command| command.name == name)?.command
        }
    };
    let title = title(name);
    let typed = title.replacen('-', " ", 1);
    let description = flat(command.description);
    let summary = description.split(". ").next().unwrap_or_default();
    let mut text = format!(
        ".TH {} 1 \"\" \"cis490 {}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B {}\n",
        title.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        roff(&title),
        roff(summary),
        roff(&typed),
    );
    for flag in command.flags.iter().filter(|flag| flag.long != "--help") {
        let is_must =
            flag.optionality == Optionality::Required && !matches!(flag.kind, FlagInfoKind::Switch);
        text += &match is_must {
            true => format!("{}\n", option(flag)),
            false => format!("[{}]\n", option(flag)),
        };
    }
    for argument in command.positionals {
        text += &format!("[\\fI{}\\fR]\n", roff(argument.name));
    }
    if name.is_none() {
        text += "\\fICOMMAND\\fR ...\n";
    }
    text += &format!(".SH DESCRIPTION\n{}\n", roff(&sentences(&description)));
    if !command.flags.is_empty() || !command.positionals.is_empty() {
        text += ".SH OPTIONS\n";
    }
    for argument in command.positionals {
        text += &format!(
            ".TP\n\\fI{}\\fR\n{}\n",
            roff(argument.name),
            roff(&flat(argument.description))
        );
    }
    for flag in command.flags {
        text += &format!(".TP\n{}\n{}\n", option(flag), roff(&flat(flag.description)));
    }
    if name.is_none() {
        text += ".SH COMMANDS\n";
        for command in &info.commands {
            let (name, text_of) = (command.name, flat(command.command.description));
            text += &format!(
                ".TP\n\\fBcis490\\-{}\\fR(1)\n{}\n",
                roff(name),
                roff(&text_of)
            );
        }
    }
    if !command.error_codes.is_empty() {
        text += ".SH EXIT STATUS\n.TP\n0\nsuccess\n";
        for code in command.error_codes {
            text += &format!(".TP\n{}\n{}\n", code.code, roff(&flat(code.description)));
        }
    }
    if !command.examples.is_empty() {
        text += ".SH EXAMPLES\n.nf\n";
        for example in command.examples {
            text += &format!("{}\n", roff(&example.replace("{command_name}", &typed)));
        }
        text += ".fi\n";
    }
    text += ".SH SEE ALSO\n.BR cis490 (1);\ncis490 help events explains each line of the log.\n";
    Some(text)
}

fn option(flag: &FlagInfo) -> String {
    match &flag.kind {
        FlagInfoKind::Switch => format!("\\fB{}\\fR", roff(flag.long)),
        FlagInfoKind::Option { arg_name } => {
            format!("\\fB{}\\fR \\fI{}\\fR", roff(flag.long), roff(arg_name))
        }
    }
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The description as sentences: a capital at the beginning and a full stop at the end.
fn sentences(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    let text: String = first.into_iter().chain(letters).collect();
    format!("{}.", text.trim_end_matches('.'))
}

/// Text escaped for roff: hyphens that can be copied, and no line that begins like a request.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    match escaped.starts_with(['.', '\'']) {
        true => format!("\\&{escaped}"),
        false => escaped,
    }
}
