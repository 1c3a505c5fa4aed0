//! What must hold for every `Range` header, for tests and the fuzz targets alone.

use std::ops::Range;

use super::conditions::{Conditions, Wanted, entity_tag};
use crate::names::Sha256Digest;
use crate::receiver::http::head::Head;

/// The digest of the episodes here.
const SHA256: [u8; 32] = [0x5a; 32];

/// Judges a `Range` header. The first eight bytes are the size of an episode, the others the header's value.
///
/// 1. It is judged as [`plainly`] reads it.
/// 2. A part is within the episode and not empty, and asked for by its own numbers it is the same part.
/// 3. `If-Range` with the episode's own tag changes nothing, and with another one the whole is sent.
/// 4. Two of the headers are none.
pub fn range(bytes: &[u8]) {
    let Some((size, value)) = bytes.split_first_chunk() else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    // Small ones too, where a header's few digits decide.
    for size in [size, size % 1000] {
        let wanted = judged(&[("Range", value)], size);
        assert_eq!(wanted, plainly(value, size));
        let own = entity_tag(&Sha256Digest::from_bytes(SHA256));
        let fields = [("If-Range", own.as_bytes()), ("Range", value)];
        assert_eq!(judged(&fields, size), wanted);
        let fields = [("Range", value), ("If-Range", b"\"other\"".as_slice())];
        assert_eq!(judged(&fields, size), Wanted::Whole);
        assert_eq!(judged(&[("Range", value); 2], size), Wanted::Whole);
        if let Wanted::Part(part) = wanted {
            is_a_part(&part, size);
        }
    }
}

/// The part that a GET with this head is sent of an episode with so many bytes.
pub(in crate::receiver::http) fn part(head: &Head, size: u64) -> Option<Range<u64>> {
    let sha256 = Sha256Digest::from_bytes(SHA256);
    match Conditions::of("GET", head).judge(&sha256, size) {
        Wanted::Part(part) => Some(part),
        _ => None,
    }
}

fn is_a_part(part: &Range<u64>, size: u64) {
    let Range { start, end } = part;
    assert!(start < end && *end <= size);
    let last = end - 1;
    let again = format!("bytes={start}-{last}");
    assert_eq!(
        judged(&[("Range", again.as_bytes())], size),
        Wanted::Part(part.clone())
    );
    if *end == size {
        let again = format!("bytes=-{}", size - start);
        assert_eq!(
            judged(&[("range", again.as_bytes())], size),
            Wanted::Part(part.clone())
        );
    }
}

/// What a GET with these fields comes to.
fn judged(fields: &[(&str, &[u8])], size: u64) -> Wanted {
    let head = Head::collect("/", fields.iter().copied());
    Conditions::of("GET", &head).judge(&Sha256Digest::from_bytes(SHA256), size)
}

/// One range by RFC 9110, 14.1.2, byte for byte, with blanks around it: `bytes=FIRST-LAST`, `bytes=FIRST-` or
/// `bytes=-LENGTH`. A number beyond every size counts as the largest.
fn plainly(value: &[u8], size: u64) -> Wanted {
    let Some((unit, set)) = value.split_at_checked(b"bytes=".len()) else {
        return Wanted::Whole;
    };
    let mut set = set;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = set {
        set = rest;
    }
    let Some(dash) = set.iter().position(|&byte| byte == b'-') else {
        return Wanted::Whole;
    };
    let (first, last) = (&set[..dash], &set[dash + 1..]);
    let are_digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if !unit.eq_ignore_ascii_case(b"bytes=") || !are_digits(first) || !are_digits(last) {
        return Wanted::Whole;
    }
    let number = |digits: &[u8]| {
        digits.iter().fold(0u64, |number, digit| {
            let digit = u64::from(digit - b'0');
            number.saturating_mul(10).saturating_add(digit)
        })
    };
    match (first, last) {
        ([], []) => Wanted::Whole,
        ([], length) if number(length) == 0 || size == 0 => Wanted::Outside,
        ([], length) => Wanted::Part(size - number(length).min(size)..size),
        (first, [_, ..]) if number(first) > number(last) => Wanted::Whole,
        (first, _) if number(first) >= size => Wanted::Outside,
        (first, []) => Wanted::Part(number(first)..size),
        (first, last) => Wanted::Part(number(first)..number(last).saturating_add(1).min(size)),
    }
}
