//! Real repositories in every shape a lab has them, and no Forgejo.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cis490::names::CommitHash;
use cis490::receiver::version_gate::{Look, Refreshed};
use cis490::wire::Source;

use super::{Gate, config_for_git, eventually, is_admitted, logged};
use crate::git::{git, git_command};
use crate::here::is_root;
use crate::repository::{Repository, log};
use crate::world::TempDir;

/// The window of a gate that has only this repository.
fn window_of(path: &Path, window: u32) -> Vec<CommitHash> {
    let mut config = config_for_git(path);
    config.window = window;
    let data = TempDir::new();
    let gate = Gate::loaded(&config, data.path());
    assert_eq!(gate.state().source, Some(Source::Git), "{path:?}");
    gate.state().commits
}

fn clone(of: &Repository, options: &[&str]) -> TempDir {
    let folder = TempDir::new();
    let (from, to) = (
        format!("file://{}", of.path().display()),
        folder.path().join("clone"),
    );
    let mut arguments = vec!["clone", "-q", &from, to.to_str().unwrap()];
    arguments.extend(options);
    git(folder.path(), &arguments);
    folder
}

#[test]
fn a_checkout_its_git_folder_a_worktree_and_a_bare_one() {
    let origin = Repository::new(30);
    let wanted = origin.log("main", 20);
    let checkout = clone(&origin, &[]);
    let checkout_path = checkout.path().join("clone");
    let worktree = checkout.path().join("worktree");
    git(
        &checkout_path,
        &[
            "worktree",
            "add",
            "-q",
            "--detach",
            worktree.to_str().unwrap(),
        ],
    );
    let bare = clone(&origin, &["--bare"]);
    let mirror = clone(&origin, &["--mirror"]);
    for path in [
        checkout_path.clone(),
        checkout_path.join(".git"),
        worktree.clone(),
        worktree.join(".git"), // a file that names the folder
        bare.path().join("clone"),
        mirror.path().join("clone"),
        origin.path().to_owned(), // no origin of its own: its local branch
    ] {
        assert_eq!(window_of(&path, 20), wanted, "{path:?}");
    }
}

#[test]
fn a_packed_one_and_one_with_sha256_hashes() {
    let repository = Repository::new(40);
    let wanted = repository.log("main", 30);
    repository.git(&["gc", "-q", "--aggressive", "--prune=now"]);
    repository.git(&["pack-refs", "--all", "--prune"]);
    repository.git(&["commit-graph", "write", "--reachable"]);
    assert!(!repository.path().join(".git/refs/heads/main").exists());
    assert_eq!(window_of(repository.path(), 30), wanted);

    let repository = Repository::with_format("sha256");
    repository.commit("main", 3);
    let window = window_of(repository.path(), 30);
    assert_eq!(window, repository.log("main", 3));
    assert_eq!(window[0].to_string().len(), 64);
}

#[test]
fn a_shallow_repository_serves_the_commits_that_it_has() {
    let origin = Repository::new(30);
    let shallow = clone(&origin, &["--depth", "4"]);
    assert_eq!(
        window_of(&shallow.path().join("clone"), 20),
        origin.log("main", 4)
    );
}

#[test]
fn neither_a_detached_head_nor_unpushed_work_counts() {
    let origin = Repository::new(10);
    let wanted = origin.log("main", 10);
    let folder = clone(&origin, &[]);
    let checkout = folder.path().join("clone");
    git(
        &checkout,
        &["commit", "-q", "--allow-empty", "-m", "not pushed"],
    );
    let unpushed = log(&checkout, "HEAD", 1)[0];
    assert_eq!(
        window_of(&checkout, 20),
        wanted,
        "unpushed work on the branch"
    );
    git(&checkout, &["checkout", "-q", "--detach", "HEAD~4"]);
    git(
        &checkout,
        &["commit", "-q", "--allow-empty", "-m", "elsewhere"],
    );
    assert_eq!(window_of(&checkout, 20), wanted, "detached, with work");
    assert!(!wanted.contains(&unpushed));
}

