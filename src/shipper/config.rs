//! `shipper.toml`: the keys, their defaults and their allowed values. `etc/shipper.toml.example` is the
//! reference for people.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::receiver_url::ReceiverUrl;
use super::send_hours::SendHours;
use crate::config::{self, Settings, Side, bad_value, in_range, values};
use crate::failure::Failure;
use crate::human;
use crate::names::HostId;
use crate::tls::{self, Trust};

pub(crate) const DEFAULT_PATH: &str = "/etc/cis490/shipper.toml";
/// Four uploads share it, and the receiver hangs up on one that is slower than 1 KiB/s.
const RATE_MIN: u64 = 16 << 10;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// `http://HOST:PORT` or `https://HOST[:PORT]`, without a slash at its end once loaded.
    pub receiver_url: String,
    pub host_id: HostId,
    /// No default, since this folder holds data: a typo must not begin an empty queue.
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
    /// How fast the bodies of all uploads leave together; `None` for no limit.
    #[serde(default, deserialize_with = "values::optional_size")]
    pub rate_bytes_per_second: Option<u64>,
    /// As it was written; see [`Config::hours`].
    #[serde(default)]
    pub send_hours: Option<String>,
    /// With less free than this, shipped/ is emptied, oldest first. `None`: by the size of the disk, see
    /// [`Config::free_bytes_floor`].
    #[serde(default, deserialize_with = "values::optional_size")]
    pub min_free_bytes: Option<u64>,
}

impl Settings for Config {
    const SIDE: Option<Side> = Some(Side::LabHost);
}

fn default_scan_seconds() -> u64 {
    5
}
fn default_keep_shipped_days() -> u64 {
    7
}

impl Config {
    /// Reads the file; `root`, if given, stands in for its key.
    pub(crate) fn load(path: &Path, root: Option<PathBuf>) -> Result<Config, Failure> {
        let mut config: Config = config::load(
            path,
            "name the file with --config FILE; etc/shipper.toml.example is one to begin with",
        )?;
        if let Some(root) = root {
            config.root = root;
        }
        config.check(path)?;
        config::check_may_name_secrets(path, &config.secret_files())?;
        Ok(config)
    }

