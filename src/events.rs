//! Every log line an operator may see, a function each: the log is an interface.
//!
//! A line is `event=NAME key=value ...`, ids first, free text last and quoted. Text that came from
//! outside is quoted with its control bytes escaped, so that no peer can forge a line.
//! `ERROR` wants a person now, `WARN` soon, `INFO` never.

use std::fmt::Display;

/// A line for a person that belongs to no request: what was found at start, what was mended.
pub fn note(what: impl Display) {
    log::info!("event=note what={:?}", what.to_string());
}

// --- the receiver: start, stop, connections ---

// --- the store ---

// --- the version gate ---

// --- the shipper ---

/// INFO. The shipper is up.
pub fn shipper_started(host: &HostId, receiver: &str, root: &Path) {
    log::info!("event=shipper_started host={host} receiver={receiver:?} root={root:?}");
}

/// INFO. SIGHUP: everything is tried again now, the token is read again.
pub fn shipper_reloading() {
    log::info!("event=shipper_reloading");
}

/// INFO. SIGTERM or SIGINT came.
pub fn shipper_stopping() {
    log::info!("event=shipper_stopping");
}

/// INFO. The shipper ended by itself.
pub fn shipper_stopped() {
    log::info!("event=shipper_stopped");
}

/// WARN. It ended in the middle of packing or sending one: that one is begun anew next time.
pub fn shipper_cut_short() {
    log::warn!("event=shipper_cut_short");
}

/// INFO. An episode became a tarball.
pub fn packed(episode: &EpisodeId, from_bytes: u64, bytes: u64, took: Duration) {
    let ms = took.as_millis();
    log::info!("event=packed episode={episode} from_bytes={from_bytes} bytes={bytes} ms={ms}");
}

/// INFO. The receiver has it. 200: it had it before. `kept` is its name in shipped/.
pub fn shipped(slot: &Slot, status: u16, bytes: u64, seq: Option<u64>, kept: &str, took: Duration) {
    let (Slot { host, episode }, ms) = (slot, took.as_millis());
    let seq = seq.map_or("-".to_owned(), |seq| seq.to_string());
    log::info!("event=shipped host={host} episode={episode} status={status} bytes={bytes} seq={seq} ms={ms} kept={kept:?}");
}

/// WARN. This episode waits, the others go on.
pub fn deferred(episode: &EpisodeId, attempt: u32, wait: Duration, why: &str) {
    let wait_s = wait.as_secs();
    log::warn!("event=deferred episode={episode} attempt={attempt} wait_s={wait_s} why={why:?}");
}

/// WARN. All episodes wait: the receiver is not there, or takes nothing now.
pub fn receiver_away(attempt: u32, wait: Duration, why: &str) {
    let wait_s = wait.as_secs();
    log::warn!("event=receiver_away attempt={attempt} wait_s={wait_s} why={why:?}");
}

/// ERROR. The receiver does not let this host in: mend token_file, host_id or the receiver's [[host]].
pub fn not_let_in(status: u16, why: &str) {
    log::error!("event=not_let_in status={status} why={why:?}");
}

/// ERROR. It said stored, and the receipt is not for what was sent: the episode is kept. Look who
/// answers at receiver_url.
pub fn receipt_wrong(slot: &Slot, status: u16, why: &str) {
    let Slot { host, episode } = slot;
    log::error!("event=receipt_wrong host={host} episode={episode} status={status} why={why:?}");
}

/// ERROR. An episode went to refused/, as `kept`: look at its why.json, then `cis490 requeue`.
pub fn refused(episode: &EpisodeId, kept: &str, status: Option<u16>, why: &str) {
    let status = status.map_or("-".to_owned(), |status| status.to_string());
    log::error!("event=refused episode={episode} status={status} kept={kept:?} why={why:?}");
}

/// ERROR, once a hold. The gate refuses a commit; the lines to paste follow, indented, so that
/// none of them can pass for a line of this log.
pub fn held(commit: &CommitHash, problem: &Problem) {
    let head = problem.head_commit.map_or("-".to_owned(), |head| head.to_string());
    let window = problem.window.map_or("-".to_owned(), |window| window.to_string());
    let why = &problem.detail;
    let mut text = format!("event=held commit={commit} head={head} window={window} why={why:?}");
    for line in remediation_lines(problem.remediation.as_deref().unwrap_or("")) {
        text += "\n    ";
        text += &line;
    }
    log::error!("{text}");
}

/// The lines of a remediation, without the control bytes that could move a terminal's cursor.
pub fn remediation_lines(remediation: &str) -> Vec<String> {
    const LINES_MAX: usize = 100;
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect();
    remediation.lines().take(LINES_MAX).map(clean).collect()
}

/// INFO. The gate takes a held commit now: its episodes are sent.
pub fn released(commit: &CommitHash) {
    log::info!("event=released commit={commit}");
}

/// WARN. The gate was asked about a held commit, and the answer was no answer.
pub fn gate_unclear(commit: &CommitHash, why: &str) {
    log::warn!("event=gate_unclear commit={commit} why={why:?}");
}

/// WARN, once a change. The commit is about to fall out of the window: update this lab host.
pub fn falling_out(commit: &CommitHash, position: u32, window: u32, remaining: u32) {
    log::warn!("event=falling_out commit={commit} position={position} window={window} remaining={remaining}");
}

/// ERROR. The lab host's disk is full: packing waits, what is packed is sent.
pub fn disk_full(root: &Path, wait: Duration, why: &io::Error) {
    let (wait_s, why) = (wait.as_secs(), why.to_string());
    log::error!("event=disk_full root={root:?} wait_s={wait_s} why={why:?}");
}

/// INFO. A copy of what the receiver has was removed.
pub fn shipped_removed(dir: &Path, why: &str) {
    log::info!("event=shipped_removed dir={dir:?} why={why:?}");
}

/// INFO. A tarball without its episode was removed: the episode had left before a crash.
pub fn orphan_swept(path: &Path) {
    log::info!("event=orphan_swept path={path:?}");
}

/// INFO. A half-packed tarball of an earlier run was removed.
pub fn partial_swept(path: &Path) {
    log::info!("event=partial_swept path={path:?}");
}

/// WARN, once each. It is left alone: not a directory, or its name is no episode id. Rename it.
pub fn odd_in_episodes(path: &Path) {
    log::warn!("event=odd_in_episodes path={path:?} why=\"not a directory named as an episode may be: 1-128 of A-Z, a-z, 0-9, . _ -\"");
}

/// WARN, once each. It is left alone: nothing that the shipper makes has such a name.
pub fn odd_in_outbox(path: &Path) {
    log::warn!("event=odd_in_outbox path={path:?}");
}

/// WARN, once each. An episode that cannot be looked at: mend its permissions.
pub fn cannot_look(path: &Path, error: &io::Error) {
    log::warn!("event=cannot_look path={path:?} why={:?}", error.to_string());
}

/// WARN. state.json is not ours or not whole: it is begun anew.
pub fn state_unreadable(path: &Path, error: &dyn Display) {
    log::warn!("event=state_unreadable path={path:?} why={:?}", error.to_string());
}

/// WARN, once. `cis490 status` tells old news until it can be written again.
pub fn state_unwritable(path: &Path, error: &io::Error) {
    log::warn!("event=state_unwritable path={path:?} why={:?}", error.to_string());
}

/// ERROR. Something of the shipper's own failed; it goes on and tries again.
pub fn shipper_trouble(why: impl Display) {
    log::error!("event=shipper_trouble why={:?}", why.to_string());
}
