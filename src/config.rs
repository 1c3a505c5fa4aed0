//! Reading a TOML configuration so that every mistake is reported in words: file, key, value and what
//! is allowed. What the keys are is each side's own `config.rs`.

pub(crate) mod mistake;
pub(crate) mod values;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::DeTable;

use crate::failure::Failure;
use crate::human;
use crate::owner;
use crate::sys;

/// A type that a configuration is read into.
pub(crate) trait Settings: DeserializeOwned {
    /// Whose configuration it is; `None` if it may be of either side.
    const SIDE: Option<Side>;
}

impl Settings for toml::Table {
    const SIDE: Option<Side> = None;
}

/// The side whose configuration a file is. The keys that one side has and the other has not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Receiver,
    LabHost,
}

impl Side {
    /// The side that has more of these keys, or the receiver, if both have as many; `None` without
    /// any.
    pub(crate) fn of<'a>(keys: impl Iterator<Item = &'a str>) -> Option<Side> {
        let (mut of_receiver, mut of_lab_host) = (0, 0);
        for key in keys {
            match key {
                "data_dir" | "listen" | "version_gate" | "host" => of_receiver += 1,
                "root" | "receiver_url" | "host_id" => of_lab_host += 1,
                _ => {}
            }
        }
        if of_receiver == 0 && of_lab_host == 0 {
            return None;
        }
        Some(if of_receiver >= of_lab_host {
            Side::Receiver
        } else {
            Side::LabHost
        })
    }

    fn file(self) -> &'static str {
        match self {
            Side::Receiver => "a receiver's configuration (receiver.toml)",
            Side::LabHost => "a lab host's configuration (shipper.toml)",
        }
    }
}

/// Reads and parses a file whose unknown keys are errors. `flag_hint` is the hint when there is no
/// file at all.
///
/// Errors: it cannot be read, or is not right; the words show no secret.
pub(crate) fn load<T: Settings>(path: &Path, flag_hint: &str) -> Result<T, Failure> {
    parse(&read(path, flag_hint)?, path)
}

/// The text of a configuration.
///
/// Errors: it cannot be read, or is no UTF-8; `flag_hint` is what to do where its own error has no
/// remedy.
pub(crate) fn read(path: &Path, flag_hint: &str) -> Result<String, Failure> {
    let bytes = owner::read_kept(path).map_err(|error| {
        Failure::new(
            format!("cannot read the configuration {}: {error}", path.display()),
            owner::hint_to_read(&error, flag_hint),
        )
    })?;
    decoded(bytes).map_err(|encoding| {
        Failure::new(
            format!("{} is {encoding}", path.display()),
            "save it as UTF-8",
        )
    })
}

/// As [`load`], from a text that was read already.
pub(crate) fn parse<T: Settings>(text: &str, path: &Path) -> Result<T, Failure> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let table = DeTable::parse(text).map_err(|error| mistake::of_syntax(text, path, &error))?;
    toml::from_str(text).map_err(|error| {
        let found = Side::of(table.get_ref().keys().map(|key| key.get_ref().as_ref()));
        match (found, T::SIDE) {
            (Some(found), Some(wanted)) if found != wanted => {
                of_the_other_side(path, found, wanted)
            }
            _ => mistake::of_content(text, path, table.get_ref(), &error),
        }
    })
}

fn of_the_other_side(path: &Path, found: Side, wanted: Side) -> Failure {
    let default = match wanted {
        Side::Receiver => "/etc/cis490/receiver.toml",
        Side::LabHost => "/etc/cis490/shipper.toml",
    };
    Failure::new(
        format!(
            "{} is {}, not {}",
            path.display(),
            found.file(),
            wanted.file()
        ),
        format!("name the other file with --config FILE; without --config it is {default}"),
    )
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text without a byte order mark, which some editors write.
///
/// Errors: what it is instead of UTF-8.
fn decoded(bytes: Vec<u8>) -> Result<String, &'static str> {
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    // UTF-16 without a mark has a NUL in each ASCII character.
    if is_utf16 || bytes.iter().take(4).any(|byte| *byte == 0) {
        return Err("UTF-16 and not UTF-8");
    }
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(unmarked) => Ok(unmarked.to_owned()),
        None => Ok(text),
    }
}

/// A value that parsed and is not allowed. `allowed` goes on after "KEY accepts".
pub(crate) fn bad_value(
    path: &Path,
    key: &str,
    value: impl fmt::Display,
    allowed: impl fmt::Display,
) -> Failure {
    not_allowed(path, key, value, format!("{key} accepts {allowed}"))
}

/// A value that is right by itself, beside another key that excludes it; `hint` is what to do.
pub(crate) fn not_allowed(
    path: &Path,
    key: &str,
    value: impl fmt::Display,
    hint: impl fmt::Display,
) -> Failure {
    let value = human::without_user(&value.to_string());
    let words = if mistake::may_be_shown(&value) {
        format!("{key} = {value} is not allowed")
    } else {
        format!("{key} is not allowed; its value is not shown")
    };
    Failure::new(format!("{}: {words}", path.display()), hint)
}

/// A URL with its scheme as programs write it: `HTTP://` means the same, and is compared as `http://`.
pub(crate) fn with_plain_scheme(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        None => url.to_owned(),
    }
}

/// An error unless `value` lies between the two, both included.
pub(crate) fn in_range(
    path: &Path,
    key: &str,
    value: u64,
    least: u64,
    most: u64,
) -> Result<(), Failure> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(bad_value(
        path,
        key,
        value,
        format!("a whole number from {least} to {most}"),
    ))
}

