//! What `cis490 doctor` tries on either side, and how it reports a result: each line is ok, warn or
//! fail, with what was seen and what to do.
//!
//! Everything is tried for real and leaves nothing: a file is written, linked, synced and removed;
//! a request is sent that stores nothing.

mod disk;
mod plain_http;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::failure::Failure;
use crate::git::{self, Fault};
use crate::{clock, config, sys};

pub(crate) use self::disk::disk;
pub(crate) use self::plain_http::{PlainAnswer, ask, ask_within};

/// How bad a finding is, the harmless first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    #[serde(rename = "verdict")]
    pub severity: Severity,
    pub subject: &'static str,
    pub found: String,
    /// What to do; empty if nothing is.
    #[serde(rename = "do")]
    pub remedy: String,
}

impl Finding {
    pub(crate) fn ok(subject: &'static str, found: impl Into<String>) -> Finding {
        Finding::new(Severity::Ok, subject, found, "")
    }

    pub(crate) fn warn(
        subject: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding::new(Severity::Warn, subject, found, remedy)
    }

    pub(crate) fn fail(
        subject: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding::new(Severity::Fail, subject, found, remedy)
    }

    pub(crate) fn of_failure(subject: &'static str, failure: &Failure) -> Finding {
        Finding::fail(subject, failure.error(), failure.hint())
    }

    fn new(
        severity: Severity,
        subject: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            severity,
            subject,
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

/// 2025-01-01: a clock before that was never set.
const PROGRAM_AGE_S: u64 = 1_735_689_600;

pub(crate) fn clock() -> Finding {
    let now = SystemTime::now();
    let time = clock::rfc3339(now);
    let set_it =
        "timedatectl set-ntp true; timedatectl timesync-status shows whether an NTP server answers";
    if clock::unix_seconds(now) < PROGRAM_AGE_S {
        return Finding::fail(
            "clock",
            format!("the clock says {time}, which cannot be right"),
            set_it,
        );
    }
    match sys::clock_is_synchronised() {
        Some(false) => Finding::warn(
            "clock",
            format!(
                "{time}; the clock is not synchronised, so timestamps may be wrong (episodes are ordered by number)"
            ),
            set_it,
        ),
        Some(true) => Finding::ok("clock", format!("{time}, synchronised")),
        None => Finding::ok("clock", time),
    }
}

pub(crate) fn versions() -> Finding {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim();
    let version = env!("CARGO_PKG_VERSION");
    let arch = std::env::consts::ARCH;
    Finding::ok(
        "version",
        format!("cis490 {version}, {arch}, Linux {kernel}"),
    )
}

/// Whether git can be run.
pub(crate) fn git() -> Finding {
    const WAIT: Duration = Duration::from_secs(10);
    match git::version(WAIT) {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding::ok("git", text.trim().to_owned())
        }
        Ok(output) => Finding::fail(
            "git",
            format!("git --version ended with {}", output.status),
            "apt install --reinstall git",
        ),
        Err(Fault::Missing(error)) => Finding::warn(
            "git",
            format!("git cannot be run: {error}"),
            "apt install git: a local repository cannot be read without it",
        ),
        Err(_) => Finding::fail(
            "git",
            format!("git --version did not end within {} s", WAIT.as_secs()),
            "look at the disk that git is on (dmesg), then apt install --reinstall git",
        ),
    }
}

/// A configuration that others may write: root gives folders away by it, and runs a unit that has
/// its paths in it.
pub(crate) fn writers(config_path: &Path) -> Option<Finding> {
    let found = fs::metadata(config_path).ok()?;
    let is_systems = config_path.starts_with("/etc");
    let writers = config::other_writers(&found, is_systems)?;
    let path = config_path.display();
    Some(Finding::fail(
        "config",
        format!("{path} may be written by {writers}, and root does what it says (install)"),
        format!("read what is in it, then: sudo chown root {path} && sudo chmod go-w {path}"),
    ))
}

/// Folders that a person sees and the service does not.
pub(crate) fn hidden_folders(folders: &[(&'static str, PathBuf)]) -> Vec<Finding> {
    let hidden = |(key, folder): &(&str, PathBuf)| {
        let why = config::hidden_from_service(folder)?;
        Some(Finding::warn("service", format!("{key} = {folder:?}"), why))
    };
    folders.iter().filter_map(hidden).collect()
}

/// A short length of time, as a report shows it: `12.3 ms`.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
