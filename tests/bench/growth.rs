//! What a large index costs: a start, `status` beside a running receiver and after its end, the first
//! page and the first receipt, a list's first and last page, many readers of it, and memory. `CIS490_BEFORE` names an earlier build of this program, which
//! is measured in turns with this one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::ground::Ground;
use crate::load::Connection;
use crate::report::{Goal, median, short, spread, verdict};
use crate::servers::{self, Running};

const ROWS: [usize; 3] = [10_000, 200_000, 2_000_000];
const HOSTS: usize = 24;
/// Of a list: the most that a page has.
const PAGE_ROWS: usize = 1000;
/// How often a page of a list is asked for, which takes milliseconds.
const LISTS: usize = 10;
/// Readers that page through a list at the same time, and how many pages each reads.
const READERS: usize = 50;
const PAGES_OF_A_READER: usize = 40;

/// Each figure once a round.
#[derive(Default)]
struct Figures {
    start_ms: Vec<f64>,
    status_running_ms: Vec<f64>,
    status_stopped_ms: Vec<f64>,
    page_ms: Vec<f64>,
    receipt_ms: Vec<f64>,
    rss_mib: Vec<f64>,
    peak_mib: Vec<f64>,
    list_first_ms: Vec<f64>,
    list_last_ms: Vec<f64>,
    /// What 50 readers of the list add to the resident memory.
    readers_mib: Vec<f64>,
    pages_a_second: Vec<f64>,
}

pub fn run(plan: &Plan) {
    if !plan.wants("growth") {
        return;
    }
    let ground = Ground::new(plan);
    let before = std::env::var_os("CIS490_BEFORE").map(PathBuf::from);
    println!("\ngrowth: an index in the page cache; each figure is a median with its spread");
    for rows in ROWS.map(|rows| plan.scaled(rows)) {
        let dir = ground.fresh();
        let address = servers::free_address();
        servers::prepare_ours(&dir, address);
        let index = dir.join("data/index.jsonl");
        write_index(&index, rows).expect("an index");
        let bytes = index.metadata().expect("it was written").len();
        println!("  {rows} rows, {} MB", short(bytes as f64 / 1e6));
        let mut contestants = vec![("cis490", servers::our_program(), Figures::default())];
        contestants.extend((before.clone()).map(|before| ("before", before, Figures::default())));
        // The first round brings the index into the page cache, and does not count.
        for round in 0..=plan.rounds {
            for (_, program, figures) in &mut contestants {
                let mut of_round = Figures::default();
                measure(program, &dir, rows, &mut of_round, address);
                if round > 0 {
                    figures.extend(of_round);
                }
            }
        }
        for (name, _, figures) in &contestants {
            figures.print(name);
        }
        if rows == ROWS[2] {
            let ours = &contestants[0].2;
            judge("exec to first answer", &ours.start_ms, 1200.0);
            judge("status, running", &ours.status_running_ms, 50.0);
            let ratio = median(&ours.list_last_ms) / median(&ours.list_first_ms);
            let bound = Goal::AtMost(1.5, 1.25);
            verdict("a list's last page / its first", ratio, "", bound);
            let added = median(&ours.readers_mib);
            let bound = Goal::AtMost(32.0, 32.0);
            verdict("what 50 readers of it add", added, "MiB", bound);
        }
    }
}

fn judge(what: &str, values_ms: &[f64], most: f64) {
    verdict(what, median(values_ms), "ms", Goal::AtMost(most, most));
}

/// One start and one end of the program on the store in `dir`.
fn measure(program: &Path, dir: &Path, rows: usize, figures: &mut Figures, address: SocketAddr) {
    let server = Running::start_prepared_as(program, dir.to_owned(), address);
    figures.start_ms.push(millis(server.started_in));
    let usage = server.usage();
    figures.rss_mib.push(usage.rss_kib as f64 / 1024.0);
    figures.peak_mib.push(usage.peak_kib as f64 / 1024.0);
    let get = |path: &str| {
        let began = Instant::now();
        let status = Connection::open(address).and_then(|mut connection| connection.get(path));
        assert_eq!(status.expect("an answer"), 200, "{path}");
        millis(began.elapsed())
    };
    figures.page_ms.push(get("/"));
    let (host, episode) = name(rows / 2);
    // The stand-in for the file of the row: a receipt is answered only where there is one.
    let folder = dir.join("data/episodes").join(&host);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(format!("{episode}.tar.zst")), b"").expect("a file");
    figures
        .receipt_ms
        .push(get(&format!("/v1/episodes/{host}/{episode}")));
    figures.status_running_ms.push(status(program, dir, rows));
    measure_lists(&server, rows, figures);
    drop(server);
    figures.status_stopped_ms.push(status(program, dir, rows));
}

