//! The frames of fixed inputs, by SHA-256.
//!
//! The receiver knows an episode by the digest of its tarball. An episode that is packed again by an
//! encoder that chooses otherwise is another tarball, and its sender is refused with 409. So a
//! change of these digests is a change of what the program promises: it is made on purpose, with a
//! line in the changelog, and after the outboxes were emptied.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::huffman::DecodingTable;
use super::tests::{Random, blocks, compressed, mixture};
use super::{BLOCK_BYTES_MAX, HISTORY_BYTES_MAX, WINDOW_BYTES, literals, sequences};

/// A name, the inputs (a frame of each), the bytes of all frames, and their SHA-256.
type Case = (&'static str, fn() -> Vec<Vec<u8>>, usize, &'static str);

const CASES: [Case; 15] = [
    (
        "nothing",
        || vec![vec![]],
        13,
        "355382acc32b88120e9126b76f46642081ac688504fa6534980405b2942c4d9f",
    ),
    (
        "each size up to 300",
        each_size,
        118_102,
        "ac632b1143ecddf3684051cbcddafb4e30f993dd73ec95a985b83b6b13846aec",
    ),
    (
        "sizes beside a limit of the format",
        sizes_beside_limits,
        1_972_576,
        "aa33a1ad141ffc6485917a2762ec516443549eafd282d8503907416f9a5a3054",
    ),
    (
        "one byte repeated",
        one_byte,
        179,
        "c3656208a25750f1f0292d200c5330bba7373e76365ea59a595b4fb438378f00",
    ),
    (
        "JSON lines",
        || vec![json_lines(700_000)],
        134_613,
        "68d17a9eb26c4b2a6ab2e5febf9f4824e3182eadd6e2400dbd210550dd89cef9",
    ),
    (
        "binary samples",
        || vec![samples(700_000)],
        549_978,
        "42e4acc2a939edbf4f79e59bd4cf8703a63fada1643a177c7f6e7a48c3b34c73",
    ),
    (
        "words",
        || vec![words(700_000)],
        261_328,
        "5563c82bf1a2451a923e60c518e1f5b39f638e208337870e33e92f687992ff85",
    ),
    (
        "noise",
        || vec![noise(500_000)],
        500_022,
        "318dc3cd724612a8840276583dcf6b92994b041289928ed07a0229e2ceb5c6c9",
    ),
    (
        "noise, then JSON lines",
        noise_then_lines,
        470_797,
        "2ba6f2059f00cecb38b997938519120ea719d406a7fa5e5907a1a36e734b2779",
    ),
    (
        "seven bits of noise",
        seven_bits,
        262_632,
        "9d3cc19a81cedc7dbdc2d57602b811550ca9a9483dc9025921d62a26b2f83dcc",
    ),
    (
        "few literals, all the same",
        one_literal,
        2_851,
        "0183f4e352d645bff0a674ed1673804e867d5785923f321c23f85577dd651aef",
    ),
    (
        "a short last block",
        short_last_block,
        154_663,
        "230d4bc488cbe337ff23339cfe75e3ef0f483cceafa2927923cf217aa1bd1055",
    ),
    (
        "a piece again, near a window later",
        pieces,
        2_631_287,
        "c50d831791d20f4ecf2ea6b05ed3649f11ffe00f4bd7fd959b6645e931ed6968",
    ),
    (
        "more than the history",
        longer_than_history,
        2_491_282,
        "8e6b207c686030584e61e39fb71838e0a23c9fec50a25885565b1885a88c735a",
    ),
    (
        "mixtures",
        mixtures,
        1_236_482,
        "7b407c7a967507673e906064293a07ec9c1fe4d3675a38cbd4d905713161096c",
    ),
];

#[test]
fn the_bytes_of_an_encoder_never_change_by_accident() {
    let mut changed = String::new();
    for (name, inputs, bytes, sha256) in CASES {
        let frames: Vec<Vec<u8>> = inputs().iter().map(|input| compressed(input)).collect();
        let frames = frames.concat();
        let digest = Sha256::digest(&frames);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if frames.len() != bytes || digest != sha256 {
            changed += &format!("\n{name}: {} bytes, {digest}", frames.len());
        }
    }
    assert!(changed.is_empty(), "other frames than before:{changed}");
}

