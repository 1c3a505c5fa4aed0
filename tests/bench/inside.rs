//! What can only be measured inside the process: the gate's check of a commit, and the allocations of
//! an upload.

use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cis490::names::CommitHash;
use cis490::receiver;
use cis490::receiver::config::Config;
use cis490::receiver::critical_thread::ShutdownHandle;
use cis490::receiver::version_gate::{Look, VersionGate};

use crate::Plan;
use crate::counting;
use crate::git::git;
use crate::ground::Ground;
use crate::load::{Body, Connection, Payload};
use crate::process;
use crate::refresh;
use crate::report::{Goal, short, verdict};
use crate::servers::{self, Kind};

pub fn run(plan: &Plan) {
    if plan.wants("gate") {
        gate(plan);
        refresh::run(plan);
    }
    if plan.wants("allocations") {
        allocations(plan);
    }
}

/// Measures checks of a known commit, while the window changes every second.
fn gate(plan: &Plan) {
    let ground = Ground::new(plan);
    let dir = ground.fresh();
    let repository = dir.join("repository");
    fs::create_dir(&repository).expect("a folder");
    git(&repository, &["init", "-q", "-b", "main"]);
    let commit_one = || {
        git(&repository, &["commit", "-q", "--allow-empty", "-m", "one"]);
    };
    (0..30).for_each(|_| commit_one());
    let head = git(&repository, &["rev-parse", "HEAD"]);
    let commit = CommitHash::parse(head.trim()).expect("a hash");
    let text = format!(
        "data_dir = {dir:?}\n[version_gate]\nrefresh_seconds = 1\nlocal_repo_path = {repository:?}\n"
    );
    fs::write(dir.join("receiver.toml"), text).expect("a file");
    let config = Config::load(&dir.join("receiver.toml")).expect("a good configuration");
    let (stopper, _stops) = ShutdownHandle::new();
    let gate = VersionGate::start(&config.version_gate, &dir, &stopper).expect("a gate");
    while gate.look(&commit) == Look::NotLoaded {
        thread::sleep(Duration::from_millis(5));
    }
    println!("\ngate: a check of a known commit, while the window changes every second; CPU time");
    let checks = plan.scaled(100_000_000);
    let mut took = Vec::new();
    for threads in [1, 4] {
        let over = AtomicBool::new(false);
        let cpu_s = thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    commit_one();
                    thread::sleep(Duration::from_millis(300));
                }
            });
            let before = process::own_cpu_s();
            let workers: Vec<_> = (0..threads)
                .map(|_| scope.spawn(|| check(&gate, &commit, checks / threads)))
                .collect();
            let allocated: u64 = workers
                .into_iter()
                .map(|worker| worker.join().expect("checking"))
                .sum();
            assert_eq!(allocated, 0, "a check allocates");
            over.store(true, Ordering::Relaxed);
            process::own_cpu_s() - before
        });
        let ns = cpu_s * 1e9 / checks as f64;
        println!(
            "  {threads} threads: {} ns, no allocation after a thread's first",
            short(ns)
        );
        took.push(ns);
    }
    verdict(
        "one check, 1 thread",
        took[0],
        "ns",
        Goal::AtMost(50.0, 50.0),
    );
    verdict(
        "4 threads / 1 thread",
        took[1] / took[0],
        "",
        Goal::AtMost(1.2, 1.2),
    );
}

/// Checks the commit so often. The allocations, without those of the first check, in which arc-swap
/// registers the thread.
fn check(gate: &VersionGate, commit: &CommitHash, checks: usize) -> u64 {
    gate.look(black_box(commit));
    let before = counting::by_this_thread();
    for _ in 0..checks {
        assert!(matches!(gate.look(black_box(commit)), Look::Admitted(_)));
    }
    counting::by_this_thread() - before
}

/// Uploads a small and a large body to a receiver in this process: its allocations must not grow with
/// the number of blocks.
fn allocations(plan: &Plan) {
    counting::exclude_this_thread();
    // The receiver ends with this process: a mounted filesystem could not be unmounted before.
    let ground = Ground::plain();
    let dir = ground.fresh();
    let address = servers::free_address();
    servers::prepare_ours(&dir, address);
    let path = dir.join("receiver.toml");
    let config = Config::load(&path).expect("a good configuration");
    thread::spawn(move || receiver::run(config.clone(), config, &path));
    let payload = Payload::new(1 << 20);
    let began = Instant::now();
    let mut connection = loop {
        match Connection::open(address) {
            Ok(connection) => break connection,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(20), "{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    println!(
        "\nallocations: by all of the receiver's threads, from an upload's first byte to its answer"
    );
    let small = 16 << 20;
    let large = plan.scaled(512 << 20).max(64 << 20);
    let mut counts = Vec::new();
    // The first upload warms up: threads and buffers are made once.
    for (number, bytes) in [small, small, large].into_iter().enumerate() {
        let body = Body::new(&payload, number, bytes);
        let head = Kind::Ours.put_head(number, &body);
        let before = counting::by_all_threads();
        let status = connection.put(&head, &body, &payload).expect("an answer");
        assert_eq!(status, 201);
        let count = counting::by_all_threads() - before;
        println!("  {:>4} MiB: {count}", bytes >> 20);
        counts.push(count as f64);
    }
    let further_blocks = ((large - small) >> 20) as f64;
    let per_block = (counts[2] - counts[1]) / further_blocks;
    verdict(
        "for each further block of 1 MiB",
        per_block,
        "",
        Goal::AtMost(0.05, 0.0),
    );
}
