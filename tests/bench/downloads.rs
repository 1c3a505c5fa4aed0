//! Downloads: an episode's bytes by this program and by nginx with `sendfile`, and what downloads cost the
//! uploads and the questions beside them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::ground::Ground;
use crate::load::{Body, Payload, put_all, put_from};
use crate::report::{Goal, Series, percentile, short, spread, verdict};
use crate::servers::{Kind, Running};
use crate::uploads::ask_until;

const PATIENCE: Duration = Duration::from_secs(120);
/// Of the other downloads, which run at the same time.
const SMALLER: usize = 8;

/// What is fetched at once: episodes by their numbers, and how the figures call it.
const FETCHES: [(&str, &[usize]); 2] = [
    ("1 x 1 GiB", &[0]),
    ("8 x 128 MiB", &[1, 2, 3, 4, 5, 6, 7, 8]),
];

/// Where the bytes are when they are asked for.
const PLACES: [Place; 2] = [Place::Memory, Place::Disk];

#[derive(Clone, Copy)]
enum Place {
    Memory,
    Disk,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::Memory => "in memory",
            Place::Disk => "on the disk",
        }
    }

    /// Puts the bytes of a file there.
    fn take(self, path: &Path) {
        match self {
            Place::Memory => read_all(path),
            Place::Disk => forget(path),
        }
    }
}

pub fn run(plan: &Plan) {
    if !plan.wants("fetch") {
        return;
    }
    let payload = Payload::new(plan.scaled(128 << 20));
    against_nginx(plan, &payload);
    beside_uploads(plan, &payload);
}

fn against_nginx(plan: &Plan, payload: &Payload) {
    let ground = Ground::new(plan);
    let large = Body::new(payload, 0, plan.scaled(1 << 30));
    let smaller = (1..=SMALLER).map(|n| Body::new(payload, n, plan.scaled(128 << 20)));
    let bodies: Vec<Body> = std::iter::once(large).chain(smaller).collect();
    let ours = Running::start(Kind::Ours, ground.fresh());
    put_all(&ours, payload, &bodies, 4);
    ours.sync_all();
    let mut servers = vec![ours];
    if Kind::Nginx.is_installed() && plan.only.is_none() {
        let nginx = Running::start(Kind::Nginx, ground.fresh());
        // The very same files, so that both read the same blocks of the disk.
        for number in 0..bodies.len() {
            let stored = file_of(&servers[0], number);
            fs::hard_link(stored, file_of(&nginx, number)).expect("a second name");
        }
        servers.push(nginx);
    }
    for (what, numbers) in FETCHES {
        for place in PLACES {
            let mut rates: Vec<Series> = servers
                .iter()
                .map(|server| Series::new(server.kind.name()))
                .collect();
            for round in 0..=plan.rounds {
                for (server, series) in servers.iter().zip(&mut rates) {
                    for number in numbers {
                        place.take(&file_of(server, *number));
                    }
                    let rate = fetch_all(server, numbers);
                    if round > 0 {
                        series.values.push(rate);
                    }
                }
            }
            report(what, place.name(), &rates);
        }
    }
    for server in servers {
        server.stop();
    }
}

fn report(what: &str, place: &str, rates: &[Series]) {
    println!("\nfetch: {what}, {place}, MB/s");
    for series in rates {
        println!("  {:<16} {:>24}", series.name, spread(&series.values));
    }
    if let [ours, nginx] = rates {
        let ratio = ours.median() / nginx.median();
        verdict("ours / nginx", ratio, "", Goal::AtLeast(0.9, 1.0));
    }
}

fn path_of(kind: Kind, number: usize) -> String {
    match kind {
        Kind::Ours => format!("/v1/episodes/lab-1/ep-{number}.tar.zst"),
        _ => format!("/d/ep-{number}"),
    }
}

fn file_of(server: &Running, number: usize) -> PathBuf {
    let dir = server.dir();
    match server.kind {
        Kind::Ours => dir.join(format!("data/episodes/lab-1/ep-{number}.tar.zst")),
        _ => dir.join(format!("d/ep-{number}")),
    }
}

fn read_all(path: &Path) {
    let mut file = File::open(path).expect("a stored file");
    io::copy(&mut file, &mut io::sink()).expect("it can be read");
}

/// Has the kernel drop the file's pages.
fn forget(path: &Path) {
    let of = format!("if={}", path.display());
    let dd = Command::new("dd")
        .args([&*of, "iflag=nocache", "count=0", "status=none"])
        .status();
    assert!(dd.is_ok_and(|status| status.success()), "dd iflag=nocache");
}

