//! The compressor: bytes become a Zstandard frame (RFC 8878, section 3.1.1), block by block, in
//! bounded memory. The names are those of the RFC. In the order of its sections:
//!
//!     this file         frame header, blocks, checksum              3.1.1, 3.1.1.1, 3.1.1.2
//!     literals          Literals_Section                            3.1.1.3.1
//!     sequences         Sequences_Section, repeat offsets           3.1.1.3.2, 3.1.1.5
//!     sequence_codes    codes, baselines, default distributions     3.1.1.3.2.1.1, 3.1.1.3.2.2
//!     fse               the tables of Finite State Entropy          4.1
//!     distribution      FSE_Table_Description                       4.1.1
//!     huffman_tree      Huffman_Tree_Description                    4.2.1
//!     huffman           Huffman-coded streams                       4.2.2
//!     bits              bitstreams                                  4.1, 4.2.2
//!     match_finder      which sequences a block becomes             the encoder's own choice
//!     proof             decodes each compressed block again         3.1.1.3 to 3.1.1.5
//!
//! 1. The same bytes give the same frame on every machine: nothing here is random or fractional.
//! 2. A Compressed_Block leaves only after `proof` has decoded it from its written bytes. One that
//!    does not decode to its input leaves as a Raw_Block, without a copy that could differ.
//! 3. A block that did not become a Compressed_Block leaves no trace: the tables and repeat offsets
//!    that a decoder keeps are those of the last Compressed_Block, on both sides.
//!
//! Why this program has its own encoder: ruzstd's encoder, even with a match finder of our own, has no
//! repeat offsets and describes every table again. On telemetry its frames were a fifth larger than
//! those of `zstd -3` and took three times as long, and some of them no decoder could read. All other
//! decoding is still done by ruzstd.

mod bits;
mod distribution;
mod fse;
mod huffman;
mod huffman_tree;
mod literals;
mod match_finder;
mod proof;
mod sequence_codes;
mod sequences;

use std::hash::Hasher;
use std::panic::{self, AssertUnwindSafe};

use twox_hash::XxHash64;

use self::huffman_tree::Tree;
use self::match_finder::{BlockContent, MatchFinder, WINDOW_BYTES};
use self::proof::BlockDecoder;
use self::sequences::{RepeatOffsets, Tables};

/// Block_Maximum_Size (section 3.1.1.2.4): the most input of a block.
pub const BLOCK_BYTES_MAX: usize = 128 << 10;
/// The history slides down to one window before it would grow beyond this.
const HISTORY_BYTES_MAX: usize = 2 * WINDOW_BYTES + BLOCK_BYTES_MAX;
const BLOCK_HEADER_BYTES: usize = 3;
/// A bit writer writes up to so many bytes beyond the end of its bitstream.
const SLACK_BYTES: usize = 8;

