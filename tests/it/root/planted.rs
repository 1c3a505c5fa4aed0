//! Every name that a command opens or makes in `data_dir` or `root`, taken by something else before.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::{USER, Victims, give, is_root, open_dir, run, wait};
use crate::client::{Client, Put};
use crate::here::mkfifo;
use crate::process::signal;
use crate::world::{TempDir, World, cis490};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the user puts in a name's place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plant {
    /// To a file, or for a folder's name to a folder.
    Link,
    /// To a name in root's folder that would come into being.
    Dangling,
    /// As where the system lets anybody link anything.
    HardLink,
    Fifo,
    Folder,
}

const PLANTS: [Plant; 5] = [
    Plant::Link,
    Plant::Dangling,
    Plant::HardLink,
    Plant::Fifo,
    Plant::Folder,
];

impl Plant {
    fn put(self, path: &Path, victims: &Victims) {
        let is_folder = path.is_dir();
        if is_folder {
            fs::remove_dir_all(path).unwrap();
        } else {
            let _ = fs::remove_file(path);
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let target = if is_folder {
            victims.folder()
        } else {
            victims.secret()
        };
        match self {
            Plant::Link => symlink(target, path).unwrap(),
            Plant::Dangling => symlink(victims.absent(), path).unwrap(),
            // Its owner is the victim's, and must stay so.
            Plant::HardLink => return fs::hard_link(victims.readable(), path).unwrap(),
            Plant::Fifo => mkfifo(path),
            Plant::Folder => {
                fs::create_dir(path).unwrap();
                fs::write(path.join("in-it"), "planted").unwrap();
            }
        }
        lchown(path, Some(USER), Some(USER)).unwrap();
    }
}

/// Names that are taken together: none of them keeps a command from the others.
type Names = &'static [&'static str];

/// One folder of the user's, and beside it what must not change.
struct Stage {
    /// Held: it goes with the stage.
    _dir: TempDir,
    victims: Victims,
    folder: PathBuf,
    config: String,
}

impl Stage {
    fn new(config: &str, fill: impl FnOnce(&Path)) -> Stage {
        let dir = open_dir();
        let folder = dir.path().join("folder");
        let text = config.replace("FOLDER", folder.to_str().unwrap());
        let config = dir.path().join("config.toml");
        fs::write(&config, text).unwrap();
        fs::create_dir(&folder).unwrap();
        fill(&folder);
        give(&folder);
        Stage {
            victims: Victims::new(dir.path()),
            config: config.display().to_string(),
            folder,
            _dir: dir,
        }
    }

    fn plant(&self, plant: Plant, names: Names) {
        for name in names {
            plant.put(&self.folder.join(name), &self.victims);
        }
    }

    /// Plants, and runs the command, which must change nothing of root's.
    fn survives(&self, command: &str, plant: Plant, names: Names) {
        self.plant(plant, names);
        let said = self.run(command);
        let what = format!("{command} with {plant:?} as {names:?}\n{said}");
        self.victims.assert_untouched(&what);
        assert!(!said.contains("panic"), "{what}");
    }

    fn run(&self, command: &str) -> String {
        let mut words: Vec<&str> = command.split(' ').collect();
        words.extend(["--config", &self.config]);
        run(&words).said
    }
}

const RECEIVER: &str = "data_dir = \"FOLDER\"\nlisten = \"127.0.0.1:0\"\nmin_free_bytes = 0\ndrain_seconds = 0\n[version_gate]\nenabled = false\n";

