//! Every log line an operator may see, a function each: the log is an interface.
//!
//! A line is `event=NAME key=value ...`, ids first, free text last and quoted. Text that came from
//! outside is quoted with its control bytes escaped, so that no peer can forge a line.
//! `ERROR` wants a person now, `WARN` soon, `INFO` never.

use std::fmt::Display;
use std::path::Path;

use crate::wire::Slot;

/// A line for a person that belongs to no request: what was found at start, what was mended.
pub fn note(what: impl Display) {
    log::info!("event=note what={:?}", what.to_string());
}

// --- the receiver: start, stop, connections ---

// --- the store ---

/// The store is open: what the index holds, and what the last run had left in incoming/.
pub fn store_opened(dir: &Path, episodes: usize, published: usize, swept: usize) {
    log::info!(
        "event=store_opened episodes={episodes} recovered={published} swept={swept} dir={dir:?}"
    );
}

/// Something was found that we do not understand. It is kept, under another name.
pub fn quarantined(found: &Path, kept_as: &Path, why: impl Display) {
    let why = why.to_string();
    log::warn!("event=quarantined found={found:?} kept_as={kept_as:?} why={why:?}");
}

/// The index ended in the middle of a row, as after a power cut.
pub fn index_tail_cut(bytes: u64, kept_as: &Path) {
    log::warn!(
        "event=index_tail_cut bytes={bytes} kept_as={kept_as:?} why=\"the end was not a whole row; what it named is in incoming/ or for cis490 backfill\""
    );
}

/// A line of the index that is no receipt. It stays; a person may mend it.
pub fn unreadable_row(offset: u64, why: impl Display) {
    let why = why.to_string();
    log::warn!("event=unreadable_row offset={offset} why={why:?}");
}

/// More lines than one wants to read one by one.
pub fn unreadable_rows(count: usize) {
    log::warn!(
        "event=unreadable_rows count={count} why=\"these lines of index.jsonl stay and count for nothing; cis490 backfill writes new rows from the tarballs\""
    );
}

/// The filesystem of the store keeps no extended attributes.
pub fn no_attributes(dir: &Path) {
    log::warn!(
        "event=no_attributes dir={dir:?} why=\"stored files cannot carry their receipt here; a lost index is rebuilt without times and gate places\""
    );
}

/// Our own fault in storing an upload: the sender is told 500 and comes again.
pub fn store_fault(slot: &Slot, doing: &str, error: impl Display) {
    let (Slot { host, episode }, why) = (slot, error.to_string());
    log::error!("event=store_fault host={host} episode={episode} doing={doing:?} why={why:?}");
}

/// Something of the store's own housekeeping failed that the next start does again.
pub fn store_untidy(path: &Path, error: impl Display) {
    let why = error.to_string();
    log::warn!("event=store_untidy path={path:?} why={why:?}");
}

/// A stored file's bytes were not those of its row. It is kept, and the upload took its place.
pub fn damaged_file_replaced(slot: &Slot, kept_as: &Path) {
    let Slot { host, episode } = slot;
    log::error!(
        "event=damaged_file_replaced host={host} episode={episode} kept_as={kept_as:?} why=\"its bytes were not those of its row: look at the disk's health\""
    );
}

// --- the version gate ---

// --- the shipper ---
