//! Compressing: bytes become a Zstandard frame (RFC 8878), block by block, in bounded memory.
//!
//! 1. The same bytes are the same frame, on every machine: nothing here is random or fractional.
//! 2. A block leaves only after `proof` has read it back from its written bytes; one that does not
//!    read back is stored as it is, which nothing can get wrong.
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
    /// What went in, as far back as a repetition may reach or further.
    history: Vec<u8>,
    matcher: Matcher,
    found: Found,
    kept: Kept,
    reader: Reader,
    checksum: Checksum,
    /// The block that is being written.
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

#[derive(Clone, Copy)]
enum BlockKind {
    Plain = 0,
    /// One byte, repeated.
    Only = 1,
    Compressed = 2,
}

impl Compressor {
    pub fn new() -> Compressor {
        Compressor {
            history: Vec::new(),
            matcher: Matcher::new(),
            found: Found::default(),
            kept: Kept {
                recent: Recent::FIRST,
                codes: None,
                tables: Tables::default(),
            },
            reader: Reader::new(),
            checksum: Checksum::new(),
            out: vec![0; HEAD_BYTES + BLOCK_BYTES + SLACK_BYTES],
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
        if self.history.len() + BLOCK_BYTES > HISTORY_BYTES_MAX {
            let gone = self.history.len() - WINDOW_BYTES;
            self.history.drain(..gone);
            self.matcher.forget(gone as u32);
        }
        let begin = self.history.len();
        if self.history.capacity() < begin + BLOCK_BYTES {
            // An episode of one block needs no room for many.
            let all = if begin == 0 {
                BLOCK_BYTES
            } else {
                HISTORY_BYTES_MAX
            };
            self.history.reserve_exact(all - begin);
        }
        self.history.resize(begin + BLOCK_BYTES, 0);
        &mut self.history[begin..]
    }

    /// The block of the first `filled` bytes of [`Compressor::room`], to be written next. All but
    /// the last block are full.
    pub fn block(&mut self, filled: usize, is_last: bool) -> &[u8] {
        let begin = self.history.len() - BLOCK_BYTES;
        self.history.truncate(begin + filled);
        self.checksum.add(&self.history[begin..]);
        let (kind, bytes) = self.write_block(begin);
        let size = if matches!(kind, BlockKind::Only) {
            filled
        } else {
            bytes
        };
        let head = usize::from(is_last) | (kind as usize) << 1 | size << 3;
        self.out[..HEAD_BYTES].copy_from_slice(&head.to_le_bytes()[..HEAD_BYTES]);
        &self.out[..HEAD_BYTES + bytes]
    }

    /// What ends a frame, after its last block.
    pub fn end(&self) -> [u8; 4] {
        self.checksum.low().to_le_bytes()
    }

    fn write_block(&mut self, begin: usize) -> (BlockKind, usize) {
        let block = &self.history[begin..];
        let Some((first, rest)) = block.split_first() else {
            return (BlockKind::Plain, 0);
        };
        if rest.iter().all(|byte| byte == first) {
            self.out[HEAD_BYTES] = *first;
            return (BlockKind::Only, 1);
        }
        // A fault of ours in here costs the block its compression, and nothing else.
        let compressed = panic::catch_unwind(AssertUnwindSafe(|| self.compress(begin)));
        match compressed {
            Ok(Some(bytes)) => (BlockKind::Compressed, bytes),
            Ok(None) => self.store(begin),
            Err(_) => {
                self.distrust();
                self.store(begin)
            }
        }
    }

    /// The block as it is.
    fn store(&mut self, begin: usize) -> (BlockKind, usize) {
        let block = &self.history[begin..];
        self.out[HEAD_BYTES..][..block.len()].copy_from_slice(block);
        (BlockKind::Plain, block.len())
    }

    /// Writes the block compressed, and reads it back. Its bytes; `None` if it is to be stored.
    fn compress(&mut self, begin: usize) -> Option<usize> {
        let mut next = self.kept.clone();
        let history = &self.history[..];
        self.matcher
            .find(history, begin, &mut next.recent, &mut self.found);
        let block_bytes = history.len() - begin;
        let room_bytes = block_bytes + SLACK_BYTES;
        let room = &mut self.out[HEAD_BYTES..][..room_bytes];
        let literals_bytes = literals::write(&self.found.literals, &mut next.codes, room)?;
        let rest = room.get_mut(literals_bytes..)?;
        let sequences_bytes = sequences::write(&self.found.sequences, &mut next.tables, rest)?;
        let bytes = literals_bytes + sequences_bytes;
        self.matcher
            .learn(self.found.literals.len(), literals_bytes);
        if bytes >= block_bytes {
            return None;
        }
        let written = &mut self.out[HEAD_BYTES..][..bytes];
        #[cfg(test)]
        if let Some(damage) = self.damage {
            damage(written);
        }
        let reads = self.reader.reads(written, &self.history, begin);
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
mod tests;
