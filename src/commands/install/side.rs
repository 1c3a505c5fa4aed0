//! What is installed for each of the two sides, and under which names.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::failure::Failure;
use crate::receiver::config as receiver;
use crate::shipper::config as shipper;

/// The user that both sides run as.
pub(super) const USER: &str = "cis490";
pub(super) const BINARY: &str = "/usr/local/bin/cis490";
pub(super) const UNITS: &str = "/etc/systemd/system";
pub(super) use crate::config::CREDENTIAL_STORE as CREDENTIALS;
pub(super) const CONFIGS: &str = "/etc/cis490";
/// The folder that the units name themselves; any other needs a drop-in.
pub(super) const DATA: &str = "/var/lib/cis490";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Receiver,
    Shipper,
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Side, String> {
        match text {
            "receiver" => Ok(Side::Receiver),
            "shipper" => Ok(Side::Shipper),
            other => Err(format!(
                "{other:?} is neither receiver (the Pi) nor shipper (a lab host)"
            )),
        }
    }
}

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Side::Receiver => "receiver",
            Side::Shipper => "shipper",
        }
    }

    pub(super) fn other(self) -> Side {
        match self {
            Side::Receiver => Side::Shipper,
            Side::Shipper => Side::Receiver,
        }
    }

    /// Without the ending, as a person types it.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Side::Receiver => "cis490-receiver",
            Side::Shipper => "cis490-shipper",
        }
    }

    pub(super) fn unit_text(self) -> &'static str {
        match self {
            Side::Receiver => include_str!("../../../systemd/cis490-receiver.service"),
            Side::Shipper => include_str!("../../../systemd/cis490-shipper.service"),
        }
    }

    pub(super) fn unit_path(self) -> PathBuf {
        Path::new(UNITS).join(format!("{}.service", self.unit()))
    }

    /// What a machine of its own needs beside the unit; a person's go beside it in other files.
    pub(super) fn drop_in_path(self) -> PathBuf {
        Path::new(UNITS)
            .join(format!("{}.service.d", self.unit()))
            .join("10-cis490-data.conf")
    }

    pub(super) fn config_path(self) -> &'static str {
        match self {
            Side::Receiver => receiver::DEFAULT_PATH,
            Side::Shipper => shipper::DEFAULT_PATH,
        }
    }

    pub(super) fn example(self) -> &'static str {
        match self {
            Side::Receiver => include_str!("../../../etc/receiver.toml.example"),
            Side::Shipper => include_str!("../../../etc/shipper.toml.example"),
        }
    }

    /// The credential that the unit loads, and the key that names it.
    pub(super) fn credential(self) -> (&'static str, &'static str) {
        match self {
            Side::Receiver => ("cis490-forgejo-token", "auth_token_file"),
            Side::Shipper => ("cis490-token", "token_file"),
        }
    }

    /// The key of the folder that holds what must not be lost.
    pub(super) fn data_key(self) -> &'static str {
        match self {
            Side::Receiver => "data_dir",
            Side::Shipper => "root",
        }
    }

    /// That folder, by a configuration's text. All of the text is checked.
    pub(super) fn data_of(self, text: &str, path: &Path) -> Result<PathBuf, Failure> {
        Ok(match self {
            Side::Receiver => receiver::Config::parse(text, path)?.data_dir,
            Side::Shipper => shipper::Config::parse(text, path)?.root,
        })
    }

    /// The folders that its service must see, each with its key.
    pub(super) fn folders_of(
        self,
        text: &str,
        path: &Path,
    ) -> Result<Vec<(&'static str, PathBuf)>, Failure> {
        Ok(match self {
            Side::Receiver => receiver::Config::parse(text, path)?.folders(),
            Side::Shipper => shipper::Config::parse(text, path)?.folders(),
        })
    }

    /// Whether `init` has made it.
    pub(super) fn is_made(self, data: &Path) -> bool {
        match self {
            Side::Receiver => data.join("cis490-store").exists(),
            Side::Shipper => ["episodes", "outbox", "shipped", "refused"]
                .iter()
                .all(|folder| data.join(folder).is_dir()),
        }
    }
}
