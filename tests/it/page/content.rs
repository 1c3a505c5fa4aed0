//! What the page says: truthful, escaped, bounded, and free while nobody asks.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cis490::clock;

use super::Lab;
use crate::client::Put;
use crate::world::World;

#[test]
fn the_page_is_one_file_that_loads_nothing_else() {
    let world = World::new();
    let answer = world.get("/");
    assert_eq!(answer.status, 200);
    let header = |name: &str| answer.header(name).unwrap_or_default();
    assert_eq!(header("Content-Type"), "text/html; charset=utf-8");
    assert!(header("Content-Security-Policy").starts_with("default-src 'none';"));
    assert_eq!(header("X-Content-Type-Options"), "nosniff");
    assert_eq!(world.put(&world.good()).status, 201);
    for path in ["/", "/hosts/lab-1", "/help/not-in-window"] {
        let page = world.get(path);
        assert_eq!(page.status, 200, "{path}");
        for word in ["<script", "src=", "http://", "https://", "@import", "url("] {
            let body = page.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!body.contains(word), "{path}: {word}");
        }
    }
    let head = world.ask("HEAD", "/");
    assert_eq!(head.status, 200);
    assert_eq!(world.ask("POST", "/").status, 405);
    assert_eq!(world.put(&world.good().path("/")).status, 405);
}

#[test]
fn the_page_says_what_is_wrong_and_what_to_do() {
    let lab = Lab::with_trouble();
    let page = lab.world.get("/").body;
    for text in [
        // The table, the gate, the remediation.
        "<th><a href=hosts/lab-10>lab-10</a><td>OK",
        "<th><a href=hosts/lab-7>lab-7</a><td>out of date",
        "<th><a href=hosts/lab-4>lab-4</a><td>expiring",
        "<th><a href=hosts/lab-6>lab-6</a><td>silent",
        "<th><a href=hosts/lab-9>lab-9</a><td>gone",
        "<th><a href=hosts/lab-11>lab-11</a><td>out of date, no upload yet",
        "Out of date: <b>lab-7</b>, <b>lab-11</b>.",
        "sudo systemctl restart cis490-orchestrator",
        "Expiring: <b>lab-4</b> (11 more commits).",
        "Silent for more than 1 d: <b>lab-6</b> (<span title=",
        ">3 d 1 h</span>).",
        "accepting the newest 100 commits, 100 known",
        "412 <a href=help/not-in-window>not-in-window</a>",
        "400 <a href=help/bad-name>bad-name</a>",
        "/v1/episodes/Lab_3/swing-0026",
    ] {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }
    let head = &lab.commit(1)[..8];
    assert!(
        page.contains(&format!("<b><code>{head}</code></b>")),
        "{page}"
    );
    // Well again: another upload of a good commit.
    let put = Put::sample(&lab.commit(1)).path("/v1/episodes/lab-7/swing-0046");
    assert_eq!(lab.world.put(&put).status, 201);
    lab.wait_for_text("<th><a href=hosts/lab-7>lab-7</a><td>OK");
    lab.wait_for_text("Out of date: <b>lab-11</b>.");
}

#[test]
fn the_page_is_the_same_after_a_restart() {
    let mut lab = Lab::with_trouble();
    let put = Put::sample(&lab.commit(1)).path("/v1/episodes/lab-1/today");
    assert_eq!(lab.world.put(&put).status, 201);
    lab.wait_for_text(">today</a>");
    // The chart has a bar for each hour, so both looks must fall into one.
    let hour = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
            / 3600
    };
    let (before, after) = loop {
        let began = hour();
        let before = lab.world.get("/").body;
        lab.world.kill();
        lab.world.start();
        // The refusals of the last run are read after the start.
        lab.wait_for_text("swing-0026");
        lab.wait_for_text("(from git, checked ");
        let after = lab.world.get("/").body;
        if hour() == began {
            break (before, after);
        }
    };
    // Ages go on, and others write to the same disk.
    let steady = |page: &str| -> Vec<String> {
        let without = |line: &&str| {
            !["ago", "just now", "As of", "up ", " free", "of the disk"]
                .iter()
                .any(|word| line.contains(word))
        };
        page.lines().filter(without).map(str::to_owned).collect()
    };
    assert_eq!(steady(&before), steady(&after));
    let hosts = |page: &str| -> Vec<String> {
        let is_host = |line: &&str| {
            let row = line.strip_prefix("<tr").and_then(|row| row.split_once('>'));
            row.is_some_and(|(_, cells)| cells.starts_with("<th><a href=hosts/"))
        };
        let rows = page.lines().filter(is_host);
        // All but the ages: of the newest upload and of the newest refusal.
        rows.map(|row| {
            row.split("<td")
                .enumerate()
                .filter(|(n, _)| *n != 2 && *n != 6)
                .map(|(_, cell)| cell)
                .collect()
        })
        .collect()
    };
    assert_eq!(hosts(&before), hosts(&after));
    assert_eq!(hosts(&before).len(), 10);
}

