//! The service as systemd knows it: its unit, the drop-in for a data folder that is not the usual one,
//! and the links that start it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use super::answer;
use super::place::{Place, ROOT, Wanted, cannot};
use super::program;
use super::side::{DATA, Side, UNITS};
use crate::failure::Failure;

/// The end of the name of a folder that holds links to the units which another unit starts.
const WANTS: &str = ".wants";

/// The longest name of a file, and so of a unit's .wants folder.
const NAME_BYTES_MAX: usize = 255;

/// Puts the unit, and the drop-in if the data folder is not the usual one. Returns whether either has
/// changed.
pub(super) fn put(side: Side, place: &mut Place, data: &Path) -> Result<bool, Failure> {
    let before = std::mem::take(&mut place.changed);
    place.dir(Path::new(UNITS), 0o755, Some(ROOT))?;
    program::put_unit(&side.unit_file(), side.unit_text(), place)?;
    let drop_in = side.drop_in_path();
    if data == Path::new(DATA) {
        place.remove(&drop_in)?;
    } else {
        if let Some(folder) = drop_in.parent() {
            place.dir(folder, 0o755, Some(ROOT))?;
        }
        put_file(&drop_in, &drop_in_text(side, data), place)?;
    }
    let units_changed = place.changed;
    place.changed |= before;
    Ok(units_changed)
}

/// Puts a drop-in.
pub(super) fn put_file(path: &Path, text: &str, place: &mut Place) -> Result<(), Failure> {
    place.file(&Wanted {
        path,
        bytes: text.as_bytes(),
        mode: 0o644,
        owner: Some(ROOT),
    })
}

fn drop_in_text(side: Side, data: &Path) -> String {
    // systemd reads % as a specifier. A configuration's folder has no quotes in it.
    let shown = data.display().to_string().replace('%', "%%");
    format!(
        "# The {} of {}; `cis490 install {}` writes this file anew.\n\
         [Unit]\nRequiresMountsFor=\"{shown}\"\n\n[Service]\nReadWritePaths=\"-{shown}\"\n\n\
         # systemd gives a service up whose disk does not come in time: the mount starts it later.\n\
         [Install]\nWantedBy={}\n",
        side.data_key(),
        side.config_path(),
        side.name(),
        mount_units(data).join(" "),
    )
}

/// The units of the disks that may be mounted at this folder or at one above it: those that
/// RequiresMountsFor= means. The root's is left out: systemd itself needs that disk.
fn mount_units(data: &Path) -> Vec<String> {
    let mut units = Vec::new();
    let mut name = String::new();
    for part in data.components() {
        let Component::Normal(part) = part else {
            continue;
        };
        if !name.is_empty() {
            name.push('-');
        }
        name += &escaped(part.as_bytes(), name.is_empty());
        let unit = format!("{name}.mount");
        // systemd has no unit for a deeper mount: its name would be too long.
        if unit.len() + WANTS.len() > NAME_BYTES_MAX {
            break;
        }
        units.push(unit);
    }
    units
}

/// One part of a path, as `systemd-escape --path` writes it in a unit's name.
fn escaped(part: &[u8], is_first: bool) -> String {
    let mut text = String::new();
    for (at, byte) in part.iter().enumerate() {
        match byte {
            b'.' if is_first && at == 0 => text += "\\x2e",
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b':' | b'_' | b'.' => {
                text.push(char::from(*byte));
            }
            _ => text += &format!("\\x{byte:02x}"),
        }
    }
    text
}

/// Does what `systemctl reenable` does, in a folder that stands for another machine.
pub(super) fn link(side: Side, place: &mut Place, data: &Path) -> Result<(), Failure> {
    let wanted = wanted_links(side, data);
    for link in found_links(side, place)? {
        if !wanted.contains(&link) {
            place.remove(&link)?;
        }
    }
    for link in wanted {
        if let Some(folder) = link.parent() {
            place.dir(folder, 0o755, Some(ROOT))?;
        }
        place.link(&link, &program::unit_path(&side.unit_file(), place).0)?;
    }
    Ok(())
}

/// The links by which other units start the service.
fn wanted_links(side: Side, data: &Path) -> Vec<PathBuf> {
    let mut text = side.unit_text().to_owned();
    if data != Path::new(DATA) {
        text += &drop_in_text(side, data);
    }
    let wanted_by = text
        .lines()
        .filter_map(|line| line.strip_prefix("WantedBy="));
    wanted_by
        .flat_map(str::split_whitespace)
        .map(|other| wants_link(side, other.as_ref()))
        .collect()
}

/// Does what `systemctl disable` does, in a folder that stands for another machine.
pub(super) fn unlink(side: Side, place: &mut Place) -> Result<(), Failure> {
    for link in found_links(side, place)? {
        place.remove(&link)?;
    }
    Ok(())
}

