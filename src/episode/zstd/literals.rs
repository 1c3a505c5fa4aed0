//! The section of a block that has its literals: as they are, one of them so many times, or in
//! Huffman's codes.

use super::huffman::{self, Counts, Decoder, Encoder, Lengths};

/// Fewer are not worth their description.
const CODED_BYTES_MIN: usize = 64;
/// From here on there are four streams, which are read faster.
const FOUR_BYTES_MIN: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain = 0,
    /// One byte, repeated.
    Only = 1,
    Coded = 2,
    /// In the codes of the last [`Kind::Coded`].
    CodedAsBefore = 3,
}

impl Kind {
    fn of(bits: u8) -> Kind {
        match bits & 3 {
            0 => Kind::Plain,
            1 => Kind::Only,
            2 => Kind::Coded,
            _ => Kind::CodedAsBefore,
        }
    }
}

/// Whether codes would save next to nothing of a block that repeats nothing: by a sample of it, as
/// compressed files, pictures and noise are the one thing that has to pass quickly.
pub fn are_even(bytes: &[u8]) -> bool {
    const PIECE_BYTES: usize = 256;
    const PIECES: usize = 32;
    if bytes.len() < PIECE_BYTES * PIECES {
        return false;
    }
    let mut counts = [0u64; 256];
    for part in bytes.chunks_exact(bytes.len() / PIECES) {
        for byte in &part[..PIECE_BYTES] {
            counts[usize::from(*byte)] += 1;
        }
    }
    // How many pairs are of one byte tells the least that a byte costs: 1 in 256 of noise, and of
    // what costs 7.9 bits 1 in 239.
    let pairs: u64 = counts.iter().map(|count| count * count).sum();
    let number: u64 = counts.iter().sum();
    pairs * 239 <= number * number
}

/// Writes the section, and takes the codes that it describes into `codes`. Its bytes; `None` if it
/// has no room.
pub fn write(literals: &[u8], codes: &mut Option<Lengths>, room: &mut [u8]) -> Option<usize> {
    if literals.len() < CODED_BYTES_MIN {
        return write_plain(literals, room);
    }
    let counts = huffman::count(literals);
    let most = counts.iter().copied().max().unwrap_or(0) as usize;
    if most == literals.len() {
        let at = write_head(Kind::Only, literals.len(), room)?;
        *room.get_mut(at)? = literals[0];
        return Some(at + 1);
    }
    // Nearly even: codes would save less than they cost.
    if most <= (literals.len() >> 7) + 4 {
        return write_plain(literals, room);
    }
    let coded = write_coded(literals, &counts, codes, room);
    coded.or_else(|| write_plain(literals, room))
}

fn write_plain(literals: &[u8], room: &mut [u8]) -> Option<usize> {
    let at = write_head(Kind::Plain, literals.len(), room)?;
    room.get_mut(at..at + literals.len())?
        .copy_from_slice(literals);
    Some(at + literals.len())
}

/// For what is not coded.
fn write_head(kind: Kind, number: usize, room: &mut [u8]) -> Option<usize> {
    let (format, bytes) = match number {
        0..32 => (number << 3, 1),
        32..4096 => (number << 4 | 1 << 2, 2),
        _ => (number << 4 | 3 << 2, 3),
    };
    let head = (format | kind as usize).to_le_bytes();
    room.get_mut(..bytes)?.copy_from_slice(&head[..bytes]);
    Some(bytes)
}

