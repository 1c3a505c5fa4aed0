//! Finding matches: which sequences and literals a block becomes (RFC 8878, section 3.1.1.3). The RFC
//! leaves that to the encoder; it decides how small a frame gets, and takes most of the time.
//!
//! One hash table has the last position of six bytes, and is small enough to stay in a cache. A match
//! is taken if it costs less than its bytes would cost as literals, by the cost of literals in the
//! block before: six digits of a number that stood a megabyte back are not worth it, five at a repeat
//! offset are. On telemetry that is smaller than two tables with shorter matches, and twice as fast.
//!
//! Everything depends on the input alone: the same input is the same output, as packing promises.

use std::ops::Range;

use super::bits::{u32_at, u64_at};
use super::sequences::{RepeatOffsets, Sequence};

/// Window_Size (section 3.1.1.1.2): the largest offset. A decoder needs as much memory.
pub const WINDOW_BYTES: usize = 2 << 20;
/// The hash table has 2^15 entries.
const TABLE_BITS: u32 = 15;
const TABLE_SIZE: usize = 1 << TABLE_BITS;
/// The bytes that are hashed: the shortest match that the table finds.
const HASHED_BYTES: u32 = 6;
/// The search steps over one byte more at a time for every 2^7 bytes without a match.
const SEARCH_STRENGTH: u32 = 7;
const STEP_BYTES_MAX: usize = 128;
/// The first step of a block that follows one without a match.
const STEP_BYTES_AFTER_NO_MATCH: usize = 16;
/// A probe at a position reads the history up to so many bytes after it.
const LOOKAHEAD_BYTES: usize = STEP_BYTES_MAX + 8;
/// So many literals are copied at once.
const COPY_BYTES: usize = 16;
/// What a sequence costs besides the additional bits of its offset, in 1/16 bits: about its codes.
const SEQUENCE_COST: u32 = 10 * 16;
/// What a literal is taken to cost before the first block was written, in 1/16 bits.
const LITERAL_COST_FIRST: u32 = 5 * 16;

/// An entry of the hash table: a position in the history, and above it more bits of the hash, its
/// tag. By the tag most positions with other bytes are recognized without a read of the history,
/// which is further away than the table. Position 0 stands for no position.
type Entry = u32;
const POSITION_BITS: u32 = 23;
const POSITION_MASK: u32 = (1 << POSITION_BITS) - 1;

const _: () = assert!(super::HISTORY_BYTES_MAX < 1 << POSITION_BITS);

pub struct MatchFinder {
    /// By the hash of six bytes, where they stood last.
    table: Box<[Entry; TABLE_SIZE]>,
    /// In 1/16 bits.
    literal_cost: u32,
    /// The first step of the next block.
    first_step: usize,
}

/// The literals and sequences of one block.
#[derive(Default)]
pub struct BlockContent {
    /// Complete after [`BlockContent::add_last_literals`]; before that, longer than what it has.
    pub literals: Vec<u8>,
    pub sequences: Vec<Sequence>,
    /// Of `literals`, those of a sequence.
    literals_filled: usize,
}

/// A match in the history.
struct Match {
    /// Where it begins in the block.
    begin: usize,
    /// Where the same bytes begin, `Offset` bytes before.
    source: usize,
    length: usize,
}

impl Match {
    fn offset(&self) -> usize {
        self.begin - self.source
    }
}

impl MatchFinder {
    pub fn new() -> MatchFinder {
        // By way of a Vec: an array on the stack would be larger than some stacks.
        let table = vec![0; TABLE_SIZE].into_boxed_slice();
        MatchFinder {
            table: table.try_into().expect("the table has TABLE_SIZE entries"),
            literal_cost: LITERAL_COST_FIRST,
            first_step: 1,
        }
    }

    /// Another history begins.
    pub fn begin_again(&mut self) {
        self.table.fill(0);
        self.literal_cost = LITERAL_COST_FIRST;
        self.first_step = 1;
    }

    /// The history has lost so many bytes at its beginning.
    pub fn slide(&mut self, bytes: u32) {
        for entry in self.table.iter_mut() {
            let is_lost = *entry & POSITION_MASK <= bytes;
            *entry = if is_lost { 0 } else { *entry - bytes };
        }
    }

