//! The memory that bodies pass through: one bounded pool for all uploads.
//!
//! 1. What is lent out never exceeds [`POOL_BYTES`], however many uploads there are. Who wants more
//!    waits; and since writing gives blocks back and a stalled peer holds none, the wait ends.
//! 2. Blocks begin at a multiple of [`ALIGNMENT`], as direct I/O wants it.
//! 3. When no upload is under way, nothing is kept.

use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// All blocks that are lent out at one time.
pub const POOL_BYTES: usize = 16 << 20;

/// A block of a large body. As large as the direct writes that were measured to pay.
pub const LARGE_BYTES: usize = 1 << 20;

/// A block of any other body; a smaller body has a smaller one.
pub const SMALL_BYTES: usize = 256 << 10;

/// What a direct write's memory, offset and length are multiples of: no disk has larger sectors.
pub const ALIGNMENT: usize = 4096;

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
    spare: Vec<Vec<u8>>,
}

/// A piece of the pool. Dropping it gives it back.
pub struct Block {
    memory: Vec<u8>,
    /// Where the aligned part begins.
    start: usize,
    /// The part that is used.
    bytes: usize,
    /// What the pool counts for it.
    lent_bytes: usize,
    home: Arc<Buffers>,
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
            memory: Vec::new(),
            start: 0,
            bytes,
            lent_bytes,
            home: self.0.clone(),
        };
        block.memory = match spare {
            Some(memory) => memory,
            None => new_memory(lent_bytes + ALIGNMENT)?,
        };
        block.start = block.memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Ok(block)
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
        &self.memory[self.start..][..self.bytes]
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.bytes]
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let memory = mem::take(&mut self.memory);
        let mut state = self.home.lock();
        state.lent_bytes -= self.lent_bytes;
        if memory.len() > LARGE_BYTES && state.uploads > 0 {
            state.spare.push(memory);
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
    fn blocks_are_aligned_and_nothing_is_kept_when_all_is_over() {
        let buffers = Buffers::new();
        let share = buffers.open();
        let other = buffers.open();
        for bytes in [1, 5000, SMALL_BYTES, LARGE_BYTES] {
            let mut block = share.take(bytes).unwrap();
            assert_eq!(block.as_mut_slice().len(), bytes);
            assert_eq!(block.as_slice().as_ptr() as usize % ALIGNMENT, 0);
        }
        assert_eq!(buffers.lock().lent_bytes, 0);
        assert_eq!(buffers.lock().spare.len(), 1);
        drop(share);
        assert_eq!(buffers.lock().spare.len(), 1);
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
