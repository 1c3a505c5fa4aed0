//! The receipts of a store, one by one, for commands that go through all of them.

use std::io;
use std::path::Path;

use crate::durable;
use crate::failure::Failure;
use crate::owner;
use crate::receiver::store::{index_path, rows};
use crate::wire::Receipt;

/// Shows each receipt in the index of a store to `visit`. Lines that are none are passed over.
///
/// Errors: the index cannot be read.
pub(crate) fn each_receipt(data_dir: &Path, visit: &mut dyn FnMut(Receipt)) -> Result<(), Failure> {
    let path = index_path(data_dir);
    let cannot = |error: io::Error| {
        Failure::new(
            format!("cannot read {}: {error}", path.display()),
            owner::hint(
                &error,
                "look at the disk (dmesg) and at who owns the file (ls -l)",
            ),
        )
    };
    let file = durable::open_regular(&path).map_err(cannot)?;
    rows::each_line(&file, |line| {
        if let Ok(row) = rows::parse(line) {
            visit(row);
        }
    })
    .map_err(cannot)
}
