//! `doctor`, on a receiver and on a lab host: what it finds, and what to do about it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{doctor, ended, finding, run, told};
use crate::client::sha256;
use crate::here::can_mount;
use crate::lab::Lab;
use crate::world::{TempDir, World, cis490, is_emulated, own_address};

#[test]
fn doctor_finds_a_running_receiver_well() {
    // A port that the configuration names: of port 0 nobody but the receiver knows which it took.
    let world = World::with(&format!("listen = \"{}\"\n", own_address()));
    let (code, report) = doctor(&world.config_path(), &[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["side"], "receiver");
    assert!(told(&report, "port", "ok", "").contains("the receiver answers on"));
    let head = world.repo.head();
    assert!(told(&report, "local git", "ok", "").contains(&format!("head {head}, 3 of 3 commits")));
    assert!(told(&report, "hard links", "ok", "").contains("supported"));
    let fsync = finding(&report, "fsync")["found"].as_str().unwrap();
    assert!(
        fsync.contains("p50 ") && fsync.contains("p99 ") && fsync.contains(" ms"),
        "{fsync}"
    );
    assert!(told(&report, "access", "warn", "[[host]]").contains("anyone who can reach the port"));
    assert!(
        finding(&report, "version")["found"]
            .as_str()
            .unwrap()
            .starts_with("cis490 ")
    );
    let left: Vec<String> = world.names("");
    assert!(
        left.iter().all(|name| !name.starts_with(".doctor")),
        "{left:?}"
    );

    // The same as text, without a colour since this is no terminal.
    let (_, out, _) = run(&["doctor", "--config", &world.config_path()]);
    assert!(out.starts_with("receiver, configured by "), "{out}");
    assert!(
        out.contains("\nok    port        the receiver answers on"),
        "{out}"
    );
    assert!(out.contains("\n                  do: "), "{out}");
    assert!(!out.contains('\x1b'));
}

#[test]
fn doctor_says_what_is_wrong_on_a_receiver_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = TempDir::new();
    let config = dir.path().join("receiver.toml");
    let token = dir.path().join("token");
    fs::write(&token, "secret").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let forgejo = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", forgejo.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in forgejo.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    });
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\ndata_dir = {:?}\nmin_free_bytes = 1000000000000000\n[version_gate]\nforgejo_url = {url:?}\nrepo_owner = \"lab\"\nrepo_name = \"cis490\"\nauth_token_file = {token:?}\nlocal_repo_path = \"/nonexistent/repo\"\n",
        dir.path().join("data")
    );
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();

    let (code, report) = doctor(config, &[]);
    assert_eq!(code, 3);
    told(&report, "store", "fail", "cis490 init --config");
    assert_eq!(run(&["init", "--config", config]).0, 0);

    let (code, report) = doctor(config, &[]);
    assert_eq!(code, 3);
    assert!(told(&report, "port", "fail", "ss -ltnp").contains("is in use by something other"));
    assert!(told(&report, "disk", "fail", "make room").contains("below the limit of"));
    assert!(told(&report, "forgejo", "fail", "auth_token").contains("401"));
    told(&report, "local git", "fail", "");
    assert!(told(&report, "token", "warn", "chmod o= ").contains("every user of this machine"));
    assert!(!report.to_string().contains("secret"), "{report:#}");

    // No git to be found.
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let program = cis490();
    let output = Command::new(program.get_program())
        .args(program.get_args())
        .args(["doctor", "--json", "--config", config])
        .env("PATH", &empty)
        .output()
        .unwrap();
    let (_, out, _) = ended(output);
    let report: Value = serde_json::from_str(&out).unwrap();
    told(&report, "git", "warn", "apt install git");
    told(&report, "local git", "fail", "git");

    // A configuration that is none: nothing could be tried.
    let (code, _, err) = run(&["doctor", "--config", "/nonexistent.toml"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("cannot read the configuration /nonexistent.toml"),
        "{err}"
    );
}

