//! The memory that bodies pass through: one bounded pool for all uploads.
//!
//! 1. What is lent out never exceeds [`POOL_BYTES`], however many uploads there are. Who wants more
//!    waits; and since writing gives blocks back and a stalled peer holds none, the wait ends.
//! 2. Large blocks are halves of huge pages: aligned as direct I/O wants it, and in one piece for
//!    the disk (direct writes from scattered pages were at a third of the rate).
//! 3. When no upload is under way, nothing is kept.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::{self, HugeHalf};

/// All blocks that are lent out at one time.
pub const POOL_BYTES: usize = 16 << 20;

/// A block of a large body. As large as the direct writes that were measured to pay.
pub const LARGE_BYTES: usize = HugeHalf::BYTES;

/// A block of any other body; a smaller body has a smaller one.
pub const SMALL_BYTES: usize = 256 << 10;

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
            false => bytes,
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
            LARGE_BYTES => state.spare.pop(),
            _ => None,
        };
        drop(state);
        // From here on the loan is returned by Block's drop, whatever happens.
        let mut block = Block {
            memory: Memory::None,
            bytes,
            lent_bytes,
            home: self.0.clone(),
        };
        block.memory = match (lent_bytes, spare) {
            (_, Some(half)) => Memory::Large(half),
            (LARGE_BYTES, None) => Memory::Large(self.new_half()?),
            _ => Memory::Small(new_memory(bytes)?),
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
            state.spare = Vec::new();
        }
    }
}

fn new_memory(bytes: usize) -> io::Result<Vec<u8>> {
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(bytes)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    memory.resize(bytes, 0);
    Ok(memory)
}

impl Block {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn as_slice(&self) -> &[u8] {
        match &self.memory {
            Memory::Small(memory) => memory,
            Memory::Large(half) => &half.as_slice()[..self.bytes],
            Memory::None => &[],
        }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Small(memory) => memory,
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
