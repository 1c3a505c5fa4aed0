//! Huffman codes of literals (RFC 8878, sections 4.2 and 4.2.2): each byte is a whole number of bits,
//! the fewer the more frequent it is.

use super::bits::{BackwardBitReader, BitWriter, CONTAINER_BITS};
use super::huffman_tree::{NUMBER_OF_BITS_MAX, Tree};

/// So many codes, however long, are in the bits of one peek.
const CODES_PER_PEEK: usize = (CONTAINER_BITS / NUMBER_OF_BITS_MAX) as usize;
const TABLE_SIZE: usize = 1 << NUMBER_OF_BITS_MAX;

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

/// The table that turns bytes into bits, by prefix codes.
pub struct EncodingTable {
    /// By byte: the code, and from bit 16 on its Number_of_Bits.
    codes: [u32; 256],
}

impl EncodingTable {
    pub fn new(tree: &Tree) -> EncodingTable {
        let max_number_of_bits = tree.max_number_of_bits();
        let mut codes = [0; 256];
        tree.each_prefix_code(|byte, weight, first| {
            let number_of_bits = max_number_of_bits + 1 - weight;
            codes[usize::from(byte)] = first >> (weight - 1) | number_of_bits << 16;
        });
        EncodingTable { codes }
    }

    /// Encodes one stream (section 4.2.2). Returns its length in bytes; `None` if it does not fit.
    pub fn encode(&self, literals: &[u8], buffer: &mut [u8]) -> Option<usize> {
        let mut writer = BitWriter::new(buffer);
        // From the last literal to the first, since a decoder reads backwards. Four codes fit between
        // two flushes.
        let mut fours = literals.rchunks_exact(4);
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
        writer.finish_marked()
    }

    #[inline(always)]
    fn add(&self, byte: u8, writer: &mut BitWriter) {
        let code = self.codes[usize::from(byte)];
        writer.add(u64::from(code & 0xffff), code >> 16);
    }
}

/// The table that turns bits into bytes.
pub struct DecodingTable {
    /// By the next bits: the byte whose code they begin with, and from bit 8 on its Number_of_Bits.
    entries: Box<[u16; TABLE_SIZE]>,
}

impl DecodingTable {
    pub fn new(tree: &Tree) -> DecodingTable {
        let max_number_of_bits = tree.max_number_of_bits();
        let mut entries = Box::new([0; TABLE_SIZE]);
        let unused_bits = NUMBER_OF_BITS_MAX - max_number_of_bits.min(NUMBER_OF_BITS_MAX);
        tree.each_prefix_code(|byte, weight, first| {
            let number_of_bits = max_number_of_bits + 1 - weight;
            let first = (first << unused_bits) as usize;
            let entry = u16::from(byte) | (number_of_bits as u16) << 8;
            entries[first..][..1 << (weight - 1 + unused_bits)].fill(entry);
        });
        DecodingTable { entries }
    }

    /// Decodes one stream into `literals`, which it has to fill exactly: `None` if it does not.
    pub fn decode(&self, stream: &[u8], literals: &mut [u8]) -> Option<()> {
        self.decode_rest(BackwardBitReader::new(stream)?, literals)
    }

    /// Decodes four streams, each of a quarter of the literals (section 3.1.1.3.1.6): in turns,
    /// since where a code begins is known only when the one before it is.
    pub fn decode_four(&self, streams: [&[u8]; 4], literals: &mut [u8]) -> Option<()> {
        let quarter = literals.len().div_ceil(4);
        let (first, rest) = literals.split_at_mut_checked(quarter)?;
        let (second, rest) = rest.split_at_mut_checked(quarter)?;
        let (third, fourth) = rest.split_at_mut_checked(quarter)?;
        let [a, b, c, d] = streams;
        let mut readers = [
            BackwardBitReader::new(a)?,
            BackwardBitReader::new(b)?,
            BackwardBitReader::new(c)?,
            BackwardBitReader::new(d)?,
        ];
        // The last quarter is the shortest.
        let in_turns = fourth.len() / CODES_PER_PEEK * CODES_PER_PEEK;
        let mut quarters = [first, second, third, fourth];
        self.decode_in_turns(&mut readers, &mut quarters, in_turns);
        for (reader, quarter) in readers.into_iter().zip(quarters) {
            self.decode_rest(reader, &mut quarter[in_turns..])?;
        }
        Some(())
    }

