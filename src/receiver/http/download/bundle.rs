//! `GET` and `HEAD /v1/episodes.tar`: the small episodes of a page of the list, in one answer, for readers.
//!
//! 1. The question is that of a list, and so are the page and the fields that say where the next one begins:
//!    who has asked for the list knows which episodes come.
//! 2. An episode is in it if its row says that it is small, and if its file is here and has the size of its row.
//!    Any other is left out: it has a path of its own, whose answer says what is the matter with it.
//! 3. The answer's length is known at its end. So it comes in chunks, one for each episode and one for the end of
//!    the tar; a peer of HTTP/1.0 has the end of the connection. One that breaks off lacks the end of the tar.
//! 4. The page, which is in memory until it is sent, is bounded by the places of downloads; so a HEAD, which reads
//!    it too, takes one.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use super::outcome::Outcome;
use super::places::Downloads;
use super::sending::{ToPeer, has_no_room};
use super::sent;
use crate::events::{self, BundleEnd};
use crate::names::ReaderId;
use crate::receiver::http::Exchange;
use crate::receiver::http::fair_limiter::Permit;
use crate::receiver::http::guard::{Answer, Length, Reply};
use crate::receiver::http::head::{Framing, Head};
use crate::receiver::http::list_query::ListQuery;
use crate::receiver::refusal::Refusal;
use crate::receiver::store::{Fetched, Store, StoredFile};
use crate::wire::{self, Receipt, Slot};

/// A tar consists of blocks of so many bytes, and ends with two that are all zeros.
const BLOCK_BYTES: u64 = 512;
const END_BLOCKS: [u8; 2 * BLOCK_BYTES as usize] = [0; 2 * BLOCK_BYTES as usize];

/// What a request for a bundle comes to.
enum Judged {
    /// To a HEAD.
    Answered(Answer),
    Sends(Bundle),
}

/// A bundle on its way.
struct Bundle {
    store: Arc<Store>,
    /// The page of the list: whole lines.
    rows: Vec<u8>,
    to: ToPeer,
    /// The peer knows chunks.
    is_chunked: bool,
    reader: ReaderId,
    peer: IpAddr,
    permit: Permit,
    began: Instant,
    episodes: u64,
}

impl Exchange<'_> {
    /// Answers a request for a bundle.
    pub(in crate::receiver::http) fn bundle(self, head: &Head, framing: Framing) -> Reply {
        let bundle = match self.judge_bundle(head) {
            Ok(Judged::Sends(bundle)) => bundle,
            Ok(Judged::Answered(answer)) => return self.reply_unread(answer, framing),
            Err(refusal) => {
                self.log_refusal(&refusal);
                return self.reply_unread(Answer::refusal(&refusal), framing);
            }
        };
        let downloads = &self.shared.downloads;
        match downloads.run_on_thread(|downloads| bundle.send(downloads)) {
            Ok(running) => sent(running.wait(downloads), true, framing),
            Err(error) => self.refuse_for_want_of_a_thread(&error),
        }
    }

    /// In this order: the query's grammar, the reader, whether we are stopping, the place, the cursor.
    fn judge_bundle(self, head: &Head) -> Result<Judged, Refusal> {
        let (_, query) = self.request.target.split_once('?').unwrap_or_default();
        let query = ListQuery::parse(query)?;
        let reader = self.reader(head)?;
        let downloads = &self.shared.downloads;
        self.shared.is_no_stop()?;
        let permit = downloads.permit(self.peer())?;
        // A stop that began before the place was taken does not wait for it.
        self.shared.is_no_stop()?;
        let page = self.read_page(&query)?;
        let is_chunked = self.request.version > 0;
        let mut answer = Answer::new(
            200,
            vec!["Content-Type: application/x-tar", "Cache-Control: no-store"],
            Vec::new(),
        );
        answer.own_lines = self.page_lines(&page, wire::BUNDLE_PATH, &query);
        answer.length = if is_chunked {
            Length::Chunked
        } else {
            Length::UntilClose
        };
        if self.request.method == "HEAD" {
            return Ok(Judged::Answered(answer));
        }
        Ok(Judged::Sends(Bundle {
            store: Arc::clone(&self.shared.store),
            rows: page.rows,
            to: downloads.to_peer(self.request.responder().outgoing(answer, true)),
            is_chunked,
            reader,
            peer: self.peer(),
            permit,
            began: Instant::now(),
            episodes: 0,
        }))
    }
}

