//! `shipper.toml`: the keys, their defaults and what is allowed. `etc/shipper.toml.example` is the
//! reference for people.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::{self, Owner, Settings, bad_value, in_range};
use crate::failure::Failure;
use crate::names::HostId;
use crate::tls::{self, Trust};

pub const DEFAULT_PATH: &str = "/etc/cis490/shipper.toml";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `http://HOST:PORT` or `https://HOST[:PORT]`, without a slash at its end once loaded.
    pub receiver_url: String,
    pub host_id: HostId,
    /// What holds data has no default: a typo must not begin an empty queue.
    pub root: PathBuf,
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// A private CA for an `https://` receiver.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    #[serde(default = "default_scan_seconds")]
    pub scan_seconds: u64,
    #[serde(default = "default_keep_shipped_days")]
    pub keep_shipped_days: u64,
}

impl Settings for Config {
    const OWNER: Option<Owner> = Some(Owner::LabHost);
}

fn default_scan_seconds() -> u64 {
    5
}
fn default_keep_shipped_days() -> u64 {
    7
}

impl Config {
    /// Reads the file; `root`, if given, stands in for its key.
    pub fn load(path: &Path, root: Option<PathBuf>) -> Result<Config, Failure> {
        let mut config: Config = config::load(
            path,
            "name the file with --config FILE; etc/shipper.toml.example is one to begin with",
        )?;
        if let Some(root) = root {
            config.root = root;
        }
        config.check(path)?;
        let slashless = config.receiver_url.trim_end_matches('/').len();
        config.receiver_url.truncate(slashless);
        Ok(config)
    }

    /// As [`Config::load`], from the text of a file that need not be there.
    pub fn parse(text: &str, path: &Path) -> Result<Config, Failure> {
        let config: Config = config::parse(text, path)?;
        config.check(path)?;
        Ok(config)
    }

    /// The token that is sent with every request, if there is one.
    pub fn token(&self) -> Result<Option<String>, Failure> {
        let read = |file: &PathBuf| config::read_secret("token_file", file);
        self.token_file.as_ref().map(read).transpose()
    }

    /// The certificate authorities that may vouch for an `https://` receiver.
    pub fn trust(&self) -> Result<Option<Trust>, Failure> {
        let ca_file = self.ca_file.as_deref();
        tls::trust_for("receiver_url", &self.receiver_url, "ca_file", ca_file)
    }

    /// What serde cannot see: ranges, and keys that need or exclude each other.
    fn check(&self, path: &Path) -> Result<(), Failure> {
        let range = |key, value, least, most| in_range(path, key, value, least, most);
        range("scan_seconds", self.scan_seconds, 1, 3600)?;
        range("keep_shipped_days", self.keep_shipped_days, 0, 36_500)?;
        if !self.root.is_absolute() {
            return Err(bad_value(
                path,
                "root",
                format!("{:?}", self.root),
                "an absolute path",
            ));
        }
        self.check_url(path)
    }

    /// The receiver's host, as TLS wants its name, and its port.
    pub fn receiver_place(&self) -> (&str, u16) {
        let (authority, usual) = match self.receiver_url.strip_prefix("https://") {
            Some(authority) => (authority, 443),
            None => (self.receiver_url.trim_start_matches("http://"), 80),
        };
        let (host, port) = host_and_port(authority);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (
            host,
            port.and_then(|port| port.parse().ok()).unwrap_or(usual),
        )
    }

    fn check_url(&self, path: &Path) -> Result<(), Failure> {
        let bad = |allowed: &str| {
            let shown = format!("{:?}", self.receiver_url);
            Err(bad_value(path, "receiver_url", shown, allowed))
        };
        if !is_base_url(&self.receiver_url) {
            return bad(
                "http://HOST:PORT or https://HOST[:PORT] and nothing after it; a receiver listens on port 8490 by default",
            );
        }
        if let (Some(file), true) = (&self.ca_file, self.receiver_url.starts_with("http:")) {
            let shown = format!("{file:?}");
            return Err(config::not_allowed(
                path,
                "ca_file",
                shown,
                "remove it: only an https:// receiver_url has a certificate",
            ));
        }
        Ok(())
    }
}

