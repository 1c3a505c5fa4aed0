//! Finite state entropy: how symbols whose shares are known become fractions of bits.
//!
//! A distribution gives each symbol a number of the table's states; writing a symbol moves from
//! state to state and writes the bits that the way back needs.

use super::bits::{BackwardReader, BitWriter, Look};

/// More symbols than any of the format's alphabets has.
pub const SYMBOLS_MAX: usize = 64;
/// The largest table of the format: 2^9 states.
pub const STATES_MAX: usize = 512;
const LOG_MIN: u32 = 5;

/// How many of a table's `1 << log` states each symbol has. -1 is one state of the least worth.
#[derive(Clone)]
pub struct Distribution {
    pub log: u32,
    pub shares: [i16; SYMBOLS_MAX],
}

impl Distribution {
    pub const fn given(log: u32, given: &[i16]) -> Distribution {
        let mut shares = [0; SYMBOLS_MAX];
        let mut i = 0;
        while i < given.len() {
            shares[i] = given[i];
            i += 1;
        }
        Distribution { log, shares }
    }

    /// One symbol, which is certain: states say nothing, and nothing is written.
    pub fn only(symbol: usize) -> Distribution {
        let mut shares = [0; SYMBOLS_MAX];
        shares[symbol % SYMBOLS_MAX] = 1;
        Distribution { log: 0, shares }
    }

    /// Shares as near to `counts` as they can be. At least two symbols occur.
    pub fn of(counts: &[u32; SYMBOLS_MAX], log_max: u32) -> Distribution {
        let total: u32 = counts.iter().sum();
        let present = counts.iter().filter(|count| **count > 0).count() as u32;
        // Few symbols do not pay for a large table; each needs a state.
        let by_total = total.saturating_sub(1).max(1).ilog2().saturating_sub(2);
        let by_present = present.ilog2() + 1;
        let log = by_total.clamp(LOG_MIN, log_max).max(by_present);
        let size = 1u64 << log;
        let mut shares = [0i16; SYMBOLS_MAX];
        let mut left = size as i32;
        for (share, count) in shares.iter_mut().zip(counts) {
            if *count > 0 {
                let near = (u64::from(*count) * size + u64::from(total) / 2) / u64::from(total);
                *share = near.max(1) as i16;
                left -= i32::from(*share);
            }
        }
        // Rounding is made good where it changes least.
        while left != 0 {
            let Some(largest) = shares.iter_mut().max() else {
                break;
            };
            let change = if left < 0 { -1 } else { left as i16 };
            *largest += change;
            left -= i32::from(change);
        }
        Distribution { log, shares }
    }

    /// What the counted symbols cost with these shares, in 1/256 bits; `None` if one has no share.
    pub fn cost(&self, counts: &[u32; SYMBOLS_MAX]) -> Option<u64> {
        let mut cost = 0;
        for (share, count) in self.shares.iter().zip(counts) {
            if *count > 0 {
                let states = share.unsigned_abs() as usize;
                if states == 0 {
                    return None;
                }
                cost += u64::from(*count) * u64::from((self.log << 8) - LOG2_X256[states]);
            }
        }
        Some(cost)
    }

    /// Writes the description. Its bytes.
    pub fn write(&self, room: &mut [u8]) -> Option<usize> {
        let mut writer = BitWriter::new(room);
        writer.add(u64::from(self.log - LOG_MIN), 4);
        let mut left = (1i32 << self.log) + 1;
        let (mut threshold, mut width) = (1i32 << self.log, self.log + 1);
        let mut symbol = 0;
        while left > 1 && symbol < SYMBOLS_MAX {
            let share = i32::from(self.shares[symbol]);
            symbol += 1;
            let beyond = 2 * threshold - 1 - left;
            left -= share.abs();
            // The lower values have a bit less.
            let value = share + 1;
            let shown = if value >= threshold {
                value + beyond
            } else {
                value
            };
            writer.add(shown as u64, width - u32::from(value < beyond));
            writer.flush();
            if share == 0 {
                let zeros = self.shares[symbol..]
                    .iter()
                    .take_while(|share| **share == 0);
                let mut zeros = zeros.count();
                symbol += zeros;
                while zeros >= 3 {
                    writer.add(3, 2);
                    writer.flush();
                    zeros -= 3;
                }
                writer.add(zeros as u64, 2);
                writer.flush();
            }
            while left < threshold {
                threshold >>= 1;
                width -= 1;
            }
        }
        writer.end()
    }

