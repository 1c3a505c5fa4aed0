//! `pull-missing.jsonl`: the episodes that the receiver lists and did not give. Each later pull asks for
//! them again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::end::End;
use super::folder::Folder;
use super::row::Row;
use crate::durable;
use crate::wire::Slot;

const FILE_BYTES_MAX: u64 = 1 << 30;

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    episode: String,
    why: String,
    /// The row as the receiver's index has it.
    row: String,
}

/// The missing episodes by their names, each with the reason.
#[derive(Default)]
pub(super) struct Missing {
    rows: BTreeMap<Slot, (Row, String)>,
    is_saved: bool,
}

impl Missing {
    /// Reads the file. A line that cannot be understood is left out.
    pub(super) fn load(folder: &Folder) -> Result<Missing, End> {
        let path = folder.missing();
        let bytes = match durable::read_regular(&path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(End::disk("read", &path, &error)),
        };
        let mut missing = Missing {
            rows: BTreeMap::new(),
            is_saved: true,
        };
        for line in bytes.split(|&b| b == b'\n') {
            if let Ok(line) = serde_json::from_slice::<Line>(line)
                && let Ok(row) = Row::parse(line.row.as_bytes())
            {
                missing.rows.insert(row.slot.clone(), (row, line.why));
            }
        }
        Ok(missing)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().map(|(row, _)| row)
    }

    pub(super) fn reasons(&self) -> impl Iterator<Item = (&Slot, &str)> {
        self.rows
            .iter()
            .map(|(slot, (_, why))| (slot, why.as_str()))
    }

    /// Whether the file says the same.
    pub(super) fn is_saved(&self) -> bool {
        self.is_saved
    }

    pub(super) fn add(&mut self, row: Row, why: String) {
        self.rows.insert(row.slot.clone(), (row, why));
        self.is_saved = false;
    }

    pub(super) fn remove(&mut self, slot: &Slot) {
        if self.rows.remove(slot).is_some() {
            self.is_saved = false;
        }
    }

    /// Forgets all: they are of another store.
    pub(super) fn clear(&mut self) {
        self.is_saved &= self.rows.is_empty();
        self.rows.clear();
    }

    /// Brings the file up to date; without anything missing there is none.
    pub(super) fn save(&mut self, folder: &Folder) -> Result<(), End> {
        if self.is_saved {
            return Ok(());
        }
        let path = folder.missing();
        let failed = |error: std::io::Error| End::disk("write", &path, &error);
        if self.rows.is_empty() {
            durable::unlink(&path).map_err(failed)?;
        } else {
            durable::publish(&path, &self.text().map_err(failed)?).map_err(failed)?;
        }
        self.is_saved = true;
        Ok(())
    }

    fn text(&self) -> std::io::Result<Vec<u8>> {
        let mut text = Vec::new();
        for (slot, (row, why)) in &self.rows {
            let line = Line {
                episode: slot.to_string(),
                why: why.clone(),
                row: row.line.clone(),
            };
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        Ok(text)
    }
}
