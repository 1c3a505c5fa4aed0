//! The memory that bodies pass through: one bounded pool for all uploads.
//!
//! 1. What is lent out never exceeds [`POOL_BYTES`], however many uploads there are. Who wants more
//!    waits; and since writing gives blocks back and a stalled peer holds none, the wait ends.
//! 2. Large blocks are halves of huge pages: aligned as direct I/O wants it, and in one piece for
//!    the disk (direct writes from scattered pages were at a third of the rate).
//! 3. When no upload is under way, nothing is kept but what the next small one needs. While any is,
//!    blocks are lent again: musl's allocator would give each back to the system and fetch it anew,
//!    which took a tenth of the time of small uploads.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::{self, HugeHalf};

/// All blocks that are lent out at one time.
pub const POOL_BYTES: usize = 16 << 20;

/// A block of a large body. As large as the direct writes that were measured to pay.
pub const LARGE_BYTES: usize = HugeHalf::BYTES;

/// A block of any other body; a smaller body has a smaller one.
pub const SMALL_BYTES: usize = 256 << 10;

/// The least that is allocated for a small block, so that most fit for the next loan: what
/// may_minihttp reads at once.
const LEAST_BYTES: usize = 32 << 10;

/// Small blocks that are kept between two loans: a body, and what came with its head.
const KEPT_AT_REST: usize = 2;

/// The same while uploads are under way, in bytes.
const KEPT_BYTES: usize = 4 << 20;

// 64 uploads that each fill one small block must not wait for one another.
const _: () = assert!(64 * SMALL_BYTES <= POOL_BYTES);

pub struct Buffers {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    lent_bytes: usize,
    uploads: usize,
    /// Large blocks between two loans.
    spare: Vec<HugeHalf>,
    /// Small ones, and how much they are together.
    spare_small: Vec<Vec<u8>>,
    spare_small_bytes: usize,
}

impl State {
    fn take_small(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let place = self
            .spare_small
            .iter()
            .rposition(|memory| memory.len() >= bytes)?;
        let memory = self.spare_small.swap_remove(place);
        self.spare_small_bytes -= memory.len();
        Some(memory)
    }

    fn keep_small(&mut self, memory: Vec<u8>) {
        let has_room = match self.uploads {
            0 => self.spare_small.len() < KEPT_AT_REST,
            _ => self.spare_small_bytes + memory.len() <= KEPT_BYTES,
        };
        if has_room {
            self.spare_small_bytes += memory.len();
            self.spare_small.push(memory);
        }
    }

    fn rest(&mut self) {
        self.spare = Vec::new();
        self.spare_small.truncate(KEPT_AT_REST);
        self.spare_small_bytes = self.spare_small.iter().map(Vec::len).sum();
    }
}

/// A piece of the pool. Dropping it gives it back.
pub struct Block {
    memory: Memory,
    /// The part that is used.
    bytes: usize,
    /// What the pool counts for it.
    lent_bytes: usize,
    home: Arc<Buffers>,
}

enum Memory {
    Small(Vec<u8>),
    Large(HugeHalf),
    /// Not there yet, or given back.
    None,
}

impl Buffers {
    pub fn new() -> Arc<Buffers> {
        Arc::new(Buffers {
            state: Mutex::default(),
            freed: Condvar::new(),
        })
    }

    /// An upload begins.
    pub fn open(self: &Arc<Self>) -> Share {
        self.lock().uploads += 1;
        Share(self.clone())
    }