const _: () = assert!(HISTORY_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(WINDOW_BYTES.is_power_of_two() && WINDOW_BYTES <= 8 << 20);

/// One frame, from its header to its checksum.
///
/// [`Compressor::frame_header`] comes first. Then, for each block, [`Compressor::buffer`] is filled
/// and [`Compressor::block`] compresses it. [`Compressor::content_checksum`] ends the frame. After
/// [`Compressor::begin_again`] the same memory serves another one.
pub struct Compressor {
    /// The input, as far back as the window or further, and after it the buffer of the next block.
    history: Vec<u8>,
    /// Of `history`, the bytes of input.
    filled: usize,
    match_finder: MatchFinder,
    content: BlockContent,
    state: CarriedState,
    decoder: BlockDecoder,
    checksum: XxHash64,
    /// The Compressed_Block that is being written.
    compressed: Vec<u8>,
    /// How many blocks became Raw_Blocks because they did not decode to their input. Each is a fault
    /// of this crate that cost nothing but size.
    pub blocks_not_read_back: u64,
    #[cfg(test)]
    damage: Option<fn(&mut [u8])>,
}

/// The tables and repeat offsets that the next Compressed_Block may use again.
#[derive(Clone)]
struct CarriedState {
    repeat_offsets: RepeatOffsets,
    huffman_tree: Option<Tree>,
    fse_tables: Tables,
}

impl CarriedState {
    /// Of the first block of a frame.
    fn first() -> CarriedState {
        CarriedState {
            repeat_offsets: RepeatOffsets::INITIAL,
            huffman_tree: None,
            fse_tables: Tables::default(),
        }
    }
}

/// Block_Type (section 3.1.1.2.2).
enum BlockType {
    Raw,
    Rle,
    /// Of so many bytes, which are in `compressed`.
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
            match_finder: MatchFinder::new(),
            content: BlockContent::default(),
            state: CarriedState::first(),
            decoder: BlockDecoder::new(RepeatOffsets::INITIAL),
            checksum: XxHash64::with_seed(0),
            compressed: vec![0; BLOCK_BYTES_MAX + SLACK_BYTES],
            blocks_not_read_back: 0,
            #[cfg(test)]
            damage: None,
        }
    }

    /// Begins another frame, however far the one before has come. It is in the memory of that one, unless that was a
    /// frame of several blocks: its history is given back.
    pub fn begin_again(&mut self) {
        if self.history.is_empty() {
            // Nothing was compressed since it was made or last gave its history back, and none of its memory is
            // touched before there is a use for it.
            return;
        }
        if self.history.len() > BLOCK_BYTES_MAX {
            self.history = Vec::new();
        }
        self.filled = 0;
        self.match_finder.begin_again();
        self.state = CarriedState::first();
        self.decoder = BlockDecoder::new(RepeatOffsets::INITIAL);
        self.checksum = XxHash64::with_seed(0);
        self.blocks_not_read_back = 0;
    }

    /// Magic_Number (section 3.1.1) and Frame_Header (section 3.1.1.1): a Frame_Header_Descriptor
    /// with Content_Checksum_Flag alone, and Window_Descriptor.
    pub fn frame_header() -> [u8; 6] {
        let exponent = WINDOW_BYTES.ilog2() as u8 - 10;
        [0x28, 0xb5, 0x2f, 0xfd, 0b100, exponent << 3]
    }

    /// Where the next block's input goes, [`BLOCK_BYTES_MAX`] long. [`Compressor::block`] follows.
    pub fn buffer(&mut self) -> &mut [u8] {
        if self.filled + BLOCK_BYTES_MAX > HISTORY_BYTES_MAX {
            let lost = self.filled - WINDOW_BYTES;
            self.history.copy_within(lost..self.filled, 0);
            self.filled = WINDOW_BYTES;
            self.match_finder.slide(lost as u32);
        }
        let end = self.filled + BLOCK_BYTES_MAX;
        if self.history.is_empty() {
            // An episode of one block needs no memory for many, and a short one touches none of the rest.
            self.history = vec![0; BLOCK_BYTES_MAX];
        }
        if self.history.len() < end {
            let missing = HISTORY_BYTES_MAX - self.history.len();
            self.history.reserve_exact(missing);
            self.history.resize(end, 0);
        }
        &mut self.history[self.filled..end]
    }

    /// The block of the first `filled` bytes of [`Compressor::buffer`], all of them unless it is the
    /// last block: its Block_Header (section 3.1.1.2) and its Block_Content, to be written next.
    pub fn block(&mut self, filled: usize, is_last: bool) -> ([u8; BLOCK_HEADER_BYTES], &[u8]) {
        let begin = self.filled;
        self.filled += filled;
        self.checksum.write(&self.history[begin..self.filled]);
        let block_type = self.compress(begin);
        let input = &self.history[begin..self.filled];
        // A Raw_Block leaves from where its input came to: there is nothing that could differ.
        let (type_bits, block_size, content) = match block_type {
            BlockType::Raw => (0, filled, input),
            BlockType::Rle => (1, filled, &input[..1]),
            BlockType::Compressed(bytes) => (2, bytes, &self.compressed[..bytes]),
        };
        let header = u32::from(is_last) | type_bits << 1 | (block_size as u32) << 3;
        let [low, middle, high, _] = header.to_le_bytes();
        ([low, middle, high], content)
    }

    /// Content_Checksum (section 3.1.1), after the last block: the lower half of the input's XXH64.
    pub fn content_checksum(&self) -> [u8; 4] {
        (self.checksum.finish() as u32).to_le_bytes()
    }

    /// Chooses the type of the block of `history[begin..]`.
    fn compress(&mut self, begin: usize) -> BlockType {
        let input = &self.history[begin..self.filled];
        let Some((first, rest)) = input.split_first() else {
            return BlockType::Raw;
        };
        if rest.iter().all(|byte| byte == first) {
            return BlockType::Rle;
        }
        // A panic in here is a fault of ours. It costs the block its compression, and nothing else.
        let compressed = panic::catch_unwind(AssertUnwindSafe(|| self.write_compressed(begin)));
        match compressed {
            Ok(Some(bytes)) => BlockType::Compressed(bytes),
            Ok(None) => BlockType::Raw,
            Err(_) => {
                self.reset_after_fault();
                BlockType::Raw
            }
        }
    }

    /// Writes a Compressed_Block (section 3.1.1.3), and decodes it again. Returns its length in bytes;
    /// `None` if the block must be a Raw_Block.
    fn write_compressed(&mut self, begin: usize) -> Option<usize> {
        let mut next = self.state.clone();
        let history = &self.history[..self.filled];
        let content = &mut self.content;
        let last_literals =
            self.match_finder
                .find_matches(history, begin, &mut next.repeat_offsets, content);
        if content.sequences.is_empty() && literals::are_incompressible(&history[begin..]) {
            return None;
        }
        content.add_last_literals(&history[last_literals..]);
        let input_bytes = history.len() - begin;
        let buffer = &mut self.compressed[..input_bytes + SLACK_BYTES];
        let literals_bytes =
            literals::write_section(&content.literals, &mut next.huffman_tree, buffer)?;
        let rest = buffer.get_mut(literals_bytes..)?;
        let sequences_bytes =
            sequences::write_section(&content.sequences, &mut next.fse_tables, rest)?;
        self.match_finder
            .set_literal_cost(content.literals.len(), literals_bytes);
        let bytes = literals_bytes + sequences_bytes;
        if bytes >= input_bytes {
            return None;
        }
        let compressed = &mut self.compressed[..bytes];
        #[cfg(test)]
        if let Some(damage) = self.damage {
            damage(compressed);
        }
        let is_input = self.decoder.decodes_to(compressed, history, begin);
        if !is_input || self.decoder.repeat_offsets() != next.repeat_offsets {
            self.reset_after_fault();
            return None;
        }
        self.state = next;
        Some(bytes)
    }

    /// After a block that did not decode to its input: the next Compressed_Block repeats no table,
    /// since those of the encoder and those of `proof` may differ.
    fn reset_after_fault(&mut self) {
        self.blocks_not_read_back += 1;
        self.state.huffman_tree = None;
        self.state.fse_tables = Tables::default();
        self.decoder = BlockDecoder::new(self.state.repeat_offsets);
    }
}

#[cfg(test)]
mod frozen;
#[cfg(test)]
mod tests;
