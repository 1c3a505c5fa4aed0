//! Reads every stored file again and compares it with its row, so that a person hears of bytes that a
//! disk has lost before the last other copy is gone.
//!
//! 1. It changes nothing: files and index are only read. Beside them it keeps `scrub.json`, from
//!    which a pass that was ended goes on, and from which `status` shows when the last one was. A pass
//!    over new files has `scrub-since.json`, so that it hides nothing that a whole one has found.
//! 2. It runs beside the receiver, which stores meanwhile: a file that looks wrong is looked at again
//!    before it is reported, and one that is just being stored is left out.
//! 3. Bytes come from the disk: the page cache says nothing about it, so the file's pages are dropped
//!    first. They are dropped afterwards too, since other programs need the memory.

mod pass;

use std::fs::{self, DirEntry};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

pub(crate) use self::pass::{Finding, Kind, Pass};

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

/// Which files a pass reads, and how fast.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// Only what arrived since then.
    pub since: Option<SystemTime>,
    pub bytes_per_second: Option<u64>,
    /// From the beginning, even if an earlier pass was ended in the middle.
    pub restart: bool,
}

/// Whether the bytes of a row are safe elsewhere, though its file is not here.
pub(crate) type IsArchived<'a> = &'a dyn Fn(&Receipt) -> io::Result<bool>;

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

/// Reads the store. Each finding is passed to `tell`, and is in the returned pass.
///
/// Errors: the folder is no store, another scrub is at work, or the index cannot be read.
pub(crate) fn scrub(
    data_dir: &Path,
    config_path: &Path,
    wish: &Wish,
    is_archived: IsArchived,
    tell: &mut dyn FnMut(News),
) -> Result<Pass, Failure> {
    let layout = Layout::new(data_dir);
    let _lock = store_dir::enter_to_look(&layout, config_path)?;
    let place = match wish.since {
        Some(_) => layout.scrub_since(),
        None => layout.scrub(),
    };
    let pass = if wish.restart {
        None
    } else {
        Pass::unfinished(&place, wish.since)
    };
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
        is_archived,
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
    is_archived: IsArchived<'a>,
    tell: &'a mut dyn FnMut(News),
}

/// A file that was read from end to end.
struct Digested {
    identity: FileIdentity,
    sha256: Sha256Digest,
    /// The digest in the receipt that the file carries, if it is another.
    lost: Option<Sha256Digest>,
}

impl Scrub<'_> {
    /// Says how much there is to do.
    fn announce(&mut self) -> Result<(), Failure> {
        let mut episodes = 0;
        let mut bytes = 0;
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
            // An unreadable host folder is reported by `read_files`; the others are visited.
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
        // A file whose time cannot be read is read too.
        written.map_or(true, |written| written >= since)
    }

    fn check(&mut self, slot: &Slot, path: &Path) -> Result<(), Failure> {
        // Twice at most: the receiver may put a whole file in the place of a damaged one.
        for _ in 0..2 {
            let digested = match self.digest(slot, path) {
                Ok(Some(digested)) => digested,
                Ok(None) => return Ok(()), // Gone meanwhile: `read_rows` finds its row.
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

    /// The rows of a file that was read. A file that has none, and will get none, is a finding.
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
            _ => match (self.is_archived)(row) {
                Ok(true) => self.pass.archived += 1,
                Err(error) => {
                    self.find(Kind::Unreadable, "archive.jsonl".into(), error.to_string())
                }
                Ok(false) => self.find_missing(row, relative),
            },
        }
    }

    fn find_missing(&mut self, row: &Receipt, relative: String) {
        let why = format!(
            "the index has it, {} bytes, and it is not there",
            row.bytes.unwrap_or(0)
        );
        self.find(Kind::Missing, relative, why);
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
        // Bytes that a disk has lost are noted at once; rows of archived files may be many.
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
