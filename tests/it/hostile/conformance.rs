//! HTTP/1.1 by its sections: requests of our own bytes, each with the answer that is due and the
//! section that says so (RFC 9110 is what a message means, RFC 9112 how it is written).
//!
//! Each is sent twice: with the connection left open, when either it ends with the answer or the next
//! request gets its own; and with the client's end in the same segment, when the answer is the same.

use std::fmt::Write as _;
use std::net::Shutdown;

use Want::{Ends, Goes};

use super::heads::{Want, comes_to};
use crate::client::{Answer, sha256};
use crate::here::has_tcp_info;
use crate::world::World;

struct Case {
    section: &'static str,
    bytes: String,
    want: Want,
}

fn case(section: &'static str, bytes: impl Into<String>, want: Want) -> Case {
    let bytes = bytes.into();
    Case {
        section,
        bytes,
        want,
    }
}

/// A request for the health, with these lines behind its first.
fn get(lines: &str) -> String {
    format!("GET /v1/health HTTP/1.1\r\n{lines}\r\n")
}

/// A request with this first line.
fn first(line: &str) -> String {
    format!("{line}\r\nHost: pi\r\n\r\n")
}

/// What an upload of `hello` needs besides its length.
fn ours(commit: &str) -> String {
    let digest = sha256(b"hello");
    format!("Host: pi\r\nX-Cis490-Code-Commit: {commit}\r\nX-Cis490-Sha256: {digest}\r\n")
}

#[rustfmt::skip] // a row a line
fn hosts() -> Vec<Case> {
    let host = "9112, 3.2: Host";
    vec![
        case(host, get("Host: pi\r\n"), Goes(200)),
        case(host, get("Host: pi:8490\r\n"), Goes(200)),
        case(host, get("Host: pi:\r\n"), Goes(200)),
        case(host, get("hOST:pi\r\n"), Goes(200)),
        case(host, get("Host: 10.8.0.1:8490\r\n"), Goes(200)),
        case(host, get("Host: [fd00::1]:8490\r\n"), Goes(200)),
        case(host, get("Host: somebody-elses.example\r\n"), Goes(200)),
        case(host, get(""), Ends(400)),
        case(host, get("Host:\r\n"), Ends(400)),
        case(host, get("Host: pi\r\nHost: pi\r\n"), Ends(400)),
        case(host, get("Host: pi\r\nX-A: b\r\nhost: other\r\n"), Ends(400)),
        case(host, get("Host: a b\r\n"), Ends(400)),
        case(host, get("Host: /\r\n"), Ends(400)),
        case(host, get("Host: pi/v1\r\n"), Ends(400)),
        case(host, get("Host: http://pi\r\n"), Ends(400)),
        case(host, get("Host: pi?x\r\n"), Ends(400)),
        case(host, get("Host: u@pi\r\n"), Ends(400)),
        case(host, get("Host: pi\\x\r\n"), Ends(400)),
        case(host, get("Host: pi, pi\r\n"), Ends(400)),
        case(host, get("Host: pi:http\r\n"), Ends(400)),
        case(host, get("Host: pi:80:80\r\n"), Ends(400)),
        case(host, get("Host: [::1\r\n"), Ends(400)),
        case(host, get("Host: \"pi\"\r\n"), Ends(400)),
        case("9112, 3.2: HTTP/1.0 has none", "GET /v1/health HTTP/1.0\r\n\r\n", Ends(200)),
        case("9112, 3.2: an odd one of any version", "GET /v1/health HTTP/1.0\r\nHost: a b\r\n\r\n", Ends(400)),
        case("9112, 3.2.2: a URL has its own, and one here still", "GET http://pi/v1/health HTTP/1.1\r\n\r\n", Ends(400)),
        case("9112, 3.2.2: which is not looked at", "GET http://pi/v1/health HTTP/1.1\r\nHost: other\r\n\r\n", Goes(200)),
    ]
}

