//! The member is found in what recorders write, and each fault is named with its place.

use super::*;

fn found(json: &[u8]) -> Option<Value> {
    member(json, "it").unwrap_or_else(|fault| {
        panic!("{:?}: {fault:?}", String::from_utf8_lossy(json));
    })
}

#[test]
fn the_member_is_found_wherever_it_is() {
    let seven = Some(Value::from(7));
    for json in [
        &br#"{"it":7}"#[..],
        b"\xef\xbb\xbf{\"it\":7}",
        b"\r\n{\r\n\t\"a\": {},\r\n\"it\" : 7 \r\n}\r\n",
        br#"{"a":[],"b":{},"c":[[],{}],"it":7}"#,
        br#"{"a":{"it":8,"b":[{"it":9}]},"it":7,"\u0069\u0074\u0074":1}"#,
        br#"{"\u0069t":7}"#,
        br#"{"a":NaN,"b":[-Infinity,{"c":Infinity}],"it":7}"#,
        br#"{"it":7,"a":1e999,"b":-0.0E-9,"c":true,"d":false,"e":null,"f":0}"#,
        b"{\"a\":\"\xff\xfe\",\"\xc3\":1,\"it\":7}",
        br#"{"a":"\ud800","b":"\"\\\/\b\f\n\r\t\u00e9","it":7}"#,
    ] {
        assert_eq!(found(json), seven, "{:?}", String::from_utf8_lossy(json));
    }
    for json in [
        &b"{}"[..],
        br#"{"its":7}"#,
        br#"{"a":{"it":7}}"#,
        br#"{"a":"it"}"#,
    ] {
        assert_eq!(found(json), None, "{:?}", String::from_utf8_lossy(json));
    }
}

#[test]
fn what_is_no_json_is_said_with_its_place() {
    let deep = "[".repeat(100_000);
    for (json, line, column, words) in [
        ("", 1, 1, "ends too early"),
        (" \n ", 2, 2, "ends too early"),
        ("[]", 1, 1, "an object was expected"),
        ("\"text\"", 1, 1, "an object was expected"),
        ("\0\0\0\0", 1, 1, "a NUL byte"),
        ("{} {}", 1, 4, "more after"),
        ("{", 1, 2, "ends too early"),
        ("{\"a\"", 1, 5, "ends too early"),
        ("{\"a\":", 1, 6, "ends too early"),
        ("{\"a\":1", 1, 7, "ends too early"),
        ("{\"a\":1,}", 1, 8, "a key in quotes"),
        ("{a:1}", 1, 2, "a key in quotes"),
        ("{'a':1}", 1, 2, "a key in quotes"),
        ("{\"a\" 1}", 1, 6, "a colon"),
        ("{\"a\":[1 2]}", 1, 9, "a comma or ']'"),
        ("{\"a\":{\"b\":1]}", 1, 12, "a comma or '}'"),
        ("{\"a\":[1,]}", 1, 9, "a value"),
        ("{\n  \"é\": \"ü\",\n  \"b\": oops\n}", 3, 8, "a value"),
        ("{\"a\":nul}", 1, 6, "a value"),
        ("{\"a\":nan}", 1, 6, "a value"),
        ("{\"a\":-}", 1, 7, "a number"),
        ("{\"a\":01}", 1, 8, "a number"),
        ("{\"a\":1.}", 1, 8, "a number"),
        ("{\"a\":1e+}", 1, 9, "a number"),
        ("{\"a\":.5}", 1, 6, "a value"),
        ("{\"a\": \"\u{1}\"}", 1, 8, "a control character"),
        ("{\"a\":\"b\nc\"}", 1, 8, "a control character"),
        ("{\"a\":\"\\x\"}", 1, 8, "a backslash"),
        ("{\"a\":\"\\u12g4\"}", 1, 9, "four hexadecimal"),
        ("{\"a\":\"b", 1, 8, "ends too early"),
        ("{\"it\":{\"x\":NaN}}", 1, 12, "NaN is not JSON"),
        ("{\"it\":\n[1,\n1e999]}", 3, 5, "number out of range"),
        (&deep, 1, 1, "an object was expected"),
        (&format!("{{\"a\":{deep}"), 1, 100_006, "ends too early"),
    ] {
        let Err(Fault::NotJson {
            line: found_line,
            column: found_column,
            what,
        }) = member(json.as_bytes(), "it")
        else {
            panic!("{json:.60} is accepted");
        };
        assert!(what.contains(words), "{json:.60}: {what}");
        assert_eq!(
            (found_line, found_column),
            (line, column),
            "{json:.60}: {what}"
        );
    }
}

#[test]
fn a_member_that_is_there_twice_is_no_answer() {
    for json in [
        "{\"it\":7,\n\"it\":7}",
        "{\"it\":null,\"a\":1,\n\"\\u0069t\":7}",
    ] {
        assert_eq!(member(json.as_bytes(), "it"), Err(Fault::Twice { line: 2 }));
    }
}

#[test]
fn wide_encodings_are_named() {
    let text = "{\"it\":7}";
    let utf16 = |to: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to).collect::<Vec<u8>>();
    let utf32 = |to: fn(u32) -> [u8; 4]| {
        let points = text.chars().map(u32::from);
        points.flat_map(to).collect::<Vec<u8>>()
    };
    for (bytes, name) in [
        (utf16(u16::to_le_bytes), "UTF-16"),
        (utf16(u16::to_be_bytes), "UTF-16"),
        (
            [&b"\xff\xfe"[..], &utf16(u16::to_le_bytes)].concat(),
            "UTF-16",
        ),
        (
            [&b"\xfe\xff"[..], &utf16(u16::to_be_bytes)].concat(),
            "UTF-16",
        ),
        (utf32(u32::to_le_bytes), "UTF-32"),
        (utf32(u32::to_be_bytes), "UTF-32"),
        (
            [&b"\xff\xfe\0\0"[..], &utf32(u32::to_le_bytes)].concat(),
            "UTF-32",
        ),
    ] {
        assert_eq!(member(&bytes, "it"), Err(Fault::Encoding(name)));
    }
}

/// Every text that serde_json accepts is accepted, with the same member in it.
#[test]
fn nothing_that_is_json_is_refused() {
    let bytes = |seed: u64| {
        let mut random = crate::seeded::Seeded::new(seed);
        let parts = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"it\"",
            "\"a\"",
            "\"\\u0069t\"",
            "1",
            "-0",
            "1.5e3",
            "true",
            "null",
            " ",
            "\n",
            "\"\\n\"",
            "{}",
            "[]",
            "\"it\":1",
            "\"a\":2",
        ];
        let mut text = "{".to_owned();
        for _ in 0..random.below(12) {
            text += parts[random.below(parts.len() as u64) as usize];
        }
        text + "}"
    };
    let mut accepted = 0;
    for seed in 0..50_000 {
        let text = bytes(seed);
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&text) else {
            assert!(
                member(text.as_bytes(), "it").is_err(),
                "{text}: accepted, and is no JSON"
            );
            continue;
        };
        accepted += 1;
        match member(text.as_bytes(), "it") {
            Ok(found) => assert_eq!(found.as_ref(), object.get("it"), "{text}"),
            Err(fault) => assert!(matches!(fault, Fault::Twice { .. }), "{text}: {fault:?}"),
        }
    }
    assert!(accepted > 100, "{accepted}");
}
