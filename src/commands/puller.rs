//! The machine that pulls, as its unit knows it: the drop-in that `cis490 install puller` writes and
//! `cis490 doctor` reads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::cli::folder;
use crate::config::CREDENTIAL_STORE;
use crate::doctor::Finding;
use crate::failure::Failure;
use crate::names::HostId;
use crate::reader_client::{Limits, ReaderClient};
use crate::{pull, receiver, shipper};

/// The service's unit, without its ending.
pub(super) const SERVICE: &str = "cis490-pull";
/// The timer's unit, as a person types it.
pub(super) const TIMER: &str = "cis490-pull.timer";
pub(super) const DROP_IN: &str = "/etc/systemd/system/cis490-pull.service.d/10-cis490-pull.conf";
/// The credential with the reader's token.
pub(super) const CREDENTIAL: &str = "cis490-reader-token";
/// The folder that the unit names itself.
pub(super) const DEFAULT_FOLDER: &str = "/var/lib/cis490-pull";

/// Of the question whether this machine may read.
pub(super) const PROBE_LIMITS: Limits = Limits {
    whole: Some(Duration::from_secs(10)),
    silence: Duration::from_secs(10),
    kept_connections: 1,
};

/// What the service pulls, from where and to where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Puller {
    pub url: String,
    pub to: PathBuf,
    pub host: Option<HostId>,
    pub ca_file: Option<PathBuf>,
    /// The service loads its token as the credential [`CREDENTIAL`].
    pub has_token: bool,
}

impl Puller {
    /// The text of the drop-in.
    pub(super) fn drop_in(&self) -> String {
        let to = self.to.display();
        // systemd reads % as a specifier; a URL may have one.
        let url = self.url.replace('%', "%%");
        let mut options = Vec::new();
        if self.has_token {
            options.push(format!("--token-file={CREDENTIAL}"));
        }
        if let Some(file) = &self.ca_file {
            options.push(format!("--ca-file={}", file.display()));
        }
        if let Some(host) = &self.host {
            options.push(format!("--host={host}"));
        }
        let mut text = format!(
            "# Where the episodes come from and go to; `cis490 install puller --url URL` writes this file anew.\n\
             [Unit]\nRequiresMountsFor=\"{to}\"\n\n\
             [Service]\nEnvironment=\"CIS490_URL={url}\"\nEnvironment=\"CIS490_TO={to}\"\n\
             Environment=\"CIS490_OPTIONS={}\"\nReadWritePaths=\"-{to}\"\n",
            options.join(" ")
        );
        if self.has_token {
            text += &format!("LoadCredential={CREDENTIAL}\n");
        }
        text
    }

    /// What the drop-in says; `None` without one.
    ///
    /// Errors: it cannot be read, or is not one of ours.
    pub(super) fn of_drop_in(path: &Path) -> Result<Option<Puller>, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let what = format!("cannot read {}: {error}", path.display());
                return Err(Failure::new(what, "look at the file; sudo may be missing"));
            }
        };
        let puller = Puller::parse(&text).ok_or_else(|| {
            Failure::new(
                format!("{} is not as cis490 install puller writes it", path.display()),
                "write it anew: sudo cis490 install puller --url URL --to DIR; settings of your own go into systemctl edit cis490-pull",
            )
        })?;
        Ok(Some(puller))
    }

    fn parse(text: &str) -> Option<Puller> {
        let value = |name: &str| {
            let start = format!("Environment=\"{name}=");
            let line = text.lines().find_map(|line| line.strip_prefix(&start))?;
            line.strip_suffix('"')
        };
        let options = value("CIS490_OPTIONS")?;
        let option = |name: &str| {
            let mut words = options.split_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let host = option("--host").map(HostId::parse);
        Some(Puller {
            url: value("CIS490_URL")?.replace("%%", "%"),
            to: value("CIS490_TO")?.into(),
            host: host.transpose().ok()?,
            ca_file: option("--ca-file").map(PathBuf::from),
            has_token: option("--token-file") == Some(CREDENTIAL),
        })
    }
}

