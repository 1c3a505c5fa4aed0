//! Which rows are listed. Pure.

use std::str::FromStr;
use std::time::SystemTime;

use crate::clock;
use crate::failure::Failure;
use crate::names::HostId;
use crate::wire::Receipt;

/// What a row must have to be listed.
pub(super) struct Filter {
    pub host: Option<HostId>,
    /// Seconds since 1970.
    pub since_s: Option<u64>,
    /// The first hex digits of the commit.
    pub commit: Option<String>,
    /// Only rows of code with uncommitted changes.
    pub dirty: bool,
    /// Only rows up to this number.
    pub until: Option<u64>,
    /// Whether rows without a number are let through although there is such an end.
    pub keeps_unnumbered: bool,
}

impl Filter {
    pub(super) fn wants(&self, row: &Receipt) -> bool {
        let of_host = self.host.as_ref().is_none_or(|host| *host == row.host);
        let is_dirty = !self.dirty || row.dirty == Some(true);
        of_host && is_dirty && self.is_in_set(row) && self.is_recent(row) && self.is_of_commit(row)
    }

    /// Whether nothing is asked of a row.
    pub(super) fn wants_all(&self) -> bool {
        self.host.is_none()
            && self.since_s.is_none()
            && self.commit.is_none()
            && !self.dirty
            && self.until.is_none()
    }

    fn is_in_set(&self, row: &Receipt) -> bool {
        let Some(until) = self.until else {
            return true;
        };
        row.seq.map_or(self.keeps_unnumbered, |seq| seq <= until)
    }

    /// A row of an older version has no time, and is as old as that.
    fn is_recent(&self, row: &Receipt) -> bool {
        let Some(since_s) = self.since_s else {
            return true;
        };
        let received_s = row.received_at.as_deref().and_then(clock::parse_rfc3339);
        received_s.is_some_and(|received_s| since_s <= received_s)
    }

    fn is_of_commit(&self, row: &Receipt) -> bool {
        let Some(prefix) = &self.commit else {
            return true;
        };
        let commit = row.commit.map(|commit| commit.to_string());
        commit.is_some_and(|commit| commit.starts_with(prefix.as_str()))
    }
}

/// Errors: the text cannot be the beginning of a commit.
pub(super) fn check_commit(prefix: Option<&str>) -> Result<(), Failure> {
    let Some(prefix) = prefix else {
        return Ok(());
    };
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if (1..=64).contains(&prefix.len()) && prefix.bytes().all(is_hex) {
        return Ok(());
    }
    Err(Failure::usage(
        "--commit is not the beginning of a commit",
        "1 to 64 lowercase hex digits, as git log --oneline prints them",
    ))
}

/// The value of `--since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// So many seconds ago.
    Ago(u64),
    /// Seconds since 1970.
    At(u64),
}

impl Since {
    pub(super) fn unix_seconds(self) -> u64 {
        match self {
            Since::At(seconds) => seconds,
            Since::Ago(seconds) => clock::unix_seconds(SystemTime::now()).saturating_sub(seconds),
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Since, String> {
        if let Some(seconds) = clock::parse_rfc3339(text) {
            return Ok(Since::At(seconds));
        }
        ago(text)
            .map(Since::Ago)
            .ok_or_else(|| "a time ago, such as 30m, 12h, 2d or 1w, or a time in UTC, such as 2026-01-31T12:00:00Z".to_owned())
    }
}

fn ago(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    let unit_s = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| is_plain)?;
    count.checked_mul(unit_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_a_time_ago() {
        for (text, want) in [
            ("2d", Some(Since::Ago(172_800))),
            ("30m", Some(Since::Ago(1800))),
            ("12h", Some(Since::Ago(43_200))),
            ("1w", Some(Since::Ago(604_800))),
            ("0s", Some(Since::Ago(0))),
            ("1970-01-01T00:01:00Z", Some(Since::At(60))),
            ("2d ", None),
            ("d", None),
            ("+2d", None),
            ("2y", None),
            ("2", None),
            ("", None),
            ("2\u{e9}", None),
            ("99999999999999999999d", None),
            ("18446744073709551615w", None),
            ("2026-01-31", None),
        ] {
            assert_eq!(text.parse::<Since>().ok(), want, "{text:?}");
        }
    }

    fn row(text: &str) -> Receipt {
        let sha256 = "0f".repeat(32);
        let text = format!("{{\"host\":\"a\",\"episode\":\"e\",\"sha256\":\"{sha256}\"{text}}}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_row_is_listed_if_it_has_all_that_is_asked_for() {
        let all = || Filter {
            host: None,
            since_s: None,
            commit: None,
            dirty: false,
            until: None,
            keeps_unnumbered: false,
        };
        let commit = format!(",\"commit\":\"{}\"", "ab".repeat(20));
        let old = row("");
        assert!(all().wants(&old));
        let since = |since_s| Filter {
            since_s: Some(since_s),
            ..all()
        };
        let received = row(",\"received_at\":\"1970-01-01T00:01:00Z\"");
        assert!(since(60).wants(&received) && !since(61).wants(&received));
        assert!(!since(0).wants(&old));
        let of_commit = |prefix: &str| Filter {
            commit: Some(prefix.to_owned()),
            ..all()
        };
        assert!(of_commit("aba").wants(&row(&commit)) && !of_commit("b").wants(&row(&commit)));
        assert!(!of_commit("a").wants(&old));
        let dirty = Filter {
            dirty: true,
            ..all()
        };
        assert!(dirty.wants(&row(",\"dirty\":true")));
        assert!(!dirty.wants(&row(",\"dirty\":false")) && !dirty.wants(&old));
        let until = Filter {
            until: Some(5),
            ..all()
        };
        assert!(until.wants(&row(",\"seq\":5")) && !until.wants(&row(",\"seq\":6")));
        assert!(!until.wants(&old));
        let keeps_unnumbered = true;
        assert!(
            Filter {
                keeps_unnumbered,
                ..until
            }
            .wants(&old)
        );
        let of_host = Filter {
            host: HostId::parse("b").ok(),
            ..all()
        };
        assert!(!of_host.wants(&old));
    }
}
