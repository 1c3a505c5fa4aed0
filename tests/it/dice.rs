//! Chance that can be had again: `CIS490_SEED=N` repeats a run's throws. Each run prints its seed.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The seed that was asked for, or a new one.
pub fn seed() -> u64 {
    asked_seed().unwrap_or_else(|| RandomState::new().hash_one(0) >> 16)
}

/// The seed that was asked for, or `usual`.
pub fn seed_or(usual: u64) -> u64 {
    asked_seed().unwrap_or(usual)
}

fn asked_seed() -> Option<u64> {
    let text = std::env::var("CIS490_SEED").ok()?;
    Some(text.parse().expect("CIS490_SEED is a whole number"))
}

/// Splitmix64: short, and good enough for a choice.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// One of several from the same seed, each with throws of its own.
    pub fn of(seed: u64, number: u64) -> Dice {
        Dice(seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is above 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        match all.len() {
            0 => None,
            count => all.get(self.below(count as u64) as usize),
        }
    }

    /// From `least_ms` to `most_ms`.
    pub fn wait(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(least_ms + self.below(most_ms - least_ms + 1))
    }

    /// Fills `bytes` with random ones, which no compressor makes smaller.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
    }
}

/// Bytes that no compressor makes smaller: others for each seed, the same in every run.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Dice::new(seed).fill(&mut noise);
    noise
}
