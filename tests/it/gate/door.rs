//! The gate as a lab host meets it: the real program, over HTTP.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::served;
use crate::client::{Answer, PATIENCE, Put};
use crate::forgejo::{Forgejo, Mood};
use crate::repository::Repository;
use crate::world::World;

const STRANGER: &str = "5555555555555555555555555555555555555555";
const ASK_PATIENCE: Duration = Duration::from_secs(2);

/// A receiver that is gated by a stand-in Forgejo.
pub(super) struct Lab {
    pub(super) repository: Repository,
    pub(super) forgejo: Forgejo,
    pub(super) world: World,
}

impl Lab {
    /// Running, with its window loaded.
    pub(super) fn new(commits: u64, gate: &str) -> Lab {
        let mut lab = Lab::stopped(commits, gate);
        lab.start();
        lab
    }

    pub(super) fn stopped(commits: u64, gate: &str) -> Lab {
        let (repository, forgejo) = served(commits);
        let config = format!(
            "[version_gate]\nforgejo_url = {:?}\nrepo_owner = \"lab\"\nrepo_name = \"cis490\"\nlocal_repo_path = \"/nonexistent/cis490\"\n{gate}\n",
            forgejo.url
        );
        Lab {
            world: World::prepared(&config),
            repository,
            forgejo,
        }
    }

    pub(super) fn start(&mut self) {
        self.world.start();
        self.world.wait_until("the gate has its window", |world| {
            world.get("/v1/gate").json()["loaded"] == true
        });
    }

    /// Newest first.
    pub(super) fn commits(&self) -> Vec<String> {
        let commits = self.repository.log("main", 1000);
        commits.iter().map(ToString::to_string).collect()
    }

    pub(super) fn head(&self) -> String {
        self.repository.head().to_string()
    }

    pub(super) fn push(&self) -> String {
        self.repository.commit("main", 1);
        self.head()
    }

    /// 412 to both doors, with what an operator needs.
    fn assert_refused(&self, commit: &str, name: &str) {
        let world = &self.world;
        let put = || world.put(&Put::sample(commit).episode("refused"));
        let get = || world.get(&format!("/v1/gate/{commit}"));
        for answer in [heard(name, put), heard(name, get)] {
            assert_eq!(answer.status, 412, "{answer:?}\n{world}");
            assert_eq!(
                answer.header("Content-Type"),
                Some("application/problem+json")
            );
            let problem = answer.json();
            assert_eq!(problem["type"], format!("urn:cis490:problem:{name}"));
            assert_eq!(problem["status"], 412);
            assert_eq!(problem["your_commit"], commit);
            assert!(problem["age_seconds"].is_u64(), "{problem}");
        }
        assert_eq!(world.stored("lab-1", "refused"), None);
        assert!(world.names("incoming").is_empty());
    }
}

/// The answer to `ask`. On a busy machine the stand-in may not have answered the receiver in time,
/// which the receiver says: unless that is wanted, it is asked again.
pub(super) fn heard(name: &str, ask: impl Fn() -> Answer) -> Answer {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        let is_late = answer
            .body
            .contains("urn:cis490:problem:gate-cannot-tell\"");
        if !is_late || name == "gate-cannot-tell" || until < Instant::now() {
            return answer;
        }
    }
}