#[rustfmt::skip] // a row a line
fn targets() -> Vec<Case> {
    let (origin, url) = ("9112, 3.2.1: origin-form", "9112, 3.2.2: absolute-form");
    vec![
        case(origin, first("GET /v1/health?x=1&y HTTP/1.1"), Goes(200)),
        case(origin, first("POST /? HTTP/1.1"), Goes(405)),
        case(origin, first("GET /v1/gate?a=http://pi/ HTTP/1.1"), Goes(200)),
        case(origin, first("GET /v1/health/ HTTP/1.1"), Goes(404)),
        case(origin, first("GET /v1/ HTTP/1.1"), Goes(404)),
        case(origin, first("GET /v1/episodes/ HTTP/1.1"), Goes(404)),
        case(origin, first("GET //v1/health HTTP/1.1"), Goes(404)),
        case(origin, first("GET /v1/health#part HTTP/1.1"), Ends(400)),
        case(origin, first("GET v1/health HTTP/1.1"), Ends(400)),
        case(origin, first("GET ?x HTTP/1.1"), Ends(400)),
        case(origin, first("GET /v1/he\u{e4}lth HTTP/1.1"), Ends(400)),
        case(url, first("POST http://pi HTTP/1.1"), Goes(405)),
        case(url, first("POST http://pi:8490?x HTTP/1.1"), Goes(405)),
        case(url, first("GET hTTp://[::1]:8490/v1/health HTTP/1.1"), Goes(200)),
        case(url, first("PUT http://pi?x=/v1/episodes/lab-1/e HTTP/1.1\r\nContent-Length: 0"), Goes(405)),
        case("9110, 4.2.1: an empty host", first("GET http:///v1/health HTTP/1.1"), Ends(400)),
        case("9110, 4.2.1: an empty host", first("GET http://:80/v1/health HTTP/1.1"), Ends(400)),
        case("9110, 4.2.1: an empty host", first("GET http://?/v1/health HTTP/1.1"), Ends(400)),
        case("9110, 4.2.4: userinfo", first("GET http://u:p@pi/v1/health HTTP/1.1"), Ends(400)),
        case(url, first("GET http://pi\\evil/v1/health HTTP/1.1"), Ends(400)),
        case(url, first("GET http://pi#/v1/health HTTP/1.1"), Ends(400)),
        case(url, first("GET ftp://pi/v1/health HTTP/1.1"), Ends(400)),
        case("9110, 7.4: another scheme than the connection's", first("GET https://pi/v1/health HTTP/1.1"), Goes(421)),
        case("9112, 3.2.3: authority-form is CONNECT's", first("GET pi:8490 HTTP/1.1"), Ends(400)),
        case("9112, 3.2.4: the asterisk is OPTIONS'", first("GET * HTTP/1.1"), Ends(400)),
        case("9112, 3.2.4: the asterisk", first("OPTIONS * HTTP/1.1"), Ends(204)),
    ]
}

#[rustfmt::skip] // a row a line
fn methods_and_versions() -> Vec<Case> {
    let unknown = "9110, 9.1: a method that is not known";
    let version = "9112, 2.3: the version";
    vec![
        case(unknown, first("get /v1/health HTTP/1.1"), Goes(501)),
        case(unknown, first("GETS /v1/health HTTP/1.1"), Goes(501)),
        case(unknown, first("PROPFIND / HTTP/1.1"), Goes(501)),
        case(unknown, first("CONNECT pi:80 HTTP/1.1"), Goes(501)),
        case("9112, 3.2: no method has such a target", first("GETS /v1/health#part HTTP/1.1"), Ends(400)),
        case("9110, 4.2.4: userinfo, of another scheme too", first("GET https://u:p@pi/v1/health HTTP/1.1"), Ends(400)),
        case("9110, 15.5.6: a method that is not allowed", first("POST / HTTP/1.1"), Goes(405)),
        case("9110, 15.5.6: a method that is not allowed", first("DELETE /v1/episodes/lab-1/sentinel HTTP/1.1"), Goes(405)),
        case("9110, 9.3.8: TRACE may be not allowed", first("TRACE / HTTP/1.1"), Goes(405)),
        case("9110, 9.3.7: OPTIONS", first("OPTIONS / HTTP/1.1"), Ends(204)),
        case("9110, 9.3.7: OPTIONS", first("OPTIONS /v1/episodes/lab-1/e HTTP/1.1"), Ends(204)),
        case("9110, 9.3.7: OPTIONS of nothing", first("OPTIONS /nothing HTTP/1.1"), Goes(404)),
        case("9110, 9.3.2: HEAD", first("HEAD /v1/gate HTTP/1.1"), Ends(200)),
        case("9110, 9.3.2: HEAD", first("HEAD /nothing HTTP/1.1"), Ends(404)),
        case(version, first("GET /v1/health HTTP/1.0"), Ends(200)),
        case(version, first("GET /v1/health HTTP/9.9"), Ends(400)),
        case(version, first("GET /v1/health HTTP/1"), Ends(400)),
        case(version, first("GET /v1/health HTTP/1.1.1"), Ends(400)),
        case(version, first("GET /v1/health HTTP 1.1"), Ends(400)),
        case(version, first("GET /v1/health HTTPS/1.1"), Ends(400)),
        case(version, first("GET /v1/health"), Ends(400)),
        case("9112, 3: one blank", first("GET  /v1/health HTTP/1.1"), Ends(400)),
        case("9112, 3: a method is a token", first("G\u{0}T /v1/health HTTP/1.1"), Ends(400)),
        case("9112, 3: a method is a token", first("GE(T /v1/health HTTP/1.1"), Ends(400)),
        case("9110, 15.5.15 and 9112, 3: a target that is too long", first(&format!("GET /{} HTTP/1.1", "a".repeat(20_000))), Ends(431)),
    ]
}