    /// Reads a description, and how many bytes it has.
    pub fn read(bytes: &[u8], log_max: u32) -> Option<(Distribution, usize)> {
        let mut at = 0;
        let mut take = |count: u32| {
            let byte = at >> 3;
            let mut near = [0; 4];
            for (to, from) in near.iter_mut().zip(bytes.get(byte..).unwrap_or_default()) {
                *to = *from;
            }
            let value = u32::from_le_bytes(near) >> (at & 7) & ((1 << count) - 1);
            at += count as usize;
            (value as i32, at)
        };
        let log = take(4).0 as u32 + LOG_MIN;
        if log > log_max {
            return None;
        }
        let mut shares = [0; SYMBOLS_MAX];
        let mut left = (1i32 << log) + 1;
        let (mut threshold, mut width) = (1i32 << log, log + 1);
        let mut symbol = 0;
        let mut end = 0;
        while left > 1 {
            let beyond = 2 * threshold - 1 - left;
            let mut value = take(width - 1).0;
            if value >= beyond {
                value |= take(1).0 << (width - 1);
                if value >= threshold {
                    value -= beyond;
                }
            }
            let share = value - 1;
            *shares.get_mut(symbol)? = share as i16;
            symbol += 1;
            left -= share.abs();
            if left < 1 {
                return None;
            }
            if share == 0 {
                loop {
                    let zeros = take(2).0;
                    symbol += zeros as usize;
                    if zeros < 3 {
                        break;
                    }
                    if symbol >= SYMBOLS_MAX {
                        return None;
                    }
                }
            }
            while left < threshold {
                threshold >>= 1;
                width -= 1;
            }
            end = take(0).1;
        }
        let length = end.div_ceil(8);
        (length <= bytes.len()).then_some((Distribution { log, shares }, length))
    }

    /// Which symbol each state is.
    fn spread(&self) -> [u8; STATES_MAX] {
        let size = 1usize << self.log;
        let mut symbols = [0; STATES_MAX];
        let mut high = size;
        for (symbol, share) in self.shares.iter().enumerate() {
            if *share == -1 {
                high -= 1;
                symbols[high] = symbol as u8;
            }
        }
        let step = (size >> 1) + (size >> 3) + 3;
        let mut at = 0;
        for (symbol, share) in self.shares.iter().enumerate() {
            for _ in 0..(*share).max(0) {
                symbols[at] = symbol as u8;
                loop {
                    at = (at + step) & (size - 1);
                    if at < high {
                        break;
                    }
                }
            }
        }
        symbols
    }
}

/// The writing side of a table.
#[derive(Clone)]
pub struct Encoder {
    log: u32,
    /// The next state, by the symbol's first place here and what is left of the present state.
    next: [u16; STATES_MAX],
    symbols: [Move; SYMBOLS_MAX],
}

#[derive(Clone, Copy, Default)]
struct Move {
    /// Added to a state, its upper half is how many bits are written.
    bits: u32,
    /// Added to what is left of the state, the place in `next`.
    place: i32,
}

impl Encoder {
    pub fn new(distribution: &Distribution) -> Encoder {
        let log = distribution.log;
        let size = 1usize << log;
        let mut first = [0usize; SYMBOLS_MAX + 1];
        for (i, share) in distribution.shares.iter().enumerate() {
            first[i + 1] = first[i] + share.unsigned_abs() as usize;
        }
        let mut symbols = [Move::default(); SYMBOLS_MAX];
        for (i, share) in distribution.shares.iter().enumerate() {
            let begin = first[i] as i32;
            symbols[i] = match share.unsigned_abs() {
                0 => Move::default(),
                1 => Move {
                    bits: (log << 16).wrapping_sub(1 << log),
                    place: begin - 1,
                },
                states => {
                    let states = u32::from(states);
                    let bits_max = log - (states - 1).ilog2();
                    Move {
                        bits: (bits_max << 16) - (states << bits_max),
                        place: begin - states as i32,
                    }
                }
            };
        }
        let mut next = [0; STATES_MAX];
        let mut filled = first;
        for (state, symbol) in distribution.spread()[..size].iter().enumerate() {
            let place = &mut filled[usize::from(*symbol)];
            next[*place] = (size + state) as u16;
            *place += 1;
        }
        Encoder { log, next, symbols }
    }

    /// The state that the last symbol is written as.
    pub fn begin(&self, symbol: u8) -> u32 {
        let step = &self.symbols[usize::from(symbol) % SYMBOLS_MAX];
        let bits = step.bits.wrapping_add(1 << 15) >> 16;
        let state = (bits << 16).wrapping_sub(step.bits);
        self.next(state >> bits, step)
    }

    /// Writes the symbol before those that were written.
    #[inline(always)]
    pub fn encode(&self, state: u32, symbol: u8, writer: &mut BitWriter) -> u32 {
        let step = &self.symbols[usize::from(symbol) % SYMBOLS_MAX];
        let bits = state.wrapping_add(step.bits) >> 16;
        writer.add(u64::from(state) & ((1 << bits) - 1), bits);
        self.next(state >> bits, step)
    }

    #[inline(always)]
    fn next(&self, left: u32, step: &Move) -> u32 {
        let place = (left as i32 + step.place) as usize;
        u32::from(self.next[place % STATES_MAX])
    }

    /// Writes the state that the reader begins with.
    pub fn end(&self, state: u32, writer: &mut BitWriter) {
        writer.add(u64::from(state) & ((1 << self.log) - 1), self.log);
        writer.flush();
    }
}

/// The reading side of a table.
#[derive(Clone)]
pub struct Decoder {
    log: u32,
    states: [State; STATES_MAX],
}