fn fill_store(data: &Path) {
    for dir in ["incoming", "quarantine", "episodes/lab-1"] {
        fs::create_dir_all(data.join(dir)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(data.join(name), text).unwrap();
    write("cis490-store", "cis490 store, format 1\n");
    // Without a row, for backfill and for an upload of that name; and one that is rotten.
    write("episodes/lab-1/ep-1.tar.zst", "the bytes of one episode");
    write("episodes/lab-1/ep-2.tar.zst", "rotten");
    write(
        "index.jsonl",
        &format!(
            "{{\"seq\":1,\"host\":\"lab-1\",\"episode\":\"ep-2\",\"sha256\":\"{}\"}}\nhalf a line",
            "0".repeat(64)
        ),
    );
    write(
        "scrub.json",
        "{\"found\":{\"rotten\":1},\"findings\":[{\"kind\":\"rotten\",\"path\":\"episodes/lab-1/ep-2.tar.zst\",\"why\":\"\"}]}",
    );
}

const STORE_NAMES: [Names; 13] = [
    &["lock"],
    &["index.jsonl"],
    &["cis490-store"],
    &[
        "cis490-store.tmp",
        "scrub.json.tmp",
        "scrub-since.json.tmp",
        "window.json",
        "window.json.tmp",
        "refusals.jsonl",
        "refusals.1.jsonl",
        "quarantine/index.jsonl.tail.1",
        "quarantine/ep-2.tar.zst.1",
        "incoming/lab-1~ep-1~0.partial",
        "incoming/lab-1~ep-9~0.partial",
        "episodes/lab-1/ep-9.tar.zst",
    ],
    &["scrub.json", "scrub-since.json"],
    &["sequence", "sequence.tmp"],
    &["incoming"],
    &["episodes"],
    &["quarantine"],
    &["archive.jsonl"],
    &["episodes/lab-1"],
    &["episodes/lab-1/ep-1.tar.zst", "episodes/lab-1/ep-2.tar.zst"],
    &["incoming/.probe", "episodes/.probe"],
];

#[test]
fn nothing_planted_in_a_store_acts_with_roots_rights() {
    if !is_root("nothing_planted_in_a_store_acts_with_roots_rights") {
        return;
    }
    let commands = [
        "init",
        "backfill --dry-run",
        "backfill --set-aside-rotten",
        "scrub",
        "scrub --since 1d",
        "status",
        "refusals",
        "list",
        "list --meta --json",
    ];
    for names in STORE_NAMES {
        for plant in PLANTS {
            let stage = Stage::new(RECEIVER, fill_store);
            for command in commands {
                // Each command may have put things right for the next.
                stage.survives(command, plant, names);
            }
        }
    }
}

/// Serves, takes an upload and refuses one, and ends.
#[test]
fn nothing_planted_in_a_store_acts_with_a_running_receivers() {
    if !is_root("nothing_planted_in_a_store_acts_with_a_running_receivers") {
        return;
    }
    for names in STORE_NAMES {
        // What is a link to one is a link to the other; what hangs, hangs as a FIFO.
        for plant in [Plant::Link, Plant::Fifo] {
            let stage = Stage::new(RECEIVER, fill_store);
            stage.plant(plant, names);
            let what = format!("receive with {plant:?} as {names:?}");
            let said = serve(&stage, &what);
            stage.victims.assert_untouched(&format!("{what}\n{said}"));
        }
    }
}

fn serve(stage: &Stage, what: &str) -> String {
    let mut child = cis490()
        .args(["receive", "--config", &stage.config])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    while lines.read_line(&mut log).unwrap() > 0 {
        let listening = log.split("event=listening address=").nth(1);
        let Some(address) = listening.and_then(|rest| rest.split(' ').next()) else {
            continue;
        };
        let address = address.parse().unwrap();
        for put in [
            Put::sample(COMMIT),
            Put::sample(COMMIT).episode("ep-9"),
            Put::sample(COMMIT).body(b"other"),
        ] {
            let mut client = Client::connect(address);
            client
                .0
                .set_read_timeout(Some(Duration::from_secs(15)))
                .unwrap();
            client.send(&put.bytes()).unwrap();
            let answer = client
                .answer()
                .unwrap_or_else(|| panic!("{what}: no answer\n{log}"));
            log += &format!("{} {}\n", put.path, answer.status);
        }
        signal(child.id(), "TERM");
        break;
    }
    wait(&mut child, what);
    log
}

const LAB_HOST: &str = "receiver_url = \"URL\"\nhost_id = \"lab-1\"\nroot = \"FOLDER\"\n";

fn fill_queue(root: &Path) {
    for dir in ["episodes/ep-1", "outbox", "shipped", "refused/ep-2"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    let meta = format!("{{\"code_version\":{{\"commit\":\"{COMMIT}\"}}}}");
    for dir in ["episodes/ep-1", "refused/ep-2"] {
        fs::write(root.join(dir).join("meta.json"), &meta).unwrap();
        fs::write(root.join(dir).join("data"), "recorded").unwrap();
    }
    fs::write(root.join("refused/ep-2.why.json"), "{}").unwrap();
}

const QUEUE_NAMES: [Names; 9] = [
    &["lock"],
    &["state.json", "state.json.tmp"],
    &["episodes"],
    &["outbox"],
    &["shipped"],
    &["refused"],
    &["episodes/ep-1", "refused/ep-2"],
    &["episodes/ep-1/meta.json", "refused/ep-2/meta.json"],
    &[
        "outbox/ep-1.tar.zst",
        "outbox/ep-1.tar.zst.partial",
        "shipped/ep-1",
        "shipped/ep-1.receipt.json",
        "shipped/ep-1.receipt.json.tmp",
        "shipped/ep-1~2.receipt.json.tmp",
        "refused/ep-1",
        "refused/ep-1.why.json",
        "refused/ep-1.why.json.tmp",
        "refused/ep-1~2.why.json.tmp",
        "refused/ep-2.why.json",
    ],
];

#[test]
fn nothing_planted_in_a_queue_acts_with_roots_rights() {
    if !is_root("nothing_planted_in_a_queue_acts_with_roots_rights") {
        return;
    }
    let receiver = World::with("[version_gate]\nenabled = false\n");
    let config = LAB_HOST.replace("URL", &format!("http://{}", receiver.address()));
    let set_aside = format!("set-aside --commit {COMMIT}");
    let commands = [
        "init",
        "status",
        &set_aside,
        "requeue ep-2",
        "requeue --all",
        "resend ep-1",
        "ship --once",
    ];
    for names in QUEUE_NAMES {
        for plant in PLANTS {
            for command in commands {
                let stage = Stage::new(&config, fill_queue);
                stage.survives(command, plant, names);
            }
        }
    }
}

/// It makes files of its own, tries the way to the receiver, and runs git.
#[test]
fn nothing_planted_acts_with_a_doctors_rights() {
    if !is_root("nothing_planted_acts_with_a_doctors_rights") {
        return;
    }
    let nobody = LAB_HOST.replace("URL", "http://127.0.0.1:1");
    for (config, fill, names) in [
        (RECEIVER, fill_store as fn(&Path), &["lock"][..]),
        (RECEIVER, fill_store, &["cis490-store"]),
        (&nobody, fill_queue, &["lock", "state.json"]),
    ] {
        for plant in [Plant::Link, Plant::Fifo] {
            let stage = Stage::new(config, fill);
            stage.plant(plant, names);
            let said = stage.run("doctor --repo /nonexistent");
            stage.victims.assert_untouched(&said);
        }
    }
}

/// The four rows that were seen to go wrong, each as it was.
#[test]
fn a_link_in_a_folder_of_the_user_gives_nothing_away() {
    if !is_root("a_link_in_a_folder_of_the_user_gives_nothing_away") {
        return;
    }
    let nobody = LAB_HOST.replace("URL", "http://127.0.0.1:1");
    for (config, fill, name, to_folder, command) in [
        (
            RECEIVER,
            fill_store as fn(&Path),
            "lock",
            false,
            "backfill --dry-run",
        ),
        (RECEIVER, fill_store, "incoming", true, "init"),
        (RECEIVER, fill_store, "scrub.json.tmp", false, "scrub"),
        (&nobody, fill_queue, "state.json.tmp", false, "ship --once"),
    ] {
        let stage = Stage::new(config, fill);
        let path = stage.folder.join(name);
        assert_eq!(path.is_dir(), to_folder, "{name}");
        Plant::Link.put(&path, &stage.victims);
        let said = stage.run(command);
        stage
            .victims
            .assert_untouched(&format!("{command}: {name}\n{said}"));
        if command == "backfill --dry-run" {
            assert!(said.contains("it is a symbolic link"), "{said}");
        }
        if command == "init" {
            assert!(said.contains("/incoming: it is a symbolic link"), "{said}");
        }
    }
}

/// What only says what it would do makes not even a lock.
#[test]
fn a_dry_run_makes_nothing() {
    let dir = open_dir();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fill_store(&data);
    let names = || {
        let names = fs::read_dir(&data).unwrap();
        names
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    let before = names();
    let data_dir = data.to_str().unwrap();
    let ended = run(&["backfill", "--dry-run", "--data-dir", data_dir]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.said.contains("would add lab-1/ep-1"), "{ended:?}");
    assert_eq!(names(), before);
    // And still takes turns with one who changes something.
    let lock = File::create(data.join("lock")).unwrap();
    lock.lock().unwrap();
    let ended = run(&["backfill", "--dry-run", "--data-dir", data_dir]);
    assert!(
        ended.said.contains("another cis490 is at work"),
        "{ended:?}"
    );
}

/// A page goes in the place of a link that has its name.
#[test]
fn a_manual_page_is_not_written_through_a_link() {
    let dir = open_dir();
    let victims = Victims::new(dir.path());
    let pages = dir.path().join("pages");
    fs::create_dir(&pages).unwrap();
    symlink(victims.readable(), pages.join("cis490.1")).unwrap();
    let ended = run(&["man", "--dir", pages.to_str().unwrap()]);
    assert_eq!(ended.code, 0, "{ended:?}");
    victims.assert_untouched("man --dir");
    let page = fs::read_to_string(pages.join("cis490.1")).unwrap();
    assert!(page.starts_with(".TH CIS490"), "{page}");
}