/// Whether this machine pulls and has the configuration of no side.
pub(super) fn is_alone() -> bool {
    let configurations = [
        receiver::config::DEFAULT_PATH,
        shipper::config::DEFAULT_PATH,
    ];
    Path::new(DROP_IN).exists() && !configurations.iter().any(|path| Path::new(path).exists())
}

/// What `cis490 doctor` finds of the puller, and the file with its settings.
///
/// Errors: there is no puller here.
pub(super) fn examine() -> Result<(PathBuf, Vec<Finding>), Failure> {
    let path = PathBuf::from(DROP_IN);
    let puller = Puller::of_drop_in(&path)?.ok_or_else(|| {
        Failure::new(
            format!("no puller is installed here: there is no {DROP_IN}"),
            "sudo cis490 install puller --url http://10.8.0.1:8490 --to /data/cis490",
        )
    })?;
    let token = puller
        .has_token
        .then(|| Path::new(CREDENTIAL_STORE).join(CREDENTIAL));
    // Before root becomes the folder's owner, who may not be able to read the token.
    let client = ReaderClient::new(
        &puller.url,
        token.as_deref(),
        puller.ca_file.as_deref(),
        PROBE_LIMITS,
    );
    let mut findings = vec![timer(), last_run()];
    if puller.to.is_dir() {
        folder::enter(&puller.to, &[])?;
    }
    findings.extend(pull::doctor::examine(&puller.to, client));
    Ok((path, findings))
}

fn timer() -> Finding {
    if property(TIMER, "ActiveState") == "active" {
        return Finding::ok("timer", format!("{TIMER} starts the next pull"));
    }
    Finding::fail(
        "timer",
        format!("{TIMER} is not active: nothing is pulled"),
        format!("systemctl enable --now {TIMER}"),
    )
}

fn last_run() -> Finding {
    let state = property(SERVICE, "ActiveState");
    let at = property(SERVICE, "ExecMainExitTimestamp");
    match (&*state, &*property(SERVICE, "Result")) {
        ("active" | "activating", _) => Finding::ok("pull", "it runs now"),
        (_, "success") if at.is_empty() => Finding::ok("pull", "none has ended since the boot"),
        (_, "success") => Finding::ok("pull", format!("the last one ended well, {at}")),
        (_, result) => Finding::fail(
            "pull",
            format!("the last one ended with {result}, {at}"),
            format!("journalctl -u {SERVICE} -n 20 says why"),
        ),
    }
}

/// Whether the newest pull has ended by itself, well or not. systemd calls its start failed if the pull ended
/// early; the statuses from 200 on are systemd's own, for a program that it could not run.
pub(super) fn has_run() -> bool {
    const EXITED: &str = "1";
    let status = property(SERVICE, "ExecMainStatus").parse::<u32>();
    property(SERVICE, "ExecMainCode") == EXITED && status.is_ok_and(|status| status < 200)
}

/// A property of a unit; empty without systemd.
fn property(unit: &str, name: &str) -> String {
    let mut ask = Command::new("systemctl");
    ask.args(["show", "--value", "-p", name, unit]);
    let output = ask.stderr(Stdio::null()).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_in_says_what_it_was_written_from() {
        let small = Puller {
            url: "http://10.8.0.1:8490".to_owned(),
            to: DEFAULT_FOLDER.into(),
            host: None,
            ca_file: None,
            has_token: false,
        };
        let whole = Puller {
            url: "https://pi.example/%7Elab".to_owned(),
            to: "/data/cis490".into(),
            host: Some(HostId::parse("lab-1").unwrap()),
            ca_file: Some("/etc/cis490/ca.pem".into()),
            has_token: true,
        };
        for puller in [small, whole] {
            let text = puller.drop_in();
            assert_eq!(Puller::parse(&text).as_ref(), Some(&puller), "{text}");
            assert_eq!(text.contains("LoadCredential="), puller.has_token);
        }
        assert_eq!(Puller::parse("[Service]\n"), None);
    }
}
