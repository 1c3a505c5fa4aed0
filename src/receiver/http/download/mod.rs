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

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::conditions::{Conditions, Wanted, entity_tag};
use self::outcome::Outcome;
use self::places::Download;
pub(super) use self::places::Downloads;
use super::Exchange;
use super::base64::base64;
use super::guard::{Answer, Reply};
use super::head::{Framing, Head};
use crate::events;
use crate::receiver::refusal::Refusal;
use crate::receiver::store::{Fetched, StoredFile, scrub};
use crate::wire::{Slot, TARBALL_ENDING};

/// A stored episode never changes; a cache that others share does not keep it, since not all of them may read.
const CACHE_LINE: &str = "Cache-Control: private, max-age=31536000, immutable";

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
        let stored = self.find(&slot)?;
        let conditions = Conditions::of(self.request.method, head);
        let (answer, part) = match conditions.judge(&stored.sha256, stored.bytes) {
            Wanted::OtherBytes => return Err(Refusal::OtherBytesStored(slot)),
            Wanted::Outside => {
                return Err(Refusal::Outside {
                    bytes: stored.bytes,
                });
            }
            Wanted::NotModified => return Ok(Judged::Answered(not_modified(&stored))),
            Wanted::Whole => (whole(&slot, &stored), 0..stored.bytes),
            Wanted::Part(part) => (partial(&slot, &stored, &part), part),
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

    /// The stored file, opened by a clerk.
    fn find(self, slot: &Slot) -> Result<StoredFile, Refusal> {
        let store = Arc::clone(&self.shared.store);
        let name = slot.clone();
        let observed = Arc::clone(&self.shared.observed);
        let found = self.shared.blocking.ask(move || {
            let found = store.fetch(&name);
            match &found {
                Ok(Fetched::Stored(_)) => observed.intact(&name),
                Ok(Fetched::Missing(why)) => observed.damaged(&name, scrub::Kind::Missing, why),
                Ok(Fetched::Odd(why)) => observed.damaged(&name, scrub::Kind::Rotten, why),
                Ok(Fetched::Unknown) | Err(_) => {}
            }
            found
        });
        let downloads = &self.shared.downloads;
        match found {
            Some(Ok(Fetched::Stored(stored))) => Ok(stored),
            Some(Ok(Fetched::Unknown)) => Err(Refusal::NotFound {
                what: format!("no episode is stored as {slot}"),
            }),
            Some(Ok(Fetched::Missing(why))) => {
                events::stored_file_missing(slot, self.peer(), &why);
                downloads.count(Outcome::FileMissing);
                Err(Refusal::NotFound {
                    what: format!("{slot} has a row in the index, and no file: {why}"),
                })
            }
            Some(Ok(Fetched::Odd(why))) => {
                events::stored_file_odd(slot, self.peer(), &why);
                downloads.count(Outcome::FileOdd);
                Err(Refusal::StoredFileOdd(slot.clone()))
            }
            Some(Err(error)) => {
                events::lookup_failed(slot, self.peer(), &error);
                Err(Refusal::Internal)
            }
            None => Err(Refusal::Internal),
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

/// The part that a GET with this head is sent of an episode with so many bytes.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzzed_part(head: &Head, bytes: u64) -> Option<Range<u64>> {
    let sha256 = crate::names::Sha256Digest::from_bytes([0; 32]);
    match Conditions::of("GET", head).judge(&sha256, bytes) {
        Wanted::Part(part) => Some(part),
        _ => None,
    }
}

/// The head of a 200.
fn whole(slot: &Slot, stored: &StoredFile) -> Answer {
    of_the_bytes(200, slot, stored, stored.bytes)
}

/// The head of a 206.
fn partial(slot: &Slot, stored: &StoredFile, part: &Range<u64>) -> Answer {
    let Range { start, end } = part;
    let line = format!("Content-Range: bytes {start}-{}/{}", end - 1, stored.bytes);
    of_the_bytes(206, slot, stored, end - start).with_own_line(line)
}

fn of_the_bytes(status: u16, slot: &Slot, stored: &StoredFile, length: u64) -> Answer {
    let Slot { host, episode } = slot;
    let name = format!("{host}~{episode}{TARBALL_ENDING}");
    let digest = base64(stored.sha256.as_bytes());
    let headers = vec![
        "Content-Type: application/zstd",
        CACHE_LINE,
        "Accept-Ranges: bytes",
    ];
    let mut answer = Answer::new(status, headers, Vec::new())
        .with_own_line(etag_line(stored))
        .with_own_line(format!("Repr-Digest: sha-256=:{digest}:"))
        .with_own_line(format!(
            "Content-Disposition: attachment; filename=\"{name}\""
        ));
    answer.stated_length = Some(length);
    answer
}

fn not_modified(stored: &StoredFile) -> Answer {
    Answer::new(304, vec![CACHE_LINE], Vec::new()).with_own_line(etag_line(stored))
}

fn etag_line(stored: &StoredFile) -> String {
    format!("ETag: {}", entity_tag(&stored.sha256))
}
