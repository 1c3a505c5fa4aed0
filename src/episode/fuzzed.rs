//! What must hold for every tarball, and for whatever is packed; for tests and the fuzz targets
//! alone.

use std::io::Read;

use cis490_zstd::{BLOCK_BYTES, Compressor};
use ruzstd::decoding::StreamingDecoder;

use super::{read, scan};

/// Enough for the matcher to forget what lies behind its window.
const INPUT_BYTES_MAX: usize = 3 << 20;

/// Reads `bytes` as a tar.zst, and as the tar in one: an answer or a word, in bounded time.
pub fn tarball(bytes: &[u8]) {
    const LOOKED_AT: u64 = 4 << 20;
    for told in [
        read::read_meta_within(bytes, LOOKED_AT),
        read::meta_in_tar(bytes),
    ] {
        if let Err(error) = told {
            let words = error.to_string();
            assert!(!words.is_empty() && words.len() < 1000);
        }
    }
}

/// Looks for a member in a recorder's JSON: what serde_json accepts is accepted, with the same member
/// in it, and whatever is not is refused in words, but for the constants of Python's.
pub fn meta(bytes: &[u8]) {
    const NAME: &str = "code_version";
    let found = scan::member(bytes, NAME);
    let mark = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(mark);
    match (object, found) {
        (Ok(object), Ok(found)) => assert_eq!(object.get(NAME), found.as_ref()),
        (Ok(_), Err(fault)) => assert!(matches!(fault, scan::Fault::Twice { .. }), "{fault:?}"),
        (Err(_), _) => {}
    }
    if let Err(bad) = super::Meta::parse(bytes) {
        let words = bad.to_string();
        assert!(!words.is_empty() && words.len() < 4000 && !bad.hint().is_empty());
    }
}

/// Compresses what the script in `bytes` spells, which must come back as it was.
pub fn matcher(bytes: &[u8]) {
    let input = spelled(bytes);
    let mut compressor = Compressor::new();
    let mut packed = Compressor::head().to_vec();
    // The last block may be empty, and is there.
    let blocks = input.len() / BLOCK_BYTES + 1;
    for number in 0..blocks {
        let block = &input[number * BLOCK_BYTES..];
        let block = &block[..block.len().min(BLOCK_BYTES)];
        compressor.room()[..block.len()].copy_from_slice(block);
        let (head, body) = compressor.block(block.len(), number + 1 == blocks);
        packed.extend_from_slice(&head);
        packed.extend_from_slice(body);
    }
    packed.extend_from_slice(&compressor.end());
    assert_eq!(
        compressor.blocks_not_read_back, 0,
        "the proof had to step in"
    );
    let mut unpacked = Vec::with_capacity(input.len());
    let mut decoder = StreamingDecoder::new(&packed[..]).expect("a frame begins");
    decoder.read_to_end(&mut unpacked).expect("it reads back");
    assert!(unpacked == input, "what was packed comes back changed");
}

/// Large inputs from small scripts: bytes as they stand, runs of one byte, noise, and repetitions
/// from any distance, three bytes of script a step.
fn spelled(script: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for step in script.chunks_exact(3) {
        let (kind, a, b) = (step[0] % 8, usize::from(step[1]), usize::from(step[2]));
        match kind {
            0 | 1 => out.extend_from_slice(&step[1..]),
            2 => out.extend(std::iter::repeat_n(step[2], 1 + a * a)),
            3 => out.extend((0..a * 8).map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                (noise >> 40) as u8
            })),
            _ => {
                // Near, far, and about a window away.
                let scale = [1, 64, 1024, 5000][usize::from(kind - 4)];
                let distance = (1 + a * scale).min(out.len());
                let from = out.len() - distance;
                for at in from..from + (b * b).min(60_000) {
                    let Some(&byte) = out.get(at) else { break };
                    out.push(byte);
                }
            }
        }
        if out.len() > INPUT_BYTES_MAX {
            break;
        }
    }
    out
}
