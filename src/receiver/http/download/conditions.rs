//! The conditions and the range of a request for bytes (RFC 9110, 13 and 14). Pure.
//!
//! The entity tag is the SHA-256 of the whole, so it is a strong one, and equal tags are equal bytes. A
//! condition with a date holds for nothing here: no date of an episode is told.

use std::ops::Range;

use crate::names::Sha256Digest;
use crate::receiver::http::head::Head;

/// What a request for bytes comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    /// These bytes, one at least.
    Part(Range<u64>),
    /// The peer has the bytes: 304.
    NotModified,
    /// `If-Match` names other bytes: 412.
    OtherBytes,
    /// The range begins behind the end: 416.
    Outside,
}

/// The headers that decide.
#[derive(Default)]
pub(super) struct Conditions {
    pub if_match: Option<Vec<u8>>,
    pub if_none_match: Option<Vec<u8>>,
    pub if_range: Option<Vec<u8>>,
    /// Of a GET: another method has no range.
    pub range: Option<Vec<u8>>,
}

impl Conditions {
    pub(super) fn of(method: &str, head: &Head) -> Conditions {
        let range = if method == "GET" { head.range() } else { None };
        Conditions {
            if_match: head.if_match().map(<[u8]>::to_vec),
            if_none_match: head.if_none_match().map(<[u8]>::to_vec),
            if_range: head.if_range().map(<[u8]>::to_vec),
            range: range.map(<[u8]>::to_vec),
        }
    }

    /// Judges them in the order of RFC 9110, 13.2.2, for an episode of so many bytes with this digest.
    pub(super) fn judge(&self, sha256: &Sha256Digest, bytes: u64) -> Wanted {
        let tag = entity_tag(sha256);
        if let Some(tags) = &self.if_match
            && !has_strong(tags, &tag)
        {
            return Wanted::OtherBytes;
        }
        if let Some(tags) = &self.if_none_match
            && has_weak(tags, &tag)
        {
            return Wanted::NotModified;
        }
        let is_own = |one: &Vec<u8>| one == tag.as_bytes();
        match &self.range {
            Some(range) if self.if_range.as_ref().is_none_or(is_own) => part(range, bytes),
            _ => Wanted::Whole,
        }
    }
}

/// The strong entity tag of an episode: its digest, in quotes.
pub(super) fn entity_tag(sha256: &Sha256Digest) -> String {
    format!("\"{sha256}\"")
}

/// Whether `If-Match` names the tag: a weak one never does.
fn has_strong(tags: &[u8], own: &str) -> bool {
    list(tags).any(|one| one == b"*" || one == own.as_bytes())
}

/// Whether `If-None-Match` names the tag, weak or not.
fn has_weak(tags: &[u8], own: &str) -> bool {
    list(tags).any(|one| {
        let opaque = one.strip_prefix(b"W/").unwrap_or(one);
        one == b"*" || opaque == own.as_bytes()
    })
}

fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// The range that `Range` asks for. A value that is not well-formed, or that asks for several, is as good as
/// none: the whole is sent.
fn part(value: &[u8], bytes: u64) -> Wanted {
    match parse(value) {
        Some(Asked::From(first, last)) => {
            if first >= bytes {
                return Wanted::Outside;
            }
            Wanted::Part(first..last.saturating_add(1).min(bytes))
        }
        Some(Asked::Suffix(length)) => {
            if length == 0 || bytes == 0 {
                return Wanted::Outside;
            }
            Wanted::Part(bytes.saturating_sub(length)..bytes)
        }
        None => Wanted::Whole,
    }
}

/// A well-formed range, whether the episode has it or not.
enum Asked {
    /// The first byte and the last one.
    From(u64, u64),
    /// So many bytes before the end.
    Suffix(u64),
}

fn parse(value: &[u8]) -> Option<Asked> {
    let value = std::str::from_utf8(value).ok()?;
    let (unit, range) = value.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim_matches([' ', '\t']).split_once('-')?;
    if first.is_empty() {
        return Some(Asked::Suffix(number(last)?));
    }
    let first = number(first)?;
    if last.is_empty() {
        return Some(Asked::From(first, u64::MAX));
    }
    let last = number(last)?;
    (first <= last).then_some(Asked::From(first, last))
}

