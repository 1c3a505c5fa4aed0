//! An object in parts: what has more bytes than one PUT may have.
//!
//!     begin    PUT of each part, with both digests of its own    complete    or else: abort
//!
//! 1. The file is read and compared with the receipt's digest before anything is sent: no digest of the
//!    whole goes with the parts.
//! 2. What the store says at the end does not count, HEAD does: an answer may be lost, and a 200 may have
//!    an error in its body.
//! 3. An upload that is given up is aborted, so that no parts stay that nobody sees. Those that an earlier
//!    run left are looked for once: another one of the same key is another receiver's.
//! 4. An upload is not gone on with by another run: it begins anew.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::client::{Question, Verb};
use super::fault::{Fault, FaultKind};
use super::payload::{Payload, digest_of, digest_of_part};
use super::requests::Op;
use super::{Bucket, CONTENT_TYPE, LIST_BYTES_MAX, get, xml};
use crate::backoff::Backoff;
use crate::names::Sha256Digest;
use crate::receiver::base64::base64;
use crate::sync::lock;

/// What one PUT may have: the limit of most stores.
const PUT_BYTES_MAX: u64 = 5 << 30;
/// All parts but the last one have so many bytes.
const PART_BYTES: u64 = 64 << 20;
/// With more parts each has more bytes. S3 allows twice as many, and some stores read no more than 1 MiB of
/// the list that ends an upload.
const PARTS_MAX: u64 = 5000;
/// Tries of a part, or of the end, before all that was sent is thrown away.
const TRIES: u32 = 5;
/// A store that asks to be left alone for longer ends the upload.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Uploads of one key that could not be aborted are remembered, up to so many.
const OWED_MAX: usize = 100;

/// Which files go in parts, and how large a part is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub put_bytes_max: u64,
    part_bytes: u64,
}

impl Bounds {
    const USUAL: Bounds = Bounds {
        put_bytes_max: PUT_BYTES_MAX,
        part_bytes: PART_BYTES,
    };

    /// The bounds; in a debug build those that `CIS490_ARCHIVE_PARTS` names, as `PUT_BYTES_MAX,PART_BYTES`: tests
    /// need not send gigabytes.
    #[cfg(debug_assertions)]
    pub(super) fn in_tests() -> Bounds {
        let asked = std::env::var("CIS490_ARCHIVE_PARTS").unwrap_or_default();
        let numbers = asked.split(',').map_while(|number| number.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        match numbers[..] {
            [put_bytes_max, part_bytes] => Bounds {
                put_bytes_max,
                part_bytes,
            },
            _ => Bounds::USUAL,
        }
    }

    #[cfg(not(debug_assertions))]
    pub(super) fn in_tests() -> Bounds {
        Bounds::USUAL
    }

    /// How many bytes each part of so many has.
    fn part_bytes_of(self, bytes: u64) -> u64 {
        let least = bytes.div_ceil(PARTS_MAX);
        if least <= self.part_bytes {
            return self.part_bytes;
        }
        least.next_multiple_of(1 << 20)
    }
}

/// What this run knows of its uploads in parts, by key.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Vec<UploadId>>>);

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<UploadId>>> {
        lock(&self.0)
    }
}

/// The store's name of an upload in parts. Never empty: a DELETE with an empty one could be of an object.
#[derive(Clone, Debug)]
struct UploadId(String);

impl UploadId {
    fn of(text: Option<String>) -> Option<UploadId> {
        text.filter(|text| !text.is_empty()).map(UploadId)
    }
}

/// A part that the store has.
struct Part {
    number: usize,
    /// As the store wrote it.
    etag: String,
    sha256: Sha256Digest,
}

impl Bucket {
    /// Stores the first `bytes` bytes of a file in parts.
    pub(super) fn put_in_parts(
        &self,
        key: &str,
        file: &File,
        bytes: u64,
        sha256: &Sha256Digest,
        fields: &[(&str, &str)],
    ) -> Result<(), Fault> {
        let found = digest_of(file).map_err(|error| Fault::of_file(&error))?;
        if found != *sha256 {
            return Err(Fault::of_rot(&found));
        }
        self.end_left_over(key)?;
        let upload = self.begin(key, fields)?;
        let sent = self.send_parts(key, &upload, file, bytes);
        match sent.and_then(|parts| self.complete(key, &upload, &parts, bytes)) {
            Ok(()) => {
                let owed = self.uploads.lock().remove(key).unwrap_or_default();
                // Once more; what is left then is for the bucket's own rule.
                for upload in owed {
                    self.abort(key, upload);
                }
                Ok(())
            }
            Err(fault) => {
                let owed = self.abort(key, upload);
                self.owe(key, owed);
                Err(fault)
            }
        }
    }

