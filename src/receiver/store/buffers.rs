//! The memory that bodies pass through: one bounded pool for all uploads.
//!
//! 1. The blocks lent out never exceed [`POOL_BYTES`], however many uploads there are. An upload that
//!    needs more waits; writing gives blocks back and a stalled peer holds none, so the wait ends.
//! 2. Large blocks are halves of huge pages: aligned as direct I/O wants it, and in one piece for
//!    the disk where the system has such pages (from scattered ones, one lab host's disk took direct
//!    writes at a third of the rate).
//! 3. Large blocks are kept while an upload is under way. Small ones are kept until no upload has been under
//!    way for a second: uploads that are committed together end together, and musl's allocator would give
//!    their blocks back to the system and fetch them anew. At rest, only the memory for the next small
//!    upload is kept.
//! 4. The lock of the small spares is held for no system call: coroutines take it.

use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::sync::lock;
use crate::sys::{self, HugeHalf};

/// The most bytes that are lent out at one time.
pub(super) const POOL_BYTES: usize = 16 << 20;

/// A block of a large body. As large as the direct writes that were measured to pay.
pub(super) const LARGE_BYTES: usize = HugeHalf::BYTES;

/// A block of any other body; a smaller body has a smaller one.
pub(super) const SMALL_BYTES: usize = 256 << 10;

/// The least that is allocated for a small block, so that most fit for the next loan.
const LEAST_BYTES: usize = 32 << 10;

/// Small blocks that are kept between two loans.
const KEPT_AT_REST: usize = 2;

/// The most that is kept of them before that, in bytes.
const KEPT_BYTES: usize = 4 << 20;

// 64 uploads that each fill one small block must not wait for one another.
const _: () = assert!(64 * SMALL_BYTES <= POOL_BYTES);

pub(super) struct Buffers {
    state: Mutex<State>,
    freed: Condvar,
    small: Mutex<Spares>,
}

#[derive(Default)]
struct State {
    lent_bytes: usize,
    uploads: usize,
    /// Whether an upload was under way since the last [`Buffers::look`].
    is_in_use: bool,
    /// Uploads that wait for memory. While there is none, a block that comes back wakes nobody: the wake-up
    /// is a system call also if no thread waits.
    waiting: usize,
    /// Large blocks between two loans. With those that are lent, they are the pool's at most.
    spare: Vec<HugeHalf>,
}

impl State {
    /// A large block. A new page is mapped under the lock, so that two who come together do not map
    /// one each; no page is touched by that.
    fn take_large(&mut self) -> io::Result<HugeHalf> {
        if let Some(half) = self.spare.pop() {
            return Ok(half);
        }
        let [one, other] = sys::huge_halves()?;
        self.spare.push(other);
        Ok(one)
    }
}

/// Small blocks between two loans, the newest last.
#[derive(Default)]
struct Spares {
    blocks: Vec<Vec<u8>>,
    bytes: usize,
}

impl Spares {
    /// A block of exactly this class, so that no upload gets more than is counted.
    fn take(&mut self, class: usize) -> Option<Vec<u8>> {
        let place = self.blocks.iter().rposition(|block| block.len() == class)?;
        self.bytes -= class;
        Some(self.blocks.remove(place))
    }

    /// Keeps the block. Without room for all, the oldest blocks are returned, to be freed where no lock is
    /// held: a size that no upload needs any more is that of the oldest.
    fn keep(&mut self, block: Vec<u8>) -> Vec<Vec<u8>> {
        self.bytes += block.len();
        self.blocks.push(block);
        let mut surplus = Vec::new();
        while self.bytes > KEPT_BYTES {
            let oldest = self.blocks.remove(0);
            self.bytes -= oldest.len();
            surplus.push(oldest);
        }
        surplus
    }

    /// All but the newest, to be freed as above.
    fn rest(&mut self) -> Vec<Vec<u8>> {
        let kept_from = self.blocks.len().saturating_sub(KEPT_AT_REST);
        let kept = self.blocks.split_off(kept_from);
        self.bytes = kept.iter().map(Vec::len).sum();
        mem::replace(&mut self.blocks, kept)
    }
}

/// A piece of memory for a body. Dropping it gives it back.
pub(super) struct Block {
    memory: Memory,
    /// The part that is used.
    bytes: usize,
    /// What the pool counts for it.
    lent_bytes: usize,
    home: Arc<Buffers>,
}

enum Memory {
    /// As long as its class.
    Small(Vec<u8>),
    Large(HugeHalf),
    /// Not there yet, or given back.
    None,
}

impl Buffers {
    pub(super) fn new() -> Arc<Buffers> {
        Arc::new(Buffers {
            state: Mutex::default(),
            freed: Condvar::new(),
            small: Mutex::default(),
        })
    }

    /// An upload begins.
    pub(super) fn open(self: &Arc<Self>) -> Share {
        let mut state = self.lock();
        state.uploads += 1;
        state.is_in_use = true;
        drop(state);
        Share(self.clone())
    }

    /// Once a second: frees what is kept, if no upload was under way since the last call.
    pub(super) fn look(&self) {
        let mut state = self.lock();
        let is_in_use = mem::take(&mut state.is_in_use) || state.uploads > 0;
        drop(state);
        if !is_in_use {
            let surplus = self.spares().rest();
            drop(surplus);
        }
    }

