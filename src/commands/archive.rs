//! `cis490 archive --dry-run`: what the running receiver would copy to the bucket and evict now.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::cli::folder;
use super::cli::receipts::each_receipt;
use crate::failure::Failure;
use crate::file_identity::is_absent;
use crate::human::{self, counted};
use crate::receiver::archive::plan::{Disk, Plan, PlanNews, plan};
use crate::receiver::config::{Config, DEFAULT_PATH};
use crate::receiver::store::tarball_path;
use crate::sys;
use crate::terminal::say;
use crate::wire::{Receipt, Slot};

/// show what the receiver would copy to the archive's bucket and evict now. The receiver does both by
/// itself; this changes nothing
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "archive",
    example = "cis490 archive --dry-run",
    error_code(
        1,
        "there is no [archive], its store does not answer, or the disk cannot be read"
    )
)]
pub(super) struct Archive {
    /// only show what would be done: the one thing that this command does
    #[argh(switch)]
    dry_run: bool,
    /// the receiver's configuration (default /etc/cis490/receiver.toml)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)")]
    config: PathBuf,
}

impl Archive {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        if !self.dry_run {
            return Err(Failure::usage(
                "the running receiver copies and evicts by itself",
                "cis490 archive --dry-run shows what it would do now; cis490 status shows how far it is",
            ));
        }
        let config = Config::load(&self.config)?;
        let Some(archive) = &config.archive else {
            return Err(Failure::new(
                format!("{} has no [archive]", self.config.display()),
                "etc/receiver.toml.example shows its keys",
            ));
        };
        let data_dir = config.data_dir.clone();
        let mut secrets = config.secret_files();
        secrets.push(self.config.clone());
        let secrets: Vec<_> = secrets.iter().map(PathBuf::as_path).collect();
        folder::enter(&data_dir, &secrets)?;
        let free_bytes = sys::free_bytes(&data_dir).map_err(|error| {
            Failure::new(
                format!("cannot look at the disk of {}: {error}", data_dir.display()),
                "is it mounted? look at dmesg",
            )
        })?;
        let disk = Disk {
            each_row: &|visit: &mut dyn FnMut(Receipt)| each_receipt(&data_dir, visit),
            file_bytes: &|slot: &Slot| file_bytes(&tarball_path(&data_dir, slot)),
            free_bytes,
        };
        let plan = plan(archive, &data_dir, &disk, &mut show)?;
        summary(&plan);
        Ok(ExitCode::SUCCESS)
    }
}

fn file_bytes(path: &std::path::Path) -> io::Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(found.is_file().then_some(found.len())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn show(news: PlanNews) {
    match news {
        PlanNews::WouldCopy { slot, bytes } => {
            say!("would copy {slot}, {}", human::bytes(bytes));
        }
        PlanNews::WouldEvict { slot, bytes } => {
            say!("would evict {slot}, {}", human::bytes(bytes));
        }
    }
}

fn summary(plan: &Plan) {
    say!(
        "{} to be copied ({}), {} in the bucket and not proven yet",
        counted(plan.copies, "episode"),
        human::bytes(plan.copied_bytes),
        plan.unproven
    );
    let lacking = match plan.lacking_bytes {
        0 => String::new(),
        bytes => format!(
            "; {} more are needed and cannot be made",
            human::bytes(bytes)
        ),
    };
    say!(
        "{} to be evicted ({}){lacking}",
        counted(plan.evictions, "episode"),
        human::bytes(plan.evicted_bytes)
    );
}
