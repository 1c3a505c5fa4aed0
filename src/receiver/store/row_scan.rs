//! A reader of rows that knows the one form in which this program writes them, and so takes a tenth of
//! the parser's time: a start reads every row, and needs five members of each.
//!
//! 1. A line that this reader accepts is a receipt for the parser too, with the same members. The
//!    property below and the fuzz target `index` hold both against each other.
//! 2. Any other line is the parser's to judge: other members, another order, spaces, escapes, odd
//!    values. So nothing is refused here.

use crate::wire::RowBrief;

/// Longer numbers are the parser's: all of so many digits are below the largest number of a row.
const DIGITS_MAX: usize = 18;
const HOST_BYTES_MAX: usize = 63;
const EPISODE_BYTES_MAX: usize = 128;
const TIME_BYTES: usize = b"2026-11-23T23:46:12Z".len();

/// The row that `bytes` begins with, and its length up to and with its last brace; `None` if the bytes
/// begin with anything but a whole row in our form.
///
///     {"seq":1,"host":"h","episode":"e","bytes":1,"sha256":"..","commit":"..","dirty":false,
///      "received_at":"..","path":"episodes/h/e.tar.zst",
///      "gate":{"position":1,"head_commit":"..","source":"git"}}
///
/// All members but `host`, `episode` and `sha256` may be null.
pub(super) fn scan(bytes: &[u8]) -> Option<(RowBrief<'_>, usize)> {
    let mut row = Cursor { bytes, at: 0 };
    row.literal(b"{\"seq\":")?;
    let seq = row.number()?;
    row.literal(b",\"host\":\"")?;
    let host = row.name(IN_HOST, HOST_BYTES_MAX)?;
    row.literal(b",\"episode\":\"")?;
    let episode = row.name(IN_EPISODE, EPISODE_BYTES_MAX)?;
    if has_reserved_ending(episode) {
        return None;
    }
    row.literal(b",\"bytes\":")?;
    let bytes = row.number()?;
    row.literal(b",\"sha256\":\"")?;
    row.hex(64)?;
    row.literal(b"\",\"commit\":")?;
    row.commit()?;
    row.literal(b",\"dirty\":")?;
    row.truth()?;
    row.literal(b",\"received_at\":")?;
    let received_at = row.time()?;
    row.literal(b",\"path\":")?;
    row.path(host, episode)?;
    row.literal(b",\"gate\":")?;
    row.gate()?;
    row.literal(b"}")?;
    let brief = RowBrief {
        seq,
        host: str::from_utf8(host).ok()?,
        episode: str::from_utf8(episode).ok()?,
        bytes,
        received_at: match received_at {
            Some(time) => Some(str::from_utf8(time).ok()?),
            None => None,
        },
    };
    Some((brief, row.at))
}

/// Which bytes are in which texts: a bit for each kind of text.
const IN_HOST: u8 = 1;
const IN_EPISODE: u8 = 2;
const IN_TIME: u8 = 4;
const KINDS: [u8; 256] = kinds();

const fn kinds() -> [u8; 256] {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => IN_HOST | IN_EPISODE | IN_TIME,
            b'-' => IN_HOST | IN_EPISODE | IN_TIME,
            b'a'..=b'z' => IN_HOST | IN_EPISODE,
            b'T' | b'Z' => IN_EPISODE | IN_TIME,
            b'A'..=b'Z' | b'.' | b'_' => IN_EPISODE,
            b':' => IN_TIME,
            _ => 0,
        };
        byte += 1;
    }
    kinds
}

fn is_of(kind: u8, byte: u8) -> bool {
    KINDS[usize::from(byte)] & kind != 0
}

/// The endings of our own files, which no episode may have (`names`).
fn has_reserved_ending(episode: &[u8]) -> bool {
    let Some(dot) = episode.iter().rposition(|byte| *byte == b'.') else {
        return false;
    };
    matches!(&episode[dot..], b".json" | b".zst" | b".partial")
}

