//! Sequences_Section: each sequence is a Literals_Length, a Match_Length and an Offset_Value (RFC
//! 8878, section 3.1.1.3.2). Each of the three is a code, which FSE encodes, and additional bits.

use super::bits::BitWriter;
use super::distribution::{Distribution, SYMBOLS_MAX};
use super::fse::EncodingTable;
use super::sequence_codes::{SymbolType, literals_length_code, match_length_code};

/// The shortest match of the format (section 3.1.1.3.2.1.1).
pub const MATCH_LENGTH_MIN: usize = 3;

/// Literals, then a match.
#[derive(Clone, Copy)]
pub struct Sequence {
    literals_length: u32,
    /// Match_Length less [`MATCH_LENGTH_MIN`].
    match_length: u32,
    /// Offset_Value (section 3.1.1.5).
    offset_value: u32,
    /// In the order of [`SymbolType::ALL`].
    codes: [u8; 3],
}

impl Sequence {
    pub fn new(literals_length: usize, match_length: usize, offset_value: u32) -> Sequence {
        let literals_length = literals_length as u32;
        let match_length = (match_length - MATCH_LENGTH_MIN) as u32;
        Sequence {
            literals_length,
            match_length,
            offset_value,
            codes: [
                literals_length_code(literals_length),
                offset_value.ilog2() as u8,
                match_length_code(match_length),
            ],
        }
    }
}

/// The three repeat offsets, Repeated_Offset1 first (section 3.1.1.5). An Offset_Value of 1 to 3
/// stands for one of them; a larger one is an offset and 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatOffsets(pub [u32; 3]);

impl RepeatOffsets {
    /// Those of a frame's first compressed block.
    pub const INITIAL: RepeatOffsets = RepeatOffsets([1, 4, 8]);

    /// The Offset_Value of an offset that follows so many literals. The offset becomes the first
    /// repeat offset.
    #[inline(always)]
    pub fn offset_value(&mut self, offset: u32, literals_length: usize) -> u32 {
        let [first, second, third] = self.0;
        let offset_value = if literals_length > 0 {
            if offset == first {
                return 1;
            } else if offset == second {
                2
            } else if offset == third {
                3
            } else {
                offset + 3
            }
        } else {
            // Without literals the three stand for the second, the third, and the first less 1.
            if offset == second {
                1
            } else if offset == third {
                2
            } else if offset + 1 == first {
                3
            } else {
                offset + 3
            }
        };
        let new_third = if offset == second { third } else { second };
        self.0 = [offset, first, new_third];
        offset_value
    }

    /// The offset of an Offset_Value that follows so many literals, which becomes the first repeat
    /// offset; `None` if it would be 0.
    #[inline(always)]
    pub fn offset(&mut self, offset_value: u32, literals_length: usize) -> Option<u32> {
        let [first, second, third] = self.0;
        let (offset, repeat_offsets) = if offset_value > 3 {
            (offset_value - 3, [offset_value - 3, first, second])
        } else {
            match offset_value + u32::from(literals_length == 0) {
                1 => (first, [first, second, third]),
                2 => (second, [second, first, third]),
                3 => (third, [third, first, second]),
                _ => (first.checked_sub(1)?, [first - 1, first, second]),
            }
        };
        self.0 = repeat_offsets;
        (offset > 0).then_some(offset)
    }
}

/// Where a decoder has the table of a symbol type from (section 3.1.1.3.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionMode {
    /// Predefined_Mode: the default distribution.
    Predefined = 0,
    /// RLE_Mode: one code, repeated.
    Rle = 1,
    /// FSE_Compressed_Mode: an FSE_Table_Description.
    FseCompressed = 2,
    /// Repeat_Mode: the table of the last compressed block that had sequences.
    Repeat = 3,
}

impl CompressionMode {
    pub fn of(bits: u8) -> CompressionMode {
        match bits & 3 {
            0 => CompressionMode::Predefined,
            1 => CompressionMode::Rle,
            2 => CompressionMode::FseCompressed,
            _ => CompressionMode::Repeat,
        }
    }
}

/// The tables that the next block may repeat, in the order of [`SymbolType::ALL`].
#[derive(Clone, Default)]
pub struct Tables([Option<Table>; 3]);

