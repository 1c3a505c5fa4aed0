//! The compressor against readers that are not its own: the reference `zstd`, and ruzstd.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use ruzstd::decoding::StreamingDecoder;

use super::*;

pub(super) fn packed(bytes: &[u8]) -> Vec<u8> {
    packed_by(Compressor::new(), bytes).0
}

fn packed_by(mut compressor: Compressor, bytes: &[u8]) -> (Vec<u8>, u64) {
    let mut frame = Compressor::head().to_vec();
    let mut left = bytes;
    loop {
        let filled = left.read(compressor.room()).unwrap();
        let is_last = filled < BLOCK_BYTES;
        let (head, body) = compressor.block(filled, is_last);
        frame.extend_from_slice(&head);
        frame.extend_from_slice(body);
        if is_last {
            break;
        }
    }
    frame.extend_from_slice(&compressor.end());
    (frame, compressor.blocks_not_read_back)
}

fn by_ruzstd(frame: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut decoder = StreamingDecoder::new(frame).unwrap();
    decoder.read_to_end(&mut bytes).unwrap();
    bytes
}

/// `None` if there is no zstd here.
fn by_zstd(frames: &[u8]) -> Option<Vec<u8>> {
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
    assert!(output.status.success(), "zstd does not read it");
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

/// Bytes of many kinds in one: text, numbers, noise, runs, and pieces of what was before.
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
fn what_goes_in_comes_out_of_other_readers() {
    let noise = mixture(1, 3).repeat(1);
    let mut cases = vec![
        vec![],
        b"a".to_vec(),
        vec![0; 300_000],
        b"abcdabcdabcdabcdabcd".repeat(3),
        [vec![b'x'; BLOCK_BYTES - 1], vec![b'y'; BLOCK_BYTES + 2]].concat(),
        noise,
    ];
    for seed in 0..60 {
        let bytes = [50, 1000, 20_000, BLOCK_BYTES, BLOCK_BYTES + 1, 400_000][seed as usize % 6];
        cases.push(mixture(seed, bytes));
    }
    let mut frames = Vec::new();
    for bytes in &cases {
        let (frame, not_read_back) = packed_by(Compressor::new(), bytes);
        assert_eq!(not_read_back, 0);
        assert!(
            by_ruzstd(&frame) == *bytes,
            "{} bytes come back changed",
            bytes.len()
        );
        assert!(frame.len() <= bytes.len() + 3 * (bytes.len() / BLOCK_BYTES + 1) + 10);
        frames.extend(frame);
    }
    match by_zstd(&frames) {
        Some(all) => assert!(all == cases.concat(), "zstd reads something else"),
        None => eprintln!("skipped: no zstd here to read what was written"),
    }
}

#[test]
fn repetitions_reach_back_a_window_and_no_further() {
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
        let frame = packed(&bytes);
        assert!(by_ruzstd(&frame) == bytes, "gap {gap}");
    }
    let twice = [&piece[..], &piece].concat();
    assert!(packed(&twice).len() < packed(&piece).len() + 2000);
}

/// What cannot be made smaller passes quickly; that must not cost what can.
#[test]
fn noise_is_stored_and_what_comes_after_it_is_not() {
    let mut random = Random(490);
    let noise: Vec<u8> = (0..3 * BLOCK_BYTES)
        .map(|_| random.next(256) as u8)
        .collect();
    assert!(literals::are_even(&noise[..BLOCK_BYTES]));
    let frame = packed(&noise);
    assert_eq!(
        frame.len(),
        noise.len() + 10 + 4 * 3,
        "three full, one empty"
    );
    // Seven bits of each byte, without one repetition: codes alone make it smaller.
    let seven: Vec<u8> = noise.iter().map(|byte| byte & 0x7f).collect();
    assert!(packed(&seven).len() < seven.len() * 9 / 10);
    let lines: Vec<u8> = (0..BLOCK_BYTES as u64 / 16)
        .flat_map(|i| format!("{{\"n\":{i},\"x\":{}}}\n", random.next(99_999)).into_bytes())
        .collect();
    let alone = packed(&lines).len();
    let frame = packed(&[&noise[..], &lines].concat());
    assert!(
        frame.len() < noise.len() + alone * 11 / 10,
        "{} bytes for the lines, {alone} without noise before them",
        frame.len() - noise.len()
    );
    assert!(by_ruzstd(&frame) == [&noise[..], &lines].concat());
}

#[test]
fn a_block_that_does_not_read_back_is_stored_and_the_next_builds_on_nothing() {
    let bytes = mixture(5, 10 * BLOCK_BYTES);
    let damages: [fn(&mut [u8]); 4] = [
        |block| block[0] ^= 1,
        |block| *block.last_mut().unwrap() = 0,
        |block| block[block.len() / 2] ^= 0x10,
        |_| panic!("a fault of ours"),
    ];
    for damage in damages {
        let mut compressor = Compressor::new();
        compressor.damage = Some(damage);
        let (frame, not_read_back) = packed_by(compressor, &bytes);
        assert!(not_read_back >= 10);
        assert!(by_ruzstd(&frame) == bytes);
    }
    // Only one is damaged: those after it are compressed, and right.
    let mut compressor = Compressor::new();
    let mut frame = Compressor::head().to_vec();
    for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
        compressor.damage = (number == 4).then_some(|block: &mut [u8]| block[9] ^= 4);
        compressor.room()[..block.len()].copy_from_slice(block);
        let (head, body) = compressor.block(block.len(), number == 9);
        frame.extend_from_slice(&head);
        frame.extend_from_slice(body);
    }
    frame.extend_from_slice(&compressor.end());
    assert_eq!(compressor.blocks_not_read_back, 1);
    assert!(frame.len() < bytes.len());
    assert!(by_ruzstd(&frame) == bytes);
    by_zstd(&frame).inspect(|read| assert!(*read == bytes));
}

/// The proof reads what others write as well: it follows the format, not our encoder.
#[test]
fn the_proof_reads_blocks_of_the_reference_and_no_damaged_ones() {
    let bytes = mixture(7, 300_000);
    let mut frame = Vec::new();
    let mut child = match Command::new("zstd")
        .args(["-3", "-c", "-q", "--no-check"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(_) => return eprintln!("skipped: no zstd here to write what the proof reads"),
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
    assert_eq!(frame[4] & 0b1110_0111, 0, "a head of one window byte");
    for damaged in [None, Some(40), Some(1000), Some(30_000), Some(100_000)] {
        let mut frame = frame.clone();
        if let Some(at) = damaged {
            frame[at] ^= 0x20;
        }
        let mut reader = Reader::new();
        let (mut at, mut begin, mut all) = (6, 0, true);
        while at + 3 <= frame.len() && all {
            let head = u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], 0]);
            at += 3;
            let size = (head >> 3) as usize;
            let end = (begin + BLOCK_BYTES).min(bytes.len());
            match head >> 1 & 3 {
                0 => all = frame[at..at + size] == bytes[begin..end],
                1 => panic!("a mixture has no run as long as a block"),
                _ => {
                    all = frame
                        .get(at..at + size)
                        .is_some_and(|block| reader.reads(block, &bytes[..end], begin))
                }
            }
            (at, begin) = (at + size, end);
            if head & 1 == 1 {
                break;
            }
        }
        assert_eq!(
            all && begin == bytes.len(),
            damaged.is_none(),
            "{damaged:?}"
        );
    }
}

#[test]
fn the_same_bytes_are_the_same_frame() {
    let bytes = mixture(11, 700_000);
    assert!(packed(&bytes) == packed(&bytes));
}
