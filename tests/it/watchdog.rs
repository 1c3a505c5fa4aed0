//! What systemd hears, at a real socket: ready, stopping, and beats that end when the work does.
//! A thread is stuck here as it can be in earnest: the kernel does not run it any more (ptrace).

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::PATIENCE;
use crate::lab::{Lab, noise};
use crate::world::{World, has_steps};

/// Beats are due four times as often.
const WATCHDOG_USEC: &str = "400000";
const BEAT: &str = "WATCHDOG=1";

/// Stands for systemd.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn new() -> Manager {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cis490-it-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager {
            socket,
            name: format!("@{name}"),
        }
    }

    fn env(&self) -> [(&str, &str); 2] {
        [
            ("NOTIFY_SOCKET", &self.name),
            ("WATCHDOG_USEC", WATCHDOG_USEC),
        ]
    }

    /// All that has come since it was last asked.
    fn heard(&self) -> Vec<String> {
        let mut buffer = [0; 2000];
        let mut all = Vec::new();
        while let Ok(n) = self.socket.recv(&mut buffer) {
            all.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
        all
    }

    /// Waits for a message with these words; all that came up to it.
    fn wait_for(&self, words: &str) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        while !all.iter().any(|message: &String| message.contains(words)) {
            assert!(Instant::now() < until, "no {words} in {all:?}");
            thread::sleep(Duration::from_millis(5));
            all.extend(self.heard());
        }
        all
    }

    /// Waits for the message with these words. Others may have come before it and after it.
    fn wait_for_one(&self, words: &str) -> String {
        let mut all = self.wait_for(words).into_iter();
        all.find(|message| message.contains(words)).unwrap()
    }
}

/// One thread of another process that does not run until this is dropped.
struct Frozen(Child);

const FREEZE: &str = r#"
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
tid = int(sys.argv[1])
SEIZE, INTERRUPT = 0x4206, 0x4207
for request in SEIZE, INTERRUPT:
    if libc.ptrace(request, tid, None, None) != 0:
        print("no:", os.strerror(ctypes.get_errno()), flush=True)
        sys.exit()
while not any(l.startswith("State:\tt") for l in open(f"/proc/{tid}/status")):
    time.sleep(0.001)
print("frozen", flush=True)
sys.stdin.read()
"#;

