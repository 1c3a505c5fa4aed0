//! Who may read: nobody without a `[[reader]]`, and with one only by its address or its token.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Output;

use super::{NO_GATE, READER, problem, row, with_index};
use crate::client::{Answer, Client, sha256};
use crate::program::cis490;
use crate::world::World;

const SECRET_EPISODE: &str = "the-episode-that-nobody-sees";

/// A receiver with one row, and these tables.
fn receiver(readers: &str) -> World {
    let mut world = World::prepared(&format!("{readers}{NO_GATE}"));
    let index = row(1, "lab-1", SECRET_EPISODE);
    fs::write(world.data_dir().join("index.jsonl"), index).unwrap();
    world.start();
    world
}

fn by_token(id: &str, token: &str) -> String {
    let digest = sha256(token.as_bytes());
    format!("[[reader]]\nid = \"{id}\"\ntoken_sha256 = \"{digest}\"\n")
}

fn ask(world: &World, target: &str, lines: &str) -> Answer {
    ask_from(world, Ipv4Addr::LOCALHOST, target, lines)
}

fn ask_from(world: &World, source: Ipv4Addr, target: &str, lines: &str) -> Answer {
    let mut client = Client::connect_from(world.address(), source);
    let request = format!("GET {target} HTTP/1.1\r\nHost: pi\r\n{lines}\r\n");
    client.send(request.as_bytes()).unwrap();
    client
        .answer()
        .unwrap_or_else(|| panic!("no answer\n{world}"))
}

#[test]
fn without_a_table_nobody_gets_a_row_by_any_spelling() {
    let world = receiver("");
    let plain = ask(&world, "/v1/episodes", "");
    assert_eq!(
        (plain.status, problem(&plain)),
        (403, "not-a-reader".to_owned())
    );
    assert!(plain.body.contains("[[reader]]"), "{plain:?}");
    for target in [
        "/v1/episodes",
        "/v1/episodes?",
        "/v1/episodes?limit=1",
        "/v1/episodes?cursor=0",
        "/v1/episodes?tail=1000&host=lab-1",
        "/v1/episodes?cursor=1",
        "/v1/episodes?x=1",
        "/v1/episodes/",
        "/v1/episodes/?limit=1",
        "/v1/episodes//",
        "//v1/episodes",
        "/v1//episodes",
        "/v1/./episodes",
        "/v1/x/../episodes",
        "/v1/episodes/.",
        "/v1/episodes/..",
        "/v1/episodes;x",
        "/v1/episodes%3Flimit=1",
        "/v1/%65pisodes",
        "/V1/EPISODES",
        "/v1/episodes.jsonl",
        "/index.jsonl",
        "/v1/index.jsonl",
        "http://pi/v1/episodes",
        "HTTP://PI/v1/episodes?limit=1",
    ] {
        for lines in [
            "",
            "Authorization: Bearer x\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Basic eDp4\r\n",
            "X-Forwarded-For: 127.0.0.1\r\n",
            "X-Cis490-Probe: 1\r\n",
            "Range: bytes=0-10\r\n",
        ] {
            let answer = ask(&world, target, lines);
            assert!(!answer.body.contains(SECRET_EPISODE), "{target} {lines}");
            assert!(
                answer.header("X-Cis490-Store").is_none(),
                "{target} {lines}"
            );
            assert!(answer.status >= 400, "{target} {answer:?}");
        }
    }
}

#[test]
fn without_a_table_no_method_says_more() {
    let world = receiver("");
    for (method, want) in [
        ("HEAD", 403),
        ("POST", 405),
        ("PUT", 411),
        ("DELETE", 405),
        ("OPTIONS", 204),
    ] {
        let answer = world.ask(method, "/v1/episodes?limit=1");
        assert_eq!(answer.status, want, "{method}");
        let lines = answer.head.to_ascii_lowercase();
        for name in ["x-cis490-", "link:"] {
            assert!(!lines.contains(name), "{method}: {lines}");
        }
    }
}

