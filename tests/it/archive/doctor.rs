//! `cis490 doctor` tries the store step by step.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::store::{Mishap, ScriptedStore};
use super::{world, write_secret};
use serde_json::Value;

use crate::operator::doctor;

#[test]
fn doctor_finds_a_good_store_well() {
    let store = ScriptedStore::start();
    store.set_lifecycle("<Rule><AbortIncompleteMultipartUpload/></Rule>");
    let world = world(&store, "");
    let (_, report) = doctor(&world.config_path(), &[]);
    let findings = report["findings"].as_array().unwrap();
    let lines: Vec<_> = findings
        .iter()
        .filter(|one| one["subject"] == "archive")
        .map(|one| format!("{} {}", one["verdict"], one["found"]))
        .collect();
    let all = lines.join("\n");
    for words in [
        "LIST is allowed",
        "bytes that have not the stated digest are refused",
        "PUT is allowed",
        "HEAD is allowed, and shows the SHA-256",
        "GET brings the same bytes back",
        "a rule of the bucket ends incomplete uploads",
    ] {
        assert!(all.contains(words), "{words}\n{all}");
    }
    assert!(lines.iter().all(|line| line.starts_with("\"ok\"")), "{all}");
    let keys = store.keys();
    assert!(
        keys.len() == 1 && keys[0].starts_with("cis490-probe/"),
        "{keys:?}"
    );
}

#[test]
fn doctor_says_what_is_wrong_with_the_store_and_what_to_do() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "verify = \"head\"\n");
    let cases = [
        (
            "GET",
            Mishap::Refuses(403, "InvalidAccessKeyId"),
            "secret_file",
        ),
        (
            "GET",
            Mishap::Refuses(404, "NoSuchBucket"),
            "make the bucket",
        ),
        (
            "GET",
            Mishap::Refuses(400, "AuthorizationHeaderMalformed"),
            "archive.region",
        ),
        (
            "GET",
            Mishap::Refuses(301, "PermanentRedirect"),
            "archive.endpoint",
        ),
        ("GET", Mishap::LosesTheAnswer, "does the store run"),
        ("GET", Mishap::Pretends, "S3-compatible"),
        ("PUT", Mishap::Refuses(403, "AccessDenied"), "rights"),
        ("HEAD", Mishap::Refuses(403, ""), "rights"),
    ];
    for (method, mishap, remedy) in cases {
        store.always(method, "", mishap);
        let (code, report) = doctor(&world.config_path(), &[]);
        assert_eq!(code, 3, "{report:#}");
        says(&report, "fail", remedy);
        store.calm();
    }
    // A store that checks nothing and shows nothing, and whose clock is off.
    store.set_digests(false, false);
    store.set_clock(1000);
    let (_, report) = doctor(&world.config_path(), &[]);
    says(&report, "warn", "verify = \"read\"");
    says(&report, "warn", "timedatectl");
    store.once("GET", "cis490-probe/", Mishap::FlipsABit);
    let (code, report) = doctor(&world.config_path(), &[]);
    assert_eq!(code, 3);
    says(&report, "fail", "do not use it");

    // The keys' file.
    let secret = world.dir().join("s3-keys");
    write_secret(&secret, "KEY-ALONE\n");
    let (code, report) = doctor(&world.config_path(), &[]);
    assert_eq!(code, 3);
    says(&report, "fail", "a line each");
    write_secret(&secret, "KEY\nSECRET\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, report) = doctor(&world.config_path(), &[]);
    assert_eq!(code, 3);
    says(&report, "fail", "chmod o=");
    assert!(!report.to_string().contains("SECRET"));
    assert!(
        !world.try_start(),
        "it starts with keys that everybody can read"
    );
}

/// Fails unless a line about the store has this verdict and these words in its remedy.
fn says(report: &Value, verdict: &str, remedy: &str) {
    let findings = report["findings"].as_array().unwrap();
    let says = |one: &Value| {
        let words = one["do"].as_str().unwrap_or_default();
        one["subject"] == "archive" && one["verdict"] == verdict && words.contains(remedy)
    };
    assert!(findings.iter().any(says), "{verdict} {remedy}\n{report:#}");
}
