//! The examples in etc/ are the reference for people: they load, they have every key, and the
//! defaults that they state are the ones of the code.

use std::fs;
use std::path::{Path, PathBuf};

use cis490::receiver::config::Config;

#[test]
fn the_receivers_example_states_the_defaults() {
    let example = Config::load(&path("etc/receiver.toml.example")).unwrap();
    let minimal: Config = toml::from_str("data_dir = \"/var/lib/cis490\"").unwrap();
    assert_eq!(format!("{example:#?}"), format!("{minimal:#?}"));
}

#[test]
fn the_receivers_example_has_every_key() {
    let text = fs::read_to_string(path("etc/receiver.toml.example")).unwrap();
    let with_all = uncommented(&text);
    let config: Config = toml::from_str(&with_all).unwrap();
    assert_eq!(config.hosts.len(), 1);
    for section in [
        "",
        "[version_gate]\n",
        "[notify]\n",
        "[[host]]\n",
        "[archive]\n",
    ] {
        for key in keys_of(&format!("{section}no_such_key = 1\n")) {
            let stated = |line: &str| {
                let rest = line.strip_prefix(&key);
                rest.is_some_and(|rest| rest.starts_with(" = "))
            };
            // A table's name is stated by its header.
            let table = with_all.contains(&format!("[{key}]"));
            assert!(
                table || with_all.lines().any(stated),
                "{section}{key} is not in the example"
            );
        }
    }
}

/// The keys that the code knows, as the error on an unknown one lists them.
fn keys_of(text: &str) -> Vec<String> {
    let error = toml::from_str::<Config>(text).unwrap_err().to_string();
    let (_, expected) = error.split_once("expected").expect(&error);
    let keys: Vec<String> = expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert!(keys.len() > 1, "{error}");
    keys
}

/// The text with its `#key = value` and `#[table]` lines in use.
fn uncommented(text: &str) -> String {
    let in_use = |line: &str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => {
            format!("{setting}\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(in_use).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
