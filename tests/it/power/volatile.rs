//! A disk with a cache of its own, as real ones have: what was not flushed when the power goes is
//! lost, or there, or there in part, in any order. The kernel is shown it as one file of a FUSE
//! filesystem that this thread answers for, and makes a block device of that file.
//!
//! Harsher than the shutdown of a filesystem, which leaves what had been handed to the disk; and it
//! cuts the power of every filesystem, of those too that cannot be shut down.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::dice::Dice;

const BLOCK: usize = 4096;
const WRITE_MAX: usize = 1 << 20;

/// What FUSE calls the only folder and the only file.
const FOLDER: u64 = 1;
const FILE: u64 = 2;
pub const NAME: &str = "disk";

const EIO: i32 = 5;
const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;

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
    /// What a power cut leaves.
    kept: Blocks,
    /// Written since the last flush.
    cached: Blocks,
    bytes: u64,
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

/// The disk, served until this is dropped.
pub struct VolatileDisk {
    cells: Arc<Mutex<Cells>>,
    folder: std::path::PathBuf,
    server: Option<JoinHandle<()>>,
}

impl VolatileDisk {
    /// `None` if this machine does not let us.
    pub fn serve(folder: &Path, bytes: u64, sector: usize) -> Option<VolatileDisk> {
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .ok()?;
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "none"])
            .arg(folder)
            .args(["-o", "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other"])
            .stdin(Stdio::from(device.try_clone().ok()?))
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            return None;
        }
        let cells = Arc::new(Mutex::new(Cells {
            power: Power::On,
            kept: Blocks::new(),
            cached: Blocks::new(),
            bytes,
            sector,
        }));
        let served = cells.clone();
        let server = thread::spawn(move || answer_all(device, &served));
        Some(VolatileDisk {
            cells,
            folder: folder.to_owned(),
            server: Some(server),
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

impl Drop for VolatileDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

/// Answers the kernel until the filesystem is unmounted.
fn answer_all(mut device: File, cells: &Mutex<Cells>) {
    let mut request = vec![0; WRITE_MAX + 4096];
    while let Ok(length) = device.read(&mut request) {
        let request = &request[..length];
        let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let (opcode, unique) = (word(4), &request[8..16]);
        let node = u64::from_le_bytes(request[16..24].try_into().unwrap());
        let Some(answer) = answer(opcode, node, &request[40..], &mut cells.lock().unwrap()) else {
            continue;
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut reply = (16 + body.len() as u32).to_le_bytes().to_vec();
        reply.extend_from_slice(&i32::to_le_bytes(error));
        reply.extend_from_slice(unique);
        reply.extend_from_slice(&body);
        // An error is a request that was interrupted meanwhile.
        let _ = device.write(&reply);
    }
}

/// Little-endian words, one after the other.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn u64(mut self, words: &[u64]) -> Words {
        for word in words {
            self.0.extend_from_slice(&word.to_le_bytes());
        }
        self
    }

    fn u32(mut self, words: &[u32]) -> Words {
        for word in words {
            self.0.extend_from_slice(&word.to_le_bytes());
        }
        self
    }
}

/// The answer to one request; `None` to those that expect no answer.
fn answer(opcode: u32, node: u64, body: &[u8], cells: &mut Cells) -> Option<Result<Vec<u8>, i32>> {
    let long = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
    let word = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
    let is_off = cells.power == Power::Off;
    Some(match opcode {
        2 | 36 | 42 => return None, // forget, interrupt, forget many
        26 => {
            // init: writes of up to WRITE_MAX bytes.
            let (big_writes, max_pages) = (1 << 5, 1 << 22);
            let mut words = Words::default()
                .u32(&[7, 31, 1 << 20, big_writes | max_pages])
                .u32(&[64 | 48 << 16, WRITE_MAX as u32, 1])
                .u32(&[(WRITE_MAX / 4096) as u32])
                .0;
            words.resize(64, 0);
            Ok(words)
        }
        1 if body.starts_with(NAME.as_bytes()) => {
            let words = Words::default().u64(&[FILE, 0, 3600, 3600]).u32(&[0, 0]);
            Ok(attributes(words, FILE, cells.bytes).0)
        }
        1 => Err(ENOENT),
        3 | 4 => {
            let words = Words::default().u64(&[3600]).u32(&[0, 0]);
            Ok(attributes(words, node, cells.bytes).0)
        }
        14 | 27 => Ok(Words::default().u64(&[0]).u32(&[0, 0]).0), // open, of a folder too
        15 if is_off => Err(EIO),
        15 => Ok(cells.read(long(8), word(16) as usize)),
        16 if cells.power != Power::On => Err(EIO),
        16 => {
            let size = word(16);
            cells.write(long(8), &body[40..40 + size as usize]);
            Ok(Words::default().u32(&[size, 0]).0)
        }
        20 if cells.power != Power::On => Err(EIO),
        20 => {
            cells.flush();
            Ok(Vec::new())
        }
        17 => Ok(vec![0; 80]),
        18 | 25 | 28 | 29 | 38 => Ok(Vec::new()), // release, flush at close, an empty folder, the end
        _ => Err(ENOSYS),
    })
}

fn attributes(words: Words, node: u64, bytes: u64) -> Words {
    let (mode, size) = match node {
        FOLDER => (0o40700, 0),
        _ => (0o100600, bytes),
    };
    words
        .u64(&[node, size, size / 512, 0, 0, 0])
        .u32(&[0, 0, 0, mode, 1, 0, 0, 0, BLOCK as u32, 0])
}
