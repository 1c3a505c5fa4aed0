//! Amounts, times and counts as people read them, on a terminal and on the page; and amounts and names
//! as people write them.

use std::fmt::Display;
use std::time::Duration;

/// A number of bytes: `999 B`, `1.5 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.95 would be shown as 1000.0.
    while amount >= 999.95 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// A number of bytes as people write it: `77`, `500k`, `8GB`, `8 GiB`. k, M, G and T are thousands,
/// Ki, Mi, Gi and Ti are 1024s, and a B may follow. `None` if it is anything else, or too large.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let factor: u64 = match unit.strip_suffix('B').unwrap_or(unit) {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A text whose URL shows `***` in place of the user and password before its `@`. One without a
/// scheme may be meant as a URL too, unless it is a path.
pub(crate) fn without_user(text: &str) -> String {
    let host_at = match text.find("://") {
        Some(at) => at + 3,
        None => usize::from(text.starts_with('"')),
    };
    let (scheme, rest) = text.split_at(host_at);
    if rest.starts_with('/') {
        return text.to_owned();
    }
    // By RFC 3986 an `@` after a slash belongs to the path. But people write passwords with a slash.
    match rest.rfind('@') {
        Some(at) => format!("{scheme}***{}", &rest[at..]),
        None => text.to_owned(),
    }
}

/// A count with its noun: `1 host`, `2 hosts`. The plural is the noun and an s, unless it ends in y
/// after a consonant: `1 retry`, `2 retries`.
pub(crate) fn counted(count: impl Display, noun: &str) -> String {
    let count = count.to_string();
    if count == "1" {
        return format!("1 {noun}");
    }
    let before_y = noun.strip_suffix('y');
    match before_y.filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u'])) {
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {noun}s"),
    }
}

/// A length of time in its largest unit, with the next one for hours and for up to a week: `40 s`,
/// `7 min`, `3 h 20 min`, `2 d 4 h`, `12 d`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let minutes = seconds / 60;
    let hours = seconds / 3600;
    let days = seconds / 86_400;
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => in_two_units(hours, "h", minutes % 60, "min"),
        _ if days < 7 => in_two_units(days, "d", hours % 24, "h"),
        _ => format!("{days} d"),
    }
}

/// How long ago something was: `just now`, `7 s ago`, `2 d 4 h ago`.
pub(crate) fn ago(time: Duration) -> String {
    match time.as_secs() {
        ..5 => "just now".to_owned(),
        _ => format!("{} ago", span(time)),
    }
}

/// In two units; in the large one alone if the small amount is 0.
fn in_two_units(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

/// A count with a narrow no-break space between its thousands: `12 345`.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// The known name that a person most likely meant: the one with the fewest slips between it and
/// `unknown`, or one that begins with `unknown`. `None` if no name is near.
pub(crate) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips_max = unknown.trim_start_matches('-').chars().count().div_ceil(3);
    let measured = known.map(|name| {
        let begins = unknown.len() > 2 && name.starts_with(unknown);
        (if begins { 1 } else { slips(unknown, name) }, name)
    });
    let (slips, name) = measured.min_by_key(|(slips, _)| *slips)?;
    (slips <= slips_max).then_some(name)
}

/// How many letters must be added, left out, changed or swapped with a neighbour to get from one text to
/// the other.
fn slips(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let same = usize::from(from[i - 1] != to[j - 1]);
            let mut least = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

/// A key by which `lab-9` comes before `lab-10`: each run of digits is preceded by its length.
pub(crate) fn natural(name: &str) -> String {
    let mut key = String::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let is_number = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_number);
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        if is_number {
            let significant = part.trim_start_matches('0');
            // A byte's worth: no name is longer.
            key.extend(char::from_u32(0x30 + significant.len() as u32));
            key.push_str(significant);
        } else {
            key.push_str(part);
        }
        rest = after;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_people_read_them() {
        for (amount, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (4 << 30, "4.3 GB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(bytes(amount), text);
        }
    }

    #[test]
    fn spans_and_counts_as_people_read_them() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (12_000, "3 h 20 min"),
            (86_400, "1 d"),
            (187_200, "2 d 4 h"),
            (1_036_800, "12 d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(ago(Duration::from_secs(4)), "just now");
        assert_eq!(ago(Duration::from_secs(60)), "1 min ago");
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1 000"),
            (1234567, "1 234 567"),
        ] {
            assert_eq!(count(number).replace('\u{202f}', " "), text);
        }
    }

    #[test]
    fn the_near_name_is_found_and_no_far_one() {
        let known = ["status", "ship", "scrub", "--config", "--json"];
        for (unknown, meant) in [
            ("stauts", Some("status")),
            ("stat", Some("status")),
            ("shp", Some("ship")),
            ("scurb", Some("scrub")),
            ("--jsn", Some("--json")),
            ("--conf", Some("--config")),
            ("frobnicate", None),
            ("x", None),
            ("--x", None),
        ] {
            assert_eq!(nearest(unknown, known.into_iter()), meant, "{unknown}");
        }
    }
    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("77", Some(77)),
            ("500k", Some(500_000)),
            ("20M", Some(20_000_000)),
            ("8G", Some(8_000_000_000)),
            ("8GiB", Some(8 << 30)),
            ("1 MiB", Some(1 << 20)),
            ("10 TB", Some(10_000_000_000_000)),
            ("3B", Some(3)),
            ("", None),
            ("G", None),
            ("-1", None),
            ("1.5M", None),
            ("5  M", None),
            ("5m", None),
            ("99999999999G", None),
            ("1é", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_user() {
        for (url, shown) in [
            ("http://bob:hunter2@pi:1/x", "http://***@pi:1/x"),
            ("http://a@b:p@ss@pi", "http://***@pi"),
            ("http://bob:hunt/er2@pi", "http://***@pi"),
            ("bob:hunter2@pi", "***@pi"),
            ("\"bob:hunter2@pi\"", "\"***@pi\""),
            ("http://pi:1/x", "http://pi:1/x"),
            ("/srv/a@b", "/srv/a@b"),
            ("\"/srv/a@b\"", "\"/srv/a@b\""),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }

    #[test]
    fn one_is_singular() {
        for (count, noun, text) in [
            (0, "host", "0 hosts"),
            (1, "host", "1 host"),
            (2, "host", "2 hosts"),
            (1, "retry", "1 retry"),
            (2, "retry", "2 retries"),
            (2, "day", "2 days"),
        ] {
            assert_eq!(counted(count, noun), text);
        }
    }
}
