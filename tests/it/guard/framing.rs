//! Requests that are framed oddly, or stand in a row; and the answers that close.

use crate::client::sha256;
use crate::here::has_tcp_info;
use crate::world::World;

#[test]
fn odd_framing_is_refused_and_closes() {
    let world = World::new();
    let commit = world.repo.head();
    let ours = format!(
        "X-Cis490-Code-Commit: {commit}\r\nX-Cis490-Sha256: {}\r\n",
        sha256(b"hello")
    );
    let put = |lines: &str| {
        format!("PUT /v1/episodes/lab-1/e HTTP/1.1\r\nHost: pi\r\n{ours}{lines}\r\nhello")
    };
    let smuggled = "GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n";
    let cases = [
        ("no length", put(""), 411),
        ("letters", put("Content-Length: abc\r\n"), 400),
        ("negative", put("Content-Length: -1\r\n"), 400),
        ("a plus", put("Content-Length: +5\r\n"), 400),
        ("empty", put("Content-Length: \r\n"), 400),
        (
            "enormous",
            put("Content-Length: 99999999999999999999\r\n"),
            400,
        ),
        (
            "two",
            put("Content-Length: 5\r\nContent-Length: 5\r\n"),
            400,
        ),
        (
            "two that differ",
            put("Content-Length: 5\r\nContent-Length: 6\r\n"),
            400,
        ),
        ("a list", put("Content-Length: 5, 5\r\n"), 400),
        ("chunked", put("Transfer-Encoding: chunked\r\n"), 501),
        (
            "chunked and a length",
            put("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            501,
        ),
        (
            "chunked GET",
            format!(
                "GET /v1/gate HTTP/1.1\r\nHost: pi\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            501,
        ),
        (
            "a GET with a body",
            format!(
                "GET /v1/gate HTTP/1.1\r\nHost: pi\r\nContent-Length: {}\r\n\r\n{smuggled}",
                smuggled.len()
            ),
            200,
        ),
        (
            "an odd expectation",
            put("Content-Length: 5\r\nExpect: wonders\r\n"),
            417,
        ),
        (
            "two commits",
            put(&format!(
                "Content-Length: 5\r\nX-Cis490-Code-Commit: {commit}\r\n"
            )),
            400,
        ),
        (
            "a large head",
            put(&format!(
                "Content-Length: 5\r\nX-Long: {}\r\n",
                "x".repeat(17_000)
            )),
            431,
        ),
        (
            "HTTP/1.0",
            "GET /v1/health HTTP/1.0\r\n\r\n".to_owned(),
            200,
        ),
        (
            "asked to close",
            "GET /v1/health HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n".to_owned(),
            200,
        ),
    ];
    for (name, request, want) in cases {
        let mut client = world.client();
        client.send(request.as_bytes()).unwrap();
        let answer = client
            .answer()
            .unwrap_or_else(|| panic!("{name}: no answer\n{world}"));
        assert_eq!(answer.status, want, "{name}: {answer:?}");
        assert_eq!(answer.header("Connection"), Some("close"), "{name}");
        assert!(client.is_closed(), "{name}: something after the answer");
    }
    assert!(
        world.rows().is_empty() && world.names("incoming").is_empty(),
        "{world}"
    );
}

#[test]
fn bytes_that_are_no_request_are_answered_with_a_problem() {
    let world = World::new();
    let many = format!("GET /v1/health HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(17));
    let cases = [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], 400),
        (b"hello\r\n\r\n", 400),
        (b"GET  /v1/health HTTP/1.1\r\n\r\n", 400),
        (
            b"GET /v1/health HTTP/1.1\r\nHost: pi\r\nA b: c\r\n\r\n",
            400,
        ),
        (b"GET /v1/health HTTP/1.1\r\nHost: pi\r\nA : c\r\n\r\n", 400),
        (
            b"GET /v1/health HTTP/1.1\r\nHost: pi\r\nA: b\r\n folded\r\n\r\n",
            400,
        ),
        (b"GET /v1/health HTTP/2.0\r\n\r\n", 400),
        (many.as_bytes(), 431),
    ];
    for (garbage, status) in cases {
        let mut client = world.client();
        client.send(garbage).unwrap();
        let answer = client.answer().unwrap_or_else(|| panic!("{garbage:?}"));
        assert_eq!(answer.status, status, "{garbage:?}: {answer:?}");
        assert_eq!(answer.header("Connection"), Some("close"), "{garbage:?}");
        let json = answer.header("Content-Type");
        assert_eq!(json, Some("application/problem+json"), "{garbage:?}");
        assert_eq!(answer.json()["status"], status);
        assert!(client.is_closed(), "{garbage:?}");
    }
    let log = world.log();
    let told = log
        .lines()
        .filter(|line| line.contains("event=unreadable_request peer=127.0.0.1 status=4"));
    assert_eq!(told.count(), cases.len(), "{world}");
    assert!(log.lines().all(|line| line.contains(" event=")), "{world}");
    assert_eq!(world.get("/v1/health").status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::new();
    let mut client = world.client();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: pi\r\n\r\n");
    let paths = ["/v1/health", "/nothing", "/v1/gate", "/v1/gate/main"];
    client.send(paths.map(request).concat().as_bytes()).unwrap();
    for want in [200, 404, 200, 400] {
        assert_eq!(client.answer().unwrap().status, want);
    }
}

#[test]
fn a_request_behind_an_upload_is_answered() {
    if !has_tcp_info("a request behind an upload") {
        return;
    }
    let world = World::new();
    let mut client = world.client();
    let mut bytes = world.good().body(&[7; 100_000]).bytes();
    bytes.extend_from_slice(b"GET /v1/episodes/lab-1/ep-1 HTTP/1.1\r\nHost: pi\r\n\r\n");
    client.send(&bytes).unwrap();
    assert_eq!(client.answer().unwrap().status, 201);
    assert_eq!(client.answer().unwrap().status, 200);
}

#[test]
fn a_refused_body_is_never_a_request() {
    let world = World::new();
    let smuggled = world.good().episode("smuggled").bytes();
    for refused in [
        world.good().commit(world.too_old()).body(&smuggled),
        world.good().no_commit().body(&smuggled),
        world.good().path("/nowhere").body(&smuggled),
        world.good().path("/v1/gate").body(&smuggled),
    ] {
        for extra in ["", "Expect: 100-continue\r\n"] {
            let mut client = world.client();
            client.send(&refused.clone().extra(extra).bytes()).unwrap();
            assert!(client.answer().unwrap().status >= 400);
            assert!(client.is_closed());
        }
    }
    assert!(world.rows().is_empty(), "{world}");
}

/// Once, an answer that had not left yet was lost with the connection.
#[test]
fn a_refusal_leaves_behind_the_answers_before_it() {
    if !has_tcp_info("a refusal leaves behind the answers before it") {
        return;
    }
    let world = World::new();
    let get = b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n";
    let refused = world.good().commit(world.too_old()).bytes();
    let mut client = world.client();
    client.send(&[&get[..], &refused].concat()).unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.answer().unwrap().status, 412);
    assert!(client.is_closed());
    // One after the other, both are answered too.
    let mut client = world.client();
    client.send(get).unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    client.send(&refused).unwrap();
    assert_eq!(client.answer().unwrap().status, 412);
    assert!(client.is_closed());
}

#[test]
fn expect_is_honoured_after_the_judgement() {
    let world = World::new();
    let expecting = world.good().extra("Expect: 100-continue\r\n");
    let mut client = world.client();
    client.send(&expecting.head()).unwrap();
    assert_eq!(client.answer().unwrap().status, 100);
    client.send(&expecting.body).unwrap();
    assert_eq!(client.answer().unwrap().status, 201);
    if has_tcp_info("100 Continue on a reused connection") {
        let second = expecting.clone().episode("second");
        client.send(&second.head()).unwrap();
        assert_eq!(client.answer().unwrap().status, 100);
        client.send(&second.body).unwrap();
        assert_eq!(client.answer().unwrap().status, 201);
    }

    for (name, put, want) in [
        ("stored", expecting.clone(), 200),
        (
            "too old",
            expecting.clone().episode("e").commit(world.too_old()),
            412,
        ),
        (
            "taken",
            expecting.clone().length("7").sha256(&"0".repeat(64)),
            409,
        ),
    ] {
        let mut client = world.client();
        client.send(&put.head()).unwrap();
        let answer = client.answer().unwrap();
        assert_eq!(
            answer.status, want,
            "{name}: the answer comes instead of 100 Continue"
        );
        assert!(client.is_closed(), "{name}");
    }
}

/// A closing answer larger than the socket has room for was cut off where the room ended.
#[test]
fn a_large_closing_answer_is_whole() {
    let paste = "a line to paste\\n".repeat(1 << 19);
    let world = World::with(&format!(
        "[version_gate]\nlocal_repo_path = \"/nonexistent/cis490\"\nremediation = \"{paste}\"\n"
    ));
    let mut client = world.client();
    client.send(&world.good().no_commit().bytes()).unwrap();
    let answer = client.answer().unwrap_or_else(|| panic!("cut off"));
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() > 8 << 20, "{}", answer.body.len());
}
