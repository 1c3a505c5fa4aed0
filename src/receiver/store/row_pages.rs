//! `index.jsonl` in pages, for those who list what is stored (design, section 11).
//!
//! 1. A cursor is the offset of a line's start, or the end of the last line that is shown. Nothing is
//!    kept in memory for it, and a page costs what it reads: the last one as much as the first.
//! 2. Only rows that are on the disk with their files are shown, each as it stands in the index. A line
//!    that is no row is passed over.
//! 3. A page is bounded in rows, in its own bytes and in the bytes that are read for it. One line is
//!    always read to its end, whatever its length.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::rows::{self, Line};
use crate::names::HostId;
use crate::wire::Receipt;

/// The most rows that a page has.
pub(crate) const ROWS_MAX: usize = 1000;
/// The most bytes that a page has.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// A page that has read so much of the index ends.
const READ_BYTES_MAX: u64 = 8 << 20;
/// What is read at once on the way back from the end.
const BLOCK_BYTES: u64 = 256 << 10;

/// Which page of the index is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageQuestion {
    pub begin: Begin,
    /// Of how many rows at most: 1 to [`ROWS_MAX`].
    pub rows_max: usize,
    /// Only the rows of this host.
    pub host: Option<HostId>,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// At a cursor; 0 is the first row.
    At(u64),
    /// So many rows before the end, of those that are asked for.
    Tail(usize),
}

/// A part of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Whole lines, as they stand in the file.
    pub rows: Vec<u8>,
    /// The cursor of the page that follows.
    pub next: u64,
    /// The cursor of the last row in `rows`.
    pub last: Option<u64>,
    /// Whether there are rows behind `next` now, of whatever host.
    pub has_more: bool,
}

/// Reads a page of the first `end` bytes of an index, which are whole lines. `None` if the cursor is
/// not one: it is in the middle of a line, or behind the end.
pub(crate) fn read(file: &File, end: u64, question: &PageQuestion) -> io::Result<Option<Page>> {
    let host = question.host.as_ref();
    let begin = match question.begin {
        Begin::At(cursor) if is_cursor(file, end, cursor)? => cursor,
        Begin::At(_) => return Ok(None),
        Begin::Tail(rows) => tail_begin(file, end, rows, host)?,
    };
    let mut page = Page {
        rows: Vec::new(),
        next: begin,
        last: None,
        has_more: false,
    };
    let mut count = 0;
    rows::each_line_of(file, begin..end, |line| {
        let has_room = count < question.rows_max
            && page.rows.len() + line.length as usize <= PAGE_BYTES_MAX
            && line.offset - begin < READ_BYTES_MAX;
        if is_shown(line, host) && has_room {
            count += 1;
            page.rows.extend_from_slice(line.text.unwrap_or_default());
            page.rows.push(b'\n');
            page.last = Some(line.offset);
        } else if !has_room && is_row(line) {
            page.has_more = true;
            return false;
        }
        page.next = line.offset + line.length;
        // Behind a full page only lines are passed over that are no rows, and not for ever.
        line.offset - begin < READ_BYTES_MAX
    })?;
    page.has_more |= page.next < end && READ_BYTES_MAX <= page.next - begin;
    Ok(Some(page))
}

fn is_cursor(file: &File, end: u64, cursor: u64) -> io::Result<bool> {
    if cursor == 0 || cursor == end {
        return Ok(true);
    }
    if end < cursor {
        return Ok(false);
    }
    let mut before = [0];
    file.read_exact_at(&mut before, cursor - 1)?;
    Ok(before == *b"\n")
}

/// Where the last `count` rows begin, of `host` if one is given. Where that needs more than
/// [`READ_BYTES_MAX`], where those begin that were found; without any, a line about that far back.
fn tail_begin(file: &File, end: u64, count: usize, host: Option<&HostId>) -> io::Result<u64> {
    let mut begin = end;
    let mut found = 0;
    let mut first_found = None;
    while 0 < begin && end - begin < READ_BYTES_MAX {
        let lines = lines_before(file, begin)?;
        if lines.is_empty() {
            break; // a line that is longer than all that may be read
        }
        for &(offset, ref line) in lines.iter().rev() {
            begin = offset;
            if is_shown(&rows::line_of(offset, line), host) {
                found += 1;
                first_found = Some(offset);
            }
            if found == count {
                return Ok(begin);
            }
        }
    }
    Ok(first_found.unwrap_or(begin))
}

/// The last lines before `end`, each with its offset: those that begin in the last block, or in as many
/// blocks as it takes to have one. Empty if that is more than may be read.
fn lines_before(file: &File, end: u64) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut size = BLOCK_BYTES;
    loop {
        // With the byte before the block, it is known whether a line begins with the block.
        let from = end.saturating_sub(size);
        let read_from = from.saturating_sub(1);
        let mut block = vec![0; (end - read_from) as usize];
        file.read_exact_at(&mut block, read_from)?;
        let first = if from == 0 {
            Some(0)
        } else {
            let line_break = block[..block.len() - 1].iter().position(|&b| b == b'\n');
            line_break.map(|at| at + 1)
        };
        if let Some(first) = first {
            let lines = block[first..].split_inclusive(|&b| b == b'\n');
            let mut offset = read_from + first as u64;
            let with_offset = lines.map(|line| {
                let begin = offset;
                offset += line.len() as u64;
                (begin, line.to_vec())
            });
            return Ok(with_offset.collect());
        }
        if READ_BYTES_MAX <= size {
            return Ok(Vec::new());
        }
        size *= 2;
    }
}

