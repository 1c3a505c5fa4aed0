//! How an episode is named and described in the bucket.
//!
//! 1. The digest is in the key. So the same bytes are the same object whichever receiver stores them, and other bytes
//!    under the same name are another one: nothing is ever replaced by something else.
//! 2. The row travels with the bytes: an object alone says what it is.

use serde_json::{Map, Value};

use super::s3::{RECEIPT_FIELD, STORE_FIELD};
use crate::names::{Sha256Digest, StoreId};
use crate::wire::{Receipt, Slot, TARBALL_ENDING};

/// Where the episodes are in the bucket.
pub(super) const PREFIX: &str = "episodes/";
/// S3 allows 2 KiB for names and values of all metadata together.
const RECEIPT_BYTES_MAX: usize = 1800;

/// The key of an episode: `episodes/HOST/EPISODE~SHA256.tar.zst`.
pub(crate) fn of(slot: &Slot, sha256: &Sha256Digest) -> String {
    format!("{PREFIX}{slot}~{sha256}{TARBALL_ENDING}")
}

/// The episode that a key of ours names; `None` for any other key.
pub(super) fn slot_of(key: &str) -> Option<Slot> {
    let name = key.strip_prefix(PREFIX)?.strip_suffix(TARBALL_ENDING)?;
    let (slot, digest) = name.rsplit_once('~')?;
    Sha256Digest::parse(digest).ok()?;
    Slot::parse(slot).ok()
}

/// The row as an object's metadata: ASCII, and short enough for every store. A row that is too long, or
/// that has a text of an older version in it which is not ASCII, goes without its optional members.
pub(super) fn receipt(row: &Receipt) -> String {
    let text = serde_json::to_string(row).unwrap_or_default();
    if text.is_ascii() && !text.contains(' ') && text.len() <= RECEIPT_BYTES_MAX {
        return text;
    }
    let mut members = Map::new();
    members.insert("seq".into(), row.seq.into());
    members.insert("host".into(), row.host.as_str().into());
    members.insert("episode".into(), row.episode.as_str().into());
    members.insert("bytes".into(), row.bytes.into());
    members.insert("sha256".into(), row.sha256.to_string().into());
    Value::Object(members).to_string()
}

/// The metadata fields of an object, as a PUT has them.
pub(super) struct Fields {
    receipt: String,
    store: String,
}

impl Fields {
    pub(super) fn of(row: &Receipt, id: StoreId) -> Fields {
        Fields {
            receipt: receipt(row),
            store: id.to_string(),
        }
    }

    pub(super) fn as_pairs(&self) -> [(&str, &str); 2] {
        [(RECEIPT_FIELD, &self.receipt), (STORE_FIELD, &self.store)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(received_at: &str) -> Receipt {
        let digest = "0f".repeat(32);
        let text = format!(
            r#"{{"seq":7,"host":"lab-1","episode":"A.b","bytes":3,"sha256":"{digest}","received_at":{received_at:?}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_digest_is_in_the_key() {
        let row = row("2026-11-23T23:46:12Z");
        let digest = "0f".repeat(32);
        assert_eq!(
            of(&row.slot(), &row.sha256),
            format!("episodes/lab-1/A.b~{digest}.tar.zst")
        );
        let key = of(&row.slot(), &row.sha256);
        assert_eq!(slot_of(&key), Some(row.slot()));
        for odd in [
            "",
            "episodes/lab-1/A.b.tar.zst",
            "episodes/lab-1/A.b~0f.tar.zst",
            "other/x",
            &key.replace("lab-1", "Lab 1"),
        ] {
            assert_eq!(slot_of(odd), None, "{odd}");
        }
    }

    #[test]
    fn metadata_is_short_and_ascii_and_a_row_again() {
        let plain = receipt(&row("2026-11-23T23:46:12Z"));
        assert!(
            plain.contains("\"received_at\":\"2026-11-23T23:46:12Z\""),
            "{plain}"
        );
        for odd in ["caf\u{e9}", "two words", &"x".repeat(4000)] {
            let text = receipt(&row(odd));
            assert!(text.is_ascii() && text.len() < 400, "{text}");
            let again: Receipt = serde_json::from_str(&text).unwrap();
            assert_eq!((again.seq, again.bytes), (Some(7), Some(3)));
        }
    }
}
