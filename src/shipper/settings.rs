//! Every key of `shipper.toml` with its value, and when a change of it takes effect.

use super::config::Config;
use crate::config::settings::{Setting, TakesEffect};

use TakesEffect::{OnReload, OnRestart};

impl Config {
    /// The keys in the order of the example.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        vec![
            Setting::plain("receiver_url", &self.receiver_url, OnReload),
            Setting::plain("host_id", self.host_id.as_str(), OnRestart),
            Setting::plain("root", &self.root, OnRestart),
            Setting::optional("token_file", self.token_file.as_ref(), OnReload),
            Setting::optional("ca_file", self.ca_file.as_ref(), OnReload),
            Setting::plain("scan_seconds", self.scan_seconds, OnReload),
            Setting::plain("keep_shipped_days", self.keep_shipped_days, OnReload),
            Setting::optional("min_free_bytes", self.min_free_bytes, OnReload),
            Setting::optional(
                "rate_bytes_per_second",
                self.rate_bytes_per_second,
                OnReload,
            ),
            Setting::optional("send_hours", self.send_hours.as_ref(), OnReload),
        ]
    }

    /// This configuration with the keys of `new` that take effect on a reload.
    pub(super) fn reloaded(&self, new: Config) -> Config {
        Config {
            host_id: self.host_id.clone(),
            root: self.root.clone(),
            ..new
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::settings::changed;

    #[test]
    fn every_key_of_the_example_is_a_setting_and_a_reload_brings_what_takes_effect_then() {
        let example = include_str!("../../etc/shipper.toml.example")
            .replace("#token_file", "token_file")
            .replace("#min_free_bytes", "min_free_bytes")
            .replace("#rate_bytes_per_second", "rate_bytes_per_second")
            .replace("#send_hours", "send_hours");
        let example = example
            .replace("#ca_file", "ca_file")
            .replace("http://10", "https://10");
        let parse =
            |text: &str| Config::parse(text, Path::new("/etc/cis490/shipper.toml")).unwrap();
        let new = || parse(&example);
        let table: toml::Table = toml::from_str(&example).unwrap();
        let settings = new().settings();
        for key in table.keys() {
            let of_key = |setting: &&Setting| setting.key == key;
            assert!(
                settings
                    .iter()
                    .find(of_key)
                    .is_some_and(|one| one.shown.is_some()),
                "{key}"
            );
        }
        assert_eq!(settings.len(), table.len());
        let old = parse(
            "receiver_url = \"http://10.9.9.9:1\"\nhost_id = \"x\"\nroot = \"/x\"\nscan_seconds = 9\n",
        );
        let merged = old.reloaded(new()).settings();
        assert!(changed(&old.settings(), &merged, OnRestart).is_empty());
        assert!(changed(&merged, &new().settings(), OnReload).is_empty());
        assert_eq!(
            changed(&old.settings(), &settings, OnRestart),
            ["host_id", "root"]
        );
    }
}
