//! Pulls that are killed and harmed hundreds of times, and crowds of readers.

use crate::dice::seed;
use crate::reading::bytes::crowd::crowd;
use crate::reading::pull::kills::killed_at_random;
use crate::reading::pull::storm::storm;

/// Of one pull after the other, from a server that stays.
const KILLS: u64 = 150;
/// Six in ten of them kill either side.
const STORM_ROUNDS: u64 = 200;
const CROWDS: u64 = 20;

pub fn killed_and_in_a_storm() {
    let killed = killed_at_random(KILLS);
    println!("pull: {killed} of {KILLS} killed before their end, and all is here after each");
    let told = storm(STORM_ROUNDS, seed());
    println!("pull: {STORM_ROUNDS} rounds of a storm: {told:?}");
}

pub fn readers_that_stall() {
    let told = crowd(CROWDS, seed());
    println!("downloads: {CROWDS} crowds: {told:?}");
}
