//! Properties of every content of `index.jsonl`, for tests and the fuzz targets alone.

use std::fs;

use super::index::Index;
use super::layout::Layout;
use super::testing::Folder;
use super::{row_scan, rows};
use crate::receiver::stats::Stats;
use crate::wire::Receipt;

/// Opens `bytes` as an index.
///
/// 1. Only what follows the last whole line is cut, and it is kept.
/// 2. Every receipt in a whole line is found by its name, and the next number is behind all of theirs.
/// 3. A row that is read without the parser says the same as the parser's.
/// 4. A second opening changes nothing, and what is appended then is found.
pub fn index(bytes: &[u8]) {
    let folder = Folder::new("fuzzed-index");
    let file = |name: &str| folder.path().join(name);
    bytes
        .split(|byte| *byte == b'\n')
        .for_each(scanned_as_parsed);
    fs::create_dir(file("quarantine")).expect("a new folder");
    fs::write(file("index.jsonl"), bytes).expect("a new file");
    let layout = Layout::new(folder.path());
    let (index, tail) = Index::open(&layout, &Stats::new(std::iter::empty()))
        .expect("no content keeps it from opening");
    let (sound, receipts) = sound_part(bytes);
    assert_eq!(tail.length as usize, sound);
    let kept = fs::read(file("index.jsonl")).expect("it is there");
    assert!(kept == bytes[..sound]);
    if sound < bytes.len() {
        let cut = fs::read(file("quarantine/index.jsonl.tail.1")).expect("what was cut is kept");
        assert!(cut == bytes[sound..]);
    }
    for receipt in &receipts {
        assert!(tail.next_seq > receipt.seq.unwrap_or(0));
        let rows = index.rows_of(&receipt.slot()).expect("it can be read");
        assert!(rows.contains(receipt));
    }
    drop((index, tail));
    let (index, mut tail) =
        Index::open(&layout, &Stats::new(std::iter::empty())).expect("it opened before");
    assert_eq!(
        (index.count(), tail.length as usize),
        (receipts.len(), sound)
    );
    let row = r#"{"host":"h","episode":"appended","sha256":"0000000000000000000000000000000000000000000000000000000000000000"}"#;
    let row: Receipt = serde_json::from_str(row).expect("it is a receipt");
    let mut line = serde_json::to_vec(&row).expect("it is a receipt");
    line.push(b'\n');
    let next_seq = tail.next_seq;
    tail.append(&line, next_seq).expect("there is room");
    index.enter(&row.slot(), tail.length);
    let rows = index.rows_of(&row.slot()).expect("it can be read");
    assert_eq!(rows.last(), Some(&row));
}

/// A line that is read without the parser is a receipt for the parser too, with the same members.
pub(super) fn scanned_as_parsed(line: &[u8]) {
    let Some((brief, length)) = row_scan::scan(line) else {
        return;
    };
    if length == line.len() {
        let row: Receipt = serde_json::from_slice(line).expect("what is scanned can be parsed");
        assert_eq!(row.brief(), brief);
        assert!(brief.seq.is_none_or(|seq| seq <= rows::SEQ_MAX));
    }
}

/// Where the whole lines end, and the receipts in them: the rule of design section 3 once more, in
/// the simplest words. A whole line ends in a line break and holds no NUL.
fn sound_part(bytes: &[u8]) -> (usize, Vec<Receipt>) {
    let mut sound = 0;
    let mut at = 0;
    let mut receipts = Vec::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        at += line.len();
        if line.ends_with(b"\n") && !line.contains(&0) {
            sound = at;
            // A longer line is no receipt, even if it parses.
            let short = line.len() <= 64 << 10;
            let receipt: Option<Receipt> =
                short.then(|| serde_json::from_slice(line).ok()).flatten();
            receipts.extend(receipt.map(|mut receipt| {
                // A number beyond a signed integer is none.
                receipt.seq = receipt.seq.filter(|seq| *seq < 1 << 63);
                receipt
            }));
        }
    }
    (sound, receipts)
}
