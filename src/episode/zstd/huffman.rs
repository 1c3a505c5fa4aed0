//! Literals: bytes that repeat nothing, each as a whole number of bits, the frequent ones as few.

use super::bits::{BackwardReader, BitWriter, LOOK_BITS};
use super::fse::{self, Distribution, SYMBOLS_MAX};

/// The longest code that the format allows for literals.
pub const CODE_BITS_MAX: u32 = 11;
const TABLE: usize = 1 << CODE_BITS_MAX;
/// So many codes surely lie in the bits that are looked at in one go.
const CODES_A_LOOK: usize = (LOOK_BITS / CODE_BITS_MAX) as usize;
/// The most weights that are written as they are, half a byte each.
const PLAIN_WEIGHTS_MAX: usize = 128;
const WEIGHTS_LOG_MAX: u32 = 6;

/// How often each byte occurs.
pub type Counts = [u32; 256];

pub fn count(bytes: &[u8]) -> Counts {
    // Four tables, so that a run of one byte need not wait for its own last sum.
    let mut parts = [[0u32; 256]; 4];
    let mut fours = bytes.chunks_exact(4);
    for four in &mut fours {
        for (part, byte) in parts.iter_mut().zip(four) {
            part[usize::from(*byte)] += 1;
        }
    }
    for byte in fours.remainder() {
        parts[0][usize::from(*byte)] += 1;
    }
    std::array::from_fn(|i| parts.iter().map(|part| part[i]).sum())
}

/// The length of each byte's code: 0 where it has none.
#[derive(Clone)]
pub struct Lengths([u8; 256]);

impl Lengths {
    /// The best lengths, but for the limit. At least two bytes occur.
    pub fn of(counts: &Counts) -> Lengths {
        let mut sorted: Vec<(u32, u8)> = (0..=255u8)
            .map(|byte| (counts[usize::from(byte)], byte))
            .filter(|(count, _)| *count > 0)
            .collect();
        sorted.sort_unstable();
        let mut depths: Vec<u32> = sorted.iter().map(|(count, _)| *count).collect();
        tree_depths(&mut depths);
        let mut numbers = [0usize; 64];
        depths
            .iter()
            .for_each(|depth| numbers[*depth as usize] += 1);
        limit(&mut numbers);
        let mut lengths = [0; 256];
        // The rarest have the longest.
        let mut of_length = (1..=CODE_BITS_MAX).rev();
        let (mut length, mut left) = (0, 0);
        for (_, byte) in &sorted {
            while left == 0 {
                let Some(next) = of_length.next() else { break };
                (length, left) = (next as u8, numbers[next as usize]);
            }
            lengths[usize::from(*byte)] = length;
            left = left.saturating_sub(1);
        }
        Lengths(lengths)
    }

    /// In bits; `None` if a byte that occurs has no code.
    pub fn cost(&self, counts: &Counts) -> Option<u64> {
        let mut cost = 0;
        for (length, count) in self.0.iter().zip(counts) {
            if *count > 0 && *length == 0 {
                return None;
            }
            cost += u64::from(*length) * u64::from(*count);
        }
        Some(cost)
    }

    fn longest(&self) -> u32 {
        u32::from(self.0.iter().copied().max().unwrap_or(0))
    }

    /// A weight is how many of the longest codes one takes the room of: 2^(weight - 1).
    fn weights(&self) -> ([u8; 256], usize) {
        let longest = self.longest() as u8;
        let weights = self.0.map(|length| match length {
            0 => 0,
            length => longest + 1 - length,
        });
        let last = weights.iter().rposition(|weight| *weight > 0).unwrap_or(0);
        (weights, last)
    }

    /// Writes the description. Its bytes; `None` if the format has none for it, or no room.
    pub fn write(&self, room: &mut [u8]) -> Option<usize> {
        let (weights, last) = self.weights();
        let weights = &weights[..last];
        let packed = write_weights(weights, room.get_mut(1..)?);
        let plain = weights.len().div_ceil(2);
        match packed {
            Some(packed)
                if packed < 128 && (packed < plain || weights.len() > PLAIN_WEIGHTS_MAX) =>
            {
                room[0] = packed as u8;
                Some(1 + packed)
            }
            _ if weights.len() <= PLAIN_WEIGHTS_MAX && plain < room.len() => {
                room[0] = (127 + weights.len()) as u8;
                for (to, pair) in room[1..].iter_mut().zip(weights.chunks(2)) {
                    *to = pair[0] << 4 | pair.get(1).copied().unwrap_or(0);
                }
                Some(1 + plain)
            }
            _ => None,
        }
    }

