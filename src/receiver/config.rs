//! `receiver.toml`: the keys, their defaults and what is allowed. `etc/receiver.toml.example` is
//! the reference for people.

mod archive;
pub(crate) mod edit;
mod settings;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::network::{self, Network};
use crate::config::{
    self, Settings, Side, bad_value, in_range, is_http_url, not_allowed, values, with_plain_scheme,
};
use crate::failure::Failure;
use crate::names::{HostId, ReaderId, Sha256Digest};
use crate::wire;

pub use self::archive::{ArchiveConfig, Verify};

pub const DEFAULT_PATH: &str = "/etc/cis490/receiver.toml";

const GIB: u64 = 1 << 30;

/// The default of `remediation`: the lines that the operator of a refused host pastes.
pub const DEFAULT_REMEDIATION: &str = "\
cd /opt/cis490 && sudo -u cis490 git pull origin main
sudo /opt/cis490/scripts/install-lab-host.sh
sudo systemctl restart cis490-orchestrator";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default = "default_listen", deserialize_with = "values::listen")]
    pub listen: SocketAddr,
    /// The store. It has no default: a typo must not begin an empty store elsewhere.
    pub data_dir: PathBuf,
    #[serde(
        default = "default_max_episode_bytes",
        deserialize_with = "values::size"
    )]
    pub max_episode_bytes: u64,
    #[serde(default = "default_min_free_bytes", deserialize_with = "values::size")]
    pub min_free_bytes: u64,
    #[serde(default = "default_max_uploads")]
    pub max_uploads: u32,
    #[serde(default = "default_max_downloads")]
    pub max_downloads: u32,
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
    #[serde(default = "default_idle_timeout_seconds")]
    pub idle_timeout_seconds: u64,
    #[serde(default = "default_head_timeout_seconds")]
    pub head_timeout_seconds: u64,
    #[serde(
        default = "default_min_body_bytes_per_second",
        deserialize_with = "values::size"
    )]
    pub min_body_bytes_per_second: u64,
    #[serde(default = "default_drain_seconds")]
    pub drain_seconds: u64,
    /// A host that sends nothing for so long is shown as silent.
    #[serde(default = "default_silent_after_hours")]
    pub silent_after_hours: u64,
    #[serde(default)]
    pub version_gate: GateConfig,
    /// Who is notified when a finding of severity error begins or ends.
    #[serde(default)]
    pub notify: Option<NotifyConfig>,
    #[serde(default, rename = "host")]
    pub hosts: Vec<HostRule>,
    #[serde(default, rename = "reader")]
    pub readers: Vec<ReaderRule>,
    /// The bucket that episodes are copied to; `None`: they stay on this disk alone.
    pub archive: Option<ArchiveConfig>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    pub enabled: bool,
    /// How many commits of the branch are admitted.
    pub window: u32,
    pub refresh_seconds: u64,
    /// `http://host:port` of Forgejo; if `None`, only the local repository is asked.
    pub forgejo_url: Option<String>,
    pub repo_owner: Option<String>,
    pub repo_name: Option<String>,
    pub branch: String,
    pub auth_token: Option<Secret>,
    pub auth_token_file: Option<PathBuf>,
    /// The checkout or its `.git`; unset, `/opt/cis490/.git` if that exists.
    pub local_repo_path: Option<PathBuf>,
    pub remediation: String,
    /// A private CA for an `https://` Forgejo; refused beside an `http://` one.
    pub ca_file: Option<PathBuf>,
}

impl Default for GateConfig {
    fn default() -> GateConfig {
        GateConfig {
            enabled: true,
            window: 100,
            refresh_seconds: 5,
            forgejo_url: None,
            repo_owner: None,
            repo_name: None,
            branch: "main".to_owned(),
            auth_token: None,
            auth_token_file: None,
            local_repo_path: None,
            remediation: DEFAULT_REMEDIATION.to_owned(),
            ca_file: None,
        }
    }
}

/// `[notify]`: a URL or a command.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// May hold a secret, and is shown nowhere.
    pub url: Option<String>,
    #[serde(default)]
    pub format: NotifyFormat,
    /// The program and its arguments. There is no shell.
    pub command: Option<Vec<String>>,
}

/// What is sent to the URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyFormat {
    /// One JSON object.
    #[default]
    Json,
    /// Plain words and a `Title`, as ntfy reads them.
    Text,
}

impl std::fmt::Debug for NotifyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(notify)")
    }
}

