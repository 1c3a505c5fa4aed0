//! The content of zstd frames, one after the other; what is not content is skipped.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, FrameHeaderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What `zstd --ultra -22` and `zstd --long` need, and what the zstd program itself decodes unless it
/// is told to. The decoder allocates the window and 256 KiB, once for all frames, and the system gives
/// it the pages that are written: as much as is decoded up to the `meta.json`. So ours, which has it
/// first, costs a few blocks, and only an archive with 128 MiB of data before it costs all of them.
/// One tarball is read at a time.
const WINDOW_BYTES_MAX: u64 = 128 << 20;

pub(super) struct Frames<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    within: bool,
}

/// A frame cannot be decoded, whole as it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It refers back over so many bytes.
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

    /// Goes to the next frame that has content; false if there is none.
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
                f.write_str("it was packed with a dictionary, which is not here")
            }
            Unreadable::NotZstd => f.write_str("it is not zstd"),
        }
    }
}

impl std::error::Error for Unreadable {}
