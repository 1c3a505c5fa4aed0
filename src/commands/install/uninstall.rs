//! `cis490 uninstall`: removes the unit, and the program if no other side needs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::place::Place;
use super::side::{BINARY, CREDENTIALS, Side, USER};
use super::{check_place, unit};
use crate::failure::Failure;
use crate::terminal::say;

/// stop a service and remove its unit, and the program if nothing else uses it. Keeps data,
/// configuration, token and user, and shows where they are
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "uninstall",
    example = "sudo cis490 uninstall shipper"
)]
pub(crate) struct Uninstall {
    /// receiver or shipper
    #[argh(positional)]
    side: Side,
    /// only show what would be done
    #[argh(switch)]
    dry_run: bool,
    /// the folder that it was installed into
    #[argh(option)]
    root: Option<PathBuf>,
}

impl Uninstall {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let side = self.side;
        let mut place = Place::new(self.root, self.dry_run)?;
        check_place(&place)?;
        let is_installed = place.at(side.unit_path()).exists();
        if is_installed && place.is_here() {
            place.systemctl(&["disable", "--quiet", "--now", side.unit()])?;
        }
        unit::unlink(side, &mut place)?;
        place.remove(&side.unit_path())?;
        let drop_in = side.drop_in_path();
        if place.remove(&drop_in)? && !place.is_dry() {
            remove_if_empty(&place, drop_in.parent());
        }
        if is_installed && place.is_here() {
            place.systemctl(&["daemon-reload"])?;
        }
        if !place.at(side.other().unit_path()).exists() {
            place.remove(Path::new(BINARY))?;
        }
        if !place.changed {
            say!(
                "The {} is not installed here: there was nothing to do.",
                side.name()
            );
        }
        say_what_stays(side, &place);
        Ok(ExitCode::SUCCESS)
    }
}

/// A person's own drop-ins keep their folder.
fn remove_if_empty(place: &Place, folder: Option<&Path>) {
    if let Some(folder) = folder {
        let _ = fs::remove_dir(place.at(folder));
    }
}

fn say_what_stays(side: Side, place: &Place) {
    let config = place.at(side.config_path());
    let credential = place.at(Path::new(CREDENTIALS).join(side.credential().0));
    let data = fs::read_to_string(&config)
        .ok()
        .and_then(|text| side.data_of(&text, &config).ok())
        .map(|data| place.at(data));
    let stays = [
        ("the episodes", data),
        ("the configuration", Some(config)),
        ("the token", Some(credential)),
    ];
    let mut lines = Vec::new();
    for (what, path) in stays {
        if let Some(path) = path
            && path.exists()
        {
            lines.push(format!("{what}: {}", path.display()));
        }
    }
    if place.has_user() {
        lines.push(format!(
            "the user {USER}, which another program may use too"
        ));
    }
    if lines.is_empty() {
        return;
    }
    say!("What stays, and is yours to remove:");
    for line in lines {
        say!("  {line}");
    }
}
