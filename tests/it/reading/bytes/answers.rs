//! Every status and header of the contract, in literal bytes.

use std::net::Shutdown;

use super::kept::{ask_on, next};
use super::*;
use crate::world::is_emulated;

/// The SHA-256 of the sample in base64, by `openssl dgst -sha256 -binary | base64`.
const SAMPLE_DIGEST: &str = "G1jIcAMCe6ibXcQCVaOCWV8vwsxHLEL+JYzGz1Xx9KA=";

/// The head of an answer that ends its connection.
fn head(status: &str, length: &str, own: &str, body: &[u8]) -> String {
    head_of("Connection: close\r\n", status, length, own, body)
}

fn head_of(end: &str, status: &str, length: &str, own: &str, body: &[u8]) -> String {
    format!(
        "HTTP/1.1 {status}\r\nServer: M\r\nDate: DATE\r\nContent-Length: {length}\r\n{end}Content-Type: application/zstd\r\nCache-Control: private, max-age=31536000, immutable\r\nAccept-Ranges: bytes\r\nETag: {}\r\nRepr-Digest: sha-256=:{SAMPLE_DIGEST}:\r\nContent-Disposition: attachment; filename=\"lab-1~ep-1.tar.zst\"\r\n{own}\r\n",
        etag(body)
    )
}

#[test]
fn the_whole_is_sent_with_its_digest_and_its_name() {
    let (world, body) = with_episode("", BYTES);
    let got = ask(&world, "GET", PATH, "");
    assert_eq!(got.dated(), head("200 OK", "1000", "", &body));
    assert_eq!(got.body, body);
    let got = ask(&world, "HEAD", PATH, "Range: bytes=5-9\r\n");
    assert_eq!(got.dated(), head("200 OK", "1000", "", &body));
    assert_eq!(got.body, b"");
    let old = raw(&world, &format!("GET {PATH} HTTP/1.0\r\n\r\n"));
    assert_eq!((old.status, old.body), (200, body.clone()));
    // A query means nothing here, a whole URL is its path, and a body of a GET is read by nobody.
    let query = ask(&world, "GET", &format!("{PATH}?x=1"), "");
    assert_eq!((query.status, query.body), (200, body.clone()));
    let url = ask(&world, "GET", &format!("http://pi{PATH}"), "");
    assert_eq!((url.status, url.body), (200, body.clone()));
    let with_body = raw(
        &world,
        &(request("GET", PATH, "Content-Length: 4\r\n") + "body"),
    );
    assert_eq!((with_body.status, with_body.body), (200, body));
}

#[test]
fn one_range_is_a_part_and_everything_else_the_whole() {
    let (world, body) = with_episode("", BYTES);
    for (fields, first, last) in [
        ("Range: bytes=0-0\r\n", 0, 0),
        ("Range: bytes=10-19\r\n", 10, 19),
        ("range:bytes=10-19\r\n", 10, 19),
        ("Range: BYTES=990-\r\n", 990, 999),
        ("Range: bytes=990-5000\r\n", 990, 999),
        ("Range: bytes=-7\r\n", 993, 999),
        ("Range: bytes=-5000\r\n", 0, 999),
        ("Range: bytes=0-\r\n", 0, 999),
    ] {
        let got = ask(&world, "GET", PATH, fields);
        let own = format!("Content-Range: bytes {first}-{last}/1000\r\n");
        let length = (last + 1 - first).to_string();
        let want = head("206 Partial Content", &length, &own, &body);
        assert_eq!(got.dated(), want, "{fields}");
        assert_eq!(got.body, body[first..=last], "{fields}");
    }
    for fields in [
        "Range: bytes=0-1,5-6\r\n",
        "Range: bytes=0-1\r\nRange: bytes=5-6\r\n",
        "Range: bytes=9-5\r\n",
        "Range: bytes=\r\n",
        "Range: bytes=x-\r\n",
        "Range: lines=0-1\r\n",
        "Range:\r\n",
    ] {
        let got = ask(&world, "GET", PATH, fields);
        assert_eq!(got.dated(), head("200 OK", "1000", "", &body), "{fields}");
        assert_eq!(got.body, body, "{fields}");
    }
    for fields in [
        "Range: bytes=1000-\r\n",
        "Range: bytes=1000-1001\r\n",
        "Range: bytes=-0\r\n",
        "Range: bytes=99999999999999999999999-\r\n",
    ] {
        let got = ask(&world, "GET", PATH, fields);
        assert_eq!(got.status, 416, "{fields}");
        assert_eq!(got.header("Content-Range"), Some("bytes */1000"));
        assert_eq!(got.problem(), "outside");
    }
}