impl Frozen {
    /// `None` where the kernel does not let us.
    fn freeze(tid: u32) -> Option<Frozen> {
        let mut child = Command::new("python3")
            .args(["-c", FREEZE, &tid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take()?)
            .read_line(&mut line)
            .unwrap();
        let frozen = Frozen(child);
        (line == "frozen\n").then_some(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A tracer that ends lets its threads go on.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The threads of a process: number, name, and where in the kernel they wait.
fn threads(pid: u32) -> Vec<(u32, String, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let read = |dir: &std::path::Path, file| {
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        text.trim().to_owned()
    };
    tasks
        .map(|task| {
            let dir = task.unwrap().path();
            let tid = dir.file_name().unwrap().to_str().unwrap().parse().unwrap();
            (tid, read(&dir, "comm"), read(&dir, "wchan"))
        })
        .collect()
}

fn may_freeze(test: &str) -> bool {
    let mut sleep = Command::new("sleep").arg("60").spawn().unwrap();
    let may = Frozen::freeze(sleep.id()).is_some();
    if !may {
        skip!("{test}: needs python3 and the right to trace a process (root)");
    }
    let _ = sleep.kill();
    let _ = sleep.wait();
    may
}

fn watched_world(manager: &Manager) -> World {
    let mut world = World::prepared("");
    for (name, value) in manager.env() {
        world.env(name, value);
    }
    world.start();
    world
}

#[test]
fn the_receiver_says_when_it_is_up_how_it_goes_and_when_it_stops() {
    let manager = Manager::new();
    let mut world = watched_world(&manager);
    let first = manager.wait_for_one("READY=1");
    assert!(first.starts_with("READY=1\nSTATUS="), "{first:?}");
    let address = world.address();
    assert!(
        first.contains(&format!(" on {address}: 0 uploads running, 0 stored")),
        "{first:?}"
    );
    manager.wait_for(BEAT);
    manager.wait_for(BEAT);
    assert_eq!(world.put(&world.good()).status, 201);
    let told = manager.wait_for_one("1 stored; gate: 3 commits from git, latest ");
    assert!(told.starts_with("STATUS="), "{told:?}");
    assert_eq!(world.stop(), Some(0));
    let last = manager.wait_for_one("STOPPING=1");
    // As long as drain_seconds, and some more.
    assert!(last.contains("EXTEND_TIMEOUT_USEC=80000000"), "{last:?}");
    assert!(!world.log().contains("cannot_probe"), "{world}");
}

/// Lines of the log that name this part as silent.
fn silences(world: &World, part: &str) -> usize {
    let log = world.log();
    let lines = log.lines().filter(|line| line.contains("parts_silent"));
    lines.filter(|line| line.contains(part)).count()
}

#[test]
fn no_beat_comes_while_any_part_of_the_receiver_is_stuck() {
    let test = "no_beat_comes_while_any_part_of_the_receiver_is_stuck";
    if !may_freeze(test) {
        return;
    }
    let manager = Manager::new();
    let world = watched_world(&manager);
    manager.wait_for(BEAT);
    let named = |name: &'static str| move |thread: &(u32, String, String)| thread.1 == name;
    // may's workers have no name of their own, and wait for their sockets.
    let polls = |thread: &(u32, String, String)| thread.2.contains("poll");
    // A worker that waits now may do something at the next look: what is looked at is kept.
    let found = RefCell::new(Vec::new());
    world.wait_until("both workers wait", |world| {
        let mut found = found.borrow_mut();
        *found = threads(world.pid());
        found.iter().filter(|thread| polls(thread)).count() == 2
    });
    let found = found.into_inner();
    let workers: Vec<_> = found.iter().filter(|thread| polls(thread)).collect();
    let dir_sync = found.iter().filter(|thread| named("dir sync")(thread));
    let index_sync = found.iter().filter(|thread| named("index sync")(thread));
    let gate = found.iter().filter(|thread| named("gate-timer")(thread));
    let clerks = found.iter().filter(|thread| named("clerk")(thread));
    let listers = found.iter().filter(|thread| named("lister")(thread));
    let cases = [
        ("committer", dir_sync.collect::<Vec<_>>()),
        ("committer", index_sync.collect()),
        ("gate-timer", gate.collect()),
        ("clerks", clerks.collect()),
        ("listers", listers.collect()),
        ("connections", workers[..1].to_vec()),
        ("connections", workers[1..].to_vec()),
    ];
    for (part, stuck) in cases {
        assert!(!stuck.is_empty(), "{part}: {found:?}");
        let frozen: Vec<_> = stuck
            .iter()
            .map(|thread| Frozen::freeze(thread.0).unwrap())
            .collect();
        let before = silences(&world, part);
        world.wait_until("its silence is told", |world| {
            silences(world, part) > before
        });
        manager.heard();
        world.wait_until("the silence goes on", |world| {
            silences(world, part) > before + 2
        });
        let heard = manager.heard();
        assert!(!heard.iter().any(|m| m.contains(BEAT)), "{part}: {heard:?}");
        drop(frozen);
        manager.wait_for(BEAT);
    }
    assert_eq!(world.put(&world.good()).status, 201);
}

#[test]
fn the_shipper_beats_while_it_rests_and_stops_when_its_loop_is_stuck() {
    let manager = Manager::new();
    let lab = Lab::with("http://127.0.0.1:1", "scan_seconds = 3600");
    let shipper = lab.ship_with(&manager.env());
    let first = manager.wait_for_one("READY=1");
    assert!(
        first.contains("0 shipped since the start, 0 waiting, 0 held"),
        "{first:?}"
    );
    for _ in 0..3 {
        manager.wait_for(BEAT);
    }
    if may_freeze("the_shipper_beats_while_it_rests_and_stops_when_its_loop_is_stuck") {
        let frozen = Frozen::freeze(shipper.pid()).unwrap();
        manager.heard();
        // The silence itself is what is tested: for five beats' time.
        thread::sleep(Duration::from_millis(500));
        assert_eq!(manager.heard(), [""; 0]);
        drop(frozen);
        manager.wait_for(BEAT);
    }
    assert_eq!(shipper.stop(), 0);
    manager.wait_for("STOPPING=1");
}

/// An upload takes as long as it takes: what moves, and what waits within its bound, is alive.
#[test]
fn the_shipper_beats_while_it_packs_syncs_and_sends() {
    // Nor can one be told to sync slowly.
    if !has_steps("the shipper beats while it packs, syncs and sends") {
        return;
    }
    let manager = Manager::new();
    let mut world = World::prepared("");
    // Every sync takes longer than the shipper's watchdog waits.
    world.env("CIS490_SYNC_DELAY_MS", 700);
    world.start();
    let lab = Lab::new(&format!("http://{}", world.address()));
    lab.episode_with("ep-1", world.repo.head(), &noise(3 << 20));
    let shipper = lab.ship_with(&manager.env());
    let heard = manager.wait_for("STATUS=1 shipped since the start, 0 waiting");
    let at = |words: &str| {
        let found = heard.iter().position(|message| message.contains(words));
        found.unwrap_or_else(|| panic!("no {words} in {heard:?}"))
    };
    let (packing, sending) = (at("STATUS=packing ep-1"), at("STATUS=sending ep-1"));
    // The sync of 3 MiB may take three seconds more; then it is as before.
    let longer = at("WATCHDOG_USEC=3400000");
    let usual = at(&format!("WATCHDOG_USEC={WATCHDOG_USEC}\n"));
    assert!(
        packing < longer && longer < usual && usual < sending,
        "{heard:?}"
    );
    let beats = heard[sending..].iter().filter(|m| m.contains(BEAT));
    assert!(
        beats.count() > 2,
        "it waited for the receiver's disk: {heard:?}"
    );
    assert_eq!(shipper.stop(), 0);
}

/// Also where systemd waits for no beats: the line of `systemctl status` follows the disk.
#[test]
fn a_store_that_cannot_be_written_is_in_the_status_line() {
    let manager = Manager::new();
    let mut world = World::prepared("[version_gate]\nenabled = false\n");
    world.env("NOTIFY_SOCKET", &manager.name);
    world.start();
    manager.wait_for("READY=1");
    let (incoming, away) = (world.data_dir().join("incoming"), world.dir().join("away"));
    fs::rename(&incoming, &away).unwrap();
    manager.wait_for("STATUS=accepts no uploads, a folder of data_dir is gone,");
    fs::rename(&away, &incoming).unwrap();
    manager.wait_for("STATUS=accepts uploads on ");
}
