//! `GET` and `HEAD /v1/episodes/{host}/{episode}.tar.zst`: the bytes of an episode, for readers (design,
//! section 11).
//!
//! 1. Nobody gets a byte, or hears whether there is one, but a reader.
//! 2. A file is sent only if it has the size of its row, and never more of it than the row says.
//! 3. Only what sends a file's bytes takes a place: heads, 304 and refusals do not wait for one.
//! 4. A small file leaves its connection open, if the peer wants that and has sent nothing behind its
//!    request. Every other answer ends it.

mod bundle;
mod conditions;
mod outcome;
mod places;
mod sending;

#[cfg(any(test, fuzzing))]
mod fuzzed;

use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use self::conditions::{Conditions, Wanted, entity_tag};
#[cfg(any(test, fuzzing))]
pub(super) use self::fuzzed::part as fuzzed_part;
#[cfg(any(test, fuzzing))]
pub use self::fuzzed::range as fuzzed_range;
use self::outcome::Outcome;
pub(super) use self::places::Downloads;
use self::places::{AtOnce, Download, Transfer};
use super::guard::{Answer, Length, Reply, Responder};
use super::head::{Framing, Head};
use super::{Exchange, Shared};
use crate::events;
use crate::names::{ReaderId, Sha256Digest};
use crate::receiver::archive::Archive;
use crate::receiver::base64::base64;
use crate::receiver::refusal::Refusal;
use crate::receiver::store::{Fetched, Store, StoredFile, scrub};
use crate::wire::{Receipt, Slot, TARBALL_ENDING};

/// A stored episode never changes; a cache that others share does not keep it, since not all of them may read.
const CACHE_LINE: &str = "Cache-Control: private, max-age=31536000, immutable";

/// A file of at most so many bytes is sent by the thread that has found it, and its connection goes on: a
/// new connection, and another thread, cost more than the file does.
const SMALL_BYTES_MAX: u64 = 256 << 10;

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

/// What a request for bytes comes to.
enum Judged {
    Answered(Answer),
    /// A thread of its own sends it.
    Sends {
        transfer: Box<Transfer>,
        closes: bool,
    },
    /// It was sent, and the connection goes on.
    Sent,
    /// Sending it broke off.
    Broken,
}

/// A reader's request for bytes, for a plain thread to judge.
struct Question {
    shared: Arc<Shared>,
    slot: Slot,
    reader: ReaderId,
    peer: IpAddr,
    conditions: Conditions,
    is_head: bool,
    /// The peer has not asked for the end of the connection, and there is no body that stays unread.
    may_go_on: bool,
    responder: Responder,
}

