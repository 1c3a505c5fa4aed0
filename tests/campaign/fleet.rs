//! Two thousand lab hosts and one receiver: each reports its state, asks the gate and uploads small episodes,
//! on connections of its own, from an address of its own, with a token of its own. First at the pace of real
//! shippers, then all at once, as after a receiver that was away.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Answer, Client, sha256};
use crate::dice::{Dice, noise};
use crate::world::World;

const HOSTS: usize = 2000;
/// A shipper reports once a minute. One episode a minute is 1440 a day and host, more than any lab has today.
const REPORT_EVERY: Duration = Duration::from_secs(60);
const UPLOAD_EVERY: Duration = Duration::from_secs(60);
/// A host with held episodes asks each 150 to 300 s.
const ASK_EVERY: Duration = Duration::from_secs(225);
const EPISODE_BYTES: usize = 64 << 10;
const DRIVERS: usize = 8;
/// Of the crowd: hosts that come at the same moment.
const CROWD: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Report,
    Ask,
    Upload,
}

const ACTS: [Act; 3] = [Act::Report, Act::Ask, Act::Upload];

/// For a minute and a half, or as long as `CIS490_FLEET_SECONDS` says.
pub fn of_two_thousand() {
    let seconds = std::env::var("CIS490_FLEET_SECONDS").map_or(90, |text| text.parse().unwrap());
    let began = Instant::now();
    let mut world = fleet();
    println!(
        "fleet: {HOSTS} hosts configured, {} KiB before the first request, {:.1} s",
        world.memory_kib("VmRSS:"),
        began.elapsed().as_secs_f64()
    );
    let mut uploads = at_its_pace(&mut world, Duration::from_secs(seconds));
    uploads += all_at_once(&world);
    assert_eq!(world.rows().len(), uploads, "{world}");
    println!(
        "fleet: {uploads} episodes of {HOSTS} hosts stored, {} KiB at the peak",
        world.memory_kib("VmHWM:")
    );
}

fn token(host: usize) -> String {
    sha256(format!("the token of host {host}").as_bytes())
}

fn fleet() -> World {
    let mut world = World::prepared("");
    let tables: String = (0..HOSTS)
        .map(|host| {
            let digest = sha256(token(host).as_bytes());
            format!("[[host]]\nid = \"lab-{host}\"\ntoken_sha256 = \"{digest}\"\n")
        })
        .collect();
    world.add_tables(&tables);
    world.start();
    world
}

/// What one phase has measured: how long each act took.
#[derive(Default)]
struct Waits([Vec<f64>; 3]);

impl Waits {
    fn add(&mut self, act: Act, wait: Duration) {
        self.0[act as usize].push(wait.as_secs_f64() * 1e3);
    }

    fn print(&mut self, phase: &str) {
        for act in ACTS {
            let waits = &mut self.0[act as usize];
            waits.sort_by(f64::total_cmp);
            let at =
                |share: f64| waits[((waits.len() as f64 * share) as usize).min(waits.len() - 1)];
            println!(
                "fleet, {phase}: {} x {act:?}: median {:.2} ms, p99 {:.2} ms, worst {:.2} ms",
                waits.len(),
                at(0.5),
                at(0.99),
                at(1.0)
            );
        }
    }
}

/// Each host at the pace of a real shipper; a push in the middle. How many episodes were uploaded.
fn at_its_pace(world: &mut World, time: Duration) -> usize {
    let ticks = world.cpu_ticks();
    let began = Instant::now();
    let first = phase(world, time / 2, 0);
    world.repo.commit();
    let second = phase(world, time / 2, 1);
    let took_s = began.elapsed().as_secs_f64();
    let cpu_s = (world.cpu_ticks() - ticks) as f64 / 100.0;
    let mut waits = first;
    for (all, more) in waits.0.iter_mut().zip(second.0) {
        all.extend(more);
    }
    waits.print("at its pace");
    let acts: usize = waits.0.iter().map(Vec::len).sum();
    println!(
        "fleet, at its pace: {:.1} requests a second, {:.1} % of one core, {} KiB, {} threads",
        acts as f64 / took_s,
        cpu_s / took_s * 100.0,
        world.memory_kib("VmRSS:"),
        world.memory_kib("Threads:")
    );
    looks(world);
    waits.0[Act::Upload as usize].len()
}

/// What people and Prometheus look at, with so many hosts.
fn looks(world: &World) {
    for path in ["/", "/metrics", "/v1/status"] {
        let began = Instant::now();
        let answer = world.get(path);
        assert_eq!(answer.status, 200, "{path}\n{world}");
        println!(
            "fleet: GET {path}: {} KiB in {:.1} ms",
            answer.body.len() >> 10,
            began.elapsed().as_secs_f64() * 1e3
        );
    }
}

