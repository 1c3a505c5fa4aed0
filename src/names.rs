//! The names that cross a boundary: hosts, episodes, commits and digests.
//!
//! Each is parsed once, at the edge, and is right from then on. `HostId` and `EpisodeId` are
//! safe, visible file names by their grammar (design, section 2), so `dir.join(id.as_str())`
//! needs no further thought anywhere in the crate.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// Why a text is not a right name: the text, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadName {
    what: &'static str,
    text: String,
    allowed: &'static str,
}

impl BadName {
    /// At most this many characters of the offending text are repeated.
    const SHOWN_CHARS_MAX: usize = 140;

    fn new(what: &'static str, text: &str, allowed: &'static str) -> BadName {
        BadName {
            what,
            text: text.chars().take(Self::SHOWN_CHARS_MAX).collect(),
            allowed,
        }
    }
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // {:?} escapes control bytes, so a hostile name cannot forge a log line.
        write!(f, "{:?} is not {} ({})", self.text, self.what, self.allowed)
    }
}

impl std::error::Error for BadName {}

/// One lab host's name: `[a-z0-9][a-z0-9-]{0,62}`, which is also a host name. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct HostId(Arc<str>);

impl HostId {
    pub fn parse(text: &str) -> Result<HostId, BadName> {
        let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let first_ok = text.bytes().next().is_some_and(alnum);
        if !first_ok || text.len() > 63 || !text.bytes().all(|b| alnum(b) || b == b'-') {
            return Err(BadName::new(
                "a host id",
                text,
                "1-63 of a-z, 0-9 and -, the first a letter or digit",
            ));
        }
        Ok(HostId(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So that a table of hosts can be asked by text. The hash of a host is that of its text.
impl Borrow<str> for HostId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name of somebody who may list and fetch episodes. It has the grammar of a [`HostId`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ReaderId(Arc<str>);

impl ReaderId {
    pub fn parse(text: &str) -> Result<ReaderId, BadName> {
        match HostId::parse(text) {
            Ok(HostId(id)) => Ok(ReaderId(id)),
            Err(bad) => Err(BadName {
                what: "a reader id",
                ..bad
            }),
        }
    }
}

/// One episode's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, without the endings of our own files. A clone
/// shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct EpisodeId(Arc<str>);

impl EpisodeId {
    /// The endings of our own files: an episode with such a name could be taken for one of them.
    const RESERVED_ENDINGS: [&str; 3] = [".json", ".zst", ".partial"];

    pub fn parse(text: &str) -> Result<EpisodeId, BadName> {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let first_ok = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        let ours = Self::RESERVED_ENDINGS.iter().any(|end| text.ends_with(end));
        if !first_ok || text.len() > 128 || !text.bytes().all(safe) || ours {
            return Err(BadName::new(
                "an episode id",
                text,
                "1-128 of A-Z, a-z, 0-9, . _ -, the first a letter or digit, not ending in .json, .zst or .partial",
            ));
        }
        Ok(EpisodeId(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of one store, by which its readers notice that another store has its address: 16 random
/// lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct StoreId([u8; 8]);

impl StoreId {
    pub fn parse(text: &str) -> Result<StoreId, BadName> {
        let mut bytes = [0; 8];
        if !hex_decode(text, &mut bytes) {
            return Err(BadName::new("a store id", text, "16 lowercase hex digits"));
        }
        Ok(StoreId(bytes))
    }

    pub const fn from_bytes(bytes: [u8; 8]) -> StoreId {
        StoreId(bytes)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex_encode(&self.0, f)
    }
}

/// A git commit: 40 (SHA-1) or 64 (SHA-256) lowercase hex digits. `Copy` and compared without
/// allocation, since the gate looks one up for every request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct CommitHash {
    /// The bytes of the hash; those from `len` on are zero.
    bytes: [u8; 32],
    /// 20 or 32.
    len: u8,
}

impl CommitHash {
    pub fn parse(text: &str) -> Result<CommitHash, BadName> {
        let mut bytes = [0; 32];
        let len = text.len() / 2;
        if !matches!(text.len(), 40 | 64) || !hex_decode(text, &mut bytes[..len]) {
            return Err(BadName::new(
                "a commit hash",
                text,
                "40 or 64 lowercase hex digits",
            ));
        }
        Ok(CommitHash {
            bytes,
            len: len as u8,
        })
    }

    /// The first eight bytes. A commit is a hash, so they are spread evenly and need no hashing.
    pub const fn first_bytes(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for CommitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex_encode(&self.bytes[..usize::from(self.len)], f)
    }
}

/// The SHA-256 of a tarball.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    pub fn parse(text: &str) -> Result<Sha256Digest, BadName> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !hex_decode(text, &mut bytes) {
            return Err(BadName::new(
                "a SHA-256 digest",
                text,
                "64 lowercase hex digits",
            ));
        }
        Ok(Sha256Digest(bytes))
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Sha256Digest {
        Sha256Digest(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex_encode(&self.0, f)
    }
}

/// The conversions that all types need: from and into text, for serde and argh.
macro_rules! textual {
    ($($name:ident),*) => {$(
        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<$name, BadName> {
                $name::parse(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<$name, BadName> {
                $name::parse(&text)
            }
        }
        /// Straight into the output, without a text of its own.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
textual!(
    HostId,
    ReaderId,
    EpisodeId,
    CommitHash,
    Sha256Digest,
    StoreId
);

/// `Display` of the types that hold their text.
macro_rules! shown_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
shown_as_text!(HostId, ReaderId, EpisodeId);

/// `Display` and `Debug` of the types that hold bytes: both are hex digits.
macro_rules! debug_as_hex {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
debug_as_hex!(CommitHash, Sha256Digest, StoreId);

/// Fills `out` from exactly `2 * out.len()` lowercase hex digits; false if `text` is not that.
fn hex_decode(text: &str, out: &mut [u8]) -> bool {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * out.len() {
        return false;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        *byte = high << 4 | low;
    }
    true
}

/// The digits are written in one call: a formatter for each byte took one percent of a small upload's
/// time.
fn hex_encode(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0; 64];
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        let nibbles = [byte >> 4, byte & 15];
        pair.copy_from_slice(&nibbles.map(|nibble| b"0123456789abcdef"[usize::from(nibble)]));
    }
    let digits = str::from_utf8(&text[..2 * bytes.len()]);
    f.write_str(digits.map_err(|_| fmt::Error)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ids_are_safe_host_names() {
        for good in ["a", "0", "lab-7", &"a".repeat(63)] {
            assert_eq!(HostId::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "A",
            "a_b",
            "a.b",
            "a/b",
            "..",
            "a%",
            "a\n",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(HostId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn episode_ids_never_look_like_our_own_files() {
        for good in ["a", "0", "A.b_c-d", "run.json.1", "zst", &"a".repeat(128)] {
            assert_eq!(EpisodeId::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "_a",
            "a/b",
            "a~2",
            "a%2e",
            "a b",
            "a\0",
            "é",
            "x.json",
            "x.tar.zst",
            "x.zst",
            "x.partial",
            &"a".repeat(129),
        ] {
            assert!(EpisodeId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn commits_are_whole_lowercase_hashes() {
        for good in [
            "0123456789abcdef0123456789abcdef01234567".to_owned(),
            "ab".repeat(32),
        ] {
            assert_eq!(CommitHash::parse(&good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "abc",
            &"A".repeat(40),
            &"g".repeat(40),
            &"a".repeat(41),
            &"é".repeat(20),
        ] {
            assert!(CommitHash::parse(bad).is_err(), "{bad:?}");
        }
        // A SHA-1 hash is not the SHA-256 hash that begins like it and goes on in zeros.
        let short = CommitHash::parse(&"a".repeat(40)).unwrap();
        let long = CommitHash::parse(&("a".repeat(40) + &"0".repeat(24))).unwrap();
        assert_ne!(short, long);
    }

    #[test]
    fn an_error_names_the_text_and_what_is_allowed() {
        let words = HostId::parse("Lab 7\n").unwrap_err().to_string();
        assert!(
            words.starts_with("\"Lab 7\\n\" is not a host id (1-63 of a-z"),
            "{words}"
        );
    }
}