#[test]
fn doctor_on_a_full_disk_says_so_and_leaves_nothing() {
    if !can_mount("doctor_on_a_full_disk_says_so_and_leaves_nothing") {
        return;
    }
    let dir = TempDir::new();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let config = dir.path().join("receiver.toml");
    fs::write(&config, format!("data_dir = {data:?}\nlisten = \"127.0.0.1:0\"\nmin_free_bytes = 0\n[version_gate]\nenabled = false\n")).unwrap();
    let program = cis490();
    let words: Vec<_> = std::iter::once(program.get_program())
        .chain(program.get_args())
        .collect();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let script = format!(
        "mount -t tmpfs -o size=1m none {data:?} && $0 init --config {config:?} >/dev/null && dd if=/dev/zero of={data:?}/fill bs=4k 2>/dev/null; $0 doctor --json --config {config:?}; code=$?; ls -A {data:?} >&2; exit $code"
    );
    let output = Command::new("unshare")
        .args(["-Umr", "sh", "-c", &script, &words.join(" ")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (code, out, err) = ended(output);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{err}"));
    assert_eq!(code, 3, "{report:#}");
    assert!(told(&report, "disk", "fail", "make room").contains("0 B free"));
    assert!(told(&report, "filesystem", "warn", "put it on a disk").contains("tmpfs"));
    let fails = report["findings"].as_array().unwrap().iter();
    let full = fails.filter(|one| one["found"].as_str().unwrap().contains("No space left"));
    assert!(full.count() > 0, "{report:#}");
    assert!(!err.contains(".doctor"), "{err}");
}

#[test]
fn doctor_on_a_lab_host_tries_the_way_to_the_receiver() {
    let token = "a-token-of-lab-1";
    // An address of its own: when it is gone, no receiver of another test answers there.
    let world = World::with(&format!(
        "listen = \"{}\"\n[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"{}\"\n",
        own_address(),
        sha256(token.as_bytes())
    ));
    let url = format!("http://{}", world.address());
    let file = world.dir().join("token");
    let lab = Lab::with(&url, &format!("token_file = {file:?}"));
    let config = lab.config().display().to_string();
    let repo = world.repo.dir.display().to_string();
    let examine = |token: &str| {
        fs::write(&file, token).unwrap();
        doctor(&config, &["--repo", &repo])
    };
    let (code, report) = examine(token);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["side"], "lab host");
    assert!(told(&report, "receiver", "ok", "").contains("answers, version"));
    let path = told(&report, "path", "ok", "");
    // qemu-user does not pass the question on.
    let mtu = if is_emulated() {
        "path MTU unknown"
    } else {
        "path MTU 65"
    };
    assert!(
        path.contains("256 KiB sent in") && path.contains(mtu),
        "{path}"
    );
    assert_eq!(told(&report, "token", "ok", ""), "lab-1 is let in");
    assert!(told(&report, "code", "ok", "").contains("1 of 3"));
    assert!(told(&report, "queue", "warn", "systemctl start").contains("is not running"));
    // Nothing was stored by it.
    assert_eq!(world.names("episodes"), [""; 0]);
    assert_eq!(world.names("incoming"), [""; 0]);

    let (code, report) = examine("another-token");
    assert_eq!(code, 3, "{report:#}");
    told(&report, "token", "fail", "token_file");

    // Out of date, and the receiver gone.
    world.repo.git(&["checkout", "-q", world.too_old()]);
    let (code, report) = examine(token);
    assert_eq!(code, 3);
    told(&report, "code", "fail", "cis490 check");
    drop(world);
    let lab = Lab::new(&url);
    let (code, report) = doctor(&lab.config().display().to_string(), &[]);
    assert_eq!(code, 3);
    told(&report, "receiver", "fail", "WireGuard");
}

#[test]
fn doctor_of_a_host_that_speaks_tls_to_a_receiver_says_what_to_write() {
    let world = World::new();
    let lab = Lab::new(&format!("https://{}", world.address()));
    let (code, report) = doctor(&lab.config().display().to_string(), &[]);
    if told(&report, "receiver", "fail", "").contains("this build") {
        let test = "doctor_of_a_host_that_speaks_tls_to_a_receiver_says_what_to_write";
        return skip!("{test}: this build has no TLS");
    }
    assert_eq!(code, 3);
    let one = finding(&report, "receiver");
    let remedy = one["do"].as_str().unwrap();
    let to_write = "http:// in place of https://";
    assert!(remedy.contains(to_write), "{one}");
    assert!(!remedy.contains("WireGuard"), "{one}");
    // The finding says what was found, and the remedy what to do, each once.
    let words = told(&report, "receiver", "fail", "TLS");
    assert!(!words.contains(to_write), "{one}");
}