/// `None` if codes save nothing.
fn write_coded(
    literals: &[u8],
    counts: &Counts,
    codes: &mut Option<Lengths>,
    room: &mut [u8],
) -> Option<usize> {
    let number = literals.len();
    let (format, width) = match number {
        0..FOUR_BYTES_MIN => (0, 10),
        FOUR_BYTES_MIN..1024 => (1, 10),
        1024..16_384 => (2, 14),
        _ => (3, 18),
    };
    let head_bytes = (4 + 2 * width as usize).div_ceil(8);
    let (head, body) = room.split_at_mut_checked(head_bytes)?;
    let described = Lengths::of(counts);
    let description = described.write(body);
    let cost_described = described.cost(counts)? / 8 + description.unwrap_or(number) as u64;
    let cost_before = codes.as_ref().and_then(|codes| codes.cost(counts));
    let (kind, lengths, mut at) = match (cost_before, codes.as_ref()) {
        (Some(before), Some(codes)) if before / 8 <= cost_described => {
            (Kind::CodedAsBefore, codes.clone(), 0)
        }
        _ => (Kind::Coded, described, description?),
    };
    let expected = if kind == Kind::Coded {
        cost_described
    } else {
        cost_before? / 8
    };
    if expected as usize + head_bytes + number / 64 >= number {
        return None;
    }
    let encoder = Encoder::new(&lengths);
    if format == 0 {
        at += encoder.encode(literals, body.get_mut(at..)?)?;
    } else {
        let sizes_at = at;
        at += 6;
        for (place, part) in literals.chunks(number.div_ceil(4)).enumerate() {
            let bytes = encoder.encode(part, body.get_mut(at..)?)?;
            at += bytes;
            if place < 3 {
                let size = u16::try_from(bytes).ok()?.to_le_bytes();
                body[sizes_at + 2 * place..][..2].copy_from_slice(&size);
            }
        }
    }
    if at + head_bytes >= number {
        return None;
    }
    let text = kind as u64 | format << 2 | (number as u64) << 4 | (at as u64) << (4 + width);
    head.copy_from_slice(&text.to_le_bytes()[..head_bytes]);
    if kind == Kind::Coded {
        *codes = Some(lengths);
    }
    Some(head_bytes + at)
}

/// Reads the section into `literals`, and takes the codes that it describes into `codes`. Its bytes.
pub fn read(bytes: &[u8], codes: &mut Option<Decoder>, literals: &mut Vec<u8>) -> Option<usize> {
    let first = *bytes.first()?;
    let kind = Kind::of(first);
    let format = first >> 2 & 3;
    let mut head = [0; 8];
    let shown = bytes.len().min(5);
    head[..shown].copy_from_slice(&bytes[..shown]);
    let head = u64::from_le_bytes(head);
    if matches!(kind, Kind::Plain | Kind::Only) {
        let (number, at) = match format {
            0 | 2 => (head >> 3 & 0x1f, 1),
            1 => (head >> 4 & 0xfff, 2),
            _ => (head >> 4 & 0xf_ffff, 3),
        };
        let number = number as usize;
        literals.clear();
        if kind == Kind::Only {
            literals.resize(number, *bytes.get(at)?);
            return Some(at + 1);
        }
        literals.extend_from_slice(bytes.get(at..at + number)?);
        return Some(at + number);
    }
    let width = [10, 10, 14, 18][usize::from(format)];
    let number = (head >> 4 & ((1 << width) - 1)) as usize;
    let size = (head >> (4 + width) & ((1 << width) - 1)) as usize;
    let head_bytes = (4 + 2 * width as usize).div_ceil(8);
    let mut body = bytes.get(head_bytes..head_bytes + size)?;
    if kind == Kind::Coded {
        let (lengths, description) = Lengths::read(body)?;
        *codes = Some(Decoder::new(&lengths));
        body = &body[description..];
    }
    let decoder = codes.as_ref()?;
    literals.resize(number, 0);
    if format == 0 {
        decoder.decode(body, literals)?;
    } else {
        let size = |place: usize| {
            let two = body.get(2 * place..2 * place + 2)?;
            Some(usize::from(two[0]) | usize::from(two[1]) << 8)
        };
        let (a, b, c) = (size(0)?, size(1)?, size(2)?);
        let rest = body.get(6..)?;
        let (first, rest) = rest.split_at_checked(a)?;
        let (second, rest) = rest.split_at_checked(b)?;
        let (third, fourth) = rest.split_at_checked(c)?;
        decoder.decode_four([first, second, third, fourth], literals)?;
    }
    Some(head_bytes + size)
}
