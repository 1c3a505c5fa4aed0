//! Every key of `receiver.toml` with its value, and when a change of it takes effect.

use super::archive::{ArchiveConfig, Verify};
use super::{Config, GateConfig, HostRule, NotifyConfig, ReaderRule};
use crate::config::settings::{Setting, TakesEffect};
use crate::human::{self, counted};
use crate::names::Sha256Digest;

use TakesEffect::{OnReload, OnRestart};

impl Config {
    /// The keys in the order of the example. Each `[[host]]` and each `[[reader]]` is one.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let listen = self.listen.to_string();
        let mut all = vec![
            Setting::plain("listen", listen, OnRestart),
            Setting::plain("data_dir", &self.data_dir, OnRestart),
            Setting::plain("max_episode_bytes", self.max_episode_bytes, OnReload),
            Setting::plain("min_free_bytes", self.min_free_bytes, OnReload),
            Setting::plain("max_uploads", self.max_uploads, OnReload),
            Setting::plain("max_downloads", self.max_downloads, OnReload),
            Setting::plain("max_connections", self.max_connections, OnRestart),
            Setting::plain("idle_timeout_seconds", self.idle_timeout_seconds, OnRestart),
            Setting::plain("head_timeout_seconds", self.head_timeout_seconds, OnRestart),
            Setting::plain(
                "min_body_bytes_per_second",
                self.min_body_bytes_per_second,
                OnRestart,
            ),
            Setting::plain("drain_seconds", self.drain_seconds, OnReload),
            Setting::plain("silent_after_hours", self.silent_after_hours, OnReload),
        ];
        self.version_gate.add_settings(&mut all);
        all.extend(ArchiveConfig::settings(self.archive.as_ref()));
        all.extend(NotifyConfig::settings(self.notify.as_ref()));
        all.extend(self.hosts.iter().map(HostRule::setting));
        all.extend(self.readers.iter().map(ReaderRule::setting));
        all
    }

    /// This configuration with the keys of `new` that take effect on a reload.
    pub(crate) fn reloaded(&self, new: Config) -> Config {
        Config {
            listen: self.listen,
            data_dir: self.data_dir.clone(),
            max_connections: self.max_connections,
            idle_timeout_seconds: self.idle_timeout_seconds,
            head_timeout_seconds: self.head_timeout_seconds,
            min_body_bytes_per_second: self.min_body_bytes_per_second,
            archive: ArchiveConfig::reloaded(self.archive.as_ref(), new.archive),
            version_gate: GateConfig {
                window: new.version_gate.window,
                refresh_seconds: new.version_gate.refresh_seconds,
                auth_token: new.version_gate.auth_token,
                auth_token_file: new.version_gate.auth_token_file,
                remediation: new.version_gate.remediation,
                ..self.version_gate.clone()
            },
            ..new
        }
    }
}

impl GateConfig {
    fn add_settings(&self, all: &mut Vec<Setting>) {
        let url = self.forgejo_url.clone();
        let shown_url = url
            .as_ref()
            .map(|url| format!("{:?}", human::without_user(url)));
        let token = self.auth_token.as_ref();
        let shown_token = token.map(|_| "(secret)".to_owned());
        let token = token.map_or(String::new(), |token| token.0.clone());
        all.extend([
            Setting::plain("version_gate.enabled", self.enabled, OnRestart),
            Setting::plain("version_gate.window", self.window, OnReload),
            Setting::plain(
                "version_gate.refresh_seconds",
                self.refresh_seconds,
                OnReload,
            ),
            Setting::hidden(
                "version_gate.forgejo_url",
                url.unwrap_or_default(),
                shown_url,
                OnRestart,
            ),
            Setting::optional(
                "version_gate.repo_owner",
                self.repo_owner.as_ref(),
                OnRestart,
            ),
            Setting::optional("version_gate.repo_name", self.repo_name.as_ref(), OnRestart),
            Setting::plain("version_gate.branch", &self.branch, OnRestart),
            Setting::hidden("version_gate.auth_token", token, shown_token, OnReload),
            Setting::optional(
                "version_gate.auth_token_file",
                self.auth_token_file.as_ref(),
                OnReload,
            ),
            Setting::optional(
                "version_gate.local_repo_path",
                self.local_repo_path.as_ref(),
                OnRestart,
            ),
            Setting::plain("version_gate.remediation", &self.remediation, OnReload),
            Setting::optional("version_gate.ca_file", self.ca_file.as_ref(), OnRestart),
        ]);
    }
}

