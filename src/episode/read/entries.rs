//! The entries of a tar, as GNU tar, bsdtar and Python's tarfile read them: v7, ustar, pax and GNU
//! headers, up to the one entry that is looked for.
//!
//! Only these fields of a header are read: the checksum, the name, the kind, and the size of a kind that
//! has one. All other fields may be blank or odd.

use std::io::{self, Read};

use super::super::META_NAME;
use super::super::meta::{BadMeta, META_BYTES_MAX};
use super::{BAD_HEADER, ReadError};

const BLOCK_BYTES: u64 = 512;
type Block = [u8; BLOCK_BYTES as usize];

/// The most bytes of one entry's name.
const NAME_BYTES_MAX: u64 = 64 << 10;

/// The most digits of a pax record's length, and the longest key that is compared: no key that is used
/// here is longer.
const LENGTH_DIGITS_MAX: usize = 20;
const KEY_BYTES_MAX: usize = 16;

/// The entries of an archive, one header after the other.
pub(super) struct Entries<R> {
    stream: R,
    /// A header that was read ahead, to see whether the entry before it has a body.
    ahead: Option<Box<Block>>,
}

impl<R: Read> Entries<R> {
    pub(super) fn new(stream: R) -> Entries<R> {
        Entries {
            stream,
            ahead: None,
        }
    }