    /// As [`Config::load`], from the text of a file that need not be there.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Config, Failure> {
        let mut config: Config = config::parse(text, path)?;
        config.check(path)?;
        Ok(config)
    }

    /// How many bytes are kept free at the cost of shipped/, on a disk of so many bytes: the configured
    /// number, or the smaller of 1 GiB and a twentieth of the disk.
    pub(crate) fn free_bytes_floor(&self, disk_bytes: u64) -> u64 {
        const ON_A_LARGE_DISK_BYTES: u64 = 1 << 30;
        self.min_free_bytes
            .unwrap_or(ON_A_LARGE_DISK_BYTES.min(disk_bytes / 20))
    }

    /// The token that is sent with every request, if there is one.
    pub(crate) fn token(&self) -> Result<Option<String>, Failure> {
        let read = |file: &PathBuf| config::read_secret("token_file", file);
        self.token_file.as_ref().map(read).transpose()
    }

    /// The certificate authorities that may vouch for an `https://` receiver.
    pub(crate) fn trust(&self) -> Result<Option<Trust>, Failure> {
        let ca_file = self.ca_file.as_deref();
        tls::trust_for("receiver_url", &self.receiver_url, "ca_file", ca_file)
    }

    /// The part of the day in which uploads are begun; `None` for all of it.
    pub(super) fn hours(&self) -> Option<SendHours> {
        self.send_hours.as_deref().and_then(SendHours::parse)
    }

    /// The folders that the service must see, each with its key.
    pub(crate) fn folders(&self) -> Vec<(&'static str, PathBuf)> {
        vec![("root", self.root.clone())]
    }

    /// The files beside the configuration that are read at the start, and may be root's alone.
    pub(crate) fn secret_files(&self) -> Vec<PathBuf> {
        let token = self.token_file.as_deref().map(config::secret_path);
        token.into_iter().chain(self.ca_file.clone()).collect()
    }

    /// Checks what serde cannot: ranges, and keys that need or exclude each other. Normalizes the URL.
    fn check(&mut self, path: &Path) -> Result<(), Failure> {
        let range = |key, value, least, most| in_range(path, key, value, least, most);
        range("scan_seconds", self.scan_seconds, 1, 3600)?;
        range("keep_shipped_days", self.keep_shipped_days, 0, 36_500)?;
        if let Some(rate) = self.rate_bytes_per_second {
            range("rate_bytes_per_second", rate, RATE_MIN, u64::MAX)?;
        }
        if let Some(text) = &self.send_hours
            && SendHours::parse(text).is_none()
        {
            let shown = format!("{text:?}");
            let allowed = "two different times of day, local time, such as \"22:00-06:00\"";
            return Err(bad_value(path, "send_hours", shown, allowed));
        }
        config::check_folder(path, "root", &self.root)?;
        self.check_url(path)
    }

    /// Where the receiver is.
    ///
    /// Errors: `receiver_url` is not one, which [`Config::load`] would have said.
    pub(crate) fn parsed_url(&self) -> Result<ReceiverUrl, Failure> {
        ReceiverUrl::parse(&self.receiver_url).map_err(|allowed| {
            let shown = human::without_user(&self.receiver_url);
            Failure::new(
                format!("receiver_url = {shown:?} is not allowed"),
                format!("receiver_url accepts {allowed}"),
            )
        })
    }

    fn check_url(&mut self, path: &Path) -> Result<(), Failure> {
        let url = ReceiverUrl::parse(&self.receiver_url).map_err(|allowed| {
            let shown = format!("{:?}", self.receiver_url);
            bad_value(path, "receiver_url", shown, allowed)
        })?;
        if let (Some(file), false) = (&self.ca_file, url.is_https) {
            let shown = format!("{file:?}");
            return Err(config::not_allowed(
                path,
                "ca_file",
                shown,
                "remove it: only an https:// receiver_url has a certificate",
            ));
        }
        self.receiver_url = url.to_string();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, Failure> {
        let path = Path::new("/etc/cis490/shipper.toml");
        let mut config: Config = config::parse(text, path)?;
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
            .map(|line| line.replacen("#min_free_bytes", "min_free_bytes", 1))
            .map(|line| line.replacen("http://10", "https://10", 1) + "\n")
            .collect();
        let all = load(&all).unwrap();
        assert!(all.token_file.is_some() && all.ca_file.is_some());
        assert_eq!(all.min_free_bytes, Some(1 << 30));
        let in_words = format!("{LEAST}min_free_bytes = \"2GiB\"\n");
        assert_eq!(load(&in_words).unwrap().min_free_bytes, Some(2 << 30));
        for key in [
            "receiver_url",
            "host_id",
            "root",
            "token_file",
            "ca_file",
            "scan_seconds",
            "keep_shipped_days",
            "min_free_bytes",
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
    fn a_url_is_kept_as_it_is_used_and_no_password_is_shown() {
        let shouted = LEAST.replace("http://10.8.0.1:8490", "HTTP://10.8.0.1:8490/");
        assert_eq!(load(&shouted).unwrap().receiver_url, "http://10.8.0.1:8490");
        let secret = LEAST.replace("10.8.0.1", "bob:hunter2@10.8.0.1");
        let told = load(&secret).unwrap_err().to_string();
        assert!(told.contains("http://***@10.8.0.1:8490"), "{told}");
        assert!(
            told.contains("no user and no password before an @"),
            "{told}"
        );
        assert!(!told.contains("hunter2") && !told.contains("bob"), "{told}");
    }

    #[test]
    fn a_small_disk_keeps_a_twentieth_free() {
        let floor = |text: &str, disk| load(text).unwrap().free_bytes_floor(disk);
        for (disk_bytes, floor_bytes) in [
            (0, 0),
            (2_000_000_000, 100_000_000),
            (20 << 30, 1 << 30),
            (1 << 42, 1 << 30),
        ] {
            assert_eq!(floor(LEAST, disk_bytes), floor_bytes);
        }
        for configured in [0, 7, 1 << 40] {
            let text = format!("{LEAST}min_free_bytes = {configured}\n");
            assert_eq!(floor(&text, 1 << 30), configured);
        }
    }
}
