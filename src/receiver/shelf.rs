//! The store as the archive sees it. The two rooms do not know each other: this file knows both.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::archive::{Rows, Shelf};
use super::local_file::{LocalFile, Removal};
use super::store::Store;
use super::store::row_pages::{Begin, PageQuestion};
use crate::names::Sha256Digest;
use crate::wire::{Receipt, Slot};

/// How many rows are lent at once.
const ROWS_MAX: usize = 256;

/// The store of this process.
pub(super) struct StoreShelf(pub Arc<Store>);

impl Shelf for StoreShelf {
    fn rows(&self, cursor: u64) -> io::Result<Option<Rows>> {
        let question = PageQuestion {
            begin: Begin::At(cursor),
            rows_max: ROWS_MAX,
            host: None,
        };
        let page = self.0.page(&question)?;
        Ok(page.map(|page| {
            let lines = page.rows.split(|&byte| byte == b'\n');
            let rows = lines.filter_map(|line| serde_json::from_slice(line).ok());
            Rows {
                rows: rows.collect(),
                next: page.next,
            }
        }))
    }

    fn whole_file(&self, row: &Receipt) -> io::Result<LocalFile<(File, u64)>> {
        self.0.whole_file(row)
    }

    fn removable(&self, slot: &Slot, sha256: &Sha256Digest) -> io::Result<LocalFile<Receipt>> {
        self.0.removable(slot, sha256)
    }

    fn remove(&self, row: &Receipt) -> io::Result<Removal> {
        self.0.remove_file(row)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.0.space()?.free)
    }
}