impl Bundle {
    /// Sends all of it, and waits until the peer has it; how that ended.
    fn send(mut self, downloads: &Downloads) -> Outcome {
        let sent = self.send_all().and_then(|()| self.to.await_the_peer());
        let outcome = sent.err().unwrap_or(Outcome::Complete);
        let Bundle {
            to,
            reader,
            peer,
            permit,
            began,
            episodes,
            ..
        } = self;
        downloads.free(permit, || {
            let bytes = to.outgoing.body_taken();
            downloads.count_end(bytes, outcome);
            events::bundle_ended(&BundleEnd {
                reader: &reader,
                peer,
                episodes,
                bytes,
                seconds: began.elapsed().as_secs_f64(),
                outcome: outcome.name(),
            });
        });
        outcome
    }

    fn send_all(&mut self) -> Result<(), Outcome> {
        let rows = std::mem::take(&mut self.rows);
        for line in rows.split(|byte| *byte == b'\n') {
            // The page has rows alone, and a break behind the last one.
            let Ok(row) = serde_json::from_slice::<Receipt>(line) else {
                continue;
            };
            if let Some((slot, file)) = self.file_of(&row) {
                self.send_one(&slot, &file)?;
            }
        }
        self.begin_chunk(END_BLOCKS.len() as u64);
        self.to.outgoing.put(&END_BLOCKS);
        self.end_chunk();
        if self.is_chunked {
            self.to.outgoing.put(b"0\r\n\r\n");
        }
        self.until_done(|to| to.outgoing.send_last())
    }

    /// The file of a row, if it is one of a bundle's.
    fn file_of(&self, row: &Receipt) -> Option<(Slot, StoredFile)> {
        if row
            .bytes
            .is_none_or(|bytes| wire::BUNDLED_BYTES_MAX < bytes)
        {
            return None;
        }
        let slot = row.slot();
        // What cannot be read is the business of the episode's own path.
        let Ok(Fetched::Stored(file)) = self.store.fetch(&slot) else {
            return None;
        };
        let is_the_rows = row.bytes == Some(file.bytes) && file.sha256 == row.sha256;
        is_the_rows.then_some((slot, file))
    }

    fn send_one(&mut self, slot: &Slot, stored: &StoredFile) -> Result<(), Outcome> {
        let header = header_of(slot, stored).map_err(|_| Outcome::Failed)?;
        let padding = stored.bytes.next_multiple_of(BLOCK_BYTES) - stored.bytes;
        self.begin_chunk(header.len() as u64 + stored.bytes + padding);
        self.to.outgoing.put(&header);
        let mut offset = 0;
        self.until_done(|to| {
            if !to.outgoing.send_ahead()? {
                return Ok(false);
            }
            let left = (stored.bytes - offset) as usize;
            if left > 0 && to.outgoing.send_file(&stored.file, &mut offset, left)? == 0 {
                // The file ends before its row does.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(offset == stored.bytes)
        })?;
        self.to.outgoing.put(&END_BLOCKS[..padding as usize]);
        self.end_chunk();
        self.episodes += 1;
        Ok(())
    }

    fn begin_chunk(&mut self, bytes: u64) {
        if self.is_chunked {
            self.to.outgoing.put(format!("{bytes:x}\r\n").as_bytes());
        }
    }

    fn end_chunk(&mut self) {
        if self.is_chunked {
            self.to.outgoing.put(b"\r\n");
        }
    }

    /// Calls `send` until it says that it is done, and waits for the peer where its socket has no room.
    fn until_done(
        &mut self,
        mut send: impl FnMut(&mut ToPeer) -> io::Result<bool>,
    ) -> Result<(), Outcome> {
        loop {
            match send(&mut self.to) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if has_no_room(&error)? => self.to.await_room()?,
                Err(_) => {}
            }
        }
    }
}

/// What stands in the tar before the bytes of an episode: its header, and before that its name where that is
/// too long for a header.
fn header_of(slot: &Slot, stored: &StoredFile) -> io::Result<Vec<u8>> {
    let modified = stored.file.metadata()?.modified()?;
    let mut header = tar::Header::new_gnu();
    header.set_size(stored.bytes);
    header.set_mode(0o644);
    header.set_mtime(
        modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    );
    let name = format!("{slot}{}", wire::TARBALL_ENDING);
    let mut tar = tar::Builder::new(Vec::with_capacity(BLOCK_BYTES as usize));
    tar.append_data(&mut header, name, io::empty())?;
    // What it would give back itself has the end of a tar behind it.
    Ok(tar.get_ref().clone())
}