    /// Reads a description, and how many bytes it has.
    pub fn read(bytes: &[u8]) -> Option<(Lengths, usize)> {
        let first = usize::from(*bytes.first()?);
        let (weights, length) = match first < 128 {
            true => (read_weights(bytes.get(1..1 + first)?)?, 1 + first),
            false => {
                let number = first - 127;
                let packed = bytes.get(1..1 + number.div_ceil(2))?;
                let halves = packed.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                (halves.take(number).collect(), 1 + packed.len())
            }
        };
        let room = |weight: &u8| if *weight > 0 { 1u32 << (weight - 1) } else { 0 };
        if weights
            .iter()
            .any(|weight| u32::from(*weight) > CODE_BITS_MAX)
        {
            return None;
        }
        let taken: u32 = weights.iter().map(room).sum();
        let longest = taken.checked_ilog2()? + 1;
        let rest = (1u32 << longest) - taken;
        if longest > CODE_BITS_MAX || !rest.is_power_of_two() || weights.len() > 255 {
            return None;
        }
        let mut lengths = [0; 256];
        let last = rest.ilog2() as u8 + 1;
        for (length, weight) in lengths.iter_mut().zip(weights.iter().chain([&last])) {
            *length = match weight {
                0 => 0,
                weight => longest as u8 + 1 - weight,
            };
        }
        Some((Lengths(lengths), length))
    }

    /// Calls with each byte that has a code: its weight, and where its room begins among the
    /// longest codes.
    fn each_code(&self, mut visit: impl FnMut(u8, u32, u32)) {
        let (weights, _) = self.weights();
        let mut begin = 0;
        for weight in 1..=CODE_BITS_MAX {
            for byte in 0..=255u8 {
                if u32::from(weights[usize::from(byte)]) == weight {
                    visit(byte, weight, begin);
                    begin += 1 << (weight - 1);
                }
            }
        }
    }
}

/// The depth of each leaf in the best tree over the ascending `weights`, in their place.
/// In place, after Moffat and Katajainen: first sums of pairs with the places of their parents,
/// then the depths of inner nodes, then those of leaves.
fn tree_depths(weights: &mut [u32]) {
    let n = weights.len();
    if n < 2 {
        weights.fill(1);
        return;
    }
    let (mut root, mut leaf) = (0, 0);
    for next in 0..n - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            let is_inner = leaf >= n || (root < next && weights[root] < weights[leaf]);
            sum += match is_inner {
                true => {
                    let weight = std::mem::replace(&mut weights[root], next as u32);
                    root += 1;
                    weight
                }
                false => {
                    leaf += 1;
                    weights[leaf - 1]
                }
            };
        }
        weights[next] = sum;
    }
    weights[n - 2] = 0;
    for next in (0..n - 2).rev() {
        weights[next] = weights[weights[next] as usize] + 1;
    }
    let (mut open, mut depth, mut at) = (1, 0, n);
    let mut inner = n - 1;
    while open > 0 {
        let mut used = 0;
        while inner > 0 && weights[inner - 1] == depth {
            used += 1;
            inner -= 1;
        }
        for _ in used..open {
            at -= 1;
            weights[at] = depth;
        }
        (open, depth) = (2 * used, depth + 1);
    }
}

/// Makes the codes of `numbers[length]` leaves no longer than the limit, and the tree still whole.
fn limit(numbers: &mut [usize; 64]) {
    let most = CODE_BITS_MAX as usize;
    let longer: usize = numbers[most + 1..].iter().sum();
    if longer == 0 {
        return;
    }
    numbers[most] += longer;
    numbers[most + 1..].fill(0);
    let mut taken: usize = (1..=most)
        .map(|length| numbers[length] << (most - length))
        .sum();
    while taken > TABLE {
        numbers[most] -= 1;
        if let Some(length) = (1..most).rev().find(|length| numbers[*length] > 0) {
            numbers[length] -= 1;
            numbers[length + 1] += 2;
        }
        taken -= 1;
    }
}

