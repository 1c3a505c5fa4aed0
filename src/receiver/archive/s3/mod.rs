//! The bucket of an S3-compatible store: the few requests that the archive makes.
//!
//! 1. Only PUT, GET, HEAD, LIST and, for what is too large for one PUT, uploads in parts are used, and
//!    nothing that stores do in different ways: no conditions, no meaning of an ETag, no versions. No object
//!    is ever deleted.
//! 2. Each PUT states the digest of its bytes twice, since stores check either one or the other.

mod address;
mod client;
mod fault;
mod multipart;
mod payload;
mod requests;
mod secret;
mod signature;
mod xml;

use std::fs::File;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

pub(crate) use self::fault::{Fault, FaultKind};
use self::multipart::{Bounds, Uploads};
pub(crate) use self::payload::{Payload, digest_of};
use self::requests::Op;
pub(crate) use self::requests::Requests;

pub(crate) use self::client::Access;
use self::client::{Answer, Client, Question, Verb};
use self::signature::NO_PAYLOAD;
use crate::clock;
use crate::failure::Failure;
use crate::names::Sha256Digest;
use crate::receiver::base64::{base64, decoded};
use crate::receiver::config::ArchiveConfig;

/// The most that is read of a list or of another answer about the bucket: 1000 keys have about 500 KiB.
const LIST_BYTES_MAX: u64 = 4 << 20;

/// The metadata of an object: its row as compact JSON, and the store that it was copied from.
pub(super) const RECEIPT_FIELD: &str = "x-amz-meta-cis490-receipt";
pub(super) const STORE_FIELD: &str = "x-amz-meta-cis490-store";

const CONTENT_TYPE: (&str, &str) = ("content-type", "application/zstd");

/// One bucket. Its requests may come from several threads.
pub(crate) struct Bucket {
    client: Client,
    requests: Requests,
    bounds: Bounds,
    uploads: Uploads,
}

/// What a HEAD says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub bytes: u64,
    /// How long ago it was stored, by the store's own two dates.
    pub age: Option<Duration>,
    /// The digest of the whole object, if the store shows one. A claim, and no proof.
    pub sha256: Option<Sha256Digest>,
    /// Its metadata: the receipt that it was stored with, and the id of the store that it is from.
    pub receipt: Option<String>,
    pub store: Option<String>,
}

/// A part of the bucket's list, in the order of keys.
#[derive(Debug)]
pub(crate) struct Listing {
    pub objects: Vec<Listed>,
    /// With which the next part is asked for; `None` behind the last one.
    pub next: Option<String>,
}

/// An object in a list.
#[derive(Debug)]
pub(crate) struct Listed {
    pub key: String,
    pub bytes: u64,
}

/// All bytes of an object, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadBack {
    /// Not more than one beyond what was expected.
    pub bytes: u64,
    pub sha256: Sha256Digest,
}

impl Bucket {
    /// Reads the keys and the CA, and asks nothing yet.
    ///
    /// Errors: one of them cannot be read.
    pub(crate) fn new(config: &ArchiveConfig) -> Result<Bucket, Failure> {
        Ok(Bucket {
            client: Client::new(config)?,
            requests: Requests::default(),
            bounds: Bounds::in_tests(),
            uploads: Uploads::default(),
        })
    }

    /// The store's clock minus ours, in seconds; 0 before the first answer.
    pub(crate) fn clock_difference_s(&self) -> i64 {
        self.client.clock_difference_s()
    }

    /// Our time or the store's, whichever is later.
    pub(crate) fn latest_time(&self) -> SystemTime {
        self.client.time().max(SystemTime::now())
    }

    /// Where anybody can GET an object for this time.
    pub(crate) fn presigned(&self, key: &str, valid: Duration) -> String {
        self.client.presigned(key, valid)
    }

    /// From the next request on these keys are used.
    pub(crate) fn set_access(&self, access: Access) {
        self.client.set_access(access);
    }

    /// How the requests have ended.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// What there is under a key; `None` if nothing is.
    pub(crate) fn head(&self, key: &str) -> Result<Option<Object>, Fault> {
        self.counted(Op::Head, self.try_head(key))
    }

    fn counted<T>(&self, op: Op, result: Result<T, Fault>) -> Result<T, Fault> {
        self.requests.count(op, &result);
        result
    }

