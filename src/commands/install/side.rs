//! What is installed for each of the two sides, and under which names; a machine that pulls is neither.
//!
//! On the command line and in the names of files the lab host's side is called after its program: the
//! shipper.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::commands::puller;
use crate::failure::Failure;
use crate::receiver::config as receiver;
use crate::shipper::config as shipper;

pub(super) use crate::config::{CREDENTIAL_STORE as CREDENTIALS, Side};

/// The user that both sides run as.
pub(super) const USER: &str = "cis490";
pub(super) const UNITS: &str = "/etc/systemd/system";
pub(super) const CONFIGS: &str = "/etc/cis490";
/// The folder that the units name themselves. Any other folder needs a drop-in.
pub(super) const DATA: &str = "/var/lib/cis490";

/// What a machine can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Side(Side),
    /// Pulls what a receiver has stored.
    Puller,
}

impl Role {
    pub(super) const ALL: [Role; 3] = [
        Role::Side(Side::Receiver),
        Role::Side(Side::LabHost),
        Role::Puller,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Side(side) => side.name(),
            Role::Puller => "puller",
        }
    }

    /// The unit that is there for as long as the role is installed, unless a package has brought it.
    pub(super) fn unit(self) -> String {
        match self {
            Role::Side(side) => side.unit_file(),
            Role::Puller => puller::TIMER.to_owned(),
        }
    }

    /// A puller has its settings in its unit.
    pub(super) fn config_path(self) -> Option<&'static str> {
        match self {
            Role::Side(side) => Some(side.config_path()),
            Role::Puller => None,
        }
    }

    pub(super) fn credential(self) -> &'static str {
        match self {
            Role::Side(side) => side.credential().0,
            Role::Puller => puller::CREDENTIAL,
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        match text {
            "receiver" => Ok(Role::Side(Side::Receiver)),
            "shipper" => Ok(Role::Side(Side::LabHost)),
            "puller" => Ok(Role::Puller),
            other => Err(format!(
                "{other:?} is neither receiver (the Pi) nor shipper (a lab host) nor puller (a machine that fetches what is stored)"
            )),
        }
    }
}

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Side::Receiver => "receiver",
            Side::LabHost => "shipper",
        }
    }

    pub(super) fn other(self) -> Side {
        match self {
            Side::Receiver => Side::LabHost,
            Side::LabHost => Side::Receiver,
        }
    }

    /// The unit's name as a person types it, without the ending.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Side::Receiver => "cis490-receiver",
            Side::LabHost => "cis490-shipper",
        }
    }

    pub(super) fn unit_text(self) -> &'static str {
        match self {
            Side::Receiver => include_str!("../../../systemd/cis490-receiver.service"),
            Side::LabHost => include_str!("../../../systemd/cis490-shipper.service"),
        }
    }

    pub(super) fn unit_file(self) -> String {
        format!("{}.service", self.unit())
    }

    /// The drop-in for a data folder of the machine's own. A person's drop-ins are other files beside it.
    pub(super) fn drop_in_path(self) -> PathBuf {
        Path::new(UNITS)
            .join(format!("{}.service.d", self.unit()))
            .join("10-cis490-data.conf")
    }

    pub(super) fn config_path(self) -> &'static str {
        match self {
            Side::Receiver => receiver::DEFAULT_PATH,
            Side::LabHost => shipper::DEFAULT_PATH,
        }
    }

    pub(super) fn example(self) -> &'static str {
        match self {
            Side::Receiver => include_str!("../../../etc/receiver.toml.example"),
            Side::LabHost => include_str!("../../../etc/shipper.toml.example"),
        }
    }

    /// The credential that the unit loads, and the configuration's key that names it.
    pub(super) fn credential(self) -> (&'static str, &'static str) {
        match self {
            Side::Receiver => ("cis490-forgejo-token", "auth_token_file"),
            Side::LabHost => ("cis490-token", "token_file"),
        }
    }

    /// The configuration's key for the data folder: the store, or the queue.
    pub(super) fn data_key(self) -> &'static str {
        match self {
            Side::Receiver => "data_dir",
            Side::LabHost => "root",
        }
    }

    /// The data folder that a configuration's text names.
    ///
    /// Errors: any mistake in the text.
    pub(super) fn data_of(self, text: &str, path: &Path) -> Result<PathBuf, Failure> {
        Ok(match self {
            Side::Receiver => receiver::Config::parse(text, path)?.data_dir,
            Side::LabHost => shipper::Config::parse(text, path)?.root,
        })
    }

    /// The folders that the side's service must see, each with its key.
    ///
    /// Errors: any mistake in the text.
    pub(super) fn folders_of(
        self,
        text: &str,
        path: &Path,
    ) -> Result<Vec<(&'static str, PathBuf)>, Failure> {
        Ok(match self {
            Side::Receiver => receiver::Config::parse(text, path)?.folders(),
            Side::LabHost => shipper::Config::parse(text, path)?.folders(),
        })
    }

    /// Whether `data` is a store or a queue that `init` has made.
    pub(super) fn is_made(self, data: &Path) -> bool {
        match self {
            Side::Receiver => data.join("cis490-store").exists(),
            Side::LabHost => ["episodes", "outbox", "shipped", "refused"]
                .iter()
                .all(|folder| data.join(folder).is_dir()),
        }
    }
}
