//! Finding what was there before: what takes the time, and decides how small it gets.
//!
//! Two tables know where eight and where five bytes stood last. A repetition is taken if it costs
//! less than its bytes would as literals, by what literals cost in the block before: five digits of
//! a number that stood a megabyte back do not pay, five at a recent distance do.
//!
//! It depends on nothing but the bytes that it was given: the same input is the same output, which
//! packing promises.

use super::bits::word;
use super::sequences::{Recent, Sequence};

/// How far back a repetition may lie. Whoever unpacks needs as much memory.
pub const WINDOW_BYTES: usize = 2 << 20;
const LONG_BITS: u32 = 17;
const SHORT_BITS: u32 = 16;
/// After 2^7 bytes without a repetition the steps become longer by one.
const PATIENCE_BITS: u32 = 7;
const STEP_BYTES_MAX: usize = 64;
/// What a sequence costs besides the bits of its distance, in 1/16 bits: about its three codes.
const SEQUENCE_COST: u32 = 10 * 16;
/// What a literal is taken to cost before anything was written, in 1/16 bits.
const LITERAL_COST_FIRST: u32 = 5 * 16;

/// A place in the history, and above it more of the hash: most of what only looks alike is seen
/// without a look at the history, which lies further away than any table. 0 is nowhere.
type Place = u32;
const PLACE_BITS: u32 = 23;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;
/// What five to seven bytes save, a distance from here on costs.
const NEAR_BYTES: usize = 1 << 16;

const _: () = assert!(super::HISTORY_BYTES_MAX < 1 << PLACE_BITS);

pub struct Matcher {
    /// Where eight bytes stood last, by their hash.
    long: Box<[Place; 1 << LONG_BITS]>,
    /// Where five bytes stood last.
    short: Box<[Place; 1 << SHORT_BITS]>,
    /// In 1/16 bits.
    literal_cost: u32,
}

/// What a block is made of.
#[derive(Default)]
pub struct Found {
    /// Those after the last sequence too.
    pub literals: Vec<u8>,
    pub sequences: Vec<Sequence>,
}

impl Matcher {
    pub fn new() -> Matcher {
        Matcher {
            long: zeros(),
            short: zeros(),
            literal_cost: LITERAL_COST_FIRST,
        }
    }

    /// The history has lost so many bytes at its beginning.
    pub fn forget(&mut self, gone: u32) {
        let places = self.long.iter_mut().chain(self.short.iter_mut());
        places.for_each(|place| {
            *place = match *place & PLACE_MASK > gone {
                true => *place - gone,
                false => 0,
            }
        });
    }

    /// Finds the repetitions of `history[block..]` in all of `history`.
    pub fn find(&mut self, history: &[u8], block: usize, recent: &mut Recent, found: &mut Found) {
        found.literals.clear();
        found.sequences.clear();
        let last = history.len().saturating_sub(16);
        // What lies between `told` and `at` is literals. Place 0 means nowhere.
        let (mut told, mut at) = (block, block.max(1));
        while at < last {
            let here = word(history, at);
            let (long, short) = (long_hash(here), short_hash(here));
            let far = look(&mut self.long[long.slot], long.tag, at);
            let near = look(&mut self.short[short.slot], short.tag, at);
            let next = word(history, at + 1);
            let recently = (at + 1).wrapping_sub(recent.0[0] as usize);
            let (mut begin, mut from);
            if recently <= at && (word(history, recently) ^ next) as u32 == 0 {
                (begin, from) = (at + 1, recently);
            } else if is_within(far, at, WINDOW_BYTES) && word(history, far) == here {
                (begin, from) = (at, far);
            } else if is_within(near, at, NEAR_BYTES) && is_like(word(history, near), here) {
                (begin, from) = (at, near);
                // One byte on, a longer one may begin.
                let long = long_hash(next);
                let far = known(self.long[long.slot], long.tag);
                if is_within(far, at + 1, WINDOW_BYTES) && word(history, far) == next {
                    (begin, from) = (at + 1, far);
                }
            } else {
                at += (1 + ((at - told) >> PATIENCE_BITS)).min(STEP_BYTES_MAX);
                continue;
            }
            let mut length = common(history, from, begin);
            while begin > told && from > 1 && history[begin - 1] == history[from - 1] {
                (begin, from, length) = (begin - 1, from - 1, length + 1);
            }
            let distance = begin - from;
            if distance != recent.0[0] as usize && !self.pays(length, distance) {
                at += 1;
                continue;
            }
            found.add(&history[told..begin], length, distance, recent);
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
                found.add(&[], length, distance, recent);
                at += length;
                told = at;
            }
        }
        found.literals.extend_from_slice(&history[told..]);
    }

    /// So many literals have become so many bytes.
    pub fn learn(&mut self, literals: usize, bytes: usize) {
        if literals >= 1024 {
            self.literal_cost = (bytes * 8 * 16 / literals) as u32;
        }
    }

    fn note(&mut self, history: &[u8], at: usize) {
        let here = word(history, at);
        let (long, short) = (long_hash(here), short_hash(here));
        self.long[long.slot] = at as u32 | long.tag;
        self.short[short.slot] = at as u32 | short.tag;
    }

    fn pays(&self, length: usize, distance: usize) -> bool {
        let saved = length as u32 * self.literal_cost;
        saved > SEQUENCE_COST + 16 * distance.ilog2()
    }
}

impl Found {
    #[inline(always)]
    fn add(&mut self, literals: &[u8], length: usize, distance: usize, recent: &mut Recent) {
        self.literals.extend_from_slice(literals);
        let name = recent.name(distance as u32, literals.len());
        let sequence = Sequence::new(literals.len(), length, name);
        self.sequences.push(sequence);
    }
}

/// Where a hash stood last, 0 if nowhere; now it stands `at`.
#[inline(always)]
fn look(place: &mut Place, tag: u32, at: usize) -> usize {
    let before = std::mem::replace(place, at as u32 | tag);
    known(before, tag)
}

#[inline(always)]
fn known(place: Place, tag: u32) -> usize {
    match (place ^ tag) & !PLACE_MASK {
        0 => (place & PLACE_MASK) as usize,
        _ => 0,
    }
}

fn is_within(place: usize, at: usize, bytes: usize) -> bool {
    place != 0 && place < at && at - place <= bytes
}

/// Whether the first five bytes are the same.
fn is_like(a: u64, b: u64) -> bool {
    five_bytes(a ^ b) == 0
}

fn zeros<const N: usize>() -> Box<[u32; N]> {
    // By way of a Vec: an array on the stack would be larger than some stacks.
    let zeros = vec![0; N].into_boxed_slice();
    zeros.try_into().expect("it has N places")
}

/// The first five of eight bytes.
fn five_bytes(word: u64) -> u64 {
    word << 24
}

/// Where to look, and what to find there above the place.
struct Hash {
    slot: usize,
    tag: u32,
}

/// Large odd numbers: the product's upper bits depend on all bytes.
#[inline(always)]
fn short_hash(word: u64) -> Hash {
    let product = five_bytes(word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Hash {
        slot: (product >> (u64::BITS - SHORT_BITS)) as usize,
        tag: (product >> 16) as u32 & !PLACE_MASK,
    }
}

#[inline(always)]
fn long_hash(word: u64) -> Hash {
    let product = word.wrapping_mul(0xCF1B_BCDC_B7A5_6463);
    Hash {
        slot: (product >> (u64::BITS - LONG_BITS)) as usize,
        tag: (product >> 15) as u32 & !PLACE_MASK,
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