    /// Aborts what an earlier run left of this key, or what this one could not abort.
    ///
    /// Errors: the store does not answer now.
    fn end_left_over(&self, key: &str) -> Result<(), Fault> {
        let known = self.uploads.lock().get(key).cloned();
        let left = match known {
            Some(owed) => owed,
            None => self.uploads_of(key)?,
        };
        let left = left
            .into_iter()
            .filter_map(|upload| self.abort(key, upload));
        let left: Vec<_> = left.collect();
        self.uploads.lock().insert(key.to_owned(), left);
        Ok(())
    }

    fn owe(&self, key: &str, upload: Option<UploadId>) {
        let mut uploads = self.uploads.lock();
        let owed = uploads.entry(key.to_owned()).or_default();
        owed.extend(upload);
        let surplus = owed.len().saturating_sub(OWED_MAX);
        owed.drain(..surplus);
    }

    /// The upload again, if it is to be aborted later.
    fn abort(&self, key: &str, upload: UploadId) -> Option<UploadId> {
        let question = Question {
            verb: Verb::Delete,
            query: &[("uploadId", &upload.0)],
            ..get(key)
        };
        // One that the store does not know is ended.
        let ended = self.counted(Op::Multipart, self.text(&question));
        let is_owed = ended.is_err_and(|fault| fault.passes());
        is_owed.then_some(upload)
    }

    /// The uploads in parts of this key that were begun and not ended. Of a store that does not say there are
    /// none.
    fn uploads_of(&self, key: &str) -> Result<Vec<UploadId>, Fault> {
        let question = Question {
            query: &[("prefix", key), ("uploads", "")],
            answer_bytes: LIST_BYTES_MAX,
            ..get("")
        };
        match self.counted(Op::List, self.text(&question)) {
            Ok(xml) => Ok(uploads_in(&xml, key)),
            Err(fault) if fault.passes() => Err(fault),
            Err(_) => Ok(Vec::new()),
        }
    }

    fn begin(&self, key: &str, fields: &[(&str, &str)]) -> Result<UploadId, Fault> {
        self.counted(Op::Multipart, self.try_begin(key, fields))
    }

    fn try_begin(&self, key: &str, fields: &[(&str, &str)]) -> Result<UploadId, Fault> {
        let mut all = vec![CONTENT_TYPE, ("x-amz-checksum-algorithm", "SHA256")];
        all.extend(fields);
        let question = Question {
            verb: Verb::Post,
            query: &[("uploads", "")],
            fields: &all,
            answer_bytes: LIST_BYTES_MAX,
            ..get(key)
        };
        let no_multipart = |what: &str| {
            let what = format!("{what} to the beginning of an upload in parts");
            Fault::new(FaultKind::NoMultipart, what)
        };
        match self.client.ask(&question) {
            Ok(Some(answer)) => UploadId::of(xml::text(&answer.text(LIST_BYTES_MAX)?, "UploadId"))
                .ok_or_else(|| no_multipart("the store gave no name")),
            Ok(None) => Err(no_multipart("the store answered 404")),
            Err(fault) if matches!(fault.kind, FaultKind::Refused | FaultKind::Odd) => {
                Err(no_multipart(&fault.what))
            }
            Err(fault) => {
                // It may have begun: what is left is looked for again.
                self.uploads.lock().remove(key);
                Err(fault)
            }
        }
    }

    fn send_parts(
        &self,
        key: &str,
        upload: &UploadId,
        file: &File,
        bytes: u64,
    ) -> Result<Vec<Part>, Fault> {
        let part_bytes = self.bounds.part_bytes_of(bytes);
        let mut parts = Vec::new();
        for number in 1.. {
            let from = (number as u64 - 1) * part_bytes;
            if from >= bytes {
                break;
            }
            let bytes = part_bytes.min(bytes - from);
            let sha256 =
                digest_of_part(file, from, bytes).map_err(|error| Fault::of_file(&error))?;
            let payload = Payload::File { file, from, bytes };
            let etag = patiently(|| {
                self.counted(
                    Op::Part,
                    self.try_put_part(key, upload, number, payload, &sha256),
                )
            })?;
            parts.push(Part {
                number,
                etag,
                sha256,
            });
        }
        Ok(parts)
    }

