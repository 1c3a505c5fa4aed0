//! A mistake in a configuration, in words: the line, the key, the value and what is allowed.
//!
//! 1. No line of the file is ever repeated: a secret may stand on it.
//! 2. A value is shown only if its key is known and is no secret, it is short and on one line, and
//!    it does not look as if it had swallowed another key.
//! 3. Of an unknown key the name is shown, with the known one that is nearest, and never its value.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::failure::Failure;
use crate::human::{self, nearest};

/// The beginning of a message of our own `Deserialize` functions. The accepted values follow it.
pub(crate) const ACCEPTS: &str = "accepts ";

const SHOWN_CHARS_MAX: usize = 120;
/// A key with a longer name is more likely a secret that was pasted.
const KEY_CHARS_MAX: usize = 40;

/// The error for a text that is not TOML.
pub(crate) fn of_syntax(text: &str, path: &Path, error: &toml::de::Error) -> Failure {
    Failure::new(
        format!(
            "{}: {}not valid TOML: {}",
            path.display(),
            place(text, error.span()),
            error.message()
        ),
        "fix that place (it is not shown, since it may hold a secret): text stands in quotes, numbers do not; etc/*.toml.example has every key",
    )
}

/// The error for a text that is TOML and not a right configuration.
pub(crate) fn of_content(
    text: &str,
    path: &Path,
    table: &DeTable<'_>,
    error: &toml::de::Error,
) -> Failure {
    let message = error.message();
    let is_unknown = message.starts_with("unknown field");
    let found = error
        .span()
        .and_then(|span| locate(table, span.start, is_unknown));
    let file = path.display();
    let place = format!("{file}: {}", place(text, error.span()));
    match found {
        Some((keys, Found::Key)) => unknown_key(&place, &keys, message),
        Some((keys, Found::Value(value, span))) if missing(message).is_none() => {
            wrong_value(&place, &keys, value, text.get(span).unwrap_or(""), message)
        }
        Some((tables, _)) => missing_key(&format!("{place}{} ", shown_key(&tables)), message),
        None => missing_key(&format!("{file}: "), message),
    }
}

/// `line 3, column 7: `, or an empty text if the place is not known.
fn place(text: &str, span: Option<Range<usize>>) -> String {
    let Some(before) = span.and_then(|span| text.get(..span.start.min(text.len()))) else {
        return String::new();
    };
    let line = before.matches('\n').count() + 1;
    let in_line = before.rsplit('\n').next().unwrap_or("");
    format!("line {line}, column {}: ", in_line.chars().count() + 1)
}

fn unknown_key(place: &str, keys: &[String], message: &str) -> Failure {
    let (key, tables) = keys
        .split_last()
        .map_or(("", keys), |(key, tables)| (key.as_str(), tables));
    let known: Vec<&str> = known_keys(message).collect();
    let named = match key.chars().count() {
        ..=KEY_CHARS_MAX => shown_key(keys),
        long => format!("a name of {long} characters"),
    };
    let meant = nearest(key, known.iter().copied()).map_or(String::new(), |meant| {
        let mut meant_keys = tables.to_vec();
        meant_keys.push(meant.to_owned());
        format!("did you mean {}? ", shown_key(&meant_keys))
    });
    let section = match tables {
        [] => "known here".to_owned(),
        tables => format!("known in {}", shown_key(tables)),
    };
    Failure::new(
        format!("{place}{named} is not a known key"),
        format!("{meant}{section}: {}", known.join(", ")),
    )
}

/// The names of the known keys, which serde's message lists.
fn known_keys(message: &str) -> impl Iterator<Item = &str> {
    let listed = message
        .rsplit_once("`, expected ")
        .map_or("", |(_, listed)| listed);
    listed.split('`').skip(1).step_by(2)
}

/// The key that is missing, if serde's message says that one is.
fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

fn missing_key(place: &str, message: &str) -> Failure {
    let example = "etc/*.toml.example has every key with its default";
    match missing(message) {
        Some(key) => Failure::new(
            format!("{place}has no {key}, which has no default"),
            format!("add {key}; {example}"),
        ),
        None => Failure::new(format!("{place}is not a configuration of cis490"), example),
    }
}

fn wrong_value(
    place: &str,
    keys: &[String],
    value: &DeValue<'_>,
    source: &str,
    message: &str,
) -> Failure {
    let key = shown_key(keys);
    let expected = message
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected);
    if let (DeValue::Table(_), Some("a sequence")) = (value, expected) {
        return Failure::new(
            format!("{place}[{key}] is one table, and {key} is a list of tables"),
            format!("write [[{key}]], with two brackets on either side, before each of them"),
        );
    }
    // A list of tables, where one table is read.
    if source.starts_with("[[") {
        return Failure::new(
            format!("{place}{key} is a list, and there is only one {key}"),
            format!("write [{key}], with one bracket on either side, and once"),
        );
    }
    if is_secret(keys) {
        return Failure::new(
            format!("{place}{key} is not right; its value is not shown"),
            format!("{key} accepts {}", secret_allowed(keys)),
        );
    }
    let error = match shown_value(value, source) {
        Some(shown) => format!("{place}{key} = {shown} is not allowed"),
        None => format!("{place}{key} is not allowed; its value is not shown"),
    };
    let allowed = allowed_words(message, expected);
    Failure::new(error, format!("{key} accepts {allowed}"))
}

