//! A lab host's report on its own queue: what the receiver accepts, where it is shown, and that nothing of an
//! upload waits for it.

use std::time::{Duration, Instant};

use crate::client::{Answer, Client, PATIENCE, sha256};
use crate::lab::{Lab, wait_until};
use crate::ship::A;
use crate::ship::stub::{Reply, Stub, problem};
use crate::world::{World, is_emulated};

const FULL: &str = r#"{"version":"0.9.9","waiting":{"episodes":3,"bytes":12000000,"oldest_at":"2020-01-01T00:00:00Z"},"held":[{"commit":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","episodes":2,"since":"2020-01-01T00:00:00Z"}],"refused":[{"episode":"ep-4","reason":"taken","at":"2020-01-01T00:00:00Z"}],"uploading":{"episode":"ep-<b>5","bytes_sent":43000000,"bytes":100000000,"bytes_per_second":3000000},"next_try_at":null,"last_success_at":null,"free_bytes":7000,"packing_stopped_since":null,"more":{"refused":6},"later":[1]}"#;

fn put(world: &World, path: &str, lines: &str, body: &str) -> Answer {
    let mut client = world.client();
    let length = body.len();
    let request =
        format!("PUT {path} HTTP/1.1\r\nHost: pi\r\nContent-Length: {length}\r\n{lines}\r\n{body}");
    let _ = client.send(request.as_bytes());
    client
        .answer()
        .unwrap_or_else(|| panic!("no answer\n{world}"))
}

fn report(world: &World, host: &str, body: &str) -> u16 {
    put(world, &format!("/v1/hosts/{host}/state"), "", body).status
}

fn hosts(world: &World) -> Vec<serde_json::Value> {
    let status = world.get("/v1/status").json();
    status["hosts"].as_array().unwrap().clone()
}

#[test]
fn the_contract_in_literal_bytes() {
    let world = World::new();
    let path = "/v1/hosts/lab-1/state";
    let long = format!("{{\"version\":\"{}\"}}", "x".repeat(16 << 10));
    let exact = format!("{{\"version\":\"{}\"}}", "x".repeat((16 << 10) - 14));
    for (name, path, lines, body, want) in [
        ("a report", path, "", FULL, 204),
        ("an empty object", path, "", "{}", 204),
        ("16 KiB", path, "", exact.as_str(), 204),
        ("more", path, "", long.as_str(), 413),
        ("no JSON", path, "", "{", 400),
        ("nothing", path, "", "", 400),
        ("another shape", path, "", "[]", 400),
        ("a bad name", "/v1/hosts/Lab/state", "", "{}", 400),
        ("a web page", path, "Origin: http://evil\r\n", "{}", 403),
        ("a part", path, "Content-Range: bytes 0-1/9\r\n", "{}", 400),
        ("no such path", "/v1/hosts/lab-1", "", "{}", 404),
    ] {
        let answer = put(&world, path, lines, body);
        assert_eq!(answer.status, want, "{name}: {answer:?}\n{world}");
        if want == 204 {
            assert_eq!(
                (answer.body.as_str(), answer.header("Content-Length")),
                ("", None)
            );
        } else {
            assert!(answer.json()["detail"].is_string(), "{answer:?}");
        }
    }
    let wrong_method = world.get(path);
    assert_eq!(wrong_method.status, 405);
    assert_eq!(wrong_method.header("Allow"), Some("PUT, OPTIONS"));
    // None of this is an upload, or a refused one.
    assert_eq!(world.rows().len(), 0);
    let host = &hosts(&world)[0];
    assert_eq!(
        (&host["host"], &host["refused"]),
        (&"lab-1".into(), &serde_json::Value::Null)
    );
    let refusals = world.run(&["refusals", "--json", "--config", &world.config_path()]);
    assert!(!refusals.contains("hosts"), "{refusals}");
}