impl ArchiveConfig {
    /// This table with the keys of `new` that take effect on a reload.
    fn reloaded(old: Option<&ArchiveConfig>, new: Option<ArchiveConfig>) -> Option<ArchiveConfig> {
        let old = old?.clone();
        let Some(new) = new else {
            return Some(old);
        };
        Some(ArchiveConfig {
            secret_file: new.secret_file,
            evict_below_bytes: new.evict_below_bytes,
            verify: new.verify,
            ..old
        })
    }

    fn settings(archive: Option<&ArchiveConfig>) -> [Setting; 9] {
        let verify = archive.map(|archive| match archive.verify {
            Verify::Read => "read",
            Verify::Head => "head",
        });
        let of = |value: fn(&ArchiveConfig) -> &String| archive.map(value);
        // A table that comes or goes waits as a whole.
        let takes_effect = if archive.is_some() {
            OnReload
        } else {
            OnRestart
        };
        [
            Setting::optional("archive.endpoint", of(|it| &it.endpoint), OnRestart),
            Setting::optional("archive.bucket", of(|it| &it.bucket), OnRestart),
            Setting::optional("archive.region", of(|it| &it.region), OnRestart),
            Setting::optional(
                "archive.path_style",
                archive.map(|archive| archive.path_style),
                OnRestart,
            ),
            Setting::optional(
                "archive.secret_file",
                archive.map(|archive| &archive.secret_file),
                takes_effect,
            ),
            Setting::optional(
                "archive.ca_file",
                archive.and_then(|archive| archive.ca_file.as_ref()),
                OnRestart,
            ),
            Setting::optional(
                "archive.public_endpoint",
                archive.and_then(|archive| archive.public_endpoint.as_ref()),
                OnRestart,
            ),
            Setting::optional(
                "archive.evict_below_bytes",
                archive.map(|archive| archive.evict_below_bytes),
                takes_effect,
            ),
            Setting::optional("archive.verify", verify, takes_effect),
        ]
    }
}

impl NotifyConfig {
    /// The URL, and an argument of the command, may hold a secret.
    fn settings(notify: Option<&NotifyConfig>) -> [Setting; 3] {
        let url = notify.and_then(|notify| notify.url.clone());
        let shown_url = url.as_ref().map(|_| "(secret)".to_owned());
        let format = notify.map(|notify| notify.format);
        let command = notify.and_then(|notify| notify.command.as_ref());
        let shown_command = command.map(|words| match words.split_first() {
            Some((program, arguments)) if !arguments.is_empty() => {
                format!("{program:?} and {}", counted(arguments.len(), "argument"))
            }
            _ => format!("{words:?}"),
        });
        let command = format!("{command:?}");
        [
            Setting::hidden("notify.url", url.unwrap_or_default(), shown_url, OnReload),
            Setting::optional("notify.format", format, OnReload),
            Setting::hidden("notify.command", command, shown_command, OnReload),
        ]
    }
}

impl HostRule {
    fn setting(&self) -> Setting {
        let id = self.id.to_string();
        let address = self.address.map(|address| address.to_string());
        rule("host", &id, address, self.token_sha256.as_ref())
    }
}

impl ReaderRule {
    fn setting(&self) -> Setting {
        let id = self.id.to_string();
        let address = self.address.map(|address| address.to_string());
        rule("reader", &id, address, self.token_sha256.as_ref())
    }
}

