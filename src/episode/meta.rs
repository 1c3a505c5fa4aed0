//! `meta.json`: the recorder's file. This program reads only its `code_version`.

use std::fmt;

use serde_json::Value;

use super::scan::{self, Fault};
use crate::names::{BadName, CommitHash};

/// The largest `meta.json`, in bytes. Both sides hold it in memory.
pub const META_BYTES_MAX: u64 = 1 << 20;

/// The code that made an episode, by its `meta.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub commit: CommitHash,
    /// Whether that code had uncommitted changes; `None` if the recorder did not say.
    pub dirty: Option<bool>,
}

impl Meta {
    /// Reads `code_version.commit` and `code_version.dirty`; all other members are ignored.
    ///
    /// Errors: the commit is missing or malformed, or the bytes are not a JSON object.
    pub fn parse(json: &[u8]) -> Result<Meta, BadMeta> {
        let found = scan::member(json, "code_version").map_err(BadMeta::of_fault)?;
        let code_version = found.ok_or(BadMeta::NoCommit)?;
        let commit = match code_version.get("commit") {
            Some(Value::String(text)) => CommitHash::parse(text).map_err(|bad| match text {
                text if is_part_of_a_hash(text) => BadMeta::HalfCommit(text.clone()),
                _ => BadMeta::Commit(bad),
            })?,
            _ => return Err(BadMeta::NoCommit),
        };
        // `dirty` is recorded and never judged, so any other value counts as none.
        let dirty = code_version.get("dirty").and_then(Value::as_bool);
        Ok(Meta { commit, dirty })
    }
}

