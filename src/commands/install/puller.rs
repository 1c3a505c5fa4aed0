//! `cis490 install puller` and `uninstall puller`: a timer that starts `cis490 pull`.
//!
//! The settings are options, and stand in a drop-in of the unit: without options a later run keeps them.
//! The folder may be a NAS's with other things beside it: `install` makes it if it is missing, and never
//! gives away what is there.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::answer;
use super::place::{Place, ROOT, UserAndGroup};
use super::side::Role;
use super::side::{UNITS, USER};
use super::unit::{put_file, remove_drop_in};
use super::{Install, program, put_credential};
use crate::commands::puller::{
    CREDENTIAL, DEFAULT_FOLDER, DROP_IN, PROBE_LIMITS, Puller, SERVICE, TIMER, has_run,
};
use crate::config;
use crate::failure::Failure;
use crate::owner;
use crate::reader_client::ReaderClient;
use crate::terminal::say;

const SERVICE_TEXT: &str = include_str!("../../../systemd/cis490-pull.service");
const TIMER_TEXT: &str = include_str!("../../../systemd/cis490-pull.timer");
const WANTED_BY: &str = "timers.target.wants";
/// Makes this machine one that pulls.
///
/// Errors: an option is missing or has a mistake, or a step failed.
pub(super) fn install(options: &Install, place: &mut Place, bytes: &[u8]) -> Result<(), Failure> {
    let puller = settings(options, place)?;
    let token = options.token()?;
    check_folder(&puller, place)?;
    // Before anything is changed, it says what is wrong with the address or the CA.
    let client = ReaderClient::new(
        &puller.url,
        options.token_file.as_deref(),
        puller.ca_file.as_deref(),
        PROBE_LIMITS,
    )?;

    say!("cis490 {} as puller", env!("CARGO_PKG_VERSION"));
    let user = place.user()?;
    program::put(Role::Puller, place, bytes)?;
    if let Some(token) = &token {
        put_credential(CREDENTIAL, place, token)?;
    }
    put_folder(&puller, place, user)?;
    let units_changed = put_units(&puller, place)?;
    if place.is_here() {
        start(place, units_changed)?;
    } else {
        let link = Path::new(UNITS).join(WANTED_BY).join(TIMER);
        if let Some(folder) = link.parent() {
            place.dir(folder, 0o755, Some(ROOT))?;
        }
        place.link(&link, &program::unit_path(TIMER, place).0)?;
    }
    if place.is_dry() {
        say!("This was a dry run: nothing was changed.");
    } else if !place.is_here() {
        say!("Installed into a folder: nothing was started.");
    } else if token.is_none() && puller.has_token {
        say!("{SERVICE} pulls with the token that it has: journalctl -fu {SERVICE} shows it.");
    } else {
        say_whether_it_may_read(&puller, &client);
    }
    Ok(())
}

/// Stops the timer and a pull that runs, and removes the units. Returns the folder with the episodes.
pub(super) fn remove(place: &mut Place) -> Result<Option<PathBuf>, Failure> {
    let units = Path::new(UNITS);
    let link = units.join(WANTED_BY).join(TIMER);
    let is_installed = place.at(units.join(TIMER)).exists()
        || place.at(&link).symlink_metadata().is_ok()
        || place.at(DROP_IN).exists();
    let puller = Puller::of_drop_in(&place.at(DROP_IN)).ok().flatten();
    if is_installed && place.is_here() {
        place.systemctl(&["disable", "--quiet", "--now", TIMER])?;
        place.systemctl(&["stop", SERVICE])?;
    }
    place.remove(&link)?;
    place.remove(&units.join(TIMER))?;
    place.remove(&units.join(format!("{SERVICE}.service")))?;
    remove_drop_in(place, Path::new(DROP_IN))?;
    if is_installed && place.is_here() {
        place.systemctl(&["daemon-reload"])?;
    }
    Ok(puller.map(|puller| puller.to))
}

/// Those of the options, or without any those of the drop-in.
fn settings(options: &Install, place: &Place) -> Result<Puller, Failure> {
    let before = Puller::of_drop_in(&place.at(DROP_IN))?;
    let has_token = options.token_file.is_some();
    let Some(url) = &options.url else {
        if options.to.is_some() || options.host.is_some() || options.ca_file.is_some() {
            return Err(needs_url("the other options are written together with it"));
        }
        let before = before.ok_or_else(|| needs_url("it says where the receiver is"))?;
        return Ok(Puller {
            has_token: has_token || before.has_token,
            ..before
        });
    };
    let to = options.to.clone().unwrap_or(DEFAULT_FOLDER.into());
    let ca_file = options.ca_file.clone();
    for (option, path) in [("--to", Some(&to)), ("--ca-file", ca_file.as_ref())] {
        if let Some(path) = path {
            check_path(option, path)?;
        }
    }
    // A token that an earlier run has put there stays in use.
    let has_token = has_token || before.is_some_and(|before| before.has_token);
    Ok(Puller {
        url: url.clone(),
        to,
        host: options.host.clone(),
        ca_file,
        has_token,
    })
}

