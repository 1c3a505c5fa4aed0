//! A table of raw requests, each with what it must come to on the real program: the ideas of the
//! public corpora for conformance and desynchronisation, in our own bytes.
//!
//! Each request gets a connection of its own, with a request behind it that names itself in its
//! answer. Either the connection ends after the answer, or it goes on and that request gets its
//! own answer: nothing in between, and nothing of a body is ever taken for a request.

use std::fmt::Write as _;
use std::io::Read;

use crate::client::{Client, sha256};
use crate::world::World;

/// What comes back for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// This status, and the connection goes on.
    Goes(u16),
    /// This status, and the connection ends.
    Ends(u16),
}
use Want::{Ends, Goes};

/// Were it taken for a request, it would store an episode.
fn smuggled(commit: &str) -> String {
    put("smuggled", commit, "Content-Length: 5\r\n")
}

fn put(episode: &str, commit: &str, lines: &str) -> String {
    format!(
        "PUT /v1/episodes/lab-1/{episode} HTTP/1.1\r\nHost: pi\r\n{lines}{}\r\nhello",
        ours(commit)
    )
}

fn ours(commit: &str) -> String {
    let digest = sha256(b"hello");
    format!("X-Cis490-Code-Commit: {commit}\r\nX-Cis490-Sha256: {digest}\r\n")
}

fn get(lines: &str) -> String {
    format!("GET /v1/health HTTP/1.1\r\nHost: pi\r\n{lines}\r\n")
}

#[rustfmt::skip] // a row a line
fn lengths(commit: &str) -> Vec<(String, Vec<u8>, Want)> {
    let put = |lines: &str| put("length", commit, lines);
    let cases = [
        ("hexadecimal", put("Content-Length: 0x5\r\n"), Ends(400)),
        ("with a parameter", put("Content-Length: 5;\r\n"), Ends(400)),
        ("two numbers", put("Content-Length: 5 5\r\n"), Ends(400)),
        ("a list of one", put("Content-Length: ,5\r\n"), Ends(400)),
        ("quoted", put("Content-Length: \"5\"\r\n"), Ends(400)),
        ("an exponent", put("Content-Length: 5e0\r\n"), Ends(400)),
        ("a fraction", put("Content-Length: 5.0\r\n"), Ends(400)),
        ("a minus zero", put("Content-Length: -0\r\n"), Ends(400)),
        ("wide digits", put("Content-Length: \u{ff15}\r\n"), Ends(400)),
        ("a digit grouping", put("Content-Length: 5_0\r\n"), Ends(400)),
        ("2^64 - 1", put("Content-Length: 18446744073709551615\r\n"), Ends(413)),
        ("2^64 + 5", put("Content-Length: 18446744073709551621\r\n"), Ends(400)),
        ("2^63", put("Content-Length: 9223372036854775808\r\n"), Ends(413)),
        ("2^32 + 5, all of it awaited", put("Content-Length: 99999999999\r\n"), Ends(413)),
        ("twice, spelled differently", put("Content-Length: 5\r\ncontent-length: 05\r\n"), Ends(400)),
        ("twice, apart", put("Content-Length: 5\r\nX-A: b\r\nCONTENT-LENGTH: 0\r\n"), Ends(400)),
        ("an empty one first", put("Content-Length:\r\nContent-Length: 5\r\n"), Ends(400)),
        ("a space before the colon", put("Content-Length : 5\r\n"), Ends(400)),
        ("a tab before the colon", put("Content-Length\t: 5\r\n"), Ends(400)),
        ("a NUL in the name", put("Content-Length\0: 5\r\n"), Ends(400)),
        ("a NUL in the value", put("Content-Length: 5\0\r\n"), Ends(400)),
        ("a vertical tab", put("Content-Length: \x0b5\r\n"), Ends(400)),
        ("folded", put("Content-Length:\r\n 5\r\n"), Ends(400)),
        ("behind a lone CR", put("X-A: b\rContent-Length: 5\r\n"), Ends(400)),
        ("behind CR CR LF", put("X-A: b\r\r\nContent-Length: 5\r\n"), Ends(400)),
        ("another name", put("Content_Length: 5\r\n"), Ends(411)),
        ("a name that begins so", put("Content-Length-X: 5\r\n"), Ends(411)),
        ("named by Connection", put("Content-Length: 5\r\nConnection: close, Content-Length\r\n"), Ends(201)),
        ("stored by now, to be closed", put("Content-Length: 5\r\n"), Ends(200)),
        ("a body that is a request", { let body = smuggled(commit); format!("GET /v1/gate HTTP/1.1\r\nHost: pi\r\nContent-Length: {}\r\n\r\n{body}", body.len()) }, Ends(200)),
        ("none, and a request for a body", { let head = format!("PUT /v1/episodes/lab-1/none HTTP/1.1\r\nHost: pi\r\n{}\r\n", ours(commit)); head + &smuggled(commit) }, Ends(411)),
        ("of a HEAD", "HEAD /v1/gate HTTP/1.1\r\nHost: pi\r\nContent-Length: 5\r\n\r\nhello".to_owned(), Ends(200)),
        ("of a DELETE", "DELETE /v1/gate HTTP/1.1\r\nHost: pi\r\nContent-Length: 5\r\n\r\nhello".to_owned(), Ends(405)),
        ("of nothing at all", get("Content-Length: 0\r\n"), Goes(200)),
        ("of 0 in many digits", get(&format!("Content-Length: {}\r\n", "0".repeat(400))), Goes(200)),
    ];
    let mut cases = of("length", cases);
    // Each of these is a good upload, so each has a name of its own.
    let good = |name: &str, line: &str, want| {
        let bytes = self::put(name, commit, line).into_bytes();
        (format!("length: {name}"), bytes, want)
    };
    cases.extend([
        good("no-space", "Content-Length:5\r\n", Goes(201)),
        good("tab", "Content-Length:\t5\r\n", Goes(201)),
        good("blanks-behind", "Content-Length: 5 \t \r\n", Goes(201)),
        good("leading-zeros", "Content-Length: 0005\r\n", Goes(201)),
        good("any-case", "cOnTeNt-LeNgTh: 5\r\n", Goes(201)),
    ]);
    cases
}

