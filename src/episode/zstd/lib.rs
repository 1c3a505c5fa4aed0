//! Compressing: bytes become a Zstandard frame (RFC 8878), block by block, in bounded memory.
//!
//! 1. The same bytes are the same frame, on every machine: nothing here is random or fractional.
//! 2. A compressed block leaves only after `proof` has read it back from its written bytes. One that
//!    does not read back is stored: it leaves as it came, without a copy that could differ.
//! 3. A block that was not written compressed leaves no trace: what a reader keeps from block to
//!    block is what the last compressed one left, on both sides.
//!
//! Why our own: ruzstd's encoder, which has our match finder's place too, knows no recent distances
//! and describes every table anew; on telemetry it was a fifth larger than `zstd -3` and a third as
//! fast, and now and then wrote a block that nothing reads. It still does all other reading.

mod bits;
mod checksum;
mod fse;
mod huffman;
mod literals;
mod matcher;
mod proof;
mod sequences;

use std::panic::{self, AssertUnwindSafe};

use self::checksum::Checksum;
use self::huffman::Lengths;
use self::matcher::{Found, Matcher, WINDOW_BYTES};
use self::proof::Reader;
use self::sequences::{Recent, Tables};

/// The most that the format allows a block to hold.
pub const BLOCK_BYTES: usize = 128 << 10;
/// History is moved to the front of its room once it has grown to this.
const HISTORY_BYTES_MAX: usize = 2 * WINDOW_BYTES + BLOCK_BYTES;
const HEAD_BYTES: usize = 3;
/// What a bit writer may write beyond the end.
const SLACK_BYTES: usize = 8;

const _: () = assert!(HISTORY_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(WINDOW_BYTES.is_power_of_two() && WINDOW_BYTES <= 8 << 20);

/// One frame on its way.
pub struct Compressor {
    /// What went in, as far back as a repetition may reach or further, and room after it.
    history: Vec<u8>,
    /// Of `history`, what went in.
    filled: usize,
    matcher: Matcher,
    found: Found,
    kept: Kept,
    reader: Reader,
    checksum: Checksum,
    /// The compressed block that is being written.
    out: Vec<u8>,
    pub blocks_not_read_back: u64,
    #[cfg(test)]
    damage: Option<fn(&mut [u8])>,
}

/// What the next block may build on.
#[derive(Clone)]
struct Kept {
    recent: Recent,
    codes: Option<Lengths>,
    tables: Tables,
}

/// What became of a block.
enum Written {
    /// Stored as it is.
    Plain,
    /// One byte, repeated.
    Only,
    /// So many bytes of `out`.
    Compressed(usize),
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor::new()
    }
}

impl Compressor {
    pub fn new() -> Compressor {
        Compressor {
            history: Vec::new(),
            filled: 0,
            matcher: Matcher::new(),
            found: Found::default(),
            kept: Kept {
                recent: Recent::FIRST,
                codes: None,
                tables: Tables::default(),
            },
            reader: Reader::new(),
            checksum: Checksum::new(),
            out: vec![0; BLOCK_BYTES + SLACK_BYTES],
            blocks_not_read_back: 0,
            #[cfg(test)]
            damage: None,
        }
    }

    /// What a frame begins with: its mark, that a checksum ends it, and how far back it reaches.
    pub fn head() -> [u8; 6] {
        let window = (WINDOW_BYTES.ilog2() as u8 - 10) << 3;
        [0x28, 0xb5, 0x2f, 0xfd, 0b100, window]
    }

    /// Room for the next block. [`Compressor::block`] says how much of it was filled.
    pub fn room(&mut self) -> &mut [u8] {
        if self.filled + BLOCK_BYTES > HISTORY_BYTES_MAX {
            let gone = self.filled - WINDOW_BYTES;
            self.history.copy_within(gone..self.filled, 0);
            self.filled = WINDOW_BYTES;
            self.matcher.forget(gone as u32);
        }
        let end = self.filled + BLOCK_BYTES;
        if self.history.len() < end {
            // An episode of one block needs no room for many.
            let all = match self.filled {
                0 => BLOCK_BYTES,
                _ => HISTORY_BYTES_MAX,
            };
            self.history.reserve_exact(all - self.history.len());
            self.history.resize(end, 0);
        }
        &mut self.history[self.filled..end]
    }

