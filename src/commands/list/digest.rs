//! `--digest`: one SHA-256 that names a set of episodes, for a paper.
//!
//! It is that of the lines `<sha256>` of all episodes, in the byte order of `host/episode`. So anybody
//! can make it again from the rows, with `jq`, `sort` and `sha256sum`, and it does not depend on the
//! order in which the episodes arrived. A row that stands twice counts once.

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::human::{self, counted};
use crate::names::Sha256Digest;
use crate::wire::Receipt;

/// The episodes of a set, as they are seen row by row.
#[derive(Default)]
pub(super) struct FrozenSet {
    /// By `host/episode` and digest; the size where it is known.
    episodes: BTreeMap<(String, String), u64>,
    /// Rows that have no number: whether they were there at that time is not known.
    without_seq: u64,
}

impl FrozenSet {
    pub(super) fn take(&mut self, row: &Receipt) {
        if row.seq.is_none() {
            self.without_seq += 1;
            return;
        }
        let key = (row.slot().to_string(), row.sha256.to_string());
        self.episodes.insert(key, row.bytes.unwrap_or(0));
    }

    fn digest(&self) -> Sha256Digest {
        let mut hasher = Sha256::new();
        for (_, sha256) in self.episodes.keys() {
            hasher.update(sha256);
            hasher.update("\n");
        }
        Sha256Digest::from_bytes(hasher.finalize().into())
    }

    /// The set up to the number `until`, in words or as a line of JSON.
    pub(super) fn report(&self, until: u64, as_json: bool) -> String {
        let bytes = (self.episodes.values().copied()).fold(0, u64::saturating_add);
        let count = self.episodes.len();
        let digest = self.digest();
        let without_seq = self.without_seq;
        if as_json {
            let line = json!({
                "until": until,
                "episodes": count,
                "bytes": bytes,
                "sha256": digest,
                "without_seq": without_seq,
            });
            return format!("{line}\n");
        }
        let mut text = format!(
            "{} up to seq {until}, {bytes} bytes ({})\nsha256 {digest}\n",
            counted(count, "episode"),
            human::bytes(bytes),
        );
        if without_seq > 0 {
            let rows = counted(without_seq, "row");
            text += &format!("{rows} without a seq left out: an older version wrote them\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: u64, host: &str, episode: &str) -> Receipt {
        let text = format!(
            "{{\"seq\":{seq},\"host\":\"{host}\",\"episode\":\"{episode}\",\"sha256\":\"{seq:064x}\",\"bytes\":10}}"
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_order_of_arrival_and_a_second_row_change_nothing() {
        let rows = [row(1, "a", "x"), row(2, "a-b", "x"), row(3, "a", "b")];
        let mut one = FrozenSet::default();
        let mut other = FrozenSet::default();
        rows.iter().for_each(|row| one.take(row));
        rows.iter()
            .rev()
            .chain(&rows)
            .for_each(|row| other.take(row));
        assert_eq!(one.report(3, true), other.report(3, true));
        // "a-b/x", "a/b", "a/x": as `LC_ALL=C sort` has them.
        let lines = format!("{:064x}\n{:064x}\n{:064x}\n", 2, 3, 1);
        let want = Sha256Digest::from_bytes(Sha256::digest(lines).into());
        assert_eq!(one.digest(), want);
    }
}