#[rustfmt::skip] // a row a line
fn codings(commit: &str) -> Vec<(String, Vec<u8>, Want)> {
    let behind = smuggled(commit);
    let chunked = |line: &str| format!("GET /v1/gate HTTP/1.1\r\nHost: pi\r\n{line}\r\n0\r\n\r\n{behind}");
    let with_length = |line: &str| {
        let body = format!("0\r\n\r\n{behind}");
        format!(
            "GET /v1/gate HTTP/1.1\r\nHost: pi\r\nContent-Length: {}\r\n{line}\r\n{body}",
            body.len()
        )
    };
    let cases = [
        ("chunked", chunked("Transfer-Encoding: chunked\r\n"), Ends(501)),
        ("without a space", chunked("Transfer-Encoding:chunked\r\n"), Ends(501)),
        ("in capitals", chunked("TRANSFER-ENCODING: CHUNKED\r\n"), Ends(501)),
        ("identity", chunked("Transfer-Encoding: identity\r\n"), Ends(501)),
        ("empty", chunked("Transfer-Encoding:\r\n"), Ends(501)),
        ("unknown", chunked("Transfer-Encoding: xchunked\r\n"), Ends(501)),
        ("a list", chunked("Transfer-Encoding: gzip, chunked\r\n"), Ends(501)),
        ("quoted", chunked("Transfer-Encoding: \"chunked\"\r\n"), Ends(501)),
        ("twice", chunked("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"), Ends(501)),
        ("behind a bare LF", chunked("X-A: b\nTransfer-Encoding: chunked\r\n"), Ends(501)),
        ("obs-text in it", chunked("Transfer-Encoding: chunked\u{a0}\r\n"), Ends(501)),
        ("with a length", with_length("Transfer-Encoding: chunked\r\n"), Ends(501)),
        ("a tab before, with a length", with_length("Transfer-Encoding:\tchunked\r\n"), Ends(501)),
        ("a space before the colon", with_length("Transfer-Encoding : chunked\r\n"), Ends(400)),
        ("a space before the name", with_length(" Transfer-Encoding: chunked\r\n"), Ends(400)),
        ("a vertical tab in it", with_length("Transfer-Encoding: \x0bchunked\r\n"), Ends(400)),
        ("folded", with_length("Transfer-Encoding:\r\n chunked\r\n"), Ends(400)),
        ("folded away", with_length("X-A: b\r\n Transfer-Encoding: chunked\r\n"), Ends(400)),
        ("behind a lone CR", with_length("X-A: b\rTransfer-Encoding: chunked\r\n"), Ends(400)),
        ("a NUL behind the name", with_length("Transfer-Encoding\0: chunked\r\n"), Ends(400)),
        ("another name", with_length("Transfer_Encoding: chunked\r\n"), Ends(200)),
        ("of HTTP/1.0", format!("GET /v1/gate HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{behind}"), Ends(501)),
        ("TE asks for trailers", get("TE: trailers\r\nTrailer: X-A\r\n"), Goes(200)),
        ("an upgrade to HTTP/2", get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), Goes(200)),
        ("a WebSocket", get("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"), Goes(200)),
    ];
    of("coding", cases)
}

