//! The gate's black-box cases against a real Forgejo (or Gitea), which `CIS490_FORGEJO_URL` names,
//! with the token of a user who may make repositories in `CIS490_FORGEJO_TOKEN`. It makes a private
//! repository of its own there, and deletes it at the end.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Put;
use crate::git::git_command;
use crate::repository::Repository;
use crate::world::{World, cis490};

const STRANGER: &str = "5555555555555555555555555555555555555555";
const WINDOW: usize = 60;
/// A Forgejo that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn cases() {
    let (Ok(url), Ok(token)) = (
        env::var("CIS490_FORGEJO_URL"),
        env::var("CIS490_FORGEJO_TOKEN"),
    ) else {
        return println!(
            "skipped: forgejo: CIS490_FORGEJO_URL and CIS490_FORGEJO_TOKEN name no Forgejo and no token that may make repositories"
        );
    };
    let remote = Remote::make(url.trim_end_matches('/'), token);
    let local = Repository::empty();
    first_push(&remote, &local);
    let lab = Lab::new(&remote, "", true);
    lab.loaded();
    follows_a_push(&lab, &remote, &local);
    tells_what_a_commit_is(&lab, &remote, &local);
    says_that_it_cannot_look(&lab, &remote, &local);
    reads_its_token_again(&lab, &remote);
    names_each_trouble(&remote);
    warns_of_an_archive(&lab, &remote);
}

/// A repository there, of our own.
struct Remote {
    url: String,
    token: String,
    owner: String,
    name: String,
}

impl Remote {
    fn make(url: &str, token: String) -> Remote {
        let mut remote = Remote {
            url: url.to_owned(),
            token,
            owner: String::new(),
            name: format!("cis490-campaign-{}", std::process::id()),
        };
        let (status, user) = remote.api("GET", "/user", None);
        assert_eq!(status, 200, "the token is not taken: {user}");
        remote.owner = user["login"].as_str().unwrap().to_owned();
        let body = json!({"name": remote.name, "private": true, "auto_init": false, "default_branch": "main"});
        let (status, made) = remote.api("POST", "/user/repos", Some(body));
        assert_eq!(status, 201, "no repository could be made: {made}");
        remote
    }

    /// Status and body.
    fn api(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .new_agent();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{path}", self.url))
            .header("Authorization", format!("token {}", self.token))
            .header("Content-Type", "application/json")
            .body(body.map_or(String::new(), |body| body.to_string()));
        let mut answer = agent.run(request.unwrap()).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (answer.status().as_u16(), body)
    }

    fn change(&self, name: &str, body: Value) {
        let (status, answer) = self.api(
            "PATCH",
            &format!("/repos/{}/{name}", self.owner),
            Some(body),
        );
        assert_eq!(status, 200, "{answer}");
    }

    fn push(&self, local: &Repository, name: &str, what: &str) {
        let (scheme, place) = self.url.split_once("://").unwrap();
        let (owner, token) = (&self.owner, &self.token);
        let to = format!("{scheme}://{owner}:{token}@{place}/{owner}/{name}.git");
        let output = git_command(local.path(), &["push", "-q", "--force", &to, what]).output();
        let output = output.unwrap();
        let words = String::from_utf8_lossy(&output.stderr).replace(token.as_str(), "TOKEN");
        assert!(output.status.success(), "git push {what}: {words}");
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        for name in [self.name.clone(), format!("{}-renamed", self.name)] {
            self.api("DELETE", &format!("/repos/{}/{name}", self.owner), None);
        }
    }
}

/// A receiver that follows the repository.
struct Lab {
    world: World,
}

impl Lab {
    /// `gate` replaces what the configuration says otherwise, a `key = value` a line.
    fn new(remote: &Remote, gate: &str, with_token: bool) -> Lab {
        let mut lines = vec![
            format!("forgejo_url = {:?}", remote.url),
            format!("repo_owner = {:?}", remote.owner),
            format!("repo_name = {:?}", remote.name),
            format!("window = {WINDOW}"),
            "refresh_seconds = 1".to_owned(),
            "local_repo_path = \"/nonexistent/cis490\"".to_owned(),
        ];
        for line in gate.lines() {
            let key = line.split(" =").next().unwrap();
            lines.retain(|known| !known.starts_with(&format!("{key} =")));
            lines.push(line.to_owned());
        }
        let mut world = World::prepared(&format!("[version_gate]\n{}\n", lines.join("\n")));
        if with_token {
            let token = Lab::token_in(&world);
            fs::write(&token, &remote.token).unwrap();
            let text = fs::read_to_string(world.config_path()).unwrap();
            let with_token = format!("[version_gate]\nauth_token_file = {token:?}");
            let text = text.replace("[version_gate]", &with_token);
            fs::write(world.config_path(), text).unwrap();
        }
        world.start();
        Lab { world }
    }

    fn token_in(world: &World) -> PathBuf {
        world.dir().join("forgejo-token")
    }

