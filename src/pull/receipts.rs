//! `index.jsonl` in the folder: the receipts of what is here, one a name, each as the receiver has it. A
//! training job reads it as its manifest.
//!
//! 1. A receipt is appended once its file has its name on the disk, and is synced before the cursor is.
//! 2. An append that a crash cut off is cut away when the file is next opened; its row is still after
//!    the cursor, and its file is found by its name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use super::end::End;
use super::folder::Folder;
use super::row::Row;
use crate::durable;
use crate::failure::Failure;
use crate::names::Sha256Digest;
use crate::wire::Slot;

/// What the receipt of a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub bytes: Option<u64>,
    pub sha256: Sha256Digest,
}

pub(super) struct Receipts {
    path: PathBuf,
    file: File,
    known: HashMap<Slot, Known>,
    /// An append failed: a part of it may stand at the file's end, and a line behind that would be none.
    is_torn: bool,
}

impl Receipts {
    /// Reads the file, or makes it.
    ///
    /// Errors: it cannot be read, or a line before its end is no receipt.
    pub(super) fn open(folder: &Folder) -> Result<Receipts, End> {
        let path = folder.index();
        let failed = |error| End::disk("read", &path, &error);
        let mut options = File::options();
        options.read(true).append(true).create(true);
        let file = durable::open_regular_with(&path, &mut options).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() == 0 {
            durable::sync_dir(folder.path()).map_err(failed)?;
        }
        let mut receipts = Receipts {
            path: path.clone(),
            file,
            known: HashMap::new(),
            is_torn: false,
        };
        receipts.read()?;
        Ok(receipts)
    }

    fn read(&mut self) -> Result<(), End> {
        let path = self.path.clone();
        let failed = |error| End::disk("read", &path, &error);
        let mut reader = BufReader::with_capacity(256 << 10, &self.file);
        let mut line = Vec::new();
        let (mut number, mut offset) = (0_u64, 0_u64);
        let mut torn: Option<(u64, u64, String)> = None;
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            number += 1;
            let text = line.strip_suffix(b"\n");
            let parsed = text.ok_or("it has no end".to_owned()).and_then(Row::parse);
            match (parsed, &torn) {
                (Ok(row), None) => {
                    let (bytes, sha256) = (row.bytes, row.sha256);
                    self.known.insert(row.slot, Known { bytes, sha256 });
                }
                (Ok(_), Some((number, _, why))) => return Err(self.no_receipt(*number, why)),
                (Err(why), None) => torn = Some((number, offset, why)),
                (Err(_), Some(_)) => {}
            }
            offset += line.len() as u64;
        }
        if let Some((_, whole_bytes, _)) = torn {
            durable::truncate(&self.file, whole_bytes)
                .and_then(|()| durable::sync_data(&self.file))
                .map_err(|error| End::disk("cut the torn end of", &path, &error))?;
        }
        Ok(())
    }

    fn no_receipt(&self, number: u64, why: &str) -> End {
        End::Wrong(Failure::new(
            format!(
                "line {number} of {} is no receipt: {why}",
                self.path.display()
            ),
            "remove that line, or remove the whole file: the next pull writes the receipts again from the receiver's",
        ))
    }

    /// What the receipt of a name says; `None` without one.
    pub(super) fn of(&self, slot: &Slot) -> Option<Known> {
        self.known.get(slot).copied()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Slot, &Known)> {
        self.known.iter()
    }

    /// Appends the receipts of these rows, except for names that have one. From its return on they
    /// outlast a power cut. After an error nothing is appended before the file is opened again.
    pub(super) fn add<'a>(&mut self, rows: impl Iterator<Item = &'a Row>) -> Result<(), End> {
        let failed = |error| End::disk("append to", &self.path, &error);
        if self.is_torn {
            let why = "an append to it has failed before";
            return Err(failed(io::Error::other(why)));
        }
        let mut lines = String::new();
        for row in rows {
            let Row { bytes, sha256, .. } = *row;
            let known = Known { bytes, sha256 };
            if self.known.insert(row.slot.clone(), known).is_none() {
                lines.push_str(&row.line);
                lines.push('\n');
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        let appended = durable::append(&self.file, lines.as_bytes())
            .and_then(|()| durable::sync_data(&self.file));
        self.is_torn = appended.is_err();
        appended.map_err(failed)
    }
}