impl Exchange<'_> {
    /// Answers a request for the bytes of an episode.
    pub(super) fn fetch(self, slot: Slot, head: &Head, framing: Framing) -> Reply {
        let judged = self.reader(head).and_then(|reader| {
            let question = Question {
                shared: Arc::clone(self.shared),
                slot,
                reader,
                peer: self.peer(),
                conditions: Conditions::of(self.request.method, head),
                is_head: self.request.method == "HEAD",
                may_go_on: !framing.closes && framing.length == 0 && !framing.expects_continue,
                responder: self.request.responder(),
            };
            let before = self.request.answered_bytes();
            let found = self.shared.downloads.find(move || question.judge());
            match found {
                Some(judged) => judged,
                // It panicked. Nothing may follow a part of an answer.
                None if self.request.answered_bytes() > before => Ok(Judged::Broken),
                None => Err(Refusal::Internal),
            }
        });
        match judged {
            Ok(Judged::Answered(answer)) => self.reply_unread(answer, framing),
            Ok(Judged::Sends { transfer, closes }) => self.send(transfer, closes, framing),
            Ok(Judged::Sent) => sent(true, false, framing),
            Ok(Judged::Broken) => sent(false, true, framing),
            Err(refusal) => self.refuse_fetch(&refusal, framing),
        }
    }

    /// Has a thread send the answer, and waits until that has ended.
    fn send(self, transfer: Box<Transfer>, closes: bool, framing: Framing) -> Reply {
        let downloads = &self.shared.downloads;
        let has_begun = transfer.has_begun();
        match downloads.send_on_thread(transfer) {
            Ok(running) => sent(running.wait(downloads), closes, framing),
            Err(error) if has_begun => {
                events::no_thread(self.peer(), &error);
                sent(false, true, framing)
            }
            Err(error) => self.refuse_for_want_of_a_thread(&error),
        }
    }

    /// Nothing of the answer was sent, and its connection ends.
    fn refuse_for_want_of_a_thread(self, error: &io::Error) -> Reply {
        events::no_thread(self.peer(), error);
        self.refuse_closing(&self.shared.downloads.full())
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

fn sent(is_whole: bool, closes: bool, framing: Framing) -> Reply {
    Reply::Sent {
        is_whole,
        closes,
        unread_bytes: framing.length,
    }
}

impl Question {
    /// In this order: whether we are stopping, the file, the conditions, the range, the place.
    fn judge(self) -> Result<Judged, Refusal> {
        self.shared.is_no_stop()?;
        let stored = match self.find()? {
            Found::Here(fetched) => self.stored_file(fetched)?,
            Found::Archived(row) => return self.judge_archived(&row),
        };
        let described = Described {
            bytes: stored.bytes,
            sha256: stored.sha256,
        };
        let (answer, part) = match self.conditions.judge(&stored.sha256, stored.bytes) {
            Wanted::OtherBytes => return Err(Refusal::OtherBytesStored(self.slot)),
            Wanted::Outside => {
                return Err(Refusal::Outside {
                    bytes: stored.bytes,
                });
            }
            Wanted::NotModified => return Ok(Judged::Answered(not_modified(described))),
            Wanted::Whole => (whole(&self.slot, described), 0..stored.bytes),
            Wanted::Part(part) => (partial(&self.slot, described, &part), part),
        };
        if self.is_head || part.is_empty() {
            return Ok(Judged::Answered(answer));
        }
        let permit = self.shared.downloads.permit(self.peer)?;
        // A stop that began before the place was taken does not wait for it.
        self.shared.is_no_stop()?;
        let is_small = stored.bytes <= SMALL_BYTES_MAX;
        let goes_on = is_small && self.may_go_on && self.responder.may_go_on();
        let outgoing = self.responder.outgoing(answer, !goes_on);
        let download = Download {
            slot: self.slot,
            reader: self.reader,
            file: stored.file,
            file_bytes: stored.bytes,
            part,
            permit,
        };
        let downloads = &self.shared.downloads;
        let transfer = downloads.begin(download, outgoing);
        if !goes_on {
            return Ok(Judged::Sends {
                transfer,
                closes: true,
            });
        }
        Ok(match downloads.send_at_once(transfer) {
            AtOnce::Sent => Judged::Sent,
            AtOnce::Broken => Judged::Broken,
            AtOnce::Part(transfer) => Judged::Sends {
                transfer,
                closes: false,
            },
        })
    }

    /// HEAD and `If-None-Match` are answered from the row; a GET is sent to the store, whose business the
    /// range is then.
    fn judge_archived(self, row: &Receipt) -> Result<Judged, Refusal> {
        let described = Described {
            bytes: row.bytes.unwrap_or_default(),
            sha256: row.sha256,
        };
        let conditions = Conditions {
            range: None,
            ..self.conditions
        };
        match conditions.judge(&row.sha256, described.bytes) {
            Wanted::OtherBytes => return Err(Refusal::OtherBytesStored(self.slot)),
            Wanted::NotModified => return Ok(Judged::Answered(not_modified(described))),
            _ => {}
        }
        // A row of an older version may not know the length that a HEAD is answered with.
        if self.is_head && row.bytes.is_some() {
            return Ok(Judged::Answered(whole(&self.slot, described)));
        }
        let Some(archive) = &self.shared.archive else {
            return Err(Refusal::Internal);
        };
        events::download_redirected(&self.slot, &self.reader, self.peer);
        self.shared.downloads.count(Outcome::Redirected);
        let address = archive.presigned(&self.slot, &row.sha256);
        let answer = Answer::new(307, vec!["Cache-Control: no-store"], Vec::new())
            .with_own_line(format!("Location: {address}"));
        Ok(Judged::Answered(answer))
    }

    /// Where the bytes are; the file is opened.
    fn find(&self) -> Result<Found, Refusal> {
        let Question { slot, peer, .. } = self;
        let Shared {
            store,
            archive,
            observed,
            ..
        } = &*self.shared;
        let found = look(store, archive.as_deref(), slot);
        match &found {
            Ok(Found::Here(Fetched::Stored(_)) | Found::Archived(_)) => observed.intact(slot),
            Ok(Found::Here(Fetched::Missing(_, why))) => {
                observed.damaged(slot, scrub::Kind::Missing, why);
            }
            Ok(Found::Here(Fetched::Odd(why))) => {
                observed.damaged(slot, scrub::Kind::Rotten, why);
            }
            Ok(Found::Here(Fetched::Unknown)) => {}
            Err(error) => events::lookup_failed(slot, *peer, error),
        }
        found.map_err(|_| Refusal::Internal)
    }

    /// The file that is sent.
    fn stored_file(&self, fetched: Fetched) -> Result<StoredFile, Refusal> {
        let Question { slot, peer, .. } = self;
        let downloads = &self.shared.downloads;
        match fetched {
            Fetched::Stored(stored) => Ok(stored),
            Fetched::Unknown => Err(Refusal::NotFound {
                what: format!("no episode is stored as {slot}"),
            }),
            Fetched::Missing(_, why) => {
                events::stored_file_missing(slot, *peer, &why);
                downloads.count(Outcome::FileMissing);
                Err(Refusal::NotFound {
                    what: format!("{slot} has a row in the index, and no file: {why}"),
                })
            }
            Fetched::Odd(why) => {
                events::stored_file_odd(slot, *peer, &why);
                downloads.count(Outcome::FileOdd);
                Err(Refusal::StoredFileOdd(slot.clone()))
            }
        }
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
    answer.length = Length::Stated(length);
    answer
}

fn not_modified(episode: Described) -> Answer {
    Answer::new(304, vec![CACHE_LINE], Vec::new()).with_own_line(etag_line(episode))
}

fn etag_line(episode: Described) -> String {
    format!("ETag: {}", entity_tag(&episode.sha256))
}
