//! The lines of the version gate.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::names::CommitHash;
use crate::wire::{Slot, Source};

/// `commits` are known of the `configured` ones at most.
pub(crate) fn gate_window(
    source: Source,
    head: &CommitHash,
    commits: usize,
    configured: u32,
    age: Duration,
) {
    let age_s = age.as_secs();
    line!(
        gate_window,
        "source={source} head={head} commits={commits} window={configured} age_s={age_s}"
    );
}

/// Why a source could not be asked, and what a person does about it.
pub struct SourceFault<'a> {
    /// One word for each sort.
    pub kind: &'a str,
    /// The sentence for a person: the question and its failure.
    pub what: &'a str,
    /// The person's next step.
    pub remedy: &'a str,
}

pub(crate) fn gate_refresh_failed(source: Source, fault: &SourceFault, age: Option<Duration>) {
    let SourceFault { kind, what, remedy } = fault;
    let age_s = age.map_or("none".to_owned(), |age| age.as_secs().to_string());
    line!(
        gate_refresh_failed,
        "source={source} kind={kind} age_s={age_s} why={what:?} do={remedy:?}"
    );
}

pub(crate) fn gate_cannot_tell(commit: &CommitHash, fault: &SourceFault) {
    let SourceFault { kind, what, remedy } = fault;
    line!(
        gate_cannot_tell,
        "commit={commit} kind={kind} why={what:?} do={remedy:?}"
    );
}

pub(crate) fn gate_token_read_again(path: &Path) {
    line!(gate_token_read_again, "path={path:?}");
}

pub(crate) fn gate_source_back(source: Source) {
    line!(gate_source_back, "source={source}");
}

pub(crate) fn gate_has_no_window() {
    line!(
        gate_has_no_window,
        "why=\"no source has reported the newest commits; every upload is answered 503\" do=\"fix what event=gate_refresh_failed names\""
    );
}

pub(crate) fn gate_is_disabled() {
    line!(
        gate_is_disabled,
        "why=\"version_gate.enabled = false: episodes of any commit are accepted\""
    );
}

pub(crate) fn gate_would_refuse(slot: &Slot, commit: Option<&CommitHash>, peer: IpAddr, why: &str) {
    let Slot { host, episode } = slot;
    let commit = commit.map_or("none".to_owned(), CommitHash::to_string);
    paced_line!(
        peer,
        gate_would_refuse,
        "host={host} episode={episode} commit={commit} peer={peer} why={why:?}"
    );
}

pub(crate) fn gate_file_unreadable(path: &Path, why: &dyn Display) {
    let why = why.to_string();
    line!(
        gate_file_unreadable,
        "path={path:?} why={why:?} do=\"nothing: the file is written again\""
    );
}

pub(crate) fn gate_file_of_another(path: &Path, branch: &str) {
    line!(gate_file_of_another, "path={path:?} branch={branch:?}");
}

pub(crate) fn gate_file_unwritable(path: &Path, why: &dyn Display) {
    let why = why.to_string();
    line!(
        gate_file_unwritable,
        "path={path:?} why={why:?} do=\"make sure that data_dir has room and belongs to the user that runs cis490 receive\""
    );
}
