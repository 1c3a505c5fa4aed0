//! One call: a POST to the URL, or a run of the command. Either has a bound on its time.
//!
//! The URL may hold a secret, so neither it nor what the peer answers is shown anywhere.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::Duration;

use ureq::Agent;

use super::ledger::{Due, State};
use crate::config::with_plain_scheme;
use crate::failure::Failure;
use crate::human::counted;
use crate::receiver::config::{NotifyConfig, NotifyFormat};
use crate::receiver::findings::Finding;
use crate::terminal::one_line;
use crate::tls::{self, Trust};
use crate::{child, wire};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest title, in characters.
const TITLE_CHARS_MAX: usize = 120;
/// A message of ntfy has at most 4096 bytes: a longer one becomes an attachment, or is refused. The rest is for
/// the last line.
const TEXT_BYTES_MAX: usize = 4000;

pub(super) struct Caller {
    to: To,
    /// The name of this machine.
    receiver: String,
}

enum To {
    Url {
        agent: Box<Agent>,
        url: String,
        format: NotifyFormat,
    },
    Command {
        /// The program and its arguments.
        words: Vec<String>,
        timeout: Duration,
    },
}

impl Caller {
    /// Errors: an `https://` URL where this build speaks no TLS, or the system has no CA.
    pub(super) fn new(config: &NotifyConfig, haste: u32) -> Result<Caller, Failure> {
        let to = match (&config.url, &config.command) {
            (Some(url), _) => {
                let url = with_plain_scheme(url);
                let trust = tls::trust_for("notify.url", &url, "ca_file", None)?;
                To::Url {
                    agent: Box::new(agent(trust.as_ref(), CALL_TIMEOUT / haste)),
                    url,
                    format: config.format,
                }
            }
            (None, command) => To::Command {
                words: command.clone().unwrap_or_default(),
                timeout: COMMAND_TIMEOUT / haste,
            },
        };
        Ok(Caller {
            to,
            receiver: machine_name(),
        })
    }

    /// Errors say why the call failed.
    pub(super) fn call(&self, due: &Due, at: &str) -> Result<(), String> {
        match &self.to {
            To::Url { agent, url, format } => {
                let request = agent.post(url);
                let sent = match format {
                    NotifyFormat::Json => request
                        .header("Content-Type", wire::JSON)
                        .send(&self.json(due, at)[..]),
                    NotifyFormat::Text => request
                        .header("Content-Type", "text/plain; charset=utf-8")
                        .header("Title", self.title(due))
                        .send(text(due).as_bytes()),
                };
                let answer = sent.map_err(|error| why(&error))?;
                let status = answer.status();
                if status.is_success() {
                    Ok(())
                } else {
                    Err(format!("the answer was {}", status.as_u16()))
                }
            }
            To::Command { words, timeout } => run(words, &self.json(due, at), *timeout),
        }
    }

    fn json(&self, due: &Due, at: &str) -> Vec<u8> {
        let object = serde_json::json!({
            "state": due.state.name(),
            "receiver": self.receiver,
            "at": at,
            "findings": due.findings,
        });
        let mut text = object.to_string().into_bytes();
        text.push(b'\n');
        text
    }

    /// A header's value: visible ASCII.
    fn title(&self, due: &Due) -> String {
        let count = counted(due.findings.len(), "problem");
        let verb = match (due.state, due.findings.len()) {
            (State::Begins, 1) => "begins",
            (State::Begins, _) => "begin",
            (State::Ends, 1) => "has ended",
            (State::Ends, _) => "have ended",
        };
        let title = format!("cis490 on {}: {count} {verb} ({})", self.receiver, due.kind);
        let safe = title.chars().filter(|c| c.is_ascii_graphic() || *c == ' ');
        safe.take(TITLE_CHARS_MAX).collect()
    }
}

/// Plain words, a paragraph a finding: at most [`TEXT_BYTES_MAX`], and then how many more there are.
fn text(due: &Due) -> String {
    let mut text = String::new();
    for (shown, finding) in due.findings.iter().enumerate() {
        let paragraph = paragraph(due.state, finding);
        // The first is shown however long it is.
        if shown > 0 && text.len() + paragraph.len() >= TEXT_BYTES_MAX {
            let more = due.findings.len() - shown;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\nAnd {more} more: cis490 status lists them");
            break;
        }
        if shown > 0 {
            text.push('\n');
        }
        text += &paragraph;
    }
    text
}

fn paragraph(state: State, finding: &Finding) -> String {
    let words = one_line(&finding.words);
    match state {
        State::Begins => format!("{words}\n{}\n", one_line(&finding.remedy)),
        State::Ends => format!("Over: {words}\n"),
    }
}

fn run(words: &[String], input: &[u8], timeout: Duration) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("no command is configured")?;
    let mut command = Command::new(program);
    command.args(arguments);
    match child::run_unheard(&mut command, input, timeout) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("the command ended with {status}")),
        Ok(None) => Err(format!("the command did not end within {timeout:?}")),
        Err(error) => Err(format!("the command could not be run: {error}")),
    }
}

fn agent(trust: Option<&Trust>, timeout: Duration) -> Agent {
    let agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(timeout))
        .max_idle_connections(0)
        .user_agent(concat!("cis490/", env!("CARGO_PKG_VERSION")));
    let agent = match trust {
        Some(trust) => trust.for_ureq(agent),
        None => agent,
    };
    agent.build().new_agent()
}

/// Without the URL.
fn why(error: &ureq::Error) -> String {
    if let Some(fault) = Trust::fault(error) {
        return fault.to_string();
    }
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::Io(error) => format!("no connection, or it broke: {error}"),
        ureq::Error::HostNotFound => "its name cannot be resolved".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        _ => "it could not be asked, or answered oddly".to_owned(),
    }
}

fn machine_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(count: usize) -> Due {
        let finding = |n: usize| {
            serde_json::from_value(serde_json::json!({
                "kind": "host-out-of-date", "severity": "error", "subject": format!("host/lab-{n}"), "since": null,
                "words": format!("lab-{n}: 412 not-in-window, 5 s ago"),
                "remedy": "update the lab host: paste the remediation there",
            }))
            .unwrap()
        };
        Due {
            kind: "host-out-of-date".to_owned(),
            state: State::Begins,
            findings: (0..count).map(finding).collect(),
        }
    }

    #[test]
    fn a_text_fits_into_a_message_of_ntfy_and_counts_the_rest() {
        let few = text(&due(3));
        assert_eq!(few.lines().count(), 8, "{few}");
        assert!(!few.contains("more"), "{few}");
        let many = text(&due(300));
        assert!((3_500..=4_096).contains(&many.len()), "{}", many.len());
        let shown = many.matches("not-in-window").count();
        let rest = format!("\nAnd {} more: cis490 status lists them\n", 300 - shown);
        assert!(many.ends_with(&rest), "{many}");
    }
}
