//! Reading a TOML configuration so that every mistake is told in words: file, key, value and what
//! is allowed. What the keys are is each side's own `config.rs`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// Reads and parses a file whose unknown keys are errors.
///
/// `example` is the embedded file of `etc/`, named in the hint when there is no file at all.
pub fn load<T: DeserializeOwned>(path: &Path, flag_hint: &str) -> Result<T, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::new(
            format!("cannot read the configuration {}: {error}", path.display()),
            flag_hint,
        )
    })?;
    parse(&text, path)
}

/// As [`load`], from a text that was read already.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, Failure> {
    toml::from_str(text).map_err(|error| {
        Failure::new(
            format!("{}: {}", path.display(), error.to_string().trim_end()),
            "mend the line that is shown; etc/*.toml.example has every key with its default",
        )
    })
}

/// A value that parsed and is not allowed.
pub fn bad_value(
    path: &Path,
    key: &str,
    value: impl fmt::Display,
    allowed: impl fmt::Display,
) -> Failure {
    Failure::new(
        format!("{}: {key} = {value} is not allowed", path.display()),
        format!("{key} takes {allowed}"),
    )
}

/// An error unless `value` lies between the two, both included.
pub fn in_range(path: &Path, key: &str, value: u64, least: u64, most: u64) -> Result<(), Failure> {
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

/// The secret in a file, without the line break at its end. A relative path is looked up in
/// systemd's `$CREDENTIALS_DIRECTORY` when there is one.
///
/// Errors name the file and never its content.
pub fn read_secret(key: &str, file: &Path) -> Result<String, Failure> {
    let path = secret_path(file);
    let text = fs::read_to_string(&path).map_err(|error| {
        Failure::new(
            format!("cannot read {key} {}: {error}", path.display()),
            "the file holds the token alone, readable by the user that runs cis490",
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

fn secret_path(file: &Path) -> PathBuf {
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(dir) if file.is_relative() => Path::new(&dir).join(file),
        _ => file.to_owned(),
    }
}
