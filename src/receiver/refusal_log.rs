//! `refusals.jsonl`: the newest uploads that were refused, for a person who asks why.
//!
//! 1. Coroutines and body threads send refusals without waiting; one thread writes them. A refusal that finds the
//!    thread's queue full is counted and dropped.
//! 2. The file is bounded: a full one becomes `refusals.1.jsonl` and replaces the one before. And it
//!    grows slowly: after so many lines in a period, further refusals of a peer are only counted. So
//!    no peer can push out the lines of the others or wear the disk.
//! 3. Nothing here is synced. A power cut may cost the last lines; a torn line is skipped.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::time::{Duration, Instant};

use super::critical_thread::{self, ShutdownHandle};
use super::data_dir::DataDir;
use super::refused_upload::RefusedUpload;
use super::stats::Stats;
use super::store::rows::SEQ_MAX;
use crate::failure::Failure;
use crate::names::HostId;
use crate::{durable, events};

/// The file of the newest lines, and the full one before it.
const FILE: &str = "refusals.jsonl";
const FILE_BEFORE: &str = "refusals.1.jsonl";
/// The most that each of the two files holds.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most endings that wait for the thread. A line of the file is under 1 KiB.
const WAITING_MAX: usize = 256;

/// The most lines in a period: of one peer, and of all.
const LINES_OF_PEER_MAX: u32 = 60;
const LINES_MAX: u32 = 600;
const PERIOD: Duration = Duration::from_secs(600);

/// How an upload ended that left no new row.
pub(crate) enum Ending {
    /// It was refused after `bytes` of its body.
    Refused {
        refused: RefusedUpload,
        bytes: u64,
    },
    StoredAlready {
        host: HostId,
        bytes: u64,
    },
}

/// The end of the queue for those who answer. Sending never blocks.
pub(crate) struct RefusalSender {
    endings: SyncSender<Ending>,
    dropped: AtomicU64,
}

