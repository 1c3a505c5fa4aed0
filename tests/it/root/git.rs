//! A repository of the user's, which root's commands ask for a commit.

use std::fs;
use std::path::{Path, PathBuf};

use super::{USER, give, is_root, open_dir, run_with, set_mode};
use crate::git::{git, git_command};
use crate::repository::Repository;
use crate::world::{TempDir, World};

/// A repository whose configuration names programs wherever git would run one.
struct Trap {
    dir: TempDir,
    proof: PathBuf,
}

impl Trap {
    /// A partial clone whose head is missing: git would fetch it.
    fn new() -> Trap {
        let dir = open_dir();
        let trap = Trap {
            proof: dir.path().join("open/proof"),
            dir,
        };
        fs::create_dir(trap.dir.path().join("open")).unwrap();
        set_mode(&trap.dir.path().join("open"), 0o777);
        let program = trap.dir.path().join("program");
        let script = format!(
            "#!/bin/sh\necho \"$(id -u) $0 $*\" >> {}\nexit 1\n",
            trap.proof.display()
        );
        fs::write(&program, script).unwrap();
        set_mode(&program, 0o755);
        let repo = trap.repo();
        fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "-q"]);
        let program = program.to_str().unwrap();
        let shell = format!("!{program}");
        let hooks = repo.join(".git/hooks");
        for (key, value) in [
            ("core.repositoryformatversion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.promisor", "true"),
            ("remote.origin.url", "ssh://nowhere/x"),
            ("core.sshCommand", program),
            ("remote.origin.uploadpack", program),
            ("remote.origin.vcs", "trap"),
            ("core.fsmonitor", program),
            ("core.hooksPath", hooks.to_str().unwrap()),
            ("core.pager", program),
            ("pager.log", program),
            ("pager.rev-parse", program),
            ("core.editor", program),
            ("core.askPass", program),
            ("core.gitProxy", program),
            ("core.alternateRefsCommand", program),
            ("credential.helper", &shell),
            ("gpg.program", program),
            ("gpg.ssh.program", program),
            ("log.showSignature", "true"),
            ("diff.external", program),
            ("diff.trap.textconv", program),
            ("diff.trap.command", program),
            ("filter.trap.smudge", program),
            ("filter.trap.process", program),
            ("alias.log", &shell),
            ("alias.rev-parse", &shell),
            ("alias.merge-base", &shell),
            ("protocol.allow", "always"),
            ("protocol.ext.allow", "always"),
            ("uploadpack.packObjectsHook", program),
            ("trace2.eventTarget", trap.proof.to_str().unwrap()),
        ] {
            git(&repo, &["config", key, value]);
        }
        for hook in [
            "post-checkout",
            "reference-transaction",
            "post-index-change",
        ] {
            fs::create_dir_all(&hooks).unwrap();
            fs::copy(program, hooks.join(hook)).unwrap();
        }
        fs::write(
            repo.join(".git/info/attributes"),
            "* diff=trap filter=trap\n",
        )
        .unwrap();
        let head = format!("{}\n", "1".repeat(40));
        fs::create_dir_all(repo.join(".git/refs/remotes/origin")).unwrap();
        fs::write(repo.join(".git/refs/heads/main"), &head).unwrap();
        fs::write(repo.join(".git/refs/remotes/origin/main"), &head).unwrap();
        trap
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn sprung(&self) -> String {
        fs::read_to_string(&self.proof).unwrap_or_default()
    }

    /// That the trap works, where nobody takes care: in each way that has a command of its own.
    fn check(&self) {
        git(&self.repo(), &["config", "--unset", "remote.origin.vcs"]);
        let asked = git_command(&self.repo(), &["rev-parse", "HEAD^{commit}"]).output();
        asked.unwrap();
        assert!(self.sprung().contains("program"), "the trap does not work");
        fs::remove_file(&self.proof).unwrap();
    }
}

