//! XXH64, whose lower half ends a frame.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// Of all that was added so far.
pub struct Checksum {
    lanes: [u64; 4],
    /// Less than 32 bytes that wait for more.
    waiting: Vec<u8>,
    bytes: u64,
}

impl Checksum {
    pub fn new() -> Checksum {
        Checksum {
            lanes: [P1.wrapping_add(P2), P2, 0, 0u64.wrapping_sub(P1)],
            waiting: Vec::with_capacity(32),
            bytes: 0,
        }
    }

    pub fn add(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if !self.waiting.is_empty() {
            let (first, rest) = bytes.split_at(bytes.len().min(32 - self.waiting.len()));
            self.waiting.extend_from_slice(first);
            bytes = rest;
            if self.waiting.len() == 32 {
                let waiting = std::mem::take(&mut self.waiting);
                self.rounds(&waiting);
                self.waiting = waiting;
                self.waiting.clear();
            }
        }
        let whole = bytes.len() / 32 * 32;
        self.rounds(&bytes[..whole]);
        self.waiting.extend_from_slice(&bytes[whole..]);
    }

    fn rounds(&mut self, bytes: &[u8]) {
        let mut lanes = self.lanes;
        for stripe in bytes.chunks_exact(32) {
            for (lane, eight) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, super::bits::word(eight, 0));
            }
        }
        self.lanes = lanes;
    }

    /// The lower half, as the frame has it.
    pub fn low(&self) -> u32 {
        let [a, b, c, d] = self.lanes;
        let mut hash = match self.bytes >= 32 {
            true => {
                let turned = a.rotate_left(1).wrapping_add(b.rotate_left(7));
                let turned = turned.wrapping_add(c.rotate_left(12));
                let turned = turned.wrapping_add(d.rotate_left(18));
                self.lanes.iter().fold(turned, |hash, lane| {
                    (hash ^ round(0, *lane)).wrapping_mul(P1).wrapping_add(P4)
                })
            }
            false => P5,
        };
        hash = hash.wrapping_add(self.bytes);
        let mut eights = self.waiting.chunks_exact(8);
        for eight in &mut eights {
            hash ^= round(0, super::bits::word(eight, 0));
            hash = hash.rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        }
        let mut rest = eights.remainder();
        if let Some((four, after)) = rest.split_first_chunk::<4>() {
            hash ^= u64::from(u32::from_le_bytes(*four)).wrapping_mul(P1);
            hash = hash.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
            rest = after;
        }
        for byte in rest {
            hash ^= u64::from(*byte).wrapping_mul(P5);
            hash = hash.rotate_left(11).wrapping_mul(P1);
        }
        hash = (hash ^ hash >> 33).wrapping_mul(P2);
        hash = (hash ^ hash >> 29).wrapping_mul(P3);
        (hash ^ hash >> 32) as u32
    }
}

#[inline(always)]
fn round(lane: u64, input: u64) -> u64 {
    let mixed = lane.wrapping_add(input.wrapping_mul(P2));
    mixed.rotate_left(31).wrapping_mul(P1)
}
