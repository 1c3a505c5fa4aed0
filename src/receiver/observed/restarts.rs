//! `restarts.json`: the starts that followed an end which was no clean stop, for a receiver that is started
//! over and over.
//!
//! Nothing here is synced, and a file that is torn or cannot be written costs a count and no more.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::durable;

const FILE: &str = "restarts.json";
const FILE_BYTES_MAX: u64 = 64 << 10;
/// The most starts that are kept: the newest.
const KEPT_MAX: usize = 32;

/// The content of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// Whether the last run ended with a clean stop.
    stopped_cleanly: bool,
    /// Seconds since 1970.
    restarts_at_s: Vec<u64>,
}

/// Counts a start, and notes that this run has not stopped yet. Returns the starts that followed an end which
/// was no clean stop, this one among them if it is one.
pub(crate) fn begin(data_dir: &Path, now_s: u64) -> Vec<u64> {
    let mut restarts_at_s = match kept(data_dir) {
        Some(kept) if kept.stopped_cleanly => kept.restarts_at_s,
        Some(mut kept) => {
            kept.restarts_at_s.push(now_s);
            kept.restarts_at_s
        }
        // The first start on this folder.
        None => Vec::new(),
    };
    let too_many = restarts_at_s.len().saturating_sub(KEPT_MAX);
    restarts_at_s.drain(..too_many);
    let kept = Kept {
        stopped_cleanly: false,
        restarts_at_s,
    };
    // A folder that cannot be written is a finding of its own.
    let _ = write(data_dir, &kept);
    kept.restarts_at_s
}

/// Notes a clean stop.
pub(crate) fn end(data_dir: &Path) {
    let kept = Kept {
        stopped_cleanly: true,
        restarts_at_s: read(data_dir),
    };
    let _ = write(data_dir, &kept); // as above
}

/// The starts that are kept in the folder.
pub(crate) fn read(data_dir: &Path) -> Vec<u64> {
    kept(data_dir).unwrap_or_default().restarts_at_s
}

fn kept(data_dir: &Path) -> Option<Kept> {
    let text = durable::read_regular(&data_dir.join(FILE), FILE_BYTES_MAX).ok()?;
    serde_json::from_slice(&text).ok()
}

fn write(data_dir: &Path, kept: &Kept) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    let mut file = durable::open_regular_with(&data_dir.join(FILE), &mut options)?;
    file.write_all(&serde_json::to_vec(kept)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::store::testing::Folder;

    #[test]
    fn only_starts_after_an_unclean_end_are_counted() {
        let folder = Folder::new("restarts");
        let begin = |now_s| begin(folder.path(), now_s);
        assert_eq!(begin(100), [0; 0], "the first start");
        assert_eq!(begin(200), [200]);
        end(folder.path());
        assert_eq!(begin(300), [200], "after a clean stop");
        assert_eq!(begin(400), [200, 400]);
        assert_eq!(read(folder.path()), [200, 400]);
        for now_s in 500..600 {
            begin(now_s);
        }
        assert_eq!(read(folder.path()).len(), KEPT_MAX);
        assert_eq!(read(folder.path()).last(), Some(&599));
    }

    #[test]
    fn a_torn_file_counts_as_none() {
        let folder = Folder::new("restarts-torn");
        std::fs::write(folder.path().join(FILE), "{\"stopped").unwrap();
        assert_eq!(begin(folder.path(), 100), [0; 0]);
        assert_eq!(begin(folder.path(), 200), [200]);
    }
}
