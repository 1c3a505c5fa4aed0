//! Reading back what was written, before anybody else has to.
//!
//! An episode's directory is deleted in the end, and then the tarball is all there is. So each
//! block is read from its written bytes alone, with tables of its own, and compared with what went
//! in, literal by literal and repetition by repetition. Whoever decodes a block would get those
//! bytes; here they need not be copied together, which is most of what decoding costs.

use super::bits::{BackwardReader, Look, half_word, word};
use super::fse::{Decoder, Distribution};
use super::huffman;
use super::literals;
use super::matcher::WINDOW_BYTES;
use super::sequences::{self, MATCH_BYTES_MIN, Mode, Part, Recent};

/// What a reader keeps from block to block.
pub struct Reader {
    codes: Option<huffman::Decoder>,
    tables: [Option<Decoder>; 3],
    recent: Recent,
    literals: Vec<u8>,
}

impl Reader {
    pub fn new() -> Reader {
        Reader {
            codes: None,
            tables: [None, None, None],
            recent: Recent::FIRST,
            literals: Vec::new(),
        }
    }

    pub fn recent(&self) -> Recent {
        self.recent
    }

    /// A reader who has read up to here has these recent distances.
    pub fn recent_is(&mut self, recent: Recent) {
        self.recent = recent;
    }

    /// Whether the compressed `block` is `history[begin..]`. If not, this reader is of no more use.
    pub fn reads(&mut self, block: &[u8], history: &[u8], begin: usize) -> bool {
        self.compare(block, history, begin).is_some()
    }

    fn compare(&mut self, block: &[u8], history: &[u8], begin: usize) -> Option<()> {
        let mut at = literals::read(block, &mut self.codes, &mut self.literals)?;
        let (number, bytes) = sequences::read_number(block.get(at..)?)?;
        at += bytes;
        let literals = &self.literals[..];
        if number == 0 {
            let is_all = at == block.len() && literals == &history[begin..];
            return is_all.then_some(());
        }
        let modes = *block.get(at)?;
        at += 1;
        for part in Part::ALL {
            let mode = Mode::of(modes >> (6 - 2 * part as u32));
            let table = &mut self.tables[part as usize];
            at += read_table(part, mode, block.get(at..)?, table)?;
        }
        let [by_literals, by_distance, by_length] = &self.tables;
        let (by_literals, by_distance, by_length) = (
            by_literals.as_ref()?,
            by_distance.as_ref()?,
            by_length.as_ref()?,
        );
        let ranges = Part::ALL.map(Ranges::new);
        let mut reader = BackwardReader::new(block.get(at..)?)?;
        let mut literal = by_literals.begin(&mut reader);
        let mut distance = by_distance.begin(&mut reader);
        let mut length = by_length.begin(&mut reader);
        let (mut place, mut told) = (begin, 0);
        for left in (0..number).rev() {
            // Three times at most 16 bits, since a distance has to lie in the window.
            let mut look = reader.look();
            let name = ranges[1].read(distance.symbol, &mut look)?;
            let repeated = ranges[2].read(length.symbol, &mut look)? as usize + MATCH_BYTES_MIN;
            let number = ranges[0].read(literal.symbol, &mut look)? as usize;
            reader.after(look);
            same(literals, told, history, place, number)?;
            (told, place) = (told + number, place + number);
            let back = self.recent.distance(name, number)? as usize;
            let from = place.checked_sub(back).filter(|_| back <= WINDOW_BYTES)?;
            same(history, from, history, place, repeated)?;
            place += repeated;
            if left > 0 {
                let mut look = reader.look();
                literal = by_literals.next(literal, &mut look);
                length = by_length.next(length, &mut look);
                distance = by_distance.next(distance, &mut look);
                reader.after(look);
            }
        }
        let is_rest = literals.get(told..)? == history.get(place..)?;
        (is_rest && reader.is_spent()).then_some(())
    }
}

/// Takes the table that a part's mode tells. The bytes of its description.
fn read_table(part: Part, mode: Mode, bytes: &[u8], table: &mut Option<Decoder>) -> Option<usize> {
    let (read, length) = match mode {
        Mode::Repeated => return table.is_some().then_some(0),
        Mode::Predefined => (Decoder::new(part.predefined()), 0),
        Mode::Only => (Decoder::only(*bytes.first()?), 1),
        Mode::Described => {
            let (distribution, length) = Distribution::read(bytes, part.log_max())?;
            (Decoder::new(&distribution), length)
        }
    };
    *table = Some(read);
    Some(length)
}

/// The ranges of a part's codes.
struct Ranges([Option<(u32, u32)>; 64]);

impl Ranges {
    fn new(part: Part) -> Ranges {
        Ranges(std::array::from_fn(|code| part.range(code as u8)))
    }

    #[inline(always)]
    fn read(&self, code: u8, look: &mut Look) -> Option<u32> {
        let (begin, bits) = self.0[usize::from(code) % 64]?;
        Some(begin + look.take(bits))
    }
}

/// Whether `length` bytes are the same in two places. As a repetition may overlap itself, this is
/// what says that copying one byte after the other would give those that went in.
#[inline(always)]
fn same(a: &[u8], a_at: usize, b: &[u8], b_at: usize, length: usize) -> Option<()> {
    let (a, b) = (a.get(a_at..a_at + length)?, b.get(b_at..b_at + length)?);
    let is_same = match length {
        0 => true,
        // Both ends at once; they overlap or meet.
        1..4 => a[0] == b[0] && a[length / 2] == b[length / 2] && a[length - 1] == b[length - 1],
        4..8 => {
            half_word(a, 0) == half_word(b, 0)
                && half_word(a, length - 4) == half_word(b, length - 4)
        }
        8..=16 => word(a, 0) == word(b, 0) && word(a, length - 8) == word(b, length - 8),
        _ => a == b,
    };
    is_same.then_some(())
}