/// Whether the text is the beginning of a hash, as `git describe` and `git log --oneline` print it.
fn is_part_of_a_hash(text: &str) -> bool {
    (4..40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Why a `meta.json` does not say which code made the episode. A person must fix it.
#[derive(Debug)]
pub enum BadMeta {
    TooLarge,
    /// It is text in this encoding, which is not UTF-8.
    Encoding(&'static str),
    /// It is not JSON at this line and column, both counted from 1.
    Json {
        line: usize,
        column: usize,
        what: String,
    },
    /// `code_version.commit` is missing, or not a text.
    NoCommit,
    /// It has only the first digits of a commit.
    HalfCommit(String),
    Commit(BadName),
    /// `code_version` is there twice, the second time in this line.
    TwoCommits {
        line: usize,
    },
}

impl BadMeta {
    fn of_fault(fault: Fault) -> BadMeta {
        match fault {
            Fault::Encoding(name) => BadMeta::Encoding(name),
            Fault::NotJson { line, column, what } => BadMeta::Json { line, column, what },
            Fault::Twice { line } => BadMeta::TwoCommits { line },
        }
    }

    /// For programs: the name of what a person must fix.
    pub fn reason(&self) -> &'static str {
        match self {
            BadMeta::TooLarge => "meta-too-large",
            BadMeta::Encoding(_) | BadMeta::Json { .. } => "bad-json",
            BadMeta::NoCommit | BadMeta::HalfCommit(_) | BadMeta::Commit(_) => "no-commit",
            BadMeta::TwoCommits { .. } => "two-commits",
        }
    }

    /// What the recorder must do.
    pub fn hint(&self) -> &'static str {
        match self {
            BadMeta::TooLarge => "the recorder must put such data into a file beside it",
            BadMeta::Encoding(_) => {
                "the recorder must write UTF-8 (in Python: open(..., encoding=\"utf-8\"))"
            }
            BadMeta::Json { .. } => {
                "the recorder must write one JSON object and sync it before the rename, or the file must be corrected by hand"
            }
            BadMeta::NoCommit | BadMeta::HalfCommit(_) | BadMeta::Commit(_) => {
                "the recorder must write the whole hash of its own commit there (git rev-parse HEAD)"
            }
            BadMeta::TwoCommits { .. } => {
                "which of the two made the episode is not known: the recorder must write it once"
            }
        }
    }
}

impl fmt::Display for BadMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadMeta::TooLarge => {
                write!(f, "meta.json is larger than {} MiB", META_BYTES_MAX >> 20)
            }
            BadMeta::Encoding(name) => write!(f, "meta.json is {name}, and not UTF-8"),
            BadMeta::Json { line, column, what } => write!(
                f,
                "meta.json is not JSON at line {line}, column {column}: {what}"
            ),
            BadMeta::NoCommit => f.write_str("meta.json has no code_version.commit"),
            BadMeta::HalfCommit(text) => write!(
                f,
                "meta.json: code_version.commit {text:?} is not a commit hash: only {} digits of 40",
                text.len()
            ),
            BadMeta::Commit(error) => write!(f, "meta.json: code_version.commit: {error}"),
            BadMeta::TwoCommits { line } => write!(
                f,
                "meta.json has code_version twice, the second time in line {line}"
            ),
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
    fn what_recorders_really_write_is_read() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let long = "9".repeat(400);
        let padding = " ".repeat(META_BYTES_MAX as usize - 100);
        for other in [
            "NaN",
            "[NaN,Infinity,-Infinity]",
            "{\"x\":NaN}",
            "1e999",
            &long,
            "\"\\ud800\"",
            &deep,
            &padding.replacen(' ', "1", 1),
            "\r\n1\r\n",
        ] {
            for json in [
                format!(r#"{{"a":{other},"code_version":{{"commit":"{COMMIT}"}}}}"#),
                format!("\u{feff}{{\"code_version\":{{\"commit\":\"{COMMIT}\"}},\"a\":{other}}}"),
            ] {
                let meta =
                    Meta::parse(json.as_bytes()).unwrap_or_else(|bad| panic!("{other:.40}: {bad}"));
                assert_eq!(meta.commit.to_string(), COMMIT);
            }
        }
        let not_utf8 = [
            b"{\"a\":\"\xff\",",
            &format!("{{\"code_version\":{{\"commit\":\"{COMMIT}\"}}}}").as_bytes()[1..],
        ]
        .concat();
        assert!(Meta::parse(&not_utf8).is_ok());
    }

    #[test]
    fn what_is_missing_or_odd_names_itself() {
        let deep = "[".repeat(100_000);
        let twice =
            format!("{{\"code_version\":{{\"commit\":\"{COMMIT}\"}},\n\"code_version\":1}}");
        let capitals = format!(
            r#"{{"code_version":{{"commit":"{}"}}}}"#,
            COMMIT.to_uppercase()
        );
        for (json, reason, words) in [
            (
                "",
                "bad-json",
                "not JSON at line 1, column 1: it ends too early",
            ),
            ("[]", "bad-json", "an object was expected"),
            ("{} {}", "bad-json", "line 1, column 4"),
            ("{\n\"a\": \"\u{1}\"}", "bad-json", "line 2, column 7"),
            (&deep, "bad-json", "not JSON"),
            (
                "{\"code_version\":{\"x\":NaN}}",
                "bad-json",
                "NaN is not JSON",
            ),
            ("{}", "no-commit", "no code_version.commit"),
            (
                r#"{"code_version":null}"#,
                "no-commit",
                "no code_version.commit",
            ),
            (
                r#"{"code_version":"v1"}"#,
                "no-commit",
                "no code_version.commit",
            ),
            (
                r#"{"code_version":{"commit":7}}"#,
                "no-commit",
                "no code_version.commit",
            ),
            (
                r#"{"code_version":{"commit":"v1\n"}}"#,
                "no-commit",
                "\"v1\\n\" is not a commit hash",
            ),
            (
                r#"{"code_version":{"commit":"0123abc"}}"#,
                "no-commit",
                "only 7 digits of 40",
            ),
            (&capitals, "no-commit", "lowercase"),
            (&twice, "two-commits", "the second time in line 2"),
            ("{\0\"\0a\0", "bad-json", "is UTF-16"),
        ] {
            let bad = Meta::parse(json.as_bytes()).unwrap_err();
            let said = bad.to_string();
            assert!(said.contains(words), "{json:.40}: {said}");
            assert_eq!(bad.reason(), reason, "{json:.40}");
        }
        assert!(Meta::parse(b"{\"a\":\"\xff\"}").is_err());
    }
}
