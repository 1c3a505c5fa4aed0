//! The Huffman tree of literals: the Number_of_Bits of each byte's code. Huffman_Tree_Description is how
//! it is written for a decoder (RFC 8878, section 4.2.1).

use super::bits::{BackwardBitReader, BitWriter};
use super::distribution::{Distribution, SYMBOLS_MAX};
use super::fse::{DecodingTable, EncodingTable};
use super::huffman::Counts;

/// The longest code of a literal that the format allows (section 4.2.1).
pub const NUMBER_OF_BITS_MAX: u32 = 11;
/// The most weights that are written directly, four bits each (section 4.2.1.1).
const DIRECT_WEIGHTS_MAX: usize = 128;
/// The largest Accuracy_Log of the weights' distribution (section 4.2.1.2).
const WEIGHTS_ACCURACY_LOG_MAX: u32 = 6;

/// By byte the Number_of_Bits of its code; 0 if it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree([u8; 256]);

impl Tree {
    /// The tree that makes the counted bytes smallest, but for the limit of a code's length. At
    /// least two counts are not 0.
    pub fn of(counts: &Counts) -> Tree {
        let mut sorted: Vec<(u32, u8)> = (0..=255u8)
            .map(|byte| (counts[usize::from(byte)], byte))
            .filter(|(count, _)| *count > 0)
            .collect();
        sorted.sort_unstable();
        let mut depths: Vec<u32> = sorted.iter().map(|(count, _)| *count).collect();
        optimal_depths(&mut depths);
        let mut leaves = [0usize; 64];
        for depth in &depths {
            leaves[*depth as usize] += 1;
        }
        limit_depth(&mut leaves);
        let mut numbers_of_bits = [0; 256];
        // The rarest bytes have the longest codes.
        let mut longest_first = (1..=NUMBER_OF_BITS_MAX).rev();
        let mut number_of_bits = 0;
        let mut left = 0;
        for (_, byte) in &sorted {
            while left == 0 {
                let Some(next) = longest_first.next() else {
                    break;
                };
                number_of_bits = next as u8;
                left = leaves[next as usize];
            }
            numbers_of_bits[usize::from(*byte)] = number_of_bits;
            left = left.saturating_sub(1);
        }
        Tree(numbers_of_bits)
    }

    /// What the counted bytes cost, in bits; `None` if one of them has no code.
    pub fn cost(&self, counts: &Counts) -> Option<u64> {
        let mut cost = 0;
        for (number_of_bits, count) in self.0.iter().zip(counts) {
            if *count > 0 && *number_of_bits == 0 {
                return None;
            }
            cost += u64::from(*number_of_bits) * u64::from(*count);
        }
        Some(cost)
    }

    /// Max_Number_of_Bits (section 4.2.1).
    pub fn max_number_of_bits(&self) -> u32 {
        u32::from(self.0.iter().copied().max().unwrap_or(0))
    }

    /// The Weight of each byte (section 4.2.1): 0 if it has no code, else Max_Number_of_Bits + 1 -
    /// Number_of_Bits. Among all numbers of Max_Number_of_Bits, `1 << (weight - 1)` begin with the
    /// byte's code.
    fn weights(&self) -> [u8; 256] {
        let max_number_of_bits = self.max_number_of_bits() as u8;
        self.0.map(|number_of_bits| match number_of_bits {
            0 => 0,
            _ => max_number_of_bits + 1 - number_of_bits,
        })
    }

    /// Writes the Huffman_Tree_Description (section 4.2.1.1). Returns its length in bytes; `None` if
    /// the format has no description for this tree, or it does not fit.
    pub fn write_description(&self, buffer: &mut [u8]) -> Option<usize> {
        let weights = self.weights();
        // A decoder knows the last weight by the others.
        let last = weights.iter().rposition(|weight| *weight > 0).unwrap_or(0);
        let weights = &weights[..last];
        let direct_bytes = weights.len().div_ceil(2);
        let is_direct_possible = weights.len() <= DIRECT_WEIGHTS_MAX;
        let compressed = write_compressed_weights(weights, buffer.get_mut(1..)?);
        if let Some(bytes) = compressed
            && bytes < 128
            && (bytes < direct_bytes || !is_direct_possible)
        {
            buffer[0] = bytes as u8;
            return Some(1 + bytes);
        }
        if !is_direct_possible || direct_bytes >= buffer.len() {
            return None;
        }
        buffer[0] = (127 + weights.len()) as u8;
        for (byte, pair) in buffer[1..].iter_mut().zip(weights.chunks(2)) {
            *byte = pair[0] << 4 | pair.get(1).copied().unwrap_or(0);
        }
        Some(1 + direct_bytes)
    }