#[test]
fn a_body_is_asked_for_and_a_refusal_of_a_whole_body_keeps_the_connection() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let world = World::new();
    let head = "PUT /v1/hosts/lab-1/state HTTP/1.1\r\nHost: pi\r\nContent-Length: 2\r\n";
    let mut client = world.client();
    client
        .send(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes())
        .unwrap();
    assert_eq!(client.answer().unwrap().status, 100);
    client.send(b"{]").unwrap();
    assert_eq!(client.answer().unwrap().status, 400);
    client.send(format!("{head}\r\n{{}}").as_bytes()).unwrap();
    assert_eq!(client.answer().unwrap().status, 204);
    // Half a body, and the peer's end: no report.
    let mut client = world.client();
    client.send(format!("{head}\r\n{{").as_bytes()).unwrap();
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    let refused = client.answer();
    assert!(refused.is_none_or(|answer| answer.status == 422));
}

#[test]
fn only_who_may_upload_as_a_host_reports_as_it() {
    let digest = sha256(b"sesame");
    let world = World::with(&format!(
        "[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"{digest}\"\n[[host]]\nid = \"lab-2\"\naddress = \"127.0.0.9\"\n"
    ));
    for (host, lines, want) in [
        ("lab-1", "", 401),
        ("lab-1", "Authorization: Bearer wrong\r\n", 401),
        ("lab-1", "Authorization: Bearer sesame\r\n", 204),
        ("lab-2", "Authorization: Bearer sesame\r\n", 403),
        ("lab-3", "Authorization: Bearer sesame\r\n", 403),
    ] {
        let answer = put(&world, &format!("/v1/hosts/{host}/state"), lines, "{}");
        assert_eq!(answer.status, want, "{host} {lines}\n{world}");
    }
    let mut client = Client::connect_from(world.address(), [127, 0, 0, 9].into());
    client
        .send(b"PUT /v1/hosts/lab-2/state HTTP/1.1\r\nHost: pi\r\nContent-Length: 2\r\n\r\n{}")
        .unwrap();
    assert_eq!(client.answer().unwrap().status, 204);
    // A refusal changes nothing in what is shown of a host.
    let hosts = hosts(&world);
    assert!(
        hosts.iter().all(|host| host["refused"].is_null()),
        "{hosts:?}"
    );
    assert!(
        hosts.iter().all(|host| host["report"].is_object()),
        "{hosts:?}"
    );
}