/// `http://HOST:PORT` or `https://HOST[:PORT]`, HOST being a name, an IPv4 address or an IPv6 address
/// in brackets. http:// needs a port: without one it is 80, where a receiver hardly ever listens. A
/// proxy that speaks TLS for a receiver listens on 443.
fn is_base_url(url: &str) -> bool {
    let (authority, port_needed) = match (url.strip_prefix("http://"), url.strip_prefix("https://"))
    {
        (Some(rest), _) => (rest, true),
        (_, Some(rest)) => (rest, false),
        _ => return false,
    };
    let authority = authority.trim_end_matches('/');
    let is_port = |text: &str| {
        text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|p| p > 0)
    };
    let (host, port) = host_and_port(authority);
    let port_ok = port.map_or(!port_needed, is_port);
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_ok = match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            !host.is_empty() && host.len() <= 253 && host.bytes().all(ok)
        }
    };
    port_ok && host_ok
}

/// The host, in brackets if it has them, and the port if there is one.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // Colons inside brackets belong to an IPv6 address and separate no port.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, Failure> {
        let path = Path::new("/etc/cis490/shipper.toml");
        let config: Config = config::parse(text, path)?;
        config.check(path)?;
        Ok(config)
    }

    const LEAST: &str = "receiver_url = \"http://10.8.0.1:8490\"\nhost_id = \"lab-1\"\nroot = \"/var/lib/cis490\"\n";

    #[test]
    fn the_example_has_every_key_with_its_default() {
        let example = include_str!("../../etc/shipper.toml.example");
        let config = load(example).unwrap();
        assert_eq!((config.scan_seconds, config.keep_shipped_days), (5, 7));
        // Keys that are off by default stand there as comments, and are right once uncommented.
        let all: String = example
            .lines()
            .map(|line| line.replacen("#token_file", "token_file", 1))
            .map(|line| line.replacen("#ca_file", "ca_file", 1))
            .map(|line| line.replacen("http://10", "https://10", 1) + "\n")
            .collect();
        let all = load(&all).unwrap();
        assert!(all.token_file.is_some() && all.ca_file.is_some());
        for key in [
            "receiver_url",
            "host_id",
            "root",
            "token_file",
            "ca_file",
            "scan_seconds",
            "keep_shipped_days",
        ] {
            assert!(example.contains(&format!("{key} = ")), "{key}");
        }
    }

    #[test]
    fn every_mistake_is_told_in_words() {
        assert!(load(LEAST).is_ok());
        for (text, words) in [
            (
                LEAST.replace(":8490", ""),
                "a receiver listens on port 8490",
            ),
            (LEAST.replace(":8490", ":0"), "receiver_url"),
            (LEAST.replace(":8490", ":8490/x"), "receiver_url"),
            (LEAST.replace("10.8", "me@10.8"), "receiver_url"),
            (
                LEAST.replace("lab-1", "Lab 1"),
                "host_id accepts 1-63 of a-z",
            ),
            (
                LEAST.replace("\"/var", "\"var"),
                "root accepts an absolute path",
            ),
            (
                LEAST.replace("root", "rot"),
                "rot is not a known key (did you mean root?",
            ),
            (
                format!("{LEAST}scan_seconds = 0\n"),
                "scan_seconds accepts a whole number from 1",
            ),
            (
                format!("{LEAST}ca_file = \"/x\"\n"),
                "ca_file = \"/x\" is not allowed (remove it",
            ),
        ] {
            let told = load(&text).unwrap_err().to_string();
            assert!(told.contains(words), "{text}\n{told}");
        }
    }

    #[test]
    fn the_place_of_a_receiver() {
        for (url, host, port) in [
            ("http://10.8.0.1:8490", "10.8.0.1", 8490),
            ("http://[fd00::1]:8490", "fd00::1", 8490),
            ("https://pi.lan", "pi.lan", 443),
            ("https://[fd00::1]", "fd00::1", 443),
        ] {
            let text = LEAST.replace("http://10.8.0.1:8490", url);
            assert_eq!(load(&text).unwrap().receiver_place(), (host, port));
        }
    }

    #[test]
    fn urls() {
        for good in [
            "http://pi:8490",
            "http://pi:8490/",
            "http://[fd00::1]:8490",
            "http://10.8.0.1:1",
            "https://pi.lan",
            "https://pi.lan/",
            "https://pi.lan:8490",
            "https://[fd00::1]",
            "https://[fd00::1]:8490",
        ] {
            assert!(is_base_url(good), "{good}");
        }
        for bad in [
            "http://",
            "http://:1",
            "http://pi:",
            "http://pi",
            "http://[fd00::1]",
            "https://",
            "https://pi:",
            "https://pi:0",
            "https://pi/x",
            "http://pi:+80",
            "http://a b:1",
            "http://[::g]:1",
            "ftp://pi:1",
        ] {
            assert!(!is_base_url(bad), "{bad}");
        }
    }
}
