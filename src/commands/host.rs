//! `cis490 host`: adds a lab host to `receiver.toml`, or takes one out, and has the receiver read it again.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::str::FromStr;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::token::new_token;
use crate::child;
use crate::config;
use crate::durable;
use crate::failure::Failure;
use crate::names::HostId;
use crate::owner;
use crate::receiver::access::token_digest;
use crate::receiver::config::{Config, DEFAULT_PATH, HostRule, edit};
use crate::sys;
use crate::terminal::{say, say_json};

/// add a lab host to receiver.toml, or remove one, and reload the receiver. Comments stay as they are.
/// Without --address, add makes a token for the host and prints it
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "host",
    example = "cis490 host add lab-7 --address 10.8.0.17",
    example = "cis490 host add lab-7",
    example = "cis490 host remove lab-7"
)]
pub(super) struct Host {
    /// add or remove
    #[argh(positional)]
    action: Action,
    /// the host's id: host_id in its shipper.toml
    #[argh(positional)]
    id: HostId,
    /// add: the address that identifies the host, such as its WireGuard address
    #[argh(option)]
    address: Option<IpAddr>,
    /// receiver.toml (default /etc/cis490/receiver.toml)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)")]
    config: PathBuf,
    /// print what was done as one JSON object, with the token that add has made: members are added, never
    /// renamed or removed
    #[argh(switch)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Done<'a> {
    host: &'a HostId,
    config: &'a Path,
    added: bool,
    removed: bool,
    address: Option<IpAddr>,
    /// What the lab host keeps to itself; null for one that an address identifies.
    token: Option<&'a str>,
    /// Whether the host is the first, so that from now on no other may upload.
    is_first: bool,
    /// Whether the running receiver reads the file now.
    reloaded: bool,
}

enum Action {
    Add,
    Remove,
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Action, String> {
        match text {
            "add" => Ok(Action::Add),
            "remove" => Ok(Action::Remove),
            _ => Err("accepts add or remove".to_owned()),
        }
    }
}

/// For systemd to reload the unit.
const RELOAD_PATIENCE: Duration = Duration::from_secs(30);
const UNIT: &str = "cis490-receiver.service";

impl Host {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        match self.action {
            Action::Add => self.add()?,
            Action::Remove => self.remove()?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn add(self) -> Result<(), Failure> {
        let alone = lock(&self.config)?;
        let text = read(&self.config)?;
        let token = match self.address {
            Some(_) => None,
            None => Some(new_token()?),
        };
        let rule = HostRule {
            id: self.id,
            address: self.address,
            token_sha256: token.as_ref().map(|token| token_digest(token.as_bytes())),
        };
        let edited = edit::with_host(&text, &self.config, &rule)?;
        let is_first = Config::parse(&text, &self.config)?.hosts.is_empty();
        write(&self.config, &edited)?;
        drop(alone);
        let id = &rule.id;
        if self.json {
            say_json(&Done {
                host: id,
                config: &self.config,
                added: true,
                removed: false,
                address: rule.address,
                token: token.as_deref(),
                is_first,
                reloaded: reload(&self.config) == Reload::Done,
            });
            return Ok(());
        }
        say!("added {id} to {}", self.config.display());
        if is_first {
            say!(
                "It is the first [[host]]: from now on no other host may upload. Add the others too."
            );
        }
        if let Some(token) = token {
            say!(
                "On {id}: put this line, and nothing else, in the file named by token_file in shipper.toml:"
            );
            say!("{token}");
        }
        say_reload(&self.config);
        Ok(())
    }

    fn remove(self) -> Result<(), Failure> {
        if self.address.is_some() {
            return Err(Failure::usage(
                "--address is for add",
                "cis490 host remove ID removes the host whatever its address is",
            ));
        }
        let alone = lock(&self.config)?;
        let text = read(&self.config)?;
        let edited = edit::without_host(&text, &self.config, &self.id)?;
        write(&self.config, &edited)?;
        drop(alone);
        if self.json {
            say_json(&Done {
                host: &self.id,
                config: &self.config,
                added: false,
                removed: true,
                address: None,
                token: None,
                is_first: false,
                reloaded: reload(&self.config) == Reload::Done,
            });
            return Ok(());
        }
        let file = self.config.display();
        say!("removed {} from {file}; its stored episodes stay", self.id);
        say_reload(&self.config);
        Ok(())
    }
}

/// Waits until no other of these commands edits a file of this folder: each would lose what the other has
/// written.
fn lock(path: &Path) -> Result<File, Failure> {
    let lock = || {
        let real = fs::canonicalize(path)?;
        let folder = durable::open_dir(durable::parent(&real))?;
        folder.lock()?;
        Ok(folder)
    };
    lock().map_err(|error: io::Error| {
        Failure::new(
            format!("cannot lock the folder of {}: {error}", path.display()),
            owner::hint(&error, "name the file with --config FILE"),
        )
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    config::read(path, "name the file with --config FILE")
}

/// Puts the text in the place of the file, with the file's owner and mode.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || {
        // A link in its place stays one.
        let path = fs::canonicalize(path)?;
        let found = fs::metadata(&path)?;
        durable::publish_as(&path, text.as_bytes(), |file| {
            if sys::effective_user() == 0 {
                sys::give_open(file, found.uid(), found.gid())?;
            }
            file.set_permissions(fs::Permissions::from_mode(found.mode() & 0o777))
        })
    };
    write().map_err(|error: io::Error| {
        Failure::new(
            format!("cannot write {}: {error}", path.display()),
            owner::hint(
                &error,
                "look at the disk (dmesg) and at who owns the file (ls -l)",
            ),
        )
    })
}

#[derive(PartialEq, Eq)]
enum Reload {
    Done,
    Failed,
    /// The service does not run by this configuration, or this user may not reload it.
    NotTried,
}

/// Has the service read its configuration again, if it runs by this one.
fn reload(path: &Path) -> Reload {
    let is_of_the_service = path == Path::new(DEFAULT_PATH) && sys::effective_user() == 0;
    if !is_of_the_service || !systemctl(&["is-active", "--quiet", UNIT]) {
        return Reload::NotTried;
    }
    if systemctl(&["reload", UNIT]) {
        Reload::Done
    } else {
        Reload::Failed
    }
}

fn say_reload(path: &Path) {
    match reload(path) {
        Reload::Done => {
            say!("the receiver reads it now: see event=reloaded in journalctl -u cis490-receiver");
        }
        Reload::Failed => {
            say!("the receiver could not be reloaded: systemctl reload cis490-receiver says why");
        }
        Reload::NotTried => say!("it takes effect with: systemctl reload cis490-receiver"),
    }
}

fn systemctl(words: &[&str]) -> bool {
    let ended = child::run(
        Command::new("systemctl").args(words),
        1 << 16,
        RELOAD_PATIENCE,
    );
    matches!(ended, Ok(Some(output)) if output.status.success())
}
