//! The distribution of an FSE table: the probability of each symbol, as a number of the table's states.
//! FSE_Table_Description is how it is written for a decoder (RFC 8878, section 4.1.1).

use super::bits::{BitWriter, ForwardBitReader};

/// More symbols than any alphabet of the format has: Match_Length has the most codes, 53.
pub const SYMBOLS_MAX: usize = 64;
/// The states of the largest table: an Accuracy_Log of 9.
pub const TABLE_SIZE_MAX: usize = 512;
const ACCURACY_LOG_MIN: u32 = 5;

/// How many of the `1 << accuracy_log` states each symbol has, which is its probability.
#[derive(Clone)]
pub struct Distribution {
    /// Accuracy_Log (section 4.1.1).
    pub accuracy_log: u32,
    /// By symbol. -1 is the probability "less than 1": one state, after which a decoder reads all
    /// bits of the next one.
    pub normalized_counts: [i16; SYMBOLS_MAX],
}

impl Distribution {
    /// A distribution as the format gives it, with counts of the first symbols.
    pub const fn predefined(accuracy_log: u32, counts: &[i16]) -> Distribution {
        let mut normalized_counts = [0; SYMBOLS_MAX];
        let mut symbol = 0;
        while symbol < counts.len() {
            normalized_counts[symbol] = counts[symbol];
            symbol += 1;
        }
        Distribution {
            accuracy_log,
            normalized_counts,
        }
    }

    /// One symbol, which is certain: a table of one state, for which nothing is written.
    pub fn rle(symbol: usize) -> Distribution {
        let mut normalized_counts = [0; SYMBOLS_MAX];
        normalized_counts[symbol % SYMBOLS_MAX] = 1;
        Distribution {
            accuracy_log: 0,
            normalized_counts,
        }
    }

    /// The distribution nearest to `counts`, of which at least two are not 0.
    pub fn normalize(counts: &[u32; SYMBOLS_MAX], accuracy_log_max: u32) -> Distribution {
        let total: u32 = counts.iter().sum();
        let present = counts.iter().filter(|count| **count > 0).count() as u32;
        // The description of a large table does not pay for few symbols; each symbol needs a state.
        let by_total = total.saturating_sub(1).max(1).ilog2().saturating_sub(2);
        let by_present = present.ilog2() + 1;
        let accuracy_log = by_total
            .clamp(ACCURACY_LOG_MIN, accuracy_log_max)
            .max(by_present);
        let size = 1u64 << accuracy_log;
        let mut normalized_counts = [0i16; SYMBOLS_MAX];
        let mut remaining = size as i32;
        for (normalized, count) in normalized_counts.iter_mut().zip(counts) {
            if *count > 0 {
                let near = (u64::from(*count) * size + u64::from(total) / 2) / u64::from(total);
                *normalized = near.max(1) as i16;
                remaining -= i32::from(*normalized);
            }
        }
        // The errors of rounding go to the largest count, where they change least.
        while remaining != 0 {
            let Some(largest) = normalized_counts.iter_mut().max() else {
                break;
            };
            let change = if remaining < 0 { -1 } else { remaining as i16 };
            *largest += change;
            remaining -= i32::from(change);
        }
        Distribution {
            accuracy_log,
            normalized_counts,
        }
    }

    /// What the counted symbols cost with this distribution, in 1/256 bits; `None` if it gives no
    /// state to one of them.
    pub fn cost(&self, counts: &[u32; SYMBOLS_MAX]) -> Option<u64> {
        let mut cost = 0;
        for (normalized, count) in self.normalized_counts.iter().zip(counts) {
            if *count > 0 {
                let states = normalized.unsigned_abs() as usize;
                if states == 0 {
                    return None;
                }
                let symbol_cost = (self.accuracy_log << 8) - LOG2_X256[states];
                cost += u64::from(*count) * u64::from(symbol_cost);
            }
        }
        Some(cost)
    }

    /// Writes the FSE_Table_Description (section 4.1.1). Returns its length in bytes; `None` if it does
    /// not fit.
    pub fn write_description(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut writer = BitWriter::new(buffer);
        writer.add(u64::from(self.accuracy_log - ACCURACY_LOG_MIN), 4);
        let mut remaining = Remaining::new(self.accuracy_log);
        let mut symbol = 0;
        while !remaining.is_used_up() && symbol < SYMBOLS_MAX {
            let probability = i32::from(self.normalized_counts[symbol]);
            symbol += 1;
            remaining.write(probability, &mut writer);
            remaining.subtract(probability);
            if probability == 0 {
                let after = self.normalized_counts[symbol..].iter();
                let zeros = after.take_while(|count| **count == 0).count();
                symbol += zeros;
                write_zeros(zeros, &mut writer);
            }
        }
        writer.finish()
    }

    /// Reads an FSE_Table_Description (section 4.1.1), and how many bytes it has. `None` if it is
    /// none, or of a larger table.
    pub fn read_description(bytes: &[u8], accuracy_log_max: u32) -> Option<(Distribution, usize)> {
        let mut reader = ForwardBitReader::new(bytes);
        let accuracy_log = reader.read(4) + ACCURACY_LOG_MIN;
        if accuracy_log > accuracy_log_max {
            return None;
        }
        let mut normalized_counts = [0; SYMBOLS_MAX];
        let mut remaining = Remaining::new(accuracy_log);
        let mut symbol = 0;
        while !remaining.is_used_up() {
            let probability = remaining.read(&mut reader);
            *normalized_counts.get_mut(symbol)? = probability as i16;
            symbol += 1;
            if probability.abs() > remaining.points() {
                return None;
            }
            remaining.subtract(probability);
            if probability == 0 {
                symbol += read_zeros(&mut reader)?;
            }
        }
        let distribution = Distribution {
            accuracy_log,
            normalized_counts,
        };
        Some((distribution, reader.bytes_read()?))
    }

