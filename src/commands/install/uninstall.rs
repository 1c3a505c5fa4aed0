//! `cis490 uninstall`: removes the unit, and the program with its pages and completions if no other role
//! needs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use super::place::Place;
use super::side::{CREDENTIALS, Role, Side, UNITS, USER};
use super::{check_place, program, puller, unit};
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
    /// receiver, shipper or puller
    #[argh(positional)]
    role: Role,
    /// only show what would be done
    #[argh(switch)]
    dry_run: bool,
    /// the folder that it was installed into
    #[argh(option)]
    root: Option<PathBuf>,
}

impl Uninstall {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let mut place = Place::new(self.root, self.dry_run)?;
        check_place(&place)?;
        let data = match self.role {
            Role::Side(side) => remove_side(side, &mut place)?,
            Role::Puller => puller::remove(&mut place)?,
        };
        program::remove_unless_needed(self.role, &mut place)?;
        if !place.changed {
            let name = self.role.name();
            say!("The {name} is not installed here: there was nothing to do.");
        }
        say_what_stays(self.role, data, &place);
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns the data folder, if a configuration names it.
fn remove_side(side: Side, place: &mut Place) -> Result<Option<PathBuf>, Failure> {
    let is_installed = unit::is_installed(side, place)?;
    if is_installed && place.is_here() {
        place.systemctl(&["disable", "--quiet", "--now", side.unit()])?;
    }
    unit::unlink(side, place)?;
    place.remove(&Path::new(UNITS).join(side.unit_file()))?;
    unit::remove_drop_in(place, &side.drop_in_path())?;
    if is_installed && place.is_here() {
        place.systemctl(&["daemon-reload"])?;
    }
    let config = place.at(side.config_path());
    let text = fs::read_to_string(&config).ok();
    Ok(text.and_then(|text| side.data_of(&text, &config).ok()))
}

fn say_what_stays(role: Role, data: Option<PathBuf>, place: &Place) {
    let config = role.config_path().map(|path| place.at(path));
    let credential = place.at(Path::new(CREDENTIALS).join(role.credential()));
    let stays = [
        ("the episodes", data.map(|data| place.at(data))),
        ("the configuration", config),
        ("the token", Some(credential)),
        (
            "the program, which its package brought",
            program::that_stays(place),
        ),
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