/// Pages of the list, first by one reader and then by many.
fn measure_lists(server: &Running, rows: usize, figures: &mut Figures) {
    // An earlier build may have no list.
    if list(server.address, "").is_none() {
        return;
    }
    let tail = rows.min(PAGE_ROWS);
    let last = list(server.address, &format!("?tail={tail}")).expect("a page");
    let cursor = format!("?cursor={}", last.first);
    for _ in 0..LISTS {
        for (query, waits) in [
            ("", &mut figures.list_first_ms),
            (&*cursor, &mut figures.list_last_ms),
        ] {
            let began = Instant::now();
            let page = list(server.address, query).expect("a page");
            waits.push(millis(began.elapsed()));
            assert_eq!(page.rows, tail, "{query}");
        }
    }
    let before = server.usage();
    let read = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| read_pages(server.address, &read));
        }
    });
    let pages = read.load(Ordering::Relaxed) as f64;
    figures
        .pages_a_second
        .push(pages / began.elapsed().as_secs_f64());
    let added = server.usage().peak_kib.saturating_sub(before.rss_kib);
    figures.readers_mib.push(added as f64 / 1024.0);
}

/// Reads the list from its start, page by page. A reader without a place asks again.
fn read_pages(address: SocketAddr, read: &AtomicUsize) {
    let mut query = String::new();
    for _ in 0..PAGES_OF_A_READER {
        let page = loop {
            match list(address, &query) {
                Some(page) => break page,
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        read.fetch_add(1, Ordering::Relaxed);
        if page.rows < PAGE_ROWS {
            return;
        }
        query = format!("?cursor={}", page.next);
    }
}

/// One page of a list.
struct ListPage {
    rows: usize,
    /// The cursor of its first row.
    first: usize,
    /// The cursor of the page that follows.
    next: usize,
}

/// Asks for a page; `None` if the answer is not 200.
fn list(address: SocketAddr, query: &str) -> Option<ListPage> {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let head = format!("GET /v1/episodes{query} HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    if !head.starts_with("HTTP/1.1 200 ") {
        return None;
    }
    let next = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("X-Cis490-Next: "));
    let next: usize = next?.parse().ok()?;
    Some(ListPage {
        rows: body.lines().count(),
        first: next - body.len(),
        next,
    })
}

/// How long `status --json` takes. Its figures must be right.
fn status(program: &Path, dir: &Path, rows: usize) -> f64 {
    let began = Instant::now();
    let output = Command::new(program)
        .args(["status", "--json", "--config"])
        .arg(dir.join("receiver.toml"))
        .output()
        .expect("status runs");
    let took = began.elapsed();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["episodes"], rows, "{report:#}");
    assert_eq!(report["hosts"].as_array().map(Vec::len), Some(HOSTS));
    millis(took)
}

impl Figures {
    fn all(&mut self) -> [&mut Vec<f64>; 11] {
        [
            &mut self.start_ms,
            &mut self.status_running_ms,
            &mut self.status_stopped_ms,
            &mut self.page_ms,
            &mut self.receipt_ms,
            &mut self.rss_mib,
            &mut self.peak_mib,
            &mut self.list_first_ms,
            &mut self.list_last_ms,
            &mut self.readers_mib,
            &mut self.pages_a_second,
        ]
    }

    fn extend(&mut self, mut other: Figures) {
        for (ours, more) in self.all().into_iter().zip(other.all()) {
            ours.append(more);
        }
    }

    fn print(&self, name: &str) {
        println!(
            "    {name:<8} start {} ms   status: running {} ms, stopped {} ms",
            spread(&self.start_ms),
            spread(&self.status_running_ms),
            spread(&self.status_stopped_ms)
        );
        println!(
            "    {:<8} first page {} ms   first receipt {} ms   memory {} MiB, at the peak {} MiB",
            "",
            spread(&self.page_ms),
            spread(&self.receipt_ms),
            spread(&self.rss_mib),
            spread(&self.peak_mib)
        );
        if !self.list_first_ms.is_empty() {
            println!(
                "    {:<8} list: first page {} ms, last page {} ms   {READERS} readers: {} pages/s, memory +{} MiB",
                "",
                spread(&self.list_first_ms),
                spread(&self.list_last_ms),
                spread(&self.pages_a_second),
                spread(&self.readers_mib)
            );
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The host and the episode of a row.
fn name(row: usize) -> (String, String) {
    (
        format!("lab-{}", row % HOSTS + 1),
        format!("20261123T234612Z-{row:07x}"),
    )
}

/// An index as the receiver writes it.
fn write_index(path: &Path, rows: usize) -> io::Result<()> {
    let mut index = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for row in 1..=rows {
        let (host, episode) = name(row);
        // As many commits as a window has.
        let commit = format!("{:040x}", row * 100 / rows);
        let received_at = received_at(row);
        writeln!(
            index,
            r#"{{"seq":{row},"host":"{host}","episode":"{episode}","bytes":{},"sha256":"{row:064x}","commit":"{commit}","dirty":false,"received_at":"{received_at}","path":"episodes/{host}/{episode}.tar.zst","gate":{{"position":1,"head_commit":"{commit}","source":"forgejo"}}}}"#,
            40_000 + row % 1000,
        )?;
    }
    index.into_inner()?.sync_all()
}

/// The time of a row: one every twenty seconds since the beginning of 2025, months having 28 days here.
fn received_at(row: usize) -> String {
    let s = row * 20;
    let day = s / 86_400;
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        2025 + day / 336,
        day / 28 % 12 + 1,
        day % 28 + 1,
        s / 3600 % 24,
        s / 60 % 60,
        s % 60
    )
}
