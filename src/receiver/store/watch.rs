//! Whether the open index is still the one under its name, and as long as it was left: that nobody has
//! moved, replaced, cut or written it. What was appended to another one, nobody would find again.

use crate::file_identity::FileIdentity;
use std::fs::File;
use std::io;
use std::path::Path;

/// Errors say what was done to it.
pub(super) fn compare(open: &File, length: u64, path: &Path) -> Result<(), String> {
    let cannot = |error: io::Error| format!("it cannot be read: {error}");
    let ours = open.metadata().map_err(cannot)?;
    match FileIdentity::at(path).map_err(cannot)? {
        Some(named) if named == FileIdentity::of(&ours) => {}
        Some(_) => return Err("another file has its name: it was replaced".to_owned()),
        None => return Err("its name is gone: it was moved or removed".to_owned()),
    }
    let found = ours.len();
    if found < length {
        return Err(format!("it has {found} bytes and had {length}: it was cut"));
    }
    if length < found {
        return Err(format!(
            "it has {found} bytes and had {length}: somebody else wrote to it"
        ));
    }
    Ok(())
}
