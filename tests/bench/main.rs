//! The benchmark: `just bench [NAME...]`. It runs this program and what a user would pick instead in
//! turns, and prints medians, spread and ratios. It never fails for time: a slow machine has larger
//! figures.
//!
//! `cargo bench --bench bench -- [NAME...] [--rounds N] [--tiny] [--ours]` runs every workload, or
//! those with a NAME in their name; --tiny makes everything small, to see that it runs; --ours leaves
//! the other programs out, for a profiler. CIS490_BIN names another build of this program than
//! cargo's, such as the shipped one; CIS490_BEFORE names an earlier build, to which `growth` compares.
//! Stats need a machine that does nothing else.

mod archiving;
mod chain;
mod counting;
#[path = "../it/dice.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod dice;
mod downloads;
mod drain;
mod far;
mod floors;
#[path = "../it/power/fuse.rs"]
mod fuse;
#[path = "../it/git.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod git;
mod ground;
mod growth;
mod inside;
mod line;
mod load;
mod orders;
mod packing;
mod process;
mod pulling;
mod refresh;
mod report;
mod servers;
mod slow_disk;
mod uploads;
mod wire;

use servers::Kind;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// The workloads to run, and how.
pub struct Plan {
    names: Vec<String>,
    /// Without the first round, which warms up and does not count.
    pub rounds: usize,
    pub tiny: bool,
    /// The only contestant; `None` for all.
    pub only: Option<Kind>,
}

impl Plan {
    pub fn wants(&self, name: &str) -> bool {
        self.names.is_empty()
            || self
                .names
                .iter()
                .any(|wanted| name.contains(wanted.as_str()))
    }

    /// The amount, or a 64th of it for a tiny run.
    pub fn scaled(&self, amount: usize) -> usize {
        if self.tiny {
            (amount / 64).max(1)
        } else {
            amount
        }
    }
}

fn main() {
    let mut plan = Plan {
        names: Vec::new(),
        rounds: 3,
        tiny: false,
        only: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--sink" => load::sink(),
            "--tiny" => {
                plan.tiny = true;
                plan.rounds = 1;
            }
            "--ours" => plan.only = Some(Kind::Ours),
            "--rounds" => {
                let rounds = words.next().and_then(|text| text.parse().ok());
                plan.rounds = rounds.expect("--rounds N, at least 1");
            }
            flag if flag.starts_with('-') => {} // cargo's own
            name => plan.names.push(name.to_owned()),
        }
    }
    println!(
        "rounds that count: {}, of small uploads thrice as many; contestants:",
        plan.rounds
    );
    for kind in [Kind::Ours, Kind::RestServer, Kind::Nginx] {
        println!("  {:<12} {}", kind.name(), kind.version());
    }
    floors::run(&plan);
    orders::run(&plan);
    packing::run(&plan);
    if plan.wants("drain") {
        drain::run(&plan);
    }
    chain::run(&plan);
    uploads::run(&plan);
    line::run(&plan);
    far::run(&plan);
    downloads::run(&plan);
    pulling::run(&plan);
    archiving::run(&plan);
    uploads::health(&plan);
    uploads::start_and_idle(&plan);
    inside::run(&plan);
    growth::run(&plan);
}
