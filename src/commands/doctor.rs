//! `cis490 doctor`.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::side::Side;
use crate::doctor::{self, Finding, Severity};
use crate::failure::Failure;
use crate::terminal::{Paint, columns, one_line, print, wrapped};
use crate::{receiver, shipper};

const EXIT_FAILS: u8 = 2;
/// Where what was found begins.
const INDENT: usize = 18;

/// try everything that this side needs, and say how to fix what is wrong
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "doctor",
    example = "cis490 doctor",
    example = "cis490 doctor --config /etc/cis490/shipper.toml",
    error_code(1, "the configuration cannot be read"),
    error_code(2, "something fails (0 if there are only warnings)")
)]
pub(super) struct Doctor {
    /// receiver.toml or shipper.toml (default: the one in /etc/cis490)
    #[argh(option)]
    config: Option<PathBuf>,
    /// on a lab host: the checkout of its code (default /opt/cis490)
    #[argh(option, default = "PathBuf::from(\"/opt/cis490\")")]
    repo: PathBuf,
    /// print JSON: members are added, never renamed or removed
    #[argh(switch)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let (path, side) = Side::find(self.config)?;
        side.enter(&path)?;
        let (name, folders, mut findings) = match side {
            Side::Receiver(config) => {
                let findings = receiver::doctor::examine(&config, &path);
                ("receiver", config.folders(), findings)
            }
            Side::LabHost(config) => {
                let findings = shipper::doctor::examine(&config, &self.repo);
                ("lab host", config.folders(), findings)
            }
        };
        findings.extend(doctor::writers(&path));
        findings.extend(doctor::hidden_folders(&folders));
        let worst = findings.iter().map(|finding| finding.severity).max();
        let text = match self.json {
            true => json(name, &findings)?,
            false => {
                let paint = Paint::for_stdout();
                let mut text = format!("{name}, configured by {}\n\n", path.display());
                text.extend(findings.iter().map(|finding| line(finding, paint)));
                text
            }
        };
        let printed = print(&text);
        if worst == Some(Severity::Fail) {
            return Ok(ExitCode::from(EXIT_FAILS));
        }
        printed.map(|()| ExitCode::SUCCESS)
    }
}

fn json(side: &str, findings: &[Finding]) -> Result<String, Failure> {
    let report = serde_json::json!({ "side": side, "findings": findings });
    serde_json::to_string_pretty(&report)
        .map(|text| text + "\n")
        .map_err(|error| Failure::new(format!("cannot print it: {error}"), ""))
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