#[derive(Clone)]
struct Table {
    distribution: Distribution,
    encoding: EncodingTable,
}

impl Table {
    fn new(distribution: Distribution) -> Table {
        Table {
            encoding: EncodingTable::new(&distribution),
            distribution,
        }
    }
}

/// Writes the section. `tables` become those of this block. Returns the section's length in bytes;
/// `None` if it does not fit, and then `tables` are of no use.
pub fn write_section(
    sequences: &[Sequence],
    tables: &mut Tables,
    buffer: &mut [u8],
) -> Option<usize> {
    let modes_at = write_number_of_sequences(sequences.len(), buffer)?;
    if sequences.is_empty() {
        return Some(modes_at);
    }
    let mut end = modes_at + 1;
    let mut modes = [CompressionMode::Predefined; 3];
    for (kind, counts) in SymbolType::ALL.into_iter().zip(&counts_of(sequences)) {
        let table = &mut tables.0[kind as usize];
        let (mode, bytes) = choose_table(kind, counts, table, buffer.get_mut(end..)?)?;
        modes[kind as usize] = mode;
        end += bytes;
    }
    let [literals_lengths, offsets, match_lengths] = modes.map(|mode| mode as u8);
    *buffer.get_mut(modes_at)? = literals_lengths << 6 | offsets << 4 | match_lengths << 2;
    end += write_bitstream(sequences, tables, buffer.get_mut(end..)?)?;
    // Only a table that was described, here or earlier, is repeated. The format would allow the
    // others as well.
    for (table, mode) in tables.0.iter_mut().zip(modes) {
        if matches!(mode, CompressionMode::Predefined | CompressionMode::Rle) {
            *table = None;
        }
    }
    Some(end)
}

/// How often each code occurs, of the three symbol types.
fn counts_of(sequences: &[Sequence]) -> [[u32; SYMBOLS_MAX]; 3] {
    let mut counts = [[0; SYMBOLS_MAX]; 3];
    for sequence in sequences {
        for (counts, code) in counts.iter_mut().zip(sequence.codes) {
            counts[usize::from(code) % SYMBOLS_MAX] += 1;
        }
    }
    counts
}

/// Puts the cheapest table of a symbol type into `table`, and writes what a decoder needs to have
/// it. Returns the mode, and how many bytes were written.
fn choose_table(
    kind: SymbolType,
    counts: &[u32; SYMBOLS_MAX],
    table: &mut Option<Table>,
    buffer: &mut [u8],
) -> Option<(CompressionMode, usize)> {
    let present = counts.iter().filter(|count| **count > 0).count();
    if present == 1 {
        let code = counts.iter().position(|count| *count > 0)?;
        *table = Some(Table::new(Distribution::rle(code)));
        *buffer.first_mut()? = code as u8;
        return Some((CompressionMode::Rle, 1));
    }
    let described = Distribution::normalize(counts, kind.accuracy_log_max());
    let description_bytes = described.write_description(buffer)?;
    let described_cost = described.cost(counts)? + 8 * 256 * description_bytes as u64;
    let predefined_cost = kind.predefined().cost(counts).unwrap_or(u64::MAX);
    let repeat_cost = table
        .as_ref()
        .and_then(|table| table.distribution.cost(counts))
        .unwrap_or(u64::MAX);
    if repeat_cost <= described_cost && repeat_cost <= predefined_cost {
        return Some((CompressionMode::Repeat, 0));
    }
    if predefined_cost <= described_cost {
        *table = Some(Table::new(kind.predefined().clone()));
        return Some((CompressionMode::Predefined, 0));
    }
    *table = Some(Table::new(described));
    Some((CompressionMode::FseCompressed, description_bytes))
}

