//! `index.jsonl` as lines: read in one pass, in bounded memory, for any content.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::wire::Receipt;

/// Ours have under 1 KiB. A longer line is no receipt.
const ROW_BYTES_MAX: usize = 64 << 10;

/// The largest number of a row: what other programs keep in a signed integer.
pub(crate) const SEQ_MAX: u64 = i64::MAX as u64;

/// One line, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length, the line break included.
    pub length: u64,
    /// The text without the line break; `None` if it is longer than any receipt.
    pub text: Option<&'a [u8]>,
    /// Whether it ends in a line break and holds no NUL: what a power cut leaves lacks one of the two.
    pub whole: bool,
}

impl Line<'_> {
    /// Whether it says nothing, as an editor or a merge by hand leaves some: no fault of anything.
    pub(crate) fn is_blank(&self) -> bool {
        self.text
            .is_some_and(|text| text.iter().all(u8::is_ascii_whitespace))
    }
}

/// Shows every line of `file` to `visit`, in order. The file is read from its beginning.
pub(crate) fn each_line(file: &File, mut visit: impl FnMut(&Line)) -> io::Result<()> {
    each_line_of(file, 0..u64::MAX, |line| {
        visit(line);
        true
    })
}

/// Shows the lines of a part of `file` to `visit`, in order, for as long as that says so. The part
/// begins where a line does.
pub(crate) fn each_line_of(
    file: &File,
    part: Range<u64>,
    mut visit: impl FnMut(&Line) -> bool,
) -> io::Result<()> {
    let mut offset = part.start;
    let from_start = FromStart { file, offset };
    let mut reader =
        BufReader::with_capacity(ROW_BYTES_MAX, from_start.take(part.end - part.start));
    let mut text = Vec::new();
    while let Some(line) = next_line(&mut reader, &mut text, offset)? {
        offset += line.length;
        if !visit(&line) {
            return Ok(());
        }
    }
    Ok(())
}

/// The line that these bytes are, with its line break, if they begin at `offset`.
pub(crate) fn line_of(offset: u64, with_break: &[u8]) -> Line<'_> {
    let ended = with_break.ends_with(b"\n");
    let text = with_break.strip_suffix(b"\n").unwrap_or(with_break);
    Line {
        offset,
        length: with_break.len() as u64,
        text: is_short(text).then_some(text),
        whole: ended && !text.contains(&0),
    }
}

/// Whether a line of this text may be a receipt by its length.
fn is_short(text: &[u8]) -> bool {
    text.len() <= ROW_BYTES_MAX
}

/// The receipt that begins at `offset`; `None` if the line there is no receipt.
pub(crate) fn read_row(file: &File, offset: u64) -> io::Result<Option<Receipt>> {
    let mut reader = BufReader::with_capacity(2048, FromStart { file, offset });
    let mut text = Vec::new();
    let line = next_line(&mut reader, &mut text, offset)?;
    Ok(line.and_then(|line| parse(&line).ok()))
}

/// Errors say why the line is no receipt. A number that is too large is none.
pub(crate) fn parse(line: &Line) -> Result<Receipt, String> {
    Ok(parse_numbered(line)?.0)
}

/// The receipt, and its number if that is too large to count.
pub(crate) fn parse_numbered(line: &Line) -> Result<(Receipt, Option<u64>), String> {
    let Some(text) = line.text else {
        return Err(format!("a line of {} bytes is not a receipt", line.length));
    };
    let mut row: Receipt = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let too_large = row.seq.filter(|seq| SEQ_MAX < *seq);
    if too_large.is_some() {
        row.seq = None;
    }
    Ok((row, too_large))
}

/// Reads up to and with the next line break. `text` is the memory that the line is kept in.
fn next_line<'a>(
    reader: &mut impl BufRead,
    text: &'a mut Vec<u8>,
    offset: u64,
) -> io::Result<Option<Line<'a>>> {
    text.clear();
    let mut length = 0;
    let mut nul = false;
    let mut ended = false;
    while !ended {
        let held = reader.fill_buf()?;
        if held.is_empty() {
            break;
        }
        let line_break = held.iter().position(|&b| b == b'\n');
        let part = &held[..line_break.unwrap_or(held.len())];
        ended = line_break.is_some();
        nul |= part.contains(&0);
        let room = (ROW_BYTES_MAX + 1).saturating_sub(text.len());
        text.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(ended);
        length += used as u64;
        reader.consume(used);
    }
    if length == 0 {
        return Ok(None);
    }
    Ok(Some(Line {
        offset,
        length,
        whole: ended && !nul,
        text: is_short(text).then_some(text),
    }))
}

/// Reads by position, so that readers share one descriptor and never move one another.
struct FromStart<'a> {
    file: &'a File,
    offset: u64,
}

impl io::Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<(u64, u64, bool, bool)> {
        let mut reader = BufReader::with_capacity(7, bytes);
        let (mut text, mut offset, mut found) = (Vec::new(), 0, Vec::new());
        while let Some(line) = next_line(&mut reader, &mut text, offset).unwrap() {
            found.push((line.offset, line.length, line.whole, line.text.is_some()));
            offset += line.length;
        }
        found
    }

    #[test]
    fn a_line_is_whole_when_it_ends_and_has_no_nul() {
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\n"), [(0, 1, true, true)]);
        assert_eq!(
            lines(b"one\nsecond line\nthi"),
            [
                (0, 4, true, true),
                (4, 12, true, true),
                (16, 3, false, true)
            ]
        );
        assert_eq!(
            lines(b"one\n\0\0\0\0\0\0\0\0\0\0x\ntwo\n"),
            [
                (0, 4, true, true),
                (4, 12, false, true),
                (16, 4, true, true)
            ]
        );
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut long = vec![b'x'; 1 << 20];
        long.extend_from_slice(b"\nrow\n");
        assert_eq!(
            lines(&long),
            [
                (0, (1 << 20) + 1, true, false),
                ((1 << 20) + 1, 4, true, true)
            ]
        );
    }
}
