//! The folder that holds the episodes: a store, or a queue. It must not be lost, so `install` begins a
//! new one only beside a new configuration, shares it with no other side, and gives to the service's
//! user only what root made in it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::hand_over;
use super::place::{Place, ROOT, UserAndGroup, cannot};
use super::settings::Settings;
use super::side::{Side, USER};
use super::unit;
use crate::commands::init;
use crate::failure::Failure;
use crate::owner;
use crate::receiver::store::store_dir;
use crate::terminal::say;

/// Checks the folder before anything is changed.
///
/// Errors: another user could exchange a part of its path, an old configuration names a folder that
/// is not there, or the other side uses it.
pub(super) fn check(side: Side, place: &Place, settings: &Settings) -> Result<(), Failure> {
    let data = place.at(&settings.data);
    if place.is_root() {
        let image = place.root().unwrap_or(Path::new("/"));
        owner::check_path_is_roots(&data, image).map_err(|why| owner::refusal(&data, &why))?;
    }
    // Anybody may try a dry run, also a user who cannot see the folder.
    let can_look = place.is_root() || !place.is_dry();
    if place.is_here() && can_look && !settings.is_new && !side.is_made(&data) {
        return Err(Failure::new(
            format!("{} is not made yet, or not there", data.display()),
            format!(
                "is its disk mounted? a new one begins with: sudo cis490 init --config {}; then install again",
                side.config_path()
            ),
        ));
    }
    check_is_not_shared(side, place, settings)
}

fn check_is_not_shared(side: Side, place: &Place, settings: &Settings) -> Result<(), Failure> {
    let other = side.other();
    let other_path = place.at(other.config_path());
    let other_data = fs::read_to_string(&other_path)
        .ok()
        .and_then(|text| other.data_of(&text, &other_path).ok());
    if other_data.as_deref() != Some(&*settings.data) {
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "{} is the {}'s folder already",
            settings.data.display(),
            other.name()
        ),
        format!(
            "a machine that is both needs two: write {} with another {} (the example is in etc/), cis490 init, then install",
            side.config_path(),
            side.data_key()
        ),
    ))
}

/// Makes the folder if [`check`] found that it may be made, and gives it to the service's user.
pub(super) fn put(
    side: Side,
    place: &mut Place,
    settings: &Settings,
    user: Option<UserAndGroup>,
) -> Result<(), Failure> {
    let at = place.at(&settings.data);
    let is_made = side.is_made(&at);
    if is_made {
        place.there(at.join("").display());
    } else {
        // The folder stays root's own until it is complete: then all that is in it is root's work,
        // and all of it is given.
        place.dir(&settings.data, 0o750, Some(ROOT))?;
    }
    if place.is_dry() {
        return Ok(());
    }
    if !is_made {
        fill(side, &at)?;
    }
    match user {
        Some(user) if place.is_root() => give(side, place, &at, user),
        _ => Ok(()),
    }
}

fn fill(side: Side, at: &Path) -> Result<(), Failure> {
    match side {
        Side::Receiver => {
            store_dir::make(at)?;
            Ok(())
        }
        Side::LabHost => init::make_folders(at).map_err(|error| cannot("make", at, &error)),
    }
}

/// Gives root's files to `user`. The service is stopped meanwhile, if there is anything to give;
/// `unit::start` starts it again.
fn give(side: Side, place: &mut Place, at: &Path, user: UserAndGroup) -> Result<(), Failure> {
    let depth = match side {
        Side::Receiver => hand_over::DEPTH_MAX,
        Side::LabHost => 1, // the files of an episode may be the recorder's own
    };
    let failed = |error| cannot("give away", at, &error);
    let planned = hand_over::look(at, depth).map_err(failed)?;
    let mut left = planned.left;
    if planned.given > 0 {
        let is_stopped = place.is_here() && unit::is_active(side);
        if is_stopped {
            place.systemctl(&["stop", side.unit()])?;
        }
        let given = hand_over::hand_over(at, user, depth);
        if given.is_err() && is_stopped {
            place.systemctl(&["start", side.unit()])?;
        }
        left = given.map_err(failed)?.left;
    }
    for (path, why) in left {
        say!(
            "  note        {} is root's and stays so: {why}; if the service made it, remove it or chown it by hand",
            path.display()
        );
    }
    say_other_owner(at, user);
    Ok(())
}

fn say_other_owner(at: &Path, user: UserAndGroup) {
    let owner = fs::metadata(at).map_or(user.0, |found| found.uid());
    if owner != user.0 {
        say!(
            "  note        {} belongs to the user {owner}, and the service runs as {USER}: chown -R {USER}: it, unless {USER} may write there",
            at.display()
        );
    }
}
