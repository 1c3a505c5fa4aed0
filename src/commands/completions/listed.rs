//! The words that only this machine knows: what lies in a queue's folders, and who a receiver's hosts are.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::commands::cli::folder;
use crate::failure::Failure;
use crate::names::{CommitHash, HostId};
use crate::owner;
use crate::receiver::config as receiver;
use crate::shipper::config as shipper;
use crate::shipper::{self as lab_host, offered, queue::Root};

/// More are no help to anybody who looks for one.
const LISTED_MAX: usize = 1000;
/// As many digits of a commit as `cis490 status` shows.
const COMMIT_DIGITS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Refused,
    RefusedCommits,
    RefusedReasons,
    HeldCommits,
    Shipped,
    /// Those that are configured, or have stored something.
    Hosts,
    ConfiguredHosts,
}

impl Kind {
    pub(super) const ALL: [Kind; 7] = [
        Kind::Refused,
        Kind::RefusedCommits,
        Kind::RefusedReasons,
        Kind::HeldCommits,
        Kind::Shipped,
        Kind::Hosts,
        Kind::ConfiguredHosts,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Refused => "refused",
            Kind::RefusedCommits => "refused-commits",
            Kind::RefusedReasons => "refused-reasons",
            Kind::HeldCommits => "held-commits",
            Kind::Shipped => "shipped",
            Kind::Hosts => "hosts",
            Kind::ConfiguredHosts => "configured-hosts",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let mut kinds = Kind::ALL.into_iter();
        kinds
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("there is no kind {text:?}"))
    }
}

/// Where to look: what the command line that is completed names.
pub(super) struct Place {
    pub config: Option<PathBuf>,
    pub root: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub to: Option<PathBuf>,
}

/// The words of a kind, a line each.
///
/// Errors: the configuration or the folder cannot be read.
pub(super) fn text(kind: Kind, place: &Place) -> Result<String, Failure> {
    let words = match kind {
        Kind::Refused => names(offered::requeueable(&place.queue()?)),
        Kind::Shipped => names(offered::shipped(&place.queue()?)),
        Kind::HeldCommits => commits(offered::held_commits(&place.queue()?)),
        Kind::RefusedCommits => {
            let refused = lab_host::refused(&place.queue()?);
            commits(refused.map(|refused| {
                let commits = refused.into_values().filter_map(|one| one.commit);
                commits.collect()
            }))
        }
        Kind::RefusedReasons => {
            let refused = lab_host::refused(&place.queue()?);
            refused.map(|refused| refused.into_values().filter_map(|one| one.reason).collect())
        }
        Kind::Hosts => Ok(place.hosts()?),
        Kind::ConfiguredHosts => Ok(place.configured_hosts()?),
    };
    let words = words.map_err(|error| {
        Failure::new(
            format!("cannot look through the folder: {error}"),
            owner::hint(&error, "look at the disk (dmesg)"),
        )
    })?;
    // A word of several lines would be several words to the shell.
    let words = words
        .iter()
        .filter(|word| !word.contains(char::is_control) && !word.is_empty());
    Ok(words
        .take(LISTED_MAX)
        .map(|word| format!("{word}\n"))
        .collect())
}

fn names(found: io::Result<Vec<String>>) -> io::Result<BTreeSet<String>> {
    Ok(found?.into_iter().collect())
}

fn commits(found: io::Result<BTreeSet<CommitHash>>) -> io::Result<BTreeSet<String>> {
    let short = |commit: CommitHash| commit.to_string().chars().take(COMMIT_DIGITS).collect();
    Ok(found?.into_iter().map(short).collect())
}

impl Place {
    /// The queue of this lab host, which root enters as its owner.
    fn queue(&self) -> Result<Root, Failure> {
        let path = self.config.as_deref();
        let path = path.unwrap_or(Path::new(shipper::DEFAULT_PATH));
        let config = shipper::Config::load(path, self.root.clone())?;
        folder::enter(&config.root, &[])?;
        Root::open(&config.root)
    }

    /// Of a pull those that it has brought, else those of the receiver.
    fn hosts(&self) -> Result<BTreeSet<String>, Failure> {
        if let Some(to) = &self.to {
            folder::enter(&folder::absolute(to.clone()), &[])?;
            return Ok(host_dirs(to));
        }
        let mut hosts = BTreeSet::new();
        let data_dir = match &self.data_dir {
            Some(dir) => folder::absolute(dir.clone()),
            None => {
                hosts = self.configured_hosts()?;
                self.receiver()?.data_dir
            }
        };
        folder::enter(&data_dir, &[])?;
        hosts.extend(host_dirs(&data_dir.join("episodes")));
        Ok(hosts)
    }

    fn configured_hosts(&self) -> Result<BTreeSet<String>, Failure> {
        let hosts = self.receiver()?.hosts;
        Ok(hosts.iter().map(|host| host.id.to_string()).collect())
    }

    fn receiver(&self) -> Result<receiver::Config, Failure> {
        let path = self.config.as_deref();
        receiver::Config::load(path.unwrap_or(Path::new(receiver::DEFAULT_PATH)))
    }
}

/// The folders of hosts in `dir`; none if it cannot be read.
fn host_dirs(dir: &Path) -> BTreeSet<String> {
    let Ok(found) = fs::read_dir(dir) else {
        return BTreeSet::new();
    };
    let names = found
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| HostId::parse(name).is_ok()).collect()
}
