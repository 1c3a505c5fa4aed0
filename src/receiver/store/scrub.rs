//! Reads every stored file again and compares it with its row: what a disk forgets, a person hears
//! of before the last other copy is gone.
//!
//! 1. It changes nothing: files and index are only read. Beside them it keeps `scrub.json`, from
//!    which a pass that was ended goes on, and `status` tells when the last one was. A pass over
//!    what is new has `scrub-since.json`, so that it hides nothing that a whole one has found.
//! 2. It runs beside the receiver, which stores meanwhile: what looks wrong is looked at again
//!    before it is told, and what is just being stored is left out.
//! 3. Bytes come from the disk: what the system has in memory says nothing about it, so that is
//!    forgotten first. It is forgotten afterwards too, for the sake of whoever else needs memory.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::index::Index;
use super::layout::Layout;
use super::listing::{cannot_read, entries, host_of, slot_of};
use super::pacer::Pacer;
use super::stored_file;
use super::{rows, store_dir};
use crate::failure::Failure;
use crate::file_identity::{FileIdentity, is_absent};
use crate::names::Sha256Digest;
use crate::receiver::data_dir::DataDir;
use crate::wire::{Receipt, Slot};
use crate::{clock, durable, sys};

/// How much is read at once, and the least that a rate limit counts.
const BLOCK_BYTES: usize = 256 << 10;
/// A card of flash wears with each write: how often a pass notes where it is. As much is read again
/// after a kill.
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// So many findings are kept by name; more than that are only counted.
const FINDINGS_KEPT_MAX: usize = 1000;
/// The largest `scrub.json`: as many findings, each with the longest path and reason.
const NOTE_BYTES_MAX: u64 = 16 << 20;

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// Only what arrived since then.
    pub since: Option<SystemTime>,
    pub bytes_per_second: Option<u64>,
    /// From the beginning, even if an earlier pass was ended in the middle.
    pub restart: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The file's bytes are not those of its row.
    Rotten,
    /// The file cannot be read from end to end.
    Unreadable,
    /// A row without a file.
    Missing,
    /// A file without a row.
    Unindexed,
    /// A line of the index that is no receipt.
    BadRow,
    /// Something in episodes/ that is no episode.
    Odd,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub kind: Kind,
    /// Relative to `data_dir`.
    pub path: String,
    pub why: String,
}

/// One pass over the store: `scrub.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Pass {
    /// RFC 3339, as all times here.
    pub begun_at: String,
    /// `None` while it runs, and after it was ended in the middle.
    pub done_at: Option<String>,
    pub since: Option<String>,
    /// The last `host/episode` that was read.
    pub after: Option<String>,
    pub episodes: u64,
    pub bytes: u64,
    pub found: BTreeMap<Kind, u64>,
    /// The first of them by name.
    pub findings: Vec<Finding>,
}

/// What happens, while it happens.
pub(crate) enum News<'a> {
    /// So much is to be read.
    Begun {
        episodes: u64,
        bytes: u64,
    },
    /// An earlier pass was ended in the middle; this goes on behind that.
    GoesOn {
        pass: &'a Pass,
        after: &'a str,
    },
    Read {
        bytes: u64,
    },
    Found(&'a Finding),
    /// Where the pass is cannot be kept: if it is ended, the next one begins anew.
    CannotNote {
        path: &'a Path,
        why: String,
    },
}

impl Pass {
    /// The newest pass at this place; `None` if there was none, or its file cannot be read.
    fn read(path: &Path) -> Option<Pass> {
        serde_json::from_slice(&durable::read_regular(path, NOTE_BYTES_MAX).ok()?).ok()
    }

    /// The newest over the whole store, and the newest over what was new.
    pub(crate) fn both(layout: &Layout) -> [Option<Pass>; 2] {
        [layout.scrub(), layout.scrub_since()].map(|path| Pass::read(&path))
    }

    /// The one to tell a person of: the newest over the whole store, unless one over what was new
    /// has found something that it has not seen.
    pub(crate) fn to_tell(data_dir: &Path) -> Option<Pass> {
        let [whole, new] = Pass::both(&Layout::new(data_dir));
        let is_settled = |new: &Pass| {
            whole.as_ref().is_some_and(|whole| {
                !whole.is_clean() || (whole.done_at.is_some() && whole.begun_at >= new.begun_at)
            })
        };
        match new.filter(|new| !new.is_clean() && !is_settled(new)) {
            None => whole,
            found => found,
        }
    }

