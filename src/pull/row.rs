//! One row of the receiver's list, and what one pull does with its names and lengths.
//!
//! A row that passes here has names, a length and a digest of the grammar: from then on they are safe
//! as names of files.

use sha2::{Digest, Sha256};

use crate::names::Sha256Digest;
use crate::terminal::one_line;
use crate::wire::{Receipt, Slot};

/// Ours have under 1 KiB. A longer line is no receipt.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;
/// The longest file that a filesystem can hold: lengths are signed there.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// One episode that the receiver has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub slot: Slot,
    /// `None` in a row of an old version.
    pub bytes: Option<u64>,
    pub sha256: Sha256Digest,
    /// The line as it stands in the index, without its line break.
    pub line: String,
}

impl Row {
    /// Errors: why the line is no receipt.
    pub(super) fn parse(line: &[u8]) -> Result<Row, String> {
        if line.len() > LINE_BYTES_MAX {
            return Err(format!("a row of {} bytes is no receipt", line.len()));
        }
        let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        let receipt: Receipt =
            serde_json::from_str(text).map_err(|error| one_line(&error.to_string()))?;
        if let Some(bytes) = receipt.bytes.filter(|bytes| FILE_BYTES_MAX < *bytes) {
            return Err(format!("no file has {bytes} bytes"));
        }
        Ok(Row {
            slot: receipt.slot(),
            bytes: receipt.bytes,
            sha256: receipt.sha256,
            line: text.to_owned(),
        })
    }
}

/// The SHA-256 of these bytes.
pub(super) fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::from_bytes(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_lengths_of_the_grammar_pass() {
        let line = |host: &str, episode: &str, bytes: &str| {
            let sha256 = "0".repeat(64);
            format!(
                r#"{{"host":"{host}","episode":"{episode}","bytes":{bytes},"sha256":"{sha256}"}}"#
            )
        };
        let good = Row::parse(line("lab-1", "ep.1", "7").as_bytes()).unwrap();
        assert_eq!(
            (good.slot.to_string().as_str(), good.bytes),
            ("lab-1/ep.1", Some(7))
        );
        for (host, episode, bytes) in [
            ("..", "ep", "1"),
            ("lab/1", "ep", "1"),
            ("lab", "../ep", "1"),
            ("lab", ".ep", "1"),
            ("lab", "a/b", "1"),
            ("lab", "ep\\u0000", "1"),
            ("lab", "ep.partial", "1"),
            ("lab", "ep", "9223372036854775808"),
        ] {
            let line = line(host, episode, bytes);
            assert!(Row::parse(line.as_bytes()).is_err(), "{line}");
        }
        assert!(Row::parse(&[b' '; LINE_BYTES_MAX + 1]).is_err());
        assert!(Row::parse(b"\xff").is_err() && Row::parse(b"").is_err());
    }
}