fn needs_url(why: &str) -> Failure {
    Failure::usage(
        format!("install puller needs --url: {why}"),
        "cis490 install puller --url http://10.8.0.1:8490 --to /data/cis490",
    )
}

/// Errors: systemd could not write the path as one word, or the service could not see it.
fn check_path(option: &str, path: &Path) -> Result<(), Failure> {
    let text = path.to_str().unwrap_or("\"");
    let is_plain = path.is_absolute()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'\\%$".contains(c));
    if !is_plain {
        return Err(Failure::usage(
            format!("{option} {} cannot stand in a unit", path.display()),
            "an absolute path without blanks, quotes, backslash, % and $",
        ));
    }
    match config::hidden_from_service(path) {
        Some(why) => Err(Failure::usage(
            format!("{option} {}: {why}", path.display()),
            "the service's sandbox hides it: choose a folder elsewhere, such as /srv or /mnt",
        )),
        None => Ok(()),
    }
}

/// Errors: somebody else could exchange a part of the path, or what is there is no folder of the
/// service's user.
fn check_folder(puller: &Puller, place: &Place) -> Result<(), Failure> {
    let at = place.at(&puller.to);
    if has_other_things(&puller.to) {
        return Err(Failure::usage(
            format!("--to {} is no folder for episodes", puller.to.display()),
            "give them a folder of their own, such as /data/cis490 or /var/lib/cis490-pull",
        ));
    }
    if place.is_root() {
        let image = place.root().unwrap_or(Path::new("/"));
        owner::check_path_is_roots(&at, image).map_err(|why| owner::refusal(&at, &why))?;
    }
    Ok(())
}

/// Whether the folder is the system's own: the root of all, or one directly below it that the system has. The
/// service may write in its folder, and only there.
fn has_other_things(to: &Path) -> bool {
    const SYSTEMS: [&str; 13] = [
        "bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "tmp", "usr",
        "var",
    ];
    // Where it leads is not seen in its words.
    if to.components().any(|part| part == Component::ParentDir) {
        return true;
    }
    let mut parts = to.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let Some(first) = parts.next() else {
        return true;
    };
    parts.next().is_none() && SYSTEMS.iter().any(|name| first == OsStr::new(name))
}

fn put_folder(
    puller: &Puller,
    place: &mut Place,
    user: Option<UserAndGroup>,
) -> Result<(), Failure> {
    let at = place.at(&puller.to);
    if at.is_dir() {
        place.there(at.join("").display());
    } else {
        place.dir(&puller.to, 0o750, user)?;
    }
    let Some((uid, _)) = user else { return Ok(()) };
    if let Ok(found) = fs::metadata(&at)
        && found.uid() != uid
        && place.is_root()
    {
        say!(
            "  note        {0} belongs to the user {1}, and the service runs as {USER}: sudo chown -R {USER}: {0}, unless {USER} may write there",
            at.display(),
            found.uid()
        );
    }
    Ok(())
}

/// Puts service, timer and drop-in. Returns whether one of them has changed.
fn put_units(puller: &Puller, place: &mut Place) -> Result<bool, Failure> {
    let before = std::mem::take(&mut place.changed);
    let units = Path::new(UNITS);
    place.dir(units, 0o755, Some(ROOT))?;
    program::put_unit(&format!("{SERVICE}.service"), SERVICE_TEXT, place)?;
    program::put_unit(TIMER, TIMER_TEXT, place)?;
    if let Some(folder) = Path::new(DROP_IN).parent() {
        place.dir(folder, 0o755, Some(ROOT))?;
    }
    put_file(Path::new(DROP_IN), &puller.drop_in(), place)?;
    let units_changed = place.changed;
    place.changed |= before;
    Ok(units_changed)
}

/// Starts the timer, and a first pull. A pull that the receiver refuses may have ended before systemd notices its
/// start, and is no failure of the installation.
fn start(place: &mut Place, units_changed: bool) -> Result<(), Failure> {
    if units_changed {
        place.systemctl(&["daemon-reload"])?;
    }
    place.systemctl(&["enable", "--quiet", "--now", TIMER])?;
    let done = place.systemctl(&["start", SERVICE]);
    if done.is_err() {
        answer::show_log(SERVICE);
        if has_run() {
            return Ok(());
        }
    }
    done
}

/// The receiver is another machine, so that it is away or says no is reported, and is no failure.
fn say_whether_it_may_read(puller: &Puller, client: &ReaderClient) {
    let url = &puller.url;
    match client.may_read() {
        Ok(()) => say!(
            "The receiver at {url} lets this machine read: the first pull runs. journalctl -fu {SERVICE} shows it, {TIMER} starts the next ones."
        ),
        Err(why) => say!("{TIMER} runs, and nothing comes yet: {why}"),
    }
}
