//! `cis490 doctor` on the archive: everything that the receiver asks of the store, tried one by one, on one
//! object of its own, which is overwritten each time.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::s3::{Bucket, Fault, FaultKind, Object, Payload};
use crate::doctor::Finding;
use crate::human;
use crate::names::{Sha256Digest, StoreId};
use crate::receiver::config::{ArchiveConfig, Verify};

const SUBJECT: &str = "archive";
/// Where the object is that doctor writes; the store's id follows it.
const PROBE_PREFIX: &str = "cis490-probe/";
/// What doctor writes.
const PROBE: &[u8] = b"cis490 doctor was here\n";
/// A larger difference of the clocks is worth a word.
const CLOCK_DIFFERENCE_S: u64 = 300;

/// All lines about the store that the configuration names. `id` is that of this receiver's own store.
pub(crate) fn examine(config: &ArchiveConfig, id: Option<StoreId>) -> Vec<Finding> {
    let bucket = match Bucket::new(config) {
        Ok(bucket) => bucket,
        Err(failure) => return vec![Finding::of_failure(SUBJECT, &failure)],
    };
    let place = format!("bucket {} at {}", config.bucket, config.endpoint);
    // The first question shows the way, the keys and the clock.
    if let Err(fault) = bucket.list(PROBE_PREFIX, 1, None) {
        return vec![failed(&format!("LIST of {place}"), &fault)];
    }
    let mut findings = vec![Finding::ok(
        SUBJECT,
        format!("{place} answers; LIST is allowed"),
    )];
    findings.extend(clock(bucket.clock_difference_s()));
    let id = id.map_or("unknown".to_owned(), |id| id.to_string());
    let key = format!("{PROBE_PREFIX}{id}");
    findings.extend(objects(&bucket, &key, config.verify));
    findings.push(lifecycle(&bucket));
    findings
}

fn clock(difference_s: i64) -> Option<Finding> {
    let apart_s = difference_s.unsigned_abs();
    let side = if difference_s > 0 {
        "ahead of"
    } else {
        "behind"
    };
    let span = human::span(Duration::from_secs(apart_s));
    (apart_s > CLOCK_DIFFERENCE_S).then(|| {
        Finding::warn(
            SUBJECT,
            format!("the store's clock is {span} {side} this machine's; requests are signed with the store's time"),
            "timedatectl set-ntp true here, and look at the store's clock",
        )
    })
}

fn objects(bucket: &Bucket, key: &str, verify: Verify) -> Vec<Finding> {
    let mut findings = Vec::new();
    match refuses_other_bytes(bucket, key) {
        Ok(finding) => findings.push(finding),
        Err(fault) => return vec![failed("PUT", &fault)],
    }
    if let Err(fault) = bucket.put(key, Payload::Bytes(PROBE), &digest_of(PROBE), &[]) {
        findings.push(failed("PUT", &fault));
        return findings;
    }
    findings.push(Finding::ok(SUBJECT, "PUT is allowed"));
    match bucket.head(key) {
        Ok(object) => findings.push(judge_head(object.as_ref(), verify)),
        Err(fault) => findings.push(failed("HEAD", &fault)),
    }
    match bucket.read_back(key, PROBE.len() as u64) {
        Ok(Some(found)) if found.sha256 == digest_of(PROBE) => {
            findings.push(Finding::ok(SUBJECT, "GET brings the same bytes back"));
        }
        Ok(_) => findings.push(Finding::fail(
            SUBJECT,
            "GET does not bring back what was PUT",
            "this store loses or changes bytes: do not use it",
        )),
        Err(fault) => findings.push(failed("GET", &fault)),
    }
    findings
}

/// Whether the store refuses bytes of another digest than the one that is stated.
///
/// Errors: the store refuses for another reason.
fn refuses_other_bytes(bucket: &Bucket, key: &str) -> Result<Finding, Fault> {
    let other = digest_of(b"other bytes");
    match bucket.put(key, Payload::Bytes(PROBE), &other, &[]) {
        Ok(()) => Ok(Finding::warn(
            SUBJECT,
            "the store accepts bytes that have not the stated digest",
            "keep verify = \"read\": only reading back finds what was changed on the way",
        )),
        Err(fault) if matches!(fault.kind, FaultKind::OtherBytes | FaultKind::Refused) => Ok(
            Finding::ok(SUBJECT, "bytes that have not the stated digest are refused"),
        ),
        Err(fault) => Err(fault),
    }
}

fn judge_head(object: Option<&Object>, verify: Verify) -> Finding {
    let Some(object) = object.filter(|object| object.bytes == PROBE.len() as u64) else {
        return Finding::fail(
            SUBJECT,
            "HEAD does not find what was just PUT",
            "the store must show what it has stored at once: look at its consistency settings",
        );
    };
    let shows_digest = object.sha256 == Some(digest_of(PROBE));
    if verify == Verify::Head && !shows_digest {
        return Finding::warn(
            SUBJECT,
            "HEAD shows no SHA-256, so verify = \"head\" reads every episode back all the same",
            "set verify = \"read\"",
        );
    }
    let words = if shows_digest {
        "HEAD is allowed, and shows the SHA-256"
    } else {
        "HEAD is allowed"
    };
    Finding::ok(SUBJECT, words)
}

fn lifecycle(bucket: &Bucket) -> Finding {
    match bucket.ends_incomplete_uploads() {
        Ok(true) => Finding::ok(SUBJECT, "a rule of the bucket ends incomplete uploads"),
        // Without a rule some stores answer 404; one that denies this question does not say.
        Ok(false) => no_rule(),
        Err(fault) if fault.kind == FaultKind::NoBucket => no_rule(),
        Err(_) => Finding::ok(SUBJECT, "the bucket's rules cannot be read with these keys"),
    }
}

fn no_rule() -> Finding {
    Finding::ok(
        SUBJECT,
        "no rule of the bucket ends incomplete uploads: nothing leaves any, as long as each episode is one PUT",
    )
}

fn failed(what: &str, fault: &Fault) -> Finding {
    Finding::fail(SUBJECT, format!("{what}: {fault}"), fault.remedy())
}

fn digest_of(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::from_bytes(Sha256::digest(bytes).into())
}
