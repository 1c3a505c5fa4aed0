//! Sequences: how many literals, then how much to repeat from how far back. Each of the three is a
//! code, which fse writes, and bits that say where in the code's range it lies.

use super::bits::BitWriter;
use super::fse::{Distribution, Encoder, SYMBOLS_MAX};

/// The shortest repetition of the format.
pub const MATCH_BYTES_MIN: usize = 3;

/// Literals, then a repetition.
#[derive(Clone, Copy)]
pub struct Sequence {
    pub literals: u32,
    /// Its length less [`MATCH_BYTES_MIN`].
    pub length: u32,
    /// 1 to 3 name one of the last three distances; above, it is the distance and 3.
    pub distance: u32,
    /// Of each, in [`Part`]'s order.
    codes: [u8; 3],
}

impl Sequence {
    pub fn new(literals: usize, length: usize, distance: u32) -> Sequence {
        let (literals, length) = (literals as u32, (length - MATCH_BYTES_MIN) as u32);
        Sequence {
            literals,
            length,
            distance,
            codes: [
                literals_code(literals),
                distance.ilog2() as u8,
                length_code(length),
            ],
        }
    }
}

/// The last three distances, which have short names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recent(pub [u32; 3]);

impl Recent {
    /// As a frame begins.
    pub const FIRST: Recent = Recent([1, 4, 8]);

    /// The name of a distance after so many literals, remembering it.
    #[inline(always)]
    pub fn name(&mut self, distance: u32, literals: usize) -> u32 {
        let [a, b, c] = self.0;
        let name = match literals > 0 {
            true if distance == a => return 1,
            true if distance == b => 2,
            true if distance == c => 3,
            false if distance == b => 1,
            false if distance == c => 2,
            false if distance + 1 == a => 3,
            _ => distance + 3,
        };
        self.0 = match distance == b {
            true => [b, a, c],
            false => [distance, a, b],
        };
        name
    }

    /// The distance of a name, remembering it; `None` if there is none.
    #[inline(always)]
    pub fn distance(&mut self, name: u32, literals: usize) -> Option<u32> {
        let [a, b, c] = self.0;
        let place = name + u32::from(literals == 0);
        let (distance, recent) = match place {
            _ if name > 3 => (name - 3, [name - 3, a, b]),
            1 => (a, [a, b, c]),
            2 => (b, [b, a, c]),
            3 => (c, [c, a, b]),
            _ => (a.checked_sub(1)?, [a - 1, a, b]),
        };
        self.0 = recent;
        (distance > 0).then_some(distance)
    }
}

/// The three parts of a sequence in the order in which their tables are described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Literals,
    Distance,
    Length,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Literals, Part::Distance, Part::Length];

    pub fn log_max(self) -> u32 {
        match self {
            Part::Literals | Part::Length => 9,
            Part::Distance => 8,
        }
    }

    /// The table that needs no description.
    pub fn predefined(self) -> &'static Distribution {
        match self {
            Part::Literals => &LITERALS,
            Part::Distance => &DISTANCES,
            Part::Length => &LENGTHS,
        }
    }

    /// Where a code's range begins, and how many bits say where in it; `None` if there is no such
    /// code. For lengths, the beginning is less [`MATCH_BYTES_MIN`].
    pub fn range(self, code: u8) -> Option<(u32, u32)> {
        let code = u32::from(code);
        match self {
            Part::Literals => by_table(code, &LITERALS_BITS, 16),
            Part::Length => by_table(code, &LENGTHS_BITS, 32),
            Part::Distance => (code < 32).then(|| (1 << code, code)),
        }
    }
}

/// Up to `plain` each value is its own code; then the ranges follow each other.
fn by_table(code: u32, bits: &[u8], plain: u32) -> Option<(u32, u32)> {
    let Some(above) = code.checked_sub(plain) else {
        return Some((code, 0));
    };
    let own = u32::from(*bits.get(above as usize)?);
    let before = bits[..above as usize].iter().map(|bits| 1 << bits);
    Some((plain + before.sum::<u32>(), own))
}

/// Of the codes from 16 on.
const LITERALS_BITS: [u8; 20] = [
    1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
];
/// Of the codes from 32 on.
const LENGTHS_BITS: [u8; 21] = [
    1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
];

static LITERALS: Distribution = Distribution::given(
    6,
    &[
        4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1,
        1, 1, -1, -1, -1, -1,
    ],
);
static LENGTHS: Distribution = Distribution::given(
    6,
    &[
        1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
    ],
);
static DISTANCES: Distribution = Distribution::given(
    5,
    &[
        1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
    ],
);

