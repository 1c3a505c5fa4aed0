//! Why a request to the store did not succeed, and what a person does about it.
//!
//! The status decides. Stores have different codes for the same thing, so a code is for the words, except
//! where it tells two meanings of one status apart.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::names::Sha256Digest;

/// What went wrong, as far as the archive acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// No connection, or one that broke. Whether the store did what was asked is not known.
    Away,
    /// The store says that it cannot now: 5xx and 429.
    Busy,
    /// The keys, or their rights: 401 and 403.
    Denied,
    /// The store's clock and the time of the signature differ, also after they were compared.
    Clock,
    /// There is no such bucket.
    NoBucket,
    /// The store is elsewhere: 3xx, which is never followed.
    Moved,
    /// The store found other bytes than those of the digest that was stated.
    OtherBytes,
    /// Larger than the store accepts in one request.
    TooLarge,
    /// Larger than one request may be, and the store accepts no parts.
    NoMultipart,
    /// The store does not know the upload in parts any more: somebody else has ended it.
    Ended,
    /// The store does not understand the request: another region, another protocol.
    Refused,
    /// The local file could not be read to its end.
    OwnFile,
    /// An answer that no store gives.
    Odd,
}

/// One request's failure.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub kind: FaultKind,
    /// What happened, in words.
    pub what: String,
    /// How long the store asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, what: impl Into<String>) -> Fault {
        Fault {
            kind,
            what: what.into(),
            retry_after: None,
        }
    }

    pub(crate) fn of_file(error: &io::Error) -> Fault {
        Fault::new(
            FaultKind::OwnFile,
            format!("the local file cannot be read: {error}"),
        )
    }

    /// The local file has this digest, and not that of its row.
    pub(crate) fn of_rot(found: &Sha256Digest) -> Fault {
        let what = format!("the local file has the digest {found}, and not that of its row");
        Fault::new(FaultKind::OwnFile, what)
    }

    /// An answer that is not a success. `location` is of a redirect.
    pub(super) fn of_answer(
        status: u16,
        code: Option<&str>,
        region: Option<&str>,
        location: Option<&str>,
        retry_after: Option<Duration>,
    ) -> Fault {
        let mut what = format!("the store answered {status}");
        if let Some(code) = code {
            what += &format!(" {code}");
        }
        if let Some(region) = region {
            what += &format!(" and names the region {region}");
        }
        if let Some(location) = location {
            what += &format!(" and points to {location}");
        }
        Fault {
            kind: kind_of(status, code.unwrap_or_default()),
            what,
            retry_after,
        }
    }

    /// Whether the same request may succeed at another time, with nobody doing anything.
    pub(crate) fn passes(&self) -> bool {
        matches!(self.kind, FaultKind::Away | FaultKind::Busy)
    }

    /// What a person does.
    pub(crate) fn remedy(&self) -> &'static str {
        match self.kind {
            FaultKind::Away => {
                "does the store run, and are archive.endpoint and the way to it right (curl -v ENDPOINT)?"
            }
            FaultKind::Busy => "nothing if it passes; otherwise the store's own log says why",
            FaultKind::Denied => {
                "look at the keys in secret_file (read again by itself) and at their rights on the bucket: put, get, list, abort; at region too"
            }
            FaultKind::Clock => {
                "one of the two clocks is wrong: timedatectl set-ntp true here, and look at the store's"
            }
            FaultKind::NoBucket => {
                "make the bucket, or correct archive.bucket; with path_style = false, is the bucket's own host name known to the store?"
            }
            FaultKind::Moved => {
                "set archive.endpoint and archive.region to where the bucket is; redirects are not followed"
            }
            FaultKind::OtherBytes => {
                "the bytes were changed: on the way, or on this disk (cis490 scrub finds that)"
            }
            FaultKind::TooLarge => "raise the store's limit on one PUT",
            FaultKind::NoMultipart => {
                "nothing else is held up, and the episode stays here; a store with multipart uploads is needed for more than 5 GiB"
            }
            FaultKind::Ended => {
                "it is begun again; does a rule of the bucket end incomplete uploads too early, or is the episode sent by two receivers?"
            }
            FaultKind::Refused => "look at archive.region, and whether the endpoint is that of S3",
            FaultKind::OwnFile => "look at the disk (dmesg), then: cis490 scrub",
            FaultKind::Odd => "is archive.endpoint that of an S3-compatible store?",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl FaultKind {
    /// In the order of the variants.
    pub(super) const ALL: [FaultKind; 13] = [
        FaultKind::Away,
        FaultKind::Busy,
        FaultKind::Denied,
        FaultKind::Clock,
        FaultKind::NoBucket,
        FaultKind::Moved,
        FaultKind::OtherBytes,
        FaultKind::TooLarge,
        FaultKind::NoMultipart,
        FaultKind::Ended,
        FaultKind::Refused,
        FaultKind::OwnFile,
        FaultKind::Odd,
    ];

    /// One word, for the log and the figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FaultKind::Away => "away",
            FaultKind::Busy => "busy",
            FaultKind::Denied => "denied",
            FaultKind::Clock => "clock",
            FaultKind::NoBucket => "no-bucket",
            FaultKind::Moved => "moved",
            FaultKind::OtherBytes => "other-bytes",
            FaultKind::TooLarge => "too-large",
            FaultKind::NoMultipart => "no-multipart",
            FaultKind::Ended => "ended",
            FaultKind::Refused => "refused",
            FaultKind::OwnFile => "own-file",
            FaultKind::Odd => "odd",
        }
    }
}

