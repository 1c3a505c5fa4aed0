//! Finding what was there before: what takes the time, and decides how small it gets.
//!
//! One table knows where six bytes stood last, and is small enough to stay in a cache. A repetition
//! is taken if it costs less than its bytes would as literals, by what literals cost in the block
//! before: six digits of a number that stood a megabyte back do not pay, five at a recent distance
//! do. On telemetry that is smaller than two tables with shorter repetitions, and twice as fast.
//!
//! It depends on nothing but the bytes that it was given: the same input is the same output, which
//! packing promises.

use std::ops::Range;

use super::bits::{half_word, word};
use super::sequences::{Recent, Sequence};

/// How far back a repetition may lie. Whoever unpacks needs as much memory.
pub const WINDOW_BYTES: usize = 2 << 20;
/// The table has 2^15 places.
const TABLE_BITS: u32 = 15;
const PLACES: usize = 1 << TABLE_BITS;
/// The shortest repetition that the table finds.
const FOUND_BYTES: u32 = 6;
/// After 2^7 bytes without a repetition the steps become longer by one.
const PATIENCE_BITS: u32 = 7;
const STEP_BYTES_MAX: usize = 128;
/// What a block begins with after one that has repeated nothing.
const BORED_STEP_BYTES: usize = 16;
/// Beyond where a look begins, so much of the history is there.
const AHEAD_BYTES: usize = STEP_BYTES_MAX + 8;
/// Literals are copied so many at once.
const COPY_BYTES: usize = 16;
/// What a sequence costs besides the bits of its distance, in 1/16 bits: about its three codes.
const SEQUENCE_COST: u32 = 10 * 16;
/// What a literal is taken to cost before anything was written, in 1/16 bits.
const LITERAL_COST_FIRST: u32 = 5 * 16;

/// A place in the history, and above it more of the hash: most of what only looks alike is seen
/// without a look at the history, which lies further away than the table. 0 is nowhere.
type Place = u32;
const PLACE_BITS: u32 = 23;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;

const _: () = assert!(super::HISTORY_BYTES_MAX < 1 << PLACE_BITS);

pub struct Matcher {
    /// Where six bytes stood last, by their hash.
    places: Box<[Place; PLACES]>,
    /// In 1/16 bits.
    literal_cost: u32,
    /// The first step of a block.
    step: usize,
}

/// What a block is made of.
#[derive(Default)]
pub struct Found {
    /// Those after the last sequence too, once [`Found::end`] was called.
    pub literals: Vec<u8>,
    pub sequences: Vec<Sequence>,
    /// Of `literals`, those that are told.
    told: usize,
}

impl Matcher {
    pub fn new() -> Matcher {
        // By way of a Vec: an array on the stack would be larger than some stacks.
        let zeros = vec![0; PLACES].into_boxed_slice();
        Matcher {
            places: zeros.try_into().expect("it has so many places"),
            literal_cost: LITERAL_COST_FIRST,
            step: 1,
        }
    }

    /// The history has lost so many bytes at its beginning.
    pub fn forget(&mut self, gone: u32) {
        for place in self.places.iter_mut() {
            *place = match *place & PLACE_MASK > gone {
                true => *place - gone,
                false => 0,
            }
        }
    }

    /// Finds the repetitions of `history[block..]` in all of `history`. Where the literals after the
    /// last one begin.
    pub fn find(
        &mut self,
        history: &[u8],
        block: usize,
        recent: &mut Recent,
        found: &mut Found,
    ) -> usize {
        found.begin(history.len() - block);
        let last = history.len().saturating_sub(AHEAD_BYTES);
        // What lies between `told` and `at` is literals. Place 0 means nowhere.
        let (mut told, mut at) = (block, block.max(1));
        let mut first_step = self.step;
        while let Some((mut begin, mut from)) =
            self.next_like(history, &mut at, last, told, first_step, recent)
        {
            let mut length = common(history, from, begin);
            while begin > told && from > 1 && history[begin - 1] == history[from - 1] {
                (begin, from, length) = (begin - 1, from - 1, length + 1);
            }
            let distance = begin - from;
            if distance != recent.0[0] as usize && !self.pays(length, distance) {
                at += 1;
                continue;
            }
            found.add(history, told..begin, length, distance, recent);
            first_step = 1;
            at = begin + length;
            told = at;
            if at >= last {
                break;
            }
            self.note(history, begin + 2);
            self.note(history, at - 2);
            // What follows often repeats at the distance before.
            while at < last {
                let distance = recent.0[1] as usize;
                let before = at.wrapping_sub(distance);
                let here = word(history, at);
                if before >= at || (word(history, before) ^ here) as u32 != 0 {
                    break;
                }
                let length = common(history, before, at);
                self.note(history, at);
                found.add(history, at..at, length, distance, recent);
                at += length;
                told = at;
            }
        }
        self.step = match found.sequences.is_empty() {
            true => BORED_STEP_BYTES,
            false => 1,
        };
        told
    }