    /// The content of the first `meta.json`.
    pub(super) fn find_meta(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut of_all = Extended::default();
        let mut of_next = Extended::default();
        while let Some(header) = self.next_header()? {
            match header.kind() {
                b'L' => {
                    let name = self.read_description(header.stated_bytes()?)?;
                    of_next.name = name.split(|&b| b == 0).next().map(<[u8]>::to_vec);
                }
                // Solaris writes X for x.
                b'x' | b'X' => self.read_pax(header.stated_bytes()?, &mut of_next)?,
                b'g' => self.read_pax(header.stated_bytes()?, &mut of_all)?,
                // A long link name, an access list, a volume's label: of no use here.
                b'K' | b'A' | b'V' => self.skip(padded(header.stated_bytes()?)?)?,
                kind => {
                    let Extended { name, bytes } = std::mem::take(&mut of_next).or(&of_all);
                    let stated_bytes = |header: &Header| match bytes {
                        Some(bytes) => Ok(bytes),
                        None => header.stated_bytes(),
                    };
                    if is_bodyless(kind) {
                        self.skip_odd_body(stated_bytes(&header).unwrap_or(0))?;
                        continue;
                    }
                    let bytes = stated_bytes(&header)?;
                    if is_file(kind) && is_meta_name(&name.unwrap_or_else(|| header.name())) {
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
        let block = match self.ahead.take() {
            Some(block) => *block,
            None => match self.next_block()? {
                Some(block) => block,
                None => return Ok(None),
            },
        };
        if is_end(&block) {
            return Ok(None);
        }
        if !Header(block).is_whole() {
            return Err(BAD_HEADER);
        }
        Ok(Some(Header(block)))
    }

    /// The next block; `None` at the end of the stream.
    fn next_block(&mut self) -> Result<Option<Block>, ReadError> {
        let mut block = [0; BLOCK_BYTES as usize];
        match self.stream.read(&mut block[..1])? {
            0 => return Ok(None),
            _ => self.stream.read_exact(&mut block[1..])?,
        }
        Ok(Some(block))
    }

    /// Skips the body of a link, device or directory, which should have none whatever its size says:
    /// some writers put the size of the link's target there. Only if no header follows is there a body.
    fn skip_odd_body(&mut self, stated_bytes: u64) -> Result<(), ReadError> {
        if stated_bytes == 0 {
            return Ok(());
        }
        let Some(block) = self.next_block()? else {
            return Ok(());
        };
        if is_end(&block) || Header(block).is_whole() {
            self.ahead = Some(Box::new(block));
            return Ok(());
        }
        self.skip(padded(stated_bytes)? - BLOCK_BYTES)
    }

    fn read_content(&mut self, bytes: u64) -> Result<Vec<u8>, ReadError> {
        if bytes > META_BYTES_MAX {
            return Err(ReadError::Meta(BadMeta::TooLarge));
        }
        let mut content = vec![0; bytes as usize];
        self.stream.read_exact(&mut content)?;
        Ok(content)
    }

    /// Reads the content of an entry that describes the next entry.
    fn read_description(&mut self, bytes: u64) -> Result<Vec<u8>, ReadError> {
        if bytes > NAME_BYTES_MAX {
            return Err(NAME_TOO_LONG);
        }
        let mut name = vec![0; bytes as usize];
        self.stream.read_exact(&mut name)?;
        self.skip(padded(bytes)? - bytes)?;
        Ok(name)
    }

    /// Reads `path` and `size` from records of the form `LENGTH KEY=VALUE\n`. All others are skipped:
    /// they may have megabytes of attributes.
    fn read_pax(&mut self, bytes: u64, extended: &mut Extended) -> Result<(), ReadError> {
        let mut left = bytes;
        while left > 0 {
            let record = self.begin_record(left)?;
            left -= record.bytes;
            let value_bytes = record.value_bytes;
            if value_bytes > NAME_BYTES_MAX && matches!(&record.key[..], b"path" | b"size") {
                return Err(NAME_TOO_LONG);
            }
            match &record.key[..] {
                b"path" => {
                    let path = self.read_value(value_bytes)?;
                    // An empty value withdraws the path that an earlier record gave.
                    extended.name = if path.is_empty() { None } else { Some(path) };
                }
                b"size" => {
                    let size = self.read_value(value_bytes)?;
                    extended.bytes = if size.is_empty() {
                        None
                    } else {
                        Some(parse(&size).ok_or(BAD_RECORD)?)
                    };
                }
                _ => self.skip(value_bytes)?,
            }
            if self.read_byte()? != b'\n' {
                return Err(BAD_RECORD);
            }
        }
        self.skip(padded(bytes)? - bytes)
    }

    /// Reads a record up to its value. The record has at most `bytes_max` bytes.
    fn begin_record(&mut self, bytes_max: u64) -> Result<Record, ReadError> {
        let mut digits = Vec::new();
        loop {
            match self.read_byte()? {
                b' ' => break,
                digit if digits.len() < LENGTH_DIGITS_MAX => digits.push(digit),
                _ => return Err(BAD_RECORD),
            }
        }
        let bytes: u64 = parse(&digits).ok_or(BAD_RECORD)?;
        if bytes > bytes_max {
            return Err(BAD_RECORD);
        }
        let mut left = bytes
            .checked_sub(digits.len() as u64 + 1)
            .ok_or(BAD_RECORD)?;
        let mut key = Vec::new();
        // The last byte of a record is its newline.
        while left > 1 && key.len() < KEY_BYTES_MAX {
            left -= 1;
            match self.read_byte()? {
                b'=' => {
                    return Ok(Record {
                        bytes,
                        key,
                        value_bytes: left - 1,
                    });
                }
                byte => key.push(byte),
            }
        }
        if left <= 1 {
            return Err(BAD_RECORD);
        }
        Ok(Record {
            bytes,
            key: Vec::new(),
            value_bytes: left - 1,
        })
    }

    fn read_value(&mut self, bytes: u64) -> Result<Vec<u8>, ReadError> {
        let mut value = vec![0; bytes as usize];
        self.stream.read_exact(&mut value)?;
        Ok(value)
    }

    fn read_byte(&mut self) -> Result<u8, ReadError> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// Skips the blocks between a GNU sparse file's header and its data. Each says whether another follows.
    fn skip_sparse_maps(&mut self, header: &Header) -> Result<(), ReadError> {
        const FOLLOWED_BY_ONE_MORE: usize = 504;
        let mut more = header.has_sparse_map();
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

const BAD_RECORD: ReadError = ReadError::Damaged("an extended header in it is malformed");
const NAME_TOO_LONG: ReadError = ReadError::Damaged("a name in it is longer than any name");

/// One record of an extended header, up to its value.
struct Record {
    /// The bytes of the whole record, with its length and its newline.
    bytes: u64,
    /// Empty if the key is longer than [`KEY_BYTES_MAX`].
    key: Vec<u8>,
    value_bytes: u64,
}

/// The name and size that extension headers give to the next entry, or to all that follow.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    bytes: Option<u64>,
}

impl Extended {
    fn or(self, of_all: &Extended) -> Extended {
        Extended {
            name: self.name.or_else(|| of_all.name.clone()),
            bytes: self.bytes.or(of_all.bytes),
        }
    }
}

struct Header(Block);

impl Header {
    /// Whether the checksum is right: the sum of all bytes, with the checksum's own field counted as
    /// blanks. Old programs added up signed bytes.
    fn is_whole(&self) -> bool {
        let mut unsigned = 0i64;
        let mut signed = 0i64;
        for (i, &byte) in self.0.iter().enumerate() {
            let byte = if (148..156).contains(&i) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        let stated = number(&self.0[148..156]).and_then(|sum| i64::try_from(sum).ok());
        stated.is_some_and(|sum| sum == unsigned || sum == signed)
    }

    fn kind(&self) -> u8 {
        self.0[156]
    }

    fn stated_bytes(&self) -> Result<u64, ReadError> {
        number(&self.0[124..136]).ok_or(BAD_HEADER)
    }

    /// The name, with the prefix that a POSIX header may have before it.
    fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        let prefix = until_nul(&self.0[345..500]);
        let is_posix = &self.0[257..263] == b"ustar\0";
        if is_posix && !prefix.is_empty() {
            [prefix, b"/", name].concat()
        } else {
            name.to_vec()
        }
    }

    fn has_sparse_map(&self) -> bool {
        const IS_EXTENDED: usize = 482;
        self.kind() == b'S' && self.0[IS_EXTENDED] != 0
    }
}

/// Links, devices, directories and pipes.
fn is_bodyless(kind: u8) -> bool {
    matches!(kind, b'1'..=b'6')
}

/// A regular file in v7 and in all later formats, or a contiguous one.
fn is_file(kind: u8) -> bool {
    matches!(kind, 0 | b'0' | b'7')
}

fn is_end(block: &Block) -> bool {
    block.iter().all(|&byte| byte == 0)
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(field)
}

/// The number in a header's field: octal digits between blanks, or GNU's base 256. A field that is
/// blank is 0, as an unused one may be. `None` if it is neither, or negative.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, digits @ ..] = field {
        return digits.iter().try_fold(0u64, |sum, &digit| {
            sum.checked_mul(256).map(|sum| sum | u64::from(digit))
        });
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let begin = field.iter().position(|byte| !is_blank(byte));
    let digits = &field[begin.unwrap_or(field.len())..];
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0u64, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        sum.checked_mul(8).map(|sum| sum | u64::from(digit))
    })
}

fn parse<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether a name is `meta.json` or `<directory>/meta.json`; components `.` do not count.
fn is_meta_name(name: &[u8]) -> bool {
    if name.starts_with(b"/") {
        return false;
    }
    let mut parts = name.split(|&b| b == b'/').filter(|&part| part != b".");
    let first = parts.next();
    let second = parts.next();
    let third = parts.next();
    let meta = Some(META_NAME.as_bytes());
    match second {
        None => first == meta,
        Some(_) => second == meta && third.is_none() && first != Some(b"..") && first != Some(b""),
    }
}

fn padded(bytes: u64) -> Result<u64, ReadError> {
    bytes
        .checked_next_multiple_of(BLOCK_BYTES)
        .ok_or(BAD_HEADER)
}