/// Digits only. A number that no file's size can be is as good as the largest.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 100;

    fn digest() -> Sha256Digest {
        Sha256Digest::from_bytes([0x5a; 32])
    }

    fn judged(conditions: &Conditions) -> Wanted {
        conditions.judge(&digest(), BYTES)
    }

    #[test]
    fn one_range_that_is_well_formed_is_a_part() {
        for (range, want) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=0-", Wanted::Part(0..100)),
            ("bytes=10-19", Wanted::Part(10..20)),
            ("Bytes=10-19", Wanted::Part(10..20)),
            ("bytes= 10-19\t", Wanted::Part(10..20)),
            ("bytes=99-", Wanted::Part(99..100)),
            ("bytes=99-500", Wanted::Part(99..100)),
            ("bytes=007-008", Wanted::Part(7..9)),
            ("bytes=0-18446744073709551615", Wanted::Part(0..100)),
            ("bytes=0-99999999999999999999", Wanted::Part(0..100)),
            ("bytes=-1", Wanted::Part(99..100)),
            ("bytes=-100", Wanted::Part(0..100)),
            ("bytes=-99999999999999999999", Wanted::Part(0..100)),
            ("bytes=100-", Wanted::Outside),
            ("bytes=100-200", Wanted::Outside),
            ("bytes=99999999999999999999-", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=19-10", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes=0-1, 5-6", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=--1", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=1 - 2", Wanted::Whole),
            ("bytes=0x1-2", Wanted::Whole),
            ("bytes 0-1", Wanted::Whole),
            ("bytes =0-1", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("", Wanted::Whole),
            ("bytes=0-1\u{e9}", Wanted::Whole),
        ] {
            let conditions = Conditions {
                range: Some(range.into()),
                ..Conditions::default()
            };
            assert_eq!(judged(&conditions), want, "{range}");
        }
    }

    #[test]
    fn an_empty_episode_has_no_part() {
        for range in ["bytes=0-", "bytes=-1", "bytes=-0", "bytes=0-0"] {
            let conditions = Conditions {
                range: Some(range.into()),
                ..Conditions::default()
            };
            assert_eq!(conditions.judge(&digest(), 0), Wanted::Outside, "{range}");
        }
    }

    #[test]
    fn conditions_are_judged_in_their_order() {
        let own = entity_tag(&digest());
        let weak = format!("W/{own}");
        let among = format!("\"x\" , {own},\"y\"");
        let bare = digest().to_string();
        let part = Wanted::Part(0..1);
        let (own, weak, among, bare) = (own.as_str(), weak.as_str(), among.as_str(), bare.as_str());
        for (if_match, if_none_match, if_range, want) in [
            (None, None, None, &part),
            (Some(own), None, None, &part),
            (Some("*"), None, None, &part),
            (Some(among), None, None, &part),
            (Some(weak), None, None, &Wanted::OtherBytes),
            (Some("\"x\""), None, None, &Wanted::OtherBytes),
            (Some(bare), None, None, &Wanted::OtherBytes),
            (Some(""), None, None, &Wanted::OtherBytes),
            (None, Some(own), None, &Wanted::NotModified),
            (None, Some("*"), None, &Wanted::NotModified),
            (None, Some(weak), None, &Wanted::NotModified),
            (None, Some(among), None, &Wanted::NotModified),
            (None, Some("\"x\""), None, &part),
            (None, Some(""), None, &part),
            (Some(own), Some(own), None, &Wanted::NotModified),
            (Some("\"x\""), Some(own), None, &Wanted::OtherBytes),
            (None, None, Some(own), &part),
            (None, None, Some(weak), &Wanted::Whole),
            (None, None, Some("\"x\""), &Wanted::Whole),
            (None, None, Some(""), &Wanted::Whole),
            (
                None,
                None,
                Some("Sat, 28 Nov 2026 21:00:00 GMT"),
                &Wanted::Whole,
            ),
        ] {
            let conditions = Conditions {
                if_match: if_match.map(Into::into),
                if_none_match: if_none_match.map(Into::into),
                if_range: if_range.map(Into::into),
                range: Some(b"bytes=0-0".to_vec()),
            };
            let got = judged(&conditions);
            assert_eq!(got, *want, "{if_match:?} {if_none_match:?} {if_range:?}");
        }
    }
}
