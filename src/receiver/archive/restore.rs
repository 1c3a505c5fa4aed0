//! `cis490 backfill --from-archive`: the rows of a store whose disk is lost, from its objects.
//!
//! 1. Only objects of this store's id count, and only a receipt that is of its own key and length.
//! 2. No file is fetched. The ledger says `listed`, and the receiver reads the objects back and proves them.
//! 3. Running it again adds nothing.

use std::path::Path;

use super::audit::{asked, of_ledger};
use super::key;
use super::ledger::{Entry, Ledger, State};
use super::s3::{Bucket, Object};
use crate::failure::Failure;
use crate::names::StoreId;
use crate::receiver::config::ArchiveConfig;
use crate::wire::Receipt;

/// What was found in the bucket.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// The rows of this store, by their numbers; those without one come last.
    pub rows: Vec<Receipt>,
    /// Objects of other stores.
    pub of_others: u64,
    /// Objects of this store whose receipt cannot be used: key and reason.
    pub odd: Vec<(String, String)>,
}

/// Looks at every episode in the bucket. `progress` hears of each.
///
/// Errors: the keys cannot be read, or the store does not answer.
pub(crate) fn rows_of(
    config: &ArchiveConfig,
    id: StoreId,
    progress: &mut dyn FnMut(),
) -> Result<Restored, Failure> {
    let bucket = Bucket::new(config)?;
    let id = id.to_string();
    let mut restored = Restored::default();
    let mut after = None;
    loop {
        let part = asked(|| bucket.list(key::PREFIX, 1000, after.as_deref()))?;
        for listed in part.objects {
            progress();
            let Some(object) = asked(|| bucket.head(&listed.key))? else {
                continue; // gone since it was listed
            };
            if object.store.as_deref() != Some(&*id) {
                restored.of_others += 1;
                continue;
            }
            match row(&listed.key, &object) {
                Ok(row) => restored.rows.push(row),
                Err(why) => restored.odd.push((listed.key, why)),
            }
        }
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    restored.rows.sort_by_key(|row| row.seq.unwrap_or(u64::MAX));
    Ok(restored)
}

/// Notes rows of which nothing is known as seen in the bucket; how many there were.
///
/// Errors: the ledger cannot be read or written.
pub(crate) fn note_listed(data_dir: &Path, rows: &[Receipt]) -> Result<usize, Failure> {
    let noted = || {
        let ledger = Ledger::open(data_dir)?;
        let mut entries = Vec::new();
        for row in rows {
            if ledger.state(&row.slot(), &row.sha256)?.is_none() {
                entries.push(Entry::now(row, State::Listed));
            }
        }
        ledger.append_all(&entries)?;
        Ok(entries.len())
    };
    noted().map_err(|error| of_ledger(&error))
}

/// Errors say why the object's receipt is none of it.
fn row(key: &str, object: &Object) -> Result<Receipt, String> {
    let text = object.receipt.as_deref().ok_or("it has no receipt")?;
    let row: Receipt = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if key::of(&row.slot(), &row.sha256) != key {
        return Err("its receipt is of another episode".to_owned());
    }
    if row.bytes.is_some_and(|bytes| bytes != object.bytes) {
        return Err(format!(
            "it has {} bytes, and its receipt says otherwise",
            object.bytes
        ));
    }
    Ok(row)
}
