//! The content of zstd frames, one frame after the other. Skippable frames are skipped.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, FrameHeaderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The largest window: `zstd --ultra -22` and `zstd --long` need it, and the zstd program decodes no
/// larger one by default. The decoder allocates the window and 256 KiB, once for all frames, but the
/// system backs only the pages that are written. So one of our tarballs, whose `meta.json` comes first,
/// costs a few blocks; only an archive with 128 MiB of data before its `meta.json` costs all. One
/// tarball is read at a time.
const WINDOW_BYTES_MAX: u64 = 128 << 20;

pub(super) struct Frames<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    within: bool,
}

/// Why an undamaged frame cannot be decoded here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It needs a window of so many bytes.
    Window {
        bytes: u64,
    },
    /// It was made with a dictionary.
    Dictionary,
    NotZstd,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(source: R) -> Frames<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Frames {
            source: BufReader::new(source),
            decoder,
            within: false,
        }
    }

    pub(super) fn source(&self) -> &R {
        self.source.get_ref()
    }

    /// Reads up to the next frame that has content; false if there is none.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut frame = (&mut self.source).take(length.into());
                    io::copy(&mut frame, &mut io::sink())?;
                }
                Err(error) => return Err(why_not(error)),
            }
        }
        Ok(false)
    }

    /// Decodes until there is something to read or the frame is over.
    fn decode(&mut self) -> io::Result<()> {
        while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
            self.decoder
                .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(io::Error::other)?;
        }
        Ok(())
    }
}

fn why_not(error: FrameDecoderError) -> io::Error {
    let unreadable = match error {
        FrameDecoderError::WindowSizeTooBig { requested, .. } => {
            Unreadable::Window { bytes: requested }
        }
        FrameDecoderError::FrameHeaderError(FrameHeaderError::WindowTooBig { got }) => {
            Unreadable::Window { bytes: got }
        }
        FrameDecoderError::DictNotProvided { .. } => Unreadable::Dictionary,
        FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::BadMagicNumber(_)) => {
            Unreadable::NotZstd
        }
        other => return io::Error::other(other),
    };
    io::Error::other(unreadable)
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within && !self.begin()? {
                return Ok(0);
            }
            self.within = true;
            self.decode()?;
            let n = self.decoder.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            self.within = false;
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Window { bytes } => write!(
                f,
                "it needs a window of {} MiB, and at most {} MiB are read: pack it with zstd --long=27 or less",
                bytes.div_ceil(1 << 20),
                WINDOW_BYTES_MAX >> 20
            ),
            Unreadable::Dictionary => {
                f.write_str("it needs a dictionary, which this program does not have")
            }
            Unreadable::NotZstd => f.write_str("it is not zstd"),
        }
    }
}

impl std::error::Error for Unreadable {}