    /// The block of the first `filled` bytes of [`Compressor::room`]: its head and its body, to be
    /// written next. All but the last block are full.
    pub fn block(&mut self, filled: usize, is_last: bool) -> ([u8; HEAD_BYTES], &[u8]) {
        let begin = self.filled;
        self.filled += filled;
        self.checksum.add(&self.history[begin..self.filled]);
        let kind = self.write_block(begin);
        let block = &self.history[begin..self.filled];
        // What is stored leaves from where it came to: nothing that could be read back differently.
        let (kind, size, body) = match kind {
            Written::Plain => (0, filled, block),
            Written::Only => (1, filled, &block[..1]),
            Written::Compressed(bytes) => (2, bytes, &self.out[..bytes]),
        };
        let [a, b, c, _] = (u32::from(is_last) | kind << 1 | (size as u32) << 3).to_le_bytes();
        ([a, b, c], body)
    }

    /// What ends a frame, after its last block.
    pub fn end(&self) -> [u8; 4] {
        self.checksum.low().to_le_bytes()
    }

    fn write_block(&mut self, begin: usize) -> Written {
        let block = &self.history[begin..self.filled];
        let Some((first, rest)) = block.split_first() else {
            return Written::Plain;
        };
        if rest.iter().all(|byte| byte == first) {
            return Written::Only;
        }
        // A fault of ours in here costs the block its compression, and nothing else.
        let compressed = panic::catch_unwind(AssertUnwindSafe(|| self.compress(begin)));
        match compressed {
            Ok(Some(bytes)) => Written::Compressed(bytes),
            Ok(None) => Written::Plain,
            Err(_) => {
                self.distrust();
                Written::Plain
            }
        }
    }

    /// Writes the block compressed, and reads it back. Its bytes; `None` if it is to be stored.
    fn compress(&mut self, begin: usize) -> Option<usize> {
        let mut next = self.kept.clone();
        let history = &self.history[..self.filled];
        let told = self
            .matcher
            .find(history, begin, &mut next.recent, &mut self.found);
        if self.found.sequences.is_empty() && literals::are_even(&history[begin..]) {
            return None;
        }
        self.found.end(&history[told..]);
        let block_bytes = history.len() - begin;
        let room = &mut self.out[..block_bytes + SLACK_BYTES];
        let literals_bytes = literals::write(&self.found.literals, &mut next.codes, room)?;
        let rest = room.get_mut(literals_bytes..)?;
        let sequences_bytes = sequences::write(&self.found.sequences, &mut next.tables, rest)?;
        let bytes = literals_bytes + sequences_bytes;
        self.matcher
            .learn(self.found.literals.len(), literals_bytes);
        if bytes >= block_bytes {
            return None;
        }
        let written = &mut self.out[..bytes];
        #[cfg(test)]
        if let Some(damage) = self.damage {
            damage(written);
        }
        let reads = self.reader.reads(written, history, begin);
        if !reads || self.reader.recent() != next.recent {
            self.distrust();
            return None;
        }
        self.kept = next;
        Some(bytes)
    }

    /// After a block that did not read back: the next compressed one must build on nothing, since
    /// what this side and the proof keep may differ.
    fn distrust(&mut self) {
        self.blocks_not_read_back += 1;
        self.kept.codes = None;
        self.kept.tables = Tables::default();
        let recent = self.kept.recent;
        self.reader = Reader::new();
        self.reader.recent_is(recent);
    }
}

#[cfg(test)]
mod frozen;
#[cfg(test)]
mod tests;
