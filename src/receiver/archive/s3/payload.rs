//! The body of a request to the store: read by position, so that a request can be sent again; and digests
//! of local files.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use crate::names::Sha256Digest;
use crate::sys;

/// How much of a file is sent before its pages are given back.
const FORGET_EVERY: u64 = 8 << 20;
/// How much of a file is hashed at once.
const HASH_BYTES: usize = 128 << 10;

/// Where the bytes come from.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// So many bytes of a file, from this one on.
    File {
        file: &'a File,
        from: u64,
        bytes: u64,
    },
}

impl Payload<'_> {
    /// How many bytes there are.
    pub(super) fn length(self) -> u64 {
        match self {
            Payload::None => 0,
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::File { bytes, .. } => bytes,
        }
    }
}

/// Reads a payload from its beginning. What it leaves in the page cache is given back behind it.
pub(super) struct PayloadReader<'a> {
    payload: Payload<'a>,
    offset: u64,
    kept_from: u64,
    /// The error of our own file, which is not the connection's.
    fault: Option<io::Error>,
}

impl<'a> PayloadReader<'a> {
    pub(super) fn new(payload: Payload<'a>) -> PayloadReader<'a> {
        if let Payload::File { file, .. } = payload {
            sys::read_in_order(file);
        }
        PayloadReader {
            payload,
            offset: 0,
            kept_from: 0,
            fault: None,
        }
    }

    pub(super) fn fault(&self) -> Option<&io::Error> {
        self.fault.as_ref()
    }

    fn read_part(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.payload {
            Payload::None => Ok(0),
            Payload::Bytes(bytes) => {
                let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
                bytes.get(start..).unwrap_or_default().read(buffer)
            }
            Payload::File { file, from, bytes } => {
                let left = usize::try_from(bytes - self.offset).unwrap_or(usize::MAX);
                let room = buffer.len().min(left);
                match file.read_at(&mut buffer[..room], from + self.offset)? {
                    0 if room > 0 => Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "it became shorter",
                    )),
                    count => Ok(count),
                }
            }
        }
    }

    fn forget(&mut self, is_all: bool) {
        if let Payload::File { file, from, .. } = self.payload
            && (is_all || self.offset - self.kept_from >= FORGET_EVERY)
        {
            let bytes = self.offset - self.kept_from;
            sys::forget_cached_part(file, from + self.kept_from, bytes);
            self.kept_from = self.offset;
        }
    }
}

impl Read for PayloadReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.read_part(buffer) {
            Ok(count) => {
                self.offset += count as u64;
                self.forget(false);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.fault = Some(io::Error::new(error.kind(), error.to_string()));
                Err(error)
            }
        }
    }
}

impl Drop for PayloadReader<'_> {
    fn drop(&mut self) {
        if self.offset > self.kept_from {
            self.forget(true);
        }
    }
}

/// The digest of a whole file. What it leaves in the page cache is given back.
pub(crate) fn digest_of(file: &File) -> io::Result<Sha256Digest> {
    let bytes = file.metadata()?.len();
    let whole = Payload::File {
        file,
        from: 0,
        bytes,
    };
    let mut reader = PayloadReader::new(whole);
    hash(|block, _| reader.read(block))
}

/// The digest of a part of a file that is sent next: its pages stay until then.
pub(super) fn digest_of_part(file: &File, from: u64, bytes: u64) -> io::Result<Sha256Digest> {
    hash(|block, offset| {
        let left = usize::try_from(bytes - offset).unwrap_or(usize::MAX);
        let room = block.len().min(left);
        file.read_at(&mut block[..room], from + offset)
    })
}

/// Hashes what `read` brings into a block, from an offset on, until it brings nothing.
fn hash(mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>) -> io::Result<Sha256Digest> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; HASH_BYTES];
    let mut offset = 0;
    loop {
        match read(&mut block, offset) {
            Ok(0) => return Ok(Sha256Digest::from_bytes(hasher.finalize().into())),
            Ok(count) => {
                hasher.update(&block[..count]);
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
