//! `/hosts/{host}`: all that is known of one host, for as little as the page itself costs.

use std::fs;

use serde_json::{Value, json};

use super::{Lab, report};
use crate::client::{Answer, Put};
use crate::program::is_emulated;
use crate::world::World;

/// Where the links of a page lead, from the page's own place.
fn links(page: &str) -> Vec<String> {
    let after = page.split("<a href=").skip(1);
    let of = |rest: &str| {
        let end = rest.find('>').unwrap();
        rest[..end].trim_matches('"').to_owned()
    };
    after.map(of).collect()
}

/// What a link of `/hosts/{host}` or `/help/{reason}` asks for.
fn from_below(link: &str) -> String {
    match link.strip_prefix("../") {
        Some(path) => format!("/{path}"),
        None => format!("/help/{link}"),
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.header(name).unwrap_or_default()
}

#[test]
fn each_host_of_the_table_has_a_page_and_each_of_its_links_leads_somewhere() {
    let lab = Lab::with_trouble();
    let world = &lab.world;
    let front = world.get("/");
    let hosts: Vec<String> = links(&front.body)
        .into_iter()
        .filter(|link| link.starts_with("hosts/"))
        .collect();
    for number in [1, 2, 3, 4, 6, 7, 8, 9, 10, 11] {
        let link = format!("hosts/lab-{number}");
        assert!(hosts.contains(&link), "{link} is not in\n{}", front.body);
        let page = world.get(&format!("/{link}"));
        assert_eq!(page.status, 200, "{page:?}");
        for name in [
            "Content-Type",
            "Content-Security-Policy",
            "X-Content-Type-Options",
            "Referrer-Policy",
            "Cache-Control",
        ] {
            assert_eq!(header(&page, name), header(&front, name), "{name}");
            assert!(!header(&page, name).is_empty(), "{name}");
        }
        assert!(page.body.len() < 30 << 10, "{}", page.body.len());
        assert!(page.body.contains(&format!("<h1>lab-{number}</h1>")));
        for link in links(&page.body) {
            let path = from_below(&link);
            // The rows of this lab's past have no files.
            if path.starts_with("/v1/episodes/") {
                continue;
            }
            let answer = world.get(&path);
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
    }
}

#[test]
fn a_host_has_its_findings_its_last_episodes_and_its_refusals() {
    let lab = Lab::with_trouble();
    let world = &lab.world;
    let page = world.get("/hosts/lab-7").body;
    for text in [
        "State: out of date.",
        "sudo systemctl restart cis490-orchestrator",
        "<a href=../v1/episodes/lab-7/swing-0044>swing-0044</a>",
        "<a href=../v1/episodes/lab-7/swing-0035>swing-0035</a>",
        "<td>swing-0045<td>412 <a href=../help/not-in-window>not-in-window</a>",
        "too old",
        "<b>44</b>",
        "<a href=../>All hosts</a>",
    ] {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }
    // The last ten, newest first, and of this host alone.
    let episodes: Vec<&str> = page.split("../v1/episodes/").skip(1).collect();
    assert_eq!(episodes.len(), 10, "{page}");
    assert!(episodes.iter().all(|one| one.starts_with("lab-7/")));
    assert!(!page.contains("lab-11"), "{page}");
    // Of a host that never stored anything.
    let page = world.get("/hosts/lab-11").body;
    assert!(page.contains("No episode has been stored yet."), "{page}");
    assert!(page.contains("<td>first-swing<td>412 <a"), "{page}");
    // What comes is soon there.
    let put = Put::sample(&lab.commit(1)).path("/v1/episodes/lab-7/swing-0046");
    assert_eq!(world.put(&put).status, 201);
    world.wait_until("the new episode", |world| {
        let page = world.get("/hosts/lab-7").body;
        page.contains(">swing-0046</a>") && page.contains("State: OK.")
    });
    let page = world.get("/hosts/lab-7").body;
    let receipt = links(&page)
        .into_iter()
        .find(|link| link.ends_with("swing-0046"));
    let receipt = world.get(&from_below(&receipt.unwrap()));
    assert_eq!(receipt.json()["episode"], "swing-0046");
    // Without a reader nobody may fetch bytes, and there is no link to them.
    assert!(!page.contains(".tar.zst"), "{page}");
}

#[test]
fn a_host_that_is_not_known_is_404_with_words() {
    let world = World::with("[[host]]\nid = \"lab-1\"\naddress = \"127.0.0.9\"\n");
    let answer = world.get("/hosts/lab-99");
    assert_eq!(answer.status, 404, "{answer:?}");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("nothing is known of a host lab-99"),
        "{detail}"
    );
    for name in ["Lab", "..", "a/b", "%6cab-1", "", "-"] {
        let answer = world.get(&format!("/hosts/{name}"));
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
    }
    // A configured one is known before it comes.
    let page = world.get("/hosts/lab-1");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("State: no upload yet."), "{}", page.body);
    assert_eq!(world.ask("HEAD", "/hosts/lab-1").status, 200);
    assert_eq!(world.ask("OPTIONS", "/hosts/lab-1").status, 204);
    for method in ["POST", "DELETE"] {
        let answer = world.ask(method, "/hosts/lab-1");
        assert_eq!(answer.status, 405, "{answer:?}");
        assert_eq!(header(&answer, "Allow"), "GET, HEAD, OPTIONS");
    }
}