#[inline(always)]
fn literals_code(literals: u32) -> u8 {
    static CODES: [u8; 64] = codes(&LITERALS_BITS, 16);
    match CODES.get(literals as usize) {
        Some(code) => *code,
        None => literals.ilog2() as u8 + 19,
    }
}

#[inline(always)]
fn length_code(length: u32) -> u8 {
    static CODES: [u8; 128] = codes(&LENGTHS_BITS, 32);
    match CODES.get(length as usize) {
        Some(code) => *code,
        None => length.ilog2() as u8 + 36,
    }
}

/// The codes of the first values.
const fn codes<const N: usize>(bits: &[u8], plain: usize) -> [u8; N] {
    let mut codes = [0; N];
    let (mut value, mut above, mut left) = (0, 0, 1usize << bits[0]);
    while value < N {
        if value < plain {
            codes[value] = value as u8;
        } else {
            codes[value] = (plain + above) as u8;
            left -= 1;
            if left == 0 && value + 1 < N {
                above += 1;
                left = 1 << bits[above];
            }
        }
        value += 1;
    }
    codes
}

/// How a part's table is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Predefined = 0,
    /// Always the same code.
    Only = 1,
    Described = 2,
    /// The table of the block before.
    Repeated = 3,
}

impl Mode {
    pub fn of(bits: u8) -> Mode {
        match bits & 3 {
            0 => Mode::Predefined,
            1 => Mode::Only,
            2 => Mode::Described,
            _ => Mode::Repeated,
        }
    }
}

/// What the next block may repeat.
#[derive(Clone, Default)]
pub struct Tables([Option<Table>; 3]);

#[derive(Clone)]
struct Table {
    distribution: Distribution,
    encoder: Encoder,
}

impl Table {
    fn new(distribution: Distribution) -> Table {
        Table {
            encoder: Encoder::new(&distribution),
            distribution,
        }
    }
}

/// Writes the section. Its bytes, or `None` if it has no room; `tables` then is of no use.
pub fn write(sequences: &[Sequence], tables: &mut Tables, room: &mut [u8]) -> Option<usize> {
    let mut at = write_number(sequences.len(), room)?;
    let Some((last, others)) = sequences.split_last() else {
        return Some(at);
    };
    let mut counts = [[0u32; SYMBOLS_MAX]; 3];
    for sequence in sequences {
        for (counts, code) in counts.iter_mut().zip(sequence.codes) {
            counts[usize::from(code) % SYMBOLS_MAX] += 1;
        }
    }
    let modes_at = at;
    at += 1;
    let mut modes = 0;
    for (part, counts) in Part::ALL.into_iter().zip(&counts) {
        let table = &mut tables.0[part as usize];
        let (mode, bytes) = describe(part, counts, table, room.get_mut(at..)?)?;
        modes = modes << 2 | mode as u8;
        at += bytes;
    }
    *room.get_mut(modes_at)? = modes << 2;
    let mut writer = BitWriter::new(room.get_mut(at..)?);
    {
        let encoder = |part: Part| tables.0[part as usize].as_ref().map(|table| &table.encoder);
        let [literals, distances, lengths] = Part::ALL.map(encoder);
        let (literals, distances, lengths) = (literals?, distances?, lengths?);
        let mut states = [
            literals.begin(last.codes[0]),
            distances.begin(last.codes[1]),
            lengths.begin(last.codes[2]),
        ];
        add_rest(last, &mut writer);
        for sequence in others.iter().rev() {
            let [literals_code, distance_code, length_code] = sequence.codes;
            states[1] = distances.encode(states[1], distance_code, &mut writer);
            states[2] = lengths.encode(states[2], length_code, &mut writer);
            states[0] = literals.encode(states[0], literals_code, &mut writer);
            writer.flush();
            add_rest(sequence, &mut writer);
        }
        lengths.end(states[2], &mut writer);
        distances.end(states[1], &mut writer);
        literals.end(states[0], &mut writer);
    }
    // Only what was described, then or earlier, is still there for the next block.
    for (place, table) in tables.0.iter_mut().enumerate() {
        let mode = Mode::of(modes >> (4 - 2 * place));
        if matches!(mode, Mode::Predefined | Mode::Only) {
            *table = None;
        }
    }
    Some(at + writer.end_marked()?)
}

