//! The contract of design section 2, row by row, in literal bytes.

use std::fs;

use crate::client::{Put, sha256};
use crate::world::{WINDOW, World};

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn one_upload_lands_with_its_row() {
    let world = World::new();
    let put = world.good();
    let answer = world.put(&put);
    assert_eq!(answer.status, 201, "{answer:?}\n{world}");
    assert_eq!(answer.header("X-Cis490-Gate-Position"), Some("1/3"));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let receipt = answer.json();
    assert_eq!(receipt["seq"], 1);
    assert_eq!(receipt["host"], "lab-1");
    assert_eq!(receipt["episode"], "ep-1");
    assert_eq!(receipt["bytes"], put.body.len());
    assert_eq!(receipt["sha256"], sha256(&put.body));
    assert_eq!(receipt["commit"], world.repo.head());
    assert_eq!(receipt["dirty"], false);
    assert_eq!(receipt["path"], "episodes/lab-1/ep-1.tar.zst");
    assert_eq!(receipt["gate"]["position"], 1);
    assert_eq!(receipt["gate"]["head_commit"], world.repo.head());
    assert_eq!(receipt["gate"]["source"], "git");
    let received_at = receipt["received_at"].as_str().unwrap();
    assert!(
        received_at.starts_with("20") && received_at.ends_with('Z'),
        "{received_at}"
    );

    assert_eq!(world.rows(), std::slice::from_ref(&receipt));
    assert_eq!(world.stored("lab-1", "ep-1").unwrap(), put.body);
    // The answer comes first, tidying up after it.
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    assert_eq!(world.get(&put.path).json(), receipt);
}

#[test]
fn each_answer_of_the_table() {
    let world = World::with("max_episode_bytes = 100\n");
    let good = world.good();
    let old = world.too_old();
    assert_eq!(world.put(&good).status, 201);
    let cases = [
        ("again, same bytes", good.clone(), 200),
        (
            "again, of a commit that fell out",
            good.clone().commit(old),
            200,
        ),
        ("again, other bytes", good.clone().body(b"other"), 409),
        (
            "again, other bytes of an old commit",
            good.clone().body(b"other").commit(old),
            412,
        ),
        ("other bytes, too large", good.clone().body(&[7; 101]), 409),
        ("no commit", good.clone().no_commit().episode("e"), 400),
        (
            "a short commit",
            good.clone().commit("abc123").episode("e"),
            400,
        ),
        (
            "an uppercase commit",
            good.clone().commit(&"A".repeat(40)).episode("e"),
            400,
        ),
        ("commit too old", good.clone().commit(old).episode("e"), 412),
        (
            "commit unheard of",
            good.clone().commit(&"a".repeat(40)).episode("e"),
            412,
        ),
        (
            "a SHA-256 commit unheard of",
            good.clone().commit(&"a".repeat(64)).episode("e"),
            412,
        ),
        (
            "too old and too large",
            good.clone().commit(old).body(&[7; 101]).episode("e"),
            412,
        ),
        ("too large", good.clone().body(&[7; 101]).episode("e"), 413),
        (
            "as large as allowed",
            good.clone().body(&[7; 100]).episode("just"),
            201,
        ),
        ("empty", good.clone().body(b"").episode("empty"), 201),
        (
            "damaged on the way",
            good.clone().episode("e").sha256(ZEROS),
            422,
        ),
        (
            "an odd digest",
            good.clone().episode("e").sha256("xyz"),
            400,
        ),
        (
            "an uppercase digest",
            good.clone().episode("e").sha256(&"A".repeat(64)),
            400,
        ),
        (
            "an odd dirty",
            good.clone()
                .episode("e")
                .extra("X-Cis490-Code-Dirty: yes\r\n"),
            400,
        ),
        ("an odd name", good.clone().episode(".e"), 400),
        ("a name of ours", good.clone().episode("e.tar.zst"), 400),
        ("an escaped name", good.clone().episode("%65"), 400),
        ("an odd host", good.clone().path("/v1/episodes/Lab/e"), 400),
        (
            "a path upwards",
            good.clone().path("/v1/episodes/../e"),
            400,
        ),
        (
            "another path",
            good.clone().path("/v2/episodes/lab-1/e"),
            404,
        ),
        ("the gate's path", good.clone().path("/v1/gate"), 405),
    ];
    for (name, put, want) in cases {
        let answer = world.put(&put);
        assert_eq!(answer.status, want, "{name}: {answer:?}\n{world}");
        if want >= 400 {
            let problem = answer.json();
            assert_eq!(
                answer.header("Content-Type"),
                Some("application/problem+json"),
                "{name}"
            );
            assert_eq!(problem["status"], want, "{name}");
            let kind = problem["type"].as_str().unwrap();
            assert!(kind.starts_with("urn:cis490:problem:"), "{name}: {kind}");
            assert!(!problem["title"].as_str().unwrap().is_empty(), "{name}");
            assert!(!problem["detail"].as_str().unwrap().is_empty(), "{name}");
        }
    }
    let episodes: Vec<_> = world
        .rows()
        .iter()
        .map(|row| row["episode"].clone())
        .collect();
    assert_eq!(episodes, ["ep-1", "just", "empty"], "{world}");
    assert_eq!(world.names("episodes/lab-1").len(), 3, "{world}");
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    assert_eq!(world.stored("lab-1", "ep-1").unwrap(), good.body);
}

