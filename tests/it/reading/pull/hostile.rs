//! Servers that lie, do not end, or send what no receiver sends.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Target;
use super::shelf::{Say, Server, Shelf, page, problem, row, with_body};
use crate::client::sha256;

/// What is said in place of these bytes.
type Lie = fn(&[u8]) -> Say;
/// What is said to each question for rows.
type Lists = Box<dyn Fn() -> Say + Send + Sync>;

#[test]
fn names_and_lengths_outside_the_grammar_touch_no_disk() {
    let mut shelf = Shelf::of(3);
    let good = shelf.files.clone();
    let digest = sha256(b"x");
    for slot in [
        "../ep",
        "lab-1/../../evil",
        "lab-1/a/b",
        "LAB/ep",
        "lab-1/.ep",
        "lab-1/ep.partial",
    ] {
        shelf.index += &row(slot, 1, &digest);
    }
    shelf.index += &row("lab-1/huge", u64::MAX, &digest);
    shelf.index += &row("lab-1/digest", 1, &"F".repeat(64));
    shelf.index += "no row\n";
    shelf.put("lab-0/after", b"comes too");
    let server = Server::good(shelf);
    let target = Target::new();
    for again in 0..2 {
        let ran = target.pull(&server.url, &[]);
        assert_eq!(ran.code, Some(2), "{again}: {ran}");
        assert_eq!(
            ran.err.matches("a row of the receiver is none").count(),
            9,
            "{ran}"
        );
    }
    let mut files = good;
    files.insert("lab-0/after".into(), b"comes too".to_vec());
    target.check(&files, "the others");
    let beside: Vec<_> = fs::read_dir(target.dir.path()).unwrap().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
}

/// Each kind of answer that is not the episode's bytes: the rest comes, the episode is noted as missing,
/// and a later pull has it.
#[test]
fn what_is_not_the_episodes_bytes_is_missing_until_a_later_pull() {
    let wrong: [(&str, Lie); 8] = [
        ("404", |_| {
            Say::Bytes(problem("404 Not Found", "no-episode"))
        }),
        ("500", |_| {
            Say::Bytes(problem("500 Internal Server Error", "broken"))
        }),
        ("other bytes", |good| {
            Say::Bytes(with_body("200 OK", "", &vec![7; good.len()]))
        }),
        ("longer", |good| {
            Say::Bytes(with_body("200 OK", "", &[good, b"x"].concat()))
        }),
        ("shorter", |good| {
            Say::Bytes(with_body("200 OK", "", &good[1..]))
        }),
        ("endless", |_| {
            Say::Endless(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(),
                vec![1; 1 << 16],
            )
        }),
        ("an odd part", |good| {
            Say::Bytes(with_body(
                "206 Partial Content",
                "Content-Range: bytes 5-9/10\r\n",
                good,
            ))
        }),
        ("no HTTP status of ours", |_| {
            Say::Bytes(with_body("299 Odd", "", b"odd"))
        }),
    ];
    for (kind, answer) in wrong {
        let lies = Arc::new(AtomicUsize::new(2));
        let left = lies.clone();
        let mut shelf = Shelf::of(9);
        shelf.put("lab-1/lied", &crate::dice::noise(99, 5000));
        let server = Server::new(shelf, move |head, shelf| {
            let is_lie = head.target().ends_with("/lied.tar.zst");
            if is_lie
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                    .is_ok()
            {
                return answer(&shelf.files["lab-1/lied"]);
            }
            shelf.answer(head)
        });
        let target = Target::new();
        let ran = target.pull(&server.url, &[]);
        assert_eq!(ran.code, Some(2), "{kind}: {ran}");
        assert!(ran.err.contains("missing: lab-1/lied: "), "{kind}: {ran}");
        assert_eq!(target.receipts().len(), 9, "{kind}");
        let noted = fs::read_to_string(target.file("pull-missing.jsonl")).unwrap();
        assert_eq!(noted.lines().count(), 1, "{kind}: {noted}");
        assert!(!target.tarball("lab-1/lied").exists(), "{kind}");
        if kind == "404" {
            // It is of another host than the one that is asked for.
            let ran = target.pull(&server.url, &["--host", "lab-0"]);
            assert_eq!(ran.code, Some(0), "{ran}");
        }
        target.pull_all(&server.url, &server.files());
    }
}