fn is_row(line: &Line) -> bool {
    parse(line).is_some()
}

fn is_shown(line: &Line, host: Option<&HostId>) -> bool {
    match host {
        None => is_row(line),
        // Most lines of other hosts need not be parsed. An escape may spell the name in another way.
        Some(host) if !names(line, host) => false,
        Some(host) => parse(line).is_some_and(|row| row.host == *host),
    }
}

fn names(line: &Line, host: &HostId) -> bool {
    let Some(text) = line.text.and_then(|text| str::from_utf8(text).ok()) else {
        return false;
    };
    text.contains(host.as_str()) || text.contains('\\')
}

fn parse(line: &Line) -> Option<Receipt> {
    rows::parse(line).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::receiver::store::testing::Folder;
    use crate::seeded::Seeded;

    /// A line: its offset, its text, and its host if it is a row.
    type Known = (u64, Vec<u8>, Option<HostId>);

    /// An index of rows, blanks and oddities, and its lines.
    fn index(seeded: &mut Seeded) -> (Vec<u8>, Vec<Known>) {
        let sha256 = "0f".repeat(32);
        let mut text = Vec::new();
        let mut lines = Vec::new();
        for _ in 0..seeded.below(60) {
            let host = seeded.one_of(&["a", "b", "c-1"]);
            let padding = "x".repeat(seeded.below(70_000) as usize);
            let row = format!("{{\"host\":\"{host}\",\"episode\":\"e\",\"sha256\":\"{sha256}\"}}");
            let padded = format!("{{\"x\":\"{padding}\",{}", &row[1..]);
            let line = match seeded.below(8) {
                0 => String::new(),
                1 => "no row".to_owned(),
                2 => padding,
                3 if padded.len() <= 64 << 10 => padded,
                _ => row,
            };
            let is_row = line.starts_with('{');
            let host = if is_row {
                HostId::parse(host).ok()
            } else {
                None
            };
            lines.push((text.len() as u64, format!("{line}\n").into_bytes(), host));
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        (text, lines)
    }

    #[test]
    fn pages_of_any_size_put_together_are_the_rows() {
        let folder = Folder::new("pages");
        for seed in 0..60 {
            let mut seeded = Seeded::new(seed);
            let (text, lines) = index(&mut seeded);
            let path = folder.path().join("index.jsonl");
            fs::write(&path, &text).unwrap();
            let file = File::open(&path).unwrap();
            let end = text.len() as u64;
            let host = seeded.one_of(&[None, Some("a"), Some("nobody")]);
            let host = host.map(|host| HostId::parse(host).unwrap());
            let is_wanted =
                |found: &Option<HostId>| found.is_some() && (host.is_none() || *found == host);
            let wanted = lines.iter().filter(|(_, _, found)| is_wanted(found));
            let rows: Vec<(u64, &[u8])> = wanted.map(|(at, line, _)| (*at, &**line)).collect();
            let mut question = PageQuestion {
                begin: Begin::At(0),
                rows_max: 1 + seeded.below(9) as usize,
                host: host.clone(),
            };
            let mut found = Vec::new();
            loop {
                let page = read(&file, end, &question).unwrap().unwrap();
                let count = page.rows.split_inclusive(|&b| b == b'\n').count();
                assert!(
                    count <= question.rows_max && page.rows.len() <= PAGE_BYTES_MAX,
                    "{seed}"
                );
                found.extend_from_slice(&page.rows);
                if let Some(last) = page.last {
                    assert!(rows.iter().any(|(at, _)| *at == last), "{seed}");
                }
                if !page.has_more {
                    assert_eq!(page.next, end, "{seed}");
                    break;
                }
                assert!(page.next > 0 && count > 0, "{seed}");
                question.begin = Begin::At(page.next);
            }
            let all: Vec<u8> = rows.iter().flat_map(|(_, line)| line.to_vec()).collect();
            assert!(found == all, "{seed}");
            // From the end, the newest rows begin where the model says.
            let count = 1 + seeded.below(20) as usize;
            let tail = tail_begin(&file, end, count, host.as_ref()).unwrap();
            let newest = rows.get(rows.len().saturating_sub(count)).or(rows.first());
            match newest {
                Some((at, _)) => assert_eq!(tail, *at, "{seed}"),
                None => assert!(tail <= end, "{seed}"),
            }
        }
    }

    #[test]
    fn only_a_rows_start_or_the_end_is_a_cursor() {
        let folder = Folder::new("cursor");
        let path = folder.path().join("index.jsonl");
        fs::write(&path, "ab\n\ncd\nunsynced\n").unwrap();
        let file = File::open(&path).unwrap();
        let is = |cursor| is_cursor(&file, 7, cursor).unwrap();
        let cursors: Vec<u64> = (0..20).filter(|cursor| is(*cursor)).collect();
        assert_eq!(cursors, [0, 3, 4, 7]);
        assert!(!is(u64::MAX));
    }
}
