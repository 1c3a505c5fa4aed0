//! Text as HTML: escaping, and the small pieces that the parts of the page share.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use crate::terminal::is_deceptive;
use crate::{clock, human};

const DAY_S: u64 = 86_400;
const YEAR_10000_S: u64 = 253_402_300_800;

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

/// When something was, as an age, with the time itself for those who point at it.
#[derive(Clone, Copy)]
pub(super) struct When {
    /// Seconds since 1970; `None` if it is not known.
    at_s: Option<u64>,
    now_s: u64,
}

impl When {
    /// A time behind the year 9999 is no time: no clock has it.
    pub(super) fn of(at_s: Option<u64>, now_s: u64) -> When {
        let at_s = at_s.filter(|at_s| *at_s < YEAR_10000_S);
        When { at_s, now_s }
    }

    /// Of a time as [`clock::rfc3339`] writes it. Any other text is no time.
    pub(super) fn of_text(text: &str, now_s: u64) -> When {
        When::of(clock::parse_rfc3339(text), now_s)
    }

    /// How long ago; `None` for a time ahead too, which comes from a clock that was ahead or is behind now.
    pub(super) fn past(self) -> Option<Duration> {
        let past_s = self.now_s.checked_sub(self.at_s?)?;
        Some(Duration::from_secs(past_s))
    }

    /// How far ahead; nothing if it is not.
    pub(super) fn ahead(self) -> Duration {
        let ahead_s = self.at_s.and_then(|at_s| at_s.checked_sub(self.now_s));
        Duration::from_secs(ahead_s.unwrap_or(0))
    }

    /// The attribute that shows the time itself; nothing if it is not known.
    pub(super) fn title(self) -> String {
        let Some(at_s) = self.at_s else {
            return String::new();
        };
        format!(" title={}", absolute(at_s))
    }

    /// The same, with a word before the time.
    pub(super) fn title_with(self, word: &str) -> String {
        let Some(at_s) = self.at_s else {
            return String::new();
        };
        format!(" title=\"{word} {}\"", absolute(at_s))
    }

    /// In the middle of a text.
    pub(super) fn span(self) -> String {
        self.around(&self.to_string())
    }

    /// A text that stands for the time.
    pub(super) fn around(self, text: &str) -> String {
        match self.at_s {
            Some(_) => format!("<span{}>{text}</span>", self.title()),
            None => text.to_owned(),
        }
    }

    /// As a cell of its own.
    pub(super) fn cell(self) -> String {
        format!("<td{}>{self}", self.title())
    }

    /// The time of the day, with its date if that is another day: `03:38`, `28 Nov 03:38`.
    pub(super) fn of_day(self) -> String {
        let Some(at_s) = self.at_s else {
            return "an unknown time".to_owned();
        };
        let time = &absolute(at_s)[11..16];
        if at_s / DAY_S == self.now_s / DAY_S {
            return self.around(time);
        }
        self.around(&format!("{} {time}", date(at_s)))
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.past(), self.at_s) {
            (Some(past), _) => f.write_str(&human::ago(past)),
            (None, Some(_)) => write!(f, "{} ahead", human::span(self.ahead())),
            (None, None) => f.write_str("at an unknown time"),
        }
    }
}

/// `2026-11-29T03:38:12Z`.
pub(super) fn absolute(at_s: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(at_s));
    clock::rfc3339(time.unwrap_or(UNIX_EPOCH))
}

/// `29 Nov`.
pub(super) fn date(at_s: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let time = absolute(at_s);
    let month: usize = time[5..7].parse().unwrap_or(0);
    let month = MONTHS
        .get(month.wrapping_sub(1))
        .copied()
        .unwrap_or_default();
    format!("{} {month}", time[8..10].trim_start_matches('0'))
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

    #[test]
    fn an_age_has_its_time() {
        let now_s = clock::parse_rfc3339("2026-11-29T12:00:00Z").unwrap();
        for (at, span, of_day) in [
            (
                "2026-11-29T03:38:00Z",
                "<span title=2026-11-29T03:38:00Z>8 h 22 min ago</span>",
                "<span title=2026-11-29T03:38:00Z>03:38</span>",
            ),
            (
                "2026-11-09T12:00:00Z",
                "<span title=2026-11-09T12:00:00Z>20 d ago</span>",
                "<span title=2026-11-09T12:00:00Z>9 Nov 12:00</span>",
            ),
            (
                "2026-11-29T12:01:00Z",
                "<span title=2026-11-29T12:01:00Z>1 min ahead</span>",
                "<span title=2026-11-29T12:01:00Z>12:01</span>",
            ),
            ("<b>", "at an unknown time", "an unknown time"),
        ] {
            let when = When::of_text(at, now_s);
            assert_eq!(
                (when.span(), when.of_day()),
                (span.to_owned(), of_day.to_owned())
            );
        }
        assert_eq!(When::of(None, now_s).cell(), "<td>at an unknown time");
        let never = When::of(Some(u64::MAX), 0);
        assert_eq!(
            (never.past(), never.span()),
            (None, "at an unknown time".to_owned())
        );
        assert_eq!(date(YEAR_10000_S - 1), "31 Dec");
    }
}
