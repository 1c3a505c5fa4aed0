//! The reader against the parser: for each line that the reader accepts, both say the same.

use super::*;
use crate::receiver::store::fuzzed::scanned_as_parsed;
use crate::seeded::Seeded;
use crate::wire::{GatePlace, Receipt, Source};

const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const COMMIT: &str = "4904904904904904904904904904904904904904";

/// A row with all members, and rows that lack what may be lacking.
fn rows() -> Vec<Receipt> {
    let full = Receipt {
        seq: Some(7),
        host: "lab-1".parse().unwrap(),
        episode: "20261123T234612Z-0f.a_b".parse().unwrap(),
        bytes: Some(40_960),
        sha256: SHA256.parse().unwrap(),
        commit: Some(COMMIT.parse().unwrap()),
        dirty: Some(false),
        received_at: Some("2026-11-23T23:46:12Z".to_owned()),
        path: Some("episodes/lab-1/20261123T234612Z-0f.a_b.tar.zst".to_owned()),
        gate: Some(GatePlace {
            position: Some(1),
            head_commit: Some(COMMIT.parse().unwrap()),
            source: Some(Source::GitFallback),
        }),
    };
    let empty = Receipt {
        seq: None,
        bytes: None,
        commit: None,
        dirty: None,
        received_at: None,
        path: None,
        gate: None,
        ..full.clone()
    };
    let bare = Some(GatePlace {
        position: None,
        head_commit: None,
        source: None,
    });
    let long = format!("{:x<128}", "e");
    vec![
        Receipt {
            gate: bare,
            dirty: Some(true),
            seq: Some(0),
            commit: Some(SHA256.parse().unwrap()),
            ..full.clone()
        },
        Receipt {
            host: format!("{:0<63}", "h").parse().unwrap(),
            path: Some(format!("episodes/{:0<63}/{long}.tar.zst", "h")),
            episode: long.parse().unwrap(),
            bytes: Some(999_999_999_999_999_999),
            ..full.clone()
        },
        empty,
        full,
    ]
}

fn text(row: &Receipt) -> String {
    serde_json::to_string(row).unwrap()
}

fn is_scanned(line: &[u8]) -> bool {
    scan(line).is_some_and(|(_, length)| length == line.len())
}

#[test]
fn a_row_as_this_program_writes_it_is_read_without_the_parser() {
    for row in rows() {
        let text = text(&row);
        assert_eq!(scan(text.as_bytes()), Some((row.brief(), text.len())));
        // What follows is not looked at.
        let more = text.clone() + "\n{";
        assert_eq!(scan(more.as_bytes()), Some((row.brief(), text.len())));
        for length in 0..text.len() {
            assert_eq!(scan(&text.as_bytes()[..length]), None, "{length} of {text}");
        }
    }
}

#[test]
fn odd_lines_are_left_to_the_parser() {
    let full = text(&rows()[3]);
    for (from, to) in [
        (r#""seq":7"#, r#""seq":07"#),
        (r#""seq":7"#, r#""seq":-7"#),
        (r#""seq":7"#, r#""seq":7.0"#),
        (r#""seq":7"#, r#""seq":7e0"#),
        (r#""seq":7"#, r#""seq":NaN"#),
        (r#""seq":7"#, r#""seq":"7""#),
        (r#""seq":7"#, r#""seq":1000000000000000000"#),
        (r#""seq":7"#, r#""seq":9223372036854775808"#),
        (r#""seq":7,"#, r#""seq":7,"seq":8,"#),
        (r#""seq":7,"#, ""),
        (r#""seq":7"#, r#""seq": 7"#),
        ("lab-1", "LAB-1"),
        ("lab-1", "-lab"),
        ("lab-1", ""),
        ("lab-1", "l\u{e4}b"),
        ("lab-1", r"lab\u002d1"),
        ("0f.a_b", "0f.json"),
        ("0f.a_b", "0f.zst"),
        ("0f.a_b", "0f.partial"),
        ("0f.a_b", "../x"),
        ("ddeeff\"", "ddeefF\""),
        ("ddeeff\"", "ddeef\""),
        ("904904\"", "unknown\""),
        ("904904\"", "49049\""),
        ("2026-11-23T23:46:12Z", "yesterday"),
        ("2026-11-23T23:46:12Z", "2026-11-23 23:46:12Z"),
        ("episodes/", "elsewhere/"),
        (r#""dirty":false"#, r#""dirty":0"#),
        (r#""gate":{"#, r#""gate":{"later":1,"#),
        (r#"git-fallback"}"#, r#"git-fallback"},"later":{}"#),
        ("}}", "}} "),
        ("}}", "}}}"),
        (r#"{"seq""#, r#" {"seq""#),
        (r#"{"seq""#, "\u{feff}{\"seq\""),
    ] {
        let line = full.replacen(from, to, 1);
        assert_ne!(line, full, "{from}");
        assert!(!is_scanned(line.as_bytes()), "{line}");
        scanned_as_parsed(line.as_bytes());
    }
    // A year that is none is a text for the parser, and no time for either reader.
    let line = full.replace("2026-11-23T23:46:12Z", "9999-99-99T99:99:99Z");
    assert!(is_scanned(line.as_bytes()));
    scanned_as_parsed(line.as_bytes());
}

#[test]
fn each_changed_byte_is_judged_as_the_parser_judges_it() {
    let others = b"\0\t\n !\"+,-.09:;AFTZ[\\]_aefgz{}\x7f\x80\xc3\xff";
    for row in rows() {
        let text = text(&row).into_bytes();
        for at in 0..text.len() {
            let (before, after) = (&text[..at], &text[at + 1..]);
            scanned_as_parsed(&[before, after].concat());
            scanned_as_parsed(&[before, &text[at..=at], &text[at..]].concat());
            for other in others {
                scanned_as_parsed(&[before, &[*other], after].concat());
                scanned_as_parsed(&[before, &[*other], &text[at..]].concat());
            }
        }
    }
}

#[test]
fn rows_that_are_cut_joined_and_shuffled_are_judged_as_the_parser_judges_them() {
    let mut dice = Seeded::new(490);
    let rows: Vec<Vec<u8>> = rows().iter().map(|row| text(row).into_bytes()).collect();
    let mut accepted = 0;
    for _ in 0..100_000 {
        let pick = |dice: &mut Seeded| &rows[dice.below(rows.len() as u64) as usize];
        let members = |row: &[u8]| {
            let row = String::from_utf8_lossy(&row[1..row.len() - 1]).into_owned();
            // The members of the gate are cut too: any text will do.
            row.split(',').map(str::to_owned).collect::<Vec<String>>()
        };
        let mut all = members(pick(&mut dice));
        let from = members(pick(&mut dice));
        for _ in 0..dice.below(4) {
            let at = dice.below(all.len() as u64) as usize;
            let one = dice.below(from.len() as u64) as usize;
            match dice.below(3) {
                0 => all[at].clone_from(&from[one]),
                1 => all.insert(at, from[one].clone()),
                _ => all.swap(at, one % 8),
            }
        }
        let line = format!("{{{}}}", all.join(","));
        accepted += usize::from(is_scanned(line.as_bytes()));
        scanned_as_parsed(line.as_bytes());
    }
    assert!((20_000..90_000).contains(&accepted), "{accepted}");
}

#[test]
fn eight_bytes_are_hex_if_each_one_is() {
    for byte in 0..=255_u8 {
        let is_hex = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        for place in 0..8 {
            for other in *b"0f" {
                let mut eight = [other; 8];
                eight[place] = byte;
                assert_eq!(are_hex(eight), is_hex, "{eight:?}");
            }
        }
    }
}
