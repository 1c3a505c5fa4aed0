//! A disk with a cache of its own, as real ones have: what was not flushed when the power goes is
//! lost, or there, or there in part, in any order.
//!
//! Harsher than the shutdown of a filesystem, which leaves what had been handed to the disk; and it
//! cuts the power of every filesystem, of those too that cannot be shut down.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::Dice;
use super::fuse::{Backing, EIO, FuseDisk};

const BLOCK: usize = 4096;

type Blocks = HashMap<u64, Box<[u8; BLOCK]>>;

/// How the disk is at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// Nothing is written or read.
    Off,
    /// Reads are answered, writes are an error: a disk that is dying.
    NoWrites,
}

struct Cells {
    power: Power,
    /// What is there whatever happens.
    kept: Blocks,
    /// Written since the last flush.
    cached: Blocks,
    /// What is written whole or not at all; a block has some of them.
    sector: usize,
}

impl Cells {
    fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let mut found = Vec::with_capacity(size);
        while found.len() < size {
            let at = offset + found.len() as u64;
            let (block, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let length = (BLOCK - within).min(size - found.len());
            match self.cached.get(&block).or_else(|| self.kept.get(&block)) {
                Some(bytes) => found.extend_from_slice(&bytes[within..within + length]),
                None => found.resize(found.len() + length, 0),
            }
        }
        found
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (block, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let length = (BLOCK - within).min(bytes.len() - done);
            let before = || self.kept.get(&block).cloned();
            let cell = self
                .cached
                .entry(block)
                .or_insert_with(|| before().unwrap_or_else(|| Box::new([0; BLOCK])));
            cell[within..within + length].copy_from_slice(&bytes[done..done + length]);
            done += length;
        }
    }

    fn flush(&mut self) {
        self.kept.extend(self.cached.drain());
    }

    /// Of what was not flushed, each sector is there or not: none, all, or as the dice say.
    fn lose(&mut self, dice: &mut Dice) {
        let share = [0, 0, 30, 70, 100][dice.below(5) as usize];
        for (block, new) in self.cached.drain() {
            let cell = self
                .kept
                .entry(block)
                .or_insert_with(|| Box::new([0; BLOCK]));
            for at in (0..BLOCK).step_by(self.sector) {
                let sector = at..at + self.sector;
                if dice.below(100) < share {
                    cell[sector.clone()].copy_from_slice(&new[sector]);
                }
            }
        }
    }
}

/// What the kernel asks of the disk, with the disk's power as it is at that moment.
struct Shared(Arc<Mutex<Cells>>);

impl Backing for Shared {
    fn read(&mut self, offset: u64, size: usize) -> Result<Vec<u8>, i32> {
        let cells = self.0.lock().unwrap();
        if cells.power == Power::Off {
            return Err(EIO);
        }
        Ok(cells.read(offset, size))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), i32> {
        let mut cells = self.0.lock().unwrap();
        if cells.power != Power::On {
            return Err(EIO);
        }
        cells.write(offset, bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), i32> {
        let mut cells = self.0.lock().unwrap();
        if cells.power != Power::On {
            return Err(EIO);
        }
        cells.flush();
        Ok(())
    }
}

/// The disk, served until this is dropped.
pub struct VolatileDisk {
    cells: Arc<Mutex<Cells>>,
    _served: FuseDisk,
}

impl VolatileDisk {
    /// `None` if this machine does not let us.
    pub fn serve(folder: &Path, bytes: u64, sector: usize) -> Option<VolatileDisk> {
        let cells = Arc::new(Mutex::new(Cells {
            power: Power::On,
            kept: Blocks::new(),
            cached: Blocks::new(),
            sector,
        }));
        let served = FuseDisk::serve(folder, bytes, Shared(cells.clone()))?;
        Some(VolatileDisk {
            cells,
            _served: served,
        })
    }

    pub fn cut(&self, dice: &mut Dice) {
        let mut cells = self.cells.lock().unwrap();
        cells.power = Power::Off;
        cells.lose(dice);
    }

    /// From now on nothing can be written, until the power is on again.
    pub fn refuse_writes(&self) {
        self.cells.lock().unwrap().power = Power::NoWrites;
    }

    pub fn power_on(&self) {
        self.cells.lock().unwrap().power = Power::On;
    }
}