#[test]
fn a_report_is_shown_on_the_page_in_status_and_in_the_figures() {
    let world = World::new();
    assert_eq!(report(&world, "lab-1", FULL), 204);
    let host = &hosts(&world)[0];
    let shown = &host["report"];
    assert_eq!(
        (&shown["version"], &shown["old"]),
        (&"0.9.9".into(), &false.into())
    );
    assert!(shown["age_seconds"].as_u64().unwrap() < 60, "{shown}");
    assert_eq!(shown["waiting"]["episodes"], 3);
    assert_eq!(shown["held"][0]["episodes"], 2);
    assert_eq!(shown["refused"][0]["reason"], "taken");
    assert_eq!(shown["more"]["refused"], 6);
    let status = world.run(&["status", "--config", &world.config_path()]);
    for words in [
        "3 waiting (12.0 MB",
        "2 held (1 commit)",
        "7 in refused/ (newest ep-4: taken)",
        "43 % of 100.0 MB",
        "19 s left",
    ] {
        assert!(status.contains(words), "{words}\n{status}");
    }
    let page = world.get("/").body;
    for words in ["3 waiting (12.0 MB", "sending ep-&lt;b&gt;5: 43 %"] {
        assert!(page.contains(words), "{words}\n{page}");
    }
    let metrics = world.get("/metrics").body;
    for line in [
        "cis490_host_waiting_episodes{host=\"lab-1\"} 3",
        "cis490_host_waiting_bytes{host=\"lab-1\"} 12000000",
        "cis490_host_oldest_waiting_timestamp_seconds{host=\"lab-1\"} 1577836800",
        "cis490_host_held_episodes{host=\"lab-1\"} 2",
        "cis490_host_refused_episodes{host=\"lab-1\"} 7",
        "cis490_host_free_bytes{host=\"lab-1\"} 7000",
        "cis490_host_packing_stopped{host=\"lab-1\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

/// On an open receiver anybody may report under any name: the names are bounded.
#[test]
fn an_open_receiver_keeps_256_names() {
    let world = World::new();
    for n in 0..300 {
        assert_eq!(report(&world, &format!("lab-{n}"), "{}"), 204);
    }
    let hosts = hosts(&world);
    assert_eq!(hosts.len(), 256);
    assert!(hosts.iter().any(|host| host["host"] == "lab-299"));
    assert!(!hosts.iter().any(|host| host["host"] == "lab-0"));
    assert!(world.get("/").body.len() < 30 << 10);
}

#[test]
fn a_lab_host_reports_what_waits_what_is_held_and_what_was_refused() {
    let world = World::new();
    let url = format!("http://{}", world.address());
    let lab = Lab::with(&url, "scan_seconds = 1");
    lab.episode("ep-1", world.repo.head());
    lab.episode("ep-old", world.too_old());
    lab.episode_with("ep-bad", A, b"data");
    std::fs::write(lab.path("episodes/ep-bad/meta.json"), "{").unwrap();
    let _shipper = lab.ship();
    let report = || hosts(&world).first().map(|host| host["report"].clone());
    let shows = |one: &serde_json::Value| {
        one["held"][0]["episodes"] == 1
            && one["held"][0]["commit"] == world.too_old()
            && one["refused"][0]["episode"] == "ep-bad"
            && one["last_success_at"].is_string()
    };
    wait_until(
        "it has reported",
        || report().as_ref().is_some_and(shows),
        &world,
    );
    let report = report().unwrap();
    assert_eq!(report["waiting"]["episodes"], 0, "{report}");
    assert_eq!(report["refused"][0]["reason"], "bad-json", "{report}");
    assert!(report["free_bytes"].as_u64().unwrap() > 0, "{report}");
    assert!(
        report["version"].is_string() && report["next_try_at"].is_null(),
        "{report}"
    );
}

/// While the receiver does not answer its report, the lab host ships all the same.
#[test]
fn no_upload_waits_for_a_report() {
    let stub = Stub::new([Reply::Store]);
    stub.hang_on_reports();
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    let shipper = lab.ship();
    shipper.wait_until("a report hangs", || stub.reports().len() == 1);
    let begun = Instant::now();
    lab.episode("ep-1", A);
    shipper.wait_until("it is shipped", || lab.names("episodes").is_empty());
    assert!(begun.elapsed() < PATIENCE / 2);
    assert_eq!(stub.reports().len(), 1);
    assert_eq!(shipper.stop(), 0);
}

#[test]
fn a_change_is_reported_and_at_most_one_in_five_seconds() {
    let stub = Stub::new([Reply::Say(problem(412, "not-in-window", ""))]);
    stub.answer_reports(204);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    let shipper = lab.ship();
    shipper.wait_until("it has reported", || stub.reports().len() == 1);
    lab.episode("ep-1", A);
    lab.episode("ep-2", A);
    shipper.wait_until("it reports again", || stub.reports().len() == 2);
    let reports = stub.reports();
    let between = reports[1].0 - reports[0].0;
    assert!(between >= Duration::from_millis(4900), "{between:?}");
    assert!(between < Duration::from_secs(30), "{between:?}");
    let body: serde_json::Value = serde_json::from_str(&reports[1].1).unwrap();
    assert_eq!(body["held"][0]["episodes"], 2, "{body}");
    assert_eq!(body["waiting"]["episodes"], 0, "{body}");
}

#[test]
fn an_older_receiver_is_left_alone_until_sighup() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    let shipper = lab.ship();
    let says = || shipper.log().matches("event=report_not_sent").count();
    shipper.wait_until("it was told", || says() == 1);
    let begun = Instant::now();
    lab.episode("ep-1", A);
    shipper.wait_until("it is shipped", || lab.names("episodes").is_empty());
    // Longer than the least time between two reports.
    shipper.wait_until("a report would be due", || {
        begun.elapsed() > Duration::from_secs(6)
    });
    assert_eq!(stub.reports().len(), 1);
    stub.answer_reports(204);
    shipper.signal("HUP");
    shipper.wait_until("it is asked again", || stub.reports().len() == 2);
    assert_eq!(says(), 1);
}

/// Many lab hosts do not ask a receiver that is stopping again at each change of theirs.
#[test]
fn a_receiver_that_accepts_no_report_is_asked_again_after_half_a_minute_at_the_earliest() {
    let stub = Stub::new([Reply::Store]);
    stub.answer_reports(503);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    let shipper = lab.ship();
    shipper.wait_until("it was refused", || {
        shipper.log().contains("event=report_not_sent")
    });
    let begun = Instant::now();
    lab.episode("ep-1", A);
    shipper.wait_until("it is shipped", || lab.names("episodes").is_empty());
    // Longer than the least time between two reports, and shorter than the pause.
    shipper.wait_until("a change would be due", || {
        begun.elapsed() > Duration::from_secs(7)
    });
    assert_eq!(stub.reports().len(), 1);
}

/// What a lab host says of itself is anybody's text where there are no `[[host]]` tables.
#[test]
fn numbers_that_cannot_be_added_break_nothing() {
    let world = World::new();
    let most = u64::MAX;
    let held = format!(r#"{{"commit":"{}","episodes":{most}}}"#, "a".repeat(40));
    let refused = r#"{"episode":"e","reason":"taken"}"#;
    let body = format!(
        r#"{{"waiting":{{"episodes":{most},"bytes":{most}}},"held":[{held},{held}],"refused":[{refused}],"uploading":{{"episode":"e","bytes_sent":{most},"bytes":{most},"bytes_per_second":{most}}},"free_bytes":{most},"more":{{"held":{most},"refused":{most}}}}}"#
    );
    assert_eq!(report(&world, "lab-1", &body), 204, "{world}");
    for path in ["/", "/metrics", "/v1/status"] {
        assert_eq!(world.get(path).status, 200, "{path}\n{world}");
    }
}

/// Beyond so many names the receiver keeps no figures of each, and `status` reads them from the disk. What is
/// wrong the receiver alone knows.
#[test]
fn a_lab_of_many_names_has_its_findings_in_status_too() {
    let mut world = World::prepared("");
    let row = |n: u32| {
        let sha256 = "0f".repeat(32);
        format!("{{\"seq\":{n},\"host\":\"lab-{n}\",\"episode\":\"e\",\"sha256\":\"{sha256}\"}}\n")
    };
    let index: String = (1..=300).map(row).collect();
    std::fs::write(world.data_dir().join("index.jsonl"), index).unwrap();
    world.start();
    let config = world.config_path();
    let status = |word: &str| {
        let command = ["status", word, "--config", &config];
        crate::program::cis490().args(command).output().unwrap()
    };
    assert_eq!(report(&world, "lab-1", FULL), 204);
    let ended = status("--exit-code");
    assert_eq!(ended.status.code(), Some(2), "{ended:?}\n{world}");
    let json = status("--json");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["hosts"].as_array().unwrap().len(), 300, "{json}");
    let findings = json["findings"].as_array().unwrap();
    let is_refused = |finding: &serde_json::Value| finding["kind"] == "lab-refused";
    assert!(findings.iter().any(is_refused), "{json}");
}

/// Anybody may invent names on a receiver without `[[host]]`. They push out one another's reports, and not that
/// of a host which has stored something.
#[test]
fn invented_names_do_not_push_a_real_hosts_report_out() {
    let world = World::new();
    assert_eq!(world.put(&world.good()).status, 201, "{world}");
    assert_eq!(report(&world, "lab-1", FULL), 204);
    for n in 0..300 {
        assert_eq!(report(&world, &format!("invented-{n}"), "{}"), 204);
    }
    let hosts = hosts(&world);
    let lab = hosts.iter().find(|host| host["host"] == "lab-1").unwrap();
    assert_eq!(lab["report"]["version"], "0.9.9", "{lab:#}");
}
