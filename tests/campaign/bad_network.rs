//! A bad network for longer than CI has time for: an outage of minutes, many cut connections, delay,
//! and a receiver that falls silent.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::network::line::{Line, Process, RECEIVER, Side};
use crate::network::road::Road;
use crate::network::{Pair, of_a_crowd};

/// Twenty shippers whose receiver is away for eight minutes: long enough for their longest waits.
pub fn crowd() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let outages = [Duration::from_secs(20), minutes(8), Duration::from_secs(20)];
    println!("{}", of_a_crowd(&outages, Duration::from_secs(10)));
}

pub fn line() {
    if let Some(why) = Line::missing() {
        return println!("skipped: a bad line between two hosts, since {why}");
    }
    let pair = Pair::new(5);
    for percent in [0, 2, 10] {
        println!("{}", pair.lossy(percent, &[20_000, 20_000, 1_000_000]));
    }
    println!("{}", pair.cut_connections(10));
    for seconds in [1, 5, 20] {
        println!("{}", pair.pulled_plug(Duration::from_secs(seconds)));
    }
    println!("{}", pair.silence_for_the_receiver());
    println!("{}", silence_for_the_shipper(&pair));
    println!("{}", delay(&pair, Duration::from_millis(400)));
    pair.check_all();
}

/// The receiver falls silent in the middle of a body, without an end of the connection: the shipper
/// gives up by itself.
fn silence_for_the_shipper(pair: &Pair) -> String {
    let deferrals = || pair.shipper.log().matches("event=receiver_away").count();
    let before = deferrals();
    pair.record(2_000_000);
    pair.wait_for_a_partial();
    pair.line.lose(100);
    let start = Instant::now();
    while deferrals() == before {
        assert!(
            start.elapsed() < Duration::from_secs(300),
            "the shipper waits for ever\n{}",
            pair.lab
        );
        thread::sleep(Duration::from_millis(50));
    }
    let gave_up_s = start.elapsed().as_secs_f64();
    pair.line.lose(0);
    let took_s = pair.wait_until_shipped(Duration::from_secs(300));
    format!(
        "receiver silent in a body: the shipper gave up after {gave_up_s:.1} s; line back: shipped {took_s:.1} s after"
    )
}

/// Ships over a relay that delays every piece. A kernel may have no netem, so the relay is this
/// program itself, started in the shipper's network namespace.
fn delay(pair: &Pair, delay: Duration) -> String {
    let at = "127.0.0.1:8491";
    let relay = Command::new("ip")
        .args(["netns", "exec", &pair.line.namespace(Side::Shipper)])
        .arg(std::env::current_exe().unwrap())
        .args([
            "relay",
            at,
            &format!("{RECEIVER}:8490"),
            &delay.as_millis().to_string(),
        ])
        .stdin(Stdio::null())
        .spawn();
    let log = pair.world.dir().join("relay.log");
    let _relay = Process {
        child: relay.unwrap(),
        log,
    };
    let lab = Lab::of_host("lab-2", &format!("http://{at}"), "scan_seconds = 1");
    let shipper = pair.line.ship(&lab);
    let start = Instant::now();
    for n in 0..5 {
        let bytes = crate::lab::noise(100_000);
        lab.episode_with(&format!("ep-{n}"), pair.world.repo.head(), &bytes);
    }
    while !lab.names("episodes").is_empty() {
        assert!(start.elapsed() < Duration::from_secs(300), "{lab}");
        thread::sleep(Duration::from_millis(50));
    }
    let took_s = start.elapsed().as_secs_f64();
    let failed = shipper.log().matches("event=receiver_away").count();
    let rows = pair.world.rows();
    for n in 0..5 {
        let receipt = lab.json(&format!("shipped/ep-{n}.receipt.json"));
        let rows = rows.iter().filter(|row| **row == receipt).count();
        let stored = pair.world.stored("lab-2", &format!("ep-{n}"));
        let digest = stored.map(|bytes| crate::client::sha256(&bytes));
        assert_eq!(rows, 1, "{receipt}\n{lab}");
        assert_eq!(receipt["sha256"].as_str(), digest.as_deref(), "{lab}");
    }
    format!(
        "{} ms each way, by a relay: 5 episodes of 100 kB in {took_s:.1} s, {failed} failed attempts",
        delay.as_millis()
    )
}

/// The relay, `relay AT TO DELAY_MS`. It runs until it is killed.
pub fn relay(words: &[String]) {
    let delay = Duration::from_millis(words[2].parse().unwrap());
    let _road = Road::open(&words[0], words[1].parse().unwrap(), delay);
    loop {
        thread::park();
    }
}
