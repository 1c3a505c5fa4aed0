//! Decoding each compressed block after it was written, before anybody else has to (RFC 8878,
//! sections 3.1.1.3 to 3.1.1.5).
//!
//! An episode's directory is deleted in the end, and then its tarball is all there is. So each block
//! is decoded from its bytes alone, with tables of this module's own, and compared with what went in:
//! literals with literals, a match with the bytes that it stands for. Every decoder would get those
//! bytes; here they need not be copied together, which is most of what decoding costs.

use super::bits::{BackwardBitReader, BitContainer, u32_at, u64_at};
use super::distribution::Distribution;
use super::fse::{DecodingTable, State};
use super::huffman;
use super::literals;
use super::match_finder::WINDOW_BYTES;
use super::sequence_codes::SymbolType;
use super::sequences::{self, CompressionMode, MATCH_LENGTH_MIN, RepeatOffsets};

/// What a decoder keeps from block to block.
pub struct BlockDecoder {
    huffman_table: Option<huffman::DecodingTable>,
    /// In the order of [`SymbolType::ALL`].
    fse_tables: [Option<DecodingTable>; 3],
    repeat_offsets: RepeatOffsets,
    literals: Vec<u8>,
}

impl BlockDecoder {
    pub fn new(repeat_offsets: RepeatOffsets) -> BlockDecoder {
        BlockDecoder {
            huffman_table: None,
            fse_tables: [None, None, None],
            repeat_offsets,
            literals: Vec::new(),
        }
    }

    pub fn repeat_offsets(&self) -> RepeatOffsets {
        self.repeat_offsets
    }

    /// Whether the Compressed_Block `block` decodes to `history[begin..]`. If not, this decoder is of
    /// no more use.
    pub fn decodes_to(&mut self, block: &[u8], history: &[u8], begin: usize) -> bool {
        self.compare(block, history, begin).is_some()
    }

    fn compare(&mut self, block: &[u8], history: &[u8], begin: usize) -> Option<()> {
        let mut at = literals::read_section(block, &mut self.huffman_table, &mut self.literals)?;
        let (number, bytes) = sequences::read_number_of_sequences(block.get(at..)?)?;
        at += bytes;
        if number == 0 {
            let is_same = at == block.len() && self.literals == history[begin..];
            return is_same.then_some(());
        }
        at += self.read_tables(block.get(at..)?)?;
        self.compare_sequences(number, block.get(at..)?, history, begin)
    }

    /// Reads Symbol_Compression_Modes, and the tables that they announce (section 3.1.1.3.2.1).
    /// Their bytes.
    fn read_tables(&mut self, bytes: &[u8]) -> Option<usize> {
        let modes = *bytes.first()?;
        let mut at = 1;
        for (kind, table) in SymbolType::ALL.into_iter().zip(&mut self.fse_tables) {
            let mode = CompressionMode::of(modes >> (6 - 2 * kind as u32));
            at += read_table(kind, mode, bytes.get(at..)?, table)?;
        }
        Some(at)
    }

