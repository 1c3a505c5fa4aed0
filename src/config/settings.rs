//! A configuration as a list of its keys and values: what `cis490 config` prints, and what a reload compares.

use std::fmt::Debug;

use toml::de::{DeTable, DeValue};

/// One key and its value.
pub(crate) struct Setting {
    /// With its table: `version_gate.window`.
    pub key: &'static str,
    /// Exactly, so that two can be compared. It may be a secret.
    value: String,
    /// As a person may see it; `None` if the key is not set and has no default.
    pub shown: Option<String>,
    pub takes_effect: TakesEffect,
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakesEffect {
    OnReload,
    OnRestart,
}

impl Setting {
    /// A value that is no secret.
    pub(crate) fn plain(
        key: &'static str,
        value: impl Debug,
        takes_effect: TakesEffect,
    ) -> Setting {
        let value = format!("{value:?}");
        Setting {
            key,
            shown: Some(value.clone()),
            value,
            takes_effect,
        }
    }

    /// The same of a key that need not be set.
    pub(crate) fn optional(
        key: &'static str,
        value: Option<impl Debug>,
        takes_effect: TakesEffect,
    ) -> Setting {
        match value {
            Some(value) => Setting::plain(key, value, takes_effect),
            None => Setting {
                key,
                value: String::new(),
                shown: None,
                takes_effect,
            },
        }
    }

    /// A value of which a person sees only `shown`.
    pub(crate) fn hidden(
        key: &'static str,
        value: String,
        shown: Option<String>,
        takes_effect: TakesEffect,
    ) -> Setting {
        Setting {
            key,
            value,
            shown,
            takes_effect,
        }
    }
}

/// The keys with another value in `new` than in `old`, each once, of those that take effect then.
pub(crate) fn changed(
    old: &[Setting],
    new: &[Setting],
    takes_effect: TakesEffect,
) -> Vec<&'static str> {
    let values = |all: &[Setting], key: &str| -> Vec<String> {
        let of_key = all.iter().filter(|setting| setting.key == key);
        of_key.map(|setting| setting.value.clone()).collect()
    };
    let mut keys: Vec<&'static str> = Vec::new();
    for setting in old.iter().chain(new) {
        let key = setting.key;
        let is_wanted = setting.takes_effect == takes_effect && !keys.contains(&key);
        if is_wanted && values(old, key) != values(new, key) {
            keys.push(key);
        }
    }
    keys
}

/// The line on which each key of a configuration stands, from 1. A key of a list of tables, such as
/// `[[host]]`, stands there once for each table.
pub(crate) fn lines_of(text: &str) -> Vec<(String, usize)> {
    let Ok(table) = DeTable::parse(text) else {
        return Vec::new();
    };
    let line = |at: usize| text[..at].matches('\n').count() + 1;
    let mut lines = Vec::new();
    for (key, value) in table.get_ref() {
        let name = key.get_ref();
        match value.get_ref() {
            DeValue::Table(inner) => lines.extend(inner.keys().map(|inner| {
                let key = format!("{name}.{}", inner.get_ref());
                (key, line(inner.span().start))
            })),
            DeValue::Array(items) => {
                let starts = items.iter().map(|item| item.span().start);
                lines.extend(starts.map(|start| (name.to_string(), line(start))));
            }
            _ => lines.push((name.to_string(), line(key.span().start))),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_line() {
        let text =
            "# a\nlisten = 1\n[gate]\nwindow = 3\n\n[[host]]\nid = 1\n# b\n[[host]]\nid = 2\n";
        let mut lines = lines_of(text);
        lines.sort();
        let lines: Vec<(&str, usize)> = lines
            .iter()
            .map(|(key, line)| (key.as_str(), *line))
            .collect();
        assert_eq!(
            lines,
            [("gate.window", 4), ("host", 6), ("host", 9), ("listen", 2)]
        );
        assert_eq!(lines_of("x = ["), []);
    }

    #[test]
    fn a_key_is_changed_if_any_of_its_values_is() {
        let host = |id: &str| Setting::plain("host", id, TakesEffect::OnReload);
        let secret = |value: &str| {
            let shown = Some("(secret)".to_owned());
            Setting::hidden("token", value.to_owned(), shown, TakesEffect::OnReload)
        };
        let unset = || Setting::optional("file", None::<&str>, TakesEffect::OnRestart);
        let file = || Setting::optional("file", Some(""), TakesEffect::OnRestart);
        let old = [host("a"), host("b"), secret("1"), unset()];
        for (new, on_reload, on_restart) in [
            (
                vec![host("a"), host("b"), secret("1"), unset()],
                &[][..],
                &[][..],
            ),
            (vec![host("a"), secret("1"), unset()], &["host"], &[]),
            (
                vec![host("b"), host("a"), secret("2"), file()],
                &["host", "token"],
                &["file"],
            ),
            (vec![secret("1"), unset()], &["host"], &[]),
        ] {
            assert_eq!(changed(&old, &new, TakesEffect::OnReload), on_reload);
            assert_eq!(changed(&old, &new, TakesEffect::OnRestart), on_restart);
        }
    }
}
