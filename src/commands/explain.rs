//! `cis490 help`: what the commands' `--help` does not say.
//!
//! The parser reserves the name `help`, so the command is called `explain`, and `cli/command_line.rs`
//! translates `help` to it.

use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::cli::{command_line, refusals_manual};
use crate::events::manual::{self, CHAPTERS, Event};
use crate::failure::Failure;
use crate::human::nearest;
use crate::terminal::{self, Paint, columns, wrapped};

/// explain a command, a line of the log or a refusal. The same as cis490 help
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "explain",
    example = "cis490 help events",
    example = "cis490 help events falling_out",
    example = "cis490 help refusals 412",
    example = "cis490 help status"
)]
pub(super) struct Explain {
    /// a command, or: events [NAME], refusals [REASON]
    #[argh(positional)]
    topic: Vec<String>,
}

impl Explain {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let topic: Vec<&str> = self.topic.iter().map(String::as_str).collect();
        let text = match topic[..] {
            ["events"] => events(None)?,
            ["events", name] => events(Some(name))?,
            ["refusals"] => refusals_manual::text(None)?,
            ["refusals", name] => refusals_manual::text(Some(name))?,
            [] => command_line::help_of(None)?,
            [command] => command_line::help_of(Some(command))?,
            [_, _, ..] => {
                return Err(Failure::usage(
                    format!("there is no help for {:?}", topic.join(" ")),
                    "cis490 help COMMAND, cis490 help events [NAME], cis490 help refusals [REASON]",
                ));
            }
        };
        terminal::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn events(name: Option<&str>) -> Result<String, Failure> {
    let paint = Paint::for_stdout();
    if let Some(name) = name {
        let name = name.strip_prefix("event=").unwrap_or(name);
        let event = manual::find(name).ok_or_else(|| no_event(name))?;
        return Ok(explained(event, paint));
    }
    Ok(all_events(paint))
}

fn no_event(name: &str) -> Failure {
    let meant = nearest(name, manual::all().map(|event| event.name));
    let meant = meant.map_or(String::new(), |name| format!("did you mean {name}? "));
    Failure::usage(
        format!("no log line has event={name}"),
        format!("{meant}cis490 help events lists them all"),
    )
}

fn all_events(paint: Paint) -> String {
    let mut text = String::from(
        "Each line of the log is event=NAME and key=value pairs. ERROR: act now. WARN: act soon.\nINFO: no action. In the journal: journalctl -u 'cis490-*' -p warning\nThe one exception: \"failed to parse http request\", without event=, is the HTTP library's own\nmessage about a peer that did not send HTTP.\n",
    );
    for chapter in CHAPTERS {
        text += &format!("\n{}\n\n", paint.bold(chapter.title));
        for event in chapter.events {
            text += &explained(event, paint);
        }
    }
    text
}

fn explained(event: &Event, paint: Paint) -> String {
    let Event {
        name,
        level,
        meaning,
        to_do,
    } = event;
    let level = match level {
        log::Level::Error => paint.bad("ERROR"),
        log::Level::Warn => paint.warning("WARN"),
        other => paint.faint(other.as_str()),
    };
    let mut text = format!("  {}  {level}\n", paint.bold(name));
    text += &wrapped(meaning, 6, columns());
    if *to_do != manual::NOTHING {
        text += &wrapped(&format!("do: {to_do}"), 6, columns());
    }
    text
}
