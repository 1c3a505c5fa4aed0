//! `cis490 init`: makes a folder a store or a queue.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::cli::configuration::{named_or_default, side_of};
use super::cli::folder::absolute;
use crate::config::Side;
use crate::durable;
use crate::failure::Failure;
use crate::names::StoreId;
use crate::owner;
use crate::receiver::config as receiver;
use crate::receiver::store::store_dir::{self, Made};
use crate::shipper::config as shipper;
use crate::shipper::queue;
use crate::terminal::say;

/// make the folder that a configuration names, or adopt a filled one. It is a receiver's data_dir, or
/// a lab host's root. Existing files stay as they are; running it again is harmless
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "init",
    example = "cis490 init",
    example = "cis490 init --config /etc/cis490/receiver.toml"
)]
pub(super) struct Init {
    /// receiver.toml or shipper.toml (default: the one in /etc/cis490)
    #[argh(option)]
    config: Option<PathBuf>,
    /// make this receiver's folder, instead of the data_dir of a configuration
    #[argh(option)]
    data_dir: Option<PathBuf>,
    /// give the receiver's new store this id, 16 hex digits, as the disk had that it replaces (default:
    /// a random one)
    #[argh(option)]
    store_id: Option<StoreId>,
    /// make this lab host's folder, instead of the root of a configuration
    #[argh(option)]
    root: Option<PathBuf>,
}

impl Init {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        match (self.data_dir, self.root) {
            (Some(_), Some(_)) => Err(Failure::usage(
                "--data-dir is a receiver's folder and --root is a lab host's: give one of them",
                "a machine that is both has two folders: run init twice",
            )),
            (Some(data_dir), None) => make_store(&absolute(data_dir), self.store_id),
            (None, Some(root)) => make_root_without_id(&absolute(root), self.store_id),
            (None, None) => make_configured(self.config, self.store_id),
        }
    }
}

fn make_configured(path: Option<PathBuf>, id: Option<StoreId>) -> Result<ExitCode, Failure> {
    let path = named_or_default(path)?;
    match side_of(&path)? {
        Side::Receiver => make_store(&receiver::Config::load(&path)?.data_dir, id),
        Side::LabHost => make_root_without_id(&shipper::Config::load(&path, None)?.root, id),
    }
}

fn make_store(data_dir: &Path, id: Option<StoreId>) -> Result<ExitCode, Failure> {
    let dir = data_dir.display();
    owner::enter_new(data_dir, durable::make_dir)?;
    match store_dir::make_with_id(data_dir, id)? {
        Made::New => say!("{dir} is a new, empty store"),
        Made::Already => say!("{dir} was a store already: nothing to do"),
        Made::Adopted => say!(
            "{dir} is now a store, with everything that was in it; cis490 backfill adds index rows for its tarballs"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// A lab host's folder has no id.
fn make_root_without_id(root: &Path, id: Option<StoreId>) -> Result<ExitCode, Failure> {
    if id.is_some() {
        return Err(Failure::usage(
            "--store-id is for a receiver's store, and this is a lab host's folder",
            "leave --store-id out, or name a receiver's data_dir",
        ));
    }
    make_root(root)
}

/// Makes a lab host's queue: one folder for each state that an episode can be in.
fn make_root(root: &Path) -> Result<ExitCode, Failure> {
    owner::enter_new(root, durable::make_dir)?;
    make_folders(root).map_err(|error| {
        Failure::new(
            format!("cannot make {}: {error}", root.display()),
            owner::hint(&error, "look at the folder and at its disk (ls -l, dmesg)"),
        )
    })?;
    say!("{} is ready for cis490 ship", root.display());
    Ok(ExitCode::SUCCESS)
}

/// Makes `root` and the folders of a queue in it. Folders that exist stay as they are.
pub(super) fn make_folders(root: &Path) -> io::Result<()> {
    store_dir::make_with_parents(root)?;
    for folder in queue::FOLDERS {
        store_dir::make_inner(&root.join(folder))?;
    }
    Ok(())
}
