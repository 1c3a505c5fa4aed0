//! Sorts entries whose first member is a hash, in place and with a constant amount of memory beside.
//!
//! The program is built small, and the standard library's sort is then one that jumps about in all of
//! the memory at each step: for two million rows it took as long as reading them. Hashes are spread
//! evenly, so one look at a byte of theirs is worth eight comparisons.

/// Fewer entries than this are sorted by comparing neighbours.
const FEW: usize = 24;

/// Sorts by both members, the first being a hash.
pub(in crate::receiver) fn sort(entries: &mut [(u64, u64)]) {
    sort_by_bytes_from(entries, u64::BITS - 8);
}

/// Sorts entries that are equal in all bits of the hash above the byte at `shift`.
fn sort_by_bytes_from(entries: &mut [(u64, u64)], shift: u32) {
    if entries.len() < FEW {
        return insert_each(entries);
    }
    let mut rest = entries;
    for length in group(rest, shift) {
        let (equal, others) = rest.split_at_mut(length);
        match shift.checked_sub(8) {
            Some(shift) => sort_by_bytes_from(equal, shift),
            None => equal.sort_unstable(), // equal hashes
        }
        rest = others;
    }
}

/// Brings entries with the same byte at `shift` together, in the order of that byte; how many have
/// each. An entry is swapped to its place at most once.
fn group(entries: &mut [(u64, u64)], shift: u32) -> [usize; 256] {
    let byte_of = |entry: &(u64, u64)| usize::from((entry.0 >> shift) as u8);
    let mut lengths = [0; 256];
    for entry in entries.iter() {
        lengths[byte_of(entry)] += 1;
    }
    // Where the next entry of each byte goes.
    let mut places = [0; 256];
    let mut end = 0;
    for (place, length) in places.iter_mut().zip(&lengths) {
        *place = end;
        end += length;
    }
    let mut end = 0;
    for (byte, length) in lengths.iter().enumerate() {
        end += length;
        while places[byte] < end {
            let there = byte_of(&entries[places[byte]]);
            entries.swap(places[byte], places[there]);
            places[there] += 1;
        }
    }
    lengths
}

fn insert_each(entries: &mut [(u64, u64)]) {
    for end in 1..entries.len() {
        let entry = entries[end];
        let mut place = end;
        while place > 0 && entry < entries[place - 1] {
            entries[place] = entries[place - 1];
            place -= 1;
        }
        entries[place] = entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Seeded;

    #[test]
    fn any_entries_are_sorted_as_the_standard_library_sorts_them() {
        let mut dice = Seeded::new(490);
        for length in (0..60).chain([255, 256, 257, 5000, 100_000]) {
            // Spread evenly; a few hashes, many times each; equal but for one byte.
            for (mask, shift) in [(u64::MAX, 0), (3, 62), (3, 0), (0, 0), (0xff, 24)] {
                let entry = |_| ((dice.below(u64::MAX) & mask) << shift, dice.below(1 << 40));
                let mut entries: Vec<(u64, u64)> = (0..length).map(entry).collect();
                let mut wanted = entries.clone();
                wanted.sort_unstable();
                sort(&mut entries);
                assert!(entries == wanted, "{length} of {mask:x}, {shift}");
            }
        }
    }
}