#[test]
fn a_reader_is_known_by_token_by_address_or_by_both() {
    let both = format!("{}address = \"127.0.0.9\"\n", by_token("both", "of-both"));
    let world = receiver(&format!(
        "{}{both}[[reader]]\nid = \"net\"\naddress = \"127.0.8.0/24\"\n",
        by_token("token", "sesame")
    ));
    let elsewhere = Ipv4Addr::new(127, 0, 0, 7);
    let in_net = Ipv4Addr::new(127, 0, 8, 200);
    let of_both = Ipv4Addr::new(127, 0, 0, 9);
    for (source, token, want) in [
        (elsewhere, "", (401, "no-reader-token")),
        (elsewhere, "wrong", (401, "unknown-reader-token")),
        (elsewhere, "sesame", (200, "")),
        (elsewhere, "of-both", (403, "not-a-reader")),
        (of_both, "of-both", (200, "")),
        (of_both, "", (401, "no-reader-token")),
        (in_net, "", (200, "")),
        (in_net, "wrong", (200, "")),
    ] {
        let line = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let answer = ask_from(&world, source, "/v1/episodes", &line);
        assert_eq!(answer.status, want.0, "{source} {token}: {answer:?}");
        assert_eq!(answer.body.contains(SECRET_EPISODE), want.0 == 200);
        if want.0 != 200 {
            assert_eq!(problem(&answer), want.1, "{source} {token}");
        }
        let challenge = answer.header("WWW-Authenticate");
        assert_eq!(challenge, (want.0 == 401).then_some("Bearer"), "{source}");
    }
    for secret in ["sesame", "wrong", "of-both"] {
        assert!(!world.log().contains(secret), "{}", world.log());
    }
}

/// Each of them once stood in a browser's address line, or in a script.
#[test]
fn a_token_in_the_query_is_refused_and_not_logged() {
    let world = receiver(&by_token("token", "sesame"));
    ask(&world, "/v1/episodes/lab-1/a..tar.zst?token=sesame", "");
    let answer = ask(&world, "/v1/episodes?token=sesame", "");
    assert_eq!(
        (answer.status, problem(&answer)),
        (400, "bad-query".to_owned())
    );
    assert!(!answer.body.contains("sesame"), "{answer:?}");
    world.wait_until("the refusal is logged", |world| {
        world.log().contains("reason=bad-query")
    });
    assert!(!world.log().contains("sesame"), "{}", world.log());
}

#[test]
fn a_pages_script_reads_nothing_and_a_browsers_download_works() {
    let world = receiver(READER);
    let navigation =
        "Accept: text/html\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Mode: navigate\r\n";
    assert_eq!(ask(&world, "/v1/episodes", navigation).status, 200);
    for origin in ["http://evil.example", "null", ""] {
        let answer = ask(&world, "/v1/episodes", &format!("Origin: {origin}\r\n"));
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
        assert_eq!(problem(&answer), "page-may-not-read", "{origin}");
    }
    let answer = ask(&world, "/v1/episodes", "");
    assert!(answer.header("Access-Control-Allow-Origin").is_none());
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
}

/// A host's token is no reader's, and a reader's is no host's.
#[test]
fn hosts_and_readers_are_two_things() {
    let host = format!(
        "[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"{}\"\n",
        sha256(b"the host's")
    );
    let world = receiver(&format!("{host}{}", by_token("reader", "the reader's")));
    let of_host = "Authorization: Bearer the host's\r\n";
    assert_eq!(ask(&world, "/v1/episodes", of_host).status, 401);
    let of_reader = "Authorization: Bearer the reader's\r\n";
    assert_eq!(ask(&world, "/v1/episodes", of_reader).status, 200);
    assert_eq!(world.put(&world_put().extra(of_reader)).status, 401);
    assert_eq!(world.put(&world_put().extra(of_host)).status, 201);
}

fn world_put() -> crate::client::Put {
    crate::client::Put::sample(&"c".repeat(40)).episode("ep-2")
}

