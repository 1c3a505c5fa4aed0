//! The lines of the receiver's store.

use std::fmt::Display;
use std::io;
use std::path::Path;

use crate::names::StoreId;
use crate::wire::Slot;

pub(crate) fn store_opened(dir: &Path, episodes: usize, published: usize, swept: usize) {
    line!(
        store_opened,
        "episodes={episodes} recovered={published} swept={swept} dir={dir:?}"
    );
}

pub(crate) fn store_id(dir: &Path, id: StoreId) {
    line!(store_id, "id={id} dir={dir:?}");
}

pub(crate) fn store_id_unwritable(path: &Path, error: &io::Error) {
    let why = error.to_string();
    line!(store_id_unwritable, "path={path:?} why={why:?}");
}

pub(crate) fn quarantined(found: &Path, kept_as: &Path, why: impl Display) {
    let why = why.to_string();
    line!(
        quarantined,
        "found={found:?} kept_as={kept_as:?} why={why:?}"
    );
}

pub(crate) fn torn_upload(slot: &Slot) {
    let Slot { host, episode } = slot;
    line!(
        torn_upload,
        "host={host} episode={episode} why=\"its bytes do not match its receipt: it was being stored when the last run ended, and was never acknowledged\""
    );
}

pub(crate) fn commit_unknown(slot: &Slot, why: impl Display) {
    let Slot { host, episode } = slot;
    let why = why.to_string();
    line!(commit_unknown, "host={host} episode={episode} why={why:?}");
}

pub(crate) fn index_tail_cut(bytes: u64, kept_as: &Path, looked_like: Option<&Slot>) {
    let row = looked_like.map_or("-".to_owned(), Slot::to_string);
    line!(
        index_tail_cut,
        "bytes={bytes} row={row} kept_as={kept_as:?} why=\"the last row was cut off; its episode is in incoming/, or cis490 backfill writes its row\""
    );
}

pub(crate) fn unreadable_row(offset: u64, why: impl Display) {
    let why = why.to_string();
    line!(unreadable_row, "offset={offset} why={why:?}");
}

pub(crate) fn unreadable_rows(count: usize) {
    line!(
        unreadable_rows,
        "count={count} why=\"these lines of index.jsonl stay where they are and are ignored; cis490 backfill writes new rows from the tarballs\""
    );
}

pub(crate) fn number_too_large(offset: u64, slot: &Slot, seq: u64) {
    let Slot { host, episode } = slot;
    line!(
        number_too_large,
        "host={host} episode={episode} offset={offset} seq={seq}"
    );
}

pub(crate) fn index_fault(kind: &str, why: &str, remedy: &str) {
    line!(index_fault, "kind={kind} why={why:?} do={remedy:?}");
}

pub(crate) fn sequence_unreadable(path: &Path, kept_as: &Path, why: &str) {
    line!(
        sequence_unreadable,
        "path={path:?} kept_as={kept_as:?} why={why:?}"
    );
}

pub(crate) fn sequence_unwritable(path: &Path, error: &io::Error) {
    let why = error.to_string();
    line!(sequence_unwritable, "path={path:?} why={why:?}");
}

pub(crate) fn store_unwritable(dir: &Path, why: &str, remedy: &str) {
    line!(store_unwritable, "dir={dir:?} why={why:?} do={remedy:?}");
}

pub(crate) fn store_writable(dir: &Path) {
    line!(store_writable, "dir={dir:?}");
}

pub(crate) fn no_attributes(dir: &Path) {
    line!(
        no_attributes,
        "dir={dir:?} why=\"stored files cannot carry their receipts here; a lost index would be rebuilt without times and gate positions\""
    );
}

pub(crate) fn store_fault(slot: &Slot, doing: &str, error: impl Display) {
    let Slot { host, episode } = slot;
    let why = error.to_string();
    line!(
        store_fault,
        "host={host} episode={episode} doing={doing:?} why={why:?}"
    );
}

pub(crate) fn store_untidy(path: &Path, error: impl Display) {
    let why = error.to_string();
    line!(store_untidy, "path={path:?} why={why:?}");
}

pub(crate) fn damaged_file_replaced(slot: &Slot, kept_as: &Path) {
    let Slot { host, episode } = slot;
    line!(
        damaged_file_replaced,
        "host={host} episode={episode} kept_as={kept_as:?} why=\"its bytes did not match its row or its own receipt: look at the disk's health\""
    );
}

pub(crate) fn scrub_found(kind: &str, path: &str, why: &str) {
    line!(scrub_found, "kind={kind:?} path={path:?} why={why:?}");
}

pub(crate) fn scrub_cannot_note(path: &Path, why: &str) {
    line!(scrub_cannot_note, "path={path:?} why={why:?}");
}