    fn gate(&self) -> Value {
        self.world.get("/v1/gate").json()
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Duration {
        let began = Instant::now();
        while !is_so(&self.gate()) {
            assert!(
                began.elapsed() < PATIENCE,
                "never came: {what}\n{}",
                self.world
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        began.elapsed()
    }

    fn loaded(&self) {
        self.wait_for("the window", |gate| gate["loaded"] == true);
    }

    fn wait_for_failing(&self, kind: Option<&str>) {
        let what = format!("failing {kind:?}");
        self.wait_for(&what, |gate| gate["failing"]["kind"].as_str() == kind);
    }

    fn known(&self, commit: &str) -> Value {
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            let problem = self.world.get(&format!("/v1/gate/{commit}")).json();
            let is_told = problem["known"] != "unknown" || self.gate()["failing"].is_object();
            if is_told || give_up_at < Instant::now() {
                return problem["known"].clone();
            }
        }
    }
}

fn commits(local: &Repository) -> Vec<String> {
    let all = local.log("main", 10_000);
    all.iter().map(ToString::to_string).collect()
}

/// Empty is said while it is, and the first push is admitted as soon as it can be listed.
fn first_push(remote: &Remote, local: &Repository) {
    let lab = Lab::new(remote, "", true);
    lab.wait_for_failing(Some("empty-repository"));
    local.commit("main", 2 * WINDOW as u64 + 10);
    remote.push(local, &remote.name, "main");
    let took = lab.wait_for("the first push", |gate| gate["loaded"] == true);
    assert_eq!(lab.gate()["commits"], json!(commits(local)[..WINDOW]));
    assert!(
        !lab.world.log().contains("kind=not-listed-yet"),
        "{}",
        lab.world
    );
    println!(
        "forgejo: a first push is admitted {:.1} s after git push",
        took.as_secs_f64()
    );
}

fn follows_a_push(lab: &Lab, remote: &Remote, local: &Repository) {
    local.commit("main", 1);
    remote.push(local, &remote.name, "main");
    let head = commits(local)[0].clone();
    let began = Instant::now();
    assert_eq!(
        lab.world.put(&Put::sample(&head)).status,
        201,
        "{}",
        lab.world
    );
    println!(
        "forgejo: a push is admitted {:.2} s after git push",
        began.elapsed().as_secs_f64()
    );
    let all = commits(local);
    lab.wait_for("the whole list", |gate| {
        gate["commits"] == json!(all[..WINDOW])
    });
}

fn tells_what_a_commit_is(lab: &Lab, remote: &Remote, local: &Repository) {
    local.commit("other", 1);
    remote.push(local, &remote.name, "other");
    let other = local.log("other", 1)[0].to_string();
    local.commit("main", 1);
    remote.push(local, &remote.name, "main");
    let taken_back = commits(local)[0].clone();
    local.git(&["update-ref", "refs/heads/main", "main^"]);
    remote.push(local, &remote.name, "main");
    let head = commits(local)[0].clone();
    lab.wait_for("the force-push", |gate| gate["head_commit"] == json!(head));
    assert_eq!(lab.known(&commits(local)[WINDOW + 5]), "older");
    assert_eq!(lab.known(&other), "elsewhere");
    assert_eq!(lab.known(&taken_back), "elsewhere");
    assert_eq!(lab.known(STRANGER), "never-pushed");
}

/// Renamed: git push follows, and the gate cannot.
fn says_that_it_cannot_look(lab: &Lab, remote: &Remote, local: &Repository) {
    let renamed = format!("{}-renamed", remote.name);
    remote.change(&remote.name, json!({"name": renamed}));
    local.commit("main", 1);
    remote.push(local, &renamed, "main");
    lab.wait_for_failing(Some("renamed"));
    let detail = lab.gate()["failing"]["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains(&format!("repo_name = {renamed:?}")),
        "{detail}"
    );
    let fresh = commits(local)[0].clone();
    assert_eq!(lab.known(&fresh), "unknown");
    remote.change(&renamed, json!({"name": remote.name}));
    lab.wait_for_failing(None);
    assert_eq!(
        lab.world.put(&Put::sample(&fresh).episode("fresh")).status,
        201
    );
}

fn reads_its_token_again(lab: &Lab, remote: &Remote) {
    // The running one has the right token: a second begins with a wrong one.
    let wrong = "0".repeat(remote.token.len());
    let second = Lab::new(remote, "", true);
    second.loaded();
    let token = Lab::token_in(&second.world);
    fs::write(&token, &wrong).unwrap();
    let mut world = second.world;
    assert_eq!(world.stop(), Some(0));
    world.start();
    let second = Lab { world };
    second.wait_for_failing(Some("unauthorized"));
    assert!(!second.world.log().contains(&wrong), "{}", second.world);
    fs::write(&token, &remote.token).unwrap();
    second.wait_for_failing(None);
    assert_eq!(lab.gate()["failing"], Value::Null);
}

fn names_each_trouble(remote: &Remote) {
    let wrong_path = format!("forgejo_url = \"{}/nosuch\"", remote.url);
    for (gate, with_token, kind, words) in [
        (
            "branch = \"nosuch\"",
            true,
            "no-branch",
            "default branch is \"main\"",
        ),
        (
            "repo_name = \"nosuch-cis490\"",
            true,
            "no-access",
            "to this token",
        ),
        ("", false, "not-found", "without a token"),
        (&wrong_path, true, "not-the-api", "forgejo_url"),
    ] {
        let lab = Lab::new(remote, gate, with_token);
        lab.wait_for("a trouble", |gate| gate["failing"].is_object());
        let failing = lab.gate()["failing"].clone();
        assert_eq!(failing["kind"], kind, "{gate}: {failing}");
        assert!(
            failing["detail"].as_str().unwrap().contains(words),
            "{failing}"
        );
        let log = lab.world.log();
        assert!(!log.contains(&remote.token), "the token is in the log");
    }
}

fn warns_of_an_archive(lab: &Lab, remote: &Remote) {
    remote.change(&remote.name, json!({"archived": true}));
    let output = cis490()
        .args(["doctor", "--json", "--config", &lab.world.config_path()])
        .output()
        .unwrap();
    remote.change(&remote.name, json!({"archived": false}));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("the repository is archived"), "{report}");
}