    /// Reads a Huffman_Tree_Description (section 4.2.1.1), and how many bytes it has.
    pub fn read_description(bytes: &[u8]) -> Option<(Tree, usize)> {
        let header = usize::from(*bytes.first()?);
        if header < 128 {
            let weights = read_compressed_weights(bytes.get(1..1 + header)?)?;
            return Some((Tree::of_weights(&weights)?, 1 + header));
        }
        let number = header - 127;
        let direct = bytes.get(1..1 + number.div_ceil(2))?;
        let halves = direct.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let weights: Vec<u8> = halves.take(number).collect();
        Some((Tree::of_weights(&weights)?, 1 + direct.len()))
    }

    /// The tree of all weights but the last, which is what they leave of a power of two (section
    /// 4.2.1). `None` if they leave none.
    fn of_weights(weights: &[u8]) -> Option<Tree> {
        let is_in_range = |weight: &u8| u32::from(*weight) <= NUMBER_OF_BITS_MAX;
        if weights.len() > 255 || !weights.iter().all(is_in_range) {
            return None;
        }
        let with_code = weights.iter().filter(|weight| **weight > 0);
        let taken: u32 = with_code.map(|weight| 1 << (weight - 1)).sum();
        let max_number_of_bits = taken.checked_ilog2()? + 1;
        let left = (1u32 << max_number_of_bits) - taken;
        if max_number_of_bits > NUMBER_OF_BITS_MAX || !left.is_power_of_two() {
            return None;
        }
        let last = left.ilog2() as u8 + 1;
        let mut numbers_of_bits = [0; 256];
        let all_weights = weights.iter().chain([&last]);
        for (number_of_bits, weight) in numbers_of_bits.iter_mut().zip(all_weights) {
            if *weight > 0 {
                *number_of_bits = max_number_of_bits as u8 + 1 - weight;
            }
        }
        Some(Tree(numbers_of_bits))
    }

    /// Calls `visit` with each byte that has a code, its weight, and the first of the numbers of
    /// Max_Number_of_Bits that begin with its code (section 4.2.1.3): the lowest weight has the
    /// lowest numbers, and of one weight the lowest byte.
    pub fn each_prefix_code(&self, mut visit: impl FnMut(u8, u32, u32)) {
        let weights = self.weights();
        let mut first = 0;
        for weight in 1..=NUMBER_OF_BITS_MAX {
            for byte in 0..=255u8 {
                if u32::from(weights[usize::from(byte)]) == weight {
                    visit(byte, weight, first);
                    first += 1 << (weight - 1);
                }
            }
        }
    }
}

/// Replaces ascending counts with the depth of each one's leaf in an optimal tree. This is done in
/// place, by the algorithm of Moffat and Katajainen.
fn optimal_depths(counts: &mut [u32]) {
    let n = counts.len();
    if n < 2 {
        counts.fill(1);
        return;
    }
    counts_to_parents(counts);
    parents_to_inner_depths(counts);
    inner_depths_to_leaf_depths(counts);
}

/// Adds up the two smallest nodes until one is left. The inner nodes are made in order, each over the
/// place of a leaf that was used; a node that was used becomes the index of its parent.
fn counts_to_parents(counts: &mut [u32]) {
    let n = counts.len();
    let mut root = 0;
    let mut leaf = 0;
    for next in 0..n - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            let is_inner = leaf >= n || (root < next && counts[root] < counts[leaf]);
            if is_inner {
                sum += std::mem::replace(&mut counts[root], next as u32);
                root += 1;
            } else {
                sum += counts[leaf];
                leaf += 1;
            }
        }
        counts[next] = sum;
    }
}

/// Replaces the parent of each inner node with the node's depth, from the root down.
fn parents_to_inner_depths(counts: &mut [u32]) {
    let n = counts.len();
    counts[n - 2] = 0;
    for next in (0..n - 2).rev() {
        counts[next] = counts[counts[next] as usize] + 1;
    }
}

/// Replaces the depths of the inner nodes with those of the leaves, from the root down.
fn inner_depths_to_leaf_depths(counts: &mut [u32]) {
    let n = counts.len();
    let mut inner = n - 1;
    let mut at = n;
    let mut depth = 0;
    // The nodes of this depth. Each inner one has two nodes of the next depth below it.
    let mut nodes = 1;
    while nodes > 0 {
        let mut inner_nodes = 0;
        while inner > 0 && counts[inner - 1] == depth {
            inner_nodes += 1;
            inner -= 1;
        }
        for _ in inner_nodes..nodes {
            at -= 1;
            counts[at] = depth;
        }
        nodes = 2 * inner_nodes;
        depth += 1;
    }
}