impl RefusalSender {
    pub(crate) fn send(&self, ending: Ending) {
        if self.endings.try_send(ending).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many endings found the queue full. They are missing in the figures of their hosts.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Starts the thread that writes the file in `data_dir` and counts each ending in `stats`.
///
/// Errors: the system could not start a thread.
pub(crate) fn start(
    data_dir: &Path,
    stats: Arc<Stats>,
    shutdown: &ShutdownHandle,
) -> Result<RefusalSender, Failure> {
    let (endings, heard) = mpsc::sync_channel(WAITING_MAX);
    let mut log = Log::new(data_dir);
    critical_thread::spawn_critical("refusals", shutdown, move || {
        log.recall(&stats);
        for ending in heard {
            match ending {
                Ending::StoredAlready { host, bytes } => stats.stored_already(&host, bytes),
                Ending::Refused { refused, bytes } => {
                    let refused = Arc::new(refused);
                    stats.refused(&refused, bytes);
                    log.write(&refused);
                }
            }
        }
    })?;
    Ok(RefusalSender {
        endings,
        dropped: AtomicU64::new(0),
    })
}

/// The refusals that are kept in `data_dir`, oldest first, also beside a running receiver.
///
/// Errors: a file is there and cannot be read. A line that is none of ours is skipped.
pub(crate) fn read(data_dir: &Path) -> io::Result<Vec<RefusedUpload>> {
    let mut text = Vec::new();
    for file in open_both(data_dir)?.into_iter().flatten() {
        // Twice what this module writes: a file of another program must not fill the memory.
        file.take(2 * FILE_BYTES_MAX).read_to_end(&mut text)?;
        text.push(b'\n');
    }
    let lines = text.split(|&byte| byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

/// The largest `after_seq` of the refusals in `data_dir`, for a store that has lost its own count; 0 if
/// there is none. A number that no row can have is ignored.
pub(crate) fn seq_seen(data_dir: &Path) -> u64 {
    // The thread that reads the file again reports a file that cannot be read.
    let kept = read(data_dir).unwrap_or_default();
    let seen = kept.iter().map(|one| one.after_seq);
    seen.filter(|seq| *seq <= SEQ_MAX).max().unwrap_or(0)
}

/// Opens the file before and the newest one, so that a rotation between the two opens loses no line.
fn open_both(data_dir: &Path) -> io::Result<[Option<File>; 2]> {
    // A rotation can fall between the two opens once or twice. If both names lead to one file at every
    // try, somebody has made a hard link: then its lines are read twice, which does no harm.
    const TRIES: u32 = 10;
    let mut tries = 0;
    loop {
        tries += 1;
        let newest = open_if_there(&data_dir.join(FILE))?;
        let before = open_if_there(&data_dir.join(FILE_BEFORE))?;
        let inode = |file: &Option<File>| {
            file.as_ref()
                .and_then(|file| file.metadata().ok())
                .map(|meta| meta.ino())
        };
        if before.is_none() || inode(&newest) != inode(&before) || tries == TRIES {
            return Ok([before, newest]);
        }
    }
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match durable::open_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// The files as the thread writes them.
struct Log {
    data_dir: PathBuf,
    /// The folder as it was at start: if another disk is at its path now, nothing is written.
    home: io::Result<DataDir>,
    /// The newest file and its length.
    file: Option<(File, u64)>,
    pace: Pace,
    /// The last write failed. The log says so once, not for every line.
    in_trouble: bool,
}

impl Log {
    fn new(data_dir: &Path) -> Log {
        Log {
            data_dir: data_dir.to_owned(),
            home: DataDir::open(data_dir),
            file: None,
            pace: Pace::new(Instant::now()),
            in_trouble: false,
        }
    }

    fn recall(&self, stats: &Stats) {
        match read(&self.data_dir) {
            Ok(kept) => stats.fill(|books| {
                for mut one in kept {
                    // The index may have been made again since, with fewer rows: no refusal came after a
                    // row that is not yet there.
                    one.after_seq = one.after_seq.min(books.last_seq);
                    books.recall(&Arc::new(one));
                }
            }),
            Err(error) => events::refusals_unreadable(&self.data_dir.join(FILE), &error),
        }
    }

    fn write(&mut self, refused: &RefusedUpload) {
        let Some(left_out) = self.pace.admit(refused.peer, Instant::now()) else {
            return;
        };
        let line = RefusedUpload {
            left_out,
            ..refused.clone()
        };
        match self.append(&line) {
            Ok(()) => self.in_trouble = false,
            Err(error) => {
                self.file = None;
                if !self.in_trouble {
                    events::refusals_unwritable(&self.data_dir.join(FILE), &error);
                }
                self.in_trouble = true;
            }
        }
    }

    fn append(&mut self, line: &RefusedUpload) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.check_home()?;
        let (mut file, mut length) = match self.file.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if length + text.len() as u64 > FILE_BYTES_MAX {
            durable::rename(&self.data_dir.join(FILE), &self.data_dir.join(FILE_BEFORE))?;
            (file, length) = self.open()?;
        }
        file.write_all(&text)?;
        self.file = Some((file, length + text.len() as u64));
        Ok(())
    }

    fn check_home(&self) -> io::Result<()> {
        match &self.home {
            Ok(home) => home.check(),
            Err(error) => Err(error.kind().into()),
        }
    }

    /// Opens the newest file; returns it with its length. A line that a crash has torn gets its newline,
    /// so that the next line is whole.
    fn open(&self) -> io::Result<(File, u64)> {
        let path = self.data_dir.join(FILE);
        let mut options = File::options();
        options.append(true).read(true).create(true);
        let mut file = durable::open_regular_with(&path, &mut options)?;
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        file.read_at(&mut last, length.saturating_sub(1))?;
        let is_torn = last != *b"\n";
        if is_torn {
            file.write_all(b"\n")?;
        }
        Ok((file, length + u64::from(is_torn)))
    }
}

/// Limits how fast the file grows.
struct Pace {
    began: Instant,
    lines: u32,
    /// Lines of each peer in this period. Only a peer with a line has an entry, so there are at most
    /// [`LINES_MAX`].
    by_peer: HashMap<IpAddr, u32>,
    left_out: u64,
}

impl Pace {
    fn new(now: Instant) -> Pace {
        Pace {
            began: now,
            lines: 0,
            by_peer: HashMap::new(),
            left_out: 0,
        }
    }

    /// `None` if this peer gets no line now; else how many refusals were left out since the last line.
    fn admit(&mut self, peer: IpAddr, now: Instant) -> Option<u64> {
        if now.duration_since(self.began) >= PERIOD {
            self.began = now;
            self.lines = 0;
            self.by_peer.clear();
        }
        let of_peer = self.by_peer.get(&peer).copied().unwrap_or(0);
        if self.lines >= LINES_MAX || of_peer >= LINES_OF_PEER_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        self.by_peer.insert(peer, of_peer + 1);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::names::EpisodeId;
    use crate::receiver::refused_upload::TEXT_CHARS_MAX;
    use crate::receiver::store::testing::Folder;

    fn refused(number: u64, peer: [u8; 4]) -> RefusedUpload {
        RefusedUpload {
            at: "2026-11-23T23:46:12Z".to_owned(),
            after_seq: number,
            peer: peer.into(),
            host: Some(HostId::parse("lab-1").unwrap()),
            episode: Some(EpisodeId::parse("ep-1").unwrap()),
            path: None,
            commit: None,
            status: 412,
            reason: "not-in-window".to_owned(),
            why: "x".repeat(TEXT_CHARS_MAX),
            left_out: 0,
        }
    }

    fn bytes_of(folder: &Folder, name: &str) -> u64 {
        fs::metadata(folder.path().join(name)).map_or(0, |meta| meta.len())
    }

    #[test]
    fn the_files_are_bounded_and_keep_the_newest() {
        let folder = Folder::new("refusals");
        let mut log = Log::new(folder.path());
        for number in 0..10_000 {
            log.append(&refused(number, [10, 0, 0, 1])).unwrap();
        }
        let newest = bytes_of(&folder, FILE);
        let before = bytes_of(&folder, FILE_BEFORE);
        assert!(
            newest <= FILE_BYTES_MAX && before <= FILE_BYTES_MAX,
            "{newest} {before}"
        );
        assert!(before > FILE_BYTES_MAX / 2);
        let kept = read(folder.path()).unwrap();
        let numbers: Vec<u64> = kept.iter().map(|one| one.after_seq).collect();
        let first = 10_000 - numbers.len() as u64;
        assert!(numbers.iter().copied().eq(first..10_000), "{numbers:?}");
        assert!(numbers.len() > 2000, "{}", numbers.len());
    }

    #[test]
    fn a_torn_line_is_skipped_and_the_next_is_whole() {
        let folder = Folder::new("refusals-torn");
        fs::write(folder.path().join(FILE), "not a line of ours\n{\"at\":\"20").unwrap();
        let mut log = Log::new(folder.path());
        log.append(&refused(7, [10, 0, 0, 1])).unwrap();
        let kept = read(folder.path()).unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].after_seq, 7);
    }

    /// The file is older than the index: the store is new, or its index was made again with fewer rows.
    #[test]
    fn a_refusal_from_before_a_shorter_index_is_over_with_the_next_upload() {
        let folder = Folder::new("refusals-newer");
        let mut log = Log::new(folder.path());
        log.append(&refused(5000, [10, 0, 0, 1])).unwrap();
        let stats = Stats::new([HostId::parse("lab-1").unwrap()].into_iter());
        log.recall(&stats);
        let is_open = || {
            let books = stats.look();
            let host = books.hosts.values().next().unwrap();
            host.open_refusal().is_some()
        };
        assert!(is_open());
        let row = serde_json::from_value(serde_json::json!({
            "seq": 1, "host": "lab-1", "episode": "ep-2", "sha256": "0f".repeat(32),
        }));
        stats.stored(row.unwrap(), 1);
        assert!(!is_open());
    }

    #[test]
    fn one_peer_cannot_wash_the_others_out() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        let loud = [10, 0, 0, 1].into();
        let quiet = [10, 0, 0, 2].into();
        let admitted = (0..1000).filter_map(|_| pace.admit(loud, began));
        assert_eq!(admitted.count(), LINES_OF_PEER_MAX as usize);
        assert_eq!(
            pace.admit(quiet, began),
            Some(1000 - u64::from(LINES_OF_PEER_MAX))
        );
        // A peer with many addresses cannot do it either.
        let of_many =
            (0..5000u32).filter(|n| pace.admit(IpAddr::from(n.to_be_bytes()), began).is_some());
        assert!(of_many.count() < LINES_MAX as usize);
        assert!(pace.by_peer.len() <= LINES_MAX as usize);
        assert!(
            pace.admit(loud, began + PERIOD)
                .is_some_and(|left_out| left_out > 4000)
        );
    }

    #[test]
    fn the_largest_number_that_a_row_can_have_is_seen() {
        let folder = Folder::new("refusals-seen");
        let mut log = Log::new(folder.path());
        for number in [3, 70, u64::MAX, 5] {
            log.append(&refused(number, [10, 0, 0, 1])).unwrap();
        }
        assert_eq!(seq_seen(folder.path()), 70);
        let newest = folder.path().join(FILE);
        fs::rename(newest, folder.path().join(FILE_BEFORE)).unwrap();
        assert_eq!(seq_seen(folder.path()), 70);
    }

    #[test]
    fn an_empty_store_has_no_refusals() {
        let folder = Folder::new("refusals-none");
        assert!(read(folder.path()).unwrap().is_empty());
        assert_eq!(seq_seen(folder.path()), 0);
    }
}
