//! `cis490 doctor`: prints what the checks of this side have found.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::cli::configuration::Configuration;
use super::puller;
use crate::doctor::{self, Finding, Severity};
use crate::failure::Failure;
use crate::terminal::{Paint, columns, one_line, print, wrapped};
use crate::{receiver, shipper};

const EXIT_FAILS: u8 = 3;
/// The column in which the words of a finding begin.
const INDENT: usize = 18;

/// try everything that this side needs, and say how to fix what is wrong
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "doctor",
    example = "cis490 doctor",
    example = "cis490 doctor --config /etc/cis490/shipper.toml",
    example = "sudo cis490 doctor --puller",
    error_code(1, "the configuration cannot be read, or there is none"),
    error_code(3, "something fails (0 if there are only warnings)")
)]
pub(super) struct Doctor {
    /// receiver.toml or shipper.toml (default: the one in /etc/cis490)
    #[argh(option)]
    config: Option<PathBuf>,
    /// on a lab host: the checkout of its code (default /opt/cis490)
    #[argh(option, default = "PathBuf::from(\"/opt/cis490\")")]
    repo: PathBuf,
    /// look at what cis490 install puller has made, on a machine that has a configuration too
    #[argh(switch)]
    puller: bool,
    /// print JSON: members are added, never renamed or removed
    #[argh(switch)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        if self.puller || (self.config.is_none() && puller::is_alone()) {
            let (path, findings) = puller::examine()?;
            return report("puller", &path, &findings, self.json);
        }
        let (path, configuration) = Configuration::find(self.config)?;
        configuration.enter(&path)?;
        let (side, folders, mut findings) = match configuration {
            Configuration::Receiver(config) => {
                let findings = receiver::doctor::examine(&config, &path);
                ("receiver", config.folders(), findings)
            }
            Configuration::LabHost(config) => {
                let findings = shipper::doctor::examine(&config, &self.repo);
                ("lab host", config.folders(), findings)
            }
        };
        findings.extend(doctor::writers(&path));
        findings.extend(doctor::hidden_folders(&folders));
        report(side, &path, &findings, self.json)
    }
}

/// Prints the findings; the exit status that they mean.
fn report(
    side: &str,
    path: &Path,
    findings: &[Finding],
    as_json: bool,
) -> Result<ExitCode, Failure> {
    let worst = findings.iter().map(|finding| finding.severity).max();
    let text = if as_json {
        json(side, findings)?
    } else {
        page(side, path, findings)
    };
    let printed = print(&text);
    if worst == Some(Severity::Fail) {
        return Ok(ExitCode::from(EXIT_FAILS));
    }
    printed.map(|()| ExitCode::SUCCESS)
}

fn json(side: &str, findings: &[Finding]) -> Result<String, Failure> {
    let report = serde_json::json!({ "side": side, "findings": findings });
    serde_json::to_string_pretty(&report)
        .map(|text| text + "\n")
        .map_err(|error| {
            Failure::new(
                format!("cannot write the findings as JSON: {error}"),
                "please report this",
            )
        })
}

fn page(side: &str, config_path: &Path, findings: &[Finding]) -> String {
    let paint = Paint::for_stdout();
    let mut text = format!("{side}, configured by {}\n\n", config_path.display());
    text.extend(findings.iter().map(|finding| line(finding, paint)));
    text
}

fn line(finding: &Finding, paint: Paint) -> String {
    let severity = match finding.severity {
        Severity::Ok => paint.good("ok  "),
        Severity::Warn => paint.warning("warn"),
        Severity::Fail => paint.bad("fail"),
    };
    let found = wrapped(&one_line(&finding.found), INDENT, columns());
    let mut text = format!("{severity}  {:10}  {}", finding.subject, found.trim_start());
    if !finding.remedy.is_empty() {
        let remedy = format!("do: {}", one_line(&finding.remedy));
        text += &wrapped(&remedy, INDENT, columns());
    }
    text
}
