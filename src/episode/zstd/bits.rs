//! Bitstreams: little-endian, the first bit written is the lowest one of the first byte.
//!
//! An FSE_Table_Description is read forwards (RFC 8878, section 4.1.1). A bitstream of FSE or of
//! Huffman codes is read backwards, from its last bit to its first (sections 4.1 and 4.2.2): its
//! last byte has a 1 above the last bit of the content, and zeros above that 1.

/// Eight bytes from `at` on as a little-endian number; 0 if `bytes` has fewer.
#[inline(always)]
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    if let Some(eight) = bytes.get(at..at.wrapping_add(8)) {
        value.copy_from_slice(eight);
    }
    u64::from_le_bytes(value)
}

/// Four bytes from `at` on as a little-endian number; 0 if `bytes` has fewer.
#[inline(always)]
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    if let Some(four) = bytes.get(at..at.wrapping_add(4)) {
        value.copy_from_slice(four);
    }
    u32::from_le_bytes(value)
}

/// Writes a bitstream into a buffer of a fixed size. [`BitWriter::finish`] reports a bitstream that does
/// not fit; nothing panics.
pub struct BitWriter<'a> {
    buffer: &'a mut [u8],
    /// Whole bytes that are in `buffer`.
    bytes: usize,
    /// Bits that are not in `buffer` yet: the lowest `count`, the rest zero.
    bits: u64,
    count: u32,
    is_full: bool,
}

impl<'a> BitWriter<'a> {
    /// `buffer` has to be eight bytes longer than the bitstream, since a flush writes eight.
    pub fn new(buffer: &'a mut [u8]) -> BitWriter<'a> {
        BitWriter {
            buffer,
            bytes: 0,
            bits: 0,
            count: 0,
            is_full: false,
        }
    }

    /// Adds the lowest `count` bits of `value`, whose other bits are zero. At most 56 bits are added
    /// between two flushes.
    #[inline(always)]
    pub fn add(&mut self, value: u64, count: u32) {
        self.bits |= value << self.count;
        self.count += count;
    }

    /// Moves whole bytes into the buffer; fewer than eight bits stay.
    #[inline(always)]
    pub fn flush(&mut self) {
        match self.buffer.get_mut(self.bytes..self.bytes + 8) {
            Some(eight) => {
                eight.copy_from_slice(&self.bits.to_le_bytes());
                self.bytes += (self.count >> 3) as usize;
                self.bits >>= self.count & 0x38;
                self.count &= 7;
            }
            None => {
                self.is_full = true;
                self.bits = 0;
                self.count = 0;
            }
        }
    }

    /// Ends a bitstream that is read forwards. Returns its length in bytes; `None` if the buffer is too
    /// short.
    pub fn finish(mut self) -> Option<usize> {
        self.flush();
        if self.is_full {
            return None;
        }
        Some(self.bytes + usize::from(self.count > 0))
    }

    /// Ends a bitstream that is read backwards, with the 1 that marks its last bit. Returns
    /// its length in bytes; `None` if the buffer is too short.
    pub fn finish_marked(mut self) -> Option<usize> {
        self.add(1, 1);
        self.finish()
    }
}

/// Reads a bitstream forwards, zeros after its last bit.
pub struct ForwardBitReader<'a> {
    bytes: &'a [u8],
    bits_read: usize,
}

impl<'a> ForwardBitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> ForwardBitReader<'a> {
        ForwardBitReader {
            bytes,
            bits_read: 0,
        }
    }

    /// The next `count` bits, at most 32.
    pub fn read(&mut self, count: u32) -> u32 {
        let value = bits_from(self.bytes, self.bits_read) & ((1 << count) - 1);
        self.bits_read += count as usize;
        value as u32
    }

    /// How many bytes were read, the last one perhaps in part; `None` if more were read than there are.
    pub fn bytes_read(&self) -> Option<usize> {
        let bytes = self.bits_read.div_ceil(8);
        (bytes <= self.bytes.len()).then_some(bytes)
    }
}

/// So many bits are in a [`BitContainer`].
pub const CONTAINER_BITS: u32 = 56;

/// The next bits of a [`BackwardBitReader`], the first to be read highest: several fields are read
/// from it for one access to memory.
pub struct BitContainer {
    bits: u64,
    /// Bits that were read from here.
    read: u32,
}

impl BitContainer {
    /// The next `count` bits. All calls together read at most [`CONTAINER_BITS`].
    #[inline(always)]
    pub fn read(&mut self, count: u32) -> u32 {
        // Two shifts, since a shift of 64 bits, for a count of 0, is an overflow.
        let value = (self.bits >> 1) >> (63 - count);
        self.bits <<= count;
        self.read += count;
        value as u32
    }
}