#[test]
fn the_answer_to_a_refused_commit_has_the_lines_to_paste() {
    let world = World::new();
    let remediation = "cd /opt/cis490 && sudo -u cis490 git pull origin main\n\
                       sudo /opt/cis490/scripts/install-lab-host.sh\n\
                       sudo systemctl restart cis490-orchestrator";
    let answer = world.put(&world.good().commit(world.too_old()));
    let problem = answer.json();
    assert_eq!(answer.status, 412);
    assert_eq!(problem["type"], "urn:cis490:problem:not-in-window");
    assert_eq!(problem["your_commit"], world.too_old());
    assert_eq!(problem["head_commit"], world.repo.head());
    assert_eq!(problem["window"], WINDOW);
    assert_eq!(problem["remediation"], remediation);

    let answer = world.put(&world.good().no_commit());
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["remediation"], remediation);
    assert!(
        world.rows().is_empty() && world.names("episodes").is_empty(),
        "{world}"
    );
}

#[test]
fn dirty_code_is_recorded_and_not_judged() {
    let world = World::new();
    let put = world.good().extra("X-Cis490-Code-Dirty: true\r\n");
    assert_eq!(world.put(&put).status, 201);
    assert_eq!(world.rows()[0]["dirty"], true);
}

#[test]
fn head_is_get_without_a_body() {
    let world = World::new();
    assert_eq!(world.put(&world.good()).status, 201);
    for path in [
        "/v1/episodes/lab-1/ep-1",
        "/v1/episodes/lab-1/none",
        "/v1/gate",
        "/v1/health",
    ] {
        let (get, head) = (world.get(path), world.ask("HEAD", path));
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(
            head.header("Content-Length"),
            get.header("Content-Length"),
            "{path}"
        );
        let mut client = world.client();
        client
            .send(format!("HEAD {path} HTTP/1.1\r\nHost: pi\r\n\r\n").as_bytes())
            .unwrap();
        client.answer_to("HEAD").unwrap();
        assert!(client.is_closed(), "{path}: a body after HEAD");
    }
    assert_eq!(world.get("/v1/episodes/lab-1/none").status, 404);
}

#[test]
fn the_gate_serves_its_window() {
    let world = World::new();
    let gate = world.get("/v1/gate").json();
    let newest: Vec<_> = world
        .repo
        .commits
        .iter()
        .rev()
        .take(WINDOW)
        .cloned()
        .collect();
    assert_eq!(gate["enabled"], true);
    assert_eq!(gate["loaded"], true);
    assert_eq!(gate["source"], "git");
    assert_eq!(gate["head_commit"], world.repo.head());
    assert_eq!(gate["window"], WINDOW);
    assert_eq!(gate["commits"], serde_json::json!(newest));
    assert!(gate["age_seconds"].as_u64().unwrap() < 10);

    let verdict = world.get(&format!("/v1/gate/{}", newest[1]));
    assert_eq!(verdict.status, 200);
    assert_eq!(
        verdict.json(),
        serde_json::json!({"allowed": true, "position": 2, "window": WINDOW, "head_commit": newest[0]})
    );
    let refused = world.get(&format!("/v1/gate/{}", world.too_old()));
    assert_eq!(refused.status, 412);
    assert_eq!(refused.json()["your_commit"], world.too_old());
    assert_eq!(world.get("/v1/gate/main").status, 400);
}

#[test]
fn a_gate_that_never_loaded_refuses_for_now() {
    let gate = "[version_gate]\nlocal_repo_path = \"/nonexistent/cis490\"\n";
    let world = World::with(gate);
    let answer = world.put(&world.good());
    assert_eq!(
        (answer.status, answer.header("Retry-After")),
        (503, Some("5")),
        "{answer:?}"
    );
    assert_eq!(world.get("/v1/health").status, 503);
    assert_eq!(
        world.get(&format!("/v1/gate/{}", world.repo.head())).status,
        503
    );
    assert_eq!(world.get("/v1/gate").json()["loaded"], false);
}

