//! The programs that people fetch with.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::*;
use crate::here::has;

fn url(world: &World) -> String {
    format!("http://{}{PATH}", world.address())
}

/// Runs a client in a folder; its output, whatever its status.
fn run(program: &str, dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.current_dir(dir).args(args).env("no_proxy", "*");
    command.output().unwrap()
}

fn folder(world: &World) -> std::path::PathBuf {
    let folder = world.dir().join("client");
    fs::create_dir(&folder).unwrap();
    folder
}

#[test]
fn curl_fetches_all_parts_and_the_rest() {
    if !has("curl fetches", "curl") {
        return;
    }
    let (world, body) = with_episode("", 3 << 20);
    let dir = folder(&world);
    let url = url(&world);
    let curl = |args: &[&str]| {
        let base = ["-sS", "--fail", "--noproxy", "*", "-w", "%{http_code}"];
        let args: Vec<&str> = base.iter().chain(args).copied().collect();
        let output = run("curl", &dir, &args);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    // It takes the name that the receiver proposes.
    assert_eq!(curl(&["-OJ", &url]), (Some(0), "200".to_owned()));
    assert_eq!(fs::read(dir.join("lab-1~ep-1.tar.zst")).unwrap(), body);
    for (range, part) in [
        ("0-9", &body[..10]),
        ("1000000-1999999", &body[1_000_000..2_000_000]),
        ("-5", &body[body.len() - 5..]),
    ] {
        assert_eq!(curl(&["-r", range, "-o", "part", &url]).1, "206", "{range}");
        assert_eq!(fs::read(dir.join("part")).unwrap(), part, "{range}");
    }
    fs::write(dir.join("rest"), &body[..1_234_567]).unwrap();
    assert_eq!(
        curl(&["-C", "-", "-o", "rest", &url]),
        (Some(0), "206".to_owned())
    );
    assert_eq!(fs::read(dir.join("rest")).unwrap(), body);
    // All is here already.
    assert_eq!(curl(&["-C", "-", "-o", "rest", &url]).1, "416");
    assert_eq!(fs::read(dir.join("rest")).unwrap(), body);
    assert_eq!(curl(&["-I", &url]).1.lines().last(), Some("200"));
    let tag = format!("If-None-Match: {}", etag(&body));
    assert_eq!(
        curl(&["-H", &tag, "-o", "none", &url]),
        (Some(0), "304".to_owned())
    );
    assert!(!dir.join("none").exists());
}

#[test]
fn wget_continues() {
    if !has("wget continues", "wget") {
        return;
    }
    let (world, body) = with_episode("", 3 << 20);
    let dir = folder(&world);
    let url = url(&world);
    let wget = |args: &[&str]| {
        let base = ["-nv", "--no-proxy", "--tries=1"];
        let args: Vec<&str> = base.iter().chain(args).copied().collect();
        run("wget", &dir, &args)
    };
    fs::write(dir.join("ep-1.tar.zst"), &body[..777_777]).unwrap();
    for _ in 0..2 {
        let output = wget(&["-c", &url]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(fs::read(dir.join("ep-1.tar.zst")).unwrap(), body);
    }
    let output = wget(&["--content-disposition", &url]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(dir.join("lab-1~ep-1.tar.zst")).unwrap(), body);
}

#[test]
fn aria2_fetches_in_pieces() {
    if !has("aria2 fetches in pieces", "aria2c") {
        return;
    }
    let (world, body) = with_episode("", 8 << 20);
    let dir = folder(&world);
    let pieces = ["-q", "-x4", "-s4", "-k1M", "-oall", "--retry-wait=1"];
    let output = run("aria2c", &dir, &[&pieces[..], &[&url(&world)]].concat());
    assert!(output.status.success(), "{output:?}\n{world}");
    assert_eq!(fs::read(dir.join("all")).unwrap(), body);
}

/// http.client goes on with If-Range, as a careful downloader does; urllib takes all of it and reads the
/// digest that the answer has.
const PYTHON: &str = r#"
import base64, hashlib, http.client, sys, urllib.request
host, path = sys.argv[1:]
def ask(**fields):
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in fields.items()})
    return connection.getresponse()
first = ask()
tag, length = first.headers["ETag"], int(first.headers["Content-Length"])
start = first.read(1000000)
first.close()
rest = ask(Range=f"bytes={len(start)}-", If_Range=tag)
assert rest.status == 206, rest.status
assert rest.headers["Content-Range"] == f"bytes {len(start)}-{length-1}/{length}"
whole = start + rest.read()
other = ask(Range="bytes=5-", If_Range='"another"')
assert other.status == 200 and other.read() == whole
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
answer = opener.open(f"http://{host}{path}", timeout=60)
assert answer.read() == whole
digest = base64.b64encode(hashlib.sha256(whole).digest()).decode()
assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:", answer.headers["Repr-Digest"]
assert answer.headers["ETag"] == f'"{hashlib.sha256(whole).hexdigest()}"'
assert answer.headers.get_filename() == "lab-1~ep-1.tar.zst"
print(hashlib.sha256(whole).hexdigest())
"#;

#[test]
fn python_goes_on_where_it_was() {
    if !has("python goes on", "python3") {
        return;
    }
    let (world, body) = with_episode("", 3 << 20);
    let address = world.address().to_string();
    let output = run("python3", world.dir(), &["-c", PYTHON, &address, PATH]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed.trim(), sha256(&body), "{output:?}\n{world}");
}