#[test]
fn a_repositorys_configuration_starts_no_program_for_any_command() {
    let trap = Trap::new();
    trap.check();
    let repo = trap.repo();
    let config = |name: &str, text: &str| {
        let path = trap.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let root = trap.dir.path().join("root");
    let shipper = config(
        "s.toml",
        &format!("receiver_url = \"http://127.0.0.1:1\"\nhost_id = \"lab-1\"\nroot = {root:?}\n"),
    );
    // A receiver that is there, since doctor asks git only then.
    let gate = format!("[version_gate]\nlocal_repo_path = {repo:?}\n");
    let world = World::prepared(&gate);
    let receiver = world.config_path();
    let there = World::with("[version_gate]\nenabled = false\n");
    let near = config(
        "near.toml",
        &format!(
            "receiver_url = \"http://{}\"\nhost_id = \"lab-1\"\nroot = {root:?}\n",
            there.address()
        ),
    );
    for words in [
        &[
            "check",
            "--repo",
            repo.to_str().unwrap(),
            "--config",
            &shipper,
        ][..],
        &[
            "doctor",
            "--repo",
            repo.to_str().unwrap(),
            "--config",
            &near,
        ],
        &["doctor", "--config", &receiver],
    ] {
        let ended = run_with(words, &[]);
        assert_ne!(
            ended.code, 0,
            "{words:?}: the commit is not there\n{ended:?}"
        );
        assert_eq!(trap.sprung(), "", "{words:?}\n{ended:?}");
    }
    assert_receiver_springs_none(world, &trap);
    // And root asks as the user whose repository it is.
    if !is_root("a_repositorys_configuration_starts_no_program_for_any_command") {
        return;
    }
    give(&repo);
    let ended = run_with(
        &[
            "check",
            "--repo",
            repo.to_str().unwrap(),
            "--config",
            &shipper,
        ],
        &[],
    );
    assert_eq!((ended.code, trap.sprung().as_str()), (1, ""), "{ended:?}");
}

fn assert_receiver_springs_none(mut world: World, trap: &Trap) {
    assert!(world.try_start(), "{world}");
    world.wait_until("the gate has asked git", |world| {
        world.log().contains("kind=git-refused")
    });
    world.stop();
    assert_eq!(trap.sprung(), "", "{world}");
}

/// A program in git's place says who runs it.
#[test]
fn root_asks_git_as_the_repositorys_owner() {
    if !is_root("root_asks_git_as_the_repositorys_owner") {
        return;
    }
    let dir = open_dir();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let who = dir.path().join("who");
    fs::create_dir(&who).unwrap();
    set_mode(&who, 0o777);
    let commit = "1".repeat(40);
    let script = format!(
        "#!/bin/sh\necho \"$(id -u) $(id -G)\" > {0}/ran\necho \"$$ $(cut -d' ' -f 6 /proc/self/stat)\" > {0}/session\necho {commit}\n",
        who.display()
    );
    fs::write(bin.join("git"), script).unwrap();
    set_mode(&bin.join("git"), 0o755);
    let config = dir.path().join("s.toml");
    fs::write(
        &config,
        "receiver_url = \"http://127.0.0.1:1\"\nhost_id = \"lab-1\"\nroot = \"/nonexistent\"\n",
    )
    .unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let asks = |repo: &Path| {
        let words = [
            "check",
            "--repo",
            repo.to_str().unwrap(),
            "--config",
            config.to_str().unwrap(),
        ];
        let _ = fs::remove_file(who.join("ran"));
        let ended = run_with(&words, &[("PATH", &path)]);
        let ran = fs::read_to_string(who.join("ran")).unwrap_or_default();
        (ran.trim().to_owned(), ended.said)
    };
    let repository = Repository::new(1);
    set_mode(repository.path(), 0o755);
    let (ran, said) = asks(repository.path());
    assert!(ran.starts_with("0 "), "{ran:?} {said}");
    // A worktree's file may lead anywhere: who made that counts.
    let tree = dir.path().join("tree");
    repository.git(&["worktree", "add", "-q", tree.to_str().unwrap()]);
    give(repository.path());
    let (ran, said) = asks(repository.path());
    assert_eq!(ran, format!("{USER} {USER}"), "{said}");
    // In a session of its own: root's terminal is out of reach.
    let session = fs::read_to_string(who.join("session")).unwrap();
    let (pid, leader) = session.trim().split_once(' ').unwrap();
    assert_eq!(pid, leader);
    let (ran, said) = asks(&tree);
    assert_eq!(ran, format!("{USER} {USER}"), "{said}");
    // A file of the user's that names a folder of root's: he may name another at any moment. And his
    // folder's group counts for nothing.
    let his = dir.path().join("his");
    fs::create_dir(&his).unwrap();
    fs::write(his.join(".git"), "gitdir: /usr\n").unwrap();
    give(&his);
    std::os::unix::fs::lchown(&his, None, Some(0)).unwrap();
    std::os::unix::fs::lchown(his.join(".git"), None, Some(0)).unwrap();
    let (ran, said) = asks(&his);
    assert_eq!(ran, format!("{USER} {USER}"), "{said}");
    // Root's own folder, and a configuration that is another's.
    let mixed = Repository::new(1);
    set_mode(mixed.path(), 0o755);
    give(&mixed.path().join(".git/config"));
    let (ran, said) = asks(mixed.path());
    assert_eq!(ran, format!("{USER} {USER}"), "{said}");
    // Nobody knows whose it is.
    set_mode(mixed.path(), 0o777);
    let (ran, said) = asks(mixed.path());
    assert_eq!(ran, "", "{said}");
    assert!(said.contains("may write to"), "{said}");
}
