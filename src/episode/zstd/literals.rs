//! Literals_Section: the literals of a block as they are, as one byte repeated, or in Huffman codes
//! (RFC 8878, section 3.1.1.3.1).

use super::huffman::{self, Counts, DecodingTable, EncodingTable};
use super::huffman_tree::Tree;

/// Fewer literals are not worth a Huffman_Tree_Description.
const COMPRESSED_BYTES_MIN: usize = 64;
/// From here on there are four streams, which are decoded faster than one.
const FOUR_STREAMS_BYTES_MIN: usize = 256;
/// Three sizes of two bytes (section 3.1.1.3.1.6).
const JUMP_TABLE_BYTES: usize = 6;

/// Literals_Block_Type (section 3.1.1.3.1.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LiteralsBlockType {
    /// Raw_Literals_Block: the literals as they are.
    Raw = 0,
    /// RLE_Literals_Block: one byte, repeated.
    Rle = 1,
    /// Compressed_Literals_Block: a Huffman_Tree_Description, then its codes.
    Compressed = 2,
    /// Treeless_Literals_Block: codes of the last tree that was described.
    Treeless = 3,
}

impl LiteralsBlockType {
    fn of(bits: u8) -> LiteralsBlockType {
        match bits & 3 {
            0 => LiteralsBlockType::Raw,
            1 => LiteralsBlockType::Rle,
            2 => LiteralsBlockType::Compressed,
            _ => LiteralsBlockType::Treeless,
        }
    }
}

/// Literals_Section_Header of a compressed or treeless block (section 3.1.1.3.1.1).
#[derive(Clone, Copy)]
struct CompressedHeader {
    size_format: u8,
    /// The bits of Regenerated_Size, and those of Compressed_Size.
    size_bits: u32,
}

impl CompressedHeader {
    fn of_size_format(size_format: u8) -> CompressedHeader {
        let size_bits = match size_format {
            0 | 1 => 10,
            2 => 14,
            _ => 18,
        };
        CompressedHeader {
            size_format,
            size_bits,
        }
    }

    fn of_regenerated_size(size: usize) -> CompressedHeader {
        CompressedHeader::of_size_format(match size {
            0..FOUR_STREAMS_BYTES_MIN => 0,
            FOUR_STREAMS_BYTES_MIN..1024 => 1,
            1024..16_384 => 2,
            _ => 3,
        })
    }

    fn has_one_stream(self) -> bool {
        self.size_format == 0
    }

    fn bytes(self) -> usize {
        (4 + 2 * self.size_bits as usize).div_ceil(8)
    }

    fn write(self, kind: LiteralsBlockType, regenerated: usize, compressed: usize, to: &mut [u8]) {
        let sizes = regenerated as u64 | (compressed as u64) << self.size_bits;
        let header = kind as u64 | u64::from(self.size_format) << 2 | sizes << 4;
        to.copy_from_slice(&header.to_le_bytes()[..self.bytes()]);
    }

    /// Regenerated_Size and Compressed_Size.
    fn sizes(self, header: u64) -> (usize, usize) {
        let mask = (1 << self.size_bits) - 1;
        let sizes = header >> 4;
        let regenerated = sizes & mask;
        let compressed = sizes >> self.size_bits & mask;
        (regenerated as usize, compressed as usize)
    }
}

/// Whether Huffman codes would save next to nothing of a block that has no matches: by a sample of
/// it, since compressed files, pictures and noise are the one thing that has to pass quickly.
pub fn are_incompressible(bytes: &[u8]) -> bool {
    const SAMPLE_BYTES: usize = 256;
    const SAMPLES: usize = 32;
    if bytes.len() < SAMPLE_BYTES * SAMPLES {
        return false;
    }
    let mut counts = [0u64; 256];
    for part in bytes.chunks_exact(bytes.len() / SAMPLES) {
        for byte in &part[..SAMPLE_BYTES] {
            counts[usize::from(*byte)] += 1;
        }
    }
    // How many of all pairs are of one byte twice is a lower bound of what a byte costs: 1 in 256 of
    // noise, and 1 in 239 of bytes that cost 7.9 bits.
    let pairs: u64 = counts.iter().map(|count| count * count).sum();
    let number: u64 = counts.iter().sum();
    pairs * 239 <= number * number
}