    /// The next place from `at` on, and the one before, that seem to begin with the same bytes.
    #[inline(always)]
    fn next_like(
        &mut self,
        history: &[u8],
        at: &mut usize,
        last: usize,
        told: usize,
        first_step: usize,
        recent: &Recent,
    ) -> Option<(usize, usize)> {
        if *at >= last {
            return None;
        }
        let distance = recent.0[0] as usize;
        let mut here = word(history, *at);
        let mut hash = hash(here);
        let mut place = self.places[hash.slot % PLACES];
        loop {
            self.places[hash.slot % PLACES] = *at as u32 | hash.tag;
            // What the next look needs is on its way before this one is judged.
            let step = (first_step + ((*at - told) >> PATIENCE_BITS)).min(STEP_BYTES_MAX);
            let ahead = word(history, *at + step);
            let ahead_hash = self::hash(ahead);
            let ahead_place = self.places[ahead_hash.slot % PLACES];
            let recently = (*at + 1).wrapping_sub(distance);
            let next = half_word(history, *at + 1);
            if half_word(history, recently) == next && recently <= *at {
                return Some((*at + 1, recently));
            }
            let before = known(place, hash.tag);
            if is_within(before, *at) && is_like(word(history, before), here) {
                return Some((*at, before));
            }
            *at += step;
            if *at >= last {
                return None;
            }
            (here, hash, place) = (ahead, ahead_hash, ahead_place);
        }
    }

    /// So many literals have become so many bytes.
    pub fn learn(&mut self, literals: usize, bytes: usize) {
        if literals >= 1024 {
            self.literal_cost = (bytes * 8 * 16 / literals) as u32;
        }
    }

    #[inline(always)]
    fn note(&mut self, history: &[u8], at: usize) {
        let hash = hash(word(history, at));
        self.places[hash.slot % PLACES] = at as u32 | hash.tag;
    }

    fn pays(&self, length: usize, distance: usize) -> bool {
        let saved = length as u32 * self.literal_cost;
        saved > SEQUENCE_COST + 16 * distance.ilog2()
    }
}

impl Found {
    fn begin(&mut self, block_bytes: usize) {
        self.sequences.clear();
        self.literals.resize(block_bytes + COPY_BYTES, 0);
        self.told = 0;
    }

    #[inline(always)]
    fn add(
        &mut self,
        history: &[u8],
        literals: Range<usize>,
        length: usize,
        distance: usize,
        recent: &mut Recent,
    ) {
        let number = literals.len();
        self.tell(history, literals);
        let name = recent.name(distance as u32, number);
        self.sequences.push(Sequence::new(number, length, name));
    }

    /// Most are few: a copy of one size needs no call.
    #[inline(always)]
    fn tell(&mut self, history: &[u8], literals: Range<usize>) {
        let (from, number) = (literals.start, literals.len());
        let to = self.literals.get_mut(self.told..self.told + COPY_BYTES);
        match (to, history.get(from..from + COPY_BYTES)) {
            (Some(to), Some(bytes)) if number <= COPY_BYTES => to.copy_from_slice(bytes),
            _ => self.literals[self.told..][..number].copy_from_slice(&history[literals]),
        }
        self.told += number;
    }

    /// The literals after the last sequence.
    pub fn end(&mut self, rest: &[u8]) {
        self.literals.truncate(self.told);
        self.literals.extend_from_slice(rest);
    }
}

#[inline(always)]
fn known(place: Place, tag: u32) -> usize {
    match (place ^ tag) & !PLACE_MASK {
        0 => (place & PLACE_MASK) as usize,
        _ => 0,
    }
}

#[inline(always)]
fn is_within(place: usize, at: usize) -> bool {
    place != 0 && place < at && at - place <= WINDOW_BYTES
}

/// Whether the first [`FOUND_BYTES`] are the same.
#[inline(always)]
fn is_like(a: u64, b: u64) -> bool {
    first_bytes(a ^ b) == 0
}

/// The first [`FOUND_BYTES`] of eight.
#[inline(always)]
fn first_bytes(word: u64) -> u64 {
    word << (64 - 8 * FOUND_BYTES)
}

/// Where to look, and what to find there above the place.
#[derive(Clone, Copy)]
struct Hash {
    slot: usize,
    tag: u32,
}

/// A large odd number: the product's upper bits depend on all bytes.
#[inline(always)]
fn hash(word: u64) -> Hash {
    let product = first_bytes(word).wrapping_mul(0xCF1B_BCDC_B7A5_6463);
    Hash {
        slot: (product >> (u64::BITS - TABLE_BITS)) as usize,
        tag: (product >> 17) as u32 & !PLACE_MASK,
    }
}

/// How many bytes are the same from `before` and from `at` on.
#[inline(always)]
fn common(bytes: &[u8], mut before: usize, mut at: usize) -> usize {
    let begin = at;
    while at + 8 <= bytes.len() {
        let other = word(bytes, before) ^ word(bytes, at);
        if other != 0 {
            return at - begin + (other.trailing_zeros() / 8) as usize;
        }
        (before, at) = (before + 8, at + 8);
    }
    while at < bytes.len() && bytes[before] == bytes[at] {
        (before, at) = (before + 1, at + 1);
    }
    at - begin
}