/// An error unless `folder` is an absolute path that stands unchanged in a unit of systemd, in a
/// shell and on a terminal. `install` writes it into a unit that root runs.
pub(crate) fn check_folder(path: &Path, key: &str, folder: &Path) -> Result<(), Failure> {
    let is_odd = |c: char| c.is_control() || "\"'\\%".contains(c);
    let is_plain = folder.to_str().is_some_and(|text| !text.contains(is_odd));
    if folder.is_absolute() && is_plain {
        return Ok(());
    }
    Err(bad_value(
        path,
        key,
        format!("{folder:?}"),
        "an absolute path without quotes, backslash, % and control characters",
    ))
}

/// Who besides root may write a configuration that root acts on, in words; `None` if nobody may.
/// Somebody who is not root acts for himself: then only what everybody may write is named.
pub(crate) fn other_writers(found: &Metadata, for_root: bool) -> Option<String> {
    if found.mode() & 0o002 != 0 {
        return Some("everybody on this machine".to_owned());
    }
    if for_root && found.uid() != 0 {
        return Some(format!("the user {}", found.uid()));
    }
    let by_group = found.mode() & 0o020 != 0 && found.gid() != 0;
    (for_root && by_group).then(|| format!("the group {}", found.gid()))
}

/// An error if root would read `secrets` because a configuration says so that somebody else may write:
/// he would have them sent wherever he likes.
pub(crate) fn check_may_name_secrets(path: &Path, secrets: &[PathBuf]) -> Result<(), Failure> {
    if secrets.is_empty() || sys::effective_user() != 0 {
        return Ok(());
    }
    let (why, remedy) = match owner::owner_of(path) {
        // That it cannot be looked at is reported by whoever reads it.
        Ok(owner::Owner::Root) | Err(owner::Unsafe::Io { .. }) => return Ok(()),
        Ok(owner::Owner::User { uid }) => (
            format!("the user {} may write it", owner::name_of(uid)),
            format!(
                "read what is in it, then: sudo chown root {0} && sudo chmod go-w {0}; or run it as that user",
                path.display()
            ),
        ),
        Err(owner::Unsafe::Open { words, remedy }) => (words, remedy),
    };
    Err(Failure::new(
        format!(
            "root reads no file that {} names as a token or a certificate: {why}",
            path.display()
        ),
        remedy,
    ))
}

/// Why the services that `install` makes cannot see a folder, and what to do; `None` if they can.
pub(crate) fn hidden_from_service(folder: &Path) -> Option<String> {
    // Their units have ProtectHome=true.
    const HIDDEN: [&str; 3] = ["/home", "/root", "/run/user"];
    if folder.starts_with("~") || folder.to_str().is_some_and(|text| text.starts_with('~')) {
        return Some("~ has no meaning here: write the whole path".to_owned());
    }
    let real = folder.canonicalize().unwrap_or(folder.to_owned());
    let is_below = |home: &&&str| folder.starts_with(home) || real.starts_with(home);
    HIDDEN.iter().find(is_below).map(|home| {
        format!(
            "the service does not see what is below {home} (ProtectHome=true in its unit): move it, for example to /srv or /opt"
        )
    })
}

/// Where systemd looks for a credential by its name.
pub(crate) const CREDENTIAL_STORE: &str = "/etc/credstore";

/// The secret in a file, without the line break at its end. A relative path is looked up in
/// systemd's `$CREDENTIALS_DIRECTORY` when there is one; else it is a file here, or a credential in
/// [`CREDENTIAL_STORE`], which root can read.
///
/// Errors name the file and never its content.
pub(crate) fn read_secret(key: &str, file: &Path) -> Result<String, Failure> {
    if looks_like_a_secret(file) {
        return Err(Failure::new(
            format!("{key} holds what looks like a token itself, and it must name a file"),
            "put the token alone into a file that only the service's user may read, and name that",
        ));
    }
    let path = secret_path(file);
    let bytes = owner::read_secret(&path).map_err(|error| {
        Failure::new(
            format!("cannot read {key} {}: {error}", path.display()),
            "the file holds the token alone, readable by the user that runs cis490",
        )
    })?;
    let text = decoded(bytes).map_err(|encoding| {
        Failure::new(
            format!("{key} {} is {encoding}", path.display()),
            "save it as UTF-8 or plain ASCII: one token on one line",
        )
    })?;
    let secret = text.trim();
    let visible = |b: u8| b.is_ascii_graphic();
    if secret.is_empty() || secret.len() > 4096 || !secret.bytes().all(visible) {
        return Err(Failure::new(
            format!("{key} {} holds no token", path.display()),
            "the file holds one token of visible ASCII on one line",
        ));
    }
    Ok(secret.to_owned())
}

/// Whether somebody wrote the token where its file's name belongs: `cis490 token` and Forgejo make
/// 40 and more hex digits.
fn looks_like_a_secret(file: &Path) -> bool {
    let name = file.as_os_str().as_encoded_bytes();
    name.len() >= 32 && name.iter().all(u8::is_ascii_hexdigit)
}

/// Where the secret of a key is read from: see [`read_secret`].
pub(crate) fn secret_path(file: &Path) -> PathBuf {
    secret_path_in(
        file,
        std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
    )
}

/// A person's command has no credentials directory; the store that systemd fills it from is there
/// for root.
fn secret_path_in(file: &Path, credentials: Option<PathBuf>) -> PathBuf {
    match credentials {
        _ if file.is_absolute() => file.to_owned(),
        Some(dir) => dir.join(file),
        None if file.exists() => file.to_owned(),
        None => Path::new(CREDENTIAL_STORE).join(file),
    }
}
