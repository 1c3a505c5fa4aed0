//! `[archive]`: the bucket that verified episodes are copied to, and when their local files may go.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::{bad_value, not_allowed, values, with_plain_scheme};
use crate::failure::Failure;

/// An S3-compatible bucket, and what the receiver does with it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// `http://HOST[:PORT]` or `https://HOST[:PORT]` of the store.
    pub endpoint: String,
    pub bucket: String,
    #[serde(default = "default_region")]
    pub region: String,
    /// `ENDPOINT/BUCKET/KEY`; if false, `BUCKET.ENDPOINT/KEY`.
    #[serde(default = "default_path_style")]
    pub path_style: bool,
    /// Access key, secret and, if there is one, session token, a line each.
    pub secret_file: PathBuf,
    /// A private CA for an `https://` endpoint; refused beside an `http://` one.
    pub ca_file: Option<PathBuf>,
    /// The endpoint as readers reach it; `None` if they reach it as the receiver does.
    pub public_endpoint: Option<String>,
    /// With less free, proven episodes lose their local files. 0: never.
    #[serde(default, deserialize_with = "values::size")]
    pub evict_below_bytes: u64,
    #[serde(default)]
    pub verify: Verify,
}

/// What proves that an object is what it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// All of its bytes are read back.
    #[default]
    Read,
    /// A HEAD that shows our SHA-256 is enough. An object without it is read.
    Head,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}
fn default_path_style() -> bool {
    true
}

impl ArchiveConfig {
    /// `min_free_bytes` is the floor that uploads leave free.
    pub(super) fn check(&self, path: &Path, min_free_bytes: u64) -> Result<(), Failure> {
        check_endpoint(path, "archive.endpoint", &self.endpoint)?;
        if let Some(endpoint) = &self.public_endpoint {
            check_endpoint(path, "archive.public_endpoint", endpoint)?;
        }
        self.check_bucket(path)?;
        if !is_region(&self.region) {
            return Err(bad_value(
                path,
                "archive.region",
                format!("{:?}", self.region),
                "the region as the store's own configuration has it: 1-64 of letters, digits and -, such as \"us-east-1\" or \"garage\"",
            ));
        }
        let is_https = with_plain_scheme(&self.endpoint).starts_with("https://");
        if let (Some(file), false) = (&self.ca_file, is_https) {
            return Err(not_allowed(
                path,
                "archive.ca_file",
                format!("{file:?}"),
                "remove it: only an https:// endpoint has a certificate",
            ));
        }
        if self.evict_below_bytes != 0 && self.evict_below_bytes <= min_free_bytes {
            return Err(bad_value(
                path,
                "archive.evict_below_bytes",
                self.evict_below_bytes,
                format!(
                    "0 (never), or more than min_free_bytes ({min_free_bytes}): uploads stop there, so room must be made before"
                ),
            ));
        }
        Ok(())
    }

    fn check_bucket(&self, path: &Path) -> Result<(), Failure> {
        let bucket = &self.bucket;
        let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b);
        let is_end = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let has_ends = bucket.bytes().next().is_some_and(is_end)
            && bucket.bytes().next_back().is_some_and(is_end);
        let is_name = (3..=63).contains(&bucket.len()) && bucket.bytes().all(ok) && has_ends;
        if !is_name || bucket.contains("..") {
            return Err(bad_value(
                path,
                "archive.bucket",
                format!("{bucket:?}"),
                "a bucket's name: 3-63 of a-z, 0-9, . and -, beginning and ending with a letter or digit",
            ));
        }
        if !self.path_style && has_address(&self.endpoint) {
            return Err(not_allowed(
                path,
                "archive.path_style",
                "false",
                "set path_style = true, or give the endpoint by a name: an address has no BUCKET.ADDRESS",
            ));
        }
        Ok(())
    }
}