#[test]
fn conditions_hold_or_not() {
    let (world, body) = with_episode("", BYTES);
    let own = etag(&body);
    let other = etag(b"other");
    for (fields, want) in [
        (format!("If-None-Match: {other}\r\n"), 200),
        (format!("If-None-Match: {own}\r\n"), 304),
        (format!("If-None-Match: {other}, W/{own}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        (format!("If-None-Match: {own}\r\nRange: bytes=0-0\r\n"), 304),
        (format!("If-Match: {own}\r\n"), 200),
        ("If-Match: *\r\n".to_owned(), 200),
        (format!("If-Match: {other}\r\n"), 412),
        (format!("If-Match: W/{own}\r\n"), 412),
        (format!("If-Match: {other}\r\nRange: bytes=5000-\r\n"), 412),
        (
            format!("If-Match: {other}\r\nIf-None-Match: {own}\r\n"),
            412,
        ),
        (format!("If-Match: {own}\r\nRange: bytes=0-0\r\n"), 206),
        (format!("If-Range: {own}\r\nRange: bytes=0-0\r\n"), 206),
        (format!("If-Range: {other}\r\nRange: bytes=0-0\r\n"), 200),
        (format!("If-Range: W/{own}\r\nRange: bytes=0-0\r\n"), 200),
        (format!("If-Range: {other}\r\nRange: bytes=5000-\r\n"), 200),
        (
            "If-Range: Sat, 28 Nov 2026 21:00:00 GMT\r\nRange: bytes=0-0\r\n".to_owned(),
            200,
        ),
        (format!("If-Range: {own}\r\n"), 200),
        (
            "If-Modified-Since: Sat, 28 Nov 2026 21:00:00 GMT\r\n".to_owned(),
            200,
        ),
    ] {
        let got = ask(&world, "GET", PATH, &fields);
        assert_eq!(got.status, want, "{fields}");
        match want {
            200 => assert_eq!(got.body, body, "{fields}"),
            206 => assert_eq!(got.body, body[..1], "{fields}"),
            304 => assert_eq!(got.body, b"", "{fields}"),
            _ => assert_eq!(got.problem(), "precondition-failed", "{fields}"),
        }
        let head = ask(&world, "HEAD", PATH, &fields);
        let want = if want == 206 { 200 } else { want };
        assert_eq!((head.status, head.body.len()), (want, 0), "{fields}");
    }
    let got = ask(&world, "GET", PATH, "If-None-Match: *\r\n");
    assert_eq!(
        got.dated(),
        format!(
            "HTTP/1.1 304 Not Modified\r\nServer: M\r\nDate: DATE\r\nConnection: close\r\nCache-Control: private, max-age=31536000, immutable\r\nETag: {own}\r\n\r\n"
        )
    );
}

#[test]
fn an_episode_without_bytes_has_an_answer_too() {
    let (world, body) = with_episode("", 0);
    let got = raw(&world, &request("GET", PATH, ""));
    assert_eq!((got.status, got.header("Content-Length")), (200, Some("0")));
    assert_eq!(
        (got.header("ETag"), got.body.len()),
        (Some(&*etag(&body)), 0)
    );
    let got = ask(&world, "GET", PATH, "Range: bytes=0-\r\n");
    assert_eq!(
        (got.status, got.header("Content-Range")),
        (416, Some("bytes */0"))
    );
}

#[test]
fn other_methods_are_refused_and_an_upload_of_the_name_is_no_name() {
    let (world, _) = with_episode("", BYTES);
    for method in ["POST", "DELETE", "PATCH", "TRACE"] {
        let got = ask(&world, method, PATH, "");
        assert_eq!(got.status, 405, "{method}");
        assert_eq!(got.header("Allow"), Some("GET, HEAD, OPTIONS"), "{method}");
    }
    let got = ask(&world, "OPTIONS", PATH, "");
    assert_eq!(
        (got.status, got.header("Allow")),
        (204, Some("GET, HEAD, OPTIONS"))
    );
    let put = Put::sample(&"c".repeat(40)).path(PATH);
    let answer = world.put(&put);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.json()["type"], "urn:cis490:problem:bad-name");
}

/// The same answers, where the connection goes on.
#[test]
fn a_head_says_nothing_of_a_connection_that_goes_on() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let (world, body) = with_episode("", BYTES);
    let mut client = world.client();
    for (fields, status, length, own) in [
        ("", "200 OK", "1000", ""),
        (
            "Range: bytes=10-19\r\n",
            "206 Partial Content",
            "10",
            "Content-Range: bytes 10-19/1000\r\n",
        ),
    ] {
        let got = ask_on(&mut client, fields);
        assert_eq!(got.dated(), head_of("", status, length, own, &body));
    }
}