#[test]
fn a_host_has_its_own_report_with_what_waits_is_held_and_was_refused() {
    let world = World::new();
    let commit = "ab".repeat(20);
    let state = json!({
        "version": "0.0.7",
        "waiting": {"episodes": 12, "bytes": 48_000_000, "oldest_at": "2026-01-02T03:04:05Z"},
        "held": [{"commit": commit, "episodes": 14, "since": "2026-01-03T03:38:00Z"}],
        "refused": [
            {"episode": "swing-1", "reason": "taken", "at": "2026-01-04T00:00:00Z"},
            {"episode": "swing-2", "reason": "no-meta", "at": "2026-01-05T00:00:00Z"},
        ],
        "uploading": {"episode": "swing-3", "bytes_sent": 43, "bytes": 100, "bytes_per_second": 1},
        "next_try_at": "2126-01-06T00:00:00Z",
        "last_success_at": "2026-01-07T00:00:00Z",
        "free_bytes": 5_000_000_000_u64,
        "packing_stopped_since": "2026-01-08T00:00:00Z",
        "more": {"refused": 5},
    });
    report(&world, "lab-1", &state);
    let page = world.get("/hosts/lab-1").body;
    for text in [
        "<b>0.0.7</b>",
        "<th>waiting<td>12 episodes, 48.0 MB, the oldest finished <span title=2026-01-02T03:04:05Z>",
        "<h2>Held: 14 episodes, whose commit the version gate refuses</h2>",
        "<td title=2026-01-03T03:38:00Z>",
        "<code>abababab</code><td>14 episodes",
        "<h2>In refused/ on the lab host: 7 episodes</h2>",
        "<td>swing-1<td><a href=../help/taken>taken</a>",
        // A reason of the lab host's own has no page.
        "<td>swing-2<td>no-meta\n",
        "<p class=m>And 5 more.",
        "<td>swing-3<td><progress max=100 value=43></progress> 43 % <s>of 100 B</s>",
        "<td>1 B/s<td><span title=",
        ">57 s</span>",
        "<th>next try<td><span title=2126-01-06T00:00:00Z>in ",
        "<th>last accepted<td><span title=2026-01-07T00:00:00Z>",
        "<th>free on its disk<td>5.0 GB",
        "<th>packing<td>stopped for want of room, <span title=2026-01-08T00:00:00Z>",
    ] {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }
    // The front has the upload too, with the host.
    let front = world.get("/").body;
    let text = "<th><a href=hosts/lab-1>lab-1</a><td>swing-3<td><progress max=100 value=43>";
    assert!(front.contains(text), "{front}");
}

