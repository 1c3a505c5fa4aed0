//! The compressor against decoders that are not its own: the reference `zstd`, and ruzstd.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use ruzstd::decoding::StreamingDecoder;

use super::*;

pub(super) fn compressed(bytes: &[u8]) -> Vec<u8> {
    compressed_by(&mut Compressor::new(), bytes).0
}

fn compressed_by(compressor: &mut Compressor, bytes: &[u8]) -> (Vec<u8>, u64) {
    let mut frame = Compressor::frame_header().to_vec();
    let mut left = bytes;
    loop {
        let filled = left.read(compressor.buffer()).unwrap();
        let is_last = filled < BLOCK_BYTES_MAX;
        let (header, content) = compressor.block(filled, is_last);
        frame.extend_from_slice(&header);
        frame.extend_from_slice(content);
        if is_last {
            break;
        }
    }
    frame.extend_from_slice(&compressor.content_checksum());
    (frame, compressor.blocks_not_read_back)
}

fn decoded_by_ruzstd(frame: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut decoder = StreamingDecoder::new(frame).unwrap();
    decoder.read_to_end(&mut bytes).unwrap();
    bytes
}

/// `None` if this machine has no zstd.
fn decoded_by_zstd(frames: &[u8]) -> Option<Vec<u8>> {
    let mut zstd = Command::new("zstd")
        .args(["-d", "-c", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = zstd.stdin.take().unwrap();
    let frames = frames.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&frames));
    let output = zstd.wait_with_output().unwrap();
    assert!(output.status.success(), "zstd does not decode a frame");
    writer.join().unwrap().unwrap();
    Some(output.stdout)
}

pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

/// Bytes of many kinds in one: text, numbers, noise, runs of one byte, and earlier pieces again.
pub(super) fn mixture(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut mixed: Vec<u8> = Vec::with_capacity(bytes + 4096);
    let alphabet = 2 + random.next(254);
    while mixed.len() < bytes {
        let length_bits = 1 + random.next(12);
        let length = 1 + random.next(1 << length_bits) as usize;
        match random.next(7) {
            0 => mixed.extend((0..length).map(|_| random.next(256) as u8)),
            1 => mixed.extend((0..length).map(|_| random.next(alphabet) as u8)),
            2 => mixed.extend(std::iter::repeat_n(random.next(256) as u8, length)),
            3 => mixed.extend(
                format!(
                    "{{\"t\":{},\"x\":0.{}}}\n",
                    random.next(999_999),
                    random.next(99_999)
                )
                .bytes(),
            ),
            4 => {
                mixed.extend((0..length).map(|_| (random.next(65_536).trailing_zeros() * 5) as u8))
            }
            _ if mixed.is_empty() => {}
            _ => {
                let far = 1 << (1 + random.next(21));
                let back = 1 + random.next(far.min(mixed.len() as u64)) as usize;
                let from = mixed.len() - back;
                (0..length).for_each(|i| mixed.push(mixed[from + i]));
            }
        }
    }
    mixed.truncate(bytes);
    mixed
}

#[test]
fn other_decoders_decode_a_frame_to_its_input() {
    let three_bytes = mixture(1, 3);
    let mut cases = vec![
        vec![],
        b"a".to_vec(),
        vec![0; 300_000],
        b"abcdabcdabcdabcdabcd".repeat(3),
        [
            vec![b'x'; BLOCK_BYTES_MAX - 1],
            vec![b'y'; BLOCK_BYTES_MAX + 2],
        ]
        .concat(),
        three_bytes,
    ];
    for seed in 0..60 {
        let bytes = [
            50,
            1000,
            20_000,
            BLOCK_BYTES_MAX,
            BLOCK_BYTES_MAX + 1,
            400_000,
        ][seed as usize % 6];
        cases.push(mixture(seed, bytes));
    }
    let mut frames = Vec::new();
    for bytes in &cases {
        let (frame, not_read_back) = compressed_by(&mut Compressor::new(), bytes);
        assert_eq!(not_read_back, 0);
        assert!(
            decoded_by_ruzstd(&frame) == *bytes,
            "{} bytes are decoded to others",
            bytes.len()
        );
        assert!(frame.len() <= bytes.len() + 3 * (bytes.len() / BLOCK_BYTES_MAX + 1) + 10);
        frames.extend(frame);
    }
    match decoded_by_zstd(&frames) {
        Some(all) => assert!(
            all == cases.concat(),
            "zstd decodes the frames to other bytes"
        ),
        None => {
            eprintln!("skipped: other_decoders_decode_a_frame_to_its_input, in part: no zstd here")
        }
    }
}