    /// Whether nothing was found that a person must look at.
    pub(crate) fn is_clean(&self) -> bool {
        self.found.keys().all(|kind| *kind == Kind::Odd)
    }

    /// One to go on with, for this wish.
    fn unfinished(path: &Path, wish: &Wish) -> Option<Pass> {
        let pass = Pass::read(path).filter(|_| !wish.restart)?;
        let is_same = pass.since == wish.since.map(clock::rfc3339);
        (pass.done_at.is_none() && is_same).then_some(pass)
    }
}

/// Reads the store. What is found is told, and is in the pass that comes back.
///
/// Errors: the folder is no store, another scrub is at work, or the index cannot be read.
pub(crate) fn scrub(
    data_dir: &Path,
    config_path: &Path,
    wish: &Wish,
    tell: &mut dyn FnMut(News),
) -> Result<Pass, Failure> {
    let layout = Layout::new(data_dir);
    let _lock = store_dir::enter_to_look(&layout, config_path)?;
    let place = match wish.since {
        Some(_) => layout.scrub_since(),
        None => layout.scrub(),
    };
    let pass = Pass::unfinished(&place, wish);
    if let Some((pass, after)) = pass
        .as_ref()
        .and_then(|pass| Some((pass, pass.after.as_ref()?)))
    {
        tell(News::GoesOn { pass, after });
    }
    let mut scrub = Scrub {
        index: look(&layout)?,
        pacer: Pacer::new(wish.bytes_per_second),
        pass: pass.unwrap_or_else(|| Pass {
            begun_at: clock::rfc3339(SystemTime::now()),
            since: wish.since.map(clock::rfc3339),
            ..Pass::default()
        }),
        since: wish.since,
        noted: Instant::now(),
        can_note: true,
        place,
        home: DataDir::open(data_dir).map_err(|error| cannot_read(&layout.marker(), &error))?,
        layout,
        tell,
    };
    scrub.announce()?;
    scrub.read_files()?;
    scrub.read_rows()?;
    scrub.pass.done_at = Some(clock::rfc3339(SystemTime::now()));
    scrub.note();
    Ok(scrub.pass)
}

struct Scrub<'a> {
    layout: Layout,
    /// As it was when it was last looked at. The receiver appends meanwhile.
    index: Option<Index>,
    pacer: Pacer,
    pass: Pass,
    since: Option<SystemTime>,
    noted: Instant,
    can_note: bool,
    /// Where the pass is kept.
    place: PathBuf,
    home: DataDir,
    tell: &'a mut dyn FnMut(News),
}

/// A file that was read from end to end.
struct Digested {
    identity: FileIdentity,
    sha256: Sha256Digest,
    /// What the receipt that it carries says, if that is something else.
    lost: Option<Sha256Digest>,
}