/// Otherwise the digests would hold only a part of the encoder. One kind is left out:
/// Number_of_Sequences in three bytes, for which a block would have to be all matches of four bytes.
#[test]
fn the_inputs_reach_every_kind_of_block_and_of_section() {
    let mut reached = BTreeSet::new();
    for (_, inputs, ..) in CASES {
        for input in inputs() {
            kinds_in(&compressed(&input), &mut reached);
        }
    }
    let mut all = BTreeSet::from(["Raw_Block", "RLE_Block", "Compressed_Block"].map(str::to_owned));
    for bytes in 1..=2 {
        all.insert(format!("Number_of_Sequences of {bytes} bytes"));
    }
    for size_format in [0, 1, 3] {
        all.insert(format!("Raw_Literals_Block, Size_Format {size_format}"));
    }
    all.insert("RLE_Literals_Block, Size_Format 1".to_owned());
    for size_format in 0..4 {
        all.insert(format!(
            "Compressed_Literals_Block, Size_Format {size_format}"
        ));
        all.insert(format!(
            "Treeless_Literals_Block, Size_Format {size_format}"
        ));
    }
    for part in ["Literals_Lengths", "Offsets", "Match_Lengths"] {
        for mode in MODES {
            all.insert(format!("{part}_Mode: {mode}_Mode"));
        }
    }
    assert_eq!(reached, all);
}

const MODES: [&str; 4] = ["Predefined", "RLE", "FSE_Compressed", "Repeat"];

/// Adds what the frame's blocks are, and what the sections of its compressed blocks are.
fn kinds_in(frame: &[u8], reached: &mut BTreeSet<String>) {
    let mut table = None;
    for (block_type, content) in blocks(frame) {
        let kind = ["Raw_Block", "RLE_Block", "Compressed_Block"][block_type as usize];
        reached.insert(kind.to_owned());
        if kind == "Compressed_Block" {
            kinds_of_sections(content, &mut table, reached);
        }
    }
}

fn kinds_of_sections(
    block: &[u8],
    table: &mut Option<DecodingTable>,
    reached: &mut BTreeSet<String>,
) {
    let kind = ["Raw", "RLE", "Compressed", "Treeless"][usize::from(block[0] & 3)];
    let size_format = block[0] >> 2 & 3;
    reached.insert(format!("{kind}_Literals_Block, Size_Format {size_format}"));
    let mut literals = Vec::new();
    let literals_bytes = literals::read_section(block, table, &mut literals).unwrap();
    let (number, bytes) = sequences::read_number_of_sequences(&block[literals_bytes..]).unwrap();
    reached.insert(format!("Number_of_Sequences of {bytes} bytes"));
    if number > 0 {
        let modes = block[literals_bytes + bytes];
        for (shift, part) in [
            (6, "Literals_Lengths"),
            (4, "Offsets"),
            (2, "Match_Lengths"),
        ] {
            let mode = MODES[usize::from(modes >> shift & 3)];
            reached.insert(format!("{part}_Mode: {mode}_Mode"));
        }
    }
}

fn each_size() -> Vec<Vec<u8>> {
    let kinds = [
        json_lines(300),
        noise(300),
        mixture(17, 300),
        vec![b'z'; 300],
    ];
    let sizes = (0..=300).flat_map(|size| kinds.iter().map(move |kind| kind[..size].to_vec()));
    sizes.collect()
}

fn sizes_beside_limits() -> Vec<Vec<u8>> {
    let limits = [
        1 << 10,
        1 << 12,
        1 << 14,
        1 << 16,
        BLOCK_BYTES_MAX,
        2 * BLOCK_BYTES_MAX,
    ];
    let sizes = limits
        .iter()
        .flat_map(|limit| [limit - 1, *limit, limit + 1]);
    sizes
        .flat_map(|size| [mixture(size as u64, size), json_lines(size), samples(size)])
        .collect()
}