/// What the front shows is a second old at most. A host that has come within it is known all the same.
#[test]
fn a_host_is_known_as_soon_as_it_has_come() {
    let world = World::new();
    for host in ["stored", "reported", "refused"] {
        let path = format!("/hosts/{host}");
        assert_eq!(world.get("/").status, 200);
        assert_eq!(world.get(&path).status, 404);
        let put = world.good().path(&format!("/v1/episodes/{host}/x"));
        match host {
            "stored" => assert_eq!(world.put(&put).status, 201),
            "reported" => report(&world, host, &json!({})),
            _ => {
                // A thread of its own counts refusals.
                assert_eq!(world.put(&put.commit(world.too_old())).status, 412);
                world.wait_until("it is counted", |world| {
                    world.get("/").body.contains("hosts/refused")
                });
            }
        }
        assert_eq!(world.get(&path).status, 200, "{host}");
    }
}

/// Each text of a report is any that a peer likes.
#[test]
fn a_hostile_report_is_text_and_bounded() {
    let world = World::new();
    let evil = "\"'><script>alert(1)</script>\u{202e}";
    let refused = json!({"episode": evil, "reason": evil, "at": evil});
    let held = json!({"commit": "cd".repeat(32), "episodes": u64::MAX, "since": evil});
    let state = json!({
        "version": evil,
        "waiting": {"episodes": u64::MAX, "bytes": u64::MAX, "oldest_at": evil},
        "held": vec![&held; 30],
        "refused": vec![&refused; 80],
        "uploading": {"episode": evil, "bytes_sent": u64::MAX, "bytes": 1, "bytes_per_second": u64::MAX},
        "next_try_at": evil, "last_success_at": evil, "free_bytes": u64::MAX,
        "packing_stopped_since": evil, "more": {"refused": u64::MAX, "held": u64::MAX},
    });
    report(&world, "lab-1", &state);
    for path in ["/hosts/lab-1", "/"] {
        let page = world.get(path).body;
        assert!(page.len() < 30 << 10, "{path}: {} bytes", page.len());
        assert!(page.contains("&lt;script&gt;alert(1)"), "{path}: {page}");
        assert!(!page.contains("<script"), "{path}: {page}");
        assert!(!page.contains('\u{202e}'), "{path}: {page}");
    }
    let page = world.get("/hosts/lab-1").body;
    assert!(page.contains("<p class=m>And "), "{page}");
}

/// Many requests for the pages of many hosts look the lab up once a second, and leave no memory behind.
#[test]
fn the_pages_of_all_hosts_cost_no_more_memory_than_the_front() {
    if is_emulated() {
        return skip!("the memory is that of the emulator, which keeps what it has translated");
    }
    let mut lab = Lab::new("");
    for number in 0..256 {
        lab.uploads(&format!("host-{number:03}"), 1, 12, number, 60);
    }
    let lab = lab.start();
    let world = &lab.world;
    let ask_all = || {
        for number in 0..256 {
            let page = world.get(&format!("/hosts/host-{number:03}"));
            assert_eq!(page.status, 200);
            assert_eq!(page.body.matches("../v1/episodes/").count(), 10);
        }
    };
    ask_all();
    let before = world.memory_kib("VmRSS:");
    for _ in 0..4 {
        ask_all();
    }
    let grown = world.memory_kib("VmRSS:").saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB");
}

#[test]
fn refusals_of_one_host_and_reason_share_a_line() {
    let mut lab = Lab::new("");
    lab.uploads("lab-3", 1, 2, 500, 10);
    let mut lab = lab.start();
    let old = lab.commit(120);
    for number in 1..=14 {
        let put = Put::sample(&old).path(&format!("/v1/episodes/lab-3/swing-{number}"));
        assert_eq!(lab.world.put(&put).status, 412);
    }
    let put = lab.world.good().path("/v1/episodes/Lab/x");
    assert_eq!(lab.world.put(&put).status, 400);
    lab.wait_for_text("bad-name");
    lab.wait_for_refusal("bad-name");
    let rows = |world: &World| -> Vec<String> {
        let page = world.get("/").body;
        let (_, section) = page.split_once("<h2>Newest refusals</h2>").unwrap();
        let (section, _) = section.split_once("</table>").unwrap();
        let rows = section.split("<tr><td").skip(1);
        rows.map(|row| row.split_once('>').unwrap().1.to_owned())
            .collect()
    };
    let now = rows(&lab.world);
    // The newest first, and a line for each reason.
    let [bad_name, old_code] = &now[..] else {
        panic!("{now:?}")
    };
    assert!(bad_name.contains("400 <a href=help/bad-name>"), "{now:?}");
    let refusals = kept(&lab.world);
    let since = refusals[0]["at"].as_str().unwrap();
    let want = format!(
        "<a href=hosts/lab-3>lab-3</a><td>swing-14<td>14 × 412 <a href=help/not-in-window>not-in-window</a> since <span title={since}>{}</span>",
        &since[11..16]
    );
    assert!(old_code.contains(&want), "{want}\n{now:?}");
    // The page of the host has the same line.
    let page = lab.world.get("/hosts/lab-3").body;
    let of_host = want.split_once("<td>").unwrap().1;
    let of_host = of_host.replace("href=help", "href=../help");
    assert!(page.contains(&of_host), "{of_host}\n{page}");
    // So has the next run of the receiver, from refusals.jsonl.
    lab.world.kill();
    lab.world.start();
    lab.wait_for_text("bad-name");
    let page = lab.world.get("/").body;
    assert!(page.contains(&want), "{want}\n{page}");
}

