//! FSE: Finite State Entropy (RFC 8878, section 4.1). A symbol costs a fraction of bits, the less the
//! more probable it is.
//!
//! A distribution gives each symbol a number of a table's states. To encode a symbol is to go from
//! one state to another, and to write the bits with which a decoder finds the way back. The decoding
//! table is that of section 4.1. The RFC does not say how to encode: the names of the encoding
//! table's parts are those of the reference implementation.

use super::bits::{BackwardBitReader, BitContainer, BitWriter};
use super::distribution::{Distribution, SYMBOLS_MAX, TABLE_SIZE_MAX};

/// The table that turns symbols into bits.
#[derive(Clone)]
pub struct EncodingTable {
    accuracy_log: u32,
    /// The states of each symbol, one symbol after the other: by a symbol's `find_state` and what
    /// is left of the state before, the next state.
    states: [u16; TABLE_SIZE_MAX],
    transforms: [SymbolTransform; SYMBOLS_MAX],
}

/// What leads from a state to the next one that stands for a symbol, the reference's
/// FSE_symbolCompressionTransform.
#[derive(Clone, Copy, Default)]
struct SymbolTransform {
    /// Added to a state, its upper 16 bits are the Number_of_Bits to write: deltaNbBits.
    delta_number_of_bits: u32,
    /// Added to the bits of the state that were not written, an index of `states`: deltaFindState.
    delta_find_state: i32,
}

impl SymbolTransform {
    /// Of a symbol that has so many states, the first of them at `first` in the table.
    fn new(accuracy_log: u32, states: u32, first: i32) -> SymbolTransform {
        match states {
            0 => SymbolTransform::default(),
            1 => SymbolTransform {
                delta_number_of_bits: (accuracy_log << 16).wrapping_sub(1 << accuracy_log),
                delta_find_state: first - 1,
            },
            _ => {
                let bits_max = accuracy_log - (states - 1).ilog2();
                SymbolTransform {
                    delta_number_of_bits: (bits_max << 16) - (states << bits_max),
                    delta_find_state: first - states as i32,
                }
            }
        }
    }
}

impl EncodingTable {
    pub fn new(distribution: &Distribution) -> EncodingTable {
        let accuracy_log = distribution.accuracy_log;
        let size = 1usize << accuracy_log;
        let mut transforms = [SymbolTransform::default(); SYMBOLS_MAX];
        // Where the next state of each symbol goes.
        let mut next = [0usize; SYMBOLS_MAX];
        let mut first = 0;
        for (symbol, count) in distribution.normalized_counts.iter().enumerate() {
            let number = count.unsigned_abs();
            transforms[symbol] = SymbolTransform::new(accuracy_log, number.into(), first as i32);
            next[symbol] = first;
            first += usize::from(number);
        }
        let mut states = [0; TABLE_SIZE_MAX];
        let symbols = distribution.spread_symbols();
        for (state, symbol) in symbols[..size].iter().enumerate() {
            let index = &mut next[usize::from(*symbol)];
            states[*index] = (size + state) as u16;
            *index += 1;
        }
        EncodingTable {
            accuracy_log,
            states,
            transforms,
        }
    }

    /// A state that stands for the symbol: a decoder's last one, and the first to be encoded.
    pub fn first_state(&self, symbol: u8) -> u32 {
        let transform = &self.transforms[usize::from(symbol) % SYMBOLS_MAX];
        let bits = transform.delta_number_of_bits.wrapping_add(1 << 15) >> 16;
        let state = (bits << 16).wrapping_sub(transform.delta_number_of_bits);
        self.next_state(state >> bits, transform)
    }

    /// Encodes the symbol that a decoder reads before those encoded so far. The next state.
    #[inline(always)]
    pub fn encode(&self, state: u32, symbol: u8, writer: &mut BitWriter) -> u32 {
        let transform = &self.transforms[usize::from(symbol) % SYMBOLS_MAX];
        let bits = state.wrapping_add(transform.delta_number_of_bits) >> 16;
        writer.add(u64::from(state) & ((1 << bits) - 1), bits);
        self.next_state(state >> bits, transform)
    }

    #[inline(always)]
    fn next_state(&self, not_written: u32, transform: &SymbolTransform) -> u32 {
        let index = (not_written as i32 + transform.delta_find_state) as usize;
        u32::from(self.states[index % TABLE_SIZE_MAX])
    }

