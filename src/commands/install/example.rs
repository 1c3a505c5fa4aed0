//! The example configuration: sets keys in its text, and compares an existing configuration with it.

use toml::{Table, Value};

use crate::human;

/// `text` with a key set, whose line is in it already, in use or commented out. `None` without such a
/// line.
pub(super) fn set(text: &str, key: &str, value: &str) -> Option<String> {
    let stated = |line: &str| {
        let setting = line.strip_prefix('#').unwrap_or(line);
        let rest = setting.strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with(" = "))
    };
    let at = text.lines().position(stated)?;
    let set = format!("{key} = {}", shown(&Value::String(value.to_owned())));
    let lines = text.lines().enumerate();
    Some(lines.fold(String::new(), |mut text, (number, line)| {
        text += if number == at { &set } else { line };
        text.push('\n');
        text
    }))
}

/// A line for each key in which `ours` differs from the example, and for each key of the example that
/// it leaves to the default. A token is never shown.
pub(super) fn difference(ours: &Table, example: &Table) -> Vec<String> {
    let ours = flat(ours);
    let example = flat(example);
    let find = |in_: &[(String, String)], key: &str| {
        let found = in_.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.clone())
    };
    let mut lines = Vec::new();
    for (key, value) in &ours {
        match find(&example, key) {
            Some(default) if default == *value => {}
            Some(default) => lines.push(format!("{key} = {value}, and {default} in the example")),
            None => lines.push(format!("{key} = {value}, which the example leaves out")),
        }
    }
    for (key, default) in &example {
        if find(&ours, key).is_none() {
            lines.push(format!("{key} is left out, so it is {default}"));
        }
    }
    lines
}

/// A value in TOML's notation. For strings, numbers and lists of them JSON's notation is the same.
fn shown(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Every `section.key` with its value on one line.
fn flat(table: &Table) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = flat(inner).into_iter();
                all.extend(inner.map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            Value::Array(tables) if tables.iter().all(Value::is_table) => {
                all.push((key.clone(), human::counted(tables.len(), "table")));
            }
            _ if key == "auth_token" => all.push((key.clone(), "(not shown)".to_owned())),
            Value::String(text) if text.contains('\n') => {
                let lines = text.lines().count();
                all.push((key.clone(), format!("{lines} lines of text")));
            }
            Value::String(text) if text.contains("://") => {
                let url = Value::String(human::without_user(text));
                all.push((key.clone(), shown(&url)));
            }
            value => all.push((key.clone(), shown(value))),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::side::Side;
    use super::*;

    #[test]
    fn every_key_that_is_set_has_its_line_in_the_example() {
        for (side, keys) in [
            (
                Side::Receiver,
                &["forgejo_url", "repo_owner", "repo_name", "auth_token_file"][..],
            ),
            (
                Side::LabHost,
                &["receiver_url", "host_id", "token_file"][..],
            ),
        ] {
            let mut text = side.example().to_owned();
            for key in keys {
                text = set(&text, key, "quoted \"so\"").unwrap();
                assert!(text.contains(&format!("\n{key} = ")), "{key}");
            }
            let table: Table = text.parse().unwrap();
            let shown = format!("{table:?}");
            assert_eq!(shown.matches("quoted").count(), keys.len(), "{shown}");
            assert_eq!(text.lines().count(), side.example().lines().count());
        }
        assert_eq!(set("a = 1", "b", "2"), None);
    }

    #[test]
    fn a_difference_is_shown_key_by_key_and_a_token_never() {
        let example: Table = "a = 1\nb = \"x\"\n[gate]\nwindow = 100\n".parse().unwrap();
        let ours: Table =
            "b = \"http://bob:sesame@y\"\n[gate]\nwindow = 100\nauth_token = \"sesame\"\n[[host]]\nid = 1\n"
                .parse()
                .unwrap();
        assert_eq!(
            difference(&ours, &example),
            [
                "b = \"http://***@y\", and \"x\" in the example",
                "gate.auth_token = (not shown), which the example leaves out",
                "host = 1 table, which the example leaves out",
                "a is left out, so it is 1",
            ]
        );
        assert_eq!(difference(&example, &example), [""; 0]);
    }
}