#[test]
fn a_list_without_end_ends_the_pull() {
    let cursors = AtomicUsize::new(0);
    let line = row("lab-1/ep-1", 1, &sha256(b"x"));
    let again = line.clone();
    let lists: [(&str, Lists); 3] = [
        (
            "the same cursor",
            Box::new(|| Say::Bytes(page("00000000000000aa", "", None, 7, true))),
        ),
        (
            "the same row",
            Box::new(move || {
                let next = cursors.fetch_add(1, Ordering::SeqCst);
                Say::Bytes(page("00000000000000aa", &again, Some(next), next + 1, true))
            }),
        ),
        (
            "a row without end",
            Box::new(move || {
                let head = "HTTP/1.1 200 OK\r\nX-Cis490-Store: 00000000000000aa\r\nX-Cis490-Next: 1\r\nConnection: close\r\n\r\n";
                Say::Endless(head.into(), vec![b'x'; 1 << 16])
            }),
        ),
    ];
    for (kind, list) in lists {
        let mut shelf = Shelf::of(0);
        shelf.files.insert("lab-1/ep-1".into(), b"x".to_vec());
        let server = Server::new(shelf, move |head, shelf| {
            if head.target().contains('?') {
                list()
            } else {
                shelf.answer(head)
            }
        });
        let ran = Target::new().pull(&server.url, &[]);
        assert_eq!(ran.code, Some(2), "{kind}: {ran}");
        assert!(
            ran.err.contains("does not answer as a receiver"),
            "{kind}: {ran}"
        );
    }
}

#[test]
fn a_row_of_ten_megabytes_is_none() {
    let mut shelf = Shelf::of(2);
    shelf.index += &format!("{{\"host\":\"{}\"}}\n", "x".repeat(10 << 20));
    let server = Server::good(shelf);
    let ran = Target::new().pull(&server.url, &[]);
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.err.len() < 1000, "{}", ran.err.len());
    // One that a page can hold is named and the others come.
    let mut shelf = Shelf::of(2);
    shelf.index += &format!("{{\"host\":\"{}\"}}\n", "x".repeat(100 << 10));
    let server = Server::good(shelf);
    let target = Target::new();
    let ran = target.pull(&server.url, &[]);
    assert_eq!(ran.code, Some(2), "{ran}");
    target.check(&server.files(), "the others");
}

#[test]
fn a_list_without_its_headers_is_no_receivers() {
    for answer in [
        with_body("200 OK", "", b"<html>"),
        with_body("200 OK", "X-Cis490-Store: 00000000000000aa\r\n", b""),
        with_body(
            "200 OK",
            "X-Cis490-Store: 00000000000000aa\r\nX-Cis490-Next: a b&c\r\n",
            b"",
        ),
        with_body(
            "200 OK",
            "X-Cis490-Store: ../..\r\nX-Cis490-Next: 1\r\n",
            b"",
        ),
    ] {
        let server = Server::new(Shelf::default(), move |_, _| Say::Bytes(answer.clone()));
        let target = Target::new();
        let ran = target.pull(&server.url, &[]);
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(!target.file("pull.json").exists());
    }
}

#[test]
fn a_307_is_followed_once_and_without_our_token() {
    let elsewhere = Server::new(Shelf::of(4), |head, shelf| {
        if head.target() == "/again" {
            return Say::Bytes(with_body(
                "307 Temporary Redirect",
                "Location: /more\r\n",
                b"",
            ));
        }
        let bytes = &shelf.files["lab-1/ep-3"];
        Say::Bytes(with_body("200 OK", "", bytes))
    });
    let to = elsewhere.url.clone();
    let server = Server::new(Shelf::of(4), move |head, shelf| {
        let is_third = head.target().ends_with("/ep-3.tar.zst");
        let is_first = head.target().ends_with("/ep-1.tar.zst");
        let place = if is_third {
            "/bucket/ep-3?signed"
        } else {
            "/again"
        };
        if is_third || is_first {
            let field = format!("Location: {to}{place}\r\n");
            return Say::Bytes(with_body("307 Temporary Redirect", &field, b""));
        }
        shelf.answer(head)
    });
    let target = Target::new();
    let token = target.dir.path().join("token");
    fs::write(&token, "secret-token\n").unwrap();
    let ran = target.pull(&server.url, &["--token-file", token.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.err.contains("missing: lab-1/ep-1: "), "{ran}");
    assert_eq!(
        fs::read(target.tarball("lab-1/ep-3")).unwrap(),
        server.files()["lab-1/ep-3"]
    );
    for head in server.heard() {
        assert_eq!(
            head.header("Authorization"),
            Some("Bearer secret-token"),
            "{head:?}"
        );
    }
    let heard = elsewhere.heard();
    assert_eq!(heard.len(), 3, "{heard:?}");
    for head in heard {
        assert_eq!(head.header("Authorization"), None, "{head:?}");
        assert_ne!(head.target(), "/more");
    }
}

#[test]
fn a_list_is_not_followed_to_another_address() {
    let elsewhere = Server::good(Shelf::of(1));
    let to = format!("Location: {}/v1/episodes\r\n", elsewhere.url);
    let server = Server::new(Shelf::default(), move |_, _| {
        Say::Bytes(with_body("307 Temporary Redirect", &to, b""))
    });
    let ran = Target::new().pull(&server.url, &[]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_eq!(elsewhere.heard().len(), 0);
}