    /// Decodes the sequences, each of which has to repeat its part of the history (sections
    /// 3.1.1.3.2.1.2 and 3.1.1.4).
    fn compare_sequences(
        &mut self,
        number: usize,
        bitstream: &[u8],
        history: &[u8],
        begin: usize,
    ) -> Option<()> {
        let literals = &self.literals[..];
        let [literals_lengths, offsets, match_lengths] = &self.fse_tables;
        let literals_lengths = literals_lengths.as_ref()?;
        let offsets = offsets.as_ref()?;
        let match_lengths = match_lengths.as_ref()?;
        let baselines = SymbolType::ALL.map(Baselines::new);
        let [
            literals_length_baselines,
            offset_baselines,
            match_length_baselines,
        ] = &baselines;
        let mut reader = BackwardBitReader::new(bitstream)?;
        let mut literals_length_state = literals_lengths.read_state(&mut reader);
        let mut offset_state = offsets.read_state(&mut reader);
        let mut match_length_state = match_lengths.read_state(&mut reader);
        let mut at = begin;
        let mut literals_used = 0;
        for left in (0..number).rev() {
            // At most three times 16 bits: an offset that has more is not in the window.
            let mut bits = reader.peek();
            let offset_value = offset_baselines.read(offset_state, &mut bits)?;
            let match_length = match_length_baselines.read(match_length_state, &mut bits)?;
            let match_length = match_length as usize + MATCH_LENGTH_MIN;
            let literals_length =
                literals_length_baselines.read(literals_length_state, &mut bits)?;
            let literals_length = literals_length as usize;
            reader.skip_read(bits);
            compare_bytes(literals, literals_used, history, at, literals_length)?;
            literals_used += literals_length;
            at += literals_length;
            let offset = self.repeat_offsets.offset(offset_value, literals_length)? as usize;
            if offset > WINDOW_BYTES {
                return None;
            }
            compare_bytes(history, at.checked_sub(offset)?, history, at, match_length)?;
            at += match_length;
            if left > 0 {
                let mut bits = reader.peek();
                literals_length_state =
                    literals_lengths.next_state(literals_length_state, &mut bits);
                match_length_state = match_lengths.next_state(match_length_state, &mut bits);
                offset_state = offsets.next_state(offset_state, &mut bits);
                reader.skip_read(bits);
            }
        }
        let is_rest_same = literals.get(literals_used..)? == history.get(at..)?;
        (is_rest_same && reader.is_finished()).then_some(())
    }
}

/// Reads the table that a mode announces into `table`. The bytes of its description.
fn read_table(
    kind: SymbolType,
    mode: CompressionMode,
    bytes: &[u8],
    table: &mut Option<DecodingTable>,
) -> Option<usize> {
    let (read, description_bytes) = match mode {
        CompressionMode::Repeat => return table.is_some().then_some(0),
        CompressionMode::Predefined => (DecodingTable::new(kind.predefined()), 0),
        CompressionMode::Rle => (DecodingTable::rle(*bytes.first()?), 1),
        CompressionMode::FseCompressed => {
            let (distribution, description_bytes) =
                Distribution::read_description(bytes, kind.accuracy_log_max())?;
            (DecodingTable::new(&distribution), description_bytes)
        }
    };
    *table = Some(read);
    Some(description_bytes)
}

/// By code, its Baseline and Number_of_Bits.
struct Baselines([Option<(u32, u32)>; 64]);

impl Baselines {
    fn new(kind: SymbolType) -> Baselines {
        Baselines(std::array::from_fn(|code| kind.baseline(code as u8)))
    }

    /// The value of a state's code and its additional bits.
    #[inline(always)]
    fn read(&self, state: State, bits: &mut BitContainer) -> Option<u32> {
        let (baseline, number_of_bits) = self.0[usize::from(state.symbol) % 64]?;
        Some(baseline + bits.read(number_of_bits))
    }
}

/// `None` if `length` bytes differ. A match may overlap itself: where this finds no difference, to
/// copy one byte after the other gives the bytes that went in.
#[inline(always)]
fn compare_bytes(a: &[u8], a_at: usize, b: &[u8], b_at: usize, length: usize) -> Option<()> {
    let a = a.get(a_at..a_at + length)?;
    let b = b.get(b_at..b_at + length)?;
    let is_same = match length {
        0 => true,
        // The first and the last bytes, which overlap or meet.
        1..4 => a[0] == b[0] && a[length / 2] == b[length / 2] && a[length - 1] == b[length - 1],
        4..8 => u32_at(a, 0) == u32_at(b, 0) && u32_at(a, length - 4) == u32_at(b, length - 4),
        8..=16 => u64_at(a, 0) == u64_at(b, 0) && u64_at(a, length - 8) == u64_at(b, length - 8),
        _ => a == b,
    };
    is_same.then_some(())
}
