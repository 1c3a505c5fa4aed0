//! Whether the open index is still the file under its name, and as long as it was left: whether another
//! process has moved, replaced, cut or written it. Rows appended to a file without the name would be lost.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::file_identity::FileIdentity;

/// Compares the open index, which should have `length` bytes, with the file at `path`.
///
/// Errors say what was done to the file or its name.
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