    /// Writes the last state, with which a decoder begins.
    pub fn write_state(&self, state: u32, writer: &mut BitWriter) {
        let accuracy_log = self.accuracy_log;
        writer.add(u64::from(state) & ((1 << accuracy_log) - 1), accuracy_log);
        writer.flush();
    }
}

/// The table that turns bits into symbols (section 4.1).
#[derive(Clone)]
pub struct DecodingTable {
    accuracy_log: u32,
    states: [State; TABLE_SIZE_MAX],
}

/// A state of the table: its symbol, and the next state, which is Baseline and the next Number_of_Bits.
#[derive(Clone, Copy, Default)]
pub struct State {
    pub symbol: u8,
    number_of_bits: u8,
    baseline: u16,
}

impl DecodingTable {
    pub fn new(distribution: &Distribution) -> DecodingTable {
        let accuracy_log = distribution.accuracy_log;
        let size = 1usize << accuracy_log;
        let mut numbers = distribution
            .normalized_counts
            .map(|count| u32::from(count.unsigned_abs()));
        let mut states = [State::default(); TABLE_SIZE_MAX];
        let symbols = distribution.spread_symbols();
        for (state, symbol) in states.iter_mut().zip(&symbols[..size]) {
            let number = &mut numbers[usize::from(*symbol)];
            let number_of_bits = accuracy_log - (*number).max(1).ilog2();
            *state = State {
                symbol: *symbol,
                number_of_bits: number_of_bits as u8,
                baseline: ((*number << number_of_bits) as usize - size) as u16,
            };
            *number += 1;
        }
        DecodingTable {
            accuracy_log,
            states,
        }
    }

    /// A table of one state, which repeats one symbol and reads no bits.
    pub fn rle(symbol: u8) -> DecodingTable {
        let mut states = [State::default(); TABLE_SIZE_MAX];
        states[0].symbol = symbol;
        DecodingTable {
            accuracy_log: 0,
            states,
        }
    }

    /// The state that is read first.
    pub fn read_state(&self, reader: &mut BackwardBitReader) -> State {
        self.states[reader.read(self.accuracy_log) as usize % TABLE_SIZE_MAX]
    }

    #[inline(always)]
    pub fn next_state(&self, state: State, bits: &mut BitContainer) -> State {
        let offset = bits.read(u32::from(state.number_of_bits)) as usize;
        self.states[(usize::from(state.baseline) + offset) % TABLE_SIZE_MAX]
    }

    /// Whether `reader` has the bits that lead from `state` to the next one.
    pub fn has_next_state(state: State, reader: &BackwardBitReader) -> bool {
        reader.bits_left() >= usize::from(state.number_of_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let symbols: Vec<u8> = (0..5000u32).map(|i| (i * i % 29 % 13) as u8).collect();
        let mut counts = [0; SYMBOLS_MAX];
        for symbol in &symbols {
            counts[usize::from(*symbol)] += 1;
        }
        let distribution = Distribution::normalize(&counts, 8);
        let table = EncodingTable::new(&distribution);
        let mut buffer = vec![0; 20_000];
        let mut writer = BitWriter::new(&mut buffer);
        let mut state = table.first_state(symbols[symbols.len() - 1]);
        for symbol in symbols[..symbols.len() - 1].iter().rev() {
            state = table.encode(state, *symbol, &mut writer);
            writer.flush();
        }
        table.write_state(state, &mut writer);
        let bytes = writer.finish_marked().unwrap();
        let expected = distribution.cost(&counts).unwrap() / 256 / 8;
        assert!(expected.abs_diff(bytes as u64) < 50, "{expected} {bytes}");
        let table = DecodingTable::new(&distribution);
        let mut reader = BackwardBitReader::new(&buffer[..bytes]).unwrap();
        let mut state = table.read_state(&mut reader);
        for (i, symbol) in symbols.iter().enumerate() {
            assert_eq!(state.symbol, *symbol);
            if i + 1 < symbols.len() {
                let mut bits = reader.peek();
                state = table.next_state(state, &mut bits);
                reader.skip_read(bits);
            }
        }
        assert!(reader.is_finished());
    }
}