#[rustfmt::skip] // a row a line
fn lines(commit: &str) -> Vec<(String, Vec<u8>, Want)> {
    let goes_on = "GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n";
    let cases = [
        ("bare LF ends a line too", "GET /v1/health HTTP/1.1\nHost: pi\n\n".to_owned(), Goes(200)),
        ("LF and CR LF mixed", "GET /v1/health HTTP/1.1\r\nHost: pi\n\r\n".to_owned(), Goes(200)),
        ("empty lines before", format!("\r\n\r\n{goes_on}"), Goes(200)),
        ("an empty LF line before", format!("\n{goes_on}"), Goes(200)),
        ("a lone CR before", format!("\r{goes_on}"), Ends(400)),
        ("a space before", format!(" {goes_on}"), Ends(400)),
        ("a NUL before", format!("\0{goes_on}"), Ends(400)),
        ("a byte order mark before", format!("\u{feff}{goes_on}"), Ends(400)),
        ("CR CR LF", "GET /v1/health HTTP/1.1\r\r\n\r\n".to_owned(), Ends(400)),
        ("a lone CR in a value", get("X-A: b\rc\r\n"), Ends(400)),
        ("a NUL in a value", get("X-A: b\0c\r\n"), Ends(400)),
        ("a DEL in a value", get("X-A: b\x7fc\r\n"), Ends(400)),
        ("an escape in a value", get("X-A: \x1b[2J\r\n"), Ends(400)),
        ("obs-text in a value", get("X-A: caf\u{e9} \u{1f980}\r\n"), Goes(200)),
        ("a tab in a value", get("X-A: b\tc\r\n"), Goes(200)),
        ("no name", get(": b\r\n"), Ends(400)),
        ("no colon", get("X-A\r\n"), Ends(400)),
        ("a space in a name", get("X A: b\r\n"), Ends(400)),
        ("a bracket in a name", get("X[a]: b\r\n"), Ends(400)),
        ("obs-text in a name", get("X-\u{e9}: b\r\n"), Ends(400)),
        ("a folded value", get("X-A: b\r\n c\r\n"), Ends(400)),
        ("a value folded by a tab", get("X-A: b\r\n\tc\r\n"), Ends(400)),
        ("folded before the first header", get(" X-A: b\r\n"), Ends(400)),
        ("16 headers", get(&"X-A: b\r\n".repeat(15)), Goes(200)),
        ("17 headers", get(&"X-A: b\r\n".repeat(16)), Ends(431)),
        ("1000 headers", get(&"X-A: b\r\n".repeat(1000)), Ends(431)),
        ("an empty value", get("X-A:\r\nX-B: \r\n"), Goes(200)),
        ("a value of 15 KiB", get(&format!("X-A: {}\r\n", "b".repeat(15 << 10))), Goes(200)),
        ("a value of 17 KiB", get(&format!("X-A: {}\r\n", "b".repeat(17 << 10))), Ends(431)),
        ("a name of 17 KiB", get(&format!("X-{}: b\r\n", "a".repeat(17 << 10))), Ends(431)),
        ("a path of 17 KiB", format!("GET /{} HTTP/1.1\r\nHost: pi\r\n\r\n", "a".repeat(17 << 10)), Ends(431)),
        ("a method of 17 KiB", format!("{} / HTTP/1.1\r\nHost: pi\r\n\r\n", "A".repeat(17 << 10)), Ends(431)),
        ("one LF behind a body", put("lf-behind", commit, "Content-Length: 5\r\n") + "\n", Goes(201)),
        ("CR LF behind a body", put("crlf-behind", commit, "Content-Length: 5\r\n") + "\r\n", Goes(201)),
    ];
    of("line", cases)
}

