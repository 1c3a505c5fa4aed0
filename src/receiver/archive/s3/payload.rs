//! The body of a request to the store: read by position, so that a request can be sent again.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::sys;

/// How much of a file is sent before its pages are given back.
const FORGET_EVERY: u64 = 8 << 20;

/// Where the bytes come from.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// The first so many bytes of a file.
    File {
        file: &'a File,
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
            Payload::File { file, bytes } => {
                let left = usize::try_from(bytes - self.offset).unwrap_or(usize::MAX);
                let room = buffer.len().min(left);
                match file.read_at(&mut buffer[..room], self.offset)? {
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
        if let Payload::File { file, .. } = self.payload
            && (is_all || self.offset - self.kept_from >= FORGET_EVERY)
        {
            sys::forget_cached_part(file, self.kept_from, self.offset - self.kept_from);
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