/// Writes the section. `tree` is the last tree that was described, and becomes the one that is
/// described here. Returns the section's length in bytes; `None` if it does not fit.
pub fn write_section(literals: &[u8], tree: &mut Option<Tree>, buffer: &mut [u8]) -> Option<usize> {
    if literals.len() < COMPRESSED_BYTES_MIN {
        return write_raw(literals, buffer);
    }
    let counts = huffman::count(literals);
    let largest = counts.iter().copied().max().unwrap_or(0) as usize;
    if largest == literals.len() {
        return write_rle(literals, buffer);
    }
    // Nearly equal counts: codes would save less than their description costs.
    if largest <= (literals.len() >> 7) + 4 {
        return write_raw(literals, buffer);
    }
    let compressed = write_compressed(literals, &counts, tree, buffer);
    compressed.or_else(|| write_raw(literals, buffer))
}

/// Raw_Literals_Block (section 3.1.1.3.1.2).
fn write_raw(literals: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let header = write_header(LiteralsBlockType::Raw, literals.len(), buffer)?;
    let end = header + literals.len();
    buffer.get_mut(header..end)?.copy_from_slice(literals);
    Some(end)
}

/// RLE_Literals_Block (section 3.1.1.3.1.3).
fn write_rle(literals: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let header = write_header(LiteralsBlockType::Rle, literals.len(), buffer)?;
    *buffer.get_mut(header)? = literals[0];
    Some(header + 1)
}

/// Literals_Section_Header of a raw or an RLE block (section 3.1.1.3.1.1).
/// Returns its length in bytes.
fn write_header(
    kind: LiteralsBlockType,
    regenerated_size: usize,
    buffer: &mut [u8],
) -> Option<usize> {
    let (size_format_and_size, bytes) = match regenerated_size {
        0..32 => (regenerated_size << 1, 1),
        32..4096 => (regenerated_size << 2 | 1, 2),
        _ => (regenerated_size << 2 | 3, 3),
    };
    let header = (kind as usize | size_format_and_size << 2).to_le_bytes();
    buffer.get_mut(..bytes)?.copy_from_slice(&header[..bytes]);
    Some(bytes)
}

/// Compressed_Literals_Block or Treeless_Literals_Block (section 3.1.1.3.1.4), whichever is smaller.
/// `None` if it saves nothing.
fn write_compressed(
    literals: &[u8],
    counts: &Counts,
    tree: &mut Option<Tree>,
    buffer: &mut [u8],
) -> Option<usize> {
    let header = CompressedHeader::of_regenerated_size(literals.len());
    let (header_bytes, content) = buffer.split_at_mut_checked(header.bytes())?;
    let choice = choose_tree(literals.len(), counts, tree.as_ref(), content)?;
    if choice.content_bytes as usize + header.bytes() + literals.len() / 64 >= literals.len() {
        return None;
    }
    let table = EncodingTable::new(&choice.tree);
    let streams = content.get_mut(choice.description_bytes..)?;
    let streams_bytes = if header.has_one_stream() {
        table.encode(literals, streams)?
    } else {
        write_four_streams(literals, &table, streams)?
    };
    let content_bytes = choice.description_bytes + streams_bytes;
    if header.bytes() + content_bytes >= literals.len() {
        return None;
    }
    header.write(choice.kind, literals.len(), content_bytes, header_bytes);
    if choice.kind == LiteralsBlockType::Compressed {
        *tree = Some(choice.tree);
    }
    Some(header.bytes() + content_bytes)
}

struct Choice {
    kind: LiteralsBlockType,
    tree: Tree,
    /// Those of the Huffman_Tree_Description, which was written.
    description_bytes: usize,
    /// What description and streams will have, about.
    content_bytes: u64,
}

/// A new tree, whose description it writes, or the last tree that was described, if that costs no
/// more. `None` if there is neither.
fn choose_tree(
    literals_bytes: usize,
    counts: &Counts,
    last_described: Option<&Tree>,
    buffer: &mut [u8],
) -> Option<Choice> {
    let tree = Tree::of(counts);
    let description_bytes = tree.write_description(buffer);
    let described_cost =
        tree.cost(counts)? / 8 + description_bytes.unwrap_or(literals_bytes) as u64;
    if let Some(last) = last_described
        && let Some(treeless_cost) = last.cost(counts)
        && treeless_cost / 8 <= described_cost
    {
        return Some(Choice {
            kind: LiteralsBlockType::Treeless,
            tree: last.clone(),
            description_bytes: 0,
            content_bytes: treeless_cost / 8,
        });
    }
    Some(Choice {
        kind: LiteralsBlockType::Compressed,
        tree,
        description_bytes: description_bytes?,
        content_bytes: described_cost,
    })
}

