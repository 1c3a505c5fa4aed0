//! The repository is somebody else's: its configuration must not start programs in our name, and
//! its history counts as it was pushed.

use std::os::unix::fs::PermissionsExt;

use super::{Gate, config_for_git};
use crate::git::git_command;
use crate::here::mkfifo;
use crate::repository::Repository;
use crate::world::TempDir;

#[test]
fn its_configuration_starts_no_program() {
    let repository = Repository::new(3);
    let traps = TempDir::new();
    let sprung = traps.path().join("sprung");
    let trap = traps.path().join("trap");
    std::fs::write(
        &trap,
        format!("#!/bin/sh\necho \"$0 $*\" >> {}\n", sprung.display()),
    )
    .unwrap();
    std::fs::set_permissions(&trap, std::fs::Permissions::from_mode(0o755)).unwrap();
    let trap = trap.to_str().unwrap();
    for (key, value) in [
        ("log.showSignature", "true"),
        ("gpg.program", trap),
        ("gpg.ssh.program", trap),
        ("core.pager", trap),
        ("pager.log", trap),
        ("core.fsmonitor", trap),
        ("core.sshCommand", trap),
        ("core.gitProxy", trap),
        ("core.askPass", trap),
        ("core.alternateRefsCommand", trap),
        ("credential.helper", trap),
        ("diff.external", trap),
        ("alias.log", &format!("!{trap}")),
        ("alias.merge-base", &format!("!{trap}")),
        ("color.ui", "always"),
        ("format.pretty", "raw"),
        ("log.decorate", "full"),
        ("log.diffMerges", "on"),
    ] {
        repository.git(&["config", key, value]);
    }
    sign_the_head(&repository);
    // The control: git does run it when nobody takes care.
    let arguments = ["log", "--format=%H", "-n", "1", "refs/heads/main"];
    let plain = git_command(repository.path(), &arguments).output().unwrap();
    assert!(plain.status.success(), "{plain:?}");
    assert!(sprung.exists(), "the trap does not work");
    std::fs::remove_file(&sprung).unwrap();

    let data = TempDir::new();
    let gate = Gate::loaded(&config_for_git(repository.path()), data.path());
    let told = std::fs::read_to_string(&sprung).unwrap_or_default();
    assert_eq!(told, "", "a program of the repository's choice was run");
    assert_eq!(gate.state().commits.len(), 4);
}

/// Adds a commit with a signature that nobody checks.
fn sign_the_head(repository: &Repository) {
    let folder = TempDir::new();
    let commit = repository.git(&["cat-file", "commit", "main"]);
    let parent = repository.git(&["rev-parse", "main"]);
    let (head, message) = commit.split_once("\n\n").unwrap();
    let head: Vec<&str> = head
        .lines()
        .filter(|line| !line.starts_with("parent "))
        .collect();
    let tree_end = head[0].to_owned();
    let signed = format!(
        "{tree_end}\nparent {parent}\n{}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ==\n -----END PGP SIGNATURE-----\n\n{message}\n",
        head[1..].join("\n")
    );
    let file = folder.path().join("commit");
    std::fs::write(&file, signed).unwrap();
    let hash = repository.git(&["hash-object", "-t", "commit", "-w", file.to_str().unwrap()]);
    repository.git(&["update-ref", "refs/heads/main", &hash]);
}

#[test]
fn replaced_history_does_not_count() {
    let repository = Repository::new(4);
    let wanted = repository.log("main", 4);
    repository.commit("other", 3);
    let other = repository.log("other", 1)[0].to_string();
    repository.git(&["replace", &wanted[1].to_string(), &other]);
    assert_ne!(repository.log("main", 4), wanted, "the control");
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for_git(repository.path()), data.path());
    assert_eq!(gate.state().commits, wanted);
}

#[test]
fn a_program_that_hangs_in_gits_place_is_not_waited_for_by_requests() {
    // A named pipe where git reads its configuration: it waits for a writer that never comes.
    let repository = Repository::new(2);
    let config = repository.path().join(".git/config");
    std::fs::remove_file(&config).unwrap();
    mkfifo(&config);
    let data = TempDir::new();
    let gate = Gate::start(&config_for_git(repository.path()), data.path());
    let ended = gate.refresh();
    assert_eq!(ended, cis490::receiver::version_gate::Refreshed::Failed);
    let path = repository.path().to_str().unwrap().to_owned();
    assert_eq!(super::logged(&["kind=git-timeout", &path]).len(), 1);
}