fn check_endpoint(path: &Path, key: &str, url: &str) -> Result<(), Failure> {
    let as_used = with_plain_scheme(url);
    let has_host = |scheme: &str| {
        let rest = as_used.strip_prefix(scheme);
        rest.is_some_and(|rest| {
            let host = rest.strip_suffix('/').unwrap_or(rest);
            !host.is_empty() && !host.starts_with(':') && !host.contains('/')
        })
    };
    let is_plain = url
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"?#@%\"\\".contains(&b));
    if is_plain && (has_host("http://") || has_host("https://")) {
        return Ok(());
    }
    Err(bad_value(
        path,
        key,
        format!("{url:?}"),
        "http://HOST[:PORT] or https://HOST[:PORT], without bucket, path, user (not shown here) and query; the keys belong in the file that secret_file names",
    ))
}

fn has_address(endpoint: &str) -> bool {
    let as_used = with_plain_scheme(endpoint);
    let Some((_, host)) = as_used.split_once("://") else {
        return false;
    };
    let host = host.trim_end_matches('/');
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.starts_with('[') || name.parse::<IpAddr>().is_ok()
}

fn is_region(region: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=64).contains(&region.len()) && region.bytes().all(ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::config::Config;

    fn parse(lines: &str) -> Result<Config, String> {
        let text = format!("data_dir = \"/d\"\nmin_free_bytes = 1000\n[archive]\n{lines}");
        Config::parse(&text, Path::new("receiver.toml")).map_err(|failure| failure.to_string())
    }

    const GOOD: &str =
        "endpoint = \"http://10.8.0.20:3900\"\nbucket = \"episodes\"\nsecret_file = \"s3\"\n";

    #[test]
    fn three_keys_are_enough_and_the_rest_has_defaults() {
        let archive = parse(GOOD).unwrap().archive.unwrap();
        assert_eq!((&*archive.region, archive.path_style), ("us-east-1", true));
        assert_eq!(
            (archive.evict_below_bytes, archive.verify),
            (0, Verify::Read)
        );
        let more = "region = \"garage\"\nverify = \"head\"\nevict_below_bytes = \"20GiB\"\npublic_endpoint = \"https://s3.lab\"\n";
        let archive = parse(&format!("{GOOD}{more}")).unwrap().archive.unwrap();
        assert_eq!(
            (archive.evict_below_bytes, archive.verify),
            (20 << 30, Verify::Head)
        );
        assert!(
            Config::parse("data_dir = \"/d\"", Path::new("r"))
                .unwrap()
                .archive
                .is_none()
        );
    }

    #[test]
    fn a_mistake_is_named_and_no_secret_shown() {
        let changed = |from: &str, to: &str| GOOD.replace(from, to);
        let cases = [
            (changed("secret_file = \"s3\"", ""), "has no secret_file"),
            (
                format!("{GOOD}evict_below = 1\n"),
                "did you mean archive.evict_below_bytes?",
            ),
            (
                format!("{GOOD}evict_below_bytes = 1000\n"),
                "more than min_free_bytes (1000)",
            ),
            (format!("{GOOD}verify = \"never\"\n"), "archive.verify"),
            (
                format!("{GOOD}ca_file = \"/ca.pem\"\n"),
                "only an https:// endpoint",
            ),
            (
                format!("{GOOD}path_style = false\n"),
                "set path_style = true",
            ),
            (
                format!("{GOOD}region = \"us east\"\n"),
                "archive.region accepts",
            ),
            (
                format!("{GOOD}public_endpoint = \"s3.lab\"\n"),
                "archive.public_endpoint accepts",
            ),
            (changed("episodes", "Episodes"), "archive.bucket accepts"),
            (changed("episodes", "a..b"), "archive.bucket accepts"),
            (
                changed("http://10.8.0.20:3900", "http://key:hidden@s3.lab"),
                "without bucket",
            ),
            (
                changed("http://10.8.0.20:3900", "http://s3.lab/episodes"),
                "without bucket",
            ),
            (
                changed("http://10.8.0.20:3900", "ftp://s3.lab"),
                "archive.endpoint accepts",
            ),
            (
                changed("http://10.8.0.20:3900", "http://"),
                "archive.endpoint accepts",
            ),
        ];
        for (lines, words) in cases {
            let found = parse(&lines).unwrap_err();
            assert!(found.contains(words), "{words}\n{found}");
            assert!(!found.contains("hidden"), "{found}");
        }
    }
}
