//! `window.json`: what the gate remembers over a restart, and when it does not.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cis490::receiver::config::GateConfig;
use cis490::receiver::version_gate::{Look, Refreshed};
use cis490::wire::Source;
use serde_json::{Value, json};

use super::{Gate, config_for, config_for_git, eventually, served};
use crate::forgejo::{Forgejo, Mood};
use crate::repository::Repository;
use crate::world::TempDir;

struct World {
    repository: Repository,
    forgejo: Forgejo,
    data: TempDir,
}

impl World {
    /// After a run that has left its memory; Forgejo is away now.
    fn remembering(commits: u64) -> World {
        let repository = Repository::new(commits);
        let world = World {
            forgejo: Forgejo::serve(repository.path()),
            repository,
            data: TempDir::new(),
        };
        let gate = Gate::loaded(&world.config(), world.data.path());
        eventually("window.json", || world.file().exists());
        drop(gate);
        world.forgejo.set_mood(Mood::Close);
        world
    }

    fn config(&self) -> GateConfig {
        config_for(&self.forgejo)
    }

    fn file(&self) -> std::path::PathBuf {
        self.data.path().join("window.json")
    }

    fn content(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }

    /// A gate that has asked Forgejo in vain.
    fn restart(&self, config: &GateConfig) -> Gate {
        let gate = Gate::start(config, self.data.path());
        assert_eq!(gate.refresh(), Refreshed::Failed);
        gate
    }
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[test]
fn the_last_good_window_is_there_at_once_after_a_restart_with_its_age() {
    let world = World::remembering(60);
    let content = world.content();
    assert_eq!(content["url"], json!(world.forgejo.url));
    assert_eq!(content["repository"], json!("lab/cis490"));
    assert_eq!(content["branch"], json!("main"));
    assert_eq!(content["source"], json!("forgejo"));
    assert!(content["good_at"].as_u64().unwrap().abs_diff(now_s()) < 60);

    let mut older = content.clone();
    older["good_at"] = json!(now_s() - 5000);
    fs::write(world.file(), older.to_string()).unwrap();
    let gate = Gate::start(&world.config(), world.data.path());
    assert_eq!(
        gate.look(&world.repository.head()),
        Look::Admitted(1),
        "before any source"
    );
    let state = gate.state();
    assert_eq!(state.source, Some(Source::Disk));
    assert_eq!(state.commits, world.repository.log("main", 60));
    assert!(
        (5000..5060).contains(&state.age_seconds.unwrap()),
        "{state:?}"
    );
    assert_eq!(gate.facts().age_seconds.unwrap() / 100, 50);

    // Forgejo again: it is asked for the list, and the memory is made fresh.
    world.forgejo.set_mood(Mood::Well);
    let gate = Gate::loaded(&world.config(), world.data.path());
    eventually("Forgejo", || gate.state().source == Some(Source::Forgejo));
    eventually("a fresh memory", || {
        now_s() - world.content()["good_at"].as_u64().unwrap() < 60
    });
    assert!(gate.state().age_seconds.unwrap() < 60);
}

#[test]
fn a_memory_of_something_else_is_ignored() {
    let world = World::remembering(5);
    let head = world.repository.head();
    type Change = fn(&mut GateConfig);
    let changes: [(&str, Change); 4] = [
        ("another URL", |c| c.forgejo_url.as_mut().unwrap().push('/')),
        ("another owner", |c| c.repo_owner = Some("lab2".to_owned())),
        ("another name", |c| c.repo_name = Some("other".to_owned())),
        ("another branch", |c| c.branch = "release".to_owned()),
    ];
    for (what, change) in changes {
        let mut config = world.config();
        change(&mut config);
        assert_eq!(
            world.restart(&config).look(&head),
            Look::NotLoaded,
            "{what}"
        );
    }
    let git_alone = config_for_git(std::path::Path::new("/nonexistent"));
    assert_eq!(
        world.restart(&git_alone).look(&head),
        Look::NotLoaded,
        "no Forgejo now"
    );
    assert_eq!(
        world.restart(&world.config()).look(&head),
        Look::Admitted(1),
        "the control"
    );
}

#[test]
fn a_damaged_memory_is_no_memory() {
    let world = World::remembering(5);
    let good = fs::read(world.file()).unwrap();
    let mut no_commits = world.content();
    no_commits["commits"] = json!([]);
    let mut odd_commit = world.content();
    odd_commit["commits"][2] = json!("XYZ");
    let cases: [(&str, Vec<u8>); 7] = [
        ("empty", Vec::new()),
        ("NULs, as after a power cut", vec![0; good.len()]),
        ("cut short", good[..good.len() / 2].to_vec()),
        ("not JSON", b"window".to_vec()),
        ("no commits", no_commits.to_string().into_bytes()),
        ("an odd commit", odd_commit.to_string().into_bytes()),
        ("huge", vec![b'['; 5 << 20]),
    ];
    for (what, bytes) in cases {
        fs::write(world.file(), bytes).unwrap();
        let gate = world.restart(&world.config());
        assert_eq!(
            gate.look(&world.repository.head()),
            Look::NotLoaded,
            "{what}"
        );
    }
    // A folder in the file's place is logged and changes nothing, not even when the file is to be written.
    fs::remove_file(world.file()).unwrap();
    fs::create_dir(world.file()).unwrap();
    world.forgejo.set_mood(Mood::Well);
    let gate = Gate::loaded(&world.config(), world.data.path());
    let path = world.file();
    let line = [
        "WARN event=gate_file_unwritable",
        path.to_str().unwrap(),
        "do=",
    ];
    eventually("the line", || !super::logged(&line).is_empty());
    assert_eq!(gate.refresh(), Refreshed::Done);
    assert_eq!(gate.look(&world.repository.head()), Look::Admitted(1));
    assert_eq!(super::logged(&line).len(), 1, "not at every refresh");
}

#[test]
fn the_memory_is_cut_to_a_smaller_window_and_completed_for_a_larger_one() {
    let world = World::remembering(60);
    let mut config = world.config();
    config.window = 7;
    assert_eq!(
        world.restart(&config).state().commits,
        world.repository.log("main", 7)
    );
    world.forgejo.set_mood(Mood::Well);
    drop(Gate::loaded(&config, world.data.path()));
    let small = Gate::loaded(&config, world.data.path());
    eventually("the small one", || {
        world.content()["commits"].as_array().unwrap().len() == 7
    });
    drop(small);
    config.window = 55;
    let gate = Gate::loaded(&config, world.data.path());
    eventually("the large one", || {
        gate.state().commits == world.repository.log("main", 55)
    });
}

#[test]
fn the_memory_is_written_when_the_window_changes_and_not_at_every_refresh() {
    let (repository, forgejo) = served(3);
    let data = TempDir::new();
    let file = data.path().join("window.json");
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    eventually("window.json", || file.exists());
    // Each writing makes a new file, with a new inode number.
    let number = || fs::metadata(&file).unwrap().ino();
    let modified = || fs::metadata(&file).unwrap().modified().unwrap();
    let before = (number(), modified());
    for _ in 0..3 {
        assert_eq!(gate.refresh(), Refreshed::Done);
    }
    assert_eq!((number(), modified()), before);
    repository.commit("main", 1);
    assert_eq!(gate.refresh(), Refreshed::Done);
    eventually("the change", || (number(), modified()) != before);
    assert!(!data.path().join("window.json.tmp").exists() || before.1 < modified());
    // A restart that finds the same window does not write it either: it is young.
    drop(gate);
    let after = (number(), modified());
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    eventually("Forgejo", || gate.state().source == Some(Source::Forgejo));
    assert_eq!(gate.refresh(), Refreshed::Done);
    assert_eq!((number(), modified()), after);
    assert!(gate.age().unwrap() < Duration::from_secs(60));
}

#[test]
fn a_clock_that_ran_backwards_is_an_age_of_zero() {
    let world = World::remembering(3);
    let mut content = world.content();
    content["good_at"] = json!(u64::MAX);
    fs::write(world.file(), content.to_string()).unwrap();
    let gate = world.restart(&world.config());
    assert!(gate.state().age_seconds.unwrap() < 60);
    content["good_at"] = json!(0);
    fs::write(world.file(), content.to_string()).unwrap();
    let gate = world.restart(&world.config());
    assert!(gate.state().age_seconds.unwrap() > 1_000_000_000);
}
