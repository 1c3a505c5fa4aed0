//! What following Forgejo costs: a refresh that finds nothing new, and one that lists a hundred
//! commits while the receiver answers requests. A stand-in for Forgejo answers from memory and counts.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::ground::Ground;
use crate::load::Connection;
use crate::report::{Goal, percentile, short, verdict};
use crate::servers::{self, Running};

const COMMITS: usize = 100;
/// The commits of one page.
const PAGE: usize = 50;

/// The part of Forgejo that the gate asks: the head of a branch, and pages of commits, each about as
/// long as a real one.
struct StandIn {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// Whether the branch has a push before each request for its head.
    moves: AtomicBool,
    heads: AtomicU64,
    /// The target of each request, and the bytes of its answer.
    asked: Mutex<Vec<(String, usize)>>,
}

impl StandIn {
    fn serve() -> StandIn {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            moves: AtomicBool::new(false),
            heads: AtomicU64::new(1),
            asked: Mutex::new(Vec::new()),
        });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&for_thread);
                thread::spawn(move || shared.answer_all(&stream));
            }
        });
        StandIn { url, shared }
    }

    fn asked(&self) -> Vec<(String, usize)> {
        self.shared.asked.lock().expect("no panic").clone()
    }
}

impl Shared {
    fn answer_all(&self, stream: &TcpStream) {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        while let Some(first) = lines.next() {
            lines.by_ref().take_while(|line| !line.is_empty()).count();
            let target = first.split(' ').nth(1).unwrap_or_default();
            let body = self.body(target);
            let asked = (target.to_owned(), body.len());
            self.asked.lock().expect("no panic").push(asked);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let mut stream = stream;
            if stream.write_all((head + &body).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn body(&self, target: &str) -> String {
        if target.contains("/git/refs/") {
            let step = u64::from(self.moves.load(Ordering::Relaxed));
            let head = self.heads.fetch_add(step, Ordering::Relaxed) + step;
            let sha = commit(head, 0);
            return format!(
                r#"[{{"ref":"refs/heads/main","url":"","object":{{"type":"commit","sha":"{sha}","url":""}}}}]"#
            );
        }
        let page = target.split("page=").nth(1);
        let page = page.and_then(|rest| rest.split('&').next()?.parse::<usize>().ok());
        let first = (page.unwrap_or(1) - 1) * PAGE;
        let head = self.heads.load(Ordering::Relaxed);
        let elements: Vec<String> = (first..(first + PAGE).min(COMMITS))
            .map(|n| element(&commit(head, n)))
            .collect();
        format!("[{}]", elements.join(","))
    }
}

fn commit(head: u64, n: usize) -> String {
    format!("{head:016x}{n:024x}")
}

/// A commit in Forgejo's list, about as long as a real one, with other hashes in it as well.
fn element(sha: &str) -> String {
    let person = r#"{"id":1,"login":"lab","full_name":"","email":"lab@localhost","avatar_url":"http://pi:3000/avatars/0f0f0f0f0f0f0f0f","language":"","is_admin":false,"last_login":"0001-01-01T00:00:00Z","created":"2024-01-01T00:00:00Z","restricted":false,"active":false,"visibility":"public","followers_count":0,"following_count":0,"starred_repos_count":0,"username":"lab"}"#;
    let message = "orchestrator: one more sample of every channel\\n\\n".repeat(4);
    let other = "0f".repeat(20);
    format!(
        r#"{{"url":"http://pi:3000/api/v1/repos/lab/cis490/git/commits/{sha}","sha":"{sha}","created":"2026-01-01T00:00:00Z","html_url":"http://pi:3000/lab/cis490/commit/{sha}","commit":{{"url":"","author":{{"name":"lab","email":"lab@localhost","date":"2026-01-01T00:00:00Z"}},"committer":{{"name":"lab","email":"lab@localhost","date":"2026-01-01T00:00:00Z"}},"message":"{message}","tree":{{"url":"","sha":"{other}","created":"2026-01-01T00:00:00Z"}},"verification":null}},"author":{person},"committer":{person},"parents":[{{"url":"","sha":"{other}","created":"0001-01-01T00:00:00Z"}}],"files":null,"stats":null}}"#
    )
}

/// Measures for ten seconds each: a branch at rest, then one that moves before every refresh.
pub fn run(plan: &Plan) {
    let ground = Ground::new(plan);
    let dir = ground.fresh();
    let forgejo = StandIn::serve();
    let address = servers::free_address();
    servers::prepare_ours(&dir, address);
    let path = dir.join("receiver.toml");
    let config = fs::read_to_string(&path).expect("it was just written");
    let config = config.replace("refresh_seconds = 3600", "refresh_seconds = 1");
    let more = format!(
        "\nforgejo_url = \"{}\"\nrepo_owner = \"lab\"\nrepo_name = \"cis490\"\n",
        forgejo.url
    );
    let refreshes = plan.scaled(10).max(3);
    let rest_ms = cpu_ms_at_rest(&dir, address, refreshes);
    fs::write(&path, config + &more).expect("a file");
    let server = Running::start_prepared(dir, address);
    let listings = |asked: &[(String, usize)]| {
        let is_page = |one: &&(String, usize)| one.0.contains("/commits?");
        asked.iter().filter(is_page).count()
    };
    let wait_until = |enough: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !enough() {
            assert!(began.elapsed() < Duration::from_secs(60), "no refreshes");
            thread::sleep(Duration::from_millis(5));
        }
    };
    // The first refresh lists the commits, whatever window is on the disk.
    wait_until(&|| listings(&forgejo.asked()) >= 2);
    thread::sleep(Duration::from_millis(500));
    println!("\nrefresh: what following Forgejo costs");

    // No requests at first: the CPU time beyond that of a receiver at rest is the gate's.
    let cost = |seconds: usize| {
        let asked_before = forgejo.asked().len();
        let cpu_ns_before = server.cpu_ns();
        thread::sleep(Duration::from_secs(seconds as u64));
        let cpu_ns = server.cpu_ns() - cpu_ns_before;
        (forgejo.asked().split_off(asked_before), cpu_ns as f64 / 1e6)
    };
    let (asked, cpu_ms) = cost(refreshes);
    assert_eq!(listings(&asked), 0, "nothing has moved");
    let bytes = asked.iter().map(|one| one.1).max().unwrap_or(0);
    println!(
        "  nothing new: {} requests in {refreshes} s, the largest answer {bytes} bytes",
        asked.len()
    );
    let per_refresh = asked.len() as f64 / refreshes as f64;
    verdict(
        "requests a refresh",
        per_refresh,
        "",
        Goal::AtMost(1.1, 1.1),
    );
    println!(
        "  our CPU: {} ms a second, {} of them without a refresh",
        short(cpu_ms / refreshes as f64),
        short(rest_ms / refreshes as f64)
    );
    let cpu_ms = (cpu_ms - rest_ms) / asked.len() as f64;
    verdict("our CPU a refresh", cpu_ms, "ms", Goal::AtMost(1.0, 1.0));
    let waits_at_rest = ask_health_for(&server, refreshes);

    forgejo.shared.moves.store(true, Ordering::Relaxed);
    let (asked, cpu_ms) = cost(refreshes);
    let lists = listings(&asked) as f64 / 2.0;
    let waits_listing = ask_health_for(&server, refreshes);
    server.stop();
    println!(
        "  a push a second: {} lists of {COMMITS} commits, {} ms of CPU each",
        short(lists),
        short(cpu_ms / lists)
    );
    for (what, waits_ms) in [("at rest", &waits_at_rest), ("listing", &waits_listing)] {
        let of = |share| short(percentile(waits_ms, share));
        println!(
            "  health, {what}: median {} ms, p99 {} ms, longest {} ms",
            of(0.5),
            of(0.99),
            of(1.0)
        );
    }
    let ratio = percentile(&waits_listing, 0.99) / percentile(&waits_at_rest, 0.99);
    verdict(
        "health p99, listing / at rest",
        ratio,
        "",
        Goal::AtMost(1.5, 1.5),
    );
}

/// The CPU time of a receiver without requests and without Forgejo: that of its watchdogs.
fn cpu_ms_at_rest(dir: &Path, address: SocketAddr, seconds: usize) -> f64 {
    let server = Running::start_prepared(dir.to_owned(), address);
    thread::sleep(Duration::from_millis(500));
    let before = server.cpu_ns();
    thread::sleep(Duration::from_secs(seconds as u64));
    let used_ns = server.cpu_ns() - before;
    server.stop();
    used_ns as f64 / 1e6
}

/// The time of each request for health over so many seconds, in milliseconds, ascending.
fn ask_health_for(server: &Running, seconds: usize) -> Vec<f64> {
    let mut connection = Connection::open(server.address).expect("a connection");
    let until = Instant::now() + Duration::from_secs(seconds as u64);
    let mut waits_ms = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        connection
            .get(server.kind.health_path())
            .expect("an answer");
        waits_ms.push(began.elapsed().as_secs_f64() * 1e3);
        thread::sleep(Duration::from_millis(1));
    }
    waits_ms.sort_by(f64::total_cmp);
    waits_ms
}
