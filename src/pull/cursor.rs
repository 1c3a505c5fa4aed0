//! `pull.json`: how far the receiver's list was read, and how a later pull notices that the list is
//! another.

use serde::{Deserialize, Serialize};

use super::end::End;
use super::folder::Folder;
use crate::durable;
use crate::names::{HostId, Sha256Digest, StoreId};

const FILE_BYTES_MAX: u64 = 64 << 10;
/// Ours have 20 digits at most.
const CURSOR_CHARS_MAX: usize = 64;

/// How far the list was read. Everything up to `last` is here, or is in the file of what is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The store behind the address.
    pub store: StoreId,
    /// The only host that was asked for; null for all.
    pub host: Option<HostId>,
    /// The last row that was seen; null while none was.
    pub last: Option<LastRow>,
}

/// The last row that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastRow {
    pub cursor: Cursor,
    /// Of the row's line, without its line break.
    pub line_sha256: Sha256Digest,
}

/// A place in the receiver's list, opaque to us: at most 64 letters, digits, `.`, `_`, `~` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Cursor(String);

impl Cursor {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Cursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Cursor, &'static str> {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
        if text.is_empty() || text.len() > CURSOR_CHARS_MAX || !text.bytes().all(ok) {
            return Err("no cursor");
        }
        Ok(Cursor(text))
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> String {
        cursor.0
    }
}

impl State {
    /// What the last pull has left. `None` without that, or if it cannot be understood: then the list is
    /// read from its start.
    pub(super) fn load(folder: &Folder) -> Result<Option<State>, End> {
        let path = folder.cursor();
        match durable::read_regular(&path, FILE_BYTES_MAX) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(End::disk("read", &path, &error)),
        }
    }

    pub(super) fn save(&self, folder: &Folder) -> Result<(), End> {
        let path = folder.cursor();
        let failed = |error: std::io::Error| End::disk("write", &path, &error);
        let mut text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        durable::publish(&path, &text).map_err(failed)
    }
}
