//! The rows that a batch appends to the index, in one write.

use super::tail::Tail;
use crate::wire::Receipt;

/// A row, and where it lies in the index.
#[derive(Clone, Debug)]
pub(super) struct NewRow {
    pub receipt: Receipt,
    pub seq: u64,
    /// Its first byte, and the one behind its last.
    pub offset: u64,
    pub end: u64,
}

pub(super) struct NewRows {
    pub text: Vec<u8>,
    /// The number of the row after the last of these.
    pub next_seq: u64,
    offset: u64,
}

impl NewRows {
    /// `text` is empty, and may have memory.
    pub(super) fn after(tail: &Tail, text: Vec<u8>) -> NewRows {
        NewRows {
            text,
            next_seq: tail.next_seq,
            offset: tail.end,
        }
    }

    /// Numbers a receipt, and adds it.
    pub(super) fn add(&mut self, receipt: &Receipt) -> NewRow {
        let seq = self.next_seq;
        let mut receipt = receipt.clone();
        receipt.seq = Some(seq);
        let offset = self.offset + self.text.len() as u64;
        serde_json::to_writer(&mut self.text, &receipt)
            .expect("a receipt of strings and numbers is JSON, and memory takes it");
        self.text.push(b'\n');
        self.next_seq = seq.saturating_add(1);
        NewRow {
            receipt,
            seq,
            offset,
            end: self.offset + self.text.len() as u64,
        }
    }
}