    /// The part's ETag.
    fn try_put_part(
        &self,
        key: &str,
        upload: &UploadId,
        number: usize,
        payload: Payload,
        sha256: &Sha256Digest,
    ) -> Result<String, Fault> {
        let number = number.to_string();
        let digest = sha256.to_string();
        let question = Question {
            verb: Verb::Put,
            query: &[("partNumber", &number), ("uploadId", &upload.0)],
            fields: &[("x-amz-checksum-sha256", &base64(sha256.as_bytes()))],
            payload,
            digest: &digest,
            ..get(key)
        };
        let answer = self.client.ask(&question)?;
        let etag = answer.as_ref().and_then(|answer| answer.field("etag"));
        let etag = etag.map(str::to_owned);
        if let Some(answer) = answer {
            answer.text(LIST_BYTES_MAX)?;
        }
        etag.ok_or_else(|| {
            let what = "the store's answer to a part states no ETag";
            Fault::new(FaultKind::Odd, what)
        })
    }

    /// Makes one object of the parts. Whether it is there HEAD says, unless the store's answer does so plainly.
    fn complete(
        &self,
        key: &str,
        upload: &UploadId,
        parts: &[Part],
        bytes: u64,
    ) -> Result<(), Fault> {
        patiently(|| {
            let completed = self.try_complete(key, upload, parts, bytes);
            let Err(fault) = self.counted(Op::Multipart, completed) else {
                return Ok(());
            };
            match self.head(key)? {
                Some(object) if object.bytes == bytes => {
                    // The object may be an older one, and the upload still there.
                    self.abort(key, upload.clone());
                    Ok(())
                }
                _ => Err(fault),
            }
        })
    }

    fn try_complete(
        &self,
        key: &str,
        upload: &UploadId,
        parts: &[Part],
        bytes: u64,
    ) -> Result<(), Fault> {
        let list = list_of(parts);
        let digest = Sha256Digest::from_bytes(Sha256::digest(&list).into()).to_string();
        let question = Question {
            verb: Verb::Post,
            query: &[("uploadId", &upload.0)],
            fields: &[("content-type", "application/xml")],
            payload: Payload::Bytes(list.as_bytes()),
            digest: &digest,
            answer_bytes: LIST_BYTES_MAX,
            settled_bytes: bytes,
            ..get(key)
        };
        let Some(answer) = self.client.ask(&question)? else {
            let what = "the store does not know the upload in parts any more";
            return Err(Fault::new(FaultKind::Ended, what));
        };
        is_completed(&answer.text(LIST_BYTES_MAX)?)
    }
}

/// Tries again what the store may do at another time.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    let mut backoff = Backoff::default();
    loop {
        let fault = match attempt() {
            Ok(done) => return Ok(done),
            Err(fault) => fault,
        };
        let is_too_long = fault
            .retry_after
            .is_some_and(|asked| asked > RETRY_AFTER_MAX);
        if !fault.passes() || is_too_long || backoff.failures() + 1 >= TRIES {
            return Err(fault);
        }
        thread::sleep(backoff.fail(fault.retry_after));
    }
}

/// Whether the answer of status 200 to the end of an upload says that the object is there.
fn is_completed(xml: &str) -> Result<(), Fault> {
    if xml.contains("<CompleteMultipartUploadResult") {
        return Ok(());
    }
    let code = xml::text(xml, "Code").unwrap_or_default();
    let what =
        format!("the store answered 200 with an error to the end of an upload in parts: {code:?}");
    Err(Fault::new(FaultKind::Busy, what))
}

/// The uploads of exactly this key.
fn uploads_in(list: &str, key: &str) -> Vec<UploadId> {
    if !list.contains("<ListMultipartUploadsResult") {
        return Vec::new();
    }
    let of_key = |one: &&str| xml::text(one, "Key").as_deref() == Some(key);
    let uploads = xml::elements(list, "Upload").filter(of_key);
    uploads
        .filter_map(|one| UploadId::of(xml::text(one, "UploadId")))
        .collect()
}

/// The parts as the end of an upload names them.
fn list_of(parts: &[Part]) -> String {
    let mut list =
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for part in parts {
        let etag = part.etag.replace('&', "&amp;").replace('<', "&lt;");
        let _ = write!(
            list,
            "<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag><ChecksumSHA256>{}</ChecksumSHA256></Part>",
            part.number,
            base64(part.sha256.as_bytes())
        );
    }
    list + "</CompleteMultipartUpload>"
}

#[cfg(test)]
mod tests;
