//! Asks the running receiver, which keeps the figures in memory: whatever the size of the index, that
//! takes some milliseconds.
//!
//! 1. The receiver is found by the address that it wrote into the lock's file. The service's user can
//!    write that file, and any server may be at the address: only an address that parses is asked, an
//!    answer counts only if it is one of ours about this folder, and its length and time are bounded.
//! 2. A receiver that does not answer, or that is too old for this question, leaves the figures to the
//!    disk, and the report says so.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::{Health, Process, Survey, disk};
use crate::doctor;
use crate::receiver::config::{Config, own_address};
use crate::receiver::findings::Finding;
use crate::receiver::store::store_dir;
use crate::wire::{self, GateState, Problem};

/// How long an answer may take, from the connection to its last byte.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the receiver's own figures cannot be shown.
#[derive(Debug)]
pub(super) struct NoSurvey {
    /// What the receiver does, as a sentence without its subject.
    why: String,
    /// Whether nothing at all answers: then there is no use in asking for health or for the gate.
    is_silent: bool,
    /// Its answer, if only the figures in it are not to be shown.
    answer: Option<Box<Survey>>,
}

/// The report of the receiver that runs in the folder of this configuration.
pub(super) fn survey(config: &Config) -> Result<Survey, NoSurvey> {
    let noted = store_dir::noted_address(&config.data_dir);
    let configured = own_address(config.listen);
    let mut answer = survey_at(noted.map_or(configured, own_address), config);
    if answer.is_err() && noted.is_some_and(|noted| own_address(noted) != configured) {
        // The file may hold anything.
        answer = survey_at(configured, config).or(answer);
    }
    answer
}

fn survey_at(address: SocketAddr, config: &Config) -> Result<Survey, NoSurvey> {
    let unusable = |why: String| NoSurvey {
        why,
        is_silent: false,
        answer: None,
    };
    let answer = ask_at(address, wire::STATUS_PATH).map_err(|error| NoSurvey {
        is_silent: true,
        why: silence(address, &error),
        answer: None,
    })?;
    if answer.status == 404 {
        return Err(unusable(format!(
            "on {address} is of an earlier version, without {}: restart it",
            wire::STATUS_PATH
        )));
    }
    let survey: Survey = answer.json().map_err(|error| {
        let status = answer.status;
        unusable(format!(
            "cannot be asked, and {address} has another answer than a report: status {status}, {error}"
        ))
    })?;
    if !is_folder_of(config, Path::new(&survey.data_dir)) {
        return Err(unusable(format!(
            "cannot be asked, and the one on {address} is at work in another folder, {:?}",
            survey.data_dir
        )));
    }
    if survey.unlisted_episodes > 0 {
        return Err(NoSurvey {
            answer: Some(Box::new(survey)),
            ..unusable("does not keep figures of so many hosts".to_owned())
        });
    }
    Ok(Survey {
        running: Some(true),
        ..survey
    })
}

/// Whether an answer is about this configuration's folder. The path in the answer is compared and not
/// followed.
fn is_folder_of(config: &Config, answered: &Path) -> bool {
    let resolved = fs::canonicalize(&config.data_dir);
    answered == config.data_dir || resolved.is_ok_and(|resolved| answered == resolved)
}

impl NoSurvey {
    /// The report by the files, and by what else the receiver answers.
    ///
    /// Errors: as [`disk::survey`].
    pub(super) fn fall_back(self, config: &Config) -> io::Result<Survey> {
        let well = if self.is_silent {
            Err(self.why.clone())
        } else {
            health(config)
        };
        let process = Process {
            running: Some(true),
            health: Some(Health::of(well)),
            gate: if self.is_silent { None } else { gate(config) },
            live: None,
            config_waiting: Vec::new(),
        };
        let mut survey = disk::survey(config, process)?;
        survey.from_disk_because = Some(self.why);
        if let Some(answer) = self.answer {
            survey.config_waiting = answer.config_waiting;
            add_findings(&mut survey.findings, answer.findings);
        }
        Ok(survey)
    }
}

/// Adds what the receiver alone has found: the disk shows no reports of lab hosts, and the receiver not each
/// of many hosts.
fn add_findings(found: &mut Vec<Finding>, of_receiver: Vec<Finding>) {
    for finding in of_receiver {
        let is_same = |one: &Finding| one.kind == finding.kind && one.subject == finding.subject;
        if !found.iter().any(is_same) {
            found.push(finding);
        }
    }
    found.sort_by_key(|finding| finding.severity);
}

/// Errors say why no upload is accepted.
fn health(config: &Config) -> Result<(), String> {
    let address = own_address(config.listen);
    let answer = ask_at(address, wire::HEALTH_PATH).map_err(|error| silence(address, &error))?;
    if answer.status == 200 {
        return Ok(());
    }
    let problem: Option<Problem> = answer.json().ok();
    Err(
        problem.map_or(format!("status {}", answer.status), |problem| {
            problem.detail
        }),
    )
}

fn silence(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!(
                "does not answer on {address} within {} s",
                PATIENCE.as_secs()
            )
        }
        _ => format!("does not answer on {address}: {error}"),
    }
}

/// The state of the running receiver's gate; `None` if the receiver does not run, or is too old to
/// have this answer.
pub(crate) fn gate(config: &Config) -> Option<GateState> {
    let answer = ask_at(own_address(config.listen), wire::GATE_PATH).ok()?;
    answer.json().ok()
}

/// Sends `GET path` to the receiver of this configuration.
///
/// Errors: no connection, or what answers does not speak HTTP.
pub(crate) fn ask(config: &Config, path: &str) -> io::Result<doctor::PlainAnswer> {
    let address = own_address(config.listen);
    doctor::ask(address, &head(address, path))
}

/// As [`ask`], but all of it takes at most [`PATIENCE`].
fn ask_at(address: SocketAddr, path: &str) -> io::Result<doctor::PlainAnswer> {
    doctor::ask_within(address, &head(address, path), PATIENCE)
}

fn head(address: SocketAddr, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
}
