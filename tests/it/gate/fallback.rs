//! Forgejo fails and there is a local repository: it counts only if it is not older than ours.

use std::fs;
use std::path::Path;

use cis490::receiver::config::GateConfig;
use cis490::receiver::version_gate::{Look, Refreshed};
use cis490::wire::Source;

use super::{Gate, config_for, eventually, logged};
use crate::forgejo::{Forgejo, Mood};
use crate::git::git;
use crate::repository::{Repository, log};
use crate::world::TempDir;

/// A Forgejo and a checkout of what it serves, refreshed every second.
struct World {
    repository: Repository,
    forgejo: Forgejo,
    checkout: TempDir,
    data: TempDir,
}

impl World {
    fn new(commits: u64, clone_options: &[&str]) -> World {
        let repository = Repository::new(commits);
        let checkout = TempDir::new();
        let url = format!("file://{}", repository.path().display());
        let to = checkout.path().join("clone");
        let mut arguments = vec!["clone", "-q", &url, to.to_str().unwrap()];
        arguments.extend(clone_options);
        git(checkout.path(), &arguments);
        World {
            forgejo: Forgejo::serve(repository.path()),
            repository,
            checkout,
            data: TempDir::new(),
        }
    }

    fn checkout(&self) -> std::path::PathBuf {
        self.checkout.path().join("clone")
    }

    fn config(&self, window: u32) -> GateConfig {
        GateConfig {
            window,
            refresh_seconds: 1,
            local_repo_path: Some(self.checkout()),
            ..config_for(&self.forgejo)
        }
    }

    fn gate(&self, window: u32) -> Gate {
        Gate::loaded(&self.config(window), self.data.path())
    }

    fn pull(&self) {
        git(&self.checkout(), &["fetch", "-q"]);
    }
}

#[test]
fn at_start_git_stands_in_and_forgejo_takes_over_when_it_is_back() {
    let world = World::new(10, &[]);
    world.forgejo.set_mood(Mood::Close);
    let gate = world.gate(5);
    assert_eq!(gate.state().source, Some(Source::GitFallback));
    assert_eq!(gate.state().commits, world.repository.log("main", 5));
    assert!(gate.last_failed(), "Forgejo is what decides");
    assert_eq!(gate.refresh(), Refreshed::Done, "git has told");
    let head = world.repository.head().to_string();
    assert!(!logged(&["event=gate_window source=git-fallback", &head]).is_empty());
    world.forgejo.set_mood(Mood::Well);
    eventually("Forgejo", || gate.state().source == Some(Source::Forgejo));
    assert!(!gate.last_failed());
}

#[test]
fn a_checkout_that_nobody_has_pulled_does_not_throw_out_forgejos_commits() {
    let world = World::new(10, &[]);
    world.repository.commit("main", 3);
    let gate = world.gate(5);
    let ours = world.repository.log("main", 5);
    world.forgejo.set_mood(Mood::Status(502));
    let path = world.checkout();
    let behind = [
        "WARN",
        "source=git-fallback",
        "kind=git-behind",
        path.to_str().unwrap(),
    ];
    eventually("the line", || logged(&behind).len() == 1);
    assert_eq!(gate.state().commits, ours);
    assert_eq!(gate.state().source, Some(Source::Forgejo));
    // Somebody pulls: from then on it is as good as ours, and then better.
    world.repository.commit("main", 1);
    world.pull();
    eventually("the pull", || {
        gate.state().source == Some(Source::GitFallback)
    });
    assert_eq!(gate.state().commits, world.repository.log("main", 5));
    assert_eq!(gate.look(&world.repository.head()), Look::Admitted(1));
}

#[test]
fn a_checkout_far_ahead_counts_even_if_our_head_is_not_among_the_newest() {
    let world = World::new(10, &[]);
    let gate = world.gate(1);
    world.forgejo.set_mood(Mood::Status(502));
    world.repository.commit("main", 30);
    world.pull();
    eventually("the new head", || {
        gate.look(&world.repository.head()) == Look::Admitted(1)
    });
    assert_eq!(gate.state().commits.len(), 1);
}

#[test]
fn a_shallow_checkout_does_not_shrink_the_window() {
    let world = World::new(10, &["--depth", "2"]);
    let gate = world.gate(6);
    assert_eq!(gate.state().commits, world.repository.log("main", 6));
    world.repository.commit("main", 1);
    world.forgejo.set_mood(Mood::Html);
    git(&world.checkout(), &["fetch", "-q", "--depth", "2"]);
    assert_eq!(log(&world.checkout(), "origin/main", 9).len(), 2);
    eventually("git", || gate.state().source == Some(Source::GitFallback));
    assert_eq!(gate.state().commits, world.repository.log("main", 6));
}