    /// A block with these few bytes, which the pool does not count. Waits for nothing.
    pub fn copy_of(self: &Arc<Self>, bytes: &[u8]) -> Block {
        let mut block = Block {
            memory: Memory::None,
            bytes: bytes.len(),
            lent_bytes: 0,
            home: Arc::clone(self),
        };
        if !bytes.is_empty() {
            let spare = self.lock().take_small(bytes.len());
            let mut memory = spare.unwrap_or_else(|| vec![0; small_class(bytes.len())]);
            memory[..bytes.len()].copy_from_slice(bytes);
            block.memory = Memory::Small(memory);
        }
        block
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One upload's access to the pool. While any is held, large blocks are kept for the next loan.
pub struct Share(Arc<Buffers>);

impl Share {
    /// A block of `bytes`, at most [`LARGE_BYTES`]. Waits until the pool has that much.
    ///
    /// Errors: there is no memory, whatever the pool says.
    pub fn take(&self, bytes: usize) -> io::Result<Block> {
        let bytes = bytes.clamp(1, LARGE_BYTES);
        // What is larger than small is large: blocks of one size can be lent again, and no
        // allocator keeps pieces of other sizes back.
        let lent_bytes = match bytes > SMALL_BYTES {
            true => LARGE_BYTES,
            false => small_class(bytes),
        };
        let mut state = self
            .0
            .freed
            .wait_while(self.0.lock(), |state| {
                state.lent_bytes + lent_bytes > POOL_BYTES
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.lent_bytes += lent_bytes;
        let spare = match lent_bytes {
            LARGE_BYTES => state.spare.pop().map(Memory::Large),
            _ => state.take_small(bytes).map(Memory::Small),
        };
        drop(state);
        // From here on the loan is returned by Block's drop, whatever happens.
        let mut block = Block {
            memory: Memory::None,
            bytes,
            lent_bytes,
            home: self.0.clone(),
        };
        block.memory = match (spare, lent_bytes) {
            (Some(memory), _) => memory,
            (None, LARGE_BYTES) => Memory::Large(self.new_half()?),
            (None, _) => Memory::Small(new_memory(lent_bytes)?),
        };
        Ok(block)
    }

    /// One half of a new huge page; the other waits for whoever comes next.
    fn new_half(&self) -> io::Result<HugeHalf> {
        let [one, other] = sys::huge_halves()?;
        self.0.lock().spare.push(other);
        Ok(one)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.uploads -= 1;
        if state.uploads == 0 {
            state.rest();
        }
    }
}

static ZEROS: [u8; 4096] = [0; 4096];

/// What is allocated for a small block of so many bytes.
fn small_class(bytes: usize) -> usize {
    bytes.next_power_of_two().max(LEAST_BYTES)
}

fn new_memory(bytes: usize) -> io::Result<Vec<u8>> {
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(bytes)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    // Not `resize`: in a program that is made small it goes byte by byte.
    while memory.len() < bytes {
        memory.extend_from_slice(&ZEROS[..ZEROS.len().min(bytes - memory.len())]);
    }
    Ok(memory)
}

impl Block {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn as_slice(&self) -> &[u8] {
        match &self.memory {
            Memory::Small(memory) => &memory[..self.bytes],
            Memory::Large(half) => &half.as_slice()[..self.bytes],
            Memory::None => &[],
        }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Small(memory) => &mut memory[..self.bytes],
            Memory::Large(half) => &mut half.as_mut_slice()[..self.bytes],
            Memory::None => &mut [],
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Memory::None);
        let mut state = self.home.lock();
        state.lent_bytes -= self.lent_bytes;
        match memory {
            Memory::Large(half) if state.uploads > 0 => state.spare.push(half),
            Memory::Small(memory) => state.keep_small(memory),
            _ => {}
        }
        drop(state);
        self.home.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn large_blocks_are_aligned_and_nothing_is_kept_when_all_is_over() {
        let buffers = Buffers::new();
        let share = buffers.open();
        let other = buffers.open();
        for bytes in [1, 5000, SMALL_BYTES, LARGE_BYTES] {
            let mut block = share.take(bytes).unwrap();
            assert_eq!(block.as_mut_slice().len(), bytes);
            if bytes == LARGE_BYTES {
                assert_eq!(block.as_slice().as_ptr() as usize % LARGE_BYTES, 0);
            }
        }
        assert_eq!(buffers.lock().lent_bytes, 0);
        assert_eq!(buffers.lock().spare.len(), 2);
        drop(share);
        assert_eq!(buffers.lock().spare.len(), 2);
        drop(other);
        assert_eq!(buffers.lock().spare.len(), 0);
    }

    #[test]
    fn small_blocks_are_lent_again_and_few_are_kept_at_rest() {
        let buffers = Buffers::new();
        let share = buffers.open();
        let first = buffers.copy_of(b"first");
        assert_eq!(first.as_slice(), b"first");
        let memory = first.as_slice().as_ptr();
        drop(first);
        assert_eq!(share.take(20_000).unwrap().as_slice().as_ptr(), memory);
        let many = [(); 40].map(|()| share.take(SMALL_BYTES).unwrap());
        drop(many);
        assert!(buffers.lock().spare_small_bytes <= KEPT_BYTES);
        drop(share);
        assert_eq!(buffers.lock().spare_small.len(), KEPT_AT_REST);
        assert!(buffers.copy_of(b"").as_slice().is_empty());
    }

    #[test]
    fn who_wants_more_than_the_pool_has_waits_for_a_block_to_come_back() {
        let buffers = Buffers::new();
        let share = buffers.open();
        let mut held: Vec<Block> = (0..POOL_BYTES / LARGE_BYTES)
            .map(|_| share.take(LARGE_BYTES).unwrap())
            .collect();
        let (sender, receiver) = mpsc::channel();
        let waiting = buffers.open();
        let waiter = thread::spawn(move || {
            sender.send(waiting.take(1).unwrap().bytes()).unwrap();
        });
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err());
        held.pop();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(1));
        waiter.join().unwrap();
    }
}
