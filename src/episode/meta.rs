//! `meta.json`: the recorder's file, of which we need `code_version` alone.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::names::{BadName, CommitHash};

/// The largest `meta.json`, in bytes: it is held in memory, on both sides.
pub const META_BYTES_MAX: u64 = 1 << 20;

/// What an episode says of the code that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub commit: CommitHash,
    /// Whether that code had uncommitted changes; `None` if the recorder did not say.
    pub dirty: Option<bool>,
}

impl Meta {
    /// Reads `code_version.commit` and `code_version.dirty`; all other members are the recorder's.
    pub fn parse(json: &[u8]) -> Result<Meta, BadMeta> {
        let file: MetaFile = serde_json::from_slice(json).map_err(BadMeta::Json)?;
        let code_version = file.code_version.ok_or(BadMeta::NoCommit)?;
        let commit = match code_version.get("commit") {
            Some(Value::String(text)) => CommitHash::parse(text).map_err(BadMeta::Commit)?,
            _ => return Err(BadMeta::NoCommit),
        };
        // It is recorded and never judged, so an odd value is as good as none.
        let dirty = code_version.get("dirty").and_then(Value::as_bool);
        Ok(Meta { commit, dirty })
    }
}

#[derive(Deserialize)]
struct MetaFile {
    code_version: Option<Value>,
}

/// Why a `meta.json` does not say which code made the episode. No waiting mends it.
#[derive(Debug)]
pub enum BadMeta {
    TooLarge,
    Json(serde_json::Error),
    /// `code_version.commit` is absent or no text.
    NoCommit,
    Commit(BadName),
}

impl fmt::Display for BadMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadMeta::TooLarge => write!(f, "meta.json is larger than {META_BYTES_MAX} bytes"),
            BadMeta::Json(error) => write!(f, "meta.json is not the JSON we know: {error}"),
            BadMeta::NoCommit => f.write_str("meta.json has no code_version.commit"),
            BadMeta::Commit(error) => write!(f, "meta.json: code_version.commit: {error}"),
        }
    }
}

impl std::error::Error for BadMeta {}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn only_code_version_counts() {
        for (dirty, want) in [
            ("", None),
            (r#","dirty":true"#, Some(true)),
            (r#","dirty":false"#, Some(false)),
            (r#","dirty":null"#, None),
            (r#","dirty":"maybe""#, None),
        ] {
            let json = format!(
                r#"{{"commit":"x","code_version":{{"commit":"{COMMIT}"{dirty},"by":[1]}},"n":1e99}}"#
            );
            let meta = Meta::parse(json.as_bytes()).unwrap();
            assert_eq!((meta.commit.to_string(), meta.dirty), (COMMIT.into(), want));
        }
    }

    #[test]
    fn what_is_missing_or_odd_is_told() {
        let deep = "[".repeat(100_000);
        for (json, words) in [
            ("", "not the JSON we know"),
            ("[]", "not the JSON we know"),
            ("{} {}", "not the JSON we know"),
            ("{\"a\": \"\u{1}\"}", "not the JSON we know"),
            (&deep, "not the JSON we know"),
            ("{}", "no code_version.commit"),
            (r#"{"code_version":null}"#, "no code_version.commit"),
            (r#"{"code_version":"v1"}"#, "no code_version.commit"),
            (r#"{"code_version":{"commit":7}}"#, "no code_version.commit"),
            (
                r#"{"code_version":{"commit":"v1\n"}}"#,
                "\"v1\\n\" is not a commit hash",
            ),
        ] {
            let told = Meta::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(told.contains(words), "{json:.40}: {told}");
        }
        assert!(Meta::parse(b"{\"a\":\"\xff\"}").is_err());
    }
}