/// Writes the bitstream, from the last sequence to the first, since a decoder reads backwards
/// (section 3.1.1.3.2.1.2). Returns its length in bytes.
fn write_bitstream(sequences: &[Sequence], tables: &Tables, buffer: &mut [u8]) -> Option<usize> {
    let (last, others) = sequences.split_last()?;
    let [literals_lengths, offsets, match_lengths] = &tables.0;
    let literals_lengths = &literals_lengths.as_ref()?.encoding;
    let offsets = &offsets.as_ref()?.encoding;
    let match_lengths = &match_lengths.as_ref()?.encoding;
    let mut writer = BitWriter::new(buffer);
    let [literals_length_code, offset_code, match_length_code] = last.codes;
    let mut literals_length_state = literals_lengths.first_state(literals_length_code);
    let mut offset_state = offsets.first_state(offset_code);
    let mut match_length_state = match_lengths.first_state(match_length_code);
    add_additional_bits(last, &mut writer);
    for sequence in others.iter().rev() {
        let [literals_length_code, offset_code, match_length_code] = sequence.codes;
        offset_state = offsets.encode(offset_state, offset_code, &mut writer);
        match_length_state =
            match_lengths.encode(match_length_state, match_length_code, &mut writer);
        literals_length_state =
            literals_lengths.encode(literals_length_state, literals_length_code, &mut writer);
        writer.flush();
        add_additional_bits(sequence, &mut writer);
    }
    match_lengths.write_state(match_length_state, &mut writer);
    offsets.write_state(offset_state, &mut writer);
    literals_lengths.write_state(literals_length_state, &mut writer);
    writer.finish_marked()
}

/// Adds how far each of the three values is above the Baseline of its code. A Baseline is a multiple
/// of the range of its code: the lowest bits of the value are that difference.
#[inline(always)]
fn add_additional_bits(sequence: &Sequence, writer: &mut BitWriter) {
    let [literals_length_code, offset_code, match_length_code] = sequence.codes;
    let mut add = |value: u32, bits: u32| {
        writer.add(u64::from(value) & ((1 << bits) - 1), bits);
    };
    add(
        sequence.literals_length,
        SymbolType::literals_length_bits(literals_length_code),
    );
    add(
        sequence.match_length,
        SymbolType::match_length_bits(match_length_code),
    );
    // At most 7 + 16 + 16 + 24 bits wait for this flush, since a window has less than 2^24 bytes.
    add(sequence.offset_value, u32::from(offset_code));
    writer.flush();
}

/// Writes Number_of_Sequences (section 3.1.1.3.2.1). Returns its length in bytes.
fn write_number_of_sequences(number: usize, buffer: &mut [u8]) -> Option<usize> {
    let [low, high, ..] = number.to_le_bytes();
    let bytes: &[u8] = match number {
        0..128 => &[low],
        128..0x7f00 => &[high | 0x80, low],
        _ => {
            let [low, high, ..] = (number - 0x7f00).to_le_bytes();
            &[0xff, low, high]
        }
    };
    buffer.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(bytes.len())
}

/// Number_of_Sequences, and how many bytes it has (section 3.1.1.3.2.1).
pub fn read_number_of_sequences(bytes: &[u8]) -> Option<(usize, usize)> {
    let byte = |at: usize| bytes.get(at).map(|byte| usize::from(*byte));
    match byte(0)? {
        first @ 0..128 => Some((first, 1)),
        0xff => Some((byte(1)? + (byte(2)? << 8) + 0x7f00, 3)),
        first => Some((((first & 0x7f) << 8) + byte(1)?, 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_value_is_read_as_the_offset_it_was_made_of() {
        let mut encoder = RepeatOffsets::INITIAL;
        let mut decoder = RepeatOffsets::INITIAL;
        for i in 0..5000u32 {
            let offset = [1, 4, 5, 7, 8, 9, 100][(i * i % 7919 % 7) as usize];
            let literals_length = (i % 3) as usize;
            let offset_value = encoder.offset_value(offset, literals_length);
            let read = decoder.offset(offset_value, literals_length);
            assert_eq!(read, Some(offset), "{i}");
            assert_eq!(encoder, decoder);
        }
    }

    #[test]
    fn a_number_of_sequences_is_read_as_it_was_written() {
        for number in [
            0, 1, 127, 128, 255, 256, 0x7eff, 0x7f00, 0x7f01, 0x8000, 43_690,
        ] {
            let mut buffer = [0; 3];
            let bytes = write_number_of_sequences(number, &mut buffer).unwrap();
            assert_eq!(read_number_of_sequences(&buffer), Some((number, bytes)));
        }
    }
}
