//! `X-Cis490-Probe: 1`: a request that is judged as every other, and leaves nothing. A doctor once
//! turned the page red on a healthy host.

use std::fs;

use crate::client::{Put, sha256};
use crate::lab::Lab;
use crate::operator::{doctor, told};
use crate::ship::stub::{Reply, Stub, answer, problem};
use crate::world::World;

const TOKEN: &str = "a-token-of-lab-1";

fn guarded() -> World {
    World::with(&format!(
        "[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"{}\"\n",
        sha256(TOKEN.as_bytes())
    ))
}

fn probe(put: Put) -> Put {
    put.extra("X-Cis490-Probe: 1\r\n")
}

/// What is counted of uploads, without what changes by itself.
fn counted(world: &World) -> Vec<String> {
    let text = world.get("/metrics").body;
    text.lines()
        .filter(|line| line.starts_with("cis490_upload") || line.starts_with("cis490_host"))
        .map(str::to_owned)
        .collect()
}

fn refusals(world: &World) -> usize {
    let file = world.data_dir().join("refusals.jsonl");
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

#[test]
fn a_probe_is_judged_as_an_upload_and_leaves_nothing() {
    let world = guarded();
    let good = world
        .good()
        .extra(&format!("Authorization: Bearer {TOKEN}\r\n"));
    assert_eq!(world.put(&good).status, 201);
    let before = counted(&world);
    let new = || good.clone().episode("doctor");
    let no_digest = "f".repeat(64);
    let large = vec![7; 3 << 20];
    for (name, put, status) in [
        ("good", new(), 200),
        ("whatever its digest is", new().sha256(&no_digest), 200),
        ("without a body", new().body(b""), 200),
        ("asked for", new().extra("Expect: 100-continue\r\n"), 200),
        ("larger than is taken", new().body(&large), 200),
        ("stored already", good.clone(), 200),
        ("other bytes", good.clone().body(b"other"), 409),
        ("too old", new().commit(world.too_old()), 412),
        ("no commit", new().no_commit(), 400),
        ("no digest", new().sha256("no"), 400),
        ("a bad name", good.clone().path("/v1/episodes/LAB/x"), 400),
        (
            "another host",
            good.clone().path("/v1/episodes/lab-2/x"),
            403,
        ),
        ("no token", world.good().episode("doctor"), 401),
        ("chunks", new().extra("Transfer-Encoding: chunked\r\n"), 501),
    ] {
        let mut client = world.client();
        let _ = client.send(&probe(put).bytes());
        let mut heard = client.answer().unwrap();
        if heard.status == 100 {
            heard = client.answer().unwrap();
        }
        assert_eq!(heard.status, status, "{name}\n{world}");
        let is_probe = status == 200;
        assert_eq!(heard.body.trim() == r#"{"probe":true}"#, is_probe, "{name}");
    }
    assert_eq!(world.names("episodes/lab-1"), ["ep-1.tar.zst"], "{world}");
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    assert_eq!(world.rows().len(), 1);
    assert_eq!(counted(&world), before);
    let log = world.log();
    assert_eq!(log.matches("event=probed").count(), 14, "{world}");
    assert!(!log.contains("WARN event=refused"), "{world}");
    // As a doctor asks that knows no such header.
    let by_name = world
        .good()
        .no_commit()
        .extra("User-Agent: cis490-doctor\r\n");
    assert_eq!(world.put(&by_name).status, 401);
    // A refusal that is one is written after them, and alone.
    let old = good.clone().episode("old").commit(world.too_old());
    assert_eq!(world.put(&old).status, 412);
    world.wait_until("it is written", |world| refusals(world) > 0);
    assert_eq!(refusals(&world), 1);
}

#[test]
fn a_disabled_gate_says_nothing_of_a_probe() {
    let world = World::with("[version_gate]\nlocal_repo_path = \"REPOSITORY\"\nenabled = false\n");
    let put = world.good().commit(&"9".repeat(40));
    assert_eq!(world.put(&probe(put.clone())).status, 200);
    assert_eq!(world.put(&probe(put.no_commit())).status, 200);
    assert!(!world.log().contains("event=gate_would_refuse"), "{world}");
    assert_eq!(world.rows().len(), 0);
}

/// Twice, since what it left behind once showed only at the second.
#[test]
fn doctor_on_a_healthy_host_leaves_a_receiver_as_it_was() {
    let world = guarded();
    let file = world.dir().join("token");
    fs::write(&file, TOKEN).unwrap();
    let url = format!("http://{}", world.address());
    let lab = Lab::with(&url, &format!("token_file = {file:?}"));
    let repo = world.repo.dir.display().to_string();
    let config = lab.config().display().to_string();
    let before = counted(&world);
    for _ in 0..2 {
        let (code, report) = doctor(&config, &["--repo", &repo]);
        assert_eq!(code, 0, "{report:#}");
        assert_eq!(told(&report, "token", "ok", ""), "lab-1 is let in");
    }
    // One that is not let in is no more the receiver's trouble.
    fs::write(&file, "another").unwrap();
    let (code, report) = doctor(&config, &["--repo", &repo]);
    assert_eq!(code, 3, "{report:#}");
    let path = told(&report, "path", "ok", "");
    assert!(path.contains("6 KiB sent in"), "{path}");
    told(&report, "token", "fail", "token_file");
    assert_eq!(counted(&world), before);
    let log = world.log();
    assert_eq!(log.matches("event=probed").count(), 3, "{world}");
    assert!(!log.contains("failed to parse"), "{world}");
    assert!(!log.contains("event=refused "), "{world}");
    let page = world.get("/").body;
    // The advice for a silent host names the command; nothing else does.
    let beside = page.replace("<code>cis490 doctor</code>", "");
    assert!(
        !page.contains("Out of date") && !beside.contains("doctor"),
        "{page}"
    );
}

/// A receiver that does not know the word stores nothing, and its answer says as much.
#[test]
fn doctor_understands_receivers_that_know_no_probe() {
    let mismatch = problem(422, "digest-mismatch", "");
    for (reply, verdict, words) in [
        (Reply::SayAfterBody(mismatch), "ok", "lab-1 is let in"),
        (Reply::Store, "ok", "lab-1 is let in"),
        (
            Reply::Say(problem(401, "no-token", "")),
            "fail",
            "does not let lab-1 in: 401: words of no-token",
        ),
        (
            Reply::Say(problem(503, "draining", "")),
            "warn",
            "503: words of draining",
        ),
        (
            Reply::Say(answer(413, "", "<h1>no</h1>")),
            "warn",
            "status 413, and not in the receiver's words",
        ),
    ] {
        let stub = Stub::new([reply]);
        let health = answer(200, "", r#"{"status":"ok","version":"0.0.1"}"#);
        stub.gets([Reply::Say(health)]);
        let lab = Lab::new(&stub.url);
        let (_, report) = doctor(&lab.config().display().to_string(), &[]);
        let token = told(&report, "token", verdict, "");
        assert!(token.contains(words), "{token}");
        assert!(stub.stored().is_empty());
    }
}
