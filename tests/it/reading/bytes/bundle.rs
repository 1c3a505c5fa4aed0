//! `/v1/episodes.tar`: the small episodes of a page of the list in one answer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::here::has;
use crate::world::is_emulated;

const TAR: &str = "/v1/episodes.tar";
const SMALL_MAX: usize = 1 << 20;

/// The files of a tar, by name. Panics if it does not end as a tar does.
fn files_of(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    assert!(tar.ends_with(&[0; 1024]) && tar.len().is_multiple_of(512));
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().entry_type(), tar::EntryType::Regular);
        assert_eq!(entry.header().mode().unwrap(), 0o644);
        assert!(entry.header().mtime().unwrap() > 1_700_000_000);
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name, bytes)
    });
    entries.collect()
}

/// What chunks bring; `None` if the last one has not come.
fn from_chunks(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let end = chunks.windows(2).position(|two| two == b"\r\n")?;
        let digits = std::str::from_utf8(&chunks[..end]).unwrap();
        let length = usize::from_str_radix(digits, 16).unwrap();
        let chunk = chunks.get(end + 2..end + 2 + length + 2)?;
        assert!(chunk.ends_with(b"\r\n"));
        bytes.extend_from_slice(&chunk[..length]);
        chunks = &chunks[end + 2 + length + 2..];
        if length == 0 {
            assert_eq!(chunks, b"", "bytes behind the last chunk");
            return Some(bytes);
        }
    }
}