/// Reads a bitstream backwards. A read beyond its beginning gives zeros, and
/// [`BackwardBitReader::is_finished`] reports it.
pub struct BackwardBitReader<'a> {
    bytes: &'a [u8],
    /// Bits that were not read yet.
    bits_left: usize,
    /// More bits were asked for than there were.
    is_overrun: bool,
}

impl<'a> BackwardBitReader<'a> {
    /// `None` if the last byte has no 1, which would mark the last bit.
    pub fn new(bytes: &'a [u8]) -> Option<BackwardBitReader<'a>> {
        let last = *bytes.last()?;
        if last == 0 {
            return None;
        }
        Some(BackwardBitReader {
            bytes,
            bits_left: 8 * bytes.len() - 1 - last.leading_zeros() as usize,
            is_overrun: false,
        })
    }

    /// Bits that were not read yet.
    pub fn bits_left(&self) -> usize {
        self.bits_left
    }

    /// The next `count` bits, at most 32.
    #[inline(always)]
    pub fn read(&mut self, count: u32) -> u32 {
        let Some(left) = self.bits_left.checked_sub(count as usize) else {
            self.overrun();
            return 0;
        };
        self.bits_left = left;
        (bits_from(self.bytes, left) & ((1 << count) - 1)) as u32
    }

    /// The next [`CONTAINER_BITS`], the first highest, with zeros after the last. They stay unread.
    #[inline(always)]
    pub fn peek_bits(&self) -> u64 {
        match self.bits_left.checked_sub(CONTAINER_BITS as usize) {
            Some(lowest) => bits_from(self.bytes, lowest) << 8,
            None => {
                let bits = bits_from(self.bytes, 0);
                bits.checked_shl(64 - self.bits_left as u32).unwrap_or(0)
            }
        }
    }

    /// As [`BackwardBitReader::peek_bits`]. [`BackwardBitReader::skip_read`] follows.
    #[inline(always)]
    pub fn peek(&self) -> BitContainer {
        BitContainer {
            bits: self.peek_bits(),
            read: 0,
        }
    }

    /// Skips the bits that were read from a container.
    #[inline(always)]
    pub fn skip_read(&mut self, container: BitContainer) {
        self.skip(container.read);
    }

    /// Skips the next `count` bits.
    #[inline(always)]
    pub fn skip(&mut self, count: u32) {
        match self.bits_left.checked_sub(count as usize) {
            Some(left) => self.bits_left = left,
            None => self.overrun(),
        }
    }

    #[inline(always)]
    fn overrun(&mut self) {
        self.is_overrun = true;
        self.bits_left = 0;
    }

    /// Whether every bit was read, and none beyond the first.
    pub fn is_finished(&self) -> bool {
        self.bits_left == 0 && !self.is_overrun
    }
}

/// At least 56 bits from bit `at` on, the first lowest.
#[inline(always)]
fn bits_from(bytes: &[u8], at: usize) -> u64 {
    let byte = at >> 3;
    if byte + 8 <= bytes.len() {
        return u64_at(bytes, byte) >> (at & 7);
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(bytes.get(byte..).unwrap_or_default()) {
        *to = *from;
    }
    u64::from_le_bytes(last) >> (at & 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_backwards() {
        let values: Vec<(u64, u32)> = (0..300u64)
            .map(|i| {
                let count = (i * 7 % 24) as u32;
                ((i * 0x9E37_79B9) & ((1 << count) - 1), count)
            })
            .collect();
        for end in [1, 2, 3, 7, 20, 300] {
            let mut buffer = [0; 2000];
            let mut writer = BitWriter::new(&mut buffer);
            for (value, count) in &values[..end] {
                writer.add(*value, *count);
                writer.flush();
            }
            let length = writer.finish_marked().unwrap();
            let mut reader = BackwardBitReader::new(&buffer[..length]).unwrap();
            for (value, count) in values[..end].iter().rev() {
                let high = reader.peek_bits().checked_shr(64 - count).unwrap_or(0);
                assert_eq!(high, *value);
                assert_eq!(u64::from(reader.read(*count)), *value);
            }
            assert!(reader.is_finished());
            reader.read(1);
            assert!(!reader.is_finished());
        }
    }

    #[test]
    fn a_bitstream_that_does_not_fit_is_none_at_its_end() {
        let mut buffer = [0; 12];
        let mut writer = BitWriter::new(&mut buffer);
        for _ in 0..3 {
            writer.add(0xffff, 16);
            writer.flush();
        }
        assert_eq!(writer.finish(), None);
    }
}