#[rustfmt::skip] // a row a line
fn first_lines() -> Vec<(String, Vec<u8>, Want)> {
    let line = |line: &str| format!("{line}\r\nHost: pi\r\n\r\n");
    let cases = [
        ("HTTP/0.9", "GET /v1/health\r\n".to_owned(), Ends(400)),
        ("HTTP/0.9 by number", line("GET /v1/health HTTP/0.9"), Ends(400)),
        ("HTTP/1.0 kept alive", line("GET /v1/health HTTP/1.0").replace("Host: pi", "Connection: keep-alive"), Ends(200)),
        ("HTTP/1.2", line("GET /v1/health HTTP/1.2"), Ends(400)),
        ("HTTP/1.10", line("GET /v1/health HTTP/1.10"), Ends(400)),
        ("HTTP/01.1", line("GET /v1/health HTTP/01.1"), Ends(400)),
        ("http/1.1", line("GET /v1/health http/1.1"), Ends(400)),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), Ends(400)),
        ("two spaces before the version", line("GET /v1/health  HTTP/1.1"), Ends(400)),
        ("a space behind the version", line("GET /v1/health HTTP/1.1 "), Ends(400)),
        ("a tab for a space", line("GET\t/v1/health\tHTTP/1.1"), Ends(400)),
        ("a space in the path", line("GET /v1/ health HTTP/1.1"), Ends(400)),
        ("no path", line("GET HTTP/1.1"), Ends(400)),
        ("an empty path", line("GET  HTTP/1.1"), Ends(400)),
        ("a NUL in the path", line("GET /v1/he\0alth HTTP/1.1"), Ends(400)),
        ("a DEL in the path", line("GET /v1/health\x7f HTTP/1.1"), Ends(400)),
        ("a bracket in the method", line("G[T /v1/health HTTP/1.1"), Ends(400)),
        ("a small method", line("get /v1/health HTTP/1.1"), Goes(501)),
        ("an unknown method", line("BREW /v1/health HTTP/1.1"), Goes(501)),
        ("TRACE", line("TRACE /v1/health HTTP/1.1"), Goes(405)),
        ("CONNECT", line("CONNECT pi:8490 HTTP/1.1"), Goes(501)),
        ("the asterisk", line("OPTIONS * HTTP/1.1"), Ends(204)),
        ("a proxy's form", line("GET http://pi:8490/v1/health HTTP/1.1"), Goes(200)),
        ("a proxy's form, any case", line("GET HTTP://PI/v1/health HTTP/1.1"), Goes(200)),
        ("a proxy's form of nothing", line("GET http:///v1/health HTTP/1.1"), Ends(400)),
        ("another scheme", line("GET ftp://pi/v1/health HTTP/1.1"), Ends(400)),
        ("two slashes", line("GET //v1/health HTTP/1.1"), Goes(404)),
        ("a query", line("GET /v1/health?x=1 HTTP/1.1"), Goes(200)),
        ("a fragment", line("GET /v1/health#x HTTP/1.1"), Ends(400)),
        ("upwards", line("GET /v1/episodes/lab-1/../../gate HTTP/1.1"), Goes(400)),
        ("an escape", line("GET /v1/episodes/lab-1/%2e%2e HTTP/1.1"), Goes(400)),
        ("an escaped NUL", line("GET /v1/episodes/lab-1/e%00 HTTP/1.1"), Goes(400)),
        ("a backslash", line("GET /v1/episodes/lab-1\\e HTTP/1.1"), Goes(400)),
        ("a path parameter", line("GET /v1/episodes/lab-1/e;x HTTP/1.1"), Goes(400)),
        ("a slash behind", line("GET /v1/episodes/lab-1/e/ HTTP/1.1"), Goes(400)),
        ("UTF-8 in the path", line("GET /v1/episodes/lab-1/\u{e9} HTTP/1.1"), Ends(400)),
        ("a name of 129", line(&format!("GET /v1/episodes/lab-1/{} HTTP/1.1", "e".repeat(129))), Goes(400)),
        ("a name of 15 KiB", line(&format!("GET /v1/episodes/lab-1/{} HTTP/1.1", "e".repeat(15 << 10))), Goes(400)),
        ("two hosts", line("GET /v1/health HTTP/1.1").replace("Host: pi", "Host: pi\r\nHost: pi"), Ends(400)),
        ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\u{7c}\x03\x03".to_owned(), Ends(400)),
        ("an SSH client", "SSH-2.0-OpenSSH_9.2\r\n".to_owned(), Ends(400)),
    ];
    let mut cases = of("first line", cases);
    let broken = b"GET /v1/episodes/lab-1/\xff HTTP/1.1\r\nHost: pi\r\n\r\n".to_vec();
    cases.push(("first line: no UTF-8".to_owned(), broken, Ends(400)));
    cases
}