    /// Finds matches of `history[block..]` in all of `history`. Returns the position of the literals
    /// after the last match.
    pub fn find_matches(
        &mut self,
        history: &[u8],
        block: usize,
        repeat_offsets: &mut RepeatOffsets,
        content: &mut BlockContent,
    ) -> usize {
        content.begin(history.len() - block);
        let search_end = history.len().saturating_sub(LOOKAHEAD_BYTES);
        // Literals from `anchor` on have no sequence yet.
        let mut anchor = block;
        // Position 0 stands for no position.
        let mut at = block.max(1);
        let mut first_step = self.first_step;
        while let Some((begin, source)) = self.next_candidate(
            history,
            &mut at,
            search_end,
            anchor,
            first_step,
            repeat_offsets,
        ) {
            let found = extended_match(history, begin, source, anchor);
            let offset = found.offset();
            if offset != repeat_offsets.0[0] as usize && !self.is_worth(found.length, offset) {
                at += 1;
                continue;
            }
            content.add(
                history,
                anchor..found.begin,
                found.length,
                offset,
                repeat_offsets,
            );
            first_step = 1;
            at = found.begin + found.length;
            if at < search_end {
                self.insert(history, found.begin + 2);
                self.insert(history, at - 2);
                at = self.add_repeats(history, at, search_end, repeat_offsets, content);
            }
            anchor = at;
        }
        self.first_step = if content.sequences.is_empty() {
            STEP_BYTES_AFTER_NO_MATCH
        } else {
            1
        };
        anchor
    }

    /// Adds matches from `at` on at the second repeat offset, without literals between them: the bytes
    /// after a match often repeat at the offset before. Returns the position after the last one.
    #[inline(always)]
    fn add_repeats(
        &mut self,
        history: &[u8],
        mut at: usize,
        search_end: usize,
        repeat_offsets: &mut RepeatOffsets,
        content: &mut BlockContent,
    ) -> usize {
        while at < search_end {
            let offset = repeat_offsets.0[1] as usize;
            let source = at.wrapping_sub(offset);
            if source >= at || (u64_at(history, source) ^ u64_at(history, at)) as u32 != 0 {
                break;
            }
            let length = common_bytes(history, source, at);
            self.insert(history, at);
            content.add(history, at..at, length, offset, repeat_offsets);
            at += length;
        }
        at
    }

    /// The next position from `at` on, and an earlier one, that seem to begin with the same bytes.
    #[inline(always)]
    fn next_candidate(
        &mut self,
        history: &[u8],
        at: &mut usize,
        search_end: usize,
        anchor: usize,
        first_step: usize,
        repeat_offsets: &RepeatOffsets,
    ) -> Option<(usize, usize)> {
        if *at >= search_end {
            return None;
        }
        let first_repeat_offset = repeat_offsets.0[0] as usize;
        let mut here = u64_at(history, *at);
        let mut hash = hash(here);
        let mut entry = self.table[hash.index % TABLE_SIZE];
        loop {
            self.table[hash.index % TABLE_SIZE] = *at as u32 | hash.tag;
            // What the next turn needs is on its way before this one decides.
            let step = (first_step + ((*at - anchor) >> SEARCH_STRENGTH)).min(STEP_BYTES_MAX);
            let ahead = u64_at(history, *at + step);
            let ahead_hash = self::hash(ahead);
            let ahead_entry = self.table[ahead_hash.index % TABLE_SIZE];
            let repeat_source = (*at + 1).wrapping_sub(first_repeat_offset);
            let next = u32_at(history, *at + 1);
            if u32_at(history, repeat_source) == next && repeat_source <= *at {
                return Some((*at + 1, repeat_source));
            }
            let source = position(entry, hash.tag);
            if is_in_window(source, *at) && are_hashed_bytes_same(u64_at(history, source), here) {
                return Some((*at, source));
            }
            *at += step;
            if *at >= search_end {
                return None;
            }
            here = ahead;
            hash = ahead_hash;
            entry = ahead_entry;
        }
    }

    /// Notes that so many literals have become so many bytes, for the cost of the next block's literals.
    pub fn set_literal_cost(&mut self, literals: usize, bytes: usize) {
        if literals >= 1024 {
            self.literal_cost = (bytes * 8 * 16 / literals) as u32;
        }
    }

    #[inline(always)]
    fn insert(&mut self, history: &[u8], at: usize) {
        let hash = hash(u64_at(history, at));
        self.table[hash.index % TABLE_SIZE] = at as u32 | hash.tag;
    }