/// Removes a drop-in of ours, and its folder unless a person has drop-ins there.
pub(super) fn remove_drop_in(place: &mut Place, path: &Path) -> Result<(), Failure> {
    if place.remove(path)?
        && !place.is_dry()
        && let Some(folder) = path.parent()
    {
        let _ = fs::remove_dir(place.at(folder));
    }
    Ok(())
}

/// The links that exist, of this run or of earlier ones.
fn found_links(side: Side, place: &Place) -> Result<Vec<PathBuf>, Failure> {
    let units = match fs::read_dir(place.at(UNITS)) {
        Ok(units) => units,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot("list", &place.at(UNITS), &error)),
    };
    let of_folder = |folder: &OsStr| {
        let other = folder.as_bytes().strip_suffix(WANTS.as_bytes())?;
        let link = wants_link(side, OsStr::from_bytes(other));
        place.at(&link).symlink_metadata().is_ok().then_some(link)
    };
    Ok(units
        .flatten()
        .filter_map(|entry| of_folder(&entry.file_name()))
        .collect())
}

/// The link by which the unit `other` starts the service.
fn wants_link(side: Side, other: &OsStr) -> PathBuf {
    let mut folder = other.to_owned();
    folder.push(WANTS);
    Path::new(UNITS)
        .join(folder)
        .join(format!("{}.service", side.unit()))
}

/// Whether the service was installed: its unit is there, or something starts the unit of a package.
pub(super) fn is_installed(side: Side, place: &Place) -> Result<bool, Failure> {
    let has_unit = place.at(Path::new(UNITS).join(side.unit_file())).exists();
    let is_enabled = place.is_here() && is_in_state(side, "is-enabled");
    Ok(has_unit || is_enabled || !found_links(side, place)?.is_empty())
}

/// Whether systemd runs the service now.
pub(super) fn is_active(side: Side) -> bool {
    is_in_state(side, "is-active")
}

/// Asks `systemctl is-active` or the like. False if there is no systemctl.
fn is_in_state(side: Side, state: &str) -> bool {
    let mut ask = Command::new("systemctl");
    ask.args([state, "--quiet", side.unit()])
        .stderr(Stdio::null());
    ask.status().is_ok_and(|status| status.success())
}

/// Enables and starts the service. One that runs is restarted if this run has changed anything.
pub(super) fn start(
    side: Side,
    place: &mut Place,
    data: &Path,
    units_changed: bool,
) -> Result<(), Failure> {
    let unit = side.unit();
    let has_changed = place.changed;
    // An earlier run may have been cut off between unit and links, so the links count too.
    let is_there = |link: &PathBuf| place.at(link).symlink_metadata().is_ok();
    let is_linked = wanted_links(side, data).iter().all(is_there);
    if units_changed || !is_linked {
        place.systemctl(&["daemon-reload"])?;
    }
    if !is_in_state(side, "is-enabled") {
        place.systemctl(&["enable", "--quiet", unit])?;
    } else if units_changed || !is_linked {
        // Other units may start it than before.
        place.systemctl(&["reenable", "--quiet", unit])?;
    } else {
        place.there(format_args!("{unit} is enabled"));
    }
    if !is_active(side) {
        run_or_show_log(place, "start", unit)
    } else if has_changed {
        run_or_show_log(place, "restart", unit)
    } else {
        place.there(format_args!(
            "{unit} runs; it reads a changed configuration at: systemctl restart {unit}"
        ));
        Ok(())
    }
}

fn run_or_show_log(place: &mut Place, verb: &str, unit: &str) -> Result<(), Failure> {
    let done = place.systemctl(&[verb, unit]);
    if done.is_err() {
        answer::show_log(unit);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_in_names_the_folder_as_systemd_reads_it() {
        let text = drop_in_text(Side::Receiver, Path::new("/mnt/50% disk"));
        assert!(
            text.contains("\nRequiresMountsFor=\"/mnt/50%% disk\"\n"),
            "{text}"
        );
        assert!(
            text.contains("\nReadWritePaths=\"-/mnt/50%% disk\"\n"),
            "{text}"
        );
    }

    #[test]
    fn the_disks_of_a_folder_are_named_as_systemd_names_them() {
        assert_eq!(
            mount_units("/srv//cis490/".as_ref()),
            ["srv.mount", "srv-cis490.mount"]
        );
        assert_eq!(mount_units(Path::new("/")), [""; 0]);
        let deep = format!("/{0}/{0}/{0}", "d".repeat(100));
        assert_eq!(mount_units(deep.as_ref()).len(), 2);
        for path in ["/mnt/50% disk-1/.a", "/.hidden/x.y:z_", "/ü/a\\b"] {
            let asked = Command::new("systemd-escape")
                .args(["--path", "--suffix=mount", path])
                .output();
            let Ok(output) = asked else {
                eprintln!(
                    "skipped: the_disks_of_a_folder_are_named_as_systemd_names_them: no systemd-escape here"
                );
                return;
            };
            let units = mount_units(path.as_ref());
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(
                units.last().map(String::as_str),
                Some(said.trim_end()),
                "{path}"
            );
        }
    }
}
