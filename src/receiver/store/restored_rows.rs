//! Rows that come from an archive, with the numbers that they had: for a new disk in the place of a lost one.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::layout::Layout;
use super::listing::cannot_read;
use super::{rows, store_dir};
use crate::durable;
use crate::failure::Failure;
use crate::file_identity::is_absent;
use crate::names::Sha256Digest;
use crate::wire::{Receipt, Slot};

/// Rows that share one sync of the index.
const ROWS_AT_ONCE: usize = 1000;

/// Appends the rows that the index lacks, in this order, each as it is; how many those were. With `dry_run` it
/// only counts.
///
/// Errors: the store is in use or is none, or its disk fails. Rows that were appended stay.
pub(crate) fn append(
    data_dir: &Path,
    config_path: &Path,
    wanted: &[Receipt],
    dry_run: bool,
) -> Result<usize, Failure> {
    let layout = Layout::new(data_dir);
    let cannot = |error: io::Error| cannot_read(&layout.index(), &error);
    if dry_run {
        let _lock = store_dir::enter_as_it_is(&layout, config_path)?;
        let known = match durable::open_regular(&layout.index()) {
            Err(error) if is_absent(&error) => Known::new(),
            opened => opened.and_then(|file| known(&file)).map_err(cannot)?,
        };
        return Ok(lacking(wanted, &known).len());
    }
    let _lock = store_dir::enter(&layout, config_path)?;
    let append = || {
        let file = open(&layout)?;
        let lacking = lacking(wanted, &known(&file)?);
        append_all(&file, &lacking)?;
        durable::sync_dir(layout.root())?;
        Ok(lacking.len())
    };
    append().map_err(cannot)
}

/// The names and digests that have a row.
type Known = HashSet<(Slot, Sha256Digest)>;

fn lacking<'a>(wanted: &'a [Receipt], known: &Known) -> Vec<&'a Receipt> {
    let is_new = |row: &&Receipt| !known.contains(&(row.slot(), row.sha256));
    wanted.iter().filter(is_new).collect()
}

fn open(layout: &Layout) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).append(true).create(true);
    durable::open_regular_with(&layout.index(), &mut options)
}

fn known(file: &File) -> io::Result<Known> {
    let mut known = Known::new();
    rows::each_line(file, |line| {
        if let Ok(row) = rows::parse(line) {
            known.insert((row.slot(), row.sha256));
        }
    })?;
    Ok(known)
}

fn append_all(file: &File, lacking: &[&Receipt]) -> io::Result<()> {
    for part in lacking.chunks(ROWS_AT_ONCE) {
        let mut text = Vec::new();
        if !ends_whole(file)? {
            text.push(b'\n');
        }
        for row in part {
            serde_json::to_writer(&mut text, row)?;
            text.push(b'\n');
        }
        durable::append(file, &text)?;
        durable::sync_data(file)?;
    }
    Ok(())
}

fn ends_whole(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1)?;
    Ok(last == *b"\n")
}