#[test]
fn one_without_the_branch_or_without_commits_is_a_wait() {
    let other = Repository::empty();
    other.commit("trunk", 3);
    other.git(&["tag", "main", "trunk"]);
    let empty = Repository::empty();
    let no_repository = TempDir::new();
    for path in [
        other.path(),
        empty.path(),
        no_repository.path(),
        Path::new("/nonexistent"),
    ] {
        let data = TempDir::new();
        let gate = Gate::start(&config_for_git(path), data.path());
        assert_eq!(gate.refresh(), Refreshed::Failed, "{path:?}");
        let look = gate.look(&CommitHash::parse(&"0".repeat(40)).unwrap());
        assert_eq!(look, Look::NotLoaded, "{path:?}");
        let texts = [
            "WARN",
            "source=git ",
            "kind=git-refused",
            "refs/heads/main",
            path.to_str().unwrap(),
        ];
        assert_eq!(logged(&texts).len(), 1, "{path:?}");
    }
}

#[test]
fn a_failure_keeps_the_window_and_a_replaced_repository_replaces_it() {
    let folder = TempDir::new();
    let (path, aside) = (
        folder.path().join("repository"),
        folder.path().join("aside"),
    );
    let first = Repository::new(3);
    std::os::unix::fs::symlink(first.path(), &path).unwrap();
    let mut config = config_for_git(&path);
    config.refresh_seconds = 1;
    let data = TempDir::new();
    let gate = Gate::loaded(&config, data.path());
    std::fs::rename(&path, &aside).unwrap();
    eventually("the failure", || gate.last_failed());
    assert_eq!(gate.state().commits, first.log("main", 3));
    // With no Forgejo git decides alone, even if its history shares nothing with ours.
    let second = Repository::empty();
    second.git(&["commit", "-q", "--allow-empty", "-m", "another root"]);
    std::os::unix::fs::symlink(second.path(), &path).unwrap();
    eventually("the other one", || {
        gate.state().commits == second.log("HEAD", 9)
    });
    assert!(!gate.last_failed());
}

#[test]
fn a_repository_that_is_pushed_to_while_it_is_read_gives_whole_histories() {
    let repository = Repository::new(5);
    let mut config = config_for_git(repository.path());
    config.window = 5;
    config.refresh_seconds = 1;
    let data = TempDir::new();
    let gate = Gate::loaded(&config, data.path());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let pusher = scope.spawn(|| {
            for round in 0..40 {
                repository.commit("main", 1);
                if round % 10 == 9 {
                    repository.git(&["gc", "-q", "--prune=now"]);
                }
            }
            done.store(true, Ordering::Release);
        });
        let mut seen = Vec::new();
        while !done.load(Ordering::Acquire) && !pusher.is_finished() {
            gate.refresh();
            seen.push(gate.state());
        }
        let whole = repository.log("main", 1000);
        for state in seen {
            let place = whole
                .iter()
                .position(|commit| Some(*commit) == state.head_commit)
                .unwrap();
            assert_eq!(state.commits, &whole[place..place + 5]);
        }
    });
    repository.commit("main", 1);
    eventually("the last push", || {
        gate.look(&repository.head()) == Look::Admitted(1)
    });
}

#[test]
fn a_repository_of_another_user_is_read_all_the_same() {
    let repository = Repository::new(3);
    if !is_root("a_repository_of_another_user_is_read_all_the_same") {
        return;
    }
    let wanted = repository.log("main", 3);
    give_away(repository.path());
    // The control: without our care git refuses.
    let plain = Command::new("git")
        .args(["log", "-1"])
        .current_dir(repository.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&plain.stderr).contains("dubious ownership"),
        "{plain:?}"
    );
    assert_eq!(window_of(repository.path(), 9), wanted);
    assert_eq!(window_of(&repository.path().join(".git"), 9), wanted);
}

fn give_away(path: &Path) {
    chown(path, Some(12345), Some(12345)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}

#[test]
fn the_branch_may_be_another() {
    let repository = Repository::new(3);
    repository.commit("releases/2025", 2);
    let mut config = config_for_git(repository.path());
    config.branch = "releases/2025".to_owned();
    let data = TempDir::new();
    let gate = Gate::loaded(&config, data.path());
    assert_eq!(gate.state().commits, repository.log("releases/2025", 9));
    assert!(!is_admitted(gate.look(&repository.head())));
}

#[test]
fn git_leaves_nothing_behind_in_the_repository() {
    let repository = Repository::new(3);
    let listing = |path: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = Vec::new();
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                paths.push(path.clone());
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        paths.sort();
        paths
    };
    let before = listing(repository.path());
    let readable = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(repository.path().join(".git"), readable).unwrap();
    window_of(repository.path(), 9);
    assert_eq!(listing(repository.path()), before);
    let writable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(repository.path().join(".git"), writable).unwrap();
    assert!(
        git_command(repository.path(), &["status"])
            .output()
            .unwrap()
            .status
            .success()
    );
}