#[rustfmt::skip] // a row a line
fn fields() -> Vec<Case> {
    let line = |line: &str| get(&format!("Host: pi\r\n{line}\r\n"));
    let name = "9112, 5.1: nothing between name and colon";
    let value = "9110, 5.5: bytes of a value";
    vec![
        case("9112, 2.2: empty lines before", format!("\r\n\r\n{}", line("A: b")), Goes(200)),
        case("9112, 2.2: a bare LF may end a line", "GET /v1/health HTTP/1.1\nHost: pi\n\n", Goes(200)),
        case("9112, 2.2: a bare CR is none", "GET /v1/health HTTP/1.1\rHost: pi\r\n\r\n", Ends(400)),
        case("9112, 2.2: a bare CR is none", line("A: b\rc"), Ends(400)),
        case("9112, 2.2: blanks before the first field", format!("GET /v1/health HTTP/1.1\r\n Host: pi\r\n{}", "\r\n"), Ends(400)),
        case(name, line("A : b"), Ends(400)),
        case(name, line("A\t: b"), Ends(400)),
        case(name, line(": b"), Ends(400)),
        case(name, line("A"), Ends(400)),
        case("9110, 5.1: a name is a token", line("A@: b"), Ends(400)),
        case("9110, 5.1: a name is a token", line("A b: c"), Ends(400)),
        case("9110, 5.1: a name that nobody knows", line("X-Unknown: b"), Goes(200)),
        case("9112, 5.2: folded", line("A: b\r\n c"), Ends(400)),
        case("9112, 5.2: folded", line("A: b\r\n\tc"), Ends(400)),
        case(value, line("A: b\0c"), Ends(400)),
        case(value, line("A: b\u{7f}"), Ends(400)),
        case(value, line("A: \u{e4}"), Goes(200)),
        case(value, line("A:"), Goes(200)),
        case(value, line("A: \t b \t"), Goes(200)),
        case("9110, 5.4: too many fields", line(&"A: b\r\n".repeat(40)), Ends(431)),
        case("9110, 5.4: too large a field", line(&format!("A: {}", "b".repeat(20_000))), Ends(431)),
        case("9112, 8: a head that ends early", "GET /v1/health HTTP/1.1\r\nHost: p", Ends(400)),
    ]
}

