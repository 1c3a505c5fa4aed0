//! Reading a tarball that anybody may have made, for the one thing in it that we want to know.
//!
//! 1. Nothing is unpacked, and a name in the archive names nothing on our disk.
//! 2. No number in the archive decides how much is allocated: the window, a long name and
//!    `meta.json` have their limits, and so has the whole of what is looked at.
//! 3. The first regular file called `meta.json` or `<directory>/meta.json` counts. A link or a
//!    device of that name, one deeper down, and one whose path is absolute or has `..` do not.
//!
//! The road not taken is the tar crate's `Archive`: it reads long names without a limit, and looks
//! into the sparse maps that we only want to step over.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::panic::{self, AssertUnwindSafe};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use tar::{EntryType, Header};

use super::META_NAME;
use super::meta::{BadMeta, META_BYTES_MAX, Meta};

/// The most that is decompressed, and the most that is read, in search of the `meta.json`. Ours
/// is the first entry; an archive by another hand may have it anywhere, and a bomb nowhere.
const LOOKED_AT_BYTES_MAX: u64 = 1 << 30;

/// What `zstd -19` needs.
const WINDOW_BYTES_MAX: u64 = 8 << 20;

/// The most bytes that say the name of one entry.
const NAME_BYTES_MAX: u64 = 64 << 10;

const BLOCK_BYTES: u64 = 512;

/// Reads the `code_version` from the `meta.json` of a tar.zst.
pub fn read_meta(tarball: impl Read) -> Result<Meta, ReadError> {
    read_meta_within(tarball, LOOKED_AT_BYTES_MAX)
}

pub(super) fn read_meta_within(tarball: impl Read, bytes_max: u64) -> Result<Meta, ReadError> {
    // The decoder holds itself to its format by assertions, and the bytes are a stranger's. A
    // panic here would be a receiver that cannot recover, at every start.
    panic::catch_unwind(AssertUnwindSafe(|| {
        meta_in_tar(Frames::new(tarball.take(bytes_max)).take(bytes_max))
    }))
    .unwrap_or(Err(ReadError::Damaged("the decoder gave up on it")))
}

pub(super) fn meta_in_tar(tar: impl Read) -> Result<Meta, ReadError> {
    let json = Tar::new(tar).find_meta()?;
    Meta::parse(&json).map_err(ReadError::Meta)
}

/// The entries of an archive, one header after the other.
struct Tar<R> {
    stream: R,
}

impl<R: Read> Tar<R> {
    fn new(stream: R) -> Tar<R> {
        Tar { stream }
    }

    fn find_meta(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut extended = Extended::default();
        while let Some(header) = self.next_header()? {
            let bytes = header.entry_size().map_err(|_| BAD_HEADER)?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    let name = self.read_description(bytes)?;
                    extended.name = name.split(|&b| b == 0).next().map(<[u8]>::to_vec);
                }
                EntryType::XHeader => extended.add_pax(&self.read_description(bytes)?)?,
                EntryType::GNULongLink | EntryType::XGlobalHeader => self.skip(padded(bytes)?)?,
                kind => {
                    let Extended { name, bytes: pax } = std::mem::take(&mut extended);
                    let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
                    let bytes = pax.unwrap_or(bytes);
                    if kind.is_file() && is_meta_name(&name) {
                        return self.read_content(bytes);
                    }
                    self.skip_sparse_maps(&header)?;
                    self.skip(padded(bytes)?)?;
                }
            }
        }
        Err(ReadError::NoMeta)
    }

    /// The next header, or `None` at the archive's end.
    fn next_header(&mut self) -> Result<Option<Header>, ReadError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        match self.stream.read(&mut block[..1])? {
            0 => return Ok(None),
            _ => self.stream.read_exact(&mut block[1..])?,
        }
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let stated = header.cksum().map_err(|_| BAD_HEADER)?;
        if checksum(header.as_bytes()) != stated {
            return Err(BAD_HEADER);
        }
        Ok(Some(header))
    }

    fn read_content(&mut self, bytes: u64) -> Result<Vec<u8>, ReadError> {
        if bytes > META_BYTES_MAX {
            return Err(ReadError::Meta(BadMeta::TooLarge));
        }
        let mut content = vec![0; bytes as usize];
        self.stream.read_exact(&mut content)?;
        Ok(content)
    }

    /// The content of an entry that describes the next one.
    fn read_description(&mut self, bytes: u64) -> Result<Vec<u8>, ReadError> {
        if bytes > NAME_BYTES_MAX {
            return Err(ReadError::Damaged("a name in it is longer than any name"));
        }
        let mut name = vec![0; bytes as usize];
        self.stream.read_exact(&mut name)?;
        self.skip(padded(bytes)? - bytes)?;
        Ok(name)
    }

    /// The blocks between a GNU sparse file's header and its data: each says if one more follows.
    fn skip_sparse_maps(&mut self, header: &Header) -> Result<(), ReadError> {
        const FOLLOWED_BY_ONE_MORE: usize = 504;
        let mut more = header.entry_type().is_gnu_sparse()
            && header.as_gnu().is_some_and(|gnu| gnu.is_extended());
        while more {
            let mut map = [0; BLOCK_BYTES as usize];
            self.stream.read_exact(&mut map)?;
            more = map[FOLLOWED_BY_ONE_MORE] != 0;
        }
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), ReadError> {
        let skipped = io::copy(&mut (&mut self.stream).take(bytes), &mut io::sink())?;
        if skipped < bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }
}