fn write_weights(weights: &[u8], room: &mut [u8]) -> Option<usize> {
    let mut counts = [0; SYMBOLS_MAX];
    weights
        .iter()
        .for_each(|weight| counts[usize::from(*weight) % SYMBOLS_MAX] += 1);
    if weights.len() < 3 || counts.iter().filter(|count| **count > 0).count() < 2 {
        return None;
    }
    let distribution = Distribution::of(&counts, WEIGHTS_LOG_MAX);
    let head = distribution.write(room)?;
    let encoder = fse::Encoder::new(&distribution);
    let mut writer = BitWriter::new(room.get_mut(head..)?);
    // Two states take turns; the even places are the first one's.
    let last = weights.len() - 1;
    let mut states = [0; 2];
    for place in [last, last - 1] {
        states[place % 2] = encoder.begin(weights[place]);
    }
    for place in (0..last - 1).rev() {
        states[place % 2] = encoder.encode(states[place % 2], weights[place], &mut writer);
        writer.flush();
    }
    encoder.end(states[1], &mut writer);
    encoder.end(states[0], &mut writer);
    Some(head + writer.end_marked()?)
}

fn read_weights(bytes: &[u8]) -> Option<Vec<u8>> {
    let (distribution, head) = Distribution::read(bytes, WEIGHTS_LOG_MAX)?;
    let decoder = fse::Decoder::new(&distribution);
    let mut reader = BackwardReader::new(bytes.get(head..)?)?;
    let mut states = [decoder.begin(&mut reader), decoder.begin(&mut reader)];
    let mut weights = Vec::new();
    for place in (0..2).cycle() {
        weights.push(states[place].symbol);
        if !fse::Decoder::has_next(states[place], &reader) {
            weights.push(states[1 - place].symbol);
            return Some(weights);
        }
        let mut look = reader.look();
        states[place] = decoder.next(states[place], &mut look);
        reader.after(look);
        if weights.len() > 255 {
            return None;
        }
    }
    None
}

/// The codes to write with.
pub struct Encoder {
    /// By byte: the code, and above it the length.
    codes: [u32; 256],
}

impl Encoder {
    pub fn new(lengths: &Lengths) -> Encoder {
        let longest = lengths.longest();
        let mut codes = [0; 256];
        lengths.each_code(|byte, weight, begin| {
            let length = longest + 1 - weight;
            codes[usize::from(byte)] = begin >> (weight - 1) | length << 16;
        });
        Encoder { codes }
    }

    /// One stream. Its bytes; `None` if there is no room.
    pub fn encode(&self, bytes: &[u8], room: &mut [u8]) -> Option<usize> {
        let mut writer = BitWriter::new(room);
        // Backwards, so that the reader begins with the first byte. Four codes fit between flushes.
        let mut fours = bytes.rchunks_exact(4);
        for four in &mut fours {
            for byte in four.iter().rev() {
                self.add(*byte, &mut writer);
            }
            writer.flush();
        }
        for byte in fours.remainder().iter().rev() {
            self.add(*byte, &mut writer);
        }
        writer.flush();
        writer.end_marked()
    }

    #[inline(always)]
    fn add(&self, byte: u8, writer: &mut BitWriter) {
        let code = self.codes[usize::from(byte)];
        writer.add(u64::from(code & 0xffff), code >> 16);
    }
}

/// What to read with: by the next bits the byte, and above it the length of its code.
pub struct Decoder {
    table: Box<[u16; TABLE]>,
}

impl Decoder {
    pub fn new(lengths: &Lengths) -> Decoder {
        let longest = lengths.longest();
        let mut table = Box::new([0; TABLE]);
        let spare = CODE_BITS_MAX - longest.min(CODE_BITS_MAX);
        lengths.each_code(|byte, weight, begin| {
            let length = longest + 1 - weight;
            let (begin, many) = (begin << spare, 1 << (weight - 1 + spare));
            let entry = u16::from(byte) | (length as u16) << 8;
            table[begin as usize..][..many].fill(entry);
        });
        Decoder { table }
    }

    /// Reads one stream into `bytes`, which it has to fill exactly.
    pub fn decode(&self, stream: &[u8], bytes: &mut [u8]) -> Option<()> {
        self.decode_rest(BackwardReader::new(stream)?, bytes)
    }

