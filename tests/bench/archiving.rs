//! The archive: copying large episodes to a bucket, and `rclone copy` of the same files to the same store; and
//! small uploads while the loop copies, and without it. The store is Ceph's gateway (`tests/it/archive/rgw`).
//!
//! The copies alone are measured: an episode is read back an hour later. The store shares the machine, so
//! for the small uploads it runs with the lowest priority: on a Pi it is another machine.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::ground::Ground;
use crate::load::{Body, Payload, put_all};
use crate::process::{self, Usage};
use crate::report::{Goal, Series, median, short, spread, verdict};
use crate::servers::{Kind, Running, free_address, prepare_ours, target_dir};

const LARGE: usize = 8;
const LARGE_BYTES: usize = 128 << 20;
const SMALL: usize = 1600;
const SMALL_BYTES: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(300);
/// How often the memory of the other program is looked at.
const LOOK: Duration = Duration::from_millis(20);
const KEYS: (&str, &str) = ("RGWACCESSKEY0000000A", "RGWSECRETKEY");
const NO_PAYLOAD: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub fn run(plan: &Plan) {
    let wants_copies = plan.wants("archive-copies");
    let wants_small = plan.wants("archive-small");
    if !wants_copies && !wants_small {
        return;
    }
    if !target_dir().join("rgw/usr/bin/radosgw").is_file() {
        println!(
            "\narchive-copies, archive-small: left out: no radosgw (tests/it/archive/rgw fetch target/rgw)"
        );
        return;
    }
    let ground = Ground::new(plan);
    if wants_copies {
        copies(plan, &ground);
    }
    if wants_small {
        small_uploads(plan, &ground);
    }
}

/// The figures of one contestant.
struct Copies {
    rate: Series,
    cpu_s_per_gb: Vec<f64>,
    peak_mib: Vec<f64>,
}

impl Copies {
    fn of(name: &str) -> Copies {
        Copies {
            rate: Series::new(name),
            cpu_s_per_gb: Vec::new(),
            peak_mib: Vec::new(),
        }
    }

    fn add(&mut self, gb: f64, took: Duration, cpu_s: f64, peak_kib: u64) {
        self.rate.values.push(gb * 1e3 / took.as_secs_f64());
        self.cpu_s_per_gb.push(cpu_s / gb);
        self.peak_mib.push(peak_kib as f64 / 1024.0);
    }
}

fn copies(plan: &Plan, ground: &Ground) {
    let bytes = plan.scaled(LARGE_BYTES);
    let payload = Payload::new(bytes);
    let bodies: Vec<Body> = (0..LARGE).map(|n| Body::new(&payload, n, bytes)).collect();
    let gb = (LARGE * bytes) as f64 / 1e9;
    let rclone = Command::new("rclone").arg("version").output();
    let has_rclone = rclone.is_ok() && plan.only.is_none();
    let mut ours = Copies::of("cis490");
    let mut theirs = Copies::of("rclone copy");
    // A tiny run has no round that warms up: each waits for a store.
    for round in usize::from(plan.tiny)..=plan.rounds {
        // A fresh store each time, since it keeps all in memory.
        let store = Store::start(&ground.fresh(), false);
        let (dir, address) = (ground.fresh(), free_address());
        prepare_ours(&dir, address);
        let server = Running::start_prepared(dir.clone(), address);
        put_all(&server, &payload, &bodies, LARGE);
        drop(server);
        store.configure(&dir);
        let mut turns = [true, false];
        // The other one begins each round.
        turns.rotate_left(round % 2);
        for is_ours in turns {
            process::warm_memory(LARGE * bytes / 8);
            if is_ours {
                let (took, usage) = copy_by_ours(&dir, address);
                if round > 0 {
                    ours.add(gb, took, usage.cpu_s, usage.peak_kib);
                }
            } else if has_rclone {
                let (took, usage) = store.copy_by_rclone(&dir.join("data/episodes"));
                if round > 0 {
                    theirs.add(gb, took, usage.cpu_s, usage.peak_kib);
                }
            }
        }
        fs::remove_dir_all(dir).expect("it can be removed");
    }
    println!(
        "\narchive-copies: {LARGE} x {} MiB to Ceph's gateway",
        bytes >> 20
    );
    println!(
        "  {:<16} {:>26} {:>12} {:>10}",
        "", "MB/s", "CPU s/GB", "peak MiB"
    );
    for one in [&ours, &theirs]
        .into_iter()
        .filter(|one| !one.rate.values.is_empty())
    {
        println!(
            "  {:<16} {:>26} {:>12} {:>10}",
            one.rate.name,
            spread(&one.rate.values),
            short(median(&one.cpu_s_per_gb)),
            short(median(&one.peak_mib))
        );
    }
    if !theirs.rate.values.is_empty() {
        let rate = ours.rate.median() / theirs.rate.median();
        verdict("MB/s, ours / rclone", rate, "", Goal::AtLeast(0.9, 1.0));
        let memory = median(&ours.peak_mib) / median(&theirs.peak_mib);
        verdict(
            "peak memory, ours / rclone",
            memory,
            "",
            Goal::AtMost(0.5, 0.5),
        );
    }
}

/// From the start of the receiver until all are in the bucket.
fn copy_by_ours(dir: &Path, address: SocketAddr) -> (Duration, Usage) {
    let began = Instant::now();
    let server = Running::start_prepared(dir.to_owned(), address);
    wait_copied(address, LARGE);
    (began.elapsed(), server.usage())
}

