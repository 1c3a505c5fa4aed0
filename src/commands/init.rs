//! `cis490 init`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::side::{Owner, absolute};
use crate::durable;
use crate::failure::Failure;
use crate::owner;
use crate::receiver::config as receiver;
use crate::receiver::store::threshold::{self, Made};
use crate::shipper::config as shipper;
use crate::shipper::queue;

/// make the folder that a configuration names, or adopt a filled one: a receiver's data_dir, or a
/// lab host's root. Nothing that is there is changed; doing it twice is as doing it once
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "init",
    example = "cis490 init --config /etc/cis490/receiver.toml"
)]
pub struct Init {
    /// receiver.toml or shipper.toml; its keys say which of the two it is
    #[argh(option)]
    config: PathBuf,
    /// the store to make, instead of the data_dir of the configuration
    #[argh(option)]
    data_dir: Option<PathBuf>,
}

impl Init {
    pub fn run(self) -> Result<ExitCode, Failure> {
        if let Some(data_dir) = self.data_dir {
            return make_store(&absolute(data_dir));
        }
        match Owner::of(&self.config)? {
            Owner::Receiver => make_store(&receiver::Config::load(&self.config)?.data_dir),
            Owner::LabHost => make_root(&shipper::Config::load(&self.config, None)?.root),
        }
    }
}

fn make_store(data_dir: &Path) -> Result<ExitCode, Failure> {
    let dir = data_dir.display();
    owner::enter_new(data_dir, durable::make_dir)?;
    match threshold::make(data_dir)? {
        Made::New => println!("{dir} is a store now"),
        Made::Already => println!("{dir} was a store already"),
        Made::Adopted => println!(
            "{dir} is a store now, with what was in it; cis490 backfill gives stored tarballs their rows"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// A lab host's queue: the folders of the states that an episode can be in.
fn make_root(root: &Path) -> Result<ExitCode, Failure> {
    owner::enter_new(root, durable::make_dir)?;
    make_folders(root).map_err(|error| {
        Failure::new(
            format!("cannot make {}: {error}", root.display()),
            owner::hint(&error, "look at the folder and at its disk (ls -l, dmesg)"),
        )
    })?;
    println!("{} is ready for cis490 ship", root.display());
    Ok(ExitCode::SUCCESS)
}

pub fn make_folders(root: &Path) -> io::Result<()> {
    threshold::make_with_parents(root)?;
    for folder in queue::FOLDERS {
        durable::make_dir(&root.join(folder))?;
    }
    Ok(())
}