fn kept(world: &World) -> Vec<Value> {
    let text = fs::read_to_string(world.data_dir().join("refusals.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn commits_lead_to_forgejo_where_one_is_known() {
    let mut lab = Lab::new("");
    lab.uploads("lab-1", 1, 3, 100, 10);
    let text = fs::read_to_string(lab.world.config_path()).unwrap();
    // Nobody listens on port 1: the gate uses its repository.
    let forgejo =
        "forgejo_url = \"http://127.0.0.1:1/git/\"\nrepo_owner = \"lab\"\nrepo_name = \"cis490\"\n";
    fs::write(lab.world.config_path(), text + forgejo).unwrap();
    let lab = lab.start();
    let put = Put::sample(&lab.commit(120)).path("/v1/episodes/lab-1/old");
    assert!(matches!(lab.world.put(&put).status, 412 | 503));
    lab.wait_for_text(">old<");
    let link = |place| {
        let commit = lab.commit(place);
        let url = format!("http://127.0.0.1:1/git/lab/cis490/commit/{commit}");
        format!("<a href=\"{url}\"><code>{}</code></a>", &commit[..8])
    };
    let front = lab.world.get("/").body;
    // In the tile, in the table, and in the three newest uploads.
    assert_eq!(front.matches(&link(1)).count(), 5, "{front}");
    assert_eq!(front.matches(&link(120)).count(), 1, "{front}");
    let page = lab.world.get("/hosts/lab-1").body;
    assert_eq!(page.matches(&link(1)).count(), 4, "{page}");
    assert_eq!(page.matches(&link(120)).count(), 1, "{page}");
}

/// The lab that the page is made for, in all its trouble.
#[test]
fn forty_hosts_with_reports_and_trouble_fit() {
    let mut lab = Lab::new("");
    for number in 1..=40 {
        lab.uploads(
            &format!("lab-{number}"),
            1 + number as usize,
            60,
            number * 7,
            2800,
        );
    }
    let lab = lab.start();
    let world = &lab.world;
    for number in 1..=40 {
        let state = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "waiting": {"episodes": number, "bytes": 48_000_000, "oldest_at": "2026-01-02T03:04:05Z"},
            "next_try_at": "2126-01-06T00:00:00Z",
        });
        report(world, &format!("lab-{number}"), &state);
    }
    for number in 1..=12 {
        let put = Put::sample(&lab.commit(110)).path(&format!("/v1/episodes/lab-{number}/old"));
        assert_eq!(world.put(&put).status, 412);
    }
    lab.wait_for_text("lab-12</a><td>out of date");
    let page = world.get("/").body;
    assert!(page.len() < 30 << 10, "{} bytes", page.len());
    for number in 1..=40 {
        let link = format!("<th><a href=hosts/lab-{number}>lab-{number}</a><td>");
        assert!(page.contains(&link), "{link} is not in\n{page}");
    }
    assert!(!page.contains("Not shown"), "{page}");
    let chart = page.split("<section class=c>").nth(1).unwrap();
    assert!(chart.matches("<path d=M").count() > 45, "{chart}");
}