#[test]
fn matches_reach_back_a_window_and_no_further() {
    let piece: Vec<u8> = mixture(3, 400_000).into_iter().step_by(7).collect();
    let piece: Vec<u8> = piece
        .iter()
        .enumerate()
        .map(|(i, byte)| byte ^ (i * i % 251) as u8)
        .collect();
    for gap in [
        0,
        WINDOW_BYTES - piece.len(),
        WINDOW_BYTES,
        3 * HISTORY_BYTES_MAX,
    ] {
        let filler = mixture(99, gap);
        let bytes = [&piece[..], &filler, &piece].concat();
        let frame = compressed(&bytes);
        assert!(decoded_by_ruzstd(&frame) == bytes, "gap {gap}");
    }
    let twice = [&piece[..], &piece].concat();
    assert!(compressed(&twice).len() < compressed(&piece).len() + 2000);
}

/// Incompressible blocks pass quickly. The blocks after them must be none the larger for it.
#[test]
fn noise_becomes_raw_blocks_and_the_lines_after_it_do_not() {
    let mut random = Random(490);
    let noise: Vec<u8> = (0..3 * BLOCK_BYTES_MAX)
        .map(|_| random.next(256) as u8)
        .collect();
    assert!(literals::are_incompressible(&noise[..BLOCK_BYTES_MAX]));
    let frame = compressed(&noise);
    assert_eq!(
        frame.len(),
        noise.len() + 10 + 4 * 3,
        "three full, one empty"
    );
    // Seven bits of each byte, without a match: Huffman codes alone make it smaller.
    let seven: Vec<u8> = noise.iter().map(|byte| byte & 0x7f).collect();
    assert!(compressed(&seven).len() < seven.len() * 9 / 10);
    let lines: Vec<u8> = (0..BLOCK_BYTES_MAX as u64 / 16)
        .flat_map(|i| format!("{{\"n\":{i},\"x\":{}}}\n", random.next(99_999)).into_bytes())
        .collect();
    let alone = compressed(&lines).len();
    let frame = compressed(&[&noise[..], &lines].concat());
    assert!(
        frame.len() < noise.len() + alone * 11 / 10,
        "{} bytes for the lines, {alone} without noise before them",
        frame.len() - noise.len()
    );
    assert!(decoded_by_ruzstd(&frame) == [&noise[..], &lines].concat());
}

#[test]
fn a_block_that_does_not_decode_to_its_input_becomes_raw_and_the_next_repeats_no_table() {
    let bytes = mixture(5, 10 * BLOCK_BYTES_MAX);
    let damages: [fn(&mut [u8]); 4] = [
        |block| block[0] ^= 1,
        |block| *block.last_mut().unwrap() = 0,
        |block| block[block.len() / 2] ^= 0x10,
        |_| panic!("a fault of ours"),
    ];
    for damage in damages {
        let mut compressor = Compressor::new();
        compressor.damage = Some(damage);
        let (frame, not_read_back) = compressed_by(&mut compressor, &bytes);
        assert!(not_read_back >= 10);
        assert!(decoded_by_ruzstd(&frame) == bytes);
    }
    // Only one block is damaged: those after it are compressed, and right.
    let mut compressor = Compressor::new();
    let mut frame = Compressor::frame_header().to_vec();
    for (number, block) in bytes.chunks(BLOCK_BYTES_MAX).enumerate() {
        compressor.damage = (number == 4).then_some(|block: &mut [u8]| block[9] ^= 4);
        compressor.buffer()[..block.len()].copy_from_slice(block);
        let (header, content) = compressor.block(block.len(), number == 9);
        frame.extend_from_slice(&header);
        frame.extend_from_slice(content);
    }
    frame.extend_from_slice(&compressor.content_checksum());
    assert_eq!(compressor.blocks_not_read_back, 1);
    assert!(frame.len() < bytes.len());
    assert!(decoded_by_ruzstd(&frame) == bytes);
    decoded_by_zstd(&frame).inspect(|read| assert!(*read == bytes));
}

