//! The configuration that a command works with, and so which side this machine is: the file that the
//! person names, or the one in /etc/cis490.

use std::path::{Path, PathBuf};

use super::folder;
use crate::config::{self, Side};
use crate::failure::Failure;
use crate::{owner, receiver, shipper};

/// A loaded configuration, of either side.
pub(crate) enum Configuration {
    Receiver(Box<receiver::config::Config>),
    LabHost(Box<shipper::config::Config>),
}

impl Configuration {
    /// Loads the file at `path`, or without one the file in /etc/cis490. Returns its path too.
    ///
    /// Errors: no configuration exists, two exist and none was named, or the file has a mistake.
    pub(crate) fn find(path: Option<PathBuf>) -> Result<(PathBuf, Configuration), Failure> {
        let path = named_or_default(path)?;
        let configuration = match side_of(&path)? {
            Side::Receiver => {
                Configuration::Receiver(Box::new(receiver::config::Config::load(&path)?))
            }
            Side::LabHost => {
                Configuration::LabHost(Box::new(shipper::config::Config::load(&path, None)?))
            }
        };
        Ok((path, configuration))
    }

    /// Enters the folder that the configuration names. Root reads the configuration and its secrets
    /// before it becomes the folder's owner, who may not be able to.
    pub(crate) fn enter(&self, config_path: &Path) -> Result<(), Failure> {
        let (folder, mut secrets) = match self {
            Configuration::Receiver(config) => (&config.data_dir, config.secret_files()),
            Configuration::LabHost(config) => (&config.root, config.secret_files()),
        };
        secrets.push(config_path.to_owned());
        let secrets: Vec<&Path> = secrets.iter().map(PathBuf::as_path).collect();
        folder::enter(folder, &secrets)
    }
}

/// The side that the configuration at `path` is for.
///
/// Errors: the file cannot be read, or is of neither side.
pub(crate) fn side_of(path: &Path) -> Result<Side, Failure> {
    let text = config::read(
        path,
        "name the file with --config FILE; etc/receiver.toml.example and etc/shipper.toml.example are ones to begin with",
    )?;
    let keys: toml::Table = config::parse(&text, path)?;
    Side::of(keys.keys().map(String::as_str)).ok_or_else(|| {
        Failure::new(
            format!(
                "{} is neither a receiver's configuration nor a lab host's",
                path.display()
            ),
            "a receiver's has data_dir, a lab host's has root: a folder that holds data has no default, so name one of the two",
        )
    })
}

/// The named path, or that of the one configuration in /etc/cis490.
///
/// Errors: none was named, and /etc/cis490 has none, has both, or cannot be searched.
pub(crate) fn named_or_default(path: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match path {
        Some(path) => Ok(path),
        None => default_path(),
    }
}

fn default_path() -> Result<PathBuf, Failure> {
    let of_receiver = PathBuf::from(receiver::config::DEFAULT_PATH);
    let of_lab_host = PathBuf::from(shipper::config::DEFAULT_PATH);
    let has_receivers = exists(&of_receiver)?;
    let has_lab_hosts = exists(&of_lab_host)?;
    if has_receivers && has_lab_hosts {
        return Err(Failure::new(
            "this machine is both: receiver.toml and shipper.toml are in /etc/cis490",
            "choose one: --config /etc/cis490/receiver.toml, or --config /etc/cis490/shipper.toml",
        ));
    }
    if has_receivers {
        return Ok(of_receiver);
    }
    if has_lab_hosts {
        return Ok(of_lab_host);
    }
    Err(Failure::new(
        "there is neither /etc/cis490/receiver.toml nor /etc/cis490/shipper.toml",
        "name the file with --config FILE; etc/*.toml.example are ones to begin with",
    ))
}

/// Only root and the service's group may search /etc/cis490. For anybody else this is an error: a
/// file there would look as if it were missing.
fn exists(path: &Path) -> Result<bool, Failure> {
    path.try_exists().map_err(|error| {
        Failure::new(
            format!("cannot see whether {} is there: {error}", path.display()),
            owner::hint(&error, "name the file with --config FILE"),
        )
    })
}
