//! `GET` and `HEAD /v1/episodes/{host}/{episode}.tar.zst`: the bytes of an episode, for readers (design,
//! section 11).
//!
//! 1. Nobody gets a byte, or hears whether there is one, but a reader.
//! 2. A file is sent only if it has the size of its row, and never more of it than the row says.
//! 3. Only what sends a file's bytes takes a place: heads, 304 and refusals do not wait for one.

mod conditions;
mod outcome;
mod places;
mod sending;

#[cfg(any(test, fuzzing))]
mod fuzzed;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::conditions::{Conditions, Wanted, entity_tag};
#[cfg(any(test, fuzzing))]
pub(super) use self::fuzzed::part as fuzzed_part;
#[cfg(any(test, fuzzing))]
pub use self::fuzzed::range as fuzzed_range;
use self::outcome::Outcome;
use self::places::Download;
pub(super) use self::places::Downloads;
use super::Exchange;
use super::guard::{Answer, Reply};
use super::head::{Framing, Head};
use crate::events;
use crate::names::{ReaderId, Sha256Digest};
use crate::receiver::archive::Archive;
use crate::receiver::base64::base64;
use crate::receiver::refusal::Refusal;
use crate::receiver::store::{Fetched, Store, StoredFile, scrub};
use crate::wire::{Receipt, Slot, TARBALL_ENDING};

/// A stored episode never changes; a cache that others share does not keep it, since not all of them may read.
const CACHE_LINE: &str = "Cache-Control: private, max-age=31536000, immutable";

/// Where the bytes of an episode are.
enum Found {
    Here(Fetched),
    /// In the archive alone; by this row.
    Archived(Box<Receipt>),
}

/// What an answer's head says of an episode.
#[derive(Clone, Copy)]
struct Described {
    bytes: u64,
    sha256: Sha256Digest,
}

/// What a request for bytes is answered with.
enum Judged {
    Answered(Answer),
    /// The answer's head, and what is sent behind it.
    Sends(Answer, Box<Download>),
}

