//! `index.jsonl` as lines: read in one pass, in bounded memory, for any content.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::row_scan;
use crate::wire::{Receipt, RowBrief};

/// Ours have under 1 KiB. A longer line is no receipt.
const ROW_BYTES_MAX: usize = 64 << 10;

/// So many bytes are read at once where one row is looked up, and where all are.
const ROW_BYTES: usize = 2048;
const PASS_BYTES: usize = 128 << 10;

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

    /// What the line says, if it is a row as this program writes rows.
    fn brief(&self) -> Option<RowBrief<'_>> {
        let text = if self.whole { self.text? } else { return None };
        let (brief, length) = row_scan::scan(text)?;
        (length == text.len()).then_some(brief)
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
    let mut lines = Lines::new(file, part, PASS_BYTES);
    while let Some(line) = lines.next()? {
        if !visit(&line) {
            return Ok(());
        }
    }
    Ok(())
}

/// As [`each_line`], and a line that is a row as this program writes rows is shown with what it says.
/// Any other line may be a row too: [`parse`] knows.
pub(crate) fn each_row(
    file: &File,
    mut visit: impl FnMut(&Line, Option<RowBrief>),
) -> io::Result<()> {
    let mut lines = Lines::new(file, 0..u64::MAX, PASS_BYTES);
    loop {
        while let Some((line, brief)) = lines.row() {
            visit(&line, Some(brief));
            let length = line.length;
            lines.go_on(length as usize);
        }
        // No such row, or its end is not read yet.
        let Some(line) = lines.next()? else {
            return Ok(());
        };
        visit(&line, line.brief());
    }
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
    let mut lines = Lines::new(file, offset..u64::MAX, ROW_BYTES);
    Ok(lines.next()?.and_then(|line| parse(&line).ok()))
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

/// The lines of a file from an offset on. They are read by position, so that readers share one
/// descriptor and never move one another.
struct Lines<'a> {
    file: &'a File,
    /// Where the next line begins in the file.
    offset: u64,
    /// Nothing from here on is read.
    end: u64,
    /// The bytes in `held` are read and not shown yet.
    buffer: Vec<u8>,
    held: Range<usize>,
}

impl Lines<'_> {
    /// Reads `room` bytes at once, and more where a line is longer.
    fn new(file: &File, part: Range<u64>, room: usize) -> Lines<'_> {
        Lines {
            file,
            offset: part.start,
            end: part.end,
            buffer: vec![0; room],
            held: 0..0,
        }
    }

    fn held(&self) -> &[u8] {
        &self.buffer[self.held.clone()]
    }

    /// The next line, if all of it is held and it is a row in our form. [`Lines::go_on`] leaves it.
    fn row(&self) -> Option<(Line<'_>, RowBrief<'_>)> {
        let held = self.held();
        let (brief, length) = row_scan::scan(held)?;
        if held.get(length) != Some(&b'\n') {
            return None;
        }
        let line = Line {
            offset: self.offset,
            length: length as u64 + 1,
            text: Some(&held[..length]),
            whole: true,
        };
        Some((line, brief))
    }

    /// The line up to and with the next line break, or up to the end of the file.
    fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let begin = self.offset;
        let mut nul = false;
        let mut searched = 0;
        let ended = loop {
            let fresh = &self.held()[searched..];
            if let Some(place) = fresh.iter().position(|byte| *byte == b'\n') {
                searched += place;
                break true;
            }
            searched = self.held.len();
            if ROW_BYTES_MAX < searched {
                // Too long to be shown: only where it ends counts, and whether it has a NUL.
                nul |= self.held().contains(&0);
                self.go_on(searched);
                searched = 0;
            }
            if !self.read_more()? {
                break false;
            }
        };
        let line = self.held.start..self.held.start + searched;
        self.go_on(searched + usize::from(ended));
        let text = &self.buffer[line];
        let length = self.offset - begin;
        if length == 0 {
            return Ok(None);
        }
        Ok(Some(Line {
            offset: begin,
            length,
            whole: ended && !nul && !text.contains(&0),
            text: (length - u64::from(ended) <= ROW_BYTES_MAX as u64).then_some(text),
        }))
    }

    /// The next `count` of the held bytes have been looked at.
    fn go_on(&mut self, count: usize) {
        self.held.start += count;
        self.offset += count as u64;
    }

    /// Reads more bytes behind the held ones; false at the end of the file.
    fn read_more(&mut self) -> io::Result<bool> {
        if self.held.len() == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        self.buffer.copy_within(self.held.clone(), 0);
        self.held = 0..self.held.len();
        let behind = self.offset + self.held.len() as u64;
        let room = &mut self.buffer[self.held.end..];
        let left = usize::try_from(self.end.saturating_sub(behind)).unwrap_or(usize::MAX);
        let wanted = room.len().min(left);
        let count = self.file.read_at(&mut room[..wanted], behind)?;
        self.held.end += count;
        Ok(count > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::receiver::store::testing::Folder;

    fn lines(bytes: &[u8]) -> Vec<(u64, u64, bool, bool)> {
        let folder = Folder::new("rows");
        let path = folder.path().join("index.jsonl");
        fs::write(&path, bytes).unwrap();
        let file = File::open(path).unwrap();
        let mut lines = Lines::new(&file, 0..u64::MAX, 7);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push((line.offset, line.length, line.whole, line.text.is_some()));
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