    fn try_head(&self, key: &str) -> Result<Option<Object>, Fault> {
        let fields = [("x-amz-checksum-mode", "ENABLED")];
        let question = Question {
            verb: Verb::Head,
            fields: &fields,
            ..get(key)
        };
        let Some(answer) = self.client.ask(&question)? else {
            return Ok(None);
        };
        let length = answer.field("content-length");
        let Some(bytes) = length.and_then(|text| text.trim().parse().ok()) else {
            let what = "the store's answer to HEAD states no length";
            return Err(Fault::new(FaultKind::Odd, what));
        };
        Ok(Some(Object {
            bytes,
            age: age(&answer),
            sha256: answer.field("x-amz-checksum-sha256").and_then(whole_digest),
            receipt: answer.field(RECEIPT_FIELD).map(str::to_owned),
            store: answer.field(STORE_FIELD).map(str::to_owned),
        }))
    }

    /// Stores the first so many bytes of a file as [`Bucket::put`] does, in parts if there are too many for
    /// one PUT.
    ///
    /// Errors: those of `put`; of what goes in parts also that the file's own digest is another one.
    pub(crate) fn put_file(
        &self,
        key: &str,
        file: &File,
        bytes: u64,
        sha256: &Sha256Digest,
        fields: &[(&str, &str)],
    ) -> Result<(), Fault> {
        if bytes > self.bounds.put_bytes_max {
            return self.put_in_parts(key, file, bytes, sha256, fields);
        }
        let payload = Payload::File {
            file,
            from: 0,
            bytes,
        };
        self.put(key, payload, sha256, fields)
    }

    /// Stores an object, or replaces one. `fields` are further ones: names in lower case, values in ASCII.
    ///
    /// Errors: the store refused, or it is not known whether it has stored the bytes.
    pub(crate) fn put(
        &self,
        key: &str,
        payload: Payload,
        sha256: &Sha256Digest,
        fields: &[(&str, &str)],
    ) -> Result<(), Fault> {
        let digest = sha256.to_string();
        let checksum = base64(sha256.as_bytes());
        let mut all = vec![CONTENT_TYPE, ("x-amz-checksum-sha256", &*checksum)];
        all.extend(fields);
        let question = Question {
            verb: Verb::Put,
            fields: &all,
            payload,
            digest: &digest,
            ..get(key)
        };
        let done = self.client.ask(&question).and_then(|answer| {
            // A 404 to a PUT is about the bucket, and an error. What a success says is of no interest; it
            // is read so that the connection can be used again.
            answer.map_or(Ok(()), |answer| answer.text(LIST_BYTES_MAX).map(|_| ()))
        });
        self.counted(Op::Put, done)
    }

    /// Reads a whole object; `None` if there is none. Of one that is longer than `bytes` the rest is not read.
    pub(crate) fn read_back(&self, key: &str, bytes: u64) -> Result<Option<ReadBack>, Fault> {
        self.counted(Op::Get, self.try_read_back(key, bytes))
    }

    fn try_read_back(&self, key: &str, bytes: u64) -> Result<Option<ReadBack>, Fault> {
        let question = Question {
            answer_bytes: bytes,
            ..get(key)
        };
        let Some(answer) = self.client.ask(&question)? else {
            return Ok(None);
        };
        let mut hasher = Sha256::new();
        let found = answer.read(bytes.saturating_add(1), |part| hasher.update(part))?;
        Ok(Some(ReadBack {
            bytes: found,
            sha256: Sha256Digest::from_bytes(hasher.finalize().into()),
        }))
    }

    /// At most `keys_max` objects whose keys begin so: the first ones, or those of the part that `after`
    /// names.
    pub(crate) fn list(
        &self,
        prefix: &str,
        keys_max: usize,
        after: Option<&str>,
    ) -> Result<Listing, Fault> {
        let keys_max = keys_max.to_string();
        let mut query = vec![
            ("list-type", "2"),
            ("max-keys", &*keys_max),
            ("prefix", prefix),
        ];
        query.extend(after.map(|token| ("continuation-token", token)));
        let question = Question {
            query: &query,
            answer_bytes: LIST_BYTES_MAX,
            ..get("")
        };
        let xml = self.counted(Op::List, self.text(&question))?;
        listing(&xml).ok_or_else(|| {
            let what = "the store's answer to LIST is no list";
            Fault::new(FaultKind::Odd, what)
        })
    }