impl NotifyConfig {
    fn check(&self, path: &Path) -> Result<(), Failure> {
        match (&self.url, &self.command) {
            (Some(url), None) => check_notify_url(path, url),
            (None, Some(command)) => {
                if command
                    .first()
                    .is_some_and(|program| program.starts_with('/'))
                {
                    return Ok(());
                }
                Err(bad_value(
                    path,
                    "notify.command",
                    "(not shown)",
                    "a list: the program's whole path, and its arguments, such as [\"/usr/local/bin/tell\", \"--urgent\"]",
                ))
            }
            _ => Err(not_allowed(
                path,
                "notify",
                "(url and command)",
                "set one of the two in [notify]: a url or a command",
            )),
        }
    }
}

fn check_notify_url(path: &Path, url: &str) -> Result<(), Failure> {
    if is_http_url(&with_plain_scheme(url)) {
        return Ok(());
    }
    Err(bad_value(
        path,
        "notify.url",
        "(not shown)",
        "http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH",
    ))
}

impl Settings for Config {
    const SIDE: Option<Side> = Some(Side::Receiver);
}

/// One lab host that may upload: `[[host]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRule {
    pub id: HostId,
    /// The peer's address, as proof behind WireGuard.
    #[serde(default, deserialize_with = "values::address")]
    pub address: Option<IpAddr>,
    /// The SHA-256 of the host's token, as `cis490 token` prints it.
    pub token_sha256: Option<Sha256Digest>,
}

/// Somebody who may list and fetch episodes: `[[reader]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReaderRule {
    pub id: ReaderId,
    /// The peer's address, or the network that it is in, as proof behind WireGuard.
    #[serde(default, deserialize_with = "network::network")]
    pub(crate) address: Option<Network>,
    /// The SHA-256 of the reader's token, as `cis490 token --reader` prints it.
    pub token_sha256: Option<Sha256Digest>,
}

/// A text that no log line and no error shows.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], wire::DEFAULT_PORT))
}
fn default_max_episode_bytes() -> u64 {
    8 * GIB
}
fn default_min_free_bytes() -> u64 {
    GIB
}
fn default_max_uploads() -> u32 {
    64
}
fn default_max_downloads() -> u32 {
    8
}
fn default_max_connections() -> u32 {
    256
}
fn default_idle_timeout_seconds() -> u64 {
    60
}
fn default_head_timeout_seconds() -> u64 {
    10
}
fn default_min_body_bytes_per_second() -> u64 {
    1024
}
fn default_drain_seconds() -> u64 {
    60
}
fn default_silent_after_hours() -> u64 {
    24
}

/// The address at which this machine reaches its own receiver. For an unspecified address, which means
/// every address of the machine, it is the loopback address.
pub fn own_address(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

impl Config {
    pub fn load(path: &Path) -> Result<Config, Failure> {
        let config: Config = config::load(
            path,
            "name the file with --config FILE; etc/receiver.toml.example is one to begin with",
        )?;
        config.check(path)?;
        config::check_may_name_secrets(path, &config.secret_files())?;
        Ok(config)
    }

    /// As [`Config::load`], from the text of a file that need not be there.
    pub fn parse(text: &str, path: &Path) -> Result<Config, Failure> {
        let config: Config = config::parse(text, path)?;
        config.check(path)?;
        Ok(config)
    }

    /// The folders that the service must see, each with its key.
    pub fn folders(&self) -> Vec<(&'static str, PathBuf)> {
        let repository = self.version_gate.local_repo_path.clone();
        let repository = repository.map(|path| ("version_gate.local_repo_path", path));
        let data = ("data_dir", self.data_dir.clone());
        std::iter::once(data).chain(repository).collect()
    }

    /// The files, besides the configuration, that are read at start and that only root may be able to
    /// read.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let gate = &self.version_gate;
        let token = gate.auth_token_file.as_deref().map(config::secret_path);
        let mut files: Vec<_> = token.into_iter().chain(gate.ca_file.clone()).collect();
        if let Some(archive) = &self.archive {
            files.push(config::secret_path(&archive.secret_file));
            files.extend(archive.ca_file.clone());
        }
        files
    }

    /// Checks what serde cannot: ranges, and keys that need or exclude each other.
    fn check(&self, path: &Path) -> Result<(), Failure> {
        let range = |key, value, least, most| in_range(path, key, value, least, most);
        range("max_episode_bytes", self.max_episode_bytes, 1, 1 << 50)?;
        range("max_uploads", self.max_uploads.into(), 1, 1024)?;
        range("max_downloads", self.max_downloads.into(), 1, 1024)?;
        range("max_connections", self.max_connections.into(), 1, 65_536)?;
        range("idle_timeout_seconds", self.idle_timeout_seconds, 1, 86_400)?;
        range("head_timeout_seconds", self.head_timeout_seconds, 1, 3600)?;
        range("drain_seconds", self.drain_seconds, 0, 3600)?;
        range("silent_after_hours", self.silent_after_hours, 1, 8760)?;
        config::check_folder(path, "data_dir", &self.data_dir)?;
        self.check_hosts(path)?;
        self.check_readers(path)?;
        if let Some(archive) = &self.archive {
            archive.check(path, self.min_free_bytes)?;
        }
        if let Some(notify) = &self.notify {
            notify.check(path)?;
        }
        self.version_gate.check(path)
    }

    fn check_hosts(&self, path: &Path) -> Result<(), Failure> {
        let mut ids = HashSet::new();
        for rule in &self.hosts {
            let id = format!("{:?}", rule.id.as_str());
            if !ids.insert(&rule.id) {
                return Err(not_allowed(
                    path,
                    "host.id",
                    id,
                    "two [[host]] tables have this id: remove one, or put address and token_sha256 into the same one",
                ));
            }
            if rule.address.is_none() && rule.token_sha256.is_none() {
                return Err(not_allowed(
                    path,
                    "host.id",
                    id,
                    "add an address, a token_sha256 or both to this [[host]]: without one nothing proves who sends",
                ));
            }
        }
        Ok(())
    }

    fn check_readers(&self, path: &Path) -> Result<(), Failure> {
        let mut ids = HashSet::new();
        for rule in &self.readers {
            let id = format!("{:?}", rule.id.to_string());
            if !ids.insert(&rule.id) {
                return Err(not_allowed(
                    path,
                    "reader.id",
                    id,
                    "two [[reader]] tables have this id: remove one, or give each its own id",
                ));
            }
            if rule.address.is_none() && rule.token_sha256.is_none() {
                return Err(not_allowed(
                    path,
                    "reader.id",
                    id,
                    "add an address, a token_sha256 or both to this [[reader]]: without one nothing proves who reads",
                ));
            }
        }
        Ok(())
    }
}