/// In one segment: a receipt, the bytes, and a third question that is not answered any more, since the
/// bytes end their connection: another question lies behind theirs.
#[test]
fn pipelined_requests_are_answered_in_order_until_the_bytes() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let (world, body) = with_episode("", BYTES);
    let receipt = request("GET", "/v1/episodes/lab-1/ep-1", "");
    let bytes = request("GET", PATH, "Range: bytes=100-199\r\n");
    let mut client = world.client();
    client
        .send(format!("{receipt}{receipt}{bytes}{receipt}").as_bytes())
        .unwrap();
    for _ in 0..2 {
        let answer = client.answer().unwrap();
        assert_eq!(answer.json()["bytes"], BYTES, "{answer:?}");
    }
    let got = Got::parse(&client.rest());
    assert_eq!((got.status, got.body), (206, body[100..200].to_vec()));
}

/// `nc -N` and its kind end their side with the request.
#[test]
fn a_peer_that_has_ended_its_side_gets_all() {
    let (world, body) = with_episode("", LARGE);
    let mut client = world.client();
    client.send(request("GET", PATH, "").as_bytes()).unwrap();
    client.0.shutdown(Shutdown::Write).unwrap();
    assert!(Got::parse(&client.rest()).body == body, "{world}");
}

/// The download of a page's link, as browsers of today ask for it over plain http.
#[test]
fn a_browser_downloads_it() {
    let (world, body) = with_episode("", BYTES);
    for head in [
        "Host: 127.0.0.1:8490\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\nReferer: http://127.0.0.1:8490/\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-User: ?1\r\nPriority: u=0, i\r\n",
        "Host: 10.8.0.1:8490\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: en-US,en;q=0.9\r\n",
    ] {
        let ask = |more: &str| {
            let mut client = world.client();
            let request = format!("GET {PATH} HTTP/1.1\r\n{head}{more}\r\n");
            client.send(request.as_bytes()).unwrap();
            next(&mut client)
        };
        let got = ask("");
        assert_eq!((got.status, &got.body), (200, &body), "{head}");
        assert_eq!(got.header("Content-Encoding"), None);
        // It goes on with a download that was interrupted.
        let more = format!("Range: bytes=400-\r\nIf-Range: {}\r\n", etag(&body));
        let got = ask(&more);
        assert_eq!(
            (got.status, got.body),
            (206, body[400..].to_vec()),
            "{head}"
        );
    }
}

/// The page links each new episode to its receipt and to its bytes, the latter if anybody may read.
#[test]
fn the_page_links_to_what_is_new() {
    let (world, _) = with_episode("", BYTES);
    let page = world.get("/").body;
    let receipt = "<a href=v1/episodes/lab-1/ep-1>ep-1</a>";
    let bytes = "<a href=v1/episodes/lab-1/ep-1.tar.zst>1.0 kB</a>";
    assert!(page.contains(receipt) && page.contains(bytes), "{page}");
    let unread = World::with(NO_GATE);
    store(&unread, "ep-1", b"x");
    let page = unread.get("/").body;
    assert!(
        page.contains(receipt) && !page.contains("tar.zst"),
        "{page}"
    );
}
