//! What the operator types: `doctor`, `status` on either side, help, completions, manual pages.

mod colour;
mod completions;
mod doctor;
mod figures;
mod help;
mod json;
mod status;
mod watch;

use std::process::Output;

use serde_json::Value;

use crate::world::cis490;

fn run(args: &[&str]) -> (i32, String, String) {
    ended(cis490().args(args).output().unwrap())
}

fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The finding of a subject in `doctor --json`, and the exit status.
pub fn doctor(config: &str, more: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(&[&["doctor", "--json", "--config", config], more].concat());
    let report = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{err}"));
    (code, report)
}

fn finding<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    let mut of_subject = findings.iter().filter(|one| one["subject"] == subject);
    of_subject
        .next()
        .unwrap_or_else(|| panic!("no {subject} in {report:#}"))
}

/// What doctor found of a subject. Panics unless the verdict is this one, with `remedy` in what to do.
pub fn told(report: &Value, subject: &str, verdict: &str, remedy: &str) -> String {
    let one = finding(report, subject);
    assert_eq!(one["verdict"], verdict, "{report:#}");
    let to_do = one["do"].as_str().unwrap();
    assert!(to_do.contains(remedy), "{remedy}\n{one:#}");
    assert!(verdict == "ok" || !to_do.is_empty(), "{one:#}");
    one["found"].as_str().unwrap().to_owned()
}