#[test]
fn a_disabled_gate_collects_everything() {
    let gate = "[version_gate]\nenabled = false\nlocal_repo_path = \"/nonexistent/cis490\"\n";
    let world = World::with(gate);
    let cases = [
        ("of no commit", world.good().no_commit(), None),
        (
            "of an odd commit",
            world.good().commit("odd").episode("b"),
            None,
        ),
        (
            "of an old commit",
            world.good().commit(world.too_old()).episode("c"),
            Some(world.too_old()),
        ),
    ];
    for (name, put, commit) in cases {
        let answer = world.put(&put);
        assert_eq!(answer.status, 201, "{name}: {answer:?}\n{world}");
        assert_eq!(answer.json()["commit"], serde_json::json!(commit), "{name}");
    }
    assert_eq!(
        world.log().matches("event=gate_would_refuse").count(),
        3,
        "{world}"
    );
    assert_eq!(world.get("/v1/gate").json()["enabled"], false);
    assert_eq!(
        world.get(&format!("/v1/gate/{}", world.too_old())).json()["allowed"],
        true
    );
    assert_eq!(world.get("/v1/health").status, 200);
}

#[test]
fn the_space_floor_is_kept() {
    let world = World::prepared("");
    let mut world = world;
    world.configure("# a floor that no disk has");
    let text = fs::read_to_string(world.config_path()).unwrap();
    let text = text.replace("min_free_bytes = 0", "min_free_bytes = 4611686018427387904");
    fs::write(world.config_path(), text).unwrap();
    world.start();
    let answer = world.put(&world.good());
    assert_eq!(
        (answer.status, answer.header("Retry-After")),
        (507, Some("60")),
        "{answer:?}"
    );
    world.wait_until("health tells of the disk", |world| {
        world.get("/v1/health").status != 200
    });
    assert_eq!(world.get("/v1/health").status, 503);
    assert!(
        world.rows().is_empty() && world.names("incoming").is_empty(),
        "{world}"
    );
}

#[test]
fn hosts_upload_under_their_own_names_only() {
    let mut world = World::prepared("");
    let tokens = ["token", "lab-1"].map(|_| world.run(&["token", "lab-1"]));
    let [first, second] = tokens.map(|text| {
        let token = text.lines().nth(1).unwrap().to_owned();
        let digest = text
            .lines()
            .find_map(|line| line.strip_prefix("token_sha256 = "))
            .unwrap()
            .to_owned();
        (token, digest)
    });
    assert_ne!(first.0, second.0);
    let hosts = format!(
        "\n[[host]]\nid = \"lab-1\"\ntoken_sha256 = {}\n[[host]]\nid = \"lab-2\"\ntoken_sha256 = {}\n[[host]]\nid = \"lab-3\"\naddress = \"192.0.2.1\"\n",
        first.1, second.1
    );
    let text = fs::read_to_string(world.config_path()).unwrap() + &hosts;
    fs::write(world.config_path(), text).unwrap();
    world.start();
    let with = |token: &str| {
        world
            .good()
            .extra(&format!("Authorization: Bearer {token}\r\n"))
    };
    let cases = [
        ("its own", with(&first.0), 201),
        ("none", world.good().episode("e"), 401),
        ("unknown", with("nobody's").episode("e"), 401),
        ("another host's", with(&second.0).episode("e"), 403),
        (
            "an unknown host",
            with(&first.0).path("/v1/episodes/lab-9/e"),
            403,
        ),
        (
            "a wrong address",
            with(&first.0).path("/v1/episodes/lab-3/e"),
            403,
        ),
        ("none, for what is stored", world.good(), 401),
        (
            "none, and a bad commit",
            world.good().no_commit().episode("e"),
            401,
        ),
    ];
    for (name, put, want) in cases {
        let answer = world.put(&put);
        assert_eq!(answer.status, want, "{name}: {answer:?}");
        let challenge = (want == 401).then_some("Bearer");
        assert_eq!(answer.header("WWW-Authenticate"), challenge, "{name}");
    }
    assert_eq!(world.get("/v1/episodes/lab-1/ep-1").status, 200);
    assert!(
        !world.log().contains(&first.0) && !world.log().contains("event=open_to_all"),
        "{world}"
    );
}

#[test]
fn many_uploads_on_one_connection() {
    let world = World::new();
    let mut client = world.client();
    for number in 0..20 {
        let body = vec![number; 1000 * usize::from(number)];
        let put = world.good().episode(&format!("e{number}")).body(&body);
        client.send(&put.bytes()).unwrap();
        assert_eq!(client.answer().unwrap().status, 201, "{number}\n{world}");
    }
    let seqs: Vec<_> = world
        .rows()
        .iter()
        .map(|row| row["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_name_uploaded_by_many_at_once_is_stored_once() {
    let world = World::new();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let put = |body: &'static [u8]| world.good().body(body);
        let uploads: Vec<Put> = (0..8)
            .map(|n| put(if n % 2 == 0 { b"even" } else { b"odd!" }))
            .collect();
        let world = &world;
        let threads = uploads
            .into_iter()
            .map(|put| scope.spawn(move || world.put(&put).status));
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let count = |status| statuses.iter().filter(|&&one| one == status).count();
    assert_eq!(
        (count(201), count(200), count(409)),
        (1, 3, 4),
        "{statuses:?}\n{world}"
    );
    assert_eq!(world.rows().len(), 1);
}