fn wait_copied(address: SocketAddr, count: usize) {
    let line = format!("\ncis490_archive_episodes{{state=\"copied\"}} {count}\n");
    let until = Instant::now() + PATIENCE;
    while !metrics(address).contains(&line) {
        assert!(Instant::now() < until, "not copied\n{}", metrics(address));
        thread::sleep(Duration::from_millis(5));
    }
}

fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = "GET /metrics HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// Small uploads by eight connections: without `[archive]`, and while the loop copies those of before.
fn small_uploads(plan: &Plan, ground: &Ground) {
    let payload = Payload::new(SMALL_BYTES);
    let count = plan.scaled(SMALL).max(8);
    let bodies: Vec<Body> = (0..count)
        .map(|n| Body::new(&payload, n, SMALL_BYTES))
        .collect();
    let store = Store::start(&ground.fresh(), true);
    let mut without = Series::new("without a loop");
    let mut beside = Series::new("beside the loop");
    for round in 0..=3 * plan.rounds {
        let mut turns = [true, false];
        turns.rotate_left(round % 2);
        for has_loop in turns {
            let (dir, address) = (ground.fresh(), free_address());
            prepare_ours(&dir, address);
            if has_loop {
                store.configure(&dir);
            }
            process::warm_memory(2 * count * SMALL_BYTES);
            let server = Running::start_prepared(dir, address);
            let took = put_all(&server, &payload, &bodies, 8);
            if has_loop {
                assert!(
                    metrics(address).contains("op=\"head\",outcome=\"ok\"} "),
                    "no loop"
                );
            }
            assert!(server.kind == Kind::Ours);
            server.stop();
            if round > 0 {
                let series = if has_loop { &mut beside } else { &mut without };
                series.values.push(count as f64 / took.as_secs_f64());
            }
        }
    }
    println!("\narchive-small: 64 KiB, 8 connections, PUT/s");
    for series in [&without, &beside] {
        println!("  {:<16} {:>26}", series.name, spread(&series.values));
    }
    let ratio = beside.median() / without.median();
    verdict(
        "beside the loop / without",
        ratio,
        "",
        Goal::AtLeast(0.9, 1.0),
    );
}

/// The gateway, which ends with the pipe to its script.
struct Store {
    script: Child,
    address: SocketAddr,
    dir: PathBuf,
}

impl Store {
    fn start(dir: &Path, is_nice: bool) -> Store {
        let [mon, mon1, address] = [0; 3].map(|_| free_address());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/archive/rgw");
        let mut command = Command::new("nice");
        command
            .args(["-n", if is_nice { "19" } else { "0" }])
            .arg(script)
            .arg("serve");
        command.args([target_dir().join("rgw"), dir.join("work")]);
        command.args([mon, mon1, address].map(|address| address.port().to_string()));
        let mut script = command
            .env("CIS490_RGW_BYTES", (6u64 << 30).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the store's script starts");
        let mut line = String::new();
        let stdout = script.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "the store does not start");
        let made = Command::new("curl")
            .args(["-sf", "--aws-sigv4", "aws:amz:us-east-1:s3", "-X", "PUT"])
            .args(["--user", &format!("{}:{}", KEYS.0, KEYS.1)])
            .args(["-H", &format!("x-amz-content-sha256: {NO_PAYLOAD}")])
            .arg(format!("http://{address}/lab"))
            .status();
        assert!(made.is_ok_and(|status| status.success()), "no bucket");
        Store {
            script,
            address,
            dir: dir.to_owned(),
        }
    }

    /// Has the receiver whose configuration is in `dir` archive into it.
    fn configure(&self, dir: &Path) {
        let secret = self.dir.join("s3-keys");
        fs::write(&secret, format!("{}\n{}\n", KEYS.0, KEYS.1)).expect("a file");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("a mode");
        let mut config = File::options()
            .append(true)
            .open(dir.join("receiver.toml"))
            .expect("a file");
        let address = self.address;
        write!(
            config,
            "\n[archive]\nendpoint = \"http://{address}\"\nbucket = \"lab\"\nsecret_file = {secret:?}\n"
        )
        .expect("it can be written");
    }

    /// With its defaults: four files at a time, in parts.
    fn copy_by_rclone(&self, from: &Path) -> (Duration, Usage) {
        let mut command = Command::new("rclone");
        for (name, value) in [
            ("TYPE", "s3"),
            ("PROVIDER", "Ceph"),
            ("ENDPOINT", &format!("http://{}", self.address)),
            ("ACCESS_KEY_ID", KEYS.0),
            ("SECRET_ACCESS_KEY", KEYS.1),
        ] {
            command.env(format!("RCLONE_CONFIG_STORE_{name}"), value);
        }
        // It does not start with one.
        command.env_remove("AWS_CA_BUNDLE");
        command.args(["--config", "/dev/null", "--quiet", "copy"]);
        command.arg(from).arg("store:lab/rclone");
        let before_s = process::children_cpu_s();
        let began = Instant::now();
        let mut child = command.spawn().expect("rclone starts");
        let mut usage = Usage::default();
        let status = loop {
            if let Some(status) = child.try_wait().expect("its end") {
                break status;
            }
            usage.peak_kib = usage
                .peak_kib
                .max(process::usage_of_tree(child.id()).peak_kib);
            thread::sleep(LOOK);
        };
        let took = began.elapsed();
        assert!(status.success(), "rclone: {status}");
        usage.cpu_s = process::children_cpu_s() - before_s;
        (took, usage)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