/// Jump_Table, then a stream of each quarter of the literals (section 3.1.1.3.1.6).
/// Returns their length in bytes.
fn write_four_streams(literals: &[u8], table: &EncodingTable, buffer: &mut [u8]) -> Option<usize> {
    let mut end = JUMP_TABLE_BYTES;
    for (stream, quarter) in literals.chunks(literals.len().div_ceil(4)).enumerate() {
        let bytes = table.encode(quarter, buffer.get_mut(end..)?)?;
        end += bytes;
        // The last stream has the bytes that are left.
        if stream < 3 {
            let size = u16::try_from(bytes).ok()?.to_le_bytes();
            buffer[2 * stream..][..2].copy_from_slice(&size);
        }
    }
    Some(end)
}

/// Reads the section into `literals`. `table` is that of the last tree that was described, and
/// becomes that of the one that is described here. Returns the section's length in bytes; `None` if it
/// is malformed.
pub fn read_section(
    bytes: &[u8],
    table: &mut Option<DecodingTable>,
    literals: &mut Vec<u8>,
) -> Option<usize> {
    let first = *bytes.first()?;
    let size_format = first >> 2 & 3;
    let mut header = [0; 8];
    let header_bytes = bytes.len().min(5);
    header[..header_bytes].copy_from_slice(&bytes[..header_bytes]);
    let header = u64::from_le_bytes(header);
    match LiteralsBlockType::of(first) {
        LiteralsBlockType::Raw => {
            let (size, at) = raw_or_rle_header(size_format, header);
            literals.clear();
            literals.extend_from_slice(bytes.get(at..at + size)?);
            Some(at + size)
        }
        LiteralsBlockType::Rle => {
            let (size, at) = raw_or_rle_header(size_format, header);
            literals.clear();
            literals.resize(size, *bytes.get(at)?);
            Some(at + 1)
        }
        kind => {
            let header_fields = CompressedHeader::of_size_format(size_format);
            let (regenerated_size, compressed_size) = header_fields.sizes(header);
            let end = header_fields.bytes() + compressed_size;
            let mut streams = bytes.get(header_fields.bytes()..end)?;
            if kind == LiteralsBlockType::Compressed {
                streams = read_tree(streams, table)?;
            }
            let table = table.as_ref()?;
            literals.resize(regenerated_size, 0);
            if header_fields.has_one_stream() {
                table.decode(streams, literals)?;
            } else {
                table.decode_four(four_streams(streams)?, literals)?;
            }
            Some(end)
        }
    }
}

/// Reads a Huffman_Tree_Description into `table`. Returns the streams after it.
fn read_tree<'a>(bytes: &'a [u8], table: &mut Option<DecodingTable>) -> Option<&'a [u8]> {
    let (tree, description_bytes) = Tree::read_description(bytes)?;
    *table = Some(DecodingTable::new(&tree));
    Some(&bytes[description_bytes..])
}

/// Regenerated_Size, and the bytes of the header (section 3.1.1.3.1.1).
fn raw_or_rle_header(size_format: u8, header: u64) -> (usize, usize) {
    let (size, bytes) = match size_format {
        // One bit of Size_Format; the other is of the size.
        0 | 2 => (header >> 3 & 0x1f, 1),
        1 => (header >> 4 & 0xfff, 2),
        _ => (header >> 4 & 0xf_ffff, 3),
    };
    (size as usize, bytes)
}

/// What is behind the Jump_Table, parted by it (section 3.1.1.3.1.6).
fn four_streams(bytes: &[u8]) -> Option<[&[u8]; 4]> {
    let (jump_table, rest) = bytes.split_at_checked(JUMP_TABLE_BYTES)?;
    let size = |stream: usize| {
        let low = usize::from(jump_table[2 * stream]);
        let high = usize::from(jump_table[2 * stream + 1]);
        low | high << 8
    };
    let (first, rest) = rest.split_at_checked(size(0))?;
    let (second, rest) = rest.split_at_checked(size(1))?;
    let (third, fourth) = rest.split_at_checked(size(2))?;
    Some([first, second, third, fourth])
}
