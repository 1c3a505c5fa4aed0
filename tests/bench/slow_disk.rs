//! A disk as slow as a Pi's SD card, served by this process from memory: one request at a time, each
//! write takes 0.3 ms and moves 40 MB/s, and a flush takes 15 ms.
//!
//! Those are the figures of an ordinary card behind ext4. What a loop device and FUSE cost beside them
//! is some tens of microseconds a request, the same for every contestant.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::fuse::{Backing, EIO, FuseDisk};

const FLUSH: Duration = Duration::from_millis(15);
const WRITE: Duration = Duration::from_micros(300);
const BYTES_PER_S: f64 = 40e6;

pub struct SlowDisk {
    is_slow: Arc<AtomicBool>,
    _served: FuseDisk,
}

impl SlowDisk {
    /// Shows a disk of so many bytes in `folder`, as [`crate::fuse::NAME`]. It is fast until
    /// [`SlowDisk::slow_down`], so that a filesystem is made quickly. `None` if this machine does not
    /// let us.
    pub fn serve(folder: &Path, bytes: u64) -> Option<SlowDisk> {
        let is_slow = Arc::new(AtomicBool::new(false));
        let memory = Memory {
            bytes: vec![0; bytes as usize],
            is_slow: is_slow.clone(),
        };
        let served = FuseDisk::serve(folder, bytes, memory)?;
        Some(SlowDisk {
            is_slow,
            _served: served,
        })
    }

    pub fn slow_down(&self) {
        self.is_slow.store(true, Ordering::Relaxed);
    }
}

struct Memory {
    /// Zeroes that nobody has written take no room.
    bytes: Vec<u8>,
    is_slow: Arc<AtomicBool>,
}

impl Memory {
    /// Ends when `cost` has passed since `began`.
    fn wait_until(&self, began: Instant, cost: Duration) {
        if self.is_slow.load(Ordering::Relaxed) {
            thread::sleep(cost.saturating_sub(began.elapsed()));
        }
    }

    fn range(&self, offset: u64, length: usize) -> Result<std::ops::Range<usize>, i32> {
        let begin = usize::try_from(offset).map_err(|_| EIO)?;
        let end = begin.checked_add(length).ok_or(EIO)?;
        if end > self.bytes.len() {
            return Err(EIO);
        }
        Ok(begin..end)
    }
}

impl Backing for Memory {
    fn read(&mut self, offset: u64, size: usize) -> Result<Vec<u8>, i32> {
        let began = Instant::now();
        let range = self.range(offset, size)?;
        let found = self.bytes[range].to_vec();
        self.wait_until(began, Duration::from_secs_f64(size as f64 / BYTES_PER_S));
        Ok(found)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), i32> {
        let began = Instant::now();
        let range = self.range(offset, bytes.len())?;
        self.bytes[range].copy_from_slice(bytes);
        let transfer = Duration::from_secs_f64(bytes.len() as f64 / BYTES_PER_S);
        self.wait_until(began, WRITE + transfer);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), i32> {
        self.wait_until(Instant::now(), FLUSH);
        Ok(())
    }
}