/// The values that a key accepts, from serde's message or from ours.
fn allowed_words<'a>(message: &'a str, expected: Option<&'a str>) -> &'a str {
    if let Some(allowed) = message.strip_prefix(ACCEPTS) {
        return allowed;
    }
    if let Some(expected) = expected {
        return in_words(expected);
    }
    // The message of a name's type repeats the value: "x" is not a host id (1-63 of ...).
    match message.rsplit_once(" (") {
        Some((_, allowed)) => allowed.trim_end_matches(')'),
        None => "what etc/*.toml.example shows",
    }
}

/// A type in plain words, from serde's words for it.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, without quotes",
        "a boolean" => "true or false, without quotes",
        "a string" | "string" | "str" => "text in quotes",
        "path string" => "a path in quotes",
        "a sequence" => "a list: [\"one\", \"two\"]",
        _ if is_table(expected) => "a table of its own",
        other => other,
    }
}

fn is_table(expected: &str) -> bool {
    expected.starts_with("struct ") || expected == "a map"
}

fn secret_allowed(keys: &[String]) -> &'static str {
    match keys.last().map(String::as_str) {
        Some("token_sha256") => "the 64 hex digits that cis490 token prints, in quotes",
        _ => "text in quotes, on one line; a file of its own is better",
    }
}

/// Whether a value of this key must never be shown. The name of a secret's file may be shown.
fn is_secret(keys: &[String]) -> bool {
    let words = ["token", "secret", "password"];
    keys.iter()
        .any(|key| words.iter().any(|word| key.contains(word)) && !key.ends_with("_file"))
}

/// The value as it stands in the file, if it may be shown.
fn shown_value(value: &DeValue<'_>, source: &str) -> Option<String> {
    match value {
        DeValue::Table(_) => Some("(a table)".to_owned()),
        DeValue::Array(_) => Some("(a list)".to_owned()),
        _ => may_be_shown(source).then(|| human::without_user(source)),
    }
}

/// Whether the value of a known key that is no secret can be shown. After a missing quote a value may
/// contain the lines that follow it, and a token in them.
pub(crate) fn may_be_shown(value: &str) -> bool {
    let swallowed = |word| value.contains(word) && value.contains('=');
    let is_odd = value.chars().any(char::is_control) || value.contains("\\n");
    let is_long = value.chars().count() > SHOWN_CHARS_MAX;
    !is_odd && !is_long && !["token", "secret", "password"].into_iter().any(swallowed)
}

/// A key as TOML writes it, such as `version_gate.window`. A name that is not a bare key is quoted.
fn shown_key(keys: &[String]) -> String {
    let is_bare = |key: &str| {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        !key.is_empty() && key.bytes().all(ok)
    };
    let shown = |key: &String| {
        if is_bare(key) {
            key.clone()
        } else {
            format!("{key:?}")
        }
    };
    keys.iter().map(shown).collect::<Vec<_>>().join(".")
}

/// What the parser's error points at.
enum Found<'a, 'i> {
    Key,
    Value(&'a DeValue<'i>, Range<usize>),
}

/// The key whose name is at byte `at`, after the keys of the tables around it. With `wants_name` false,
/// the key whose innermost value is there.
fn locate<'a, 'i>(
    table: &'a DeTable<'i>,
    at: usize,
    wants_name: bool,
) -> Option<(Vec<String>, Found<'a, 'i>)> {
    for (key, value) in table.iter() {
        let name = key.get_ref().to_string();
        if wants_name && key.span().contains(&at) {
            return Some((vec![name], Found::Key));
        }
        if let Some((mut keys, found)) = locate_in(value, at, wants_name) {
            keys.insert(0, name);
            return Some((keys, found));
        }
    }
    None
}

fn locate_in<'a, 'i>(
    value: &'a Spanned<DeValue<'i>>,
    at: usize,
    wants_name: bool,
) -> Option<(Vec<String>, Found<'a, 'i>)> {
    let inside = match value.get_ref() {
        DeValue::Table(table) => locate(table, at, wants_name),
        DeValue::Array(values) => values
            .iter()
            .find_map(|value| locate_in(value, at, wants_name)),
        _ => None,
    };
    let is_here = !wants_name && value.span().contains(&at);
    let itself = is_here.then(|| (Vec::new(), Found::Value(value.get_ref(), value.span())));
    inside.or(itself)
}
