//! Streams of bits. They are written lowest bit first; most are read from their end backwards,
//! which a last 1 marks.

/// Eight bytes from `at` on, the first of them lowest, on every machine. Zeros where there are none.
#[inline(always)]
pub fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    if let Some(eight) = bytes.get(at..at.wrapping_add(8)) {
        word.copy_from_slice(eight);
    }
    u64::from_le_bytes(word)
}

/// As [`word`], of four bytes.
#[inline(always)]
pub fn half_word(bytes: &[u8], at: usize) -> u32 {
    let mut half = [0; 4];
    if let Some(four) = bytes.get(at..at.wrapping_add(4)) {
        half.copy_from_slice(four);
    }
    u32::from_le_bytes(half)
}

/// So many bits are seen in one look.
pub const LOOK_BITS: u32 = 56;

/// Writes into room of a fixed size. What does not fit is remembered, and is no panic.
pub struct BitWriter<'a> {
    room: &'a mut [u8],
    at: usize,
    /// Not in `room` yet: `count` bits, the rest zero.
    bits: u64,
    count: u32,
    full: bool,
}

impl<'a> BitWriter<'a> {
    /// Eight bytes more of room than the stream has at most are needed.
    pub fn new(room: &'a mut [u8]) -> BitWriter<'a> {
        BitWriter {
            room,
            at: 0,
            bits: 0,
            count: 0,
            full: false,
        }
    }

    /// `value` has no bits beyond `count`; at most 56 are added between two flushes.
    #[inline(always)]
    pub fn add(&mut self, value: u64, count: u32) {
        self.bits |= value << self.count;
        self.count += count;
    }

    #[inline(always)]
    pub fn flush(&mut self) {
        match self.room.get_mut(self.at..self.at + 8) {
            Some(room) => {
                room.copy_from_slice(&self.bits.to_le_bytes());
                self.at += (self.count >> 3) as usize;
                self.bits >>= self.count & 0x38;
                self.count &= 7;
            }
            None => (self.full, self.bits, self.count) = (true, 0, 0),
        }
    }

    /// Ends a stream that is read forwards. Its bytes; `None` if they did not fit.
    pub fn end(mut self) -> Option<usize> {
        self.flush();
        (!self.full).then_some(self.at + usize::from(self.count > 0))
    }

    /// Ends a stream that is read backwards.
    pub fn end_marked(mut self) -> Option<usize> {
        self.add(1, 1);
        self.end()
    }
}

/// The highest bits first.
pub struct Look {
    bits: u64,
    taken: u32,
}

impl Look {
    /// The next bits. At most [`LOOK_BITS`] in one look.
    #[inline(always)]
    pub fn take(&mut self, count: u32) -> u32 {
        // In two steps: a shift by 64 is none.
        let value = (self.bits >> 1) >> (63 - count);
        self.bits <<= count;
        self.taken += count;
        value as u32
    }
}

/// Reads a stream backwards.
pub struct BackwardReader<'a> {
    bytes: &'a [u8],
    /// Bits that are left.
    left: usize,
    /// More was asked for than was there.
    overrun: bool,
}

impl<'a> BackwardReader<'a> {
    /// `None` if the end mark is missing.
    pub fn new(bytes: &'a [u8]) -> Option<BackwardReader<'a>> {
        let last = *bytes.last().filter(|last| **last != 0)?;
        Some(BackwardReader {
            bytes,
            left: 8 * bytes.len() - 1 - last.leading_zeros() as usize,
            overrun: false,
        })
    }

    pub fn left(&self) -> usize {
        self.left
    }

    /// The next bits, at most 32.
    #[inline(always)]
    pub fn take(&mut self, count: u32) -> u32 {
        let Some(left) = self.left.checked_sub(count as usize) else {
            (self.overrun, self.left) = (true, 0);
            return 0;
        };
        self.left = left;
        (bits_from(self.bytes, left) & ((1 << count) - 1)) as u32
    }

    /// [`LOOK_BITS`], the next ones highest; zeros after the last. Takes nothing.
    #[inline(always)]
    pub fn peek_high(&self) -> u64 {
        match self.left.checked_sub(LOOK_BITS as usize) {
            Some(low) => bits_from(self.bytes, low) << 8,
            None => {
                let bits = bits_from(self.bytes, 0);
                bits.checked_shl(64 - self.left as u32).unwrap_or(0)
            }
        }
    }

    #[inline(always)]
    pub fn look(&self) -> Look {
        Look {
            bits: self.peek_high(),
            taken: 0,
        }
    }

    /// Takes what was taken of a look.
    #[inline(always)]
    pub fn after(&mut self, look: Look) {
        self.skip(look.taken);
    }

    /// Takes what was peeked at.
    #[inline(always)]
    pub fn skip(&mut self, count: u32) {
        match self.left.checked_sub(count as usize) {
            Some(left) => self.left = left,
            None => (self.overrun, self.left) = (true, 0),
        }
    }

    /// Whether all was read, and no more than that.
    pub fn is_spent(&self) -> bool {
        self.left == 0 && !self.overrun
    }
}

/// At least 56 bits from bit `at` on, lowest first.
#[inline(always)]
fn bits_from(bytes: &[u8], at: usize) -> u64 {
    let byte = at >> 3;
    if byte + 8 <= bytes.len() {
        return word(bytes, byte) >> (at & 7);
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
            let mut room = [0; 2000];
            let mut writer = BitWriter::new(&mut room);
            for (value, count) in &values[..end] {
                writer.add(*value, *count);
                writer.flush();
            }
            let length = writer.end_marked().unwrap();
            let mut reader = BackwardReader::new(&room[..length]).unwrap();
            for (value, count) in values[..end].iter().rev() {
                let high = reader.peek_high().checked_shr(64 - count).unwrap_or(0);
                assert_eq!(high, *value);
                assert_eq!(u64::from(reader.take(*count)), *value);
            }
            assert!(reader.is_spent());
            reader.take(1);
            assert!(!reader.is_spent());
        }
    }

    #[test]
    fn what_does_not_fit_is_told_at_the_end() {
        let mut room = [0; 12];
        let mut writer = BitWriter::new(&mut room);
        for _ in 0..3 {
            writer.add(0xffff, 16);
            writer.flush();
        }
        assert_eq!(writer.end(), None);
    }
}
