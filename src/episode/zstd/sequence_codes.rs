//! The codes of a sequence's three values: their Baselines and additional bits (RFC 8878, section
//! 3.1.1.3.2.1.1), and their default distributions (section 3.1.1.3.2.2).

use super::distribution::Distribution;

/// The three symbol types, in the order in which their tables are described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolType {
    LiteralsLength,
    Offset,
    MatchLength,
}

impl SymbolType {
    pub const ALL: [SymbolType; 3] = [
        SymbolType::LiteralsLength,
        SymbolType::Offset,
        SymbolType::MatchLength,
    ];

    /// The largest Accuracy_Log (section 3.1.1.3.2.1).
    pub fn accuracy_log_max(self) -> u32 {
        match self {
            SymbolType::LiteralsLength | SymbolType::MatchLength => 9,
            SymbolType::Offset => 8,
        }
    }

    /// The distribution of Predefined_Mode (section 3.1.1.3.2.2).
    pub fn predefined(self) -> &'static Distribution {
        match self {
            SymbolType::LiteralsLength => &LITERALS_LENGTHS,
            SymbolType::Offset => &OFFSETS,
            SymbolType::MatchLength => &MATCH_LENGTHS,
        }
    }

    /// The Baseline of a code, and its Number_of_Bits; `None` if there is no such code. The
    /// Baselines of Match_Length are less [`super::sequences::MATCH_LENGTH_MIN`].
    pub fn baseline(self, code: u8) -> Option<(u32, u32)> {
        let code = u32::from(code);
        match self {
            SymbolType::LiteralsLength => {
                by_table(code, &LITERALS_LENGTH_BITS, LITERALS_LENGTHS_DIRECT)
            }
            SymbolType::MatchLength => by_table(code, &MATCH_LENGTH_BITS, MATCH_LENGTHS_DIRECT),
            SymbolType::Offset => (code < 32).then(|| (1 << code, code)),
        }
    }

    /// The Number_of_Bits of a Literals_Length code.
    #[inline(always)]
    pub fn literals_length_bits(code: u8) -> u32 {
        bits_of(code, &LITERALS_LENGTH_BITS, LITERALS_LENGTHS_DIRECT)
    }

    /// The Number_of_Bits of a Match_Length code.
    #[inline(always)]
    pub fn match_length_bits(code: u8) -> u32 {
        bits_of(code, &MATCH_LENGTH_BITS, MATCH_LENGTHS_DIRECT)
    }
}

/// So many codes are their own values, without additional bits.
const LITERALS_LENGTHS_DIRECT: u8 = 16;
/// The Number_of_Bits of the codes after those.
const LITERALS_LENGTH_BITS: [u8; 20] = [
    1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
];

/// So many codes are their own values, without additional bits.
const MATCH_LENGTHS_DIRECT: u8 = 32;
/// The Number_of_Bits of the codes after those.
const MATCH_LENGTH_BITS: [u8; 21] = [
    1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
];

/// Section 3.1.1.3.2.2.1.
static LITERALS_LENGTHS: Distribution = Distribution::predefined(
    6,
    &[
        4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1,
        1, 1, -1, -1, -1, -1,
    ],
);
/// Section 3.1.1.3.2.2.2.
static MATCH_LENGTHS: Distribution = Distribution::predefined(
    6,
    &[
        1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
    ],
);
/// Section 3.1.1.3.2.2.3.
static OFFSETS: Distribution = Distribution::predefined(
    5,
    &[
        1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
    ],
);

/// The first `direct` codes are their own values; the ranges of the others follow each other.
fn by_table(code: u32, bits: &[u8], direct: u8) -> Option<(u32, u32)> {
    let direct = u32::from(direct);
    let Some(above) = code.checked_sub(direct) else {
        return Some((code, 0));
    };
    let number_of_bits = u32::from(*bits.get(above as usize)?);
    let ranges_before = bits[..above as usize].iter().map(|bits| 1 << bits);
    let baseline = direct + ranges_before.sum::<u32>();
    Some((baseline, number_of_bits))
}

#[inline(always)]
fn bits_of(code: u8, bits: &[u8], direct: u8) -> u32 {
    match code.checked_sub(direct) {
        Some(above) => u32::from(bits[usize::from(above) % bits.len()]),
        None => 0,
    }
}

/// The code of a Literals_Length.
#[inline(always)]
pub fn literals_length_code(literals_length: u32) -> u8 {
    static CODES: [u8; 64] = first_codes(&LITERALS_LENGTH_BITS, LITERALS_LENGTHS_DIRECT);
    match CODES.get(literals_length as usize) {
        Some(code) => *code,
        None => literals_length.ilog2() as u8 + 19,
    }
}

/// The code of a Match_Length that is less [`super::sequences::MATCH_LENGTH_MIN`].
#[inline(always)]
pub fn match_length_code(match_length: u32) -> u8 {
    static CODES: [u8; 128] = first_codes(&MATCH_LENGTH_BITS, MATCH_LENGTHS_DIRECT);
    match CODES.get(match_length as usize) {
        Some(code) => *code,
        None => match_length.ilog2() as u8 + 36,
    }
}

/// The codes of the values below `N`.
const fn first_codes<const N: usize>(bits: &[u8], direct: u8) -> [u8; N] {
    let mut codes = [0; N];
    let mut value = 0;
    while value < direct as usize {
        codes[value] = value as u8;
        value += 1;
    }
    let mut above = 0;
    while value < N {
        let mut left = 1usize << bits[above];
        while left > 0 && value < N {
            codes[value] = direct + above as u8;
            value += 1;
            left -= 1;
        }
        above += 1;
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_lies_in_the_range_of_its_code() {
        for value in 0..131_072u32 {
            for (kind, code) in [
                (SymbolType::LiteralsLength, literals_length_code(value)),
                (SymbolType::MatchLength, match_length_code(value)),
            ] {
                let (baseline, bits) = kind.baseline(code).unwrap();
                assert!(
                    baseline <= value && value < baseline + (1 << bits),
                    "{kind:?} {value}"
                );
                assert_eq!(baseline % (1 << bits), 0, "a multiple, {kind:?} {value}");
            }
        }
        assert_eq!(SymbolType::LiteralsLength.baseline(36), None);
        assert_eq!(SymbolType::MatchLength.baseline(53), None);
    }
}