impl Scrub<'_> {
    /// Says how much there is to do.
    fn announce(&mut self) -> Result<(), Failure> {
        let (mut episodes, mut bytes) = (0, 0);
        self.each_file(&mut |scrub, slot, file| {
            if let Some(slot) = slot
                && scrub.is_wanted(&slot, file)
            {
                episodes += 1;
                bytes += file.metadata().map_or(0, |metadata| metadata.len());
            }
            Ok(())
        })?;
        (self.tell)(News::Begun { episodes, bytes });
        Ok(())
    }

    fn read_files(&mut self) -> Result<(), Failure> {
        for host in entries(&self.layout.episodes())? {
            if host_of(&host).is_some()
                && let Err(failure) = entries(&host.path())
            {
                let path = self.relative(&host.path());
                self.find(Kind::Unreadable, path, failure.to_string());
            }
        }
        self.each_file(&mut |scrub, slot, file| {
            let Some(slot) = slot else {
                let path = scrub.relative(&file.path());
                scrub.find(Kind::Odd, path, "it is not an episode's tarball".to_owned());
                return Ok(());
            };
            if scrub.is_wanted(&slot, file) {
                scrub.check(&slot, &file.path())?;
                scrub.pass.after = Some(slot.to_string());
                scrub.pass.episodes += 1;
                if scrub.noted.elapsed() >= NOTE_EVERY {
                    scrub.note();
                }
            }
            Ok(())
        })
    }

    /// Everything in episodes/, in an order that the next run has too; no slot, if it is odd.
    #[allow(clippy::type_complexity)] // Each name of this type would say less than it does.
    fn each_file(
        &mut self,
        visit: &mut dyn FnMut(&mut Self, Option<Slot>, &DirEntry) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for host in entries(&self.layout.episodes())? {
            let Some(id) = host_of(&host) else {
                visit(self, None, &host)?;
                continue;
            };
            // Its disk answers for the others. `read_files` tells of it.
            for file in entries(&host.path()).unwrap_or_default() {
                visit(self, slot_of(&id, &file), &file)?;
            }
        }
        Ok(())
    }

    /// Whether a file is to be read: not read before by this pass, and new enough.
    fn is_wanted(&self, slot: &Slot, file: &DirEntry) -> bool {
        if self
            .pass
            .after
            .as_ref()
            .is_some_and(|after| !comes_after(slot, after))
        {
            return false;
        }
        let Some(since) = self.since else { return true };
        let written = file.metadata().and_then(|metadata| metadata.modified());
        // One whose time cannot be told is read rather than not.
        written.map_or(true, |written| written >= since)
    }

    fn check(&mut self, slot: &Slot, path: &Path) -> Result<(), Failure> {
        // Twice at most: the receiver may put a whole file in the place of a damaged one.
        for _ in 0..2 {
            let digested = match self.digest(slot, path) {
                Ok(Some(digested)) => digested,
                Ok(None) => return Ok(()), // Gone meanwhile: the rows tell.
                Err(error) => {
                    let why = format!("it cannot be read from end to end: {error}");
                    self.find(Kind::Unreadable, self.relative(path), why);
                    return Ok(());
                }
            };
            let rows = self.rows_of(slot, &digested)?;
            let Some(newest) = rows.last() else {
                return Ok(());
            };
            if rows.iter().any(|row| row.sha256 == digested.sha256) {
                return Ok(());
            }
            let stays = FileIdentity::at(path).is_ok_and(|now| now == Some(digested.identity));
            if stays {
                let why = format!(
                    "its bytes have the digest {}, its row says {}",
                    digested.sha256, newest.sha256
                );
                self.find(Kind::Rotten, self.relative(path), why);
                return Ok(());
            }
        }
        Ok(())
    }

    /// The rows of a file that was read. It is told here if it has none, and will get none.
    fn rows_of(&mut self, slot: &Slot, file: &Digested) -> Result<Vec<Receipt>, Failure> {
        let mut rows = self.known_rows(slot)?;
        if rows.is_empty() {
            // Stored since the index was looked at, or just now. In this order: a name in
            // incoming/ goes after the row has come.
            let under_way = self.is_under_way(slot, file.identity);
            self.index = look(&self.layout)?;
            rows = self.known_rows(slot)?;
            if rows.is_empty() && !under_way {
                let (kind, why) = match file.lost {
                    Some(lost) => (
                        Kind::Rotten,
                        format!(
                            "the index has no row for it, its bytes have the digest {}, the receipt that it carries says {lost}",
                            file.sha256
                        ),
                    ),
                    None => (Kind::Unindexed, "the index has no row for it".to_owned()),
                };
                self.find(kind, super::layout::relative_tarball(slot), why);
            }
        }
        Ok(rows)
    }

    fn known_rows(&self, slot: &Slot) -> Result<Vec<Receipt>, Failure> {
        let rows = self.index.as_ref().map(|index| index.rows_of(slot));
        rows.unwrap_or(Ok(Vec::new()))
            .map_err(|error| cannot_read(&self.layout.index(), &error))
    }

    /// Whether the file has a second name in incoming/: the receiver is about to give it its row.
    fn is_under_way(&self, slot: &Slot, identity: FileIdentity) -> bool {
        let prefix = format!("{}~{}~", slot.host, slot.episode);
        let incoming = fs::read_dir(self.layout.incoming()).into_iter().flatten();
        incoming.flatten().any(|entry| {
            let is_ours = entry.file_name().to_string_lossy().starts_with(&prefix);
            is_ours && FileIdentity::at(&entry.path()).is_ok_and(|there| there == Some(identity))
        })
    }

    /// Reads a file at the wanted rate; `None` if there is none.
    fn digest(&mut self, slot: &Slot, path: &Path) -> io::Result<Option<Digested>> {
        let file = match durable::open_regular(path) {
            Err(error) if is_absent(&error) => return Ok(None),
            other => other?,
        };
        sys::forget_cached(&file);
        let identity = FileIdentity::of(&file.metadata()?);
        let mut hasher = Sha256::new();
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let count = match (&file).read(&mut block) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&block[..count]);
            self.pass.bytes += count as u64;
            (self.tell)(News::Read {
                bytes: count as u64,
            });
            thread::sleep(self.pacer.pause(count as u64, Instant::now()));
        }
        sys::forget_cached(&file);
        let sha256 = Sha256Digest::from_bytes(hasher.finalize().into());
        Ok(Some(Digested {
            identity,
            sha256,
            lost: stored_file::lost_digest(&file, slot, sha256)?,
        }))
    }

    /// Looks for rows without a file, and lines without sense.
    fn read_rows(&mut self) -> Result<(), Failure> {
        let path = self.layout.index();
        let file = match durable::open_regular(&path) {
            Err(error) if is_absent(&error) => return Ok(()),
            other => other.map_err(|error| cannot_read(&path, &error))?,
        };
        let since = self.pass.since.clone();
        let looked = rows::each_line(&file, |line| {
            // A last line without its end: the receiver is just writing it.
            if !line.whole && line.text.is_none_or(|text| !text.contains(&0)) {
                return;
            }
            match rows::parse(line) {
                Ok(row) => {
                    let arrived = row.received_at.as_ref();
                    let is_old = since.as_ref().zip(arrived).is_some_and(|(s, at)| at < s);
                    if !is_old {
                        self.look_for(&row);
                    }
                }
                Err(_) if line.is_blank() => {}
                Err(why) => {
                    let path = format!("index.jsonl at byte {}", line.offset);
                    self.find(Kind::BadRow, path, why);
                }
            }
        });
        looked.map_err(|error| cannot_read(&path, &error))
    }

    fn look_for(&mut self, row: &Receipt) {
        let slot = row.slot();
        let path = self.layout.tarball(&slot);
        let relative = self.relative(&path);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Err(error) if !is_absent(&error) => {
                self.find(Kind::Unreadable, relative, error.to_string());
            }
            _ => {
                let why = format!(
                    "the index has it, {} bytes, and it is not there",
                    row.bytes.unwrap_or(0)
                );
                self.find(Kind::Missing, relative, why);
            }
        }
    }

    fn relative(&self, path: &Path) -> String {
        let relative = path.strip_prefix(self.layout.root()).unwrap_or(path);
        relative.to_string_lossy().into_owned()
    }

    fn find(&mut self, kind: Kind, path: String, why: String) {
        let finding = Finding { kind, path, why };
        // A pass that goes on sees odd things and rows again.
        if self.pass.findings.contains(&finding) {
            return;
        }
        (self.tell)(News::Found(&finding));
        *self.pass.found.entry(kind).or_default() += 1;
        let is_kept = self.pass.findings.len() < FINDINGS_KEPT_MAX;
        // What a disk has lost is noted at once; rows of archived files may be many.
        let is_urgent = is_kept && matches!(kind, Kind::Rotten | Kind::Unreadable);
        if is_kept {
            self.pass.findings.push(finding);
        }
        if is_urgent || self.noted.elapsed() >= NOTE_EVERY {
            self.note();
        }
    }

    /// Keeps where the pass is. A store that cannot be written to is read all the same.
    fn note(&mut self) {
        self.noted = Instant::now();
        let path = self.place.clone();
        let kept = serde_json::to_vec_pretty(&self.pass)
            .map_err(io::Error::other)
            .and_then(|text| {
                self.home.check()?;
                durable::publish(&path, &text)
            });
        if let Err(error) = kept
            && self.can_note
        {
            self.can_note = false;
            let why = error.to_string();
            (self.tell)(News::CannotNote { path: &path, why });
        }
    }
}

fn look(layout: &Layout) -> Result<Option<Index>, Failure> {
    Index::look(layout).map_err(|error| cannot_read(&layout.index(), &error))
}

/// Whether a slot comes after `host/episode` in the order in which folders are read.
fn comes_after(slot: &Slot, other: &str) -> bool {
    let (host, episode) = other.split_once('/').unwrap_or((other, ""));
    let file = |episode: &str| format!("{episode}{}", super::layout::TARBALL_ENDING);
    (slot.host.as_str(), file(slot.episode.as_str())) > (host, file(episode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_in_the_order_of_their_files() {
        // `a.tar.zst` is after `a-b.tar.zst`, although `a` is before `a-b`.
        let slot = |text| Slot::parse(text).unwrap();
        assert!(comes_after(&slot("h/a"), "h/a-b"));
        assert!(!comes_after(&slot("h/a-b"), "h/a"));
        assert!(!comes_after(&slot("h/a"), "h/a"));
        assert!(comes_after(&slot("h-1/a"), "h/z"));
        assert!(!comes_after(&slot("h/z"), "h-1/a"));
    }
}
