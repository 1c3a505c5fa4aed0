//! The query of a list: `cursor=`, `limit=`, `host=` and `tail=`, in any order, each at most once. Pure.
//!
//! Nothing is decoded: every value is digits or a name that needs no escape. An error names the key and
//! never shows a value, which might be a secret that went to the wrong place.

use crate::names::HostId;
use crate::receiver::refusal::Refusal;
use crate::receiver::store::row_pages::{Begin, PageQuestion, ROWS_MAX};

/// Which part of the list is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListQuery<'a> {
    /// As it was sent: whether it is a cursor is judged when the peer is known to be a reader.
    cursor: Option<&'a str>,
    limit: Option<usize>,
    host: Option<HostId>,
    tail: Option<usize>,
}

const KEYS: &str = "cursor, limit, host and tail are the keys of a list, each at most once";

impl<'a> ListQuery<'a> {
    /// Errors: 400, which names the key.
    pub(super) fn parse(query: &'a str) -> Result<ListQuery<'a>, Refusal> {
        let mut parsed = ListQuery {
            cursor: None,
            limit: None,
            host: None,
            tail: None,
        };
        if query.is_empty() {
            return Ok(parsed);
        }
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            parsed.take(key, value).map_err(Refusal::BadQuery)?;
        }
        if parsed.cursor.is_some() && parsed.tail.is_some() {
            let why = "tail and cursor both say where to begin: send one of them";
            return Err(Refusal::BadQuery(why.to_owned()));
        }
        Ok(parsed)
    }

    fn take(&mut self, key: &str, value: &'a str) -> Result<(), String> {
        let is_repeated = match key {
            "cursor" => self.cursor.is_some(),
            "limit" => self.limit.is_some(),
            "host" => self.host.is_some(),
            "tail" => self.tail.is_some(),
            _ => {
                let shown: String = key.chars().take(40).collect();
                return Err(format!("the key {shown:?} is not known; {KEYS}"));
            }
        };
        if is_repeated {
            return Err(format!("{key} stands in the query more than once; {KEYS}"));
        }
        if value.is_empty() {
            return Err(format!(
                "{key} has no value; leave it out, or send {key}=VALUE"
            ));
        }
        match key {
            "cursor" => self.cursor = Some(value),
            "limit" => self.limit = Some(rows(key, value)?),
            "tail" => self.tail = Some(rows(key, value)?),
            _ => self.host = Some(host(value)?),
        }
        Ok(())
    }

    /// The page that is asked for.
    ///
    /// Errors: the cursor is none.
    pub(super) fn question(&self) -> Result<PageQuestion, Refusal> {
        let begin = match (self.tail, self.cursor) {
            (Some(rows), _) => Begin::Tail(rows),
            (None, None) => Begin::At(0),
            (None, Some(cursor)) => Begin::At(number(cursor).ok_or(Refusal::BadCursor)?),
        };
        Ok(PageQuestion {
            begin,
            rows_max: self.limit.unwrap_or(ROWS_MAX),
            host: self.host.clone(),
        })
    }

    /// The query of the page that follows, which begins at `cursor`.
    pub(super) fn following(&self, cursor: u64) -> String {
        let mut query = format!("cursor={cursor}");
        if let Some(limit) = self.limit {
            query += &format!("&limit={limit}");
        }
        if let Some(host) = &self.host {
            query += &format!("&host={host}");
        }
        query
    }
}

fn rows(key: &str, value: &str) -> Result<usize, String> {
    let count = number(value).and_then(|count| usize::try_from(count).ok());
    count
        .filter(|count| (1..=ROWS_MAX).contains(count))
        .ok_or_else(|| format!("{key} is not a number from 1 to {ROWS_MAX}"))
}

fn host(value: &str) -> Result<HostId, String> {
    let allowed = "host is not a host id (1-63 of a-z, 0-9 and -, the first a letter or digit)";
    HostId::parse(value).map_err(|_| allowed.to_owned())
}

/// Digits, as we write a number: without a sign and without zeros before it.
fn number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(query: &str) -> PageQuestion {
        ListQuery::parse(query).unwrap().question().unwrap()
    }

    #[test]
    fn keys_stand_in_any_order() {
        let all = PageQuestion {
            begin: Begin::At(0),
            rows_max: 1000,
            host: None,
        };
        assert_eq!(question(""), all);
        let host = HostId::parse("lab-1").ok();
        let some = PageQuestion {
            begin: Begin::At(7),
            rows_max: 3,
            host: host.clone(),
        };
        assert_eq!(question("cursor=7&limit=3&host=lab-1"), some);
        assert_eq!(question("host=lab-1&limit=3&cursor=7"), some);
        let newest = PageQuestion {
            begin: Begin::Tail(5),
            host,
            ..all
        };
        assert_eq!(question("tail=5&host=lab-1"), newest);
    }

    #[test]
    fn what_is_no_query_is_refused_with_its_key() {
        for (query, key) in [
            ("x=1", "\"x\""),
            ("Cursor=1", "\"Cursor\""),
            ("%63ursor=1", "\"%63ursor\""),
            ("&", "\"\""),
            ("limit=1&", "\"\""),
            ("=1", "\"\""),
            ("limit", "limit has no value"),
            ("limit=", "limit has no value"),
            ("cursor=", "cursor has no value"),
            ("limit=0", "limit is not"),
            ("limit=1001", "limit is not"),
            ("limit=+1", "limit is not"),
            ("limit=01", "limit is not"),
            ("limit=1=2", "limit is not"),
            ("limit=99999999999999999999", "limit is not"),
            ("limit=1&limit=1", "limit stands"),
            ("tail=0", "tail is not"),
            ("tail=1001", "tail is not"),
            ("tail=1&tail=1", "tail stands"),
            ("host=", "host has no value"),
            ("host=LAB", "host is not"),
            ("host=lab%2d1", "host is not"),
            ("host=a&host=a", "host stands"),
            ("cursor=1&cursor=1", "cursor stands"),
            ("cursor=1&tail=1", "tail and cursor"),
        ] {
            let refusal = ListQuery::parse(query).unwrap_err();
            assert_eq!(refusal.name(), "bad-query", "{query}");
            assert!(refusal.to_string().contains(key), "{query}: {refusal}");
        }
    }

    #[test]
    fn a_cursor_is_a_number_as_it_was_given() {
        for odd in ["x", "-1", "+1", "01", "1.0", "%31", "18446744073709551616"] {
            let query = format!("cursor={odd}");
            let parsed = ListQuery::parse(&query).unwrap();
            let refusal = parsed.question().unwrap_err();
            assert_eq!(refusal.name(), "bad-cursor", "{odd}");
        }
    }

    #[test]
    fn the_page_that_follows_has_the_same_bounds() {
        let query = ListQuery::parse("host=a&limit=2&tail=9").unwrap();
        assert_eq!(query.following(50), "cursor=50&limit=2&host=a");
    }
}