#[test]
fn the_window_is_served_and_judges_uploads() {
    let lab = Lab::new(9, "window = 5\nrefresh_seconds = 3600");
    let (world, commits) = (&lab.world, lab.commits());

    let state = world.get("/v1/gate").json();
    let told = |key: &str| state[key].clone();
    assert_eq!(told("enabled"), true);
    assert_eq!(told("loaded"), true);
    assert_eq!(told("source"), "forgejo");
    assert_eq!(told("head_commit"), json!(commits[0]));
    assert_eq!(told("window"), 5);
    assert_eq!(told("commits"), json!(commits[..5]));
    assert!(told("age_seconds").as_u64().unwrap() < 60);

    for (commit, position) in commits[..5].iter().zip(1..) {
        let answer = world.get(&format!("/v1/gate/{commit}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let wanted =
            json!({"allowed": true, "position": position, "window": 5, "head_commit": commits[0]});
        assert_eq!(answer.json(), wanted);

        let answer = world.put(&Put::sample(commit).episode(&format!("ep-{position}")));
        assert_eq!(answer.status, 201, "{answer:?}\n{world}");
        let place = answer.header("X-Cis490-Gate-Position");
        assert_eq!(place, Some(format!("{position}/5").as_str()));
        let receipt = answer.json();
        let gate = json!({"position": position, "head_commit": commits[0], "source": "forgejo"});
        assert_eq!(receipt["gate"], gate);
        assert_eq!(receipt["commit"], json!(commit));
    }
    for commit in &commits[5..] {
        lab.assert_refused(commit, "not-in-window");
    }
    lab.assert_refused(STRANGER, "never-pushed");
    lab.assert_refused(&"5".repeat(64), "never-pushed");
    let problem = world.get(&format!("/v1/gate/{}", commits[7])).json();
    assert_eq!(problem["window"], 5);
    assert_eq!(problem["head_commit"], json!(commits[0]));
    assert_eq!(
        problem["remediation"],
        "cd /opt/cis490 && sudo -u cis490 git pull origin main\n\
         sudo /opt/cis490/scripts/install-lab-host.sh\n\
         sudo systemctl restart cis490-orchestrator"
    );
    for odd in [
        "",
        "abc",
        "HEAD",
        "main",
        &commits[0][..39],
        &commits[0].to_uppercase(),
    ] {
        let answer = world.get(&format!("/v1/gate/{odd}"));
        assert!(matches!(answer.status, 400 | 404), "{odd:?}: {answer:?}");
    }
}

#[test]
fn a_short_history_is_served_with_the_configured_window() {
    let lab = Lab::new(
        2,
        "refresh_seconds = 3600\nremediation = \"git pull\\nmake\"",
    );
    let state = lab.world.get("/v1/gate").json();
    assert_eq!(state["window"], 100);
    assert_eq!(state["commits"], json!(lab.commits()));
    let answer = lab.world.put(&Put::sample(&lab.commits()[1]));
    assert_eq!(answer.header("X-Cis490-Gate-Position"), Some("2/100"));
    let problem = lab
        .world
        .put(&Put::sample(STRANGER).episode("other").no_commit())
        .json();
    assert_eq!(problem["window"], 100);
    assert_eq!(problem["remediation"], "git pull\nmake");
}

#[test]
fn a_host_that_has_just_pulled_a_fresh_push_is_let_in() {
    let lab = Lab::new(4, "window = 3\nrefresh_seconds = 3600");
    let world = &lab.world;
    let fresh = lab.push();
    let began = Instant::now();
    let answer = world.put(&Put::sample(&fresh));
    assert_eq!(answer.status, 201, "{answer:?}\n{world}");
    assert_eq!(answer.header("X-Cis490-Gate-Position"), Some("1/3"));
    assert!(began.elapsed() < ASK_PATIENCE, "{:?}", began.elapsed());
    let fresh = lab.push();
    let answer = world.get(&format!("/v1/gate/{fresh}"));
    assert_eq!(
        (answer.status, answer.json()["position"].clone()),
        (200, json!(1))
    );
    lab.assert_refused(&lab.commits()[3], "not-in-window");
}

#[test]
fn the_gate_follows_a_push_by_itself_within_five_seconds() {
    let lab = Lab::new(4, "window = 3"); // the default interval
    let fresh = lab.push();
    let began = Instant::now();
    lab.world.wait_until("the push is seen", |world| {
        world.get("/v1/gate").json()["head_commit"] == json!(fresh)
    });
    // A machine that does other things is given a second more.
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn many_out_of_date_hosts_are_one_question_to_forgejo() {
    let lab = Lab::new(4, "window = 3\nrefresh_seconds = 3600");
    let (before, began) = (lab.forgejo.requests().len(), Instant::now());
    thread::scope(|scope| {
        for n in 0..24 {
            let world = &lab.world;
            scope.spawn(move || {
                let put = Put::sample(STRANGER).episode(&format!("ep-{n}"));
                assert_eq!(world.put(&put).status, 412, "{world}");
            });
        }
        while began.elapsed() < Duration::from_millis(300) {
            let asked = Instant::now();
            assert_eq!(lab.world.get("/v1/health").status, 200);
            assert!(
                asked.elapsed() < Duration::from_secs(1),
                "the neighbours wait"
            );
        }
    });
    let seconds = began.elapsed().as_secs() as usize;
    let asked = lab.forgejo.requests().len() - before;
    assert!(asked <= 3 + seconds, "{asked} requests in {seconds} s");
}

#[test]
fn until_a_window_is_loaded_uploads_wait() {
    let mut lab = Lab::stopped(4, "window = 3\nrefresh_seconds = 1");
    lab.forgejo.set_mood(Mood::Status(409));
    lab.world.start();
    let world = &lab.world;
    let put = world.put(&Put::sample(&lab.head()));
    let get = world.get(&format!("/v1/gate/{}", lab.head()));
    let health = world.get("/v1/health");
    for answer in [put, get, health] {
        assert_eq!(answer.status, 503, "{answer:?}\n{world}");
        assert_eq!(answer.header("Retry-After"), Some("5"), "{answer:?}");
    }
    let state = world.get("/v1/gate");
    assert_eq!(state.status, 200);
    let state = state.json();
    assert_eq!(
        (&state["loaded"], &state["source"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(
        (&state["commits"], &state["age_seconds"]),
        (&json!([]), &Value::Null)
    );
    lab.forgejo.set_mood(Mood::Well);
    world.wait_until("uploads go on", |world| {
        world.get("/v1/health").status == 200
    });
    assert_eq!(world.put(&Put::sample(&lab.head())).status, 201, "{world}");
}

#[test]
fn while_forgejo_hangs_known_commits_go_on_and_unknown_ones_wait() {
    let lab = Lab::new(4, "window = 3\nrefresh_seconds = 60");
    let world = &lab.world;
    lab.forgejo.set_mood(Mood::Hang);
    let began = Instant::now();
    let answer = world.put(&Put::sample(STRANGER));
    assert_eq!(answer.status, 503, "{answer:?}\n{world}");
    assert_eq!(answer.header("Retry-After"), Some("5"));
    assert_eq!(answer.json()["type"], "urn:cis490:problem:gate-busy");
    assert!(
        (ASK_PATIENCE..ASK_PATIENCE * 3).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );

    let began = Instant::now();
    assert_eq!(world.put(&Put::sample(&lab.head())).status, 201, "{world}");
    assert!(
        began.elapsed() < ASK_PATIENCE,
        "a known commit waits for nobody"
    );
    world.wait_until("the refresh is given up", |world| {
        world.log().contains("kind=timeout")
    });
    // The next is due in a minute, so nobody waits any more: 412 on what we know.
    let began = Instant::now();
    lab.assert_refused(STRANGER, "gate-cannot-tell");
    assert!(began.elapsed() < ASK_PATIENCE, "{:?}", began.elapsed());
    let age_s = world.get(&format!("/v1/gate/{STRANGER}")).json()["age_seconds"].clone();
    assert!(age_s.as_u64().unwrap() >= 8, "{age_s}");
}

#[test]
fn a_disabled_gate_lets_everything_in_and_says_what_it_would_have_refused() {
    let lab = Lab::new(4, "window = 3\nrefresh_seconds = 1\nenabled = false");
    let (world, commits) = (&lab.world, lab.commits());
    let good = Put::sample(&commits[0]);
    for (episode, put, commit, position) in [
        ("known", good.clone(), json!(commits[0]), json!(1)),
        (
            "too-old",
            good.clone().commit(&commits[3]),
            json!(commits[3]),
            Value::Null,
        ),
        (
            "stranger",
            good.clone().commit(STRANGER),
            json!(STRANGER),
            Value::Null,
        ),
        (
            "odd",
            good.clone().commit("not-a-commit"),
            Value::Null,
            Value::Null,
        ),
        (
            "missing",
            good.clone().no_commit(),
            Value::Null,
            Value::Null,
        ),
    ] {
        let began = Instant::now();
        let answer = world.put(&put.episode(episode));
        assert_eq!(answer.status, 201, "{episode}: {answer:?}\n{world}");
        assert!(
            began.elapsed() < ASK_PATIENCE,
            "{episode}: there is nothing to wait for"
        );
        let receipt = answer.json();
        assert_eq!(receipt["commit"], commit, "{episode}");
        assert_eq!(receipt["gate"]["position"], position, "{episode}");
        let told = world.log().lines().any(|line| {
            line.contains("event=gate_would_refuse")
                && line.contains(&format!("episode={episode} "))
        });
        assert_eq!(told, episode != "known", "{episode}\n{world}");
    }
    let state = world.get("/v1/gate").json();
    assert_eq!(
        (&state["enabled"], &state["loaded"]),
        (&json!(false), &json!(true))
    );
    let verdict = world.get(&format!("/v1/gate/{STRANGER}"));
    assert_eq!(
        (verdict.status, verdict.json()["allowed"].clone()),
        (200, json!(true))
    );
    assert!(world.log().contains("event=gate_is_disabled"));
}

#[test]
fn a_disabled_gate_without_any_source_takes_uploads_too() {
    let mut lab = Lab::stopped(2, "enabled = false\nrefresh_seconds = 1");
    lab.forgejo.set_mood(Mood::Close);
    lab.world.start();
    let world = &lab.world;
    let answer = world.put(&Put::sample(STRANGER));
    assert_eq!(answer.status, 201, "{answer:?}\n{world}");
    assert_eq!(world.get("/v1/health").status, 200);
    assert_eq!(world.get(&format!("/v1/gate/{STRANGER}")).status, 200);
    assert!(!world.log().contains("event=gate_has_no_window"), "{world}");
}

#[test]
fn a_restart_without_forgejo_goes_on_with_the_last_window() {
    let mut lab = Lab::new(4, "window = 3\nrefresh_seconds = 1");
    let file = lab.world.data_dir().join("window.json");
    lab.world
        .wait_until("the window is kept", |_| file.exists());
    lab.world.kill();
    lab.forgejo.set_mood(Mood::Close);
    lab.world.start();
    let world = &lab.world;
    let answer = world.put(&Put::sample(&lab.head()));
    assert_eq!(answer.status, 201, "{answer:?}\n{world}");
    assert_eq!(answer.json()["gate"]["source"], "disk");
    assert_eq!(world.get("/v1/gate").json()["source"], "disk");
    let commits = lab.commits();
    lab.assert_refused(&commits[3], "gate-cannot-tell");
    lab.forgejo.set_mood(Mood::Well);
    lab.world.wait_until("Forgejo takes over", |world| {
        world.get("/v1/gate").json()["source"] == "forgejo"
    });
}

#[test]
fn no_proxy_is_taken_from_the_environment() {
    let mut lab = Lab::stopped(4, "window = 3\nrefresh_seconds = 1");
    let proxy = Forgejo::serve(lab.repository.path());
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        lab.world.env(name, &proxy.url);
    }
    lab.start();
    assert_eq!(proxy.requests().len(), 0);
}

#[test]
fn a_token_never_reaches_the_log() {
    let mut lab = Lab::stopped(
        4,
        "refresh_seconds = 1\nauth_token = \"s3cret-at-the-door\"",
    );
    lab.forgejo.state().token = Some("another".to_owned());
    lab.world.start();
    let world = &lab.world;
    world.wait_until("the refusal", |world| {
        world.log().contains("kind=unauthorized")
    });
    assert!(!world.log().contains("s3cret"), "{world}");
    assert!(
        world.log().contains("read:repository"),
        "what to do\n{world}"
    );
    lab.forgejo.state().token = Some("s3cret-at-the-door".to_owned());
    world.wait_until("the window", |world| {
        world.get("/v1/gate").json()["loaded"] == true
    });
    assert!(!world.log().contains("s3cret"), "{world}");
    for path in ["/v1/gate", "/v1/health", "/"] {
        assert!(!world.get(path).body.contains("s3cret"));
    }
}

#[test]
fn without_any_source_the_log_says_what_to_set() {
    if std::path::Path::new("/opt/cis490/.git").exists() {
        skip!("without_any_source, since this machine has the default repository");
        return;
    }
    let mut world = World::prepared("[version_gate]\nrefresh_seconds = 1\n");
    world.start();
    world.wait_until("the line", |world| world.log().contains("kind=no-source"));
    assert!(
        world.log().contains("set forgejo_url, repo_owner"),
        "{world}"
    );
    assert!(world.log().contains("event=gate_has_no_window"), "{world}");
    assert_eq!(world.put(&Put::sample(STRANGER)).status, 503);

    let mut world = World::prepared("[version_gate]\nrefresh_seconds = 1\nenabled = false\n");
    world.start();
    assert_eq!(world.put(&Put::sample(STRANGER)).status, 201, "{world}");
    assert!(!world.log().contains("kind=no-source"), "{world}");
}