fn rule(
    key: &'static str,
    id: &str,
    address: Option<String>,
    token: Option<&Sha256Digest>,
) -> Setting {
    let shown_address = address
        .as_ref()
        .map(|address| format!("address = {address:?}"));
    let shown_token = token.map(|_| "token_sha256 is set".to_owned());
    let parts: Vec<String> = [Some(format!("id = {id:?}")), shown_address, shown_token]
        .into_iter()
        .flatten()
        .collect();
    let token = token.map(Sha256Digest::to_string);
    let value = format!("{id:?} {address:?} {token:?}");
    Setting::hidden(key, value, Some(parts.join(", ")), OnReload)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::settings::changed;

    const PATH: &str = "/etc/cis490/receiver.toml";

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new(PATH)).unwrap()
    }

    /// The example with every key that has no default, in a form that can be loaded.
    fn whole_example() -> String {
        let example = include_str!("../../../etc/receiver.toml.example");
        let excluded = ["#auth_token =", "#command =", "# "];
        let is_kept = |line: &&str| !excluded.iter().any(|start| line.starts_with(start));
        let uncommented = |line: &str| match line.strip_prefix('#') {
            Some(rest) if rest.contains(" = ") || rest.starts_with('[') => rest.to_owned(),
            _ => line.to_owned(),
        };
        let lines: Vec<String> = example.lines().filter(is_kept).map(uncommented).collect();
        lines
            .join("\n")
            .replace("http://127", "https://127")
            .replace("http://10.8", "https://10.8")
    }

    #[test]
    fn every_key_of_the_example_is_a_setting() {
        let example = whole_example();
        let table: toml::Table = toml::from_str(&example).unwrap();
        let mut keys: Vec<String> = Vec::new();
        for (key, value) in &table {
            match value {
                toml::Value::Table(inner) => {
                    keys.extend(inner.keys().map(|name| format!("{key}.{name}")))
                }
                _ => keys.push(key.clone()),
            }
        }
        let settings = parse(&example).settings();
        for key in &keys {
            let of_key = |setting: &&Setting| setting.key == key;
            assert!(
                settings
                    .iter()
                    .find(of_key)
                    .is_some_and(|one| one.shown.is_some()),
                "{key}"
            );
        }
        // And the two that exclude another.
        assert_eq!(settings.len(), keys.len() + 2);
    }

    #[test]
    fn a_reload_brings_what_takes_effect_then_and_nothing_else() {
        let old = parse(
            "data_dir = \"/a\"\n[archive]\nendpoint = \"http://s3\"\nbucket = \"old\"\nsecret_file = \"old\"\nevict_below_bytes = \"9GiB\"\nverify = \"head\"\n",
        );
        let new = || {
            parse(
                &whole_example()
                    .replace("/var/lib/cis490", "/b")
                    .replace("8490", "1")
                    .replace("window = 100", "window = 7")
                    .replace("max_uploads = 64", "max_uploads = 3"),
            )
        };
        let on_reload = changed(&old.settings(), &new().settings(), OnReload);
        assert_eq!(
            on_reload,
            [
                "max_uploads",
                "version_gate.window",
                "version_gate.auth_token_file",
                "archive.secret_file",
                "archive.evict_below_bytes",
                "archive.verify",
                "notify.url",
                "notify.format",
                "host",
                "reader"
            ]
        );
        let on_restart = changed(&old.settings(), &new().settings(), OnRestart);
        assert!(on_restart.contains(&"listen") && on_restart.contains(&"version_gate.ca_file"));
        let merged = old.reloaded(new()).settings();
        assert!(changed(&old.settings(), &merged, OnRestart).is_empty());
        assert!(changed(&merged, &new().settings(), OnReload).is_empty());
    }

    /// Then there is no archive that could change, or one that could not end.
    #[test]
    fn an_archive_that_comes_or_goes_waits_for_a_restart_as_a_whole() {
        let without = || parse("data_dir = \"/a\"\n");
        let with = || parse(&whole_example());
        for (old, new) in [(without(), with()), (with(), without())] {
            let waiting = changed(&old.settings(), &new.settings(), OnRestart);
            for key in [
                "endpoint",
                "bucket",
                "secret_file",
                "evict_below_bytes",
                "verify",
            ] {
                let key = format!("archive.{key}");
                assert!(waiting.contains(&key.as_str()), "{key}");
            }
            let merged = old.reloaded(new);
            assert_eq!(merged.archive, old.archive);
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let text = "data_dir = \"/a\"\n[version_gate]\nauth_token = \"hunter2\"\n[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"abababababababababababababababababababababababababababababababab\"\n";
        for setting in parse(text).settings() {
            let shown = setting.shown.unwrap_or_default();
            assert!(
                !shown.contains("hunter2") && !shown.contains("abab"),
                "{shown}"
            );
        }
    }
}
