//! The benchmark: `just bench [NAME...]`. This program and what a user would pick instead, in turn,
//! in one run; medians, spread and ratios. Never a timed test: a slow machine is only a larger figure.
//!
//! `cargo bench --bench bench -- [NAME...] [--rounds N] [--tiny] [--ours]` runs all of it, or what has
//! a NAME in its name; --tiny makes everything small, to see that it runs; --ours leaves the others
//! out, for a profiler. CIS490_BIN names another program of ours than cargo's: the shipped one.
//! Figures want a machine that does nothing else.

mod chain;
mod counting;
mod floors;
mod ground;
mod inside;
mod load;
mod orders;
mod packing;
mod process;
mod refresh;
mod report;
mod servers;
mod uploads;

use servers::Kind;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// What is to be run.
pub struct Plan {
    names: Vec<String>,
    /// Besides the first, which warms and does not count.
    pub rounds: usize,
    pub tiny: bool,
    /// The one contestant, if not all.
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

    /// An amount, or a small part of it for a run that only shows that it runs.
    pub fn scaled(&self, amount: usize) -> usize {
        match self.tiny {
            true => (amount / 64).max(1),
            false => amount,
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
            "--tiny" => (plan.tiny, plan.rounds) = (true, 1),
            "--ours" => plan.only = Some(Kind::Ours),
            "--rounds" => {
                let told = words.next().and_then(|text| text.parse().ok());
                plan.rounds = told.expect("--rounds N, at least 1");
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
    chain::run(&plan);
    uploads::run(&plan);
    uploads::health(&plan);
    uploads::start_and_idle(&plan);
    inside::run(&plan);
}
