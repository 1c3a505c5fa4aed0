//! `cis490 doctor` on a receiver: its exit status in each state of the sources, and of the receiver
//! that runs with them.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::door::Lab;
use crate::forgejo::Mood;
use crate::git::git;
use crate::operator::{doctor, told};
use crate::world::TempDir;

const RESTART: &str = "systemctl restart cis490-receiver";

/// A receiver and its Forgejo, a token in a file, and a checkout of the project.
struct World {
    lab: Lab,
    dir: TempDir,
}

impl World {
    /// Nothing runs yet but Forgejo.
    fn stopped(with_checkout: bool) -> World {
        let dir = TempDir::new();
        let token = dir.path().join("token");
        fs::write(&token, "the-token\n").unwrap();
        let lab = Lab::stopped(9, "window = 3\nrefresh_seconds = 1");
        lab.forgejo.state().token = Some("the-token".to_owned());
        let checkout = dir.path().join("checkout");
        if with_checkout {
            let url = format!("file://{}", lab.repository.path().display());
            git(
                dir.path(),
                &["clone", "-q", &url, checkout.to_str().unwrap()],
            );
        }
        let mut world = World { lab, dir };
        world.change(
            "[version_gate]\n",
            &format!("[version_gate]\nauth_token_file = {token:?}\n"),
        );
        if with_checkout {
            world.change("\"/nonexistent/cis490\"", &format!("{checkout:?}"));
        }
        world
    }

    /// The receiver runs, and doctor finds it where the configuration says.
    fn running(with_checkout: bool) -> World {
        let mut world = World::stopped(with_checkout);
        world.start();
        world
    }

    fn start(&mut self) {
        self.lab.start();
        let address = self.lab.world.address().to_string();
        self.change("\"127.0.0.1:0\"", &format!("{address:?}"));
    }

