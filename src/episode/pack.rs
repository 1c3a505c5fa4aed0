//! Packing: the directory of an episode becomes a tar.zst, in one pass and bounded memory.
//!
//! The compressor panics on an I/O error. So it never meets one: its reader and its writer keep
//! the first error in a latch, and from then on the reader is at its end and the writer swallows.
//! The latch decides how `pack` ends.
//!
//! What it wrote is proved by reading it back (`Proof`). Where it fails, or panics over what it
//! was given, the same tar is written again without compressing anything: larger, and whole.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use ruzstd::encoding::{CompressionLevel, FrameCompressor};
use sha2::{Digest, Sha256};

use super::matcher::FastMatcher;
use super::meta::Meta;
use super::proof::Proof;
use super::tar_stream::TarStream;
use super::tree::{Unfit, Walk, survey};
use crate::events;
use crate::names::Sha256Digest;

/// A tarball that was written, and is not yet on the disk: the sync is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    pub bytes: u64,
    pub sha256: Sha256Digest,
    pub meta: Meta,
}

/// Writes the tar.zst of `dir` to `out`, an empty file; its entries are named `<id>/...`.
///
/// The bytes depend on the directory's content alone, wherever and whenever it is packed.
/// `progress` hears how many bytes of the episode's files were read, and how many there are.
///
/// Errors: what is unfit in `dir`; what went wrong with `out`, a full disk as `StorageFull`.
/// `out` then holds rubbish.
pub fn pack(
    dir: &Path,
    id: &str,
    out: &mut File,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Packed, PackError> {
    let survey = survey(dir)?;
    for level in [CompressionLevel::Fastest, CompressionLevel::Uncompressed] {
        let source = Source {
            tar: TarStream::new(id, &survey.meta, Walk::new(dir, id.as_bytes().to_vec())),
            latch: &Latch::default(),
            bytes_total: survey.bytes,
            progress,
        };
        if let Some((bytes, sha256)) = compress(source, out, level)? {
            let meta = survey.meta.meta;
            return Ok(Packed {
                bytes,
                sha256,
                meta,
            });
        }
        events::compressor_failed(id);
        out.set_len(0)?;
        out.rewind()?;
    }
    Err(PackError::Io(io::Error::other(
        "what the compressor wrote does not read back, not even uncompressed",
    )))
}

/// Size and digest of what was written, or `None` if it does not read back as what went in.
fn compress(
    source: Source,
    out: &mut File,
    level: CompressionLevel,
) -> Result<Option<(u64, Sha256Digest)>, PackError> {
    let latch = source.latch;
    let mut drain = Drain {
        out,
        latch,
        hasher: Sha256::new(),
        bytes: 0,
        proof: Proof::new(),
    };
    let run = || {
        let mut compressor = FrameCompressor::new_with_matcher(FastMatcher::new(), level);
        compressor.set_source(source);
        compressor.set_drain(&mut drain);
        compressor.compress();
    };
    let ended = panic::catch_unwind(AssertUnwindSafe(run)).is_ok();
    if let Some(error) = latch.take() {
        return Err(error);
    }
    let digest = Sha256Digest::from_bytes(drain.hasher.finalize().into());
    let is_whole = ended && drain.proof.holds();
    Ok(is_whole.then_some((drain.bytes, digest)))
}

/// The first thing that went wrong on either side of the compressor.
type Latch = RefCell<Option<PackError>>;

struct Source<'a> {
    tar: TarStream,
    latch: &'a Latch,
    bytes_total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.latch.borrow().is_some() {
            return Ok(0);
        }
        match self.tar.read(buffer) {
            Ok(n) => {
                (self.progress)(self.tar.bytes_read, self.bytes_total);
                Ok(n)
            }
            Err(unfit) => {
                self.latch.replace(Some(PackError::Unfit(unfit)));
                Ok(0)
            }
        }
    }
}

struct Drain<'a> {
    out: &'a mut File,
    latch: &'a Latch,
    hasher: Sha256,
    bytes: u64,
    proof: Proof,
}

impl Write for Drain<'_> {
    /// Takes all, or swallows all.
    fn write(&mut self, block: &[u8]) -> io::Result<usize> {
        if self.latch.borrow().is_none() {
            match self.out.write_all(block) {
                Ok(()) => {
                    self.proof.add(block);
                    self.hasher.update(block);
                    self.bytes += block.len() as u64;
                }
                Err(error) => drop(self.latch.replace(Some(PackError::Io(error)))),
            }
        }
        Ok(block.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why there is no tarball.
#[derive(Debug)]
pub enum PackError {
    Unfit(Unfit),
    /// Writing the tarball failed.
    Io(io::Error),
}

impl From<Unfit> for PackError {
    fn from(unfit: Unfit) -> PackError {
        PackError::Unfit(unfit)
    }
}

impl From<io::Error> for PackError {
    fn from(error: io::Error) -> PackError {
        PackError::Io(error)
    }
}

impl PackError {
    /// Whether the same directory may be packed later. What is not passing wants a person.
    pub fn is_passing(&self) -> bool {
        match self {
            PackError::Unfit(unfit) => unfit.is_passing(),
            PackError::Io(_) => true,
        }
    }
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PackError::Unfit(unfit) => unfit.fmt(f),
            PackError::Io(error) => write!(f, "cannot write the tarball: {error}"),
        }
    }
}

impl std::error::Error for PackError {}