#[test]
fn sighup_reads_the_tables_again_and_a_mistake_changes_nothing() {
    let mut world = receiver(READER);
    let config = fs::read_to_string(world.config_path()).unwrap();
    let write = |readers: &str| {
        let text = config.replace(READER, readers);
        fs::write(world.config_path(), text).unwrap();
        world.signal("HUP");
    };
    let status = |world: &World| ask(world, "/v1/episodes", "").status;
    assert_eq!(status(&world), 200);
    write("");
    world.wait_until("nobody may read", |world| status(world) == 403);
    write("[[reader]]\nid = \"x\"\n");
    world.wait_until("the mistake is named", |world| {
        world.log().contains("event=reload_failed")
    });
    assert_eq!(status(&world), 403);
    write(&by_token("x", "sesame"));
    world.wait_until("a token is needed", |world| status(world) == 401);
    write(READER);
    world.wait_until("the test may read again", |world| status(world) == 200);
    assert_eq!(world.stop(), Some(0));
}

#[test]
fn a_table_with_a_mistake_is_named_with_its_line() {
    for (table, words) in [
        (
            "[[reader]]\nid = \"a\"\n",
            "add an address, a token_sha256 or both",
        ),
        ("[[reader]]\naddress = \"10.0.0.1\"\n", "id"),
        (
            "[[reader]]\nid = \"A\"\naddress = \"10.0.0.1\"\n",
            "reader.id",
        ),
        (
            "[[reader]]\nid = \"a\"\naddress = \"10.0.0.1/33\"\n",
            "a network",
        ),
        (
            "[[reader]]\nid = \"a\"\naddress = \"10.0.0.1/24\"\n",
            "10.0.0.0/24",
        ),
        (
            "[[reader]]\nid = \"a\"\naddress = \"pi\"\n",
            "one IP address",
        ),
        ("[[reader]]\nid = \"a\"\ntoken = \"sesame\"\n", "token"),
        (
            "[[reader]]\nid = \"a\"\ntoken_sha256 = \"sesame\"\n",
            "token_sha256",
        ),
        (
            "[reader]\nid = \"a\"\naddress = \"10.0.0.1\"\n",
            "[[reader]]",
        ),
        (
            "[[reader]]\nid = \"a\"\naddress = \"10.0.0.1\"\n[[reader]]\nid = \"a\"\naddress = \"10.0.0.2\"\n",
            "two [[reader]] tables",
        ),
    ] {
        let world = World::prepared("");
        let text = fs::read_to_string(world.config_path()).unwrap();
        fs::write(world.config_path(), format!("{text}\n{table}")).unwrap();
        let output = receive(&world);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{table}");
        assert!(errors.contains(words), "{table}: {errors}");
        assert!(!errors.contains("sesame"), "{table}: {errors}");
    }
}

fn receive(world: &World) -> Output {
    let arguments = ["receive", "--config", &world.config_path()];
    cis490().args(arguments).output().unwrap()
}

#[test]
fn the_token_of_a_reader_opens_the_list() {
    let world = with_index("");
    let text = world.run(&["token", "--reader", "training"]);
    assert!(text.contains("On training"), "{text}");
    let token = text.lines().nth(1).unwrap();
    let table = text.split_once("[[reader]]").expect(&text).1;
    assert!(!table.contains(token), "{text}");
    let receiver = receiver(&format!("[[reader]]{table}"));
    let line = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(ask(&receiver, "/v1/episodes", &line).status, 200);
    assert_eq!(ask(&receiver, "/v1/episodes", "").status, 401);
}

#[test]
fn a_token_is_of_a_host_or_of_a_reader() {
    for arguments in [&["token"][..], &["token", "lab-1", "--reader", "x"]] {
        let output = cis490().args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("--reader"), "{arguments:?}: {errors}");
    }
}

#[test]
fn doctor_says_who_may_read() {
    for (readers, words) in [
        ("", "nobody may list or fetch"),
        (READER, "1 reader may list and fetch: test from 127.0.0.0/8"),
        (
            "[[reader]]\nid = \"a\"\naddress = \"10.0.0.1\"\ntoken_sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n",
            "a from 10.0.0.1 with its token",
        ),
    ] {
        let world = receiver(readers);
        let arguments = ["doctor", "--config", &world.config_path()];
        let output = cis490().args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(words), "{text}");
    }
}