    fn change(&mut self, from: &str, to: &str) {
        let path = self.lab.world.config_path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "no {from} in {text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }

    fn token(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    fn checkout(&self) -> PathBuf {
        self.dir.path().join("checkout")
    }

    fn wait_for_failing(&self, kind: Option<&str>) {
        self.lab.world.wait_until("the gate's state", |world| {
            world.get("/v1/gate").json()["failing"]["kind"].as_str() == kind
        });
    }

    fn doctor(&self) -> (i32, Value) {
        doctor(&self.lab.world.config_path(), &[])
    }
}

#[test]
fn all_is_well_and_a_push_in_between_is_no_difference() {
    let world = World::running(true);
    let (code, report) = world.doctor();
    assert_eq!(code, 0, "{report:#}");
    told(&report, "forgejo", "ok", "");
    told(&report, "local git", "ok", "");
    assert!(told(&report, "running", "ok", "").contains(&world.lab.head()));
    world.lab.push();
    let (code, report) = world.doctor();
    assert_eq!(code, 0, "{report:#}");
    told(&report, "running", "ok", "");
    let behind = told(&report, "local git", "warn", "git reset --hard");
    assert!(behind.contains("which differs from Forgejo's"), "{behind}");
}

/// The token was revoked; a new one lies where doctor reads it and the receiver does not.
#[test]
fn a_token_that_only_doctor_has_is_no_comfort() {
    let mut world = World::running(false);
    world.lab.forgejo.state().token = Some("the-new-token".to_owned());
    world.wait_for_failing(Some("unauthorized"));
    let (code, report) = world.doctor();
    assert_eq!(code, 3, "{report:#}");
    told(&report, "forgejo", "fail", "read again automatically");
    told(&report, "running", "warn", "as said above");

    // Another file, named in the configuration since the receiver began.
    let other = world.dir.path().join("other");
    fs::write(&other, "the-new-token\n").unwrap();
    let old = world.token();
    world.change(&format!("{old:?}"), &format!("{other:?}"));
    let (code, report) = world.doctor();
    assert_eq!(code, 3, "{report:#}");
    told(&report, "forgejo", "ok", "");
    let words = told(&report, "running", "fail", RESTART);
    assert!(words.contains("(unauthorized)"), "{words}");

    // In the file that the receiver knows: it reads that again, and doctor waits for it.
    fs::write(&old, "the-new-token\n").unwrap();
    let (code, report) = world.doctor();
    assert_eq!(code, 0, "{report:#}");
    told(&report, "running", "ok", "");
}

/// The configuration names another branch since; the receiver follows the old one.
#[test]
fn doctor_says_restart_to_a_receiver_that_follows_another_branch() {
    let mut world = World::running(false);
    world.lab.repository.commit("release", 1);
    world.change("[version_gate]\n", "[version_gate]\nbranch = \"release\"\n");
    let (code, report) = world.doctor();
    assert_eq!(code, 3, "{report:#}");
    let words = told(&report, "running", "fail", RESTART);
    assert!(words.contains(&world.lab.head()), "{words}");
    world.change("branch = \"release\"\n", "");
    world.change("window = 3", "window = 4");
    let (code, report) = world.doctor();
    assert_eq!(code, 0, "{report:#}");
    let running: Vec<&Value> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["subject"] == "running")
        .collect();
    assert_eq!(running[0]["verdict"], "warn", "{report:#}");
    assert_eq!(running[1]["verdict"], "ok", "{report:#}");
}

/// The branch that the receiver still follows has the other's head, so that a look for it in the
/// window finds it.
#[test]
fn doctor_says_restart_to_a_receiver_that_follows_a_branch_on_top_of_ours() {
    let mut world = World::stopped(false);
    let main = world.lab.head();
    world.lab.repository.git(&["branch", "dev", "main"]);
    world.lab.repository.commit("dev", 1);
    let dev = world.lab.repository.log("dev", 1)[0].to_string();
    world.change("[version_gate]\n", "[version_gate]\nbranch = \"dev\"\n");
    world.start();
    world.change("branch = \"dev\"\n", "");
    let (code, report) = world.doctor();
    assert_eq!(code, 3, "{report:#}");
    let words = told(&report, "running", "fail", RESTART);
    assert!(words.contains(&dev) && words.contains(&main), "{words}");
}

/// The receiver is at a commit that was pushed while doctor listed the one before it.
#[test]
fn a_push_while_doctor_looks_is_no_difference() {
    let mut world = World::stopped(false);
    world.change("refresh_seconds = 1", "refresh_seconds = 3600");
    world.start();
    world.lab.push();
    {
        let mut state = world.lab.forgejo.state();
        (state.mood_for, state.requests) = ("/commits?", Vec::new());
        state.mood = Mood::Late;
    }
    let (code, report) = std::thread::scope(|scope| {
        let doctor = scope.spawn(|| world.doctor());
        world.lab.world.wait_until("doctor lists", |_| {
            !world.lab.forgejo.listings().is_empty() || doctor.is_finished()
        });
        world.lab.push();
        world.lab.forgejo.set_mood(Mood::Well);
        doctor.join().unwrap()
    });
    assert_eq!(code, 0, "{report:#}");
    assert!(told(&report, "running", "ok", "").contains(&world.lab.head()));
}

/// Forgejo away: a checkout that is not older stands in, one that is behind does not.
#[test]
fn with_forgejo_away_the_checkout_is_compared_with_what_the_receiver_knows() {
    let mut world = World::running(true);
    world.lab.forgejo.set_mood(Mood::Close);
    world.wait_for_failing(Some("unreachable"));
    let (code, report) = world.doctor();
    assert_eq!(code, 0, "{report:#}");
    told(&report, "forgejo", "warn", "systemctl status forgejo");
    told(&report, "local git", "ok", "");
    told(&report, "running", "warn", "as said above");

    world.lab.forgejo.set_mood(Mood::Well);
    world.wait_for_failing(None);
    world.lab.push();
    let head = world.lab.head();
    world.lab.world.wait_until("the push", |world| {
        world.get("/v1/gate").json()["head_commit"] == serde_json::json!(head)
    });
    world.lab.forgejo.set_mood(Mood::Close);
    world.wait_for_failing(Some("unreachable"));
    for is_running in [true, false] {
        if !is_running {
            // By window.json, then.
            assert_eq!(world.lab.world.stop(), Some(0));
        }
        let (code, report) = world.doctor();
        assert_eq!(code, 3, "{is_running} {report:#}");
        told(&report, "forgejo", "fail", "systemctl status forgejo");
        let words = told(&report, "local git", "fail", "git reset --hard");
        assert!(
            words.contains(&head) && words.contains("is not used"),
            "{words}"
        );
    }

    // What a force-push took back, still in the checkout.
    git(&world.checkout(), &["fetch", "-q"]);
    world.lab.forgejo.set_mood(Mood::Well);
    world
        .lab
        .repository
        .git(&["update-ref", "refs/heads/main", "main~2"]);
    world.change(
        &format!("{:?}", world.lab.world.address().to_string()),
        "\"127.0.0.1:0\"",
    );
    world.start();
    let cut = world.lab.head();
    world.lab.world.wait_until("window.json", |world| {
        let text = fs::read_to_string(world.data_dir().join("window.json")).unwrap();
        text.contains(&format!("\"commits\":[\"{cut}\"")) && text.contains("withdrawn\":[\"")
    });
    world.lab.forgejo.set_mood(Mood::Close);
    world.wait_for_failing(Some("unreachable"));
    let (code, report) = world.doctor();
    assert_eq!(code, 3, "{report:#}");
    told(&report, "local git", "fail", "git reset --hard");
}

#[test]
fn a_mirror_and_an_archived_repository_are_reported() {
    let world = World::stopped(false);
    for (mirror, archived, words, remedy) in [
        (true, false, "every 8 h", "name the original"),
        (false, true, "archived", "out of the archive"),
    ] {
        {
            let mut state = world.lab.forgejo.state();
            (state.is_mirror, state.is_archived) = (mirror, archived);
        }
        let (code, report) = world.doctor();
        assert_eq!(code, 0, "{report:#}");
        let findings = report["findings"].as_array().unwrap();
        let told = findings.iter().any(|finding| {
            let has = |key: &str, words: &str| finding[key].as_str().unwrap().contains(words);
            finding["verdict"] == "warn" && has("found", words) && has("do", remedy)
        });
        assert!(told, "{report:#}");
    }
}

/// Doctor's own question, in each state of the repository, with nothing else to go by.
#[test]
fn the_exit_status_says_whether_a_source_has_the_branch() {
    let world = World::stopped(false);
    type Change = fn(&mut crate::forgejo::State);
    let states: [(Change, i32, &str); 8] = [
        (|_| {}, 0, ""),
        (|state| state.hides_repository = true, 3, "Collaborators"),
        (|state| state.code_is_off = true, 3, "switch Code on"),
        (
            |state| state.renamed_to = Some(("lab".into(), "robots".into())),
            3,
            "robots",
        ),
        (
            |state| state.owner_renamed_to = Some("new-lab".into()),
            3,
            "new-lab",
        ),
        (
            |state| state.mood = Mood::Recorded("403-must-change-password"),
            3,
            "change the password",
        ),
        (
            |state| state.mood = Mood::Recorded("500-repository-folder-missing"),
            3,
            "git fsck",
        ),
        (
            |state| state.mood = Mood::Close,
            3,
            "systemctl status forgejo",
        ),
    ];
    for (change, code, remedy) in states {
        {
            let mut state = world.lab.forgejo.state();
            state.mood = Mood::Well;
            (state.hides_repository, state.code_is_off) = (false, false);
            (state.renamed_to, state.owner_renamed_to) = (None, None);
            change(&mut state);
        }
        let (ended, report) = world.doctor();
        assert_eq!(ended, code, "{remedy}\n{report:#}");
        let verdict = if code == 0 { "ok" } else { "fail" };
        told(&report, "forgejo", verdict, remedy);
    }
}
