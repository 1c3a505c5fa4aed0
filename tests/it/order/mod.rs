//! The durable steps as they are recorded by the program, against the order that the design states:
//! each step after the one before is a must, and what may run side by side is named so. A sync is
//! two entries, its beginning and `synced`, so that nothing that must wait for it can begin between.

mod kernel;
mod queue;

use std::fs;
use std::path::PathBuf;

use crate::client::Put;
use crate::ship::crashes::is_release;
use crate::world::World;

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const X: &str = "incoming/lab-1~ep-1~1.partial";
const TARBALL: &str = "episodes/lab-1/ep-1.tar.zst";

/// What a debug build has written down of its steps.
pub struct Steps {
    file: PathBuf,
    root: String,
}

impl Steps {
    /// Of the next process of this world.
    pub fn of(world: &mut World) -> Steps {
        let file = world.dir().join("steps");
        world.env("CIS490_STEPS", file.display());
        let _ = fs::remove_file(&file);
        let root = world.data_dir().display().to_string();
        Steps { file, root }
    }

    /// All entries, paths relative to the root.
    fn entries(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        // The root itself is "."; its children have no prefix.
        let text = text.replace(&format!("{}/", self.root), "");
        let text = text.replace(&self.root, ".");
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// The steps alone, without their paths.
    pub fn names(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let steps = text.lines().filter(|line| !line.starts_with("synced"));
        let name = |step: &str| step.split(" /").next().unwrap_or("").trim().to_owned();
        steps.map(name).collect()
    }

    /// How many steps with this name have begun.
    pub fn begun(&self, name: &str) -> usize {
        self.names().iter().filter(|one| *one == name).count()
    }

    /// How many steps with this name on this path, relative to the root, have begun.
    pub fn begun_on(&self, name: &str, path: &str) -> usize {
        let step = format!("{name} {path}");
        self.entries().iter().filter(|one| **one == step).count()
    }

    /// How many syncs have ended.
    pub fn ends(&self) -> usize {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        text.lines()
            .filter(|line| line.starts_with("synced"))
            .count()
    }

    pub fn last_is(&self, name: &str) -> bool {
        self.names().last().is_some_and(|last| last == name)
    }
}

/// A part of an order.
enum Part {
    /// Exactly this, before anything that follows.
    Then(String),
    /// Each lane in its order, whatever the others do.
    Beside(Vec<Vec<String>>),
}

fn then(step: impl Into<String>) -> Part {
    Part::Then(step.into())
}

/// A sync, and nothing else until it is over.
fn sync(step: &str) -> [Part; 2] {
    let [begins, ends] = lane(step);
    [Part::Then(begins), Part::Then(ends)]
}

fn lane(step: &str) -> [String; 2] {
    let path = step.rsplit(' ').next().unwrap();
    [step.to_owned(), format!("synced {path}")]
}

fn beside(syncs: &[&str]) -> Part {
    Part::Beside(syncs.iter().map(|step| lane(step).to_vec()).collect())
}

/// Names, and the paths of them all, in one write.
fn publish(path: &str) -> Vec<Part> {
    let tmp = format!("{path}.tmp");
    let mut parts = vec![then(format!("create {tmp}")), then(format!("write {tmp}"))];
    parts.extend(sync(&format!("fsync file {tmp}")));
    parts.push(then(format!("rename {tmp} {path}")));
    let dir = path.rsplit_once('/').map_or(".", |(dir, _)| dir);
    parts.extend(sync(&format!("fsync dir {dir}")));
    parts
}

fn check(recorded: &[String], wanted: Vec<Part>, what: &impl std::fmt::Display) {
    let mut left = recorded.iter();
    let told = || format!("{recorded:#?}\n{what}");
    for part in wanted {
        match part {
            Part::Then(step) => assert_eq!(left.next(), Some(&step), "{}", told()),
            Part::Beside(mut lanes) => {
                while lanes.iter().any(|lane| !lane.is_empty()) {
                    let next = left.next();
                    let lane = lanes.iter_mut().find(|lane| lane.first() == next);
                    lane.unwrap_or_else(|| panic!("{next:?} of\n{}", told()))
                        .remove(0);
                }
            }
        }
    }
    assert_eq!(left.next(), None, "{}", told());
}

/// Everything that a receiver with `world`'s disk records from here on, until `until` was the last.
fn recorded(world: &World, steps: &Steps, until: &str, act: impl FnOnce(&World)) -> Vec<String> {
    let before = steps.entries().len();
    act(world);
    world.wait_until("it is over", |_| {
        let entries = steps.entries();
        before < entries.len() && entries.last().is_some_and(|last| last.starts_with(until))
    });
    steps.entries().split_off(before)
}

fn sample() -> Put {
    Put::sample("0123456789abcdef0123456789abcdef01234567")
}

fn stores(world: &World) {
    assert_eq!(world.put(&sample()).status, 201, "{world}");
}

/// With one episode stored, and nothing left in incoming/.
fn killed_after_a_store() -> World {
    let mut world = World::with(GATE_OFF);
    stores(&world);
    world.wait_until("X is gone", |world| world.names("incoming").is_empty());
    world.kill();
    world
}

/// Design, section 3: a body that fits one block is whole in X, then it has its name, then its row, then
/// all three are on the disk, then the answer, then X goes. The file of a larger one is on the disk
/// before it has its name.
#[test]
fn of_an_upload() {
    if is_release() {
        return;
    }
    let mut world = World::prepared(GATE_OFF);
    let steps = Steps::of(&mut world);
    world.start();
    let found = recorded(&world, &steps, "unlink", stores);
    let mut wanted = arrival(X, &["write", "attribute", "write out"]);
    wanted.extend(first_row_of_a_run());
    wanted.extend([
        beside(&[
            &format!("fsync file {X}"),
            "fsync dir episodes",
            "fsync dir episodes/lab-1",
            "fdatasync index.jsonl",
        ]),
        then("answer"),
        then(format!("unlink {X}")),
    ]);
    check(&found, wanted, &world);
    // The largest body of one block, and the smallest of more. That one has its room on the disk first.
    // How many writes there are is the network's doing.
    for (n, bytes, is_small) in [(2, 262_144, true), (3, 262_145, false)] {
        let put = sample()
            .episode(&format!("ep-{n}"))
            .body(&vec![b'x'; bytes]);
        let mut found = recorded(&world, &steps, "unlink", |world| {
            assert_eq!(world.put(&put).status, 201, "{world}");
        });
        found.dedup();
        let x = format!("incoming/lab-1~ep-{n}~{n}.partial");
        let syncs_of_x = format!("fsync file {x}");
        let mut syncs = vec!["fsync dir episodes/lab-1", "fdatasync index.jsonl"];
        let mut wanted;
        if is_small {
            wanted = arrival(&x, &["write", "attribute", "write out"]);
            syncs.push(&syncs_of_x);
        } else {
            wanted = arrival(&x, &["allocate", "write", "attribute"]);
            wanted.extend(sync(&syncs_of_x));
        }
        wanted.extend([
            then(format!("link {x} episodes/lab-1/ep-{n}.tar.zst")),
            then("append index.jsonl"),
            beside(&syncs),
            then("answer"),
            then(format!("unlink {x}")),
        ]);
        check(&found, wanted, &world);
    }
}

/// Up to the link, or to the fsync of a larger body before it.
fn arrival(x: &str, steps: &[&str]) -> Vec<Part> {
    let steps = [&["create"], steps].concat();
    steps
        .iter()
        .map(|step| then(format!("{step} {x}")))
        .collect()
}

/// Its file has its name; that its number may be given is on the disk before the row is there.
fn first_row_of_a_run() -> Vec<Part> {
    let mut parts = vec![
        then("mkdir episodes/lab-1"),
        then(format!("link {X} {TARBALL}")),
    ];
    parts.extend(publish("sequence"));
    parts.push(then("append index.jsonl"));
    parts
}

/// A name goes for good before X does, which is the record that the file is not whole; its row stays.
#[test]
fn of_taking_back_a_file_that_could_not_be_synced() {
    if is_release() {
        return;
    }
    let mut world = World::prepared(GATE_OFF);
    let steps = Steps::of(&mut world);
    world.env("CIS490_FAIL_ON", format!("1:fsync file {}/{X}", steps.root));
    world.start();
    let found = recorded(&world, &steps, "unlink incoming", |world| {
        assert_eq!(world.put(&sample()).status, 500, "{world}");
    });
    let mut wanted = arrival(X, &["write", "attribute", "write out"]);
    wanted.extend(first_row_of_a_run());
    wanted.extend([
        Part::Beside(vec![
            vec![format!("fsync file {X}")],
            lane("fsync dir episodes").to_vec(),
            lane("fsync dir episodes/lab-1").to_vec(),
            lane("fdatasync index.jsonl").to_vec(),
        ]),
        then(format!("unlink {TARBALL}")),
    ]);
    wanted.extend(sync("fsync dir episodes/lab-1"));
    wanted.push(then(format!("unlink {X}")));
    check(&found, wanted, &world);
}

/// A torn file likewise, found by recovery.
#[test]
fn of_removing_a_torn_file() {
    if is_release() {
        return;
    }
    let mut world = killed_after_a_store();
    let at = |path: &str| world.data_dir().join(path);
    fs::hard_link(at(TARBALL), at(X)).unwrap();
    fs::write(at(TARBALL), "").unwrap();
    let steps = Steps::of(&mut world);
    world.start();
    let mut wanted = start(false);
    wanted.extend(sync(&format!("fsync file {TARBALL}")));
    wanted.push(then("read back"));
    wanted.push(then(format!("unlink {TARBALL}")));
    wanted.extend(sync("fsync dir episodes/lab-1"));
    wanted.push(then(format!("unlink {X}")));
    check(&steps.entries(), wanted, &world);
}

/// Without room for the row: the row's part is cut, and that is on the disk, before the name goes.
#[test]
fn of_taking_back_what_could_not_be_indexed() {
    if is_release() {
        return;
    }
    let mut world = World::prepared(GATE_OFF);
    let steps = Steps::of(&mut world);
    world.start();
    let at_start = steps.names().len();
    world.kill();
    let steps = Steps::of(&mut world);
    // Of the start again, of the arrival, of mkdir and link, of the numbers; then append.
    world.env("CIS490_FAIL_AT", at_start + 4 + 2 + 5 + 1);
    world.env("CIS490_FAIL_ERRNO", 28);
    world.start();
    let found = recorded(&world, &steps, "unlink incoming", |world| {
        assert_eq!(world.put(&sample()).status, 507, "{world}");
    });
    let mut wanted = arrival(X, &["write", "attribute", "write out"]);
    wanted.extend(first_row_of_a_run());
    wanted.extend([then("truncate index.jsonl")]);
    wanted.extend(sync("fdatasync index.jsonl"));
    wanted.push(then(format!("unlink {TARBALL}")));
    wanted.push(beside(&["fsync dir episodes", "fsync dir episodes/lab-1"]));
    wanted.push(then(format!("unlink {X}")));
    check(&found, wanted, &world);
}

/// The probe and the index, as every start begins.
fn start(torn: bool) -> Vec<Part> {
    let probe = ["incoming/.probe", "episodes/.probe"];
    let mut parts = vec![];
    parts.extend(probe.map(|path| then(format!("unlink {path}"))));
    parts.push(then(format!("link {} {}", probe[0], probe[1])));
    parts.extend(probe.map(|path| then(format!("unlink {path}"))));
    parts.extend(sync("fsync dir ."));
    if torn {
        let kept = "quarantine/index.jsonl.tail.1";
        parts.extend([
            then(format!("create {kept}")),
            then(format!("write {kept}")),
        ]);
        parts.extend(sync(&format!("fsync file {kept}")));
        parts.extend(sync("fsync dir quarantine"));
        parts.push(then("truncate index.jsonl"));
    }
    parts.extend(sync("fdatasync index.jsonl"));
    parts
}

/// What was published is made sure of, file and names and row, before its X goes; and a torn end of
/// the index is kept, on the disk, before it is cut.
#[test]
fn of_recovery() {
    if is_release() {
        return;
    }
    let mut world = killed_after_a_store();
    let at = |path: &str| world.data_dir().join(path);
    fs::hard_link(at(TARBALL), at(X)).unwrap();
    fs::write(at("incoming/lab-1~ep-2~2.partial"), "half").unwrap();
    fs::write(at("index.jsonl"), "{\"half\":").unwrap();
    let steps = Steps::of(&mut world);
    world.start();
    let mut found = steps.entries();
    let sweep = "unlink incoming/lab-1~ep-2~2.partial";
    let swept = found.iter().position(|step| step == sweep).expect(sweep);
    found.remove(swept); // whenever the folder's order has it
    let mut wanted = start(true);
    wanted.extend(sync(&format!("fsync file {TARBALL}")));
    wanted.push(then("read back"));
    wanted.extend(publish("sequence"));
    wanted.extend([
        then("append index.jsonl"),
        beside(&[
            "fsync dir episodes",
            "fsync dir episodes/lab-1",
            "fdatasync index.jsonl",
        ]),
        then("answer"),
        then(format!("unlink {X}")),
    ]);
    check(&found, wanted, &world);
}

/// A file without a row: it is made sure of before the row that vouches for it.
#[test]
fn of_bytes_that_were_there_without_a_row() {
    if is_release() {
        return;
    }
    let mut world = killed_after_a_store();
    fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
    let steps = Steps::of(&mut world);
    world.start();
    let found = recorded(&world, &steps, "unlink incoming", |world| {
        assert_eq!(world.put(&sample()).status, 200, "{world}");
    });
    let mut wanted = arrival(X, &["write", "attribute", "write out"]);
    wanted.push(then("mkdir episodes/lab-1"));
    wanted.push(then(format!("link {X} {TARBALL}"))); // refused: it is taken
    wanted.extend(sync(&format!("fsync file {TARBALL}")));
    wanted.extend(publish("sequence"));
    wanted.extend([
        then("append index.jsonl"),
        beside(&[
            "fsync dir episodes",
            "fsync dir episodes/lab-1",
            "fdatasync index.jsonl",
        ]),
        then("answer"),
        then(format!("unlink {X}")),
    ]);
    check(&found, wanted, &world);
}

/// A file that contradicts its row is in quarantine/, on the disk, before another has its name.
#[test]
fn of_replacing_a_damaged_file() {
    if is_release() {
        return;
    }
    let mut world = killed_after_a_store();
    fs::write(world.data_dir().join(TARBALL), "damaged").unwrap();
    let steps = Steps::of(&mut world);
    world.start();
    let found = recorded(&world, &steps, "unlink incoming", stores);
    let mut wanted = arrival(X, &["write", "attribute", "write out"]);
    wanted.push(then("mkdir episodes/lab-1"));
    wanted.push(then(format!("link {X} {TARBALL}"))); // refused: it is taken
    wanted.push(then(format!("rename {TARBALL} quarantine/ep-1.tar.zst.1")));
    wanted.extend(sync("fsync dir quarantine"));
    wanted.extend(sync("fsync dir episodes/lab-1"));
    wanted.push(then("mkdir episodes/lab-1"));
    wanted.push(then(format!("link {X} {TARBALL}")));
    wanted.extend([
        beside(&[
            &format!("fsync file {X}"),
            "fsync dir episodes",
            "fsync dir episodes/lab-1",
        ]),
        then("answer"),
        then(format!("unlink {X}")),
    ]);
    check(&found, wanted, &world);
}

/// The marker says that all else is there, so it comes last.
#[test]
fn of_making_a_store() {
    if is_release() {
        return;
    }
    let mut world = World::prepared(GATE_OFF);
    fs::remove_dir_all(world.data_dir()).unwrap();
    let steps = Steps::of(&mut world);
    let init = || {
        let made = crate::world::cis490()
            .args(["init", "--config", &world.config_path()])
            .env("CIS490_STEPS", &steps.file)
            .output();
        assert!(made.unwrap().status.success());
    };
    let folders = || {
        let folder = |name: &str| {
            let mut parts = vec![then(format!("mkdir {name}"))];
            parts.extend(sync("fsync dir ."));
            parts
        };
        ["incoming", "episodes", "quarantine"]
            .into_iter()
            .flat_map(folder)
    };
    init();
    let parent = world.dir().display().to_string();
    let mut wanted = vec![then("mkdir .")];
    wanted.extend(sync(&format!("fsync dir {parent}")));
    wanted.extend(folders());
    wanted.extend(publish("cis490-store"));
    check(&steps.entries(), wanted, &world);

    // Again: what a killed run may have made without its sync is synced now.
    fs::remove_file(&steps.file).unwrap();
    init();
    check(&steps.entries(), folders().collect(), &world);
}

#[test]
fn of_the_window_file() {
    if is_release() {
        return;
    }
    let mut world = World::prepared("");
    let steps = Steps::of(&mut world);
    world.start();
    world.wait_until("it is written", |_| {
        steps
            .entries()
            .last()
            .is_some_and(|last| last == "synced .")
            && steps.names().iter().any(|step| step == "rename")
    });
    let mut wanted = start(false);
    wanted.extend(publish("window.json"));
    check(&steps.entries(), wanted, &world);
}
