//! Packing: the directory of an episode becomes a tar.zst, in one pass and bounded memory. Each byte
//! of a file is read straight into the compressor's history, and copied nowhere else. Each block of
//! the frame is hashed when it is written.

use std::fmt;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use cis490_zstd::Compressor;
use sha2::{Digest, Sha256};

use super::contents::Contents;
use super::meta::Meta;
use super::tar_stream::TarStream;
use super::tree::{Episode, Walk, inspect_open};
use super::unfit::Unfit;
use crate::events;
use crate::names::Sha256Digest;

/// A tarball that was written and not yet synced: the caller syncs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    pub bytes: u64,
    pub sha256: Sha256Digest,
    pub meta: Meta,
    /// The contents of the directory that it was made of: see [`super::contents`].
    pub contents: Contents,
}

/// Writes the tar.zst of `dir` to `out`, which is empty; its entries are named `<id>/...`.
///
/// The bytes depend on the directory's content alone, wherever and whenever it is packed.
/// `progress` is called with the bytes of the episode's files that were read so far, and with the
/// bytes of all its files; if it breaks, the packing ends.
///
/// Errors: what is unfit in `dir`; what went wrong with `out`, a full disk as `StorageFull`.
/// After an error the content of `out` is of no use.
pub fn pack(
    dir: &Path,
    id: &str,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Packed, PackError> {
    pack_by(&mut Compressor::new(), dir, id, out, progress)
}

/// As [`pack`], in the memory of a compressor that may have packed others. To fetch that memory from the system
/// and give it back for each small episode was a third of what the shipper's loop did.
pub(crate) fn pack_by(
    compressor: &mut Compressor,
    dir: &Path,
    id: &str,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Packed, PackError> {
    let episode = Episode::open(dir)?;
    let inspected = inspect_open(&episode)?;
    let walk = Walk::new(&episode, id.as_bytes().to_vec())?;
    let mut tar = TarStream::new(id, &inspected.meta_file, walk);
    let mut drain = Drain::new(out);
    compressor.begin_again();
    drain.write(&Compressor::frame_header())?;
    loop {
        let buffer = compressor.buffer();
        let filled = fill(&mut tar, buffer)?;
        let is_last = filled < buffer.len();
        let (header, content) = compressor.block(filled, is_last);
        drain.write(&header)?;
        drain.write(content)?;
        if progress(tar.bytes_read, inspected.bytes).is_break() {
            return Err(PackError::Stopped);
        }
        if is_last {
            break;
        }
    }
    drain.write(&compressor.content_checksum())?;
    if compressor.blocks_not_read_back > 0 {
        events::compressor_failed(id, compressor.blocks_not_read_back);
    }
    Ok(Packed {
        bytes: drain.bytes,
        sha256: Sha256Digest::from_bytes(drain.hasher.finalize().into()),
        meta: inspected.meta_file.meta,
        contents: tar.contents(),
    })
}

/// Reads until `buffer` is full or the tar is at its end. Returns how many bytes were read.
fn fill(tar: &mut TarStream, buffer: &mut [u8]) -> Result<usize, Unfit> {
    let mut filled = 0;
    while filled < buffer.len() {
        match tar.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

struct Drain<'a> {
    out: &'a mut dyn Write,
    hasher: Sha256,
    bytes: u64,
}

impl Drain<'_> {
    fn new(out: &mut dyn Write) -> Drain<'_> {
        Drain {
            out,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Why there is no tarball.
#[derive(Debug)]
pub enum PackError {
    Unfit(Unfit),
    /// Writing the tarball failed.
    Io(io::Error),
    /// `progress` has ended the packing.
    Stopped,
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
    /// Whether the same directory may be packed later. Otherwise a person must change it.
    pub fn is_passing(&self) -> bool {
        match self {
            PackError::Unfit(unfit) => unfit.is_passing(),
            PackError::Io(_) | PackError::Stopped => true,
        }
    }
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PackError::Unfit(unfit) => unfit.fmt(f),
            PackError::Io(error) => write!(f, "cannot write the tarball: {error}"),
            PackError::Stopped => f.write_str("packing was stopped"),
        }
    }
}

impl std::error::Error for PackError {}