    /// Decodes the first `length` bytes of each quarter, a multiple of [`CODES_PER_PEEK`].
    #[inline(always)]
    fn decode_in_turns(
        &self,
        readers: &mut [BackwardBitReader; 4],
        quarters: &mut [&mut [u8]; 4],
        length: usize,
    ) {
        let [a, b, c, d] = quarters;
        let turns = a[..length]
            .chunks_exact_mut(CODES_PER_PEEK)
            .zip(b[..length].chunks_exact_mut(CODES_PER_PEEK))
            .zip(c[..length].chunks_exact_mut(CODES_PER_PEEK))
            .zip(d[..length].chunks_exact_mut(CODES_PER_PEEK));
        for (((a, b), c), d) in turns {
            let mut bits = [0; 4];
            for (bits, reader) in bits.iter_mut().zip(readers.iter()) {
                *bits = reader.peek_bits();
            }
            let mut read = [0; 4];
            for i in 0..CODES_PER_PEEK {
                let literals = [&mut *a, &mut *b, &mut *c, &mut *d];
                for (stream, literals) in literals.into_iter().enumerate() {
                    let (byte, number_of_bits) = self.first_code(bits[stream]);
                    literals[i] = byte;
                    bits[stream] <<= number_of_bits;
                    read[stream] += number_of_bits;
                }
            }
            for (reader, read) in readers.iter_mut().zip(read) {
                reader.skip(read);
            }
        }
    }

    fn decode_rest(&self, mut reader: BackwardBitReader, literals: &mut [u8]) -> Option<()> {
        for few in literals.chunks_mut(CODES_PER_PEEK) {
            let mut bits = reader.peek_bits();
            let mut read = 0;
            for literal in few {
                let (byte, number_of_bits) = self.first_code(bits);
                *literal = byte;
                bits <<= number_of_bits;
                read += number_of_bits;
            }
            reader.skip(read);
        }
        reader.is_finished().then_some(())
    }

    /// The byte whose code the highest bits begin with, and the code's Number_of_Bits.
    #[inline(always)]
    fn first_code(&self, bits: u64) -> (u8, u32) {
        let entry = self.entries[(bits >> (64 - NUMBER_OF_BITS_MAX)) as usize];
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
    fn what_is_encoded_is_decoded_with_the_description_alone() {
        for shape in 0..4 {
            for length in [2, 5, 100, 1000, 70_000] {
                let mut literals = sample(shape, length);
                literals[0] = 77;
                let counts = count(&literals);
                if counts.iter().filter(|count| **count > 0).count() < 2 {
                    continue;
                }
                let tree = Tree::of(&counts);
                let mut buffer = vec![0; 2 * length + 300];
                let Some(bytes) = tree.write_description(&mut buffer) else {
                    continue;
                };
                let (tree_read, bytes_read) = Tree::read_description(&buffer[..bytes]).unwrap();
                assert_eq!((bytes_read, &tree_read), (bytes, &tree));
                let table = EncodingTable::new(&tree);
                let bytes = table.encode(&literals, &mut buffer).unwrap();
                assert_eq!(bytes as u64, tree.cost(&counts).unwrap() / 8 + 1);
                let table = DecodingTable::new(&tree_read);
                let mut decoded = vec![0; length];
                table.decode(&buffer[..bytes], &mut decoded).unwrap();
                assert!(decoded == literals);
                buffer[bytes - 1] = 0;
                assert!(table.decode(&buffer[..bytes], &mut decoded).is_none());
            }
        }
    }
}
