//! `cis490 list`, on the Pi and from another machine.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::{NO_GATE, READER, row, rows, with_index};
use crate::client::sha256;
use crate::program::cis490;
use crate::ship::stub::{Reply, Stub};
use crate::world::World;

/// Rows of every kind that a person asks for.
fn index() -> String {
    let new = row(3, "lab-1", "new").replace("2026-01-02", "2999-01-02");
    let dirty = row(4, "lab-2", "dirty")
        .replace("\"dirty\":false", "\"dirty\":true")
        .replace(&"c".repeat(40), &"d".repeat(40));
    let old = format!(
        "{{\"host\":\"lab-3\",\"episode\":\"old\",\"sha256\":\"{}\"}}\n",
        "0f".repeat(32)
    );
    [
        row(1, "lab-1", "first"),
        row(2, "lab-2", "second"),
        "no row\n\n".to_owned(),
        new,
        old,
        dirty,
    ]
    .concat()
}

fn list(arguments: &[&str]) -> Output {
    cis490().arg("list").args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the command prints of the store itself and what it prints of the receiver, which must be the
/// same.
fn listed(world: &World, arguments: &[&str]) -> String {
    let config = world.config_path();
    let here = list(&[&["--config", &config], arguments].concat());
    assert_eq!(here.status.code(), Some(0), "{arguments:?}: {}", err(&here));
    let url = format!("http://{}", world.address());
    let there = list(&[&["--url", &url], arguments].concat());
    assert_eq!(
        there.status.code(),
        Some(0),
        "{arguments:?}: {}",
        err(&there)
    );
    assert_eq!(out(&here), out(&there), "{arguments:?}");
    out(&here)
}

/// The names in the last column of the table.
fn names(table: &str) -> Vec<&str> {
    let lines = table.lines().skip(1);
    lines.map(|line| line.rsplit(' ').next().unwrap()).collect()
}

#[test]
fn the_table_is_oldest_first_and_each_filter_filters() {
    let world = with_index(&index());
    let all = [
        "lab-1/first",
        "lab-2/second",
        "lab-1/new",
        "lab-3/old",
        "lab-2/dirty",
    ];
    for (arguments, want) in [
        (&[][..], &all[..]),
        (&["--host", "lab-1"], &["lab-1/first", "lab-1/new"]),
        (&["--since", "2d"], &["lab-1/new"]),
        (
            &["--since", "2026-01-02T03:04:05Z"],
            &["lab-1/first", "lab-2/second", "lab-1/new", "lab-2/dirty"],
        ),
        (&["--since", "2026-01-02T03:04:06Z"], &["lab-1/new"]),
        (&["--commit", "ddd"], &["lab-2/dirty"]),
        (
            &["--commit", "c"],
            &["lab-1/first", "lab-2/second", "lab-1/new"],
        ),
        (&["--dirty"], &["lab-2/dirty"]),
        (&["--limit", "2"], &["lab-3/old", "lab-2/dirty"]),
        (&["--limit", "1", "--host", "lab-1"], &["lab-1/new"]),
        (&["--limit", "0"], &[]),
        (&["--limit", "5000"], &all),
        (&["--until", "2"], &["lab-1/first", "lab-2/second"]),
        (
            &["--until", "3", "--host", "lab-1"],
            &["lab-1/first", "lab-1/new"],
        ),
        (&["--host", "nobody"], &[]),
    ] {
        let table = listed(&world, arguments);
        assert_eq!(names(&table), want, "{arguments:?}\n{table}");
    }
    let table = listed(&world, &[]);
    assert!(table.starts_with("     seq  received "), "{table}");
    let dirty = table.lines().last().unwrap();
    assert!(dirty.contains("dddddddddddd+"), "{dirty}");
    let old = table
        .lines()
        .find(|line| line.ends_with("lab-3/old"))
        .unwrap();
    assert!(
        old.trim_start().starts_with("-  ") && old.contains("unknown"),
        "{old}"
    );
}

#[test]
fn json_is_the_rows_as_they_stand() {
    let world = with_index(&index());
    let rows: String = index()
        .split_inclusive('\n')
        .filter(|line| line.starts_with('{'))
        .collect();
    assert_eq!(listed(&world, &["--json"]), rows);
    let newest = index()
        .split_inclusive('\n')
        .next_back()
        .unwrap()
        .to_owned();
    assert_eq!(listed(&world, &["--json", "--limit", "1"]), newest);
}

#[test]
fn a_line_that_is_no_row_is_counted_on_stderr() {
    let world = with_index(&index());
    let output = list(&["--config", &world.config_path()]);
    assert!(
        err(&output).contains("1 line of the index"),
        "{}",
        err(&output)
    );
}

/// More than a page, and more than the newest page.
#[test]
fn a_long_list_is_asked_for_page_by_page() {
    let index = rows(2500);
    let world = with_index(&index);
    assert_eq!(listed(&world, &["--json"]), index);
    let lines: Vec<&str> = index.split_inclusive('\n').collect();
    for limit in [1, 1000, 1001, 2400] {
        let newest = lines[2500 - limit..].concat();
        assert_eq!(
            listed(&world, &["--json", "--limit", &limit.to_string()]),
            newest
        );
    }
    let of_host = listed(&world, &["--json", "--host", "lab-0"]);
    assert_eq!(of_host.lines().count(), 833);
}

#[test]
fn a_frozen_set_has_one_digest_wherever_it_is_asked_for() {
    let mut world = with_index(&index());
    let set = listed(&world, &["--until", "3", "--digest"]);
    let line = |seq: u64| format!("{seq:064x}\n");
    // lab-1/first, lab-1/new, lab-2/second
    let digest = sha256([line(1), line(3), line(2)].concat().as_bytes());
    assert!(set.contains("3 episodes up to seq 3, 6 bytes"), "{set}");
    assert!(set.contains(&format!("sha256 {digest}\n")), "{set}");
    assert!(set.contains("1 row without a seq left out"), "{set}");
    let json = listed(&world, &["--until", "3", "--digest", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["sha256"], digest);
    assert_eq!(
        (json["episodes"].as_u64(), json["without_seq"].as_u64()),
        (Some(3), Some(1))
    );
    let of_host = listed(&world, &["--until", "3", "--digest", "--host", "lab-2"]);
    assert!(
        of_host.contains("1 episode up to seq 3, 2 bytes"),
        "{of_host}"
    );
    // New rows change nothing of it, nor does the order of the index.
    world.stop();
    let mut lines: Vec<String> = index().split_inclusive('\n').map(str::to_owned).collect();
    lines.reverse();
    lines.push(row(9, "lab-0", "later"));
    fs::write(world.data_dir().join("index.jsonl"), lines.concat()).unwrap();
    world.start();
    assert_eq!(listed(&world, &["--until", "3", "--digest"]), set);
}

fn tarball(meta: Option<&str>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    if let Some(meta) = meta {
        add("ep/meta.json", meta.as_bytes());
    }
    add("ep/data", b"x");
    compress_to_vec(&*tar.into_inner().unwrap(), CompressionLevel::Fastest)
}

#[test]
fn meta_is_read_out_of_the_tarballs() {
    let index = row(1, "lab-1", "good") + &row(2, "lab-1", "bare") + &row(3, "lab-1", "gone");
    let world = with_index(&index);
    let folder = world.data_dir().join("episodes/lab-1");
    fs::create_dir_all(&folder).unwrap();
    let meta = "{\n  \"label\": \"walk\",\n  \"code_version\": {\"commit\": \"x\"}\n}\n";
    let write = |name: &str, bytes: Vec<u8>| {
        fs::write(folder.join(format!("{name}.tar.zst")), bytes).unwrap();
    };
    write("good", tarball(Some(meta)));
    write("bare", tarball(None));
    let output = list(&["--config", &world.config_path(), "--meta", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let rows: Vec<serde_json::Value> = out(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let stood: Vec<serde_json::Value> = index
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        rows[0]["meta"],
        serde_json::from_str::<serde_json::Value>(meta).unwrap()
    );
    assert!(rows[1]["meta"].is_null() && rows[2]["meta"].is_null());
    for (row, stood) in rows.iter().zip(&stood) {
        for (key, value) in stood.as_object().unwrap() {
            assert_eq!(&row[key], value, "{key}");
        }
    }
    for words in ["lab-1/bare: the tarball has no meta.json", "lab-1/gone: "] {
        assert!(err(&output).contains(words), "{}", err(&output));
    }
    let table = out(&list(&[
        "--config",
        &world.config_path(),
        "--meta",
        "--limit",
        "3",
    ]));
    assert!(
        table.contains("meta.json: {   \"label\": \"walk\""),
        "{table}"
    );
}

#[test]
fn a_token_is_read_from_its_file_and_a_refusal_says_what_to_do() {
    let reader = format!(
        "[[reader]]\nid = \"test\"\ntoken_sha256 = \"{}\"\n",
        sha256(b"sesame")
    );
    let mut world = World::prepared(&format!("{reader}{NO_GATE}"));
    fs::write(world.data_dir().join("index.jsonl"), rows(2)).unwrap();
    world.start();
    let url = format!("http://{}/", world.address());
    let token = world.dir().join("token").display().to_string();
    fs::write(&token, "sesame\n").unwrap();
    let with_token = list(&["--url", &url, "--token-file", &token, "--json"]);
    assert_eq!(out(&with_token), rows(2), "{}", err(&with_token));
    let without = list(&["--url", &url]);
    assert_eq!(without.status.code(), Some(1));
    assert!(err(&without).contains("--token-file"), "{}", err(&without));
    fs::write(&token, "another").unwrap();
    let wrong = list(&["--url", &url, "--token-file", &token]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        err(&wrong).contains("unknown-reader-token"),
        "{}",
        err(&wrong)
    );
    assert!(!err(&wrong).contains("another"), "{}", err(&wrong));
}

#[test]
fn who_does_not_answer_as_a_receiver_is_named() {
    let closed = with_index("");
    let url = format!("http://{}", closed.address());
    drop(closed);
    let nobody = list(&["--url", &url]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(err(&nobody).contains("cannot ask"), "{}", err(&nobody));
    let open = World::prepared(&format!("{READER}{NO_GATE}"));
    for url in [
        "",
        "pi",
        "ftp://pi",
        "http://",
        "http:///x",
        "http://u:secret@pi:1",
        "http://pi:1?x",
    ] {
        let odd = list(&["--url", url]);
        assert_eq!(odd.status.code(), Some(2), "{url}");
        assert!(err(&odd).contains("--url"), "{url}: {}", err(&odd));
        assert!(!err(&odd).contains("secret"), "{url}: {}", err(&odd));
    }
    drop(open);
}

fn say(status: &str, lines: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Say(format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{lines}Connection: close\r\n\r\n{body}"
    ))
}

#[test]
fn a_busy_receiver_is_asked_again_and_not_for_ever() {
    let busy = || say("503 Service Unavailable", "Retry-After: 0\r\n", "busy");
    let stub = Stub::new([]);
    let rows = rows(2);
    let good = say("200 OK", "X-Cis490-Next: 7\r\n", &rows);
    stub.gets([busy(), busy(), good]);
    let listed = list(&["--url", &stub.url, "--json"]);
    assert_eq!(out(&listed), rows, "{}", err(&listed));
    stub.gets([busy()]);
    let before = stub.heard().len();
    let refused = list(&["--url", &stub.url]);
    assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
    assert_eq!(stub.heard().len() - before, 4);
}

/// The command ends, whichever server answers it, follows nobody, and shows only what can be a row.
#[test]
fn an_odd_server_gets_words_and_no_loop() {
    let stub = Stub::new([]);
    let link = "Link: </v1/episodes?cursor=7>; rel=\"next\"\r\n";
    for (reply, words) in [
        (say("200 OK", "", ""), "no X-Cis490-Next"),
        (
            say("200 OK", "X-Cis490-Next: x&limit=1\r\n", ""),
            "no X-Cis490-Next",
        ),
        (
            say("200 OK", &format!("X-Cis490-Next: 7\r\n{link}"), ""),
            "does not go on",
        ),
        (
            say("302 Found", "Location: http://127.0.0.1:1/\r\n", ""),
            "status 302",
        ),
        (say("404 Not Found", "", "<html>"), "status 404"),
        (
            say(
                "403 Forbidden",
                "",
                "{\"type\":\"urn:cis490:problem:not-a-reader\",\"detail\":\"no\\u001b[31m\"}",
            ),
            "answered 403 not-a-reader: no [31m",
        ),
    ] {
        stub.gets([reply]);
        let output = list(&["--url", &stub.url]);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(err(&output).contains(words), "{words}: {}", err(&output));
        assert!(
            !err(&output).contains('\u{1b}'),
            "{words}: {}",
            err(&output)
        );
    }
    let odd = [
        row(1, "lab-1", "good"),
        row(2, "..", "escape"),
        row(3, "lab-1", "../../etc"),
        "{\"half".to_owned(),
    ];
    stub.gets([say("200 OK", "X-Cis490-Next: 7\r\n", &odd.concat())]);
    let output = list(&["--url", &stub.url]);
    assert_eq!(names(&out(&output)), ["lab-1/good"], "{}", err(&output));
    assert!(err(&output).contains("3 lines"), "{}", err(&output));
}

#[test]
fn options_that_do_not_fit_are_refused_with_words() {
    let world = with_index("");
    let config = world.config_path();
    let url = format!("http://{}", world.address());
    for (arguments, words) in [
        (
            &["--url", &url, "--config", &config][..],
            "give one of them",
        ),
        (&["--url", &url, "--meta"], "--meta reads the tarballs"),
        (&["--config", &config, "--token-file", "x"], "are for --url"),
        (&["--config", &config, "--digest"], "add --until SEQ"),
        (
            &[
                "--config", &config, "--digest", "--until", "1", "--limit", "1",
            ],
            "leave out --limit",
        ),
        (&["--config", &config, "--commit", "HEAD"], "--commit"),
        (&["--config", &config, "--commit", ""], "--commit"),
        (
            &["--config", &config, "--since", "yesterday"],
            "such as 30m",
        ),
        (&["--config", &config, "--host", "LAB"], "a host id"),
    ] {
        let output = list(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            err(&output).contains(words),
            "{arguments:?}: {}",
            err(&output)
        );
    }
}

/// A store that nothing came to has no index yet.
#[test]
fn a_new_store_lists_nothing_and_a_missing_one_is_named() {
    let world = World::prepared("");
    let config = world.config_path();
    let output = list(&["--config", &config, "--json"]);
    assert_eq!(
        (output.status.code(), &*out(&output)),
        (Some(0), ""),
        "{}",
        err(&output)
    );
    let absent: PathBuf = world.dir().join("absent");
    let output = list(&["--data-dir", absent.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("absent"), "{}", err(&output));
}
