//! Which side this machine is: decided by the named configuration, or by the one in /etc/cis490.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::{config, events, owner, receiver, shipper};

pub(super) use crate::config::ConfigSide;

pub(super) enum Side {
    Receiver(Box<receiver::config::Config>),
    LabHost(Box<shipper::config::Config>),
}

impl Side {
    /// The side of a configuration and its path; with no path, of the one in /etc/cis490.
    ///
    /// Errors: no configuration exists, two exist and none was named, or it has a mistake.
    pub(super) fn find(path: Option<PathBuf>) -> Result<(PathBuf, Side), Failure> {
        let path = match path {
            Some(path) => path,
            None => the_one_there()?,
        };
        let side = match owner_of(&path)? {
            ConfigSide::Receiver => {
                Side::Receiver(Box::new(receiver::config::Config::load(&path)?))
            }
            ConfigSide::LabHost => {
                Side::LabHost(Box::new(shipper::config::Config::load(&path, None)?))
            }
        };
        Ok((path, side))
    }
}

impl Side {
    /// Root becomes the owner of the folder that the configuration names; what root alone can read
    /// is read before.
    pub(super) fn enter(&self, config_path: &Path) -> Result<(), Failure> {
        let (folder, mut before) = match self {
            Side::Receiver(config) => (&config.data_dir, config.secret_files()),
            Side::LabHost(config) => (&config.root, config.secret_files()),
        };
        before.push(config_path.to_owned());
        let before: Vec<&Path> = before.iter().map(PathBuf::as_path).collect();
        enter(folder, &before)
    }
}

/// Whose configuration a file is.
///
/// Errors: it cannot be read, or is of neither side.
pub(super) fn owner_of(path: &Path) -> Result<ConfigSide, Failure> {
    let text = config::read(
        path,
        "name the file with --config FILE; etc/receiver.toml.example and etc/shipper.toml.example are ones to begin with",
    )?;
    let keys: toml::Table = config::parse(&text, path)?;
    ConfigSide::of(keys.keys().map(String::as_str)).ok_or_else(|| {
        Failure::new(
            format!(
                "{} is neither a receiver's configuration nor a lab host's",
                path.display()
            ),
            "a receiver's has data_dir, a lab host's has root: a folder that holds data has no default, so name one of the two",
        )
    })
}

/// The configuration in /etc/cis490.
pub(super) fn the_one_there() -> Result<PathBuf, Failure> {
    let of_receiver = PathBuf::from(receiver::config::DEFAULT_PATH);
    let of_lab_host = PathBuf::from(shipper::config::DEFAULT_PATH);
    match (is_there(&of_receiver)?, is_there(&of_lab_host)?) {
        (true, false) => Ok(of_receiver),
        (false, true) => Ok(of_lab_host),
        (true, true) => Err(Failure::new(
            "this machine is both: receiver.toml and shipper.toml are in /etc/cis490",
            "choose one: --config /etc/cis490/receiver.toml, or --config /etc/cis490/shipper.toml",
        )),
        (false, false) => Err(Failure::new(
            "there is neither /etc/cis490/receiver.toml nor /etc/cis490/shipper.toml",
            "name the file with --config FILE; etc/*.toml.example are ones to begin with",
        )),
    }
}

/// /etc/cis490 is for root and the service's group alone: to others it is not empty but closed.
fn is_there(path: &Path) -> Result<bool, Failure> {
    path.try_exists().map_err(|error| {
        Failure::new(
            format!("cannot see whether {} is there: {error}", path.display()),
            owner::hint(&error, "name the file with --config FILE"),
        )
    })
}

/// Before a command touches the folder of its configuration: root becomes that folder's owner.
/// `before` are files that root alone may be able to read.
pub(super) fn enter(folder: &Path, before: &[&Path]) -> Result<(), Failure> {
    owner::enter(folder, before).map(|_| ())
}

/// The same for a program that goes on running, which tells the log.
pub(super) fn enter_to_stay(folder: &Path, secrets: &[PathBuf]) -> Result<(), Failure> {
    let secrets: Vec<&Path> = secrets.iter().map(PathBuf::as_path).collect();
    if let Some(became) = owner::enter(folder, &secrets)? {
        events::became_user(folder, became.uid, became.gid);
        for file in &became.unreadable {
            events::secret_of_root(file);
        }
    }
    Ok(())
}

/// A folder that a flag names: as a path that means the same whoever looks, wherever he stands.
pub(super) fn absolute(folder: PathBuf) -> PathBuf {
    // An error means an empty path or no working directory: the folder's first use says the rest.
    std::path::absolute(&folder).unwrap_or(folder)
}