/// Acts in the order of their times, each at its time.
fn phase(world: &World, time: Duration, number: u64) -> Waits {
    let mut dice = Dice::new(490 + number);
    let mut plan = Vec::new();
    for (act, every) in [
        (Act::Report, REPORT_EVERY),
        (Act::Ask, ASK_EVERY),
        (Act::Upload, UPLOAD_EVERY),
    ] {
        for host in 0..HOSTS {
            let mut at = Duration::from_micros(dice.below(every.as_micros() as u64));
            let mut nth = 0;
            while at < time {
                plan.push((at, act, host, nth));
                at += every;
                nth += 1;
            }
        }
    }
    plan.sort_by_key(|(at, ..)| *at);
    let (next, waits, began) = (
        AtomicUsize::new(0),
        Mutex::new(Waits::default()),
        Instant::now(),
    );
    thread::scope(|scope| {
        for _ in 0..DRIVERS {
            scope.spawn(|| {
                while let Some((at, act, host, nth)) =
                    plan.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    thread::sleep(at.saturating_sub(began.elapsed()));
                    let wait = do_one(world, *act, *host, &format!("p{number}-{nth}"));
                    waits.lock().unwrap().add(*act, wait);
                }
            });
        }
    });
    waits.into_inner().unwrap()
}

/// Every host does everything, 64 hosts at a time, without a pause. A host that is asked to come again later
/// does so, as shippers do. How many episodes were uploaded.
fn all_at_once(world: &World) -> usize {
    let ticks = world.cpu_ticks();
    let began = Instant::now();
    let acts = (0..HOSTS).flat_map(|host| ACTS.map(|act| (began, host, act)));
    let open = Mutex::new(acts.map(Reverse).collect::<BinaryHeap<_>>());
    let waits = Mutex::new(Waits::default());
    let put_off = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                while let Some(Reverse((due, host, act))) = pop(&open) {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    match try_one(world, act, host, "crowd") {
                        Ok(wait) => waits.lock().unwrap().add(act, wait),
                        Err(later) => {
                            put_off.fetch_add(1, Ordering::Relaxed);
                            let again = Reverse((Instant::now() + later, host, act));
                            open.lock().unwrap().push(again);
                        }
                    }
                }
            });
        }
    });
    let took_s = began.elapsed().as_secs_f64();
    let cpu_s = (world.cpu_ticks() - ticks) as f64 / 100.0;
    waits.into_inner().unwrap().print("all at once");
    println!(
        "fleet, all at once: {HOSTS} hosts served in {took_s:.1} s, {} requests put off by 503, {cpu_s:.1} s of CPU, {} KiB",
        put_off.into_inner(),
        world.memory_kib("VmRSS:")
    );
    HOSTS
}

type Open = Mutex<BinaryHeap<Reverse<(Instant, usize, Act)>>>;

fn pop(open: &Open) -> Option<Reverse<(Instant, usize, Act)>> {
    open.lock().unwrap().pop()
}

/// As [`try_one`], of a receiver that is not busy.
fn do_one(world: &World, act: Act, host: usize, episode: &str) -> Duration {
    let done = try_one(world, act, host, episode);
    done.unwrap_or_else(|_| panic!("{act:?} of {host} was put off\n{}", world.log()))
}

/// The time from the connection to the answer, which must be the right one, or how long the host is to wait.
fn try_one(world: &World, act: Act, host: usize, episode: &str) -> Result<Duration, Duration> {
    let request = match act {
        Act::Report => report(host),
        Act::Ask => b"GET /v1/gate HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n".to_vec(),
        Act::Upload => {
            let body = noise(host as u64, EPISODE_BYTES);
            let put = world
                .good()
                .path(&format!("/v1/episodes/lab-{host}/{episode}"));
            put.body(&body).extra(&authorization(host)).bytes()
        }
    };
    let want = match act {
        Act::Report => 204,
        Act::Ask => 200,
        Act::Upload => 201,
    };
    let began = Instant::now();
    let answer = ask(world, host, &request);
    let wait = began.elapsed();
    if answer.status == 503 {
        let seconds = answer.header("Retry-After").unwrap().parse().unwrap();
        return Err(Duration::from_secs(seconds));
    }
    assert_eq!(
        answer.status,
        want,
        "{act:?} of {host}: {answer:?}\n{}",
        world.log()
    );
    Ok(wait)
}

fn ask(world: &World, host: usize, request: &[u8]) -> Answer {
    let source = Ipv4Addr::new(127, 49, (host / 250) as u8, (1 + host % 250) as u8);
    let mut client = Client::connect_from(world.address(), source);
    client.send(request).unwrap();
    client
        .answer()
        .unwrap_or_else(|| panic!("no answer\n{}", world.log()))
}

fn authorization(host: usize) -> String {
    format!("Authorization: Bearer {}\r\n", token(host))
}

/// As a shipper with some episodes held and one on its way reports.
fn report(host: usize) -> Vec<u8> {
    let body = format!(
        r#"{{"version":"0.1.0","waiting":{{"episodes":{host},"bytes":12000000,"oldest_at":"2026-11-29T00:00:00Z"}},"held":[{{"commit":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","episodes":2,"since":"2026-11-29T00:00:00Z"}}],"refused":[],"uploading":{{"episode":"ep-{host}","bytes_sent":43000000,"bytes":100000000,"bytes_per_second":3000000}},"next_try_at":null,"last_success_at":"2026-11-29T00:00:00Z","free_bytes":70000000000,"packing_stopped_since":null}}"#
    );
    format!(
        "PUT /v1/hosts/lab-{host}/state HTTP/1.1\r\nHost: pi\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n{body}",
        body.len(),
        authorization(host)
    )
    .into_bytes()
}