/// Whatever the frame before was: of one block or of many, broken off, or with a block that did not decode.
#[test]
fn a_frame_in_used_memory_is_that_of_a_new_compressor() {
    let mut compressor = Compressor::new();
    for seed in 0..40 {
        let sizes = [0, 700, 10_240, BLOCK_BYTES_MAX, 2 << 20];
        let bytes = mixture(seed, sizes[seed as usize % sizes.len()]);
        compressor.begin_again();
        let (frame, not_read_back) = compressed_by(&mut compressor, &bytes);
        assert!(frame == compressed(&bytes) && not_read_back == 0, "{seed}");
        if seed % 3 == 0 {
            compressor.begin_again();
            let begun = &mixture(seed + 100, 5000);
            compressor.buffer()[..begun.len()].copy_from_slice(begun);
            compressor.damage = Some(|block| block[0] ^= 1);
            compressor.block(begun.len(), false);
            compressor.buffer()[..begun.len()].copy_from_slice(begun);
            compressor.damage = None;
        }
    }
}

/// What the frame before has left in the table, and what its literals cost, would decide otherwise in these.
#[test]
fn a_frame_in_used_memory_knows_nothing_of_the_one_before() {
    let random = |seed: u64, bytes: usize| -> Vec<u8> {
        let mut random = Random(seed);
        (0..bytes).map(|_| random.next(256) as u8).collect()
    };
    let tail = random(1, 3000);
    // Where no match was for long, not every position is noted; behind a match each is.
    let far = [random(2, 6000), tail.clone()].concat();
    let near = [b"again and ".repeat(600), tail.clone()].concat();
    let few_symbols: Vec<u8> = random(3, 4000).iter().map(|byte| byte & 7).collect();
    for length in [6, 7, 8, 12] {
        let pieces: Vec<u8> = (0..200)
            .flat_map(|n| [&tail[10 * n..][..length], &random(9 + n as u64, 3)].concat())
            .collect();
        for frame in [[&far[..], &pieces].concat(), [&tail[..], &pieces].concat()] {
            for before in [&near, &few_symbols] {
                let mut compressor = Compressor::new();
                compressed_by(&mut compressor, before);
                compressor.begin_again();
                let again = compressed_by(&mut compressor, &frame).0;
                assert!(again == compressed(&frame), "{length}");
            }
        }
    }
}

/// `proof` decodes the blocks of another encoder as well: it follows the format, not our encoder.
#[test]
fn the_proof_decodes_blocks_of_the_reference_and_no_damaged_ones() {
    let bytes = mixture(7, 300_000);
    let mut frame = Vec::new();
    let mut child = match Command::new("zstd")
        .args(["-3", "-c", "-q", "--no-check"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(_) => {
            return eprintln!("skipped: the_proof_decodes_blocks_of_the_reference: no zstd here");
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    let copy = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&copy));
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut frame)
        .unwrap();
    writer.join().unwrap().unwrap();
    child.wait().unwrap();
    assert_eq!(
        frame[4] & 0b1110_0111,
        0,
        "a Frame_Header with Window_Descriptor alone"
    );
    for damaged in [None, Some(40), Some(1000), Some(30_000), Some(100_000)] {
        let mut frame = frame.clone();
        if let Some(at) = damaged {
            frame[at] ^= 0x20;
        }
        let is_decoded = proof_decodes(&frame, &bytes);
        assert_eq!(is_decoded, damaged.is_none(), "{damaged:?}");
    }
}

fn proof_decodes(frame: &[u8], bytes: &[u8]) -> bool {
    let mut decoder = BlockDecoder::new(RepeatOffsets::INITIAL);
    let mut begin = 0;
    for (block_type, content) in blocks(frame) {
        let end = (begin + BLOCK_BYTES_MAX).min(bytes.len());
        let is_same = match block_type {
            0 => *content == bytes[begin..end],
            1 => panic!("a mixture has no RLE_Block"),
            _ => decoder.decodes_to(content, &bytes[..end], begin),
        };
        if !is_same {
            return false;
        }
        begin = end;
    }
    begin == bytes.len()
}

/// The Block_Type and the Block_Content of each block, as far as they lie within the frame.
pub(super) fn blocks(frame: &[u8]) -> Vec<(u32, &[u8])> {
    let mut blocks = Vec::new();
    let mut rest = &frame[Compressor::frame_header().len()..];
    while let Some((&[low, middle, high], after)) = rest.split_first_chunk() {
        let header = u32::from_le_bytes([low, middle, high, 0]);
        let block_type = header >> 1 & 3;
        let bytes = if block_type == 1 { 1 } else { header >> 3 };
        let Some((content, after)) = after.split_at_checked(bytes as usize) else {
            break;
        };
        blocks.push((block_type, content));
        if header & 1 == 1 {
            break;
        }
        rest = after;
    }
    blocks
}

#[test]
fn the_same_bytes_are_the_same_frame() {
    let bytes = mixture(11, 700_000);
    assert!(compressed(&bytes) == compressed(&bytes));
}
