//! Text as HTML: escaping, and the small pieces that the parts of the page share.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::human;
use crate::names::CommitHash;
use crate::terminal::is_deceptive;

/// A text from anywhere, as text or as an attribute in double quotes: at most `chars_max` characters.
///
/// Characters that show nothing or turn the direction of the line could hide or disguise what else
/// stands in it: they are shown as a box.
pub(super) fn escape(text: &str, chars_max: usize) -> String {
    let mut safe = String::new();
    for (place, character) in text.chars().enumerate() {
        if place == chars_max {
            safe.push('…');
            break;
        }
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&#34;"),
            '\'' => safe.push_str("&#39;"),
            character if character != '\n' && is_deceptive(character) => safe.push('\u{fffd}'),
            character => safe.push(character),
        }
    }
    safe
}

/// The text with a capital letter at its beginning, unless it begins with a name, a path or a key.
pub(super) fn capital(text: &str) -> String {
    let first_word = text.split(' ').next().unwrap_or_default();
    let first_word = first_word.trim_end_matches([',', ';', ':']);
    if !first_word.chars().all(char::is_alphabetic) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// A commit as its first eight digits.
pub(super) fn commit(commit: Option<&CommitHash>) -> String {
    match commit {
        None => "<i>unknown</i>".to_owned(),
        Some(commit) => format!("<code>{}</code>", short(commit)),
    }
}

pub(super) fn short(commit: &CommitHash) -> String {
    let mut digits = commit.to_string();
    digits.truncate(8);
    digits
}

/// How long ago something was, or how far ahead.
#[derive(Clone, Copy)]
pub(super) enum Ago {
    Past(Duration),
    /// By a clock that was ahead, or is behind now.
    Future(Duration),
    Unknown,
}

impl Ago {
    pub(super) fn of(at_s: Option<u64>, now_s: u64) -> Ago {
        match at_s {
            None => Ago::Unknown,
            Some(at_s) if at_s <= now_s => Ago::Past(Duration::from_secs(now_s - at_s)),
            Some(at_s) => Ago::Future(Duration::from_secs(at_s - now_s)),
        }
    }

    pub(super) fn past(self) -> Option<Duration> {
        match self {
            Ago::Past(time) => Some(time),
            _ => None,
        }
    }
}

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ago::Past(time) => f.write_str(&human::ago(*time)),
            Ago::Future(time) => write!(f, "{} ahead", human::span(*time)),
            Ago::Unknown => f.write_str("at an unknown time"),
        }
    }
}

/// `1 episode`, `2 episodes`, `12 345 episodes`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    human::counted(human::count(count), noun)
}

/// Some names, and how many more there are.
pub(super) fn names<'a>(all: impl Iterator<Item = Cow<'a, str>>, shown_max: usize) -> String {
    let mut all = all.peekable();
    let shown: Vec<Cow<str>> = all.by_ref().take(shown_max).collect();
    let more = all.count();
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_sent_is_markup_or_moves_what_stands_beside_it() {
        let sent = "<script>\"'&\u{202e}\u{200b}\0\x1b[2J</script>";
        assert_eq!(
            escape(sent, 100),
            "&lt;script&gt;&#34;&#39;&amp;\u{fffd}\u{fffd}\u{fffd}\u{fffd}[2J&lt;/script&gt;"
        );
        assert_eq!(escape("äöü", 2), "äö…");
        assert_eq!(escape("äö", 2), "äö");
    }
}