#[test]
fn at_start_the_window_of_the_last_run_is_ours() {
    let world = World::new(10, &[]);
    world.repository.commit("main", 2);
    let ours = world.repository.log("main", 5);
    drop(world.gate(5));
    eventually("window.json", || {
        world.data.path().join("window.json").exists()
    });
    world.forgejo.set_mood(Mood::Status(502));
    // The checkout lacks the last two pushes.
    let gate = world.gate(5);
    assert_eq!(gate.refresh(), Refreshed::Failed);
    assert_eq!(
        (gate.state().source, gate.state().commits),
        (Some(Source::Disk), ours.clone())
    );
    drop(gate);
    world.pull();
    let gate = world.gate(5);
    eventually("git", || gate.state().source == Some(Source::GitFallback));
    assert_eq!(gate.state().commits, ours);
}

#[test]
fn forgejo_that_returns_lists_even_if_its_head_has_not_moved() {
    let world = World::new(10, &[]);
    let gate = world.gate(5);
    world.forgejo.set_mood(Mood::Status(502));
    eventually("git", || gate.state().source == Some(Source::GitFallback));
    let before = world.forgejo.listings().len();
    world.forgejo.set_mood(Mood::Well);
    eventually("Forgejo", || gate.state().source == Some(Source::Forgejo));
    assert!(before < world.forgejo.listings().len());
    assert_eq!(gate.state().commits, world.repository.log("main", 5));
}

#[test]
fn a_fallback_that_is_no_repository_changes_nothing() {
    let world = World::new(3, &[]);
    let mut config = world.config(5);
    config.local_repo_path = Some(Path::new("/nonexistent/fallback").to_owned());
    let gate = Gate::loaded(&config, world.data.path());
    world.forgejo.set_mood(Mood::Status(502));
    eventually("both lines", || {
        logged(&[
            "source=git-fallback",
            "kind=git-refused",
            "/nonexistent/fallback",
        ])
        .len()
            == 1
            && logged(&["source=forgejo", "kind=proxy", &world.forgejo.url]).len() == 1
    });
    assert_eq!(gate.state().source, Some(Source::Forgejo));
    assert_eq!(gate.state().commits, world.repository.log("main", 5));
}

/// A force-push that only takes commits back leaves a head that is among the ancestors of what it
/// took back. To a checkout that nobody has pulled since, that looked like a newer branch.
#[test]
fn what_a_force_push_took_back_does_not_return_with_an_old_checkout() {
    let world = World::new(10, &[]);
    let old = world.repository.log("main", 5);
    let gate = world.gate(5);
    let to = old[2].to_string();
    world
        .repository
        .git(&["update-ref", "refs/heads/main", &to]);
    eventually("the force-push", || gate.window().unwrap().head() == old[2]);
    let is_refused = |gate: &Gate| {
        assert_eq!(gate.refresh(), Refreshed::Failed);
        assert_eq!(gate.look(&old[0]), Look::NotInWindow, "{:?}", gate.state());
        assert_eq!(gate.state().commits, world.repository.log("main", 5));
    };
    world.forgejo.set_mood(Mood::Status(502));
    is_refused(&gate);
    // It is remembered, and the memory outlives a restart.
    eventually("window.json", || {
        fs::read_to_string(world.data.path().join("window.json")).is_ok_and(|text| {
            let content: serde_json::Value = serde_json::from_str(&text).unwrap();
            content["commits"][0] == serde_json::json!(to)
        })
    });
    drop(gate);
    is_refused(&Gate::start(&world.config(5), world.data.path()));

    // A checkout that has pulled counts; and what was taken back may come back by a push.
    world.pull();
    let gate = world.gate(5);
    eventually("git", || gate.state().source == Some(Source::GitFallback));
    world.forgejo.set_mood(Mood::Well);
    let back = old[0].to_string();
    world
        .repository
        .git(&["update-ref", "refs/heads/main", &back]);
    eventually("it is back", || gate.look(&old[0]) == Look::Admitted(1));
    world.forgejo.set_mood(Mood::Status(502));
    world.repository.commit("main", 1);
    world.pull();
    // It may have looked at the checkout before that had the last push.
    eventually("git again, with the last push", || {
        let source = gate.state().source;
        source == Some(Source::GitFallback) && gate.look(&old[0]) == Look::Admitted(2)
    });
}