fn bundle(world: &World, query: &str) -> (Got, BTreeMap<String, Vec<u8>>) {
    let got = ask(world, "GET", &format!("{TAR}{query}"), "");
    assert_eq!(got.status, 200, "{}", got.head);
    assert_eq!(got.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(got.header("Content-Length"), None);
    let tar = from_chunks(&got.body).expect("the last chunk");
    (got, files_of(&tar))
}

/// A receiver with these episodes of `lab-1`: their names and lengths.
fn with_episodes(config: &str, episodes: &[(&str, usize)]) -> (World, BTreeMap<String, Vec<u8>>) {
    let world = readable(config);
    let mut files = BTreeMap::new();
    for (place, (episode, bytes)) in episodes.iter().enumerate() {
        let mut body = noise(*bytes);
        body[0] = place as u8;
        store(&world, episode, &body);
        files.insert(format!("lab-1/{episode}.tar.zst"), body);
    }
    (world, files)
}

fn path_of(world: &World, episode: &str) -> std::path::PathBuf {
    let name = format!("episodes/lab-1/{episode}.tar.zst");
    world.data_dir().join(name)
}

#[test]
fn the_small_episodes_of_a_page_come_in_one_tar() {
    let long = "e".repeat(128);
    let (world, mut files) = with_episodes(
        "",
        &[
            ("one", 1),
            ("a-block", 512),
            ("a-block-and-one", 513),
            (&long, 3000),
            ("largest", SMALL_MAX),
            ("too-large", SMALL_MAX + 1),
            ("gone", 70),
            ("cut", 700),
            ("last", 100_000),
        ],
    );
    fs::remove_file(path_of(&world, "gone")).unwrap();
    File::options()
        .write(true)
        .open(path_of(&world, "cut"))
        .unwrap()
        .set_len(699)
        .unwrap();
    for left_out in ["too-large", "gone", "cut"] {
        files.remove(&format!("lab-1/{left_out}.tar.zst"));
    }
    let (got, found) = bundle(&world, "");
    assert!(found == files, "{:?}", found.keys());
    assert_eq!(got.header("Content-Type"), Some("application/x-tar"));
    assert_eq!(got.header("Cache-Control"), Some("no-store"));
    assert_eq!(got.header("Connection"), Some("close"));
    let bytes: usize = files.values().map(Vec::len).sum();
    let line = format!(
        "event=bundle_ended reader=test peer=127.0.0.1 outcome=complete episodes={} bytes={bytes} ",
        files.len()
    );
    world.wait_until("its end is logged", |world| world.log().contains(&line));
    world.wait_until("it is counted", |world| ended(world, "complete") == 1);
    assert_eq!(figure(&world, "cis490_download_bytes_total"), bytes as u64);
    assert_eq!(figure(&world, "cis490_downloads_in_progress"), 0);
}

#[test]
fn pages_follow_one_another_as_those_of_the_list() {
    let (world, files) = with_episodes("", &[("a", 10), ("b", 20), ("c", 30), ("d", 40)]);
    let list = world.get("/v1/episodes?limit=3");
    let (got, mut found) = bundle(&world, "?limit=3");
    assert_eq!(found.len(), 3);
    for name in ["X-Cis490-Store", "X-Cis490-Next", "X-Cis490-Last"] {
        assert_eq!(got.header(name), list.header(name), "{name}");
    }
    let link = got.header("Link").expect("another page");
    let target = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let (target, _) = target.unwrap_or_else(|| panic!("{link}"));
    let (rest, more) = bundle(&world, target.strip_prefix(TAR).expect("of bundles"));
    assert_eq!(rest.header("Link"), None);
    found.extend(more);
    assert!(found == files);
    assert!(bundle(&world, "?host=nobody").1.is_empty());
    assert_eq!(bundle(&world, "?tail=1").1.len(), 1);
    let head = ask(&world, "HEAD", &format!("{TAR}?limit=3"), "");
    assert_eq!((head.dated(), &*head.body), (got.dated(), &b""[..]));
}

#[test]
fn what_is_no_question_is_refused_as_in_the_list() {
    let (world, _) = with_episodes("", &[("a", 10)]);
    for (query, name) in [
        ("?limit=0", "bad-query"),
        ("?x=1", "bad-query"),
        ("?cursor=1", "bad-cursor"),
        ("?cursor=x", "bad-cursor"),
    ] {
        for method in ["GET", "HEAD"] {
            let got = ask(&world, method, &format!("{TAR}{query}"), "");
            assert_eq!(got.status, 400, "{query}");
            if method == "GET" {
                assert_eq!(got.problem(), name, "{query}");
            }
        }
    }
    let got = ask(&world, "POST", TAR, "Content-Length: 0\r\n");
    assert_eq!(
        (got.status, got.header("Allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
    let got = ask(&world, "GET", &format!("{TAR}/"), "");
    assert_eq!(got.status, 404);
}

#[test]
fn a_peer_of_http_1_0_gets_no_chunks() {
    let (world, files) = with_episodes("", &[("a", 10), ("b", 2000)]);
    let got = raw(&world, &format!("GET {TAR} HTTP/1.0\r\n\r\n"));
    assert_eq!(got.status, 200);
    assert_eq!(got.header("Transfer-Encoding"), None);
    assert_eq!(got.header("Content-Length"), None);
    assert!(files_of(&got.body) == files);
}

#[test]
fn a_bundle_follows_other_answers_of_its_connection() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let (world, files) = with_episodes("", &[("ep-1", 10), ("b", 2000)]);
    let mut client = world.client();
    for (path, status) in [("/v1/gate", 200), (PATH, 206)] {
        let asked = request("GET", path, "Range: bytes=0-0\r\n");
        client.send(asked.as_bytes()).unwrap();
        assert_eq!(client.answer().unwrap().status, status, "{path}");
    }
    client.send(request("GET", TAR, "").as_bytes()).unwrap();
    let got = Got::parse(&client.rest());
    assert!(files_of(&from_chunks(&got.body).expect("the last chunk")) == files);
}

#[test]
fn a_stop_lets_a_bundle_end() {
    let (world, files) = with_episodes("", &[("a", SMALL_MAX), ("b", 10)]);
    let mut client = stalling(&world, TAR);
    world.signal("TERM");
    world.wait_until("it is stopping", |world| {
        ask(world, "GET", TAR, "").status == 503
    });
    let mut got = b"H".to_vec();
    got.extend(client.rest());
    let tar = from_chunks(&Got::parse(&got).body).expect("the last chunk");
    assert!(files_of(&tar) == files);
}

#[test]
fn tar_unpacks_what_curl_gets() {
    if !has("tar unpacks a bundle", "curl") || !has("tar unpacks a bundle", "tar") {
        return;
    }
    let long = "n".repeat(120);
    let (world, files) = with_episodes("", &[("a", 10), (&long, 2000), ("c", 900_000)]);
    let url = format!("http://{}{TAR}", world.address());
    let pipe = "set -eo pipefail; mkdir got; curl -sS --fail --noproxy '*' $0 | tar -x -C got";
    let mut command = Command::new("bash");
    command.current_dir(world.dir()).args(["-c", pipe, &url]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for (name, bytes) in files {
        let found = fs::read(world.dir().join("got").join(&name)).unwrap();
        assert!(found == bytes, "{name}");
    }
}

#[test]
fn a_bundle_has_a_place_and_a_peer_that_takes_nothing_loses_it() {
    let config = "max_downloads = 1\nidle_timeout_seconds = 2\n";
    let (world, files) = with_episodes(config, &[("ep-1", SMALL_MAX), ("ep-2", SMALL_MAX)]);
    let stalled = stalling(&world, TAR);
    for path in [TAR, PATH] {
        let got = ask(&world, "GET", path, "");
        assert_eq!((got.status, &*got.problem()), (503, "too-many-downloads"));
    }
    let line = "event=bundle_ended reader=test peer=127.0.0.1 outcome=too-slow ";
    world.wait_until("it is cut", |world| world.log().contains(line));
    world.wait_until("it is counted", |world| ended(world, "too-slow") == 1);
    assert!(bundle(&world, "").1 == files);
    drop(stalled);
}

/// Slower than the idle time as a whole, and never silent for as long. Headers are nearly all of it: they count
/// as much as the bytes of episodes.
#[test]
fn tiny_episodes_that_are_taken_slowly_are_not_cut() {
    let names: Vec<String> = (0..300).map(|n| format!("ep-{n}")).collect();
    let episodes: Vec<_> = names.iter().map(|name| (&**name, 1)).collect();
    let (world, files) = with_episodes("idle_timeout_seconds = 2\n", &episodes);
    let mut client = stalling(&world, TAR);
    let mut got = b"H".to_vec();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        let mut some = [0; 4096];
        client.0.read_exact(&mut some).expect("more of the answer");
        got.extend_from_slice(&some);
        thread::sleep(Duration::from_millis(100));
    }
    assert!(got.len() < 300 * 1024, "it was still under way");
    got.extend(client.rest());
    let tar = from_chunks(&Got::parse(&got).body).expect("the last chunk");
    assert!(files_of(&tar) == files);
}

/// How often the thread that sends a bundle has gone to sleep, if it sleeps now.
fn sleeps(world: &World) -> Option<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", world.pid())).unwrap();
    let statuses = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")));
    let mut statuses = statuses.filter_map(Result::ok);
    let status = statuses.find(|status| status.starts_with("Name:\tdownload\n"))?;
    let count = status
        .lines()
        .find(|line| line.starts_with("voluntary_ctxt_switches"))?;
    status.contains("\nState:\tS").then(|| count.to_owned())
}

#[test]
fn an_episode_that_becomes_shorter_while_it_is_sent_ends_the_answer() {
    if is_emulated() {
        return skip!("the threads of an emulated receiver have other names");
    }
    // More than the kernels on both sides hold.
    let names: Vec<String> = (0..LARGE / SMALL_MAX).map(|n| format!("ep-{n}")).collect();
    let episodes: Vec<_> = names.iter().map(|name| (&**name, SMALL_MAX)).collect();
    let (world, _) = with_episodes("", &episodes);
    let client = stalling(&world, TAR);
    // In the middle of some episode the socket has no room: the thread sleeps, and goes on sleeping.
    world.wait_until("it waits for its peer", |world| {
        let before = sleeps(world);
        thread::sleep(Duration::from_millis(50));
        before.is_some() && sleeps(world) == before
    });
    for name in &names {
        let file = File::options().write(true).open(path_of(&world, name));
        file.unwrap().set_len(10).unwrap();
    }
    let got = finish(client);
    assert_eq!(got.status, 200);
    assert!(from_chunks(&got.body).is_none(), "it has its last chunk");
    let line = "event=bundle_ended reader=test peer=127.0.0.1 outcome=file-changed ";
    world.wait_until("its end is logged", |world| world.log().contains(line));
}

#[test]
fn nobody_but_a_reader_gets_a_bundle() {
    let secret = b"these bytes are for readers only";
    let world = World::with(NO_GATE);
    store(&world, "ep-1", secret);
    for path in [
        TAR,
        "/v1/episodes.tar?limit=1",
        "/v1/episodes.tar?cursor=1",
        "http://pi/v1/episodes.tar",
        "//v1/episodes.tar",
        "/v1/./episodes.tar",
        "/v1/episodes.tar/",
        "/v1/episodes%2etar",
        "/V1/EPISODES.TAR",
        "/v1/episodes.tar.zst",
        "/v1/episodes/.tar",
    ] {
        for method in ["GET", "HEAD"] {
            let got = ask(&world, method, path, "Authorization: Bearer x\r\n");
            assert!(got.status >= 400, "{method} {path}: {}", got.status);
            assert_eq!(got.header("X-Cis490-Store"), None, "{path}");
            assert!(!got.body.windows(secret.len()).any(|part| part == secret));
        }
    }
    assert_eq!(ask(&world, "GET", TAR, "").status, 403);
    // A web page's script that runs at a reader.
    let (world, _) = with_episodes("", &[("a", 10)]);
    let got = ask(&world, "GET", TAR, "Origin: http://elsewhere\r\n");
    assert_eq!(got.status, 403);
    // A token that went to the wrong place is in no log.
    assert_eq!(
        ask(&world, "GET", &format!("{TAR}?token=sesame"), "").status,
        400
    );
    assert!(!world.log().contains("sesame"), "{world}");
}
