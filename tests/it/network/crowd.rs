//! Twenty shippers, one receiver that restarts, and a road that counts: how often the receiver is
//! asked while it is away, when it comes back, and about what it holds.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use super::road::{Road, Trip};
use crate::client::PATIENCE;
use crate::lab::{Lab, Shipper, noise};
use crate::world::World;

pub const HOSTS: usize = 20;

/// What the road has seen.
pub struct Told {
    outages: Vec<Outage>,
    trips: Vec<Trip>,
    /// A column of the rate.
    step: Duration,
    probes: usize,
    closest_probes: Duration,
}

struct Outage {
    from: Duration,
    until: Duration,
    asked: usize,
    /// Until every host had been heard of again.
    all_back: Duration,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step_s = self.step.as_secs_f64();
        let mut rate: BTreeMap<u64, usize> = BTreeMap::new();
        for trip in &self.trips {
            *rate
                .entry((trip.at.as_secs_f64() / step_s) as u64)
                .or_default() += 1;
        }
        let last = rate.keys().last().copied().unwrap_or(0);
        let columns: Vec<String> = (0..=last)
            .map(|n| rate.get(&n).copied().unwrap_or(0).to_string())
            .collect();
        writeln!(
            f,
            "{HOSTS} shippers, requests in each {step_s:.0} s: {}",
            columns.join(" ")
        )?;
        for outage in &self.outages {
            writeln!(
                f,
                "  away from {:.1} s to {:.1} s: asked {} times; all hosts heard of again after {:.1} s",
                outage.from.as_secs_f64(),
                outage.until.as_secs_f64(),
                outage.asked,
                outage.all_back.as_secs_f64()
            )?;
        }
        write!(
            f,
            "  {} probes for {HOSTS} held commits, never two within {:.1} s of each other for one",
            self.probes,
            self.closest_probes.as_secs_f64()
        )
    }
}

/// Each host has episodes to ship, and some more before each outage; and several of a commit of
/// its own that the gate refuses.
pub fn run(outages: &[Duration], step: Duration) -> Told {
    let mut world = World::new();
    let road = Road::open("127.0.0.1:0", world.address(), Duration::from_millis(20));
    let url = format!("http://{}", road.address);
    let labs: Vec<Lab> = (0..HOSTS)
        .map(|n| Lab::of_host(&format!("lab-{n}"), &url, "scan_seconds = 1"))
        .collect();
    for (n, lab) in labs.iter().enumerate() {
        for held in ["held-1", "held-2", "held-3"] {
            lab.episode(held, &held_commit(n));
        }
    }
    let shippers: Vec<Shipper<'_>> = labs.iter().map(Lab::ship).collect();
    let mut told = Vec::new();
    for (round, time) in outages.iter().enumerate() {
        record(&labs, &world, &format!("before-{round}"));
        wait_until_shipped(&labs, PATIENCE);
        let from = road.now();
        road.close();
        world.kill();
        record(&labs, &world, &format!("during-{round}"));
        thread::sleep(*time);
        let until = road.now();
        world.start();
        road.reopen(world.address());
        let came_back = Instant::now();
        // Nobody waits longer than the cap, five minutes; after a short outage much less.
        wait_until_shipped(&labs, PATIENCE + 2 * (*time).min(Duration::from_secs(300)));
        told.push(Outage {
            from,
            until,
            asked: road
                .trips()
                .iter()
                .filter(|t| from <= t.at && t.at < until)
                .count(),
            all_back: came_back.elapsed(),
        });
    }
    check_the_store(&world, outages.len());
    drop(shippers);
    let trips = road.trips();
    let (probes, closest_probes) = check_the_holds(&trips);
    Told {
        outages: told,
        trips,
        step,
        probes,
        closest_probes,
    }
}

impl Told {
    /// A host that fails waits up to 1, 2, 4 ... 300 s, half of that on average: so it asks about
    /// log2(t) + 2 times in an outage of t seconds, and a crowd hardly more than twice that.
    pub fn assert_no_storm(&self) {
        for outage in &self.outages {
            let time_s = (outage.until - outage.from).as_secs_f64();
            let each = match time_s < 600.0 {
                true => time_s.max(1.0).log2() + 2.0,
                false => 11.0 + time_s / 150.0,
            };
            let most = 2.0 * each * HOSTS as f64;
            assert!(
                (outage.asked as f64) < most,
                "{} asked, {most:.0} are enough\n{self}",
                outage.asked
            );
            assert!(HOSTS <= outage.asked, "everybody noticed\n{self}");
        }
    }
}

fn held_commit(host: usize) -> String {
    format!("{:040x}", 0xabc0_0000 + host)
}

fn record(labs: &[Lab], world: &World, id: &str) {
    for (n, lab) in labs.iter().enumerate() {
        lab.episode_with(id, world.repo.head(), &noise(2000 + 5000 * n));
    }
}

fn wait_until_shipped(labs: &[Lab], patience: Duration) {
    let until = Instant::now() + patience;
    for lab in labs {
        while lab
            .names("episodes")
            .iter()
            .any(|id| !id.starts_with("held"))
        {
            assert!(Instant::now() < until, "not shipped\n{lab}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn check_the_store(world: &World, rounds: usize) {
    let rows = world.rows();
    assert_eq!(rows.len(), HOSTS * rounds * 2, "{world}");
    for n in 0..HOSTS {
        let host = format!("lab-{n}");
        for id in
            (0..rounds).flat_map(|round| [format!("before-{round}"), format!("during-{round}")])
        {
            let of = rows
                .iter()
                .filter(|row| row["host"] == host.as_str() && row["episode"] == id.as_str());
            assert_eq!(of.count(), 1, "{host} {id}");
            assert!(world.stored(&host, &id).is_some(), "{host} {id}");
        }
    }
}

/// No bytes are sent for a held commit, and it is asked about by one probe at a time, at growing
/// intervals. How many, and the closest two of one commit.
fn check_the_holds(trips: &[Trip]) -> (usize, Duration) {
    let (mut probes, mut closest) = (0, Duration::MAX);
    for host in 0..HOSTS {
        let commit = held_commit(host);
        let puts = trips.iter().filter(|trip| {
            // A report on the queue names the commit in its body.
            trip.line().starts_with("PUT /v1/episodes/")
                && trip.head.to_lowercase().contains(&commit)
        });
        // One that was cut off may be sent again; what was answered may not.
        let puts = puts.count();
        assert!(
            (1..=2).contains(&puts),
            "{puts} uploads of the held commit of host {host}"
        );
        let line = format!("GET /v1/gate/{commit} ");
        let asked: Vec<_> = trips
            .iter()
            .filter(|t| t.line().starts_with(&line))
            .collect();
        probes += asked.len();
        for pair in asked.windows(2) {
            closest = closest.min(pair[1].at - pair[0].at);
        }
    }
    assert!(
        Duration::from_millis(2400) <= closest,
        "two probes of one hold within {closest:?}"
    );
    (probes, closest)
}
