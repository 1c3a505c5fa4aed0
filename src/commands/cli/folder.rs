//! The folder that a command works in: root becomes its owner before the command touches it
//! (`crate::owner`).

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::{events, owner};

/// Enters `folder`. Root becomes the folder's owner, for good; `secrets` are the files that only root
/// may be able to read, and they are read first.
///
/// Errors: another user could exchange a part of the path.
pub(crate) fn enter(folder: &Path, secrets: &[&Path]) -> Result<(), Failure> {
    owner::enter(folder, secrets)?;
    Ok(())
}

/// As [`enter`], for a program that keeps running: it logs which user it became, and which secrets
/// this user cannot read again.
pub(crate) fn enter_to_stay(folder: &Path, secrets: &[PathBuf]) -> Result<(), Failure> {
    let secrets: Vec<&Path> = secrets.iter().map(PathBuf::as_path).collect();
    if let Some(became) = owner::enter(folder, &secrets)? {
        events::became_user(folder, became.uid, became.gid);
        for file in &became.unreadable {
            events::secret_of_root(file);
        }
    }
    Ok(())
}

/// The absolute path of a folder that an option names. Log lines and reports then mean the same
/// folder to a reader in any working directory.
pub(crate) fn absolute(folder: PathBuf) -> PathBuf {
    // It fails for an empty path or without a working directory. The first use of the folder fails
    // then too, and that error is reported.
    std::path::absolute(&folder).unwrap_or(folder)
}