#[rustfmt::skip] // a row a line
fn headers_of_ours(commit: &str) -> Vec<(String, Vec<u8>, Want)> {
    let put = |lines: &str| {
        let length = "Content-Length: 5\r\n";
        format!("PUT /v1/episodes/lab-1/odd HTTP/1.1\r\nHost: pi\r\n{length}{lines}\r\nhello")
    };
    let ours = ours(commit);
    let digest = sha256(b"hello");
    let commit_line = format!("X-Cis490-Code-Commit: {commit}\r\n");
    let digest_line = format!("X-Cis490-Sha256: {digest}\r\n");
    let cases = [
        ("two digests", put(&format!("{ours}{digest_line}")), Ends(400)),
        ("no digest", put(&commit_line), Ends(400)),
        ("two dirties", put(&format!("{ours}X-Cis490-Code-Dirty: true\r\nX-Cis490-Code-Dirty: true\r\n")), Ends(400)),
        ("obs-text in the commit", put(&format!("{digest_line}X-Cis490-Code-Commit: {commit}\u{e9}\r\n")), Ends(400)),
        ("41 digits", put(&format!("{digest_line}X-Cis490-Code-Commit: {commit}0\r\n")), Ends(400)),
        ("a commit and more", put(&format!("{digest_line}X-Cis490-Code-Commit: {commit}, {commit}\r\n")), Ends(400)),
        ("an empty commit", put(&format!("{digest_line}X-Cis490-Code-Commit:\r\n")), Ends(400)),
        ("an expectation twice", put(&format!("{ours}Expect: 100-continue\r\nExpect: 100-continue\r\n")), Ends(400)),
        ("an expectation and more", put(&format!("{ours}Expect: 100-continue, wonders\r\n")), Ends(417)),
        ("an expectation of a GET", get("Expect: 100-continue\r\n"), Ends(200)),
    ];
    of("header", cases)
}

fn of<const N: usize>(
    group: &str,
    cases: [(&str, String, Want); N],
) -> Vec<(String, Vec<u8>, Want)> {
    let named = |(name, request, want): (&str, String, Want)| {
        (format!("{group}: {name}"), request.into_bytes(), want)
    };
    cases.map(named).into()
}

#[test]
fn each_raw_request_comes_to_what_it_must() {
    let world = World::new();
    assert_eq!(world.put(&world.good().episode("sentinel")).status, 201);
    let commit = world.repo.head();
    let tables = [
        lengths(commit),
        codings(commit),
        lines(commit),
        first_lines(),
        headers_of_ours(commit),
    ];
    let mut wrong = String::new();
    for (name, request, want) in tables.concat() {
        let came = comes_to(&world, &request);
        if came != Ok(want) {
            writeln!(wrong, "{name}: wanted {want:?}, came {came:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let stored: Vec<_> = world
        .rows()
        .iter()
        .map(|row| row["episode"].clone())
        .collect();
    let wanted = [
        "sentinel",
        "length",
        "no-space",
        "tab",
        "blanks-behind",
        "leading-zeros",
        "any-case",
        "lf-behind",
        "crlf-behind",
    ];
    assert_eq!(stored, wanted, "{world}");
    assert!(world.names("incoming").is_empty(), "{world}");
    let log = world.log();
    assert!(!log.contains("panic"), "{world}");
    assert!(
        log.lines().all(|line| line.contains(" event=")),
        "a line that is no event's\n{log}"
    );
}

/// What a request comes to, with another behind it. An error is anything else than the two.
pub fn comes_to(world: &World, request: &[u8]) -> Result<Want, String> {
    let mut client = world.client();
    let head_only = request.starts_with(b"HEAD");
    client.send(request).map_err(|error| error.to_string())?;
    let first = client.answer_to(if head_only { "HEAD" } else { "GET" });
    // Sent once the first is answered: before, it could not be told from a body.
    let _ = client.send(b"GET /v1/episodes/lab-1/sentinel HTTP/1.1\r\nHost: pi\r\n\r\n");
    let rest = rest_or_answer(&mut client);
    let Some(first) = first else {
        return Err(format!("no answer, and then {rest:?}"));
    };
    if first.body.contains("sentinel") {
        return Err(format!("the first answer is the second's: {first:?}"));
    }
    match rest.is_empty() {
        true if first.header("Connection") == Some("close") => Ok(Ends(first.status)),
        true => Err(format!("it ended and had not said so: {first:?}")),
        false if rest.starts_with("HTTP/1.1 200") && rest.contains("\"sentinel\"") => {
            Ok(Goes(first.status))
        }
        false => Err(format!("{} and then {rest}", first.status)),
    }
}

/// What else comes, up to the connection's end or that of a whole answer.
fn rest_or_answer(client: &mut Client) -> String {
    let mut rest = Vec::new();
    let mut part = [0; 4096];
    // Any error is an end: what has come is judged.
    while let Ok(count @ 1..) = client.0.read(&mut part) {
        rest.extend_from_slice(&part[..count]);
        if rest.ends_with(b"}\n") {
            break;
        }
    }
    String::from_utf8_lossy(&rest).into_owned()
}
