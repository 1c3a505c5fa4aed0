//! Reading back what the compressor wrote, while it is being written.
//!
//! An episode's directory is deleted in the end, and then the tarball is all there is. The encoder
//! is young: ruzstd 0.9.1 writes, for bytes that can hardly be made smaller, now and then a block
//! that no decoder reads (it keeps a Huffman table that the reader was never given). So nothing is
//! believed: each block is decoded again, and at the end the frame's checksum, which was taken of
//! what went in, must be that of what came out.

use std::panic::{self, AssertUnwindSafe};

use ruzstd::decoding::FrameDecoder;

/// At least what one block holds.
const CHUNK_BYTES: usize = 256 << 10;

pub(super) struct Proof {
    decoder: FrameDecoder,
    /// Written and not yet decoded.
    pending: Vec<u8>,
    /// Where what came out goes; it counts for the checksum alone.
    out: Vec<u8>,
    failed: bool,
}

impl Proof {
    pub fn new() -> Proof {
        Proof {
            decoder: FrameDecoder::new(),
            pending: Vec::new(),
            out: vec![0; CHUNK_BYTES],
            failed: false,
        }
    }

    /// What was written next: a whole block, or the checksum after the last.
    pub fn add(&mut self, written: &[u8]) {
        if self.failed {
            return;
        }
        self.pending.extend_from_slice(written);
        // The decoder holds itself to its format by assertions, as the encoder does.
        let decoded = panic::catch_unwind(AssertUnwindSafe(|| self.decode()));
        self.failed = !decoded.unwrap_or(false);
    }

    fn decode(&mut self) -> bool {
        while !self.pending.is_empty() {
            match self.decoder.decode_from_to(&self.pending, &mut self.out) {
                Ok((read, _)) if 0 < read && read <= self.pending.len() => {
                    self.pending.drain(..read);
                }
                _ => return false,
            }
        }
        true
    }

    /// Whether the frame is whole and holds what went in.
    pub fn holds(mut self) -> bool {
        let mut drain = || loop {
            match std::io::Read::read(&mut self.decoder, &mut self.out) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        };
        !self.failed && drain() && self.decoder.is_finished() && {
            let stated = self.decoder.get_checksum_from_data();
            stated.is_some() && stated == self.decoder.get_calculated_checksum()
        }
    }
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    /// Fed as the encoder writes: a block at a time.
    fn holds(frame: &[u8]) -> bool {
        let mut proof = Proof::new();
        let (mut from, mut at) = (0, 6);
        while let Some(&[a, b, c]) = frame.get(at..at + 3) {
            let header = u32::from_le_bytes([a, b, c, 0]);
            let is_rle = header >> 1 & 3 == 1;
            at += 3 + if is_rle { 1 } else { (header >> 3) as usize };
            proof.add(frame.get(from..at).unwrap_or(&frame[from..]));
            from = at;
            if header & 1 == 1 {
                break;
            }
        }
        proof.add(frame.get(from..).unwrap_or_default());
        proof.holds()
    }

    #[test]
    fn a_frame_that_was_not_damaged_holds() {
        let text = b"0.25,0.5\n".repeat(50_000);
        for bytes in [&b""[..], b"a", &[0; 300_000], &text, &text[..131_072]] {
            assert!(holds(&compress_to_vec(bytes, CompressionLevel::Fastest)));
        }
    }

    #[test]
    fn a_frame_of_which_anything_is_wrong_does_not() {
        let text: Vec<u8> = (0..60_000_u32)
            .flat_map(|i| (i * i).to_le_bytes())
            .collect();
        let frame = compress_to_vec(&text[..], CompressionLevel::Fastest);
        assert!(holds(&frame));
        for at in (9..frame.len()).step_by(frame.len() / 200) {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x10;
            assert!(!holds(&damaged), "byte {at}");
        }
        assert!(!holds(&frame[..frame.len() - 1]));
        assert!(!holds(&frame[..frame.len() - 5]));
        assert!(!holds(b""));
    }
}