    fn spares(&self) -> MutexGuard<'_, Spares> {
        lock(&self.small)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// One upload's access to the pool. While any is held, large blocks are kept for the next loan.
pub(super) struct Share(Arc<Buffers>);

impl Share {
    /// A block of `bytes`, at most [`LARGE_BYTES`]. Waits until the pool has that much.
    ///
    /// Errors: the system has no memory, even if the pool's bound allows the block.
    pub(super) fn take(&self, bytes: usize) -> io::Result<Block> {
        let bytes = bytes.clamp(1, LARGE_BYTES);
        // Above SMALL_BYTES there is one size class: blocks of one size can be lent again, and no
        // allocator keeps pieces of other sizes back.
        let lent_bytes = if bytes > SMALL_BYTES {
            LARGE_BYTES
        } else {
            small_class(bytes)
        };
        let mut state = self.0.lock();
        state.waiting += 1;
        state = self
            .0
            .freed
            .wait_while(state, |state| state.lent_bytes + lent_bytes > POOL_BYTES)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state.lent_bytes += lent_bytes;
        let large = (lent_bytes == LARGE_BYTES).then(|| state.take_large());
        drop(state);
        // From here on the loan is returned by Block's drop, whatever happens.
        let mut block = Block {
            memory: Memory::None,
            bytes,
            lent_bytes,
            home: self.0.clone(),
        };
        block.memory = match large {
            Some(half) => Memory::Large(half?),
            None => {
                let spare = self.0.spares().take(lent_bytes);
                Memory::Small(spare.map_or_else(|| new_memory(lent_bytes), Ok)?)
            }
        };
        Ok(block)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.uploads -= 1;
        state.is_in_use = true;
        if state.uploads > 0 {
            return;
        }
        let pages = mem::take(&mut state.spare);
        drop(state);
        drop(pages);
    }
}

static ZEROS: [u8; 4096] = [0; 4096];

/// The size class, in bytes, that a small block of `bytes` is allocated in.
fn small_class(bytes: usize) -> usize {
    bytes.next_power_of_two().max(LEAST_BYTES)
}

fn new_memory(class: usize) -> io::Result<Vec<u8>> {
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(class)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    // Not `resize`: in a program that is made small it goes byte by byte.
    while memory.len() < class {
        memory.extend_from_slice(&ZEROS[..ZEROS.len().min(class - memory.len())]);
    }
    Ok(memory)
}

impl Block {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match &self.memory {
            Memory::Small(memory) => &memory[..self.bytes],
            Memory::Large(half) => &half.as_slice()[..self.bytes],
            Memory::None => &[],
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Small(memory) => &mut memory[..self.bytes],
            Memory::Large(half) => &mut half.as_mut_slice()[..self.bytes],
            Memory::None => &mut [],
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let half = match mem::replace(&mut self.memory, Memory::None) {
            Memory::Large(half) => Some(half),
            Memory::Small(memory) => {
                let surplus = self.home.spares().keep(memory);
                drop(surplus);
                None
            }
            Memory::None => None,
        };
        // A copy owes the pool nothing, and may be dropped by a coroutine.
        if self.lent_bytes == 0 {
            return;
        }
        let mut state = self.home.lock();
        state.lent_bytes -= self.lent_bytes;
        let mut surplus = half;
        if state.uploads > 0 {
            state.spare.extend(surplus.take());
        }
        let is_awaited = state.waiting > 0;
        drop(state);
        drop(surplus);
        if is_awaited {
            self.home.freed.notify_all();
        }
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
        let first = share.take(20).unwrap();
        let memory = first.as_slice().as_ptr();
        drop(first);
        assert_eq!(share.take(20_000).unwrap().as_slice().as_ptr(), memory);
        // Nobody gets a larger one than is counted for it.
        drop(share.take(SMALL_BYTES).unwrap());
        let held = [(); 3].map(|()| share.take(LEAST_BYTES).unwrap());
        assert_eq!(buffers.lock().lent_bytes, 3 * LEAST_BYTES);
        assert_eq!(buffers.spares().bytes, SMALL_BYTES);
        drop(held);
        let many = [(); 40].map(|()| share.take(SMALL_BYTES).unwrap());
        drop(many);
        assert!(buffers.spares().bytes <= KEPT_BYTES);
        // The oldest make room for those that are needed now.
        drop(share.take(LEAST_BYTES).unwrap());
        assert!(buffers.spares().take(LEAST_BYTES).is_some());
        drop(share.take(LEAST_BYTES).unwrap());
        buffers.look();
        let held = buffers.spares().blocks.len();
        buffers.look();
        drop(share);
        // One that begins next finds them, and so does one that begins before a second has passed.
        drop(buffers.open());
        buffers.look();
        assert!(2 < held);
        assert_eq!(buffers.spares().blocks.len(), held);
        buffers.look();
        let kept: Vec<usize> = buffers.spares().blocks.iter().map(Vec::len).collect();
        assert_eq!(kept, [SMALL_BYTES, LEAST_BYTES]);
        assert_eq!(buffers.spares().bytes, SMALL_BYTES + LEAST_BYTES);
    }

    #[test]
    fn pages_are_never_more_than_the_pool() {
        let buffers = Buffers::new();
        thread::scope(|scope| {
            for _ in 0..POOL_BYTES / LARGE_BYTES {
                scope.spawn(|| {
                    let share = buffers.open();
                    for _ in 0..100 {
                        let block = share.take(LARGE_BYTES).unwrap();
                        let state = buffers.lock();
                        assert!(state.spare.len() * LARGE_BYTES + state.lent_bytes <= POOL_BYTES);
                        drop(state);
                        drop(block);
                    }
                });
            }
        });
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
