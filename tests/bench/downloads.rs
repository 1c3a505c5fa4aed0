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
            scope.spawn(move || fetch(server.address, &path, |_| true))
        };
        let fetches: Vec<_> = numbers.iter().map(fetch).collect();
        let fetched = fetches.into_iter().map(|one| one.join().expect("a fetch"));
        fetched.sum()
    });
    bytes as f64 / began.elapsed().as_secs_f64() / 1e6
}

/// Fetches a path and forgets it; how many bytes came. After each read `goes_on` hears how many came so far,
/// and says whether to read on.
fn fetch(address: SocketAddr, path: &str, mut goes_on: impl FnMut(u64) -> bool) -> u64 {
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
        bytes += count;
        if count == 0 || !goes_on(bytes) {
            return bytes;
        }
    }
}

/// What runs beside the uploads.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    /// Downloads that together fill a line of so many bytes a second; without a line, as fast as they go.
    Downloads(Option<f64>),
}

impl Beside {
    /// The Pi has a gigabit line.
    const ALL: [(&str, Beside); 3] = [
        ("alone", Beside::Nothing),
        ("a gigabit line", Beside::Downloads(Some(118e6))),
        ("without a line", Beside::Downloads(None)),
    ];
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
    let mut series = [four(), four(), four()];
    let ground = Ground::new(plan);
    for round in 0..=plan.rounds {
        for ((_, beside), series) in Beside::ALL.into_iter().zip(&mut series) {
            let server = Running::start(Kind::Ours, ground.fresh());
            put_all(&server, payload, stored, 4);
            let measured = one_round(&server, payload, new, beside);
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
    for (name, [upload, median, p99, fetched]) in
        Beside::ALL.iter().map(|(name, _)| name).zip(&series)
    {
        println!(
            "  {name:<16} uploads {:>20} MB/s   health median {:>18}   p99 {:>18} ms   downloads {} MB/s",
            spread(&upload.values),
            spread(&median.values),
            spread(&p99.values),
            short(fetched.median())
        );
    }
    // Without a goal: both ends share the processors here, where a network would be between them.
    let [alone, line, _] = &series;
    let ratio = line[0].median() / alone[0].median();
    println!(
        "  uploads, beside a gigabit line's downloads / alone {}",
        short(ratio)
    );
}

/// The uploads, with one question after the other, beside downloads that begin anew until the last upload is
/// answered.
fn one_round(server: &Running, payload: &Payload, new: &[Body], beside: Beside) -> Round {
    let is_over = AtomicBool::new(false);
    let fetched = AtomicU64::new(0);
    let began = Instant::now();
    let (took, waits_ms) = thread::scope(|scope| {
        let is_over = &is_over;
        if let Beside::Downloads(line) = beside {
            let share = line.map(|line| line / SMALLER as f64);
            for number in 0..SMALLER {
                let fetched = &fetched;
                scope.spawn(move || fetch_until(is_over, server, number, share, fetched));
            }
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

/// Fetches an episode again and again, at `rate` bytes a second at most, and counts its bytes.
fn fetch_until(
    is_over: &AtomicBool,
    server: &Running,
    number: usize,
    rate: Option<f64>,
    fetched: &AtomicU64,
) {
    let path = path_of(Kind::Ours, number);
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let bytes = fetch(server.address, &path, |bytes| {
            if let Some(rate) = rate {
                let due = Duration::from_secs_f64(bytes as f64 / rate);
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
            !is_over.load(Ordering::Relaxed)
        });
        fetched.fetch_add(bytes, Ordering::Relaxed);
    }
}
