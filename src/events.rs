//! Every log line an operator may see, a function each: the log is an interface.
//!
//! A line is `event=NAME key=value ...`, ids first, free text last and quoted. Text that came from
//! outside is quoted with its control bytes escaped, so that no peer can forge a line.
//! `ERROR` wants a person now, `WARN` soon, `INFO` never.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use crate::names::CommitHash;
use crate::receiver::version_gate::{Trouble, Window};
use crate::wire::{Slot, Source};

/// A line for a person that belongs to no request: what was found at start, what was mended.
pub fn note(what: impl Display) {
    log::info!("event=note what={:?}", what.to_string());
}

// --- the receiver: start, stop, connections ---

// --- the store ---

// --- the version gate ---

/// Another window, or the same from another source (`source=git-fallback`: Forgejo has failed).
/// `commits` is how many it has of the configured `window`.
pub fn gate_window(now: &Window, configured: u32, age: Duration) {
    let (source, head, commits) = (now.source(), now.head(), now.commits().len());
    let age_s = age.as_secs();
    log::info!(
        "event=gate_window source={source} head={head} commits={commits} window={configured} age_s={age_s}"
    );
}

/// A source did not tell the window; the one that we have stays, `age_s` old. Told when it begins
/// and every ten minutes while it lasts. `do` is what the operator does now.
pub fn gate_refresh_failed(source: Source, trouble: &Trouble, age: Option<Duration>) {
    let Trouble { kind, what, remedy } = trouble;
    let age_s = age.map_or("none".to_owned(), |age| age.as_secs().to_string());
    log::warn!(
        "event=gate_refresh_failed source={source} kind={kind} age_s={age_s} why={what:?} do={remedy:?}"
    );
}

/// The source answers again.
pub fn gate_source_back(source: Source) {
    log::info!("event=gate_source_back source={source}");
}

/// Nobody has told any window since the start: every upload waits (503). Repeated as above.
pub fn gate_has_no_window() {
    log::error!(
        "event=gate_has_no_window why=\"no source has told the newest commits; every upload is answered 503\" do=\"mend what event=gate_refresh_failed names\""
    );
}

/// At start: `enabled = false`.
pub fn gate_is_disabled() {
    log::warn!(
        "event=gate_is_disabled why=\"version_gate.enabled = false: episodes of any commit are taken\""
    );
}

/// A disabled gate has let in what it would have refused.
pub fn gate_would_refuse(slot: &Slot, commit: Option<&CommitHash>, why: &str) {
    let Slot { host, episode } = slot;
    let commit = commit.map_or("none".to_owned(), CommitHash::to_string);
    log::warn!("event=gate_would_refuse host={host} episode={episode} commit={commit} why={why:?}");
}

/// `window.json` is damaged: the gate begins without it.
pub fn gate_file_unreadable(path: &Path, why: &dyn Display) {
    let why = why.to_string();
    log::warn!(
        "event=gate_file_unreadable path={path:?} why={why:?} do=\"nothing: it is written anew\""
    );
}

/// `window.json` is about another repository or branch: the gate begins without it.
pub fn gate_file_of_another(path: &Path, branch: &str) {
    log::info!("event=gate_file_of_another path={path:?} branch={branch:?}");
}

/// `window.json` could not be written: after a restart the gate knows less.
pub fn gate_file_unwritable(path: &Path, why: &dyn Display) {
    let why = why.to_string();
    log::warn!(
        "event=gate_file_unwritable path={path:?} why={why:?} do=\"see that data_dir has room and belongs to this program's user\""
    );
}

// --- the shipper ---