/// Fetches them at once; all their bytes in the time until the last one, in MB/s.
fn fetch_all(server: &Running, numbers: &[usize]) -> f64 {
    let began = Instant::now();
    let bytes: u64 = thread::scope(|scope| {
        let fetch = |number: &usize| {
            let path = path_of(server.kind, *number);
            scope.spawn(move || fetch(server.address, &path, &AtomicU64::new(0)))
        };
        let fetches: Vec<_> = numbers.iter().map(fetch).collect();
        let fetched = fetches.into_iter().map(|one| one.join().expect("a fetch"));
        fetched.sum()
    });
    bytes as f64 / began.elapsed().as_secs_f64() / 1e6
}

/// Fetches a path and forgets it; how many bytes came. `meanwhile` counts them too.
fn fetch(address: SocketAddr, path: &str, meanwhile: &AtomicU64) -> u64 {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!("GET {path} HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("a request");
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        let count = stream.read(&mut buffer).expect("bytes") as u64;
        if bytes == 0 {
            let start = String::from_utf8_lossy(&buffer[..count.min(200) as usize]).into_owned();
            assert!(start.starts_with("HTTP/1.1 200 "), "{start}");
        }
        if count == 0 {
            return bytes;
        }
        bytes += count;
        meanwhile.fetch_add(count, Ordering::Relaxed);
    }
}

/// One round of uploads, with questions beside them.
struct Round {
    upload_mb_s: f64,
    median_ms: f64,
    p99_ms: f64,
    /// Of the downloads beside them.
    fetch_mb_s: f64,
}

/// Eight uploads of 128 MiB and questions for health, alone and beside eight downloads.
fn beside_uploads(plan: &Plan, payload: &Payload) {
    if plan.only.is_some_and(|only| only != Kind::Ours) {
        return;
    }
    let bytes = plan.scaled(128 << 20);
    let bodies: Vec<Body> = (0..2 * SMALLER)
        .map(|n| Body::new(payload, n, bytes))
        .collect();
    let (stored, new) = bodies.split_at(SMALLER);
    let four = || ["uploads", "median", "p99", "downloads"].map(Series::new);
    let mut series = [four(), four()];
    let ground = Ground::new(plan);
    for round in 0..=plan.rounds {
        for (downloads, series) in [0, SMALLER].into_iter().zip(&mut series) {
            let server = Running::start(Kind::Ours, ground.fresh());
            put_all(&server, payload, stored, 4);
            let measured = one_round(&server, payload, new, downloads);
            server.stop();
            if round > 0 {
                let Round {
                    upload_mb_s,
                    median_ms,
                    p99_ms,
                    fetch_mb_s,
                } = measured;
                for (series, value) in
                    series
                        .iter_mut()
                        .zip([upload_mb_s, median_ms, p99_ms, fetch_mb_s])
                {
                    series.values.push(value);
                }
            }
        }
    }
    println!("\nfetch: {SMALLER} x 128 MiB uploaded, alone and beside {SMALLER} downloads");
    for (name, [upload, median, p99, fetched]) in ["alone", "beside downloads"].iter().zip(&series)
    {
        println!(
            "  {name:<16} uploads {:>20} MB/s   health median {:>18}   p99 {:>18} ms   downloads {} MB/s",
            spread(&upload.values),
            spread(&median.values),
            spread(&p99.values),
            short(fetched.median())
        );
    }
    let [alone, beside] = &series;
    let ratio = beside[0].median() / alone[0].median();
    verdict(
        "uploads, beside / alone",
        ratio,
        "",
        Goal::AtLeast(0.5, 0.7),
    );
    verdict(
        "health p99 beside downloads",
        beside[2].median(),
        "ms",
        Goal::AtMost(50.0, 20.0),
    );
}

/// The uploads, with a question after the other, and so many downloads that begin anew until the last
/// upload is answered.
fn one_round(server: &Running, payload: &Payload, new: &[Body], downloads: usize) -> Round {
    let is_over = AtomicBool::new(false);
    let fetched = AtomicU64::new(0);
    let began = Instant::now();
    let (took, waits_ms) = thread::scope(|scope| {
        let is_over = &is_over;
        let fetched = &fetched;
        for number in 0..downloads {
            let path = path_of(Kind::Ours, number);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    fetch(server.address, &path, fetched);
                }
            });
        }
        let asking = scope.spawn(move || ask_until(server, is_over));
        let took = put_from(SMALLER, server, payload, new, SMALLER);
        is_over.store(true, Ordering::Relaxed);
        (took, asking.join().expect("asking"))
    });
    let bytes: usize = new.iter().map(|body| body.bytes).sum();
    Round {
        upload_mb_s: bytes as f64 / took.as_secs_f64() / 1e6,
        median_ms: percentile(&waits_ms, 0.5),
        p99_ms: percentile(&waits_ms, 0.99),
        fetch_mb_s: fetched.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64() / 1e6,
    }
}
