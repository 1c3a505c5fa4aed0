//! What the operator types: `doctor`, `status` on either side, help, completions, manual pages.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::client::{Put, sha256};
use crate::lab::Lab;
use crate::world::{TempDir, World, cis490, is_emulated, own_address};

fn run(args: &[&str]) -> (i32, String, String) {
    ended(cis490().args(args).output().unwrap())
}

fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The finding of a subject in `doctor --json`, and the exit status.
pub fn doctor(config: &str, more: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(&[&["doctor", "--json", "--config", config], more].concat());
    let report = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{err}"));
    (code, report)
}

fn finding<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    let mut of_subject = findings.iter().filter(|one| one["subject"] == subject);
    of_subject
        .next()
        .unwrap_or_else(|| panic!("no {subject} in {report:#}"))
}

/// What it found, after it was asserted that it says `verdict` with a remedy that has `remedy` in it.
pub fn told(report: &Value, subject: &str, verdict: &str, remedy: &str) -> String {
    let one = finding(report, subject);
    assert_eq!(one["verdict"], verdict, "{report:#}");
    let to_do = one["do"].as_str().unwrap();
    assert!(to_do.contains(remedy), "{remedy}\n{one:#}");
    assert!(verdict == "ok" || !to_do.is_empty(), "{one:#}");
    one["found"].as_str().unwrap().to_owned()
}

