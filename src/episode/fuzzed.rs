//! What must hold for every tarball, every `meta.json` and every input of the compressor. Only for tests
//! and the fuzz targets.

use std::io::Read;

use cis490_zstd::{BLOCK_BYTES_MAX, Compressor};
use ruzstd::decoding::StreamingDecoder;

use super::{read, scan};

/// Large enough that the beginning of an input leaves the match finder's window.
const INPUT_BYTES_MAX: usize = 3 << 20;

/// Reads `bytes` as a tar.zst, and as a plain tar. Each ends in bounded time, with a meta or an error.
pub fn tarball(bytes: &[u8]) {
    const LOOKED_AT: u64 = 4 << 20;
    for found in [
        read::read_meta_within(bytes, LOOKED_AT),
        read::meta_in_tar(bytes),
    ] {
        if let Err(error) = found {
            let words = error.to_string();
            assert!(!words.is_empty() && words.len() < 1000);
        }
    }
}

/// Looks for a member in a recorder's JSON. What serde_json accepts is accepted, with the same member in
/// it. Anything else is refused in words, except for the constants of Python's `json`.
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

/// Compresses the input that the script in `bytes` describes. The frame must decode to the same input.
pub fn compressor(bytes: &[u8]) {
    let input = spelled(bytes);
    let mut compressor = Compressor::new();
    let mut frame = Compressor::frame_header().to_vec();
    // The last block is shorter than the others, and may be empty.
    let blocks = input.len() / BLOCK_BYTES_MAX + 1;
    for number in 0..blocks {
        let block = &input[number * BLOCK_BYTES_MAX..];
        let block = &block[..block.len().min(BLOCK_BYTES_MAX)];
        compressor.buffer()[..block.len()].copy_from_slice(block);
        let (header, content) = compressor.block(block.len(), number + 1 == blocks);
        frame.extend_from_slice(&header);
        frame.extend_from_slice(content);
    }
    frame.extend_from_slice(&compressor.content_checksum());
    assert_eq!(
        compressor.blocks_not_read_back, 0,
        "a block did not decode to its input"
    );
    let mut decoded = Vec::with_capacity(input.len());
    let mut decoder = StreamingDecoder::new(&frame[..]).expect("the frame has its header");
    decoder
        .read_to_end(&mut decoded)
        .expect("the frame decodes");
    assert!(decoded == input, "the frame decodes to other bytes");
}

/// Makes large inputs from small scripts. Three bytes of script are one step: some plain bytes, a run of
/// one byte, noise, or a match at any offset.
fn spelled(script: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for step in script.chunks_exact(3) {
        let kind = step[0] % 8;
        let a = usize::from(step[1]);
        let b = usize::from(step[2]);
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
                let offset = (1 + a * scale).min(out.len());
                let from = out.len() - offset;
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