/// What extension headers say of the entry that follows them.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    bytes: Option<u64>,
}

impl Extended {
    /// Takes `path` and `size` from records of the form `LENGTH KEY=VALUE\n`.
    fn add_pax(&mut self, mut records: &[u8]) -> Result<(), ReadError> {
        const BAD: ReadError = ReadError::Damaged("an extended header in it is malformed");
        while !records.is_empty() {
            let space = records.iter().position(|&b| b == b' ').ok_or(BAD)?;
            let length: usize = parse(&records[..space]).ok_or(BAD)?;
            let record = records.get(space + 1..length).ok_or(BAD)?;
            records = &records[length..];
            let record = record.strip_suffix(b"\n").ok_or(BAD)?;
            let equals = record.iter().position(|&b| b == b'=').ok_or(BAD)?;
            match (&record[..equals], &record[equals + 1..]) {
                (b"path", path) => self.name = Some(path.to_vec()),
                (b"size", size) => self.bytes = Some(parse(size).ok_or(BAD)?),
                _ => {}
            }
        }
        Ok(())
    }
}

fn parse<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `meta.json` or `<directory>/meta.json`, `.` components aside.
fn is_meta_name(name: &[u8]) -> bool {
    if name.starts_with(b"/") {
        return false;
    }
    let mut parts = name.split(|&b| b == b'/').filter(|&part| part != b".");
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    let meta = Some(META_NAME.as_bytes());
    match second {
        None => first == meta,
        Some(_) => second == meta && third.is_none() && first != Some(b"..") && first != Some(b""),
    }
}

/// The sum of a header's bytes, its checksum field counted as blanks.
fn checksum(block: &[u8; BLOCK_BYTES as usize]) -> u32 {
    let counted = |(i, &byte): (usize, &u8)| match i {
        148..156 => u32::from(b' '),
        _ => u32::from(byte),
    };
    block.iter().enumerate().map(counted).sum()
}

fn padded(bytes: u64) -> Result<u64, ReadError> {
    bytes
        .checked_next_multiple_of(BLOCK_BYTES)
        .ok_or(BAD_HEADER)
}

/// The content of Zstandard frames, one after the other. Skippable frames (RFC 8878, section 3.1.2)
/// are skipped.
struct Frames<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: Read> Frames<R> {
    fn new(source: R) -> Frames<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Frames {
            source: BufReader::new(source),
            decoder,
            within: false,
        }
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
                Err(error) => return Err(io::Error::other(error)),
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

const BAD_HEADER: ReadError = ReadError::Damaged("a tar header in it is damaged");

/// Why a tarball does not say which code made its episode.
#[derive(Debug)]
pub enum ReadError {
    /// It cannot be read, is no zstd, is cut short, or goes on for longer than is looked at.
    Io(io::Error),
    Damaged(&'static str),
    /// Its end was reached, or as much was looked at as ever is.
    NoMeta,
    Meta(BadMeta),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the tarball is cut short, or too large to look for its meta.json")
            }
            ReadError::Io(error) => write!(f, "cannot read the tarball: {error}"),
            ReadError::Damaged(what) => write!(f, "the tarball is no tar.zst of ours: {what}"),
            ReadError::NoMeta => write!(
                f,
                "the tarball has no meta.json in its first {} MiB",
                LOOKED_AT_BYTES_MAX >> 20
            ),
            ReadError::Meta(bad) => write!(f, "the tarball's {bad}"),
        }
    }
}

impl std::error::Error for ReadError {}

#[cfg(test)]
mod tests;
