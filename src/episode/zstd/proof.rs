//! Decodes each compressed block after it was written, and compares it with its input (RFC 8878, sections
//! 3.1.1.3 to 3.1.1.5).
//!
//! An episode's directory is deleted in the end, and then its tarball is the only copy. So each block is
//! decoded from its written bytes alone, with tables of this module's own. Literals are compared with
//! literals, and a match with the bytes that it stands for. The decoded bytes are not copied into one
//! buffer, which is most of the cost of a usual decoder.

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
    /// Returns their length in bytes.
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
        let mut reader = SequenceReader::new(&self.fse_tables, bitstream)?;
        let mut at = begin;
        let mut literals_used = 0;
        for left in (0..number).rev() {
            let sequence = reader.read()?;
            let literals_length = sequence.literals_length;
            compare_bytes(literals, literals_used, history, at, literals_length)?;
            literals_used += literals_length;
            at += literals_length;
            let offset = self
                .repeat_offsets
                .offset(sequence.offset_value, literals_length)? as usize;
            if offset > WINDOW_BYTES {
                return None;
            }
            let source = at.checked_sub(offset)?;
            compare_bytes(history, source, history, at, sequence.match_length)?;
            at += sequence.match_length;
            if left > 0 {
                reader.advance();
            }
        }
        let is_rest_same = literals.get(literals_used..)? == history.get(at..)?;
        (is_rest_same && reader.bits.is_finished()).then_some(())
    }
}

/// The values of one sequence, as the bitstream has them.
struct DecodedSequence {
    literals_length: usize,
    match_length: usize,
    offset_value: u32,
}

/// Reads the bitstream of the sequences: a state of each symbol type leads from each sequence to the
/// next one (section 3.1.1.3.2.1.2).
struct SequenceReader<'a> {
    /// In the order of [`SymbolType::ALL`], as the two below.
    tables: [&'a DecodingTable; 3],
    baselines: [Baselines; 3],
    states: [State; 3],
    bits: BackwardBitReader<'a>,
}

const LITERALS_LENGTH: usize = SymbolType::LiteralsLength as usize;
const OFFSET: usize = SymbolType::Offset as usize;
const MATCH_LENGTH: usize = SymbolType::MatchLength as usize;

impl<'a> SequenceReader<'a> {
    fn new(
        tables: &'a [Option<DecodingTable>; 3],
        bitstream: &'a [u8],
    ) -> Option<SequenceReader<'a>> {
        let [literals_lengths, offsets, match_lengths] = tables;
        let tables = [
            literals_lengths.as_ref()?,
            offsets.as_ref()?,
            match_lengths.as_ref()?,
        ];
        let mut bits = BackwardBitReader::new(bitstream)?;
        Some(SequenceReader {
            tables,
            baselines: SymbolType::ALL.map(Baselines::new),
            states: tables.map(|table| table.read_state(&mut bits)),
            bits,
        })
    }

    /// The sequence of the present states.
    #[inline(always)]
    fn read(&mut self) -> Option<DecodedSequence> {
        // At most three times 16 bits: an offset that has more is not in the window.
        let mut bits = self.bits.peek();
        let offset_value = self.baselines[OFFSET].read(self.states[OFFSET], &mut bits)?;
        let match_length =
            self.baselines[MATCH_LENGTH].read(self.states[MATCH_LENGTH], &mut bits)?;
        let literals_length =
            self.baselines[LITERALS_LENGTH].read(self.states[LITERALS_LENGTH], &mut bits)?;
        self.bits.skip_read(bits);
        Some(DecodedSequence {
            literals_length: literals_length as usize,
            match_length: match_length as usize + MATCH_LENGTH_MIN,
            offset_value,
        })
    }

    /// Goes on to the states of the next sequence.
    #[inline(always)]
    fn advance(&mut self) {
        let mut bits = self.bits.peek();
        for kind in [LITERALS_LENGTH, MATCH_LENGTH, OFFSET] {
            self.states[kind] = self.tables[kind].next_state(self.states[kind], &mut bits);
        }
        self.bits.skip_read(bits);
    }
}

/// Reads the table that a mode announces into `table`. Returns the length of its description in bytes.
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
