//! `cis490 doctor` on a machine that pulls: the folder, the disk, the receiver, and what the last pull left.

use std::path::Path;

use super::folder::Folder;
use super::missing::Missing;
use super::receipts::Receipts;
use crate::doctor::{self, Finding};
use crate::failure::Failure;
use crate::human::counted;
use crate::reader_client::ReaderClient;

/// Tries what a pull into `dir` needs. `client` asks the receiver; without one the reason is a finding.
pub(crate) fn examine(dir: &Path, client: Result<ReaderClient, Failure>) -> Vec<Finding> {
    let mut findings = vec![doctor::versions(), doctor::clock()];
    if dir.is_dir() {
        findings.extend(doctor::disk(dir, 0));
        findings.push(contents(dir));
    } else {
        findings.push(Finding::fail(
            "folder",
            format!("{} is not there", dir.display()),
            "is its disk mounted? if so: sudo cis490 install puller makes it",
        ));
    }
    findings.push(match client.and_then(|client| client.may_read()) {
        Ok(()) => Finding::ok("receiver", "it answers, and lets this machine read"),
        Err(failure) => Finding::of_failure("receiver", &failure),
    });
    findings
}

/// What is in the folder. A pull that runs has it to itself.
fn contents(dir: &Path) -> Finding {
    if !dir.join("index.jsonl").exists() {
        return Finding::ok(
            "folder",
            format!("{}: nothing was pulled yet", dir.display()),
        );
    }
    let folder = match Folder::enter(dir) {
        Ok(folder) => folder,
        Err(failure) => return Finding::warn("folder", failure.error(), failure.hint()),
    };
    let counts = Receipts::open(&folder).and_then(|receipts| {
        Ok((
            receipts.all().count(),
            Missing::load(&folder)?.rows().count(),
        ))
    });
    let (here, missing) = match counts {
        Ok(counts) => counts,
        Err(end) => return Finding::of_failure("folder", end.failure()),
    };
    let found = format!(
        "{}: {} here",
        dir.display(),
        counted(here as u64, "episode")
    );
    if missing == 0 {
        return Finding::ok("folder", found);
    }
    Finding::warn(
        "folder",
        format!("{found}, and {missing} that the receiver lists and does not give"),
        "pull-missing.jsonl names them; cis490 scrub on the Pi says what happened to them",
    )
}