fn kind_of(status: u16, code: &str) -> FaultKind {
    match (status, code) {
        (400 | 403, "RequestTimeTooSkewed") => FaultKind::Clock,
        (401 | 403, _) => FaultKind::Denied,
        (404, "NoSuchUpload") => FaultKind::Ended,
        (404, _) => FaultKind::NoBucket,
        (413, _) | (400, "EntityTooLarge") => FaultKind::TooLarge,
        (
            400,
            "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch"
            | "InvalidDigest"
            | "BadDigest",
        ) => FaultKind::OtherBytes,
        (429 | 500..=599, _) => FaultKind::Busy,
        (300..=399, _) => FaultKind::Moved,
        (400..=499, _) => FaultKind::Refused,
        _ => FaultKind::Odd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_decides_and_a_code_tells_two_meanings_apart() {
        for (status, code, kind) in [
            (403, "SignatureDoesNotMatch", FaultKind::Denied),
            (403, "", FaultKind::Denied),
            (403, "RequestTimeTooSkewed", FaultKind::Clock),
            (401, "", FaultKind::Denied),
            (404, "NoSuchBucket", FaultKind::NoBucket),
            (404, "NoSuchUpload", FaultKind::Ended),
            (400, "XAmzContentSHA256Mismatch", FaultKind::OtherBytes),
            (400, "InvalidDigest", FaultKind::OtherBytes),
            (400, "AuthorizationHeaderMalformed", FaultKind::Refused),
            (400, "EntityTooLarge", FaultKind::TooLarge),
            (413, "", FaultKind::TooLarge),
            (503, "SlowDown", FaultKind::Busy),
            (500, "", FaultKind::Busy),
            (429, "", FaultKind::Busy),
            (501, "NotImplemented", FaultKind::Busy),
            (301, "PermanentRedirect", FaultKind::Moved),
            (418, "", FaultKind::Refused),
            (204, "", FaultKind::Odd),
        ] {
            assert_eq!(kind_of(status, code), kind, "{status} {code}");
        }
    }

    #[test]
    fn a_fault_says_what_the_store_has_said() {
        let fault = Fault::of_answer(
            400,
            Some("AuthorizationHeaderMalformed"),
            Some("garage"),
            None,
            None,
        );
        assert_eq!(
            fault.to_string(),
            "the store answered 400 AuthorizationHeaderMalformed and names the region garage"
        );
        assert!(fault.remedy().contains("archive.region"));
    }
}