    /// Asks for the bucket itself: the 404 of a HEAD does not say whether it is the object that is gone, or
    /// all of the bucket.
    ///
    /// Errors: there is no such bucket, or the store does not answer.
    pub(crate) fn look(&self) -> Result<(), Fault> {
        self.list("", 1, None).map(|_| ())
    }

    /// Whether the bucket has a rule that ends incomplete uploads.
    ///
    /// Errors: the store does not say.
    pub(crate) fn ends_incomplete_uploads(&self) -> Result<bool, Fault> {
        let question = Question {
            query: &[("lifecycle", "")],
            answer_bytes: LIST_BYTES_MAX,
            ..get("")
        };
        let xml = self.text(&question)?;
        Ok(xml.contains("AbortIncompleteMultipartUpload"))
    }

    fn text(&self, question: &Question) -> Result<String, Fault> {
        let answer = self.client.ask(question)?;
        answer.map_or(Ok(String::new()), |answer| answer.text(LIST_BYTES_MAX))
    }
}

/// A GET of a key without anything else.
fn get(key: &str) -> Question<'_> {
    Question {
        verb: Verb::Get,
        key,
        query: &[],
        fields: &[],
        payload: Payload::None,
        digest: NO_PAYLOAD,
        answer_bytes: 0,
        settled_bytes: 0,
    }
}

fn listing(xml: &str) -> Option<Listing> {
    if !xml.contains("<ListBucketResult") {
        return None;
    }
    let mut objects = Vec::new();
    for one in xml::elements(xml, "Contents") {
        objects.push(Listed {
            key: xml::text(one, "Key")?,
            bytes: xml::text(one, "Size")?.parse().ok()?,
        });
    }
    let is_cut = xml::text(xml, "IsTruncated").as_deref() == Some("true");
    let next = xml::text(xml, "NextContinuationToken");
    // A list that is cut and does not say where would be taken for all of it.
    if is_cut && next.is_none() {
        return None;
    }
    Some(Listing {
        objects,
        next: if is_cut { next } else { None },
    })
}

fn age(answer: &Answer) -> Option<Duration> {
    let now = clock::parse_http_date(answer.field("date")?)?;
    let stored = clock::parse_http_date(answer.field("last-modified")?)?;
    // Of a store whose two dates contradict each other the object is new.
    Some(now.duration_since(stored).unwrap_or(Duration::ZERO))
}

/// The digest in base64, unless it is one of parts (`...-N`).
fn whole_digest(text: &str) -> Option<Sha256Digest> {
    let bytes: [u8; 32] = decoded(text.trim())?.try_into().ok()?;
    Some(Sha256Digest::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_all_of_it_or_says_where_it_goes_on() {
        let part =
            |inside: &str| listing(&format!("<ListBucketResult>{inside}</ListBucketResult>"));
        let one = "<Contents><Key>a~b</Key><Size>7</Size></Contents>";
        let whole = part(&format!("<IsTruncated>false</IsTruncated>{one}")).unwrap();
        assert_eq!((whole.objects.len(), whole.next), (1, None));
        assert_eq!((&*whole.objects[0].key, whole.objects[0].bytes), ("a~b", 7));
        let cut = "<IsTruncated>true</IsTruncated>";
        let token = "<NextContinuationToken>x&amp;y</NextContinuationToken>";
        let next = part(&format!("{cut}{token}{one}")).unwrap().next;
        assert_eq!(next.as_deref(), Some("x&y"));
        assert!(part(cut).is_none());
        assert!(part("<Contents><Key>a</Key></Contents>").is_none());
        assert!(listing("<html></html>").is_none());
    }

    #[test]
    fn only_the_digest_of_the_whole_is_one() {
        let digest = Sha256Digest::from_bytes([7; 32]);
        let text = base64(digest.as_bytes());
        assert_eq!(whole_digest(&text), Some(digest));
        assert_eq!(whole_digest(&format!("{text}-3")), None);
        assert_eq!(whole_digest(""), None);
    }
}