#[test]
fn a_hundred_hosts_with_the_longest_names_fit() {
    let mut lab = Lab::new("");
    for number in 0..100 {
        lab.uploads(&format!("host-{number:03}"), 1, 60, number * 10, 4000);
    }
    let lab = lab.start();
    let page = lab.world.get("/").body;
    assert!(page.len() < 30 << 10, "{} bytes", page.len());
    assert!(
        page.contains("<th><a href=hosts/host-000>host-000</a><")
            && page.contains("<th><a href=hosts/host-099>host-099</a><"),
        "{page}"
    );

    let mut lab = Lab::new("");
    for number in 0..300 {
        let place = if number == 200 { 120 } else { 1 };
        lab.uploads(&format!("{number:0>63}"), place, 1, number, 1);
    }
    let lab = lab.start();
    for number in 0..12 {
        let path = format!("/v1/episodes/{}/x", "\"".repeat(2000 + number));
        assert_eq!(lab.world.put(&lab.world.good().path(&path)).status, 400);
    }
    lab.wait_for_text("bad-name");
    let page = lab.world.get("/").body;
    assert!(page.len() < 30 << 10, "{} bytes", page.len());
    assert!(
        page.contains(&format!(
            "<th><a href=hosts/{0:0>63}>{0:0>63}</a><td>out of date",
            200
        )),
        "trouble comes first"
    );
    assert!(page.contains("Not shown, to keep the page small"), "{page}");
    assert!(
        page.contains("At most 256 unconfigured host names"),
        "{page}"
    );
}

#[test]
fn a_disk_at_its_floor_and_a_clock_that_went_back_are_shown() {
    let mut lab = Lab::new("");
    lab.uploads("lab-1", 1, 3, 100, 10);
    let config = fs::read_to_string(lab.world.config_path()).unwrap();
    let config = config.replace(
        "min_free_bytes = 0\n",
        "min_free_bytes = 1125899906842624\n",
    );
    fs::write(lab.world.config_path(), config).unwrap();
    let mut lab = lab.start();
    lab.wait_for_text("The disk is full: ");
    assert!(lab.world.get("/").body.contains("Make room on the disk"));
    lab.world.kill();
    let index = lab.world.data_dir().join("index.jsonl");
    let ahead = clock::rfc3339(SystemTime::now() + Duration::from_secs(7200));
    let text = fs::read_to_string(&index).unwrap();
    let (rest, last) = text.trim_end().rsplit_once('\n').unwrap();
    let mut row: serde_json::Value = serde_json::from_str(last).unwrap();
    row["received_at"] = ahead.into();
    fs::write(&index, format!("{rest}\n{row}\n")).unwrap();
    lab.world.start();
    lab.wait_for_text("clock was set back: the newest upload is dated");
}

#[test]
fn a_gate_without_window_on_its_fallback_or_switched_off_is_shown() {
    let world = World::with(
        "[version_gate]\nlocal_repo_path = \"/nonexistent/cis490\"\nrefresh_seconds = 1\n",
    );
    assert!(
        world
            .get("/")
            .body
            .contains("The version gate knows no commits yet"),
        "{world}"
    );
    let world =
        World::with("[version_gate]\nenabled = false\nlocal_repo_path = \"/nonexistent/cis490\"\n");
    assert!(
        world
            .get("/")
            .body
            .contains("The version gate is switched off"),
        "{world}"
    );
    let lab = Lab::new("");
    let text = fs::read_to_string(lab.world.config_path()).unwrap();
    // Nobody listens on port 1.
    let forgejo =
        "forgejo_url = \"http://127.0.0.1:1\"\nrepo_owner = \"lab\"\nrepo_name = \"cis490\"\n";
    fs::write(lab.world.config_path(), text + forgejo).unwrap();
    let lab = lab.start();
    lab.wait_for_text("The version gate uses its fallback: Forgejo has not answered for");
    lab.wait_for_text("(from git-fallback, checked ");
    let metrics = lab.world.get("/metrics").body;
    assert!(
        metrics.contains("cis490_gate_source{source=\"git-fallback\"} 1\n"),
        "{metrics}"
    );
}

#[test]
fn a_configured_host_that_never_uploaded_is_named() {
    let world = World::with(
        "[[host]]\nid = \"lab-1\"\naddress = \"127.0.0.1\"\n[[host]]\nid = \"lab-2\"\naddress = \"127.0.0.9\"\n",
    );
    assert_eq!(world.put(&world.good()).status, 201);
    world.wait_until("lab-1 is well", |world| {
        world
            .get("/")
            .body
            .contains("<th><a href=hosts/lab-1>lab-1</a><td>OK")
    });
    // For an hour after the start that is no finding yet; of a stopped receiver it is one.
    let page = world.get("/").body;
    assert!(
        page.contains("<th><a href=hosts/lab-2>lab-2</a><td>no upload yet"),
        "{page}"
    );
    assert!(page.contains("<h1>Everything is OK</h1>"), "{page}");
    assert_eq!(
        world.put(&world.good().path("/v1/episodes/lab-2/x")).status,
        403
    );
    world.wait_until("lab-2 is refused", |world| {
        world
            .get("/")
            .body
            .contains("Refused, 403 <a href=help/not-your-name>not-your-name</a>: <b>lab-2</b>.")
    });
}