/// Where in their codes' ranges the three lie. The ranges begin at multiples of their size.
#[inline(always)]
fn add_rest(sequence: &Sequence, writer: &mut BitWriter) {
    let [literals_code, distance_code, length_code] = sequence.codes;
    let bits_of = |table: &[u8], plain: u8, code: u8| match code.checked_sub(plain) {
        Some(above) => u32::from(table[usize::from(above) % table.len()]),
        None => 0,
    };
    let mut add = |value: u32, bits: u32| {
        writer.add(u64::from(value) & ((1 << bits) - 1), bits);
    };
    add(
        sequence.literals,
        bits_of(&LITERALS_BITS, 16, literals_code),
    );
    add(sequence.length, bits_of(&LENGTHS_BITS, 32, length_code));
    // At most 7 + 16 + 16 + 24 bits are waiting: windows are no larger.
    add(sequence.distance, u32::from(distance_code));
    writer.flush();
}

/// Takes the cheapest table for a part into `table`, and writes what the reader needs to have it.
fn describe(
    part: Part,
    counts: &[u32; SYMBOLS_MAX],
    table: &mut Option<Table>,
    room: &mut [u8],
) -> Option<(Mode, usize)> {
    let present = counts.iter().filter(|count| **count > 0).count();
    if present == 1 {
        let only = counts.iter().position(|count| *count > 0)?;
        *table = Some(Table::new(Distribution::only(only)));
        *room.first_mut()? = only as u8;
        return Some((Mode::Only, 1));
    }
    let described = Distribution::of(counts, part.log_max());
    let bytes = described.write(room)?;
    let described_cost = described.cost(counts)? + 8 * 256 * bytes as u64;
    let predefined_cost = part.predefined().cost(counts).unwrap_or(u64::MAX);
    let repeated_cost = table
        .as_ref()
        .and_then(|table| table.distribution.cost(counts));
    let repeated_cost = repeated_cost.unwrap_or(u64::MAX);
    if repeated_cost <= described_cost && repeated_cost <= predefined_cost {
        return Some((Mode::Repeated, 0));
    }
    if predefined_cost <= described_cost {
        *table = Some(Table::new(part.predefined().clone()));
        return Some((Mode::Predefined, 0));
    }
    *table = Some(Table::new(described));
    Some((Mode::Described, bytes))
}

fn write_number(number: usize, room: &mut [u8]) -> Option<usize> {
    let [low, high, ..] = number.to_le_bytes();
    let bytes: &[u8] = match number {
        0..128 => &[low],
        128..0x7f00 => &[high | 0x80, low],
        _ => {
            let [low, high, ..] = (number - 0x7f00).to_le_bytes();
            &[0xff, low, high]
        }
    };
    room.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(bytes.len())
}

/// The number of sequences, and how many bytes it has.
pub fn read_number(bytes: &[u8]) -> Option<(usize, usize)> {
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
    fn each_value_lies_in_its_codes_range() {
        for value in (0..131_072u32).step_by(1) {
            for (part, code) in [
                (Part::Literals, literals_code(value)),
                (Part::Length, length_code(value.min(131_071))),
            ] {
                let (begin, bits) = part.range(code).unwrap();
                assert!(
                    begin <= value && value < begin + (1 << bits),
                    "{part:?} {value}"
                );
                assert_eq!(begin % (1 << bits), 0, "what add_rest takes for granted");
            }
        }
        assert_eq!(Part::Literals.range(36), None);
        assert_eq!(Part::Length.range(53), None);
    }

    #[test]
    fn names_and_distances_tell_the_same_story() {
        let (mut writer, mut reader) = (Recent::FIRST, Recent::FIRST);
        for i in 0..5000u32 {
            let distance = [1, 4, 5, 7, 8, 9, 100][(i * i % 7919 % 7) as usize];
            let literals = (i % 3) as usize;
            let name = writer.name(distance, literals);
            assert_eq!(reader.distance(name, literals), Some(distance), "{i}");
            assert_eq!(writer, reader);
        }
    }

    #[test]
    fn numbers_of_sequences() {
        for number in [
            0, 1, 127, 128, 255, 256, 0x7eff, 0x7f00, 0x7f01, 0x8000, 43_690,
        ] {
            let mut room = [0; 3];
            let bytes = write_number(number, &mut room).unwrap();
            assert_eq!(read_number(&room), Some((number, bytes)));
        }
    }
}