#[test]
fn doctor_finds_a_running_receiver_well() {
    let mut world = World::prepared("");
    // An address that the configuration names: with port 0 nobody but the receiver knows which it took.
    let address = own_address();
    let text = fs::read_to_string(world.config_path()).unwrap();
    fs::write(
        world.config_path(),
        text.replace("127.0.0.1:0", &address.to_string()),
    )
    .unwrap();
    world.start();
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
    assert_eq!(code, 2);
    told(&report, "store", "fail", "cis490 init --config");
    assert_eq!(run(&["init", "--config", config]).0, 0);

    let (code, report) = doctor(config, &[]);
    assert_eq!(code, 2);
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
    let can = Command::new("unshare")
        .args(["-Umr", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    if !can.is_ok_and(|output| output.status.success()) {
        skip!("doctor_on_a_full_disk: no mounts in a namespace here");
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
    assert_eq!(code, 2, "{report:#}");
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
    let world = World::with(&format!(
        "[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"{}\"\n",
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
    assert_eq!(code, 2, "{report:#}");
    told(&report, "token", "fail", "token_file");

    // Out of date, and the receiver gone.
    world.repo.git(&["checkout", "-q", world.too_old()]);
    let (code, report) = examine(token);
    assert_eq!(code, 2);
    told(&report, "code", "fail", "cis490 check");
    drop(world);
    let lab = Lab::new(&url);
    let (code, report) = doctor(&lab.config().display().to_string(), &[]);
    assert_eq!(code, 2);
    told(&report, "receiver", "fail", "WireGuard");
}

#[test]
fn status_of_a_receiver_in_words_and_in_literal_members() {
    let mut world = World::prepared(
        "[[host]]\nid = \"lab-9\"\naddress = \"10.8.0.9\"\n[[host]]\nid = \"lab-1\"\naddress = \"127.0.0.1\"\n",
    );
    let address = own_address();
    let text = fs::read_to_string(world.config_path()).unwrap();
    fs::write(
        world.config_path(),
        text.replace("127.0.0.1:0", &address.to_string()),
    )
    .unwrap();
    let config = world.config_path();
    let (code, out, _) = run(&["status", "--config", &config]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("the receiver is not running: systemctl start cis490-receiver; 2 hosts\n"),
        "{out}"
    );
    world.start();
    assert_eq!(world.put(&world.good()).status, 201);
    let (_, out, _) = run(&["status", "--config", &config]);
    for words in [
        &format!("the receiver is running on {address} and accepts uploads; 2 hosts\n\n")[..],
        "SILENT        lab-9: no upload yet\n",
        "3 of 3 known, from git, checked ",
        "stored        1 episode, 24 B, in /",
        "scrub         never run: cis490 scrub reads all stored files again\n",
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    let table: Vec<&str> = out.lines().rev().take(3).collect();
    assert!(table[2].starts_with("host   episodes       size"), "{out}");
    assert!(table[1].starts_with("lab-1         1       24 B"), "{out}");
    assert!(table[1].contains("       1/3  "), "{out}");
    assert!(
        table[0].starts_with("lab-9         0        0 B         never         -  -"),
        "{out}"
    );
    assert!(!out.contains('\x1b'));

    // The members are a promise: spelled out, times and paths made the same.
    let (_, json, _) = run(&["status", "--json", "--config", &config]);
    let mut value: Value = serde_json::from_str(&json).unwrap();
    let head = world.repo.head();
    assert!(value["disk"]["free"].as_u64().unwrap() > 0);
    value["disk"]["free"] = 7.into();
    value["hosts"][0]["last_at"] = "T".into();
    value["hosts"][0]["silent_seconds"] = 1.into();
    value["gate"]["age_seconds"] = 1.into();
    value["data_dir"] = "D".into();
    let wanted = format!(
        r#"{{"bytes":24,"data_dir":"D","disk":{{"floor":0,"free":7}},"episodes":1,"gate":{{"age_seconds":1,"commits":3,"enabled":true,"failing":null,"head_commit":"{head}","loaded":true,"source":"git","window":3}},"health":{{"detail":"accepts uploads","takes_uploads":true}},"hosts":[{{"bytes":24,"commit":"{head}","episodes":1,"host":"lab-1","last_at":"T","last_episode":"ep-1","position":1,"refused":null,"remaining":2,"silent_seconds":1}},{{"bytes":0,"commit":null,"episodes":0,"host":"lab-9","last_at":null,"last_episode":null,"position":null,"refused":null,"remaining":null,"silent_seconds":null}}],"in_quarantine":0,"index_finding":null,"listen":"{address}","remaining_low":0,"running":true,"scrub":null,"side":"receiver","silent_after_seconds":86400,"unreadable_rows":0}}"#
    );
    let wanted: Value = serde_json::from_str(&wanted).unwrap();
    assert_eq!(value, wanted, "{value:#}");

    // It looked at a lock that is free again: the next start finds it so.
    assert_eq!(world.stop(), Some(0));
    world.start();
}

/// A host that was refused a minute ago is not one that never came.
#[test]
fn status_of_a_receiver_shows_who_is_refused_and_what_to_do() {
    let mut world = World::prepared(
        "[[host]]\nid = \"lab-1\"\naddress = \"127.0.0.1\"\n[[host]]\nid = \"lab-3\"\naddress = \"127.0.0.1\"\n[[host]]\nid = \"lab-9\"\naddress = \"10.8.0.9\"\n",
    );
    world.start();
    let config = world.config_path();
    let text = fs::read_to_string(&config).unwrap();
    let address = format!("{}\"", world.address());
    fs::write(&config, text.replace("127.0.0.1:0\"", &address)).unwrap();
    let old = world.good().path("/v1/episodes/lab-3/ep-1");
    assert_eq!(world.put(&old.commit(world.too_old())).status, 412);
    assert_eq!(world.put(&world.good()).status, 201);
    let taken = Put::sample(world.repo.head()).body(b"other bytes");
    assert_eq!(world.put(&taken).status, 409);
    let other = world.good().path("/v1/episodes/lab-7/ep-1");
    assert_eq!(world.put(&other).status, 403);
    world.wait_until("they are written down", |world| {
        let kept = fs::read_to_string(world.data_dir().join("refusals.jsonl"));
        kept.is_ok_and(|kept| kept.lines().count() == 3)
    });
    let status = || run(&["status", "--config", &config]).1;
    let out = status();
    for words in [
        "REFUSED       lab-3: 412 not-in-window, ",
        ": update the lab host: paste the remediation there\n",
        "REFUSED       lab-1: 409 taken, ",
        "REFUSED       lab-7: 403 not-your-name, ",
        "SILENT        lab-9: no upload yet\n",
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    assert!(!out.contains("SILENT        lab-3"), "{out}");
    assert!(!out.contains("SILENT        lab-7"), "{out}");
    let (_, json, _) = run(&["status", "--json", "--config", &config]);
    let value: Value = serde_json::from_str(&json).unwrap();
    let hosts = value["hosts"].as_array().unwrap();
    let refused = hosts
        .iter()
        .find(|host| host["host"] == "lab-3")
        .map(|host| &host["refused"])
        .unwrap();
    assert_eq!(
        (&refused["status"], &refused["reason"]),
        (&412.into(), &"not-in-window".into())
    );
    assert_eq!(
        refused["remedy"],
        "update the lab host: paste the remediation there"
    );

    // Well again with the next upload.
    let good = world.good().path("/v1/episodes/lab-3/ep-2");
    assert_eq!(world.put(&good).status, 201);
    assert!(!status().contains("lab-3: "), "{}", status());
    // Also from a store that nobody works in.
    assert_eq!(world.stop(), Some(0));
    assert!(status().contains("REFUSED       lab-1: 409 taken, "));
}

#[test]
fn doctor_of_a_host_that_speaks_tls_to_a_receiver_says_what_to_write() {
    let world = World::new();
    let lab = Lab::new(&format!("https://{}", world.address()));
    let (code, report) = doctor(&lab.config().display().to_string(), &[]);
    if told(&report, "receiver", "fail", "").contains("does not speak TLS") {
        return println!("skipped: doctor_of_a_host_that_speaks_tls...: this build has no TLS");
    }
    assert_eq!(code, 2);
    let words = told(&report, "receiver", "fail", "http://");
    assert!(words.contains("http alone"), "{words}");
    let one = finding(&report, "receiver");
    assert!(!one["do"].as_str().unwrap().contains("WireGuard"), "{one}");
}

/// Runs a command on a terminal of its own; what it showed. Needs python3.
fn on_a_terminal(args: &[&str], env: &[(&str, &str)], until: &str) -> Option<String> {
    const SCRIPT: &str = r#"
import os, pty, select, signal, struct, fcntl, termios, sys, time
until, argv = sys.argv[1].encode(), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    # A shell has what it starts in the background ignore it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(argv[0], argv)
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
shown, give_up = b"", time.time() + 30
while time.time() < give_up:
    try:
        part = os.read(fd, 65536)
    except OSError:
        break
    if not part:
        break
    shown += part
    if until and until in shown:
        os.kill(pid, signal.SIGINT)
os.waitpid(pid, 0)
sys.stdout.buffer.write(shown)
"#;
    let program = cis490();
    let output = Command::new("python3")
        .args(["-c", SCRIPT, until])
        .arg(program.get_program())
        .args(program.get_args())
        .args(args)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(env.iter().copied())
        .output();
    let Ok(output) = output else {
        skip!("what a terminal shows: no python3");
        return None;
    };
    let (code, out, err) = ended(output);
    assert_eq!(code, 0, "{out}\n{err}");
    Some(out)
}

#[test]
fn colour_is_for_a_terminal_and_no_color_is_obeyed() {
    let lab = Lab::new("http://127.0.0.1:9");
    let config = lab.config().display().to_string();
    let args = ["status", "--config", &config];
    let Some(shown) = on_a_terminal(&args, &[], "") else {
        return;
    };
    assert!(
        shown.contains("\x1b[1;31mthe shipper is not running"),
        "{shown}"
    );
    let plain = on_a_terminal(&args, &[("NO_COLOR", "1")], "").unwrap();
    assert!(
        !plain.contains('\x1b') && plain.contains("the shipper is not running"),
        "{plain}"
    );
    let (_, piped, _) = run(&args);
    assert!(!piped.contains('\x1b'), "{piped}");
    // Watched, the page is drawn over the last one, until Ctrl-C.
    let args = ["status", "--watch", "--config", &config];
    let watched = on_a_terminal(&args, &[], "\x1b[J").unwrap();
    assert!(watched.starts_with("\x1b[2J\x1b[H"), "{watched:?}");
    assert!(watched.contains("\x1b[K"), "{watched:?}");
}

#[test]
fn scrub_draws_its_progress_on_a_terminal_alone() {
    let world = World::new();
    let put = Put::sample(world.repo.head()).body(&[7; 600_000]);
    assert_eq!(world.put(&put).status, 201);
    let args = ["scrub", "--rate", "1M", "--config", &world.config_path()];
    let Some(shown) = on_a_terminal(&args, &[], "") else {
        return;
    };
    assert!(
        shown.contains(" %  ") && shown.contains("/s, ") && shown.contains(" left"),
        "{shown:?}"
    );
    assert!(shown.contains("[####"), "{shown:?}");
    assert!(
        shown.ends_with("1 episode read, 600.0 kB: everything matches the index\r\n"),
        "{shown:?}"
    );
}

#[test]
fn every_command_has_help_with_an_example_a_manual_page_and_completions() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    let commands: Vec<&str> = help
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 14, "{commands:?}");
    let pages = TempDir::new();
    let dir = pages.path().to_str().unwrap();
    assert_eq!(run(&["man", "--dir", dir]).0, 0);
    let shells: Vec<String> = ["bash", "zsh", "fish"]
        .iter()
        .map(|shell| run(&["completions", shell]).1)
        .collect();
    for command in commands {
        let (code, help, _) = run(&[command, "--help"]);
        assert_eq!(code, 0, "{command}");
        assert!(
            help.contains("Examples:\n  ") && help.contains("cis490 "),
            "{command}\n{help}"
        );
        assert!(!help.contains("{command_name}"), "{help}");
        assert_eq!(run(&[command, "-h"]).1, help);
        // Of this name there is more to explain than the command.
        if command != "refusals" {
            assert_eq!(run(&["help", command]).1, help);
        }
        let page = fs::read_to_string(pages.path().join(format!("cis490-{command}.1"))).unwrap();
        for part in [".TH CIS490-", "\n.SH NAME\n", "\n.SH EXAMPLES\n.nf\n"] {
            assert!(page.contains(part), "{command}: {part}\n{page}");
        }
        for completions in &shells {
            assert!(completions.contains(command), "{command}\n{completions}");
        }
    }
    let program = fs::read_to_string(pages.path().join("cis490.1")).unwrap();
    assert!(program.contains(".SH COMMANDS\n"), "{program}");
    assert_eq!(run(&["completions", "csh"]).0, 1);
    assert_eq!(run(&["man", "nothing"]).0, 1);
}

#[test]
fn bash_takes_the_completions_and_offers_what_there_is() {
    let dir = TempDir::new();
    let file = dir.path().join("cis490");
    fs::write(&file, run(&["completions", "bash"]).1).unwrap();
    let ask = |words: &str, index: usize| {
        let script = format!(
            "source {file:?}; COMP_WORDS=({words}); COMP_CWORD={index}; _cis490; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &script])
            .output()
            .unwrap();
        let (code, out, err) = ended(output);
        assert_eq!((code, &err[..]), (0, ""), "{script}");
        out
    };
    assert_eq!(ask("cis490 sta", 1), "status\n");
    assert_eq!(ask("cis490 scrub --ra", 2), "--rate\n");
    assert_eq!(ask("cis490 help ev", 2), "events\n");
    assert_eq!(ask("cis490 completions f", 2), "fish\n");
}

#[test]
fn each_refusal_is_explained() {
    let (_, all, _) = run(&["help", "refusals"]);
    let heads = all
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    let names: Vec<&str> = heads.filter_map(|line| line.get(5..)).collect();
    for name in &names {
        let (code, text, err) = run(&["help", "refusals", name]);
        assert_eq!(code, 0, "{err}");
        assert!(text.contains(&format!("  {name}\n")), "{text}");
        assert!(text.contains("do: "), "{text}");
    }
    // What a receiver counts is what is explained.
    let metrics = World::new().get("/metrics").body;
    let counted = metrics.lines().filter_map(|line| {
        let reason = line.strip_prefix("cis490_refusals_total{reason=\"")?;
        reason
            .split_once("\",kind=\"upload\"")
            .map(|(name, _)| name)
    });
    assert_eq!(counted.collect::<Vec<_>>(), names);
    assert!(names.len() > 20, "{names:?}");
    let (_, of_412, _) = run(&["help", "refusals", "412"]);
    for name in ["not-in-window", "never-pushed", "gate-cannot-tell"] {
        assert!(of_412.contains(&format!("412  {name}\n")), "{of_412}");
    }
    let (code, _, err) = run(&["help", "refusals", "not-in-windw"]);
    assert_eq!(code, 1);
    assert!(err.contains("did you mean not-in-window?"), "{err}");
}

#[test]
fn a_slip_on_the_command_line_names_what_was_meant() {
    for (args, error, hint) in [
        (
            &["stauts"][..],
            "there is no command stauts",
            "did you mean status? cis490 --help",
        ),
        (
            &["--versoin"],
            "there is no option --versoin",
            "did you mean --version?",
        ),
        (
            &["status", "--jsn"],
            "cis490 status has no option --jsn",
            "did you mean --json? cis490 status --help",
        ),
        (
            &["scrub", "--rate", "fast"],
            "--rate fast is not allowed",
            "--rate accepts bytes a second, such as 500k",
        ),
        (
            &["token"],
            "required positional arguments not provided: host",
            "cis490 token --help",
        ),
        (
            &["frobnicate"],
            "there is no command frobnicate",
            "cis490 --help lists them all",
        ),
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, &out[..]), (1, ""), "{args:?}");
        assert!(err.starts_with(&format!("cis490: error: {error}")), "{err}");
        assert!(err.contains(&format!("cis490: hint: {hint}")), "{err}");
    }
    // With = or with a space, an option is an option.
    let (_, _, err) = run(&["status", "--config=/nonexistent"]);
    assert!(
        err.contains("cannot read the configuration /nonexistent"),
        "{err}"
    );
}

#[test]
fn the_members_of_a_lab_hosts_status_are_a_promise() {
    let lab = Lab::new("http://127.0.0.1:9");
    let root = lab.root().display().to_string();
    let heap = "{\n    \"episodes\": 0,\n    \"bytes\": 0,\n    \"oldest\": null\n  }";
    let wanted = format!(
        "{{\n  \"running\": false,\n  \"host\": \"lab-1\",\n  \"receiver\": \"http://127.0.0.1:9\",\n  \"root\": {root:?},\n  \"waiting\": {heap},\n  \"packed\": {heap},\n  \"unfinished\": 0,\n  \"overlooked\": 0,\n  \"held\": [],\n  \"refused\": [],\n  \"shipped\": {heap},\n  \"last_success\": null,\n  \"last_error\": null,\n  \"gate\": null,\n  \"updated_at\": null,\n  \"overlooked_named\": [],\n  \"uploading\": null,\n  \"next_try\": null\n}}\n"
    );
    let config = lab.config().display().to_string();
    let (code, out, _) = run(&["status", "--json", "--config", &config]);
    assert_eq!((code, out), (0, wanted));
}

/// Before, episodes of two commits that came in turns were a change each time.
#[test]
fn the_early_warning_is_told_once_a_change_of_each_commit() {
    // Of a window of 15 a fifth is near its end.
    let mut world = World::prepared(
        "[version_gate]\nwindow = 15\nrefresh_seconds = 1\nlocal_repo_path = \"REPOSITORY\"\n",
    );
    while world.repo.commits.len() < 15 {
        world.repo.commit();
    }
    world.start();
    let lab = Lab::new(&format!("http://{}", world.address()));
    let [older, newer] = [1, 2].map(|at| world.repo.commits[at].clone());
    // Small before large: so they go in turns.
    for (number, commit) in [&older, &newer, &older, &newer].into_iter().enumerate() {
        lab.episode_with(&format!("ep-{number}"), commit, &vec![b'x'; number * 1000]);
    }
    let ended = lab.ship_once();
    assert_eq!(
        (ended.code, ended.count("event=falling_out")),
        (0, 2),
        "{ended}"
    );
    for (commit, position, remaining) in [(&older, 14, 1), (&newer, 13, 2)] {
        let line = format!(
            "event=falling_out commit={commit} position={position} window=15 remaining={remaining}"
        );
        assert_eq!(ended.count(&line), 1, "{ended}");
    }
    let page = lab.run(&["status"], &[]);
    let words = format!("EXPIRING: 2 more commits until the episodes of {newer} are held");
    assert!(page.out.contains(&words), "{page}");

    // The same place again is no news, after a restart too; a push is.
    lab.episode("ep-5", &newer);
    assert_eq!(lab.ship_once().count("event=falling_out"), 0);
    world.repo.commit();
    let pushed = world.repo.head().to_owned();
    world.wait_until("the gate follows", |world| {
        world.get("/v1/gate").json()["head_commit"] == pushed[..]
    });
    lab.episode("ep-6", &newer);
    let ended = lab.ship_once();
    assert_eq!(
        ended.count("position=14 window=15 remaining=1"),
        1,
        "{ended}"
    );
}

/// Before, status called a commit held and soon out at once, by the place that it had had.
#[test]
fn a_commit_that_is_held_has_no_place_any_more() {
    let mut world = World::new();
    let lab = Lab::new(&format!("http://{}", world.address()));
    let commit = world.repo.head().to_owned();
    lab.episode("ep-1", &commit);
    assert_eq!(lab.ship_once().code, 0);
    let page = lab.run(&["status"], &[]);
    assert!(page.out.contains(" is 1 of 3, "), "{page}");
    // The head of a small window is no reason to hurry, on either side.
    assert!(!page.out.contains("EXPIRING"), "{page}");

    for _ in 0..3 {
        world.repo.commit();
    }
    let pushed = world.repo.head().to_owned();
    world.wait_until("the gate follows", |world| {
        world.get("/v1/gate").json()["head_commit"] == pushed[..]
    });
    lab.episode("ep-2", &commit);
    assert_eq!(lab.ship_once().code, 3);
    let page = lab.run(&["status"], &[]);
    assert!(page.out.contains("HELD since"), "{page}");
    assert!(!page.out.contains("EXPIRING"), "{page}");
    assert!(!page.out.contains("at place"), "{page}");
}

/// A row that `backfill` adds late is of long ago, and its host is no more silent for it.
#[test]
fn an_old_row_that_comes_late_does_not_make_its_host_silent() {
    let world = World::new();
    let put = Put::sample(world.repo.head());
    assert_eq!(world.put(&put).status, 201, "{world}");
    let old = r#"{"seq":2,"host":"lab-1","episode":"ep-old","bytes":1,"sha256":"SHA","received_at":"2020-01-01T00:00:00Z"}"#;
    let old = old.replace("SHA", &"0f".repeat(32)) + "\n";
    let index = world.data_dir().join("index.jsonl");
    let rows = fs::read_to_string(&index).unwrap() + &old;
    fs::write(&index, rows).unwrap();
    let told = world.run(&["status", "--config", &world.config_path()]);
    assert!(!told.contains("SILENT"), "{told}");
    assert!(told.contains("stored        2 episodes"), "{told}");
}
