//! The secrets that a configuration names by their files: where such a file is, and what it holds.
//!
//! No error shows what a file holds, nor a value that may be a secret itself.

use std::path::{Path, PathBuf};

use super::decoded;
use crate::failure::Failure;
use crate::owner;
use crate::sys;

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
pub(super) fn secret_path_in(file: &Path, credentials: Option<PathBuf>) -> PathBuf {
    match credentials {
        _ if file.is_absolute() => file.to_owned(),
        Some(dir) => dir.join(file),
        None if file.exists() => file.to_owned(),
        None => Path::new(CREDENTIAL_STORE).join(file),
    }
}
