//! The secrets that a configuration names by their files: where such a file is, and what it holds.
//!
//! No error shows what a file holds, nor a value that may be a secret itself.

use std::path::{Path, PathBuf};

use super::decoded;
use crate::failure::Failure;
use crate::owner;
use crate::sys;

/// An error if root would read `secrets` for a configuration that another user may write: that user
/// could then have root's secrets sent to any address.
pub(crate) fn check_may_name_secrets(path: &Path, secrets: &[PathBuf]) -> Result<(), Failure> {
    if secrets.is_empty() || sys::effective_user() != 0 {
        return Ok(());
    }
    let (why, remedy) = match owner::owner_of(path) {
        // The code that reads the configuration reports that it cannot be looked at.
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

/// The folder in which systemd looks for a credential by its name.
pub(crate) const CREDENTIAL_STORE: &str = "/etc/credstore";

/// The secret in a file, without the line break at its end. A relative path is looked up in systemd's
/// `$CREDENTIALS_DIRECTORY` if that is set; else in the current folder, and then in
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

/// Whether somebody seems to have written the token in place of its file's name: the tokens of
/// `cis490 token` and of Forgejo have 40 hex digits or more.
fn looks_like_a_secret(file: &Path) -> bool {
    let name = file.as_os_str().as_encoded_bytes();
    name.len() >= 32 && name.iter().all(u8::is_ascii_hexdigit)
}

/// The file that the secret of a key is read from: see [`read_secret`].
pub(crate) fn secret_path(file: &Path) -> PathBuf {
    secret_path_in(
        file,
        std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
    )
}

/// A command that a person types has no credentials directory. Root can read the store from which
/// systemd fills that directory.
pub(super) fn secret_path_in(file: &Path, credentials: Option<PathBuf>) -> PathBuf {
    match credentials {
        _ if file.is_absolute() => file.to_owned(),
        Some(dir) => dir.join(file),
        None if file.exists() => file.to_owned(),
        None => Path::new(CREDENTIAL_STORE).join(file),
    }
}
