//! `HEAD` and `PATCH /v1/uploads/{host}/{episode}`: how far a broken upload is, and the rest of it (design,
//! section 13).
//!
//! Both end the connection of an upload of the same bytes that is still under way: after a break on the line
//! it may hang for a while, and the sender that asks has given it up.

use std::time::{Duration, Instant};

use super::Exchange;
use super::guard::{Answer, Reply};
use super::head::{Framing, Head};
use super::put::{Judged, check_match};
use super::upload::refusal_of_kept;
use crate::names::Sha256Digest;
use crate::receiver::Claim;
use crate::receiver::refusal::Refusal;
use crate::receiver::store::Standing;
use crate::wire::Slot;

/// How long a request waits for the end of an upload that it wants to go on with. The blocks that have come
/// of it are still written to the disk.
const END_PATIENCE: Duration = Duration::from_secs(10);

impl Exchange<'_> {
    /// Answers a HEAD or a PATCH for a broken upload.
    pub(super) fn resume(self, slot: Slot, head: &Head, framing: Framing) -> Reply {
        if self.request.method == "HEAD" {
            return self.report_progress(&slot, head, framing);
        }
        if !head.has_length() {
            return self.refuse_closing(&Refusal::LengthRequired);
        }
        let judged = self
            .authorize_upload(&slot, head)
            .and_then(|()| self.claim_of_rest(&slot, head, framing.length))
            .and_then(|(claim, offset)| self.judge_rest(claim, offset, head.if_match()));
        self.upload(Judged::of(judged, &slot, head), framing)
    }

    /// The answer to HEAD.
    fn report_progress(self, slot: &Slot, head: &Head, framing: Framing) -> Reply {
        let progress = self
            .authorize_upload(slot, head)
            .and_then(|()| head.sha256())
            .and_then(|sha256| {
                self.end_under_way(slot, &sha256)?;
                let progress = self.shared.uploads.kept.progress(slot, &sha256);
                progress.map_err(|why| refusal_of_kept(why, slot, 0))
            });
        let answer = match progress {
            Ok(progress) => Answer::progress(progress),
            Err(refusal) => {
                // A sender asks before each large upload: that nothing is kept is no news.
                if !matches!(refusal, Refusal::NothingKept(_)) {
                    self.log_refusal(&refusal);
                }
                Answer::refusal(&refusal)
            }
        };
        self.reply_unread(answer, framing)
    }

    /// What a PATCH claims of the whole body, and where its own begins.
    fn claim_of_rest(self, slot: &Slot, head: &Head, length: u64) -> Result<(Claim, u64), Refusal> {
        let claim = self.claim(slot.clone(), head, length)?;
        let offset = head.upload_offset()?;
        let bytes = offset.checked_add(length).ok_or_else(|| {
            Refusal::BadHead("Upload-Offset and Content-Length together are too large".to_owned())
        })?;
        Ok((Claim { bytes, ..claim }, offset))
    }

    /// In this order: the episode that has the name, what is kept of the upload, the gate, the size, the
    /// space, the permit.
    fn judge_rest(
        self,
        claim: Claim,
        offset: u64,
        if_match: Option<&[u8]>,
    ) -> Result<Judged, Refusal> {
        // First: it may be storing the episode just now.
        self.end_under_way(&claim.slot, &claim.sha256)?;
        let looked = self.look_at_the_store(&claim, Some(offset))?;
        check_match(if_match, &looked.standing, &claim)?;
        match looked.standing {
            Standing::Stored(receipt) => return Ok(Judged::Stored(receipt)),
            Standing::Taken => return Err(Refusal::Taken(claim.slot)),
            Standing::Free | Standing::Absent(_) => {}
        }
        let kept = self.shared.uploads.kept.look(&claim, offset);
        kept.map_err(|why| refusal_of_kept(why, &claim.slot, offset))?;
        let place = self.place(&claim)?;
        self.admit(claim, place, &looked, Some(offset))
    }

    /// Ends an upload of these bytes that is under way, and waits until it has ended. A probe ends nothing.
    ///
    /// Errors: 503 if it does not end in time.
    fn end_under_way(self, slot: &Slot, sha256: &Sha256Digest) -> Result<(), Refusal> {
        let until = Instant::now() + END_PATIENCE;
        while !self.is_probe
            && let Some(ended) = self.shared.uploads.kept.end_under_way(slot, sha256)
        {
            let patience = until.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Err(Refusal::StillUnderWay(slot.clone()));
            }
            // An error too says that it has ended, or that the patience is over.
            let _ = ended.recv_timeout(patience);
        }
        Ok(())
    }
}