impl GateConfig {
    fn check(&self, path: &Path) -> Result<(), Failure> {
        in_range(path, "version_gate.window", self.window.into(), 1, 10_000)?;
        in_range(
            path,
            "version_gate.refresh_seconds",
            self.refresh_seconds,
            1,
            86_400,
        )?;
        if !is_branch_name(&self.branch) {
            return Err(bad_value(
                path,
                "version_gate.branch",
                format!("{:?}", self.branch),
                "a branch name: 1-200 of letters, digits and . _ - / +, not beginning with - or /",
            ));
        }
        if self.auth_token.is_some() && self.auth_token_file.is_some() {
            return Err(not_allowed(
                path,
                "version_gate.auth_token_file",
                "(beside auth_token)",
                "remove one of the two; the file is better",
            ));
        }
        let https = self
            .forgejo_url
            .as_ref()
            .is_some_and(|url| with_plain_scheme(url).starts_with("https://"));
        if let (Some(file), false) = (&self.ca_file, https) {
            return Err(not_allowed(
                path,
                "version_gate.ca_file",
                format!("{file:?}"),
                "remove it: only an https:// forgejo_url has a certificate",
            ));
        }
        if let Some(url) = &self.forgejo_url {
            self.check_forgejo(path, url)?;
        }
        Ok(())
    }

    fn check_forgejo(&self, path: &Path, url: &str) -> Result<(), Failure> {
        let is_bare = !url.contains(['?', '#', '@']);
        if !is_bare || !is_http_url(&with_plain_scheme(url)) {
            return Err(bad_value(
                path,
                "version_gate.forgejo_url",
                format!("{url:?}"),
                "http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH], as Forgejo's own sub-path has it (http://HOST/git), without user (not shown here), query or fragment; a token belongs in the file that auth_token_file names",
            ));
        }
        for (key, value) in [
            ("version_gate.repo_owner", &self.repo_owner),
            ("version_gate.repo_name", &self.repo_name),
        ] {
            let name = value.as_deref().unwrap_or("");
            let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            if name.is_empty() || name.starts_with('.') || !name.bytes().all(ok) {
                return Err(bad_value(
                    path,
                    key,
                    format!("{name:?}"),
                    "the repository's owner and name as in its URL, since forgejo_url is set",
                ));
            }
        }
        Ok(())
    }
}

/// Whether a branch has a name that is safe in a URL and as an argument: a part of git's own rules.
fn is_branch_name(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-/+".contains(&b);
    (1..=200).contains(&name.len())
        && name.bytes().all(ok)
        && !name.starts_with(['-', '/'])
        && !name.ends_with('/')
        && !name.contains("..")
        && !name.contains("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_reach_ourselves_where_we_listen() {
        for (listen, address) in [
            ("0.0.0.0:8490", "127.0.0.1:8490"),
            ("[::]:8490", "[::1]:8490"),
            ("10.8.0.1:1", "10.8.0.1:1"),
        ] {
            let reached = own_address(listen.parse().unwrap());
            assert_eq!(reached, address.parse().unwrap());
        }
    }
}