/// A place in the bytes of a row. Each method reads one part and goes on behind it, or gives up.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The size is constant, so that the comparison takes a few instructions and no call.
    #[inline(always)]
    fn literal<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let found: &[u8; N] = self.bytes.get(self.at..)?.first_chunk()?;
        if found != text {
            return None;
        }
        self.at += N;
        Some(())
    }

    fn is_null(&mut self) -> bool {
        self.literal(b"null").is_some()
    }

    /// A number as a number is written, or null.
    fn number(&mut self) -> Option<Option<u64>> {
        let begin = self.at;
        let mut number = 0;
        while let Some(byte) = self.bytes.get(self.at)
            && byte.is_ascii_digit()
            && self.at - begin < DIGITS_MAX
        {
            number = number * 10 + u64::from(byte - b'0');
            self.at += 1;
        }
        match self.at - begin {
            0 => self.is_null().then_some(None),
            // JSON has no number that begins with a zero but zero.
            length if self.bytes[begin] == b'0' && length > 1 => None,
            _ => Some(Some(number)),
        }
    }

    /// A text of that kind that begins with a letter or a digit; its quotation mark at the end is read
    /// too.
    fn name(&mut self, kind: u8, length_max: usize) -> Option<&'a [u8]> {
        let begin = self.at;
        while is_of(kind, *self.bytes.get(self.at)?) {
            self.at += 1;
        }
        let name = &self.bytes[begin..self.at];
        if !name.first()?.is_ascii_alphanumeric() || length_max < name.len() {
            return None;
        }
        self.literal(b"\"")?;
        Some(name)
    }

    /// Lowercase hex digits, eight at once; `length` is a multiple of eight.
    fn hex(&mut self, length: usize) -> Option<()> {
        let end = self.at + length;
        while self.at < end {
            let eight = self.bytes.get(self.at..)?.first_chunk()?;
            if !are_hex(*eight) {
                return None;
            }
            self.at += 8;
        }
        Some(())
    }

    /// A commit, or null.
    fn commit(&mut self) -> Option<()> {
        if self.is_null() {
            return Some(());
        }
        self.literal(b"\"")?;
        self.hex(40)?;
        if self.literal(b"\"").is_some() {
            return Some(());
        }
        self.hex(24)?;
        self.literal(b"\"")
    }

    fn truth(&mut self) -> Option<()> {
        self.literal(b"false")
            .or_else(|| self.literal(b"true"))
            .or_else(|| self.literal(b"null"))
    }

    /// A text as long as a time and of its characters, or null. Whether it is a time is for its reader.
    fn time(&mut self) -> Option<Option<&'a [u8]>> {
        if self.is_null() {
            return Some(None);
        }
        self.literal(b"\"")?;
        let time = self.bytes.get(self.at..self.at + TIME_BYTES)?;
        if !time.iter().all(|byte| is_of(IN_TIME, *byte)) {
            return None;
        }
        self.at += TIME_BYTES;
        self.literal(b"\"")?;
        Some(Some(time))
    }

    /// Where the store puts the episode, or null.
    fn path(&mut self, host: &[u8], episode: &[u8]) -> Option<()> {
        if self.is_null() {
            return Some(());
        }
        self.literal(b"\"episodes/")?;
        self.part(host)?;
        self.literal(b"/")?;
        self.part(episode)?;
        self.literal(b".tar.zst\"")
    }

    fn part(&mut self, text: &[u8]) -> Option<()> {
        if !self.bytes.get(self.at..)?.starts_with(text) {
            return None;
        }
        self.at += text.len();
        Some(())
    }

    fn gate(&mut self) -> Option<()> {
        if self.is_null() {
            return Some(());
        }
        self.literal(b"{\"position\":")?;
        self.number()?;
        self.literal(b",\"head_commit\":")?;
        self.commit()?;
        self.literal(b",\"source\":")?;
        if !self.is_null() {
            self.literal(b"\"")?;
            self.name(IN_HOST, HOST_BYTES_MAX)?;
        }
        self.literal(b"}")
    }
}

/// Whether all eight are lowercase hex digits. In each byte, adding sets the highest bit if the byte is
/// at least so large; a byte beyond ASCII has it from the beginning.
fn are_hex(eight: [u8; 8]) -> bool {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    let word = u64::from_le_bytes(eight);
    let at_least = |byte: u8| word.wrapping_add(each(0x80 - byte));
    let digits = at_least(b'0') & !at_least(b'9' + 1);
    let letters = at_least(b'a') & !at_least(b'f' + 1);
    (digits | letters) & !word & each(0x80) == each(0x80)
}

#[cfg(test)]
mod tests;