/// Moves leaves up to the largest depth of the format, and others down for them, so that the tree
/// stays complete. `leaves` has their number at each depth.
fn limit_depth(leaves: &mut [usize; 64]) {
    const DEPTH_MAX: usize = NUMBER_OF_BITS_MAX as usize;
    let deeper: usize = leaves[DEPTH_MAX + 1..].iter().sum();
    if deeper == 0 {
        return;
    }
    leaves[DEPTH_MAX] += deeper;
    leaves[DEPTH_MAX + 1..].fill(0);
    let mut taken: usize = (1..=DEPTH_MAX)
        .map(|depth| leaves[depth] << (DEPTH_MAX - depth))
        .sum();
    while taken > 1 << DEPTH_MAX {
        leaves[DEPTH_MAX] -= 1;
        if let Some(depth) = (1..DEPTH_MAX).rev().find(|depth| leaves[*depth] > 0) {
            leaves[depth] -= 1;
            leaves[depth + 1] += 2;
        }
        taken -= 1;
    }
}

/// Writes weights with FSE (section 4.2.1.2): the description of their distribution, then one
/// bitstream of two states that take turns. `None` if that is not possible.
fn write_compressed_weights(weights: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let mut counts = [0; SYMBOLS_MAX];
    for weight in weights {
        counts[usize::from(*weight) % SYMBOLS_MAX] += 1;
    }
    if weights.len() < 3 || counts.iter().filter(|count| **count > 0).count() < 2 {
        return None;
    }
    let distribution = Distribution::normalize(&counts, WEIGHTS_ACCURACY_LOG_MAX);
    let description_bytes = distribution.write_description(buffer)?;
    let table = EncodingTable::new(&distribution);
    let mut writer = BitWriter::new(buffer.get_mut(description_bytes..)?);
    // The first state has the weights at even places.
    let last = weights.len() - 1;
    let mut states = [0; 2];
    for place in [last, last - 1] {
        states[place % 2] = table.first_state(weights[place]);
    }
    for place in (0..last - 1).rev() {
        states[place % 2] = table.encode(states[place % 2], weights[place], &mut writer);
        writer.flush();
    }
    table.write_state(states[1], &mut writer);
    table.write_state(states[0], &mut writer);
    Some(description_bytes + writer.finish_marked()?)
}

/// Reads what [`write_compressed_weights`] writes. The bitstream does not say how many weights there
/// are: the first state for which there are not enough bits is the end, and the other state is the
/// last weight (section 4.2.1.2).
fn read_compressed_weights(bytes: &[u8]) -> Option<Vec<u8>> {
    let (distribution, description_bytes) =
        Distribution::read_description(bytes, WEIGHTS_ACCURACY_LOG_MAX)?;
    let table = DecodingTable::new(&distribution);
    let mut reader = BackwardBitReader::new(bytes.get(description_bytes..)?)?;
    let mut states = [table.read_state(&mut reader), table.read_state(&mut reader)];
    let mut weights = Vec::new();
    for place in (0..2).cycle() {
        weights.push(states[place].symbol);
        if !DecodingTable::has_next_state(states[place], &reader) {
            weights.push(states[1 - place].symbol);
            return Some(weights);
        }
        let mut bits = reader.peek();
        states[place] = table.next_state(states[place], &mut bits);
        reader.skip_read(bits);
        if weights.len() > 255 {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_is_longer_than_the_format_allows() {
        let mut counts = [0; 256];
        // By Fibonacci's numbers the optimal tree is as deep as a tree can be.
        let mut fibonacci = [1u32, 1];
        for count in counts.iter_mut().take(40) {
            let [a, b] = fibonacci;
            *count = a;
            fibonacci = [b, a + b];
        }
        let tree = Tree::of(&counts);
        assert_eq!(tree.max_number_of_bits(), NUMBER_OF_BITS_MAX);
        let with_code = tree.0.iter().filter(|number_of_bits| **number_of_bits > 0);
        let taken: u32 = with_code
            .map(|number_of_bits| 1 << (NUMBER_OF_BITS_MAX - u32::from(*number_of_bits)))
            .sum();
        assert_eq!(taken, 1 << NUMBER_OF_BITS_MAX, "the tree is complete");
    }
}