impl Exchange<'_> {
    /// Answers a request for the bytes of an episode.
    pub(super) fn fetch(self, slot: Slot, head: &Head, framing: Framing) -> Reply {
        match self.judge_fetch(slot, head) {
            Ok(Judged::Answered(answer)) => self.reply_unread(answer, framing),
            Ok(Judged::Sends(answer, download)) => self.send(answer, *download, framing),
            Err(refusal) => self.refuse_fetch(&refusal, framing),
        }
    }

    /// In this order: the reader, whether we are stopping, the file, the conditions, the range, the place.
    fn judge_fetch(self, slot: Slot, head: &Head) -> Result<Judged, Refusal> {
        let reader = self.reader(head)?;
        self.is_no_stop()?;
        let stored = match self.find(&slot)? {
            Found::Here(fetched) => self.stored_file(&slot, fetched)?,
            Found::Archived(row) => return self.judge_archived(&slot, &row, head, &reader),
        };
        let described = Described {
            bytes: stored.bytes,
            sha256: stored.sha256,
        };
        let conditions = Conditions::of(self.request.method, head);
        let (answer, part) = match conditions.judge(&stored.sha256, stored.bytes) {
            Wanted::OtherBytes => return Err(Refusal::OtherBytesStored(slot)),
            Wanted::Outside => {
                return Err(Refusal::Outside {
                    bytes: stored.bytes,
                });
            }
            Wanted::NotModified => return Ok(Judged::Answered(not_modified(described))),
            Wanted::Whole => (whole(&slot, described), 0..stored.bytes),
            Wanted::Part(part) => (partial(&slot, described, &part), part),
        };
        if self.request.method == "HEAD" || part.is_empty() {
            return Ok(Judged::Answered(answer));
        }
        let permit = self.shared.downloads.permit(self.peer())?;
        // A stop that began before the place was taken does not wait for it.
        self.is_no_stop()?;
        let download = Download {
            slot,
            reader,
            file: stored.file,
            file_bytes: stored.bytes,
            part,
            permit,
        };
        Ok(Judged::Sends(answer, Box::new(download)))
    }

    fn is_no_stop(self) -> Result<(), Refusal> {
        if self.shared.draining.load(Ordering::SeqCst) {
            return Err(Refusal::Draining);
        }
        Ok(())
    }

    /// HEAD and `If-None-Match` are answered from the row; a GET is sent to the store, whose business the
    /// range is then.
    fn judge_archived(
        self,
        slot: &Slot,
        row: &Receipt,
        head: &Head,
        reader: &ReaderId,
    ) -> Result<Judged, Refusal> {
        let described = Described {
            bytes: row.bytes.unwrap_or_default(),
            sha256: row.sha256,
        };
        let conditions = Conditions {
            range: None,
            ..Conditions::of(self.request.method, head)
        };
        match conditions.judge(&row.sha256, described.bytes) {
            Wanted::OtherBytes => return Err(Refusal::OtherBytesStored(slot.clone())),
            Wanted::NotModified => return Ok(Judged::Answered(not_modified(described))),
            _ => {}
        }
        // A row of an older version may not know the length that a HEAD is answered with.
        if self.request.method == "HEAD" && row.bytes.is_some() {
            return Ok(Judged::Answered(whole(slot, described)));
        }
        let Some(archive) = &self.shared.archive else {
            return Err(Refusal::Internal);
        };
        events::download_redirected(slot, reader, self.peer());
        self.shared.downloads.count(Outcome::Redirected);
        let address = archive.presigned(slot, &row.sha256);
        let answer = Answer::new(307, vec!["Cache-Control: no-store"], Vec::new())
            .with_own_line(format!("Location: {address}"));
        Ok(Judged::Answered(answer))
    }

    /// Where the bytes are, looked up by a clerk, who opens the file.
    fn find(self, slot: &Slot) -> Result<Found, Refusal> {
        let store = Arc::clone(&self.shared.store);
        let archive = self.shared.archive.clone();
        let name = slot.clone();
        let observed = Arc::clone(&self.shared.observed);
        let found = self.shared.blocking.ask(move || {
            let found = look(&store, archive.as_deref(), &name);
            match &found {
                Ok(Found::Here(Fetched::Stored(_)) | Found::Archived(_)) => observed.intact(&name),
                Ok(Found::Here(Fetched::Missing(_, why))) => {
                    observed.damaged(&name, scrub::Kind::Missing, why);
                }
                Ok(Found::Here(Fetched::Odd(why))) => {
                    observed.damaged(&name, scrub::Kind::Rotten, why);
                }
                Ok(Found::Here(Fetched::Unknown)) | Err(_) => {}
            }
            found
        });
        match found {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => {
                events::lookup_failed(slot, self.peer(), &error);
                Err(Refusal::Internal)
            }
            None => Err(Refusal::Internal),
        }
    }

    /// The file that is sent.
    fn stored_file(self, slot: &Slot, fetched: Fetched) -> Result<StoredFile, Refusal> {
        let downloads = &self.shared.downloads;
        match fetched {
            Fetched::Stored(stored) => Ok(stored),
            Fetched::Unknown => Err(Refusal::NotFound {
                what: format!("no episode is stored as {slot}"),
            }),
            Fetched::Missing(_, why) => {
                events::stored_file_missing(slot, self.peer(), &why);
                downloads.count(Outcome::FileMissing);
                Err(Refusal::NotFound {
                    what: format!("{slot} has a row in the index, and no file: {why}"),
                })
            }
            Fetched::Odd(why) => {
                events::stored_file_odd(slot, self.peer(), &why);
                downloads.count(Outcome::FileOdd);
                Err(Refusal::StoredFileOdd(slot.clone()))
            }
        }
    }

    /// Has a thread send the answer, and waits until that has ended.
    fn send(self, answer: Answer, download: Download, framing: Framing) -> Reply {
        let downloads = &self.shared.downloads;
        let outgoing = self.request.outgoing(answer);
        match downloads.start(download, outgoing) {
            Ok(running) => Reply::Sent {
                is_whole: running.wait(downloads),
                unread_bytes: framing.length,
            },
            Err(error) => {
                events::no_thread(self.peer(), &error);
                let refusal = downloads.full();
                self.log_refusal(&refusal);
                Reply::closing(Answer::refusal(&refusal))
            }
        }
    }

    fn refuse_fetch(self, refusal: &Refusal, framing: Framing) -> Reply {
        self.log_refusal(refusal);
        let answer = Answer::refusal(refusal);
        let answer = match refusal {
            Refusal::Outside { bytes } => {
                answer.with_own_line(format!("Content-Range: bytes */{bytes}"))
            }
            _ => answer,
        };
        self.reply_unread(answer, framing)
    }
}

/// Looks for the file, and without one for the newest row whose bytes the archive has.
fn look(store: &Store, archive: Option<&Archive>, slot: &Slot) -> io::Result<Found> {
    let fetched = store.fetch(slot)?;
    if let (Fetched::Missing(rows, _), Some(archive)) = (&fetched, archive)
        && let Some(row) = archive.newest_kept(rows)?
    {
        return Ok(Found::Archived(Box::new(row)));
    }
    Ok(Found::Here(fetched))
}

/// The head of a 200.
fn whole(slot: &Slot, episode: Described) -> Answer {
    of_the_bytes(200, slot, episode, episode.bytes)
}

/// The head of a 206.
fn partial(slot: &Slot, episode: Described, part: &Range<u64>) -> Answer {
    let Range { start, end } = part;
    let line = format!("Content-Range: bytes {start}-{}/{}", end - 1, episode.bytes);
    of_the_bytes(206, slot, episode, end - start).with_own_line(line)
}

fn of_the_bytes(status: u16, slot: &Slot, episode: Described, length: u64) -> Answer {
    let name = format!("{}~{}{TARBALL_ENDING}", slot.host, slot.episode);
    let digest = base64(episode.sha256.as_bytes());
    let headers = vec![
        "Content-Type: application/zstd",
        CACHE_LINE,
        "Accept-Ranges: bytes",
    ];
    let mut answer = Answer::new(status, headers, Vec::new())
        .with_own_line(etag_line(episode))
        .with_own_line(format!("Repr-Digest: sha-256=:{digest}:"))
        .with_own_line(format!(
            "Content-Disposition: attachment; filename=\"{name}\""
        ));
    answer.stated_length = Some(length);
    answer
}

fn not_modified(episode: Described) -> Answer {
    Answer::new(304, vec![CACHE_LINE], Vec::new()).with_own_line(etag_line(episode))
}

fn etag_line(episode: Described) -> String {
    format!("ETag: {}", entity_tag(&episode.sha256))
}