    /// The symbol of each state (section 4.1.1): those "less than 1" from the end of the table on,
    /// the others in steps that reach every state once.
    pub fn spread_symbols(&self) -> [u8; TABLE_SIZE_MAX] {
        let size = 1usize << self.accuracy_log;
        let mut symbols = [0; TABLE_SIZE_MAX];
        let mut high = size;
        for (symbol, count) in self.normalized_counts.iter().enumerate() {
            if *count == -1 {
                high -= 1;
                symbols[high] = symbol as u8;
            }
        }
        let step = (size >> 1) + (size >> 3) + 3;
        let mut position = 0;
        for (symbol, count) in self.normalized_counts.iter().enumerate() {
            for _ in 0..(*count).max(0) {
                symbols[position] = symbol as u8;
                loop {
                    position = (position + step) & (size - 1);
                    if position < high {
                        break;
                    }
                }
            }
        }
        symbols
    }
}

/// The points of probability that no symbol has yet. They decide in how many bits the next
/// probability is written (section 4.1.1): it is written as a value, the probability and 1, from 0
/// to the points and 1.
struct Remaining {
    /// The largest value that may be next.
    value_max: i32,
    /// The largest power of two that is not above `value_max`.
    threshold: i32,
    /// The bits of a value, but for the lowest values, which have one less.
    number_of_bits: u32,
}

impl Remaining {
    fn new(accuracy_log: u32) -> Remaining {
        Remaining {
            value_max: (1 << accuracy_log) + 1,
            threshold: 1 << accuracy_log,
            number_of_bits: accuracy_log + 1,
        }
    }

    fn points(&self) -> i32 {
        self.value_max - 1
    }

    fn is_used_up(&self) -> bool {
        self.points() <= 0
    }

    /// So many of the values, the lowest, have one bit less.
    fn short_values(&self) -> i32 {
        2 * self.threshold - 1 - self.value_max
    }

    /// A symbol has this probability, which is at most the points that remain.
    fn subtract(&mut self, probability: i32) {
        self.value_max -= probability.abs();
        while self.value_max < self.threshold {
            self.threshold >>= 1;
            self.number_of_bits -= 1;
        }
    }

    fn write(&self, probability: i32, writer: &mut BitWriter) {
        let value = probability + 1;
        let short_values = self.short_values();
        if value < short_values {
            writer.add(value as u64, self.number_of_bits - 1);
        } else if value < self.threshold {
            writer.add(value as u64, self.number_of_bits);
        } else {
            writer.add((value + short_values) as u64, self.number_of_bits);
        }
        writer.flush();
    }

    fn read(&self, reader: &mut ForwardBitReader) -> i32 {
        let short_values = self.short_values();
        let mut value = reader.read(self.number_of_bits - 1) as i32;
        if value >= short_values {
            let highest_bit = reader.read(1) as i32;
            value |= highest_bit << (self.number_of_bits - 1);
            if value >= self.threshold {
                value -= short_values;
            }
        }
        value - 1
    }
}

/// Writes how many more symbols have a probability of 0 after one that has: repeat flags of two bits
/// each, of which 3 says that another one follows (section 4.1.1).
fn write_zeros(zeros: usize, writer: &mut BitWriter) {
    for _ in 0..zeros / 3 {
        writer.add(3, 2);
        writer.flush();
    }
    writer.add((zeros % 3) as u64, 2);
    writer.flush();
}

/// What [`write_zeros`] writes; `None` if there are more than there can be symbols.
fn read_zeros(reader: &mut ForwardBitReader) -> Option<usize> {
    let mut zeros = 0;
    loop {
        let flag = reader.read(2) as usize;
        zeros += flag;
        if flag < 3 {
            return Some(zeros);
        }
        if zeros >= SYMBOLS_MAX {
            return None;
        }
    }
}

/// 256 times the logarithm to base 2, in whole numbers: every machine chooses the same tables.
static LOG2_X256: [u32; TABLE_SIZE_MAX + 1] = {
    let mut table = [0; TABLE_SIZE_MAX + 1];
    let mut n = 1;
    while n <= TABLE_SIZE_MAX {
        table[n] = log2_x256(n as u64);
        n += 1;
    }
    table
};

const fn log2_x256(n: u64) -> u32 {
    let mut log = n.ilog2();
    let mut fraction = n << (31 - log);
    let mut bit = 0;
    while bit < 8 {
        fraction = (fraction * fraction) >> 31;
        log <<= 1;
        if fraction >= 2 << 31 {
            fraction >>= 1;
            log |= 1;
        }
        bit += 1;
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
            let distribution = Distribution::normalize(&counts, 9);
            let normalized_counts = distribution.normalized_counts.iter();
            let sum: i32 = normalized_counts.map(|count| i32::from(count.abs())).sum();
            assert_eq!(sum, 1 << distribution.accuracy_log);
            let mut buffer = [0; 200];
            let bytes = distribution.write_description(&mut buffer).unwrap();
            let (read, bytes_read) = Distribution::read_description(&buffer[..bytes], 9).unwrap();
            assert_eq!(read.accuracy_log, distribution.accuracy_log);
            assert_eq!(read.normalized_counts, distribution.normalized_counts);
            assert_eq!(bytes_read, bytes);
            assert!(distribution.cost(&counts).is_some());
        }
    }
}
