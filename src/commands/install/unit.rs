//! The service as systemd knows it: its unit, the drop-in for a folder that is not the usual one,
//! what starts it, and that it runs.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use super::answer;
use super::place::{Place, ROOT, Wanted, cannot};
use super::side::{DATA, Side, UNITS};
use crate::failure::Failure;

/// How a folder ends that has the links of what a unit wants.
const WANTS: &str = ".wants";

/// The longest name of a file, and so of a unit and of what it wants.
const NAME_BYTES_MAX: usize = 255;

/// The unit, and what it needs to know of a folder that is not the usual one. Whether any changed.
pub(super) fn put(side: Side, place: &mut Place, data: &Path) -> Result<bool, Failure> {
    let before = std::mem::take(&mut place.changed);
    place.dir(Path::new(UNITS), 0o755, Some(ROOT))?;
    put_unit(&side.unit_path(), side.unit_text(), place)?;
    let drop_in = side.drop_in_path();
    if data == Path::new(DATA) {
        place.remove(&drop_in)?;
    } else {
        if let Some(folder) = drop_in.parent() {
            place.dir(folder, 0o755, Some(ROOT))?;
        }
        put_unit(&drop_in, &drop_in_text(side, data), place)?;
    }
    let units_changed = place.changed;
    place.changed |= before;
    Ok(units_changed)
}

fn put_unit(path: &Path, text: &str, place: &mut Place) -> Result<(), Failure> {
    place.file(&Wanted {
        path,
        bytes: text.as_bytes(),
        mode: 0o644,
        owner: Some(ROOT),
    })
}

fn drop_in_text(side: Side, data: &Path) -> String {
    // systemd reads % as a specifier, and quotes as quotes.
    let shown = data.display().to_string().replace('%', "%%");
    format!(
        "# The {} of {}; `cis490 install {}` writes this file anew.\n\
         [Unit]\nRequiresMountsFor=\"{shown}\"\n\n[Service]\nReadWritePaths=\"-{shown}\"\n\n\
         # What waited in vain for a disk is not tried again: the disk has it started.\n\
         [Install]\nWantedBy={}\n",
        side.data_key(),
        side.config_path(),
        side.name(),
        mount_units(data).join(" "),
    )
}

/// The units of the disks that may be mounted at this folder or over it, as RequiresMountsFor= takes
/// them. Not of the root: without that there is no systemd.
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
        // What is mounted deeper than that has no unit of its name.
        if unit.len() + WANTS.len() > NAME_BYTES_MAX {
            break;
        }
        units.push(unit);
    }
    units
}

/// A folder's name within a unit's, as `systemd-escape --path` writes it.
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

/// What `systemctl reenable` does, for a machine whose systemctl cannot be asked.
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
        place.link(&link, &side.unit_path())?;
    }
    Ok(())
}

/// The links of all that starts it.
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

/// What `systemctl disable` does.
pub(super) fn unlink(side: Side, place: &mut Place) -> Result<(), Failure> {
    found_links(side, place)?
        .iter()
        .try_for_each(|link| place.remove(link).map(drop))
}

/// The links that there are.
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

/// How another unit has the service started with it.
fn wants_link(side: Side, other: &OsStr) -> PathBuf {
    let mut folder = other.to_owned();
    folder.push(WANTS);
    Path::new(UNITS)
        .join(folder)
        .join(format!("{}.service", side.unit()))
}

/// Whether systemd runs the service now.
pub(super) fn is_active(side: Side) -> bool {
    is_in_state(side, "is-active")
}

/// What `systemctl is-active` and its like say; no, where there is no systemd to be asked.
fn is_in_state(side: Side, state: &str) -> bool {
    let mut ask = Command::new("systemctl");
    ask.args([state, "--quiet", side.unit()])
        .stderr(Stdio::null());
    ask.status().is_ok_and(|status| status.success())
}

/// Enables and starts it, or starts it again if anything has changed.
pub(super) fn start(
    side: Side,
    place: &mut Place,
    data: &Path,
    units_changed: bool,
) -> Result<(), Failure> {
    let unit = side.unit();
    let changed = place.changed;
    let is = |state| is_in_state(side, state);
    // By the links, not only by what changed now: an earlier run may have been cut off between.
    let is_linked = |link: &PathBuf| place.at(link).symlink_metadata().is_ok();
    let is_linked = wanted_links(side, data).iter().all(is_linked);
    if units_changed || !is_linked {
        place.systemctl(&["daemon-reload"])?;
    }
    match (is("is-enabled"), units_changed || !is_linked) {
        (true, false) => place.there(format_args!("{unit} is enabled")),
        // What starts it may be others than before.
        (true, true) => place.systemctl(&["reenable", "--quiet", unit])?,
        (false, _) => place.systemctl(&["enable", "--quiet", unit])?,
    }
    let started = match (is("is-active"), changed) {
        (true, false) => {
            place.there(format_args!(
                "{unit} runs; it reads a changed configuration at: systemctl restart {unit}"
            ));
            Ok(())
        }
        (true, true) => place.systemctl(&["restart", unit]),
        (false, _) => place.systemctl(&["start", unit]),
    };
    started.inspect_err(|_| answer::show_log(unit))
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
