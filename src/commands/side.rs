//! Which side this machine is: decided by the named configuration, or by the one in /etc/cis490.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::{config, receiver, shipper};

pub use crate::config::Owner;

pub enum Side {
    Receiver(Box<receiver::config::Config>),
    LabHost(Box<shipper::config::Config>),
}

impl Side {
    /// The side of a configuration and its path; with no path, of the one in /etc/cis490.
    ///
    /// Errors: no configuration exists, two exist and none was named, or it has a mistake.
    pub fn find(path: Option<PathBuf>) -> Result<(PathBuf, Side), Failure> {
        let path = match path {
            Some(path) => path,
            None => the_one_there()?,
        };
        let side = match owner_of(&path)? {
            Owner::Receiver => Side::Receiver(Box::new(receiver::config::Config::load(&path)?)),
            Owner::LabHost => Side::LabHost(Box::new(shipper::config::Config::load(&path, None)?)),
        };
        Ok((path, side))
    }
}

/// Whose configuration a file is.
///
/// Errors: it cannot be read, or is of neither side.
pub fn owner_of(path: &Path) -> Result<Owner, Failure> {
    let text = config::read(
        path,
        "name the file with --config FILE; etc/receiver.toml.example and etc/shipper.toml.example are ones to begin with",
    )?;
    let keys: toml::Table = config::parse(&text, path)?;
    Owner::of(keys.keys().map(String::as_str)).ok_or_else(|| {
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
pub fn the_one_there() -> Result<PathBuf, Failure> {
    let of_receiver = PathBuf::from(receiver::config::DEFAULT_PATH);
    let of_lab_host = PathBuf::from(shipper::config::DEFAULT_PATH);
    match (of_receiver.exists(), of_lab_host.exists()) {
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
