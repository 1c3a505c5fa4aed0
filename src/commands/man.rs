//! `cis490 man`: manual pages, made from the same definitions as `--help`.

mod files;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgs, Optionality};

use super::Cis490;
use crate::durable;
use crate::failure::Failure;
use crate::terminal::print;
use crate::version;

/// print a manual page, or write all of them to a folder
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "man",
    example = "cis490 man scrub | man -l -",
    example = "cis490 man receiver.toml | man -l -",
    example = "cis490 man --dir /usr/local/share/man/man1"
)]
pub(super) struct Man {
    /// a command, receiver.toml, shipper.toml or events (default: the page of the program)
    #[argh(positional)]
    command: Option<String>,
    /// write cis490.1, cis490-status.1 and so on to this folder, which is made if it is missing. The pages of
    /// the files (5) and of the events (7) go there too, or beside it if it is called man1
    #[argh(option)]
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        match &self.dir {
            Some(dir) => write_pages(dir)?,
            None => print_page(self.command.as_deref())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write_pages(dir: &Path) -> Result<(), Failure> {
    let failed = |verb: &str, path: &Path, error: &io::Error| {
        Failure::new(
            format!("cannot {verb} {}: {error}", path.display()),
            "name a folder that you may make or write to",
        )
    };
    for (section, name, text) in pages() {
        let dir = folder_of(dir, section);
        fs::create_dir_all(&dir).map_err(|error| failed("make", &dir, &error))?;
        let path = dir.join(name);
        durable::publish(&path, text.as_bytes()).map_err(|error| failed("write", &path, &error))?;
    }
    Ok(())
}

/// All pages: each one's section, the name of its file, and its text.
pub(super) fn pages() -> Vec<(u8, String, String)> {
    let info = Cis490::get_args_info();
    let commands = info.commands.iter().map(|command| Some(command.name));
    let mut pages: Vec<(u8, String, String)> = std::iter::once(None)
        .chain(commands)
        .filter_map(|name| Some((1, format!("{}.1", title(name)), page(&info, name)?)))
        .collect();
    for page in files::PAGES {
        let name = format!("cis490-{}.{}", page.name, page.section);
        pages.push((page.section, name, page.text()));
    }
    pages
}

/// The folder of a section's pages: `dir`, or beside it if it is the one of section 1.
fn folder_of(dir: &Path, section: u8) -> PathBuf {
    if dir.ends_with("man1") {
        dir.with_file_name(format!("man{section}"))
    } else {
        dir.to_owned()
    }
}

/// Prints the page of a command. Its title, such as cis490-ship, names it too.
fn print_page(name: Option<&str>) -> Result<(), Failure> {
    let info = Cis490::get_args_info();
    let name = match name {
        Some("cis490") => None,
        Some(name) => Some(name.strip_prefix("cis490-").unwrap_or(name)),
        None => None,
    };
    let of_file = files::PAGES.iter().find(|page| Some(page.name) == name);
    let text = of_file.map(files::Page::text).or_else(|| page(&info, name));
    let text = text.ok_or_else(|| {
        Failure::usage(
            format!("there is no command {}", name.unwrap_or_default()),
            "cis490 --help lists them; receiver.toml, shipper.toml and events have pages too",
        )
    })?;
    print(&text)
}

/// The title of a page: `cis490`, or `cis490-status`.
fn title(command: Option<&str>) -> String {
    command.map_or("cis490".to_owned(), |name| format!("cis490-{name}"))
}

/// The page of a command, or of the program; `None` if there is no such command.
fn page(info: &CommandInfoWithArgs, name: Option<&str>) -> Option<String> {
    let command = match name {
        None => info,
        Some(name) => {
            let mut commands = info.commands.iter();
            &commands.find(|command| command.name == name)?.command
        }
    };
    let typed = title(name).replacen('-', " ", 1);
    let description = flat(command.description);
    let mut text = heading(name, &description);
    text += &synopsis(command, &typed);
    if name.is_none() {
        text += "\\fICOMMAND\\fR ...\n";
    }
    text += &format!(".SH DESCRIPTION\n{}\n", roff(&sentences(&description)));
    text += &options(command);
    if name.is_none() {
        text += &commands(info);
    }
    text += &exit_status(command);
    text += &examples(command, &typed);
    text += &files_and_more(command, name);
    Some(text)
}

fn heading(name: Option<&str>, description: &str) -> String {
    let title = title(name);
    let summary = description.split(". ").next().unwrap_or_default();
    header(&title, 1, "User Commands", summary)
}

/// The beginning of a page of any section.
fn header(title: &str, section: u8, chapter: &str, summary: &str) -> String {
    format!(
        ".TH {} {section} \"{}\" \"cis490 {}\" \"{chapter}\"\n.SH NAME\n{} \\- {}\n",
        title.to_uppercase(),
        version::DAY,
        version::VERSION,
        roff(title),
        roff(summary),
    )
}

fn synopsis(command: &CommandInfoWithArgs, typed: &str) -> String {
    let mut text = format!(".SH SYNOPSIS\n.B {}\n", roff(typed));
    for flag in command.flags.iter().filter(|flag| flag.long != "--help") {
        let is_required =
            flag.optionality == Optionality::Required && !matches!(flag.kind, FlagInfoKind::Switch);
        if is_required {
            text += &format!("{}\n", option(flag));
        } else {
            text += &format!("[{}]\n", option(flag));
        }
    }
    for argument in command.positionals {
        text += &format!("[\\fI{}\\fR]\n", roff(argument.name));
    }
    text
}

fn options(command: &CommandInfoWithArgs) -> String {
    let mut text = String::new();
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
    text
}

fn commands(info: &CommandInfoWithArgs) -> String {
    let mut text = ".SH COMMANDS\n".to_owned();
    for command in &info.commands {
        text += &format!(
            ".TP\n\\fBcis490\\-{}\\fR(1)\n{}\n",
            roff(command.name),
            roff(&flat(command.command.description))
        );
    }
    text
}

fn exit_status(command: &CommandInfoWithArgs) -> String {
    let mut codes = BTreeMap::from([
        (0, "success".to_owned()),
        (1, "failure".to_owned()),
        (2, String::new()),
    ]);
    for code in command.error_codes {
        codes.insert(code.code, flat(code.description));
    }
    let usage = codes.entry(2).or_default();
    if !usage.is_empty() {
        *usage += "; also: ";
    }
    *usage += "a mistake on the command line";
    let mut text = ".SH EXIT STATUS\n".to_owned();
    for (code, meaning) in codes {
        text += &format!(".TP\n{code}\n{}\n", roff(&meaning));
    }
    text
}

fn examples(command: &CommandInfoWithArgs, typed: &str) -> String {
    let mut text = String::new();
    if !command.examples.is_empty() {
        text += ".SH EXAMPLES\n.nf\n";
        for example in command.examples {
            text += &format!("{}\n", roff(&example.replace("{command_name}", typed)));
        }
        text += ".fi\n";
    }
    text
}

/// The configurations that the command reads, and the other pages that it has to do with.
fn files_and_more(command: &CommandInfoWithArgs, name: Option<&str>) -> String {
    let mut flags = command.flags.iter();
    let config = flags.find(|flag| flag.long == "--config");
    let words = config.map_or("", |flag| flag.description);
    let mut files = String::new();
    let mut more = ".SH SEE ALSO\n".to_owned();
    for file in ["receiver.toml", "shipper.toml"] {
        // The page of the program is about all commands.
        if name.is_none() || words.contains(file) {
            files += &format!(
                ".TP\n\\fI/etc/cis490/{file}\\fR\nthe configuration: cis490\\-{file}(5)\n"
            );
            more += &format!(".BR cis490\\-{file} (5),\n");
        }
    }
    if name.is_some() {
        more += ".BR cis490 (1),\n";
    }
    more += ".BR cis490\\-events (7)\n";
    if files.is_empty() {
        return more;
    }
    format!(".SH FILES\n{files}{more}")
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

/// `text` escaped for roff: its hyphens stay hyphens when they are copied, and no line of it is read as a
/// request of roff.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}
