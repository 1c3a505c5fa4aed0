//! A gate that cannot look says so of itself: no host is called out of date by one that cannot know,
//! on the wire, the page, in `status`, `refusals`, `check`, the metrics and the shipper's log.

mod hosts;

use std::cell::Cell;
use std::process::Output;

use serde_json::{Value, json};

use crate::client::Put;
use crate::forgejo::Mood;
use crate::gate::door::{Lab, heard};
use crate::world::cis490;

const STRANGER: &str = "5555555555555555555555555555555555555555";
const PASTE: &str = "git pull origin main";

fn command(args: &[&str]) -> Output {
    cis490().args(args).output().unwrap()
}

/// What a command about the receiver prints.
fn told(lab: &Lab, args: &[&str]) -> String {
    let config = config_with_port(lab);
    let output = command(&[args, &["--config", &config]].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// `status` finds the receiver where the configuration says.
fn config_with_port(lab: &Lab) -> String {
    let path = lab.world.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    let address = format!("{:?}", lab.world.address().to_string());
    std::fs::write(&path, text.replace("\"127.0.0.1:0\"", &address)).unwrap();
    path
}

fn wait_for_failing(lab: &Lab, kind: Option<&str>) {
    lab.world.wait_until("the gate's state", |world| {
        world.get("/v1/gate").json()["failing"]["kind"].as_str() == kind
    });
}

/// Waits until so many refusals are in the file, which `status` and `refusals` read: the page has each
/// of them before.
fn wait_for_refusals(lab: &Lab, count: usize) {
    let file = lab.world.data_dir().join("refusals.jsonl");
    lab.world.wait_until("the refusals are written", |_| {
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        kept.lines().count() == count
    });
}

fn page(lab: &Lab) -> String {
    lab.world.get("/").body
}

fn metric(lab: &Lab, name: &str) -> f64 {
    let text = lab.world.get("/metrics").body;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(f64::NAN, |line| line.trim().parse().unwrap())
}

/// The repository is renamed, somebody pushes, a lab host pulls and sends.
#[test]
fn an_up_to_date_host_is_not_called_out_of_date() {
    let lab = Lab::new(4, "window = 3\nrefresh_seconds = 1");
    let world = &lab.world;
    assert_eq!(world.get("/v1/gate").json()["failing"], Value::Null);
    assert_eq!(metric(&lab, "cis490_gate_source_failing_seconds "), 0.0);
    lab.forgejo.state().renamed_to = Some(("lab".to_owned(), "robots".to_owned()));
    let fresh = lab.push();
    wait_for_failing(&lab, Some("renamed"));
    let failing = world.get("/v1/gate").json()["failing"].clone();
    assert!(failing["seconds"].is_u64(), "{failing}");
    let detail = failing["detail"].as_str().unwrap();
    assert!(detail.contains("lab/robots now"), "{detail}");
    assert!(detail.contains("repo_name = \"robots\""), "{detail}");

    let put = world.put(&Put::sample(&fresh).episode("fresh"));
    let get = world.get(&format!("/v1/gate/{fresh}"));
    for answer in [put, get] {
        assert_eq!(answer.status, 412, "{answer:?}");
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:cis490:problem:gate-cannot-tell");
        assert_eq!(problem["known"], "unknown");
        assert!(problem["failing_seconds"].is_u64(), "{problem}");
        assert!(problem["age_seconds"].is_u64(), "{problem}");
        assert_eq!(problem.get("remediation"), None, "{problem}");
        let words = problem["detail"].as_str().unwrap();
        for part in [
            "has not been able to ask its source",
            "(renamed)",
            "may be newer",
            "nothing needs to be done on the lab host",
        ] {
            assert!(words.contains(part), "{words}");
        }
    }

    // The page has the host under the gate's trouble.
    lab.world.wait_until("the page", |_| {
        page(&lab).contains("<b>lab-1</b> waits for that")
    });
    let html = page(&lab);
    assert!(
        html.contains("its source has not reported the newest commits for"),
        "{html}"
    );
    assert!(html.contains("<td>waits for the gate"), "{html}");
    for untrue in ["Out of date", "out of date", PASTE, "not answered"] {
        assert!(!html.contains(untrue), "{untrue}\n{html}");
    }
    assert!(html.contains("repo_name ="), "{html}");

    wait_for_refusals(&lab, 1);
    let status = told(&lab, &["status"]);
    assert!(
        status.contains("\nGATE          its source has not reported the newest commits"),
        "{status}"
    );
    assert!(!status.contains("OUT OF DATE"), "{status}");
    let survey: Value = serde_json::from_str(&told(&lab, &["status", "--json"])).unwrap();
    assert_eq!(survey["gate"]["failing"]["kind"], "renamed");
    let refusals = told(&lab, &["refusals"]);
    assert!(
        refusals.contains("412 gate-cannot-tell: lab-1\n       nothing on the lab host"),
        "{refusals}"
    );
    assert!(!refusals.contains("not-in-window"), "{refusals}");
    assert!(world.log().contains("reason=gate-cannot-tell"), "{world}");
    let refused = |reason: &str| {
        metric(
            &lab,
            &format!("cis490_refusals_total{{reason=\"{reason}\",kind=\"upload\"}} "),
        )
    };
    assert_eq!(
        (refused("gate-cannot-tell"), refused("not-in-window")),
        (1.0, 0.0)
    );
    lab.world.wait_until("it has failed for a second", |_| {
        metric(&lab, "cis490_gate_source_failing_seconds ") >= 1.0
    });
    assert_eq!(
        metric(&lab, "cis490_gate_source_failing_kind{kind=\"renamed\"} "),
        1.0
    );

    // It is named rightly: what was unknown is in the window, and nobody waits any more.
    lab.forgejo.state().renamed_to = None;
    wait_for_failing(&lab, None);
    lab.world
        .wait_until("the page is well", |_| !page(&lab).contains("for the gate"));
    assert_eq!(world.put(&Put::sample(&fresh).episode("fresh")).status, 201);
}

/// The words of a 412, by what is known of the commit; and where they are put.
#[test]
fn each_412_says_what_is_true_of_its_commit() {
    let lab = Lab::new(9, "window = 3\nrefresh_seconds = 3600");
    lab.repository.commit("other", 1);
    let other = lab.repository.log("other", 1)[0].to_string();
    let older = lab.commits()[5].clone();
    let rows = [
        (
            "lab-1",
            older.as_str(),
            "older",
            "not-in-window",
            "it is older; update the lab host",
            "paste the remediation",
        ),
        (
            "lab-2",
            other.as_str(),
            "elsewhere",
            "not-on-branch",
            "a force-push took it back",
            "put the lab host on the branch",
        ),
        (
            "lab-3",
            STRANGER,
            "never-pushed",
            "never-pushed",
            "push it from where it was made, a pull does not help",
            "push the commit",
        ),
    ];
    let asked = Cell::new(0);
    for (host, commit, known, name, words, _) in rows {
        let put = Put::sample(commit).path(&format!("/v1/episodes/{host}/ep-1"));
        let ask = || {
            asked.set(asked.get() + 1);
            lab.world.put(&put)
        };
        let problem = heard(name, ask).json();
        assert_eq!(problem["status"], 412, "{problem}");
        assert_eq!(problem["known"], known, "{problem}");
        assert_eq!(problem["type"], format!("urn:cis490:problem:{name}"));
        assert!(
            problem["detail"].as_str().unwrap().contains(words),
            "{problem}"
        );
        assert_eq!(
            problem["remediation"].is_string(),
            known == "older",
            "{problem}"
        );
        assert_eq!(problem.get("failing_seconds"), None, "{problem}");
    }
    wait_for_refusals(&lab, asked.get());
    let refusals = told(&lab, &["refusals"]);
    for (host, _, _, name, _, remedy) in rows {
        let line = format!("412 {name}: {host}\n       ");
        let remedy_there = refusals.split_once(&line).map_or("", |(_, after)| after);
        assert!(
            remedy_there.lines().next().unwrap().contains(remedy),
            "{refusals}"
        );
    }
    lab.world.wait_until("the page", |_| {
        page(&lab).contains("<a href=help/never-pushed>never-pushed</a>: <b>lab-3</b>")
    });
    let html = page(&lab);
    assert!(html.contains("Out of date: <b>lab-1</b>."), "{html}");
    assert!(
        html.contains("<a href=help/not-on-branch>not-on-branch</a>: <b>lab-2</b>"),
        "{html}"
    );
}

/// Its last stored commit fell out of the window long ago; what it sends now, nobody can know.
#[test]
fn a_host_with_an_old_upload_that_waits_for_a_blind_gate_is_not_out_of_date() {
    let lab = Lab::new(4, "window = 3\nrefresh_seconds = 1");
    let world = &lab.world;
    let stored = lab.head();
    assert_eq!(world.put(&Put::sample(&stored)).status, 201);
    for _ in 0..4 {
        lab.push();
    }
    let head = lab.head();
    world.wait_until("the pushes", |world| {
        world.get("/v1/gate").json()["head_commit"] == json!(head)
    });
    // Without an attempt of late, its last upload is what is known of it.
    assert!(told(&lab, &["status"]).contains("OUT OF DATE   lab-1:"));
    lab.forgejo.state().renamed_to = Some(("lab".to_owned(), "robots".to_owned()));
    wait_for_failing(&lab, Some("renamed"));
    let status = told(&lab, &["status"]);
    assert!(!status.contains("OUT OF DATE"), "{status}");
    assert!(status.contains("NOT KNOWN     lab-1:"), "{status}");
    let fresh = lab.push();
    let put = Put::sample(&fresh).episode("fresh");
    assert_eq!(world.put(&put).status, 412);

    world.wait_until("the page", |_| {
        page(&lab).contains("<b>lab-1</b> waits for that")
    });
    let html = page(&lab);
    assert!(
        html.contains("<th><a href=hosts/lab-1>lab-1</a><td>waits for the gate"),
        "{html}"
    );
    for untrue in ["Out of date", "out of date", "xpiring", PASTE] {
        assert!(!html.contains(untrue), "{untrue}\n{html}");
    }
    wait_for_refusals(&lab, 1);
    let status = told(&lab, &["status"]);
    assert!(!status.contains("OUT OF DATE"), "{status}");
    assert!(
        status.contains("WAITS         lab-1: 412 gate-cannot-tell, "),
        "{status}"
    );
    assert!(status.contains("nothing on the lab host"), "{status}");

    // The gate sees again: the host's commit gets in, however old its last upload is.
    lab.forgejo.state().renamed_to = None;
    wait_for_failing(&lab, None);
    world.wait_until("the page is well", |_| !page(&lab).contains("for the gate"));
    let html = page(&lab);
    let status = told(&lab, &["status"]);
    assert!(!html.contains("ut of date"), "{html}");
    assert!(!status.contains("OUT OF DATE"), "{status}");
    assert!(!status.contains("WAITS"), "{status}");
}

/// Each attempt is judged by its own commit, and not by what was stored before it.
#[test]
fn a_newer_attempt_has_its_own_words() {
    let lab = Lab::new(4, "window = 3\nrefresh_seconds = 1");
    lab.repository.commit("other", 1);
    let other = lab.repository.log("other", 1)[0].to_string();
    let of = |commit: &str, host: &str, episode: &str| {
        let path = format!("/v1/episodes/{host}/{episode}");
        lab.world.put(&Put::sample(commit).path(&path)).status
    };
    let stored = lab.head();
    for host in ["lab-2", "lab-3"] {
        assert_eq!(of(&stored, host, "before"), 201);
    }
    let head = (0..4).map(|_| lab.push()).last().unwrap();
    lab.world.wait_until("the pushes", |world| {
        world.get("/v1/gate").json()["head_commit"] == json!(head)
    });
    assert_eq!(of(&other, "lab-2", "after"), 412);
    assert_eq!(of(STRANGER, "lab-3", "after"), 412);
    lab.world.wait_until("the page", |_| {
        let html = page(&lab);
        html.contains("<a href=help/not-on-branch>not-on-branch</a>: <b>lab-2</b>")
            && html.contains("<a href=help/never-pushed>never-pushed</a>: <b>lab-3</b>")
    });
    let html = page(&lab);
    for untrue in ["Out of date", "out of date", PASTE] {
        assert!(!html.contains(untrue), "{untrue}\n{html}");
    }
    wait_for_refusals(&lab, 2);
    let status = told(&lab, &["status"]);
    assert!(!status.contains("OUT OF DATE"), "{status}");
    for words in [
        "REFUSED       lab-2: 412 not-on-branch, ",
        ": put the lab host on the branch",
        "REFUSED       lab-3: 412 never-pushed, ",
        ": push the commit",
    ] {
        assert!(status.contains(words), "{words}\n{status}");
    }
    // It is merged, and stands in the window: it is out of date no more.
    lab.repository
        .git(&["update-ref", "refs/heads/main", &other]);
    lab.world.wait_until("the page", |_| {
        let html = page(&lab);
        html.contains("<th><a href=hosts/lab-2>lab-2</a><td>OK")
            && html.contains("<a href=help/never-pushed>never-pushed</a>: <b>lab-3</b>")
    });
    assert!(!told(&lab, &["status"]).contains("lab-2: "));
}

/// On a fallback, a commit that git does not have may still be newer.
#[test]
fn on_its_fallback_the_gate_says_so_too() {
    let clone = crate::world::TempDir::new();
    let mut lab = Lab::stopped(4, "window = 3\nrefresh_seconds = 1");
    let url = format!("file://{}", lab.repository.path().display());
    crate::git::git(clone.path(), &["clone", "-q", &url, "."]);
    let path = lab.world.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    let checkout = format!("{:?}", clone.path());
    std::fs::write(&path, text.replace("\"/nonexistent/cis490\"", &checkout)).unwrap();
    lab.start();
    lab.forgejo
        .set_mood(Mood::Recorded("502-nginx-forgejo-stopped"));
    wait_for_failing(&lab, Some("proxy"));
    lab.world.wait_until("the fallback", |world| {
        world.get("/v1/gate").json()["source"] == json!("git-fallback")
    });
    let unknown = lab.world.get(&format!("/v1/gate/{STRANGER}")).json();
    assert_eq!(unknown["known"], "unknown", "{unknown}");
    let older = lab
        .world
        .get(&format!("/v1/gate/{}", lab.commits()[3]))
        .json();
    assert_eq!(older["known"], "older", "{older}");
    assert!(older["remediation"].as_str().unwrap().contains(PASTE));
    let html = page(&lab);
    assert!(
        html.contains("uses its fallback: Forgejo has not reported the newest commits for"),
        "{html}"
    );
    let status = told(&lab, &["status"]);
    assert!(status.contains("the local repository is used"), "{status}");
}

/// Only a source that is silent has not answered.
#[test]
fn a_source_that_is_silent_has_not_answered() {
    let lab = Lab::new(4, "window = 3\nrefresh_seconds = 1");
    lab.forgejo.set_mood(Mood::Close);
    wait_for_failing(&lab, Some("unreachable"));
    lab.world.wait_until("the page", |_| {
        page(&lab).contains("its source has not answered for")
    });
}