    /// Whether a match costs less than its bytes would cost as literals.
    fn is_worth(&self, length: usize, offset: usize) -> bool {
        let cost_as_literals = length as u32 * self.literal_cost;
        cost_as_literals > SEQUENCE_COST + 16 * offset.ilog2()
    }
}

impl BlockContent {
    fn begin(&mut self, block_bytes: usize) {
        self.sequences.clear();
        self.literals.resize(block_bytes + COPY_BYTES, 0);
        self.literals_filled = 0;
    }

    /// Adds a sequence.
    #[inline(always)]
    fn add(
        &mut self,
        history: &[u8],
        literals: Range<usize>,
        match_length: usize,
        offset: usize,
        repeat_offsets: &mut RepeatOffsets,
    ) {
        let literals_length = literals.len();
        self.add_literals(history, literals);
        let offset_value = repeat_offsets.offset_value(offset as u32, literals_length);
        let sequence = Sequence::new(literals_length, match_length, offset_value);
        self.sequences.push(sequence);
    }

    /// Most sequences have few literals: a copy of a fixed size needs no call.
    #[inline(always)]
    fn add_literals(&mut self, history: &[u8], literals: Range<usize>) {
        let length = literals.len();
        let filled = self.literals_filled;
        let to = self.literals.get_mut(filled..filled + COPY_BYTES);
        let from = history.get(literals.start..literals.start + COPY_BYTES);
        match (to, from) {
            (Some(to), Some(from)) if length <= COPY_BYTES => to.copy_from_slice(from),
            _ => self.literals[filled..][..length].copy_from_slice(&history[literals]),
        }
        self.literals_filled += length;
    }

    /// Adds the literals after the last sequence.
    pub fn add_last_literals(&mut self, literals: &[u8]) {
        self.literals.truncate(self.literals_filled);
        self.literals.extend_from_slice(literals);
    }
}

/// The match of which `begin` and `source` are a part: as far forwards as it goes, and backwards to
/// `anchor`.
#[inline(always)]
fn extended_match(history: &[u8], begin: usize, source: usize, anchor: usize) -> Match {
    let mut found = Match {
        begin,
        source,
        length: common_bytes(history, source, begin),
    };
    while found.begin > anchor
        && found.source > 1
        && history[found.begin - 1] == history[found.source - 1]
    {
        found.begin -= 1;
        found.source -= 1;
        found.length += 1;
    }
    found
}

/// The position of an entry with this tag; 0 if it has another.
#[inline(always)]
fn position(entry: Entry, tag: u32) -> usize {
    let is_other = (entry ^ tag) & !POSITION_MASK != 0;
    if is_other {
        0
    } else {
        (entry & POSITION_MASK) as usize
    }
}

#[inline(always)]
fn is_in_window(source: usize, at: usize) -> bool {
    source != 0 && source < at && at - source <= WINDOW_BYTES
}

/// Whether the first [`HASHED_BYTES`] of eight are the same.
#[inline(always)]
fn are_hashed_bytes_same(a: u64, b: u64) -> bool {
    hashed_bytes(a ^ b) == 0
}

/// The first [`HASHED_BYTES`] of eight.
#[inline(always)]
fn hashed_bytes(eight: u64) -> u64 {
    eight << (64 - 8 * HASHED_BYTES)
}

#[derive(Clone, Copy)]
struct Hash {
    /// Of the table's entry.
    index: usize,
    /// What the entry has above its position.
    tag: u32,
}

/// The product with a large odd number: its upper bits depend on all bytes.
#[inline(always)]
fn hash(eight: u64) -> Hash {
    let product = hashed_bytes(eight).wrapping_mul(0xCF1B_BCDC_B7A5_6463);
    Hash {
        index: (product >> (u64::BITS - TABLE_BITS)) as usize,
        tag: (product >> 17) as u32 & !POSITION_MASK,
    }
}

/// How many bytes are the same from `source` and from `at` on.
#[inline(always)]
fn common_bytes(bytes: &[u8], mut source: usize, mut at: usize) -> usize {
    let begin = at;
    while at + 8 <= bytes.len() {
        let difference = u64_at(bytes, source) ^ u64_at(bytes, at);
        if difference != 0 {
            return at - begin + (difference.trailing_zeros() / 8) as usize;
        }
        source += 8;
        at += 8;
    }
    while at < bytes.len() && bytes[source] == bytes[at] {
        source += 1;
        at += 1;
    }
    at - begin
}