#[rustfmt::skip] // a row a line
fn framing(commit: &str) -> Vec<Case> {
    let ours = ours(commit);
    let put = |lines: &str| format!("PUT /v1/episodes/lab-1/framed HTTP/1.1\r\n{ours}{lines}\r\nhello");
    let named = |name: &str, lines: &str| put(lines).replace("/framed", &format!("/{name}"));
    let length = "9110, 8.6: Content-Length";
    let both = "9112, 6.1: a coding and a length";
    let coding = "9112, 6.1: a coding that is not understood";
    vec![
        case(length, named("plain", "Content-Length: 5\r\n"), Goes(201)),
        case(length, named("zeros", "Content-Length: 00000000000000000000005\r\n"), Goes(201)),
        case(length, put(""), Ends(411)),
        case(length, put("Content-Length: -5\r\n"), Ends(400)),
        case(length, put("Content-Length: +5\r\n"), Ends(400)),
        case(length, put("Content-Length: 0x5\r\n"), Ends(400)),
        case(length, put("Content-Length: 5a\r\n"), Ends(400)),
        case(length, put("Content-Length: 5 5\r\n"), Ends(400)),
        case(length, put("Content-Length: 5,5\r\n"), Ends(400)),
        case(length, put("Content-Length: \r\n"), Ends(400)),
        case(length, put("Content-Length: 340282366920938463463374607431768211461\r\n"), Ends(400)),
        case(length, put("Content-Length: 18446744073709551621\r\n"), Ends(400)),
        case("9112, 6.3: lengths that differ", put("Content-Length: 5\r\nContent-Length: 6\r\n"), Ends(400)),
        case("9112, 6.3: lengths that agree may be refused", put("Content-Length: 5\r\nContent-Length: 5\r\n"), Ends(400)),
        case("9112, 5.1: no length at all", put("Content-Length : 5\r\n"), Ends(400)),
        case(both, put("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), Ends(501)),
        case(both, put("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), Ends(501)),
        case(both, put("Content-Length: 5\r\nTransfer-Encoding: identity\r\n"), Ends(501)),
        case(coding, put("Transfer-Encoding: chunked\r\n"), Ends(501)),
        case(coding, put("Transfer-Encoding: xchunked\r\n"), Ends(501)),
        case(coding, put("Transfer-Encoding: gzip, chunked\r\n"), Ends(501)),
        case(coding, put("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Ends(501)),
        case(coding, put("tRANSFER-eNCODING: ChUnKeD\r\n"), Ends(501)),
        case("9112, 5.1: a coding that is a name's fault", put("Content-Length: 5\r\nTransfer-Encoding : chunked\r\n"), Ends(400)),
        case("9112, 5.2: a coding that is folded", put("Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n"), Ends(400)),
        case("9110, 9.3.1: a GET has no use for a body", get("Host: pi\r\nContent-Length: 5\r\n") + "hello", Ends(200)),
        case("9110, 9.3.1: nor for an empty one", get("Host: pi\r\nContent-Length: 0\r\n"), Goes(200)),
        case("9110, 14.5: a part of a body", put("Content-Length: 5\r\nContent-Range: bytes 0-4/10\r\n"), Ends(400)),
        case("9110, 13.1.1: If-Match of what is not there", put("Content-Length: 5\r\nIf-Match: *\r\n"), Ends(412)),
        case("9110, 13.1.1: If-Match of other bytes", named("standing", "Content-Length: 5\r\nIf-Match: \"x\"\r\n"), Ends(412)),
        case("9110, 13.1.1: If-Match of these bytes", named("standing", &format!("Content-Length: 5\r\nIf-Match: \"y\", \"{}\"\r\n", sha256(b"hello"))), Ends(200)),
        case("9110, 13.1.2: If-None-Match and the same bytes", named("standing", "Content-Length: 5\r\nIf-None-Match: *\r\n"), Ends(200)),
        case("the Fetch standard: an Origin is a browser's", put("Content-Length: 5\r\nOrigin: http://evil.example\r\n"), Ends(403)),
    ]
}

#[rustfmt::skip] // a row a line
fn connections(commit: &str) -> Vec<Case> {
    let put = |name: &str, version: &str, lines: &str| {
        format!("PUT /v1/episodes/lab-1/{name} HTTP/{version}\r\n{}Content-Length: 5\r\n{lines}\r\nhello", ours(commit))
    };
    let (persists, expect) = ("9112, 9.3: whether it persists", "9110, 10.1.1: Expect");
    vec![
        case(persists, get("Host: pi\r\nConnection: close\r\n"), Ends(200)),
        case(persists, get("Host: pi\r\nConnection: CLOSE\r\n"), Ends(200)),
        case(persists, get("Host: pi\r\nConnection: a, close ,b\r\n"), Ends(200)),
        case(persists, get("Host: pi\r\nConnection: a\r\nConnection: close\r\n"), Ends(200)),
        case(persists, get("Host: pi\r\nConnection: keep-alive\r\n"), Goes(200)),
        case(persists, get("Host: pi\r\nConnection: closed\r\n"), Goes(200)),
        case(persists, put("closes", "1.1", "Connection: close\r\n"), Ends(201)),
        case("9112, 9.3: HTTP/1.0 ends", put("old", "1.0", ""), Ends(201)),
        case(expect, put("odd", "1.1", "Expect: wonders\r\n"), Ends(417)),
        case(expect, put("odd", "1.1", "Expect: 100-continue, wonders\r\n"), Ends(417)),
        case("9110, 10.1.1: of HTTP/1.0 it is ignored", put("old-expects", "1.0", "Expect: 100-continue\r\n"), Ends(201)),
        case(expect, get("Host: pi\r\nExpect: 100-continue\r\n"), Ends(200)),
        case("9110, 7.8: an upgrade may be ignored", get("Host: pi\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"), Goes(200)),
    ]
}

fn all(commit: &str) -> Vec<Case> {
    let tables = [
        hosts(),
        targets(),
        methods_and_versions(),
        fields(),
        framing(commit),
        connections(commit),
    ];
    tables.into_iter().flatten().collect()
}

#[test]
fn each_section_is_kept() {
    if !has_tcp_info("each section is kept") {
        return;
    }
    let world = World::new();
    for name in ["sentinel", "standing"] {
        let put = world.good().episode(name).body(b"hello");
        assert_eq!(world.put(&put).status, 201);
    }
    let mut wrong = String::new();
    for one in all(world.repo.head()) {
        let shown = &one.bytes[..one.bytes.len().min(120)];
        // Only an end makes it one that is cut short.
        if !one.bytes.ends_with("Host: p") {
            let came = comes_to(&world, one.bytes.as_bytes());
            if came != Ok(one.want) {
                let section = one.section;
                let want = one.want;
                writeln!(
                    wrong,
                    "{section}: {shown:?}\n    wanted {want:?}, came {came:?}"
                )
                .unwrap();
            }
        }
        let (Goes(status) | Ends(status)) = one.want;
        let came = with_its_end(&world, &one.bytes);
        // What was stored the first time is there already.
        let again = (status == 201).then_some(200);
        let statuses: Vec<u16> = came.iter().map(|answer| answer.status).collect();
        if statuses != [status] && again.is_none_or(|again| statuses != [again]) {
            let section = one.section;
            writeln!(
                wrong,
                "{section}, with its end: {shown:?}\n    wanted {status}, came {came:?}"
            )
            .unwrap();
        }
        for field in ["Date", "Server"] {
            let has = came.iter().all(|answer| answer.header(field).is_some());
            assert!(has, "9110, 6.6.1: no {field} in {came:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    for row in world.rows() {
        let episode = row["episode"].as_str().unwrap();
        let stored = world.stored("lab-1", episode);
        assert_eq!(stored.as_deref(), Some(&b"hello"[..]), "{episode}");
    }
    let log = world.log();
    assert!(!log.contains("panic"), "{world}");
    assert!(log.lines().all(|line| line.contains(" event=")), "{world}");
}

/// All that comes for these bytes, when the client's end is in the same segment as they are.
fn with_its_end(world: &World, bytes: &str) -> Vec<Answer> {
    let method = if bytes.starts_with("HEAD") {
        "HEAD"
    } else {
        "GET"
    };
    let mut client = world.client();
    let _ = client.send(bytes.as_bytes());
    client.0.shutdown(Shutdown::Write).unwrap();
    std::iter::from_fn(|| client.answer_to(method)).collect()
}

/// RFC 9110, 8.6 and 9.3.2: the fields of a HEAD are those of the GET, and a 204 has no length.
#[test]
fn answers_without_a_body_have_the_fields_of_others() {
    let world = World::new();
    let names = |answer: &Answer| -> Vec<String> {
        let lines = answer.head.split("\r\n").skip(1);
        let names = lines.filter_map(|line| line.split_once(':'));
        names
            .map(|(name, _)| name.to_owned())
            .filter(|name| name != "Connection")
            .collect()
    };
    for path in [
        "/v1/health",
        "/v1/gate",
        "/v1/status",
        "/",
        "/metrics",
        "/nothing",
    ] {
        let get = world.get(path);
        assert_eq!(names(&get), names(&world.ask("HEAD", path)), "{path}");
        let date = get.header("Date").unwrap();
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    }
    let options = world.ask("OPTIONS", "/v1/episodes/lab-1/e");
    assert_eq!(options.header("Allow"), Some("PUT, GET, HEAD, OPTIONS"));
    assert_eq!(options.header("Content-Length"), None);
    for path in ["/v1/gate", "/v1/status"] {
        let not_allowed = world.ask("POST", path);
        assert_eq!(not_allowed.status, 405, "{path}");
        assert_eq!(not_allowed.header("Allow"), Some("GET, HEAD, OPTIONS"));
    }
    let told = world.get("/v1/").body;
    for path in [
        "/v1/episodes/",
        "/v1/gate",
        "/v1/health",
        "/v1/status",
        "/metrics",
    ] {
        assert!(told.contains(path), "{told}");
    }
}

/// A web page's upload is refused before anything else is said of it.
#[test]
fn an_origin_is_judged_before_any_token() {
    let world = World::with("[[host]]\nid = \"lab-1\"\naddress = \"10.8.0.11\"\n");
    let put = world.good();
    let by_address = world.put(&put);
    assert_eq!(by_address.status, 403);
    let detail = by_address.json()["detail"].as_str().unwrap().to_owned();
    let words = "lab-1 may upload only from 10.8.0.11; this came from 127.0.0.1";
    assert!(detail.starts_with(words), "{detail}");
    let from_a_page = world.put(&put.extra("Origin: http://evil.example:8490\r\n"));
    assert_eq!(from_a_page.status, 403);
    let kind = &from_a_page.json()["type"];
    assert_eq!(kind, "urn:cis490:problem:from-a-browser");
}