    /// The four streams of a literals section, each of a quarter of its bytes. In turns, since
    /// where a code begins is known only when the one before it is.
    pub fn decode_four(&self, streams: [&[u8]; 4], bytes: &mut [u8]) -> Option<()> {
        let part = bytes.len().div_ceil(4);
        let (first, rest) = bytes.split_at_mut_checked(part)?;
        let (second, rest) = rest.split_at_mut_checked(part)?;
        let (third, fourth) = rest.split_at_mut_checked(part)?;
        let [a, b, c, d] = streams;
        let mut readers = [
            BackwardReader::new(a)?,
            BackwardReader::new(b)?,
            BackwardReader::new(c)?,
            BackwardReader::new(d)?,
        ];
        // The last one is the shortest.
        let turns = fourth.len() / CODES_A_LOOK;
        let whole = turns * CODES_A_LOOK;
        let mut parts = [first, second, third, fourth];
        {
            let [a, b, c, d] = &mut parts;
            let fives = a[..whole]
                .chunks_exact_mut(CODES_A_LOOK)
                .zip(b[..whole].chunks_exact_mut(CODES_A_LOOK))
                .zip(c[..whole].chunks_exact_mut(CODES_A_LOOK))
                .zip(d[..whole].chunks_exact_mut(CODES_A_LOOK));
            for (((a, b), c), d) in fives {
                let mut bits = [0; 4];
                for (bits, reader) in bits.iter_mut().zip(&readers) {
                    *bits = reader.peek_high();
                }
                let mut taken = [0; 4];
                for place in 0..CODES_A_LOOK {
                    for (i, to) in [&mut *a, &mut *b, &mut *c, &mut *d].into_iter().enumerate() {
                        let (byte, length) = self.code(bits[i]);
                        to[place] = byte;
                        bits[i] <<= length;
                        taken[i] += length;
                    }
                }
                for (reader, taken) in readers.iter_mut().zip(taken) {
                    reader.skip(taken);
                }
            }
        }
        for (reader, part) in readers.into_iter().zip(parts) {
            self.decode_rest(reader, &mut part[whole..])?;
        }
        Some(())
    }

    fn decode_rest(&self, mut reader: BackwardReader, bytes: &mut [u8]) -> Option<()> {
        for few in bytes.chunks_mut(CODES_A_LOOK) {
            let mut bits = reader.peek_high();
            let mut taken = 0;
            for byte in few {
                let (read, length) = self.code(bits);
                *byte = read;
                bits <<= length;
                taken += length;
            }
            reader.skip(taken);
        }
        reader.is_spent().then_some(())
    }

    /// The byte that the highest bits are the code of, and how many they are.
    #[inline(always)]
    fn code(&self, bits: u64) -> (u8, u32) {
        let entry = self.table[(bits >> (64 - CODE_BITS_MAX)) as usize];
        (entry as u8, u32::from(entry >> 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(shape: u32, bytes: usize) -> Vec<u8> {
        let mut state = 12345u32;
        (0..bytes)
            .map(|_| {
                state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
                let number = state >> 8;
                match shape {
                    0 => b"0123456789.,\n"[(number % 13) as usize],
                    1 => (number.trailing_zeros() * 9) as u8,
                    2 => (number % 256) as u8 & (number >> 8) as u8,
                    _ => (number % 251) as u8,
                }
            })
            .collect()
    }

    #[test]
    fn what_is_written_is_read_with_the_description_alone() {
        for shape in 0..4 {
            for length in [2, 5, 100, 1000, 70_000] {
                let mut bytes = sample(shape, length);
                bytes[0] = 77;
                let counts = count(&bytes);
                if counts.iter().filter(|count| **count > 0).count() < 2 {
                    continue;
                }
                let lengths = Lengths::of(&counts);
                let mut room = vec![0; 2 * length + 300];
                let Some(head) = lengths.write(&mut room) else {
                    continue;
                };
                let (read, read_head) = Lengths::read(&room[..head]).unwrap();
                assert_eq!((read_head, &read.0), (head, &lengths.0));
                let written = Encoder::new(&lengths).encode(&bytes, &mut room).unwrap();
                let bits = lengths.cost(&counts).unwrap();
                assert_eq!(written as u64, bits / 8 + 1);
                let mut out = vec![0; length];
                Decoder::new(&read)
                    .decode(&room[..written], &mut out)
                    .unwrap();
                assert!(out == bytes);
                room[written - 1] = 0;
                assert!(
                    Decoder::new(&read)
                        .decode(&room[..written], &mut out)
                        .is_none()
                );
            }
        }
    }

    #[test]
    fn no_code_is_longer_than_the_format_allows() {
        let mut counts = [0; 256];
        let (mut a, mut b) = (1u32, 1u32);
        for count in counts.iter_mut().take(40) {
            *count = a;
            (a, b) = (b, a + b);
        }
        let lengths = Lengths::of(&counts);
        assert_eq!(lengths.longest(), CODE_BITS_MAX);
        let room: u32 = lengths
            .0
            .iter()
            .filter(|l| **l > 0)
            .map(|l| 1 << (11 - l))
            .sum();
        assert_eq!(room, 1 << CODE_BITS_MAX);
    }
}