#[derive(Clone, Copy, Default)]
pub struct State {
    pub symbol: u8,
    bits: u8,
    base: u16,
}

impl Decoder {
    pub fn new(distribution: &Distribution) -> Decoder {
        let log = distribution.log;
        let size = 1usize << log;
        let mut seen = distribution
            .shares
            .map(|share| u32::from(share.unsigned_abs()));
        let mut states = [State::default(); STATES_MAX];
        for (state, symbol) in states.iter_mut().zip(&distribution.spread()[..size]) {
            let number = &mut seen[usize::from(*symbol)];
            let bits = log - (*number).max(1).ilog2();
            *state = State {
                symbol: *symbol,
                bits: bits as u8,
                base: ((*number << bits) as usize - size) as u16,
            };
            *number += 1;
        }
        Decoder { log, states }
    }

    /// Every symbol is this one, and costs nothing.
    pub fn only(symbol: u8) -> Decoder {
        let mut states = [State::default(); STATES_MAX];
        states[0].symbol = symbol;
        Decoder { log: 0, states }
    }

    pub fn begin(&self, reader: &mut BackwardReader) -> State {
        self.states[reader.take(self.log) as usize % STATES_MAX]
    }

    #[inline(always)]
    pub fn next(&self, state: State, look: &mut Look) -> State {
        let place = usize::from(state.base) + look.take(u32::from(state.bits)) as usize;
        self.states[place % STATES_MAX]
    }

    /// Whether the next state can be read.
    pub fn has_next(state: State, reader: &BackwardReader) -> bool {
        reader.left() >= usize::from(state.bits)
    }
}

/// 256 times the logarithm to base 2. Whole numbers, so that every machine chooses alike.
static LOG2_X256: [u32; STATES_MAX + 1] = {
    let mut table = [0; STATES_MAX + 1];
    let mut n = 1;
    while n <= STATES_MAX {
        table[n] = log2_x256(n as u64);
        n += 1;
    }
    table
};

const fn log2_x256(n: u64) -> u32 {
    let whole = n.ilog2();
    let mut rest = n << (31 - whole);
    let (mut log, mut i) = (whole, 0);
    while i < 8 {
        rest = (rest * rest) >> 31;
        log <<= 1;
        if rest >= 2 << 31 {
            rest >>= 1;
            log |= 1;
        }
        i += 1;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: impl Fn(u32) -> u32, symbols: u32) -> [u32; SYMBOLS_MAX] {
        let mut counts = [0; SYMBOLS_MAX];
        (0..symbols).for_each(|i| counts[i as usize] = of(i));
        counts
    }

    #[test]
    fn a_description_is_read_as_it_was_written_and_fills_its_table() {
        let shapes = [
            counts(|i| i, 20),
            counts(|i| 1 << (i % 20), 53),
            counts(|i| u32::from(i % 17 == 3) * (i + 1), 53),
            counts(|i| u32::from(i == 0 || i == 52), 53),
            counts(|i| if i == 7 { 1_000_000 } else { 1 }, 53),
            counts(|_| 1, 2),
        ];
        for counts in shapes {
            let distribution = Distribution::of(&counts, 9);
            let sum: i32 = distribution
                .shares
                .iter()
                .map(|share| i32::from(share.abs()))
                .sum();
            assert_eq!(sum, 1 << distribution.log);
            let mut room = [0; 200];
            let length = distribution.write(&mut room).unwrap();
            let (read, read_length) = Distribution::read(&room[..length], 9).unwrap();
            assert_eq!((read.log, read_length), (distribution.log, length));
            assert_eq!(read.shares, distribution.shares);
            assert!(distribution.cost(&counts).is_some());
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let symbols: Vec<u8> = (0..5000u32).map(|i| (i * i % 29 % 13) as u8).collect();
        let mut counts = [0; SYMBOLS_MAX];
        symbols
            .iter()
            .for_each(|symbol| counts[usize::from(*symbol)] += 1);
        let distribution = Distribution::of(&counts, 8);
        let encoder = Encoder::new(&distribution);
        let mut room = vec![0; 20_000];
        let mut writer = BitWriter::new(&mut room);
        let mut state = encoder.begin(symbols[symbols.len() - 1]);
        for symbol in symbols[..symbols.len() - 1].iter().rev() {
            state = encoder.encode(state, *symbol, &mut writer);
            writer.flush();
        }
        encoder.end(state, &mut writer);
        let length = writer.end_marked().unwrap();
        let estimated = distribution.cost(&counts).unwrap() / 256 / 8;
        assert!(
            estimated.abs_diff(length as u64) < 50,
            "{estimated} {length}"
        );
        let decoder = Decoder::new(&distribution);
        let mut reader = BackwardReader::new(&room[..length]).unwrap();
        let mut state = decoder.begin(&mut reader);
        for (i, symbol) in symbols.iter().enumerate() {
            assert_eq!(state.symbol, *symbol);
            if i + 1 < symbols.len() {
                let mut look = reader.look();
                state = decoder.next(state, &mut look);
                reader.after(look);
            }
        }
        assert!(reader.is_spent());
    }
}
