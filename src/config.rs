//! Reading a TOML configuration so that every mistake is reported in words: file, key, value and what
//! is allowed. The keys themselves are in each side's own `config.rs`.

pub(crate) mod mistake;
pub(crate) mod network;
mod secret;
pub(crate) mod settings;
pub(crate) mod values;

use std::fmt;
use std::fs::Metadata;
use std::net::Ipv6Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::de::DeTable;

use crate::failure::Failure;
use crate::human;
use crate::owner;

pub(crate) use self::secret::{CREDENTIAL_STORE, check_may_name_secrets, read_secret, secret_path};

/// A type that a configuration is read into.
pub(crate) trait Settings: DeserializeOwned {
    /// The side whose configuration it is; `None` if it may be of either side.
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
        let mut of_receiver = 0;
        let mut of_lab_host = 0;
        for key in keys {
            match key {
                "data_dir" | "listen" | "version_gate" | "host" | "reader" | "archive" => {
                    of_receiver += 1;
                }
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

/// Reads and parses a configuration. Unknown keys are errors. `flag_hint` is the hint when the file
/// does not exist.
///
/// Errors: the file cannot be read, or has a mistake. The words show no secret.
pub(crate) fn load<T: Settings>(path: &Path, flag_hint: &str) -> Result<T, Failure> {
    parse(&read(path, flag_hint)?, path)
}

/// The text of a configuration.
///
/// Errors: the file cannot be read, or is not UTF-8. `flag_hint` is the remedy for an error that has
/// no remedy of its own.
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

/// As [`load`], for a text that was read already.
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
/// Errors: the encoding, which is not UTF-8.
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

/// The error for a value that is not allowed. `allowed` follows the words "KEY accepts".
pub(crate) fn bad_value(
    path: &Path,
    key: &str,
    value: impl fmt::Display,
    allowed: impl fmt::Display,
) -> Failure {
    not_allowed(path, key, value, format!("{key} accepts {allowed}"))
}

/// The error for a value that another key excludes. `hint` is what to do.
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

/// A URL with its scheme in lower case: `HTTP://` means the same as `http://`.
pub(crate) fn with_plain_scheme(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        None => url.to_owned(),
    }
}

/// Whether this is `http://HOST[:PORT]` or `https://HOST[:PORT]`, with whatever follows; the scheme as
/// [`with_plain_scheme`] writes it.
pub(crate) fn is_http_url(url: &str) -> bool {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    let Some(rest) = rest.filter(|rest| rest.bytes().all(|b| b.is_ascii_graphic())) else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let (host, port) = match host.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((v6, port)) if v6.parse::<Ipv6Addr>().is_ok() => (v6, port),
            _ => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |text: &str| {
        let digits = text.strip_prefix(':').unwrap_or_default();
        digits.bytes().all(|b| b.is_ascii_digit())
            && digits.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let is_in_name = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    !host.is_empty() && host.bytes().all(is_in_name) && (port.is_empty() || is_port(port))
}

/// An error unless `value` is from `least` to `most`, both included.
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

/// An error unless `folder` is an absolute path that stands unchanged between quotes in a unit of systemd,
/// in a shell and on a terminal. `install` writes it into a unit that root runs.
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

/// Who besides root may write a configuration that root acts on, in words; `None` if nobody may. With
/// `for_root` false, for a user's own configuration, only write access for everybody counts.
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

/// Why the services that `install` makes cannot see a folder, with the remedy; `None` if they can.
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
            "the service cannot see anything below {home} (ProtectHome=true in its unit): move it, for example to /srv or /opt"
        )
    })
}

#[cfg(test)]
mod tests;