fn one_byte() -> Vec<Vec<u8>> {
    [1, 2, 1000, BLOCK_BYTES_MAX, BLOCK_BYTES_MAX + 1, 3_000_000]
        .map(|size| vec![0; size])
        .to_vec()
}

fn noise_then_lines() -> Vec<Vec<u8>> {
    vec![[noise(3 * BLOCK_BYTES_MAX), json_lines(400_000)].concat()]
}

fn seven_bits() -> Vec<Vec<u8>> {
    vec![noise(300_000).iter().map(|byte| byte & 0x7f).collect()]
}

/// A block with short stretches of noise, then a block of pieces of them, each with the same byte
/// before it.
fn one_literal() -> Vec<Vec<u8>> {
    let noise = noise(20 * 120);
    let mut bytes = Vec::new();
    for stretch in noise.chunks_exact(120) {
        bytes.extend_from_slice(stretch);
        bytes.resize(bytes.len() + 40, 0);
    }
    bytes.resize(BLOCK_BYTES_MAX, 0);
    for number in 0..160 {
        let stretch = number * 7 % 20;
        let piece = number / 20;
        bytes.push(b'x');
        bytes.extend_from_slice(&noise[stretch * 120 + piece * 14 + 2..][..12]);
    }
    bytes.extend([b'x'; 300]);
    vec![bytes]
}

/// Its literals are few, and alike those of the block before.
fn short_last_block() -> Vec<Vec<u8>> {
    [64, 150, 255]
        .map(|size| words(BLOCK_BYTES_MAX + size))
        .to_vec()
}

fn pieces() -> Vec<Vec<u8>> {
    let piece = noise(50_000);
    let gaps = [
        WINDOW_BYTES - piece.len() - 1,
        WINDOW_BYTES - piece.len(),
        WINDOW_BYTES,
    ];
    gaps.map(|gap| [&piece[..], &words(gap), &piece].concat())
        .to_vec()
}

fn longer_than_history() -> Vec<Vec<u8>> {
    vec![
        json_lines(HISTORY_BYTES_MAX + BLOCK_BYTES_MAX + 1),
        mixture(23, HISTORY_BYTES_MAX + 1),
    ]
}

fn mixtures() -> Vec<Vec<u8>> {
    (0..30).map(|seed| mixture(4000 + seed, 100_000)).collect()
}

fn json_lines(bytes: usize) -> Vec<u8> {
    let mut random = Random(490);
    let mut at = [0i64; 3];
    let mut text = String::new();
    let mut number = 0;
    while text.len() < bytes {
        number += 1;
        for value in &mut at {
            *value += random.next(201) as i64 - 100 - *value / 64;
        }
        let [x, y, z] = at;
        let state = ["idle", "swing", "settle"][number / 100 % 3];
        text += &format!("{{\"seq\":{number},\"accel\":[{x},{y},{z}],\"state\":\"{state}\"}}\n");
    }
    text.truncate(bytes);
    text.into_bytes()
}

/// A counter and three readings of 16 bits.
fn samples(bytes: usize) -> Vec<u8> {
    let mut random = Random(491);
    let mut at = [0i16; 3];
    let mut out = Vec::new();
    for number in 0u32.. {
        if out.len() >= bytes {
            break;
        }
        out.extend(number.to_le_bytes());
        for value in &mut at {
            *value = value.wrapping_add(random.next(41) as i16 - 20);
            out.extend(value.to_le_bytes());
        }
    }
    out.truncate(bytes);
    out
}

/// Words of which some are frequent.
fn words(bytes: usize) -> Vec<u8> {
    let mut random = Random(492);
    let lexicon: Vec<String> = (0..2000)
        .map(|_| {
            let letters = 1 + random.next(9);
            (0..letters)
                .map(|_| (b'a' + random.next(26) as u8) as char)
                .collect()
        })
        .collect();
    let mut text = String::new();
    while text.len() < bytes {
        let below = 1 + random.next(lexicon.len() as u64);
        text += &lexicon[random.next(below) as usize];
        text += [" ", " ", " ", ", ", ".\n"][random.next(5) as usize];
    }
    text.truncate(bytes);
    text.into_bytes()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut random = Random(493);
    (0..bytes).map(|_| random.next(256) as u8).collect()
}
