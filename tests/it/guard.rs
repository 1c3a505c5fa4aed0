//! The connection guard of design section 7: framing, Expect, closing answers, limits, caps.

use std::fs;
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use crate::client::{Client, sha256};
use crate::world::{World, is_emulated};

/// Under qemu-user the kernel's counters are not told, and what needs them is skipped by name.
pub fn counters_are_told(test: &str) -> bool {
    let emulated = is_emulated();
    if emulated {
        skip!("{test}: qemu-user does not tell TCP_INFO");
    }
    !emulated
}

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
fn what_is_no_request_is_told_so() {
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
    if !counters_are_told("a request behind an upload") {
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
    if !counters_are_told("a refusal leaves behind the answers before it") {
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
    if counters_are_told("100 Continue on a reused connection") {
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

#[test]
fn idle_and_dripping_connections_are_ended() {
    let world = World::with("idle_timeout_seconds = 1\nhead_timeout_seconds = 1\n");
    let mut idle = world.client();
    assert!(idle.is_closed());
    let mut used = world.client();
    used.send(b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n")
        .unwrap();
    assert_eq!(used.answer().unwrap().status, 200);
    assert!(used.is_closed());
    let mut silent = world.client();
    silent.send(&world.good().head()).unwrap();
    assert_eq!(silent.answer().unwrap().status, 408);
    assert!(silent.is_closed());
    let mut expecting = world.client();
    expecting
        .send(&world.good().extra("Expect: 100-continue\r\n").head())
        .unwrap();
    assert_eq!(expecting.answer().unwrap().status, 100);
    assert_eq!(expecting.answer().unwrap().status, 408);
    assert!(expecting.is_closed());
    if counters_are_told("a dripping head is ended") {
        assert!(
            drips(
                &mut world.client(),
                b"GET /v1/health HTTP/1.1\r\nHost: pi\r\nX-Drip: "
            ),
            "{world}"
        );
    }
    world.wait_until("no upload is left", |world| {
        world.names("incoming").is_empty()
    });
    assert_eq!(world.get("/v1/health").status, 200);
}

/// Sends a byte every 50 ms, never silent for long; whether the peer ended that.
fn drips(client: &mut Client, begin: &[u8]) -> bool {
    client.send(begin).unwrap();
    client
        .0
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    (0..400).any(|_| {
        let sent = client.0.write_all(b"x").is_err();
        sent || matches!(client.0.read(&mut [0; 64]), Ok(0))
    })
}

#[test]
fn a_stalled_body_is_ended_and_leaves_nothing() {
    let world = World::with("idle_timeout_seconds = 1\n");
    let put = world.good().body(&[7; 1000]);
    let bytes = put.bytes();
    let mut client = world.client();
    client.send(&bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(client.answer().unwrap().status, 408);
    assert!(client.is_closed());
    let mut gone = world.client();
    gone.send(&bytes[..bytes.len() - 1]).unwrap();
    drop(gone);
    world.wait_until("both are swept", |world| world.names("incoming").is_empty());
    assert!(world.rows().is_empty(), "{world}");
}

/// Once, 30 of these brought 317 MB between two looks of the watchdog.
#[test]
fn heads_without_end_are_refused_and_take_no_memory() {
    let world = World::new();
    let part = [b'x'; 64 << 10];
    thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                let mut client = world.client();
                let begin = b"GET /v1/health HTTP/1.1\r\nHost: pi\r\nX-Long: ";
                client.send(begin).unwrap();
                for _ in 0..64 {
                    let _ = client.send(&part);
                }
                let answer = client.answer().unwrap();
                assert_eq!(answer.status, 431, "{answer:?}");
            });
        }
    });
    // Under an emulator most of it is the emulator's own.
    let most_kib = if is_emulated() { 256 << 10 } else { 64 << 10 };
    let peak = peak_kib(&world);
    assert!(peak < most_kib, "{peak} KiB");
    assert_eq!(world.get("/v1/health").status, 200);
}

fn peak_kib(world: &World) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
    let mut lines = status.lines();
    let peak = lines.find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_peer_that_asks_and_never_reads_is_ended() {
    let world = World::new();
    let mut client = world.client();
    let requests = "GET /v1/gate HTTP/1.1\r\nHost: pi\r\n\r\n".repeat(1000);
    client
        .0
        .set_write_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let ended = (0..10_000).any(|_| client.send(requests.as_bytes()).is_err());
    assert!(ended, "ten million requests were taken and no answer read");
    // Under an emulator most of it is the emulator's own.
    let most_kib = if is_emulated() { 256 << 10 } else { 64 << 10 };
    let peak = peak_kib(&world);
    assert!(peak < most_kib, "{peak} KiB");
}

#[test]
fn uploads_are_capped() {
    let world = World::with("max_uploads = 1\n");
    let put = world.good().body(&[7; 1000]);
    let bytes = put.bytes();
    let mut first = world.client();
    first.send(&bytes[..bytes.len() - 1]).unwrap();
    world.wait_until("the first is under way", |world| {
        world.names("incoming").len() == 1
    });

    let answer = world.put(&put.clone().episode("second"));
    assert_eq!(
        (answer.status, answer.header("Retry-After")),
        (503, Some("10")),
        "{answer:?}"
    );
    first.send(&bytes[bytes.len() - 1..]).unwrap();
    assert_eq!(first.answer().unwrap().status, 201);
    world.wait_until("there is room again", |world| {
        world
            .try_put(&put.clone().episode("second"))
            .is_some_and(|a| a.status == 201)
    });
}

/// One that waits would make room; one that is being answered does not.
#[test]
fn connections_are_capped() {
    let world = World::with("max_connections = 1\n");
    let put = world.good().body(&[7; 1000]);
    let bytes = put.bytes();
    let mut first = world.client();
    first.send(&bytes[..bytes.len() - 1]).unwrap();
    world.wait_until("the first is under way", |world| {
        world.names("incoming").len() == 1
    });
    let mut beyond = world.client();
    beyond
        .send(b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n")
        .unwrap();
    let answer = beyond.answer().unwrap();
    assert_eq!(
        answer.json()["type"],
        "urn:cis490:problem:too-many-connections"
    );
    assert!(beyond.is_closed());

    first.send(&bytes[bytes.len() - 1..]).unwrap();
    assert_eq!(first.answer().unwrap().status, 201);
    assert_eq!(world.get("/v1/health").status, 200);
}

#[test]
fn a_stopping_receiver_finishes_what_is_under_way() {
    let mut world = World::new();
    let put = world.good().body(&[7; 1000]);
    let bytes = put.bytes();
    let mut under_way = world.client();
    under_way.send(&bytes[..bytes.len() - 1]).unwrap();
    world.wait_until("it is under way", |world| {
        world.names("incoming").len() == 1
    });
    world.signal("TERM");
    world.wait_until("it drains", |world| world.log().contains("event=draining"));
    let late = world.put(&put.clone().episode("late"));
    assert_eq!(
        (late.status, late.header("Retry-After")),
        (503, Some("30")),
        "{late:?}"
    );
    assert_eq!(world.get("/v1/health").status, 503);
    under_way.send(&bytes[bytes.len() - 1..]).unwrap();
    assert_eq!(under_way.answer().unwrap().status, 201);
    assert_eq!(world.wait_for_end(), Some(0), "{world}");
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn a_drain_is_bounded() {
    let mut world = World::with("drain_seconds = 1\n");
    let mut stuck = world.client();
    stuck.send(&world.good().head()).unwrap();
    world.wait_until("it is under way", |world| {
        world.names("incoming").len() == 1
    });
    assert_eq!(world.stop(), Some(0), "{world}");
    world.start();
    assert!(world.names("incoming").is_empty(), "{world}");
}

#[test]
fn a_second_instance_is_refused() {
    let world = World::new();
    let mut second = World::prepared("");
    second.configure("");
    let text = fs::read_to_string(second.config_path()).unwrap();
    let taken = format!("listen = \"{}\"", world.address());
    fs::write(
        second.config_path(),
        text.replace("listen = \"127.0.0.1:0\"", &taken),
    )
    .unwrap();
    assert!(!second.try_start());
    assert!(second.log().contains("cannot listen on"), "{second}");

    fs::write(
        second.config_path(),
        fs::read_to_string(world.config_path()).unwrap(),
    )
    .unwrap();
    assert!(!second.try_start());
    assert!(
        second.log().contains("cis490: error: ") && second.log().contains("cis490: hint: "),
        "{second}"
    );
    assert_eq!(world.get("/v1/health").status, 200);
}

#[test]
fn an_early_end_of_the_peer_harms_nobody() {
    let world = World::new();
    let put = world.good().body(&[7; 300_000]);
    let bytes = put.bytes();
    for cut in [
        1,
        20,
        put.head().len(),
        put.head().len() + 1,
        bytes.len() - 1,
    ] {
        let mut client = world.client();
        client.send(&bytes[..cut]).unwrap();
        client.0.shutdown(std::net::Shutdown::Write).unwrap();
        let told = client.rest();
        assert!(
            told.is_empty() || told.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&told)
        );
    }
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (address, bytes) = (world.address(), bytes[..200_000].to_vec());
            thread::spawn(move || drop(Client::connect(address).send(&bytes)))
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    world.wait_until("all are swept", |world| world.names("incoming").is_empty());
    assert!(world.rows().is_empty(), "{world}");
    assert_eq!(world.put(&put).status, 201);
}
