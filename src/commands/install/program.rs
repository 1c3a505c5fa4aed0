//! The program that the services run: this one, copied to /usr/local/bin; or, where a package has put it at
//! /usr/bin, that one, with the package's units, manual pages and completions. There is never a second copy.

use std::fs;
use std::path::{Path, PathBuf};

use super::place::{Place, ROOT, Wanted};
use super::side::{Role, UNITS};
use super::texts;
use crate::failure::Failure;
use crate::terminal::say;

/// Where `install` puts the program, and what the units of the repository run.
const OURS: &str = "/usr/local/bin/cis490";
const PACKAGES: &str = "/usr/bin/cis490";
const PACKAGES_UNITS: &str = "/usr/lib/systemd/system";

/// Whether a package has put the program on the machine.
pub(super) fn is_packages(place: &Place) -> bool {
    let found = place.at(PACKAGES).symlink_metadata();
    found.is_ok_and(|found| found.is_file())
}

/// Errors: a package has put another program on this machine than the one that runs.
pub(super) fn check(place: &Place, program: &[u8]) -> Result<(), Failure> {
    if !place.is_here() || !is_packages(place) || is_the_same(place, program) {
        return Ok(());
    }
    Err(Failure::new(
        format!("a package has put another cis490 at {PACKAGES}, and a machine has one"),
        format!(
            "run that one (sudo {PACKAGES} install ...) after an upgrade of the package, or remove the package first (sudo apt remove cis490)"
        ),
    ))
}

fn is_the_same(place: &Place, program: &[u8]) -> bool {
    fs::read(place.at(PACKAGES)).is_ok_and(|found| found == program)
}

/// Puts the program, its manual pages and its completions. A package has done all of that, and what an
/// earlier `install` has put before it goes, unless another role still runs it.
pub(super) fn put(role: Role, place: &mut Place, program: &[u8]) -> Result<(), Failure> {
    if is_packages(place) {
        place.there(format_args!(
            "{}, of the package",
            place.at(PACKAGES).display()
        ));
        if !is_the_same(place, program) {
            say!(
                "  note        it is not the program that runs now: the services run the package's"
            );
        }
        return remove_unless_needed(role, place);
    }
    let path = Path::new(OURS);
    if let Some(folder) = path.parent() {
        place.dir(folder, 0o755, Some(ROOT))?;
    }
    place.file(&Wanted {
        path,
        bytes: program,
        mode: 0o755,
        owner: Some(ROOT),
    })?;
    texts::put(place)
}

/// Removes what `put` has put, if no role but `gone` needs it.
pub(super) fn remove_unless_needed(gone: Role, place: &mut Place) -> Result<(), Failure> {
    let mut others = Role::ALL.into_iter().filter(|role| *role != gone);
    if others.any(|role| place.at(Path::new(UNITS).join(role.unit())).exists()) {
        return Ok(());
    }
    place.remove(Path::new(OURS))?;
    texts::remove(place)
}

/// The unit's path, and whether it is the package's.
pub(super) fn unit_path(name: &str, place: &Place) -> (PathBuf, bool) {
    let packages = Path::new(PACKAGES_UNITS).join(name);
    if is_packages(place) && place.at(&packages).is_file() {
        return (packages, true);
    }
    (Path::new(UNITS).join(name), false)
}

/// Puts a unit, with the path of the program that it runs. Where the package has it, one that an earlier
/// `install` has put goes: systemd would read that one.
pub(super) fn put_unit(name: &str, text: &str, place: &mut Place) -> Result<(), Failure> {
    let (path, is_packages_unit) = unit_path(name, place);
    if is_packages_unit {
        place.there(format_args!("{}, of the package", place.at(path).display()));
        place.remove(&Path::new(UNITS).join(name))?;
        return Ok(());
    }
    let text = if is_packages(place) {
        text.replace(OURS, PACKAGES)
    } else {
        text.to_owned()
    };
    place.file(&Wanted {
        path: &path,
        bytes: text.as_bytes(),
        mode: 0o644,
        owner: Some(ROOT),
    })
}

/// The program of a package, which `uninstall` leaves; `None` if it is ours.
pub(super) fn that_stays(place: &Place) -> Option<PathBuf> {
    is_packages(place).then(|| place.at(PACKAGES))
}
