//! The body of an upload, as ureq reads it: from a file, or from memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use super::rate::Rate;
use super::stop::Stop;
use super::ureq_transport::Exchange;

/// Where the bytes of an upload come from.
#[derive(Clone, Copy)]
pub(crate) enum Tarball<'a> {
    File(&'a File),
    Memory(&'a [u8]),
}

impl Tarball<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Tarball::File(file) => file.read_at(buffer, offset),
            Tarball::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let mut left = bytes.get(start..).unwrap_or_default();
                left.read(buffer)
            }
        }
    }
}

/// What holds a body back.
#[derive(Clone, Copy)]
pub(super) struct Limit<'a> {
    pub rate: &'a Rate,
    /// The process ends: nothing is waited for any more.
    pub stop: &'a Stop,
}

/// How long one wait for the rate may be, so that an answer or a stop is noticed.
const LOOK: Duration = Duration::from_millis(50);

/// Reads the tarball for ureq. Once the receiver has answered, it only counts to the stated length.
pub(super) struct UploadBody<'a> {
    tarball: Tarball<'a>,
    left: u64,
    bytes: u64,
    exchange: Exchange,
    limit: Limit<'a>,
    /// The error of reading the file, which is not the connection's fault.
    fault: Option<io::Error>,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> UploadBody<'a> {
    /// The first `bytes` of a tarball, from the byte at `from` on. `progress` hears how many are there,
    /// those before `from` among them.
    pub(super) fn new(
        tarball: Tarball<'a>,
        from: u64,
        bytes: u64,
        exchange: &Exchange,
        limit: Limit<'a>,
        progress: &'a mut dyn FnMut(u64),
    ) -> UploadBody<'a> {
        UploadBody {
            tarball,
            left: bytes.saturating_sub(from),
            bytes,
            exchange: exchange.clone(),
            limit,
            fault: None,
            progress,
        }
    }

    /// Waits until the rate lets some of `room` bytes go; how many.
    fn let_go(&self, room: usize) -> usize {
        let limit = self.limit;
        loop {
            match limit.rate.take(room) {
                Ok(count) => return count,
                Err(_) if self.exchange.early_response.is_set() || limit.stop.is_set() => {
                    return room;
                }
                Err(wait) => thread::sleep(wait.min(LOOK)),
            }
        }
    }

    /// Why the file could not be read, if it could not.
    pub(super) fn into_fault(self) -> Option<io::Error> {
        self.fault
    }
}

impl Read for UploadBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if self.exchange.early_response.is_set() {
            // ureq counts to the stated length before it reads the answer. These bytes are not sent.
            self.left -= room as u64;
            return Ok(room);
        }
        let room = if room == 0 { 0 } else { self.let_go(room) };
        let read = match self
            .tarball
            .read_at(&mut buffer[..room], self.bytes - self.left)
        {
            Ok(0) if room > 0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter",
            )),
            other => other,
        };
        match read {
            Ok(n) => {
                self.left -= n as u64;
                (self.progress)(self.bytes - self.left);
                Ok(n)
            }
            Err(error) => {
                self.fault = Some(io::Error::new(error.kind(), error.to_string()));
                Err(error)
            }
        }
    }
}
