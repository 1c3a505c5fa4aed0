//! Every log line an operator may see, a function each: the log is an interface.
//!
//! A line is `event=NAME key=value ...`, ids first, free text last and quoted. Text that came from
//! outside is quoted with its control bytes escaped, so that no peer can forge a line.
//! `ERROR` wants a person now, `WARN` soon, `INFO` never.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::names::{CommitHash, EpisodeId, HostId};
use crate::receiver::refusal::Refusal;
use crate::receiver::version_gate::{Trouble, Window};
use crate::wire::{Problem, Receipt, Slot, Source};

// --- the receiver: start, stop, connections ---

/// The receiver serves: its address, with the port that was really taken.
pub fn listening(address: SocketAddr, data_dir: impl Display) {
    log::info!(
        "event=listening address={address} data_dir={data_dir:?}",
        data_dir = data_dir.to_string()
    );
}

/// No `[[host]]` is configured: whoever reaches the port may upload. Fine behind WireGuard.
pub fn open_to_all() {
    log::warn!(
        "event=open_to_all why=\"no [[host]] in receiver.toml: whoever reaches the port may upload under any name; fine behind WireGuard, else add [[host]] tables\""
    );
}

/// SIGTERM came: nothing new is taken, what is under way may finish.
pub fn draining(uploads: u32, wait_s: u64) {
    log::info!("event=draining uploads={uploads} wait_s={wait_s}");
}

/// The end. Uploads that were cut off are sent again by their hosts.
pub fn stopped(cut_off_uploads: u32) {
    log::info!("event=stopped cut_off_uploads={cut_off_uploads}");
}

/// The limit on open files is lower than the connections and uploads need: raise LimitNOFILE.
pub fn few_files(limit: u64, wanted: u64) {
    log::warn!(
        "event=few_files limit={limit} wanted={wanted} why=\"raise LimitNOFILE (ulimit -n) or lower max_connections\""
    );
}

/// Some part of the receiver has not answered for so long. systemd's watchdog ends it if that lasts,
/// and starts it again; a report is welcome.
pub fn parts_silent(parts: &[&str], since: Duration) {
    let (parts, since_s) = (parts.join(","), since.as_secs());
    log::error!(
        "event=parts_silent parts={parts} since_s={since_s} do=\"nothing: it is started again if that lasts; look at the disk (dmesg)\""
    );
}

/// The receiver cannot connect to itself, so the watchdog does without that proof. A packet filter
/// that forbids it, or the address of `listen` has gone.
pub fn cannot_probe(address: SocketAddr, error: &io::Error) {
    log::warn!(
        "event=cannot_probe address={address} why={:?}",
        error.to_string()
    );
}

/// A connection was ended for want of progress. Many of them: a bad network, or somebody probing.
pub fn connection_ended(peer: IpAddr, why: &str) {
    log::info!("event=connection_ended peer={peer} why={why:?}");
}

/// An episode was stored: on the disk, named and indexed.
pub fn stored(receipt: &Receipt, peer: IpAddr) {
    let Receipt {
        host,
        episode,
        sha256,
        ..
    } = receipt;
    let (seq, bytes) = (receipt.seq.unwrap_or(0), receipt.bytes.unwrap_or(0));
    log::info!(
        "event=stored host={host} episode={episode} seq={seq} bytes={bytes} sha256={sha256} peer={peer}"
    );
}

/// The same bytes were here before: the sender had not heard of it.
pub fn stored_already(receipt: &Receipt, peer: IpAddr) {
    let Receipt {
        host,
        episode,
        sha256,
        ..
    } = receipt;
    log::info!("event=stored_already host={host} episode={episode} sha256={sha256} peer={peer}");
}

/// A left-over in outbox/ cannot be removed; it harms nobody. Remove it by hand.
pub fn cannot_sweep(path: &Path, error: &io::Error) {
    log::warn!(
        "event=cannot_sweep path={path:?} why={:?}",
        error.to_string()
    );
}

/// An upload was refused; `reason` is the problem's name. `not-in-window` and `bad-commit` want
/// the lab host updated, `no-token` to `not-your-name` want its configuration mended, `disk-full`
/// wants space here.
pub fn refused_upload(slot: &Slot, commit: Option<&CommitHash>, peer: IpAddr, refusal: &Refusal) {
    let Slot { host, episode } = slot;
    let (status, reason) = (refusal.status(), refusal.name());
    let commit = commit.map_or("-".to_owned(), CommitHash::to_string);
    let why = refusal.to_string();
    log::warn!(
        "event=refused host={host} episode={episode} commit={commit} peer={peer} status={status} reason={reason} why={why:?}"
    );
}

/// Any other request was refused: a typo, a proxy, or somebody probing.
pub fn refused_request(peer: IpAddr, method: &str, path: &str, refusal: &Refusal) {
    let (status, reason) = (refusal.status(), refusal.name());
    let shown = |text: &str| text.chars().take(200).collect::<String>();
    let (method, path) = (shown(method), shown(path));
    log::info!(
        "event=refused_request peer={peer} status={status} reason={reason} method={method:?} path={path:?}"
    );
}

/// The disk could not be asked about an episode; the request got a 500. Look at the disk.
pub fn lookup_failed(slot: &Slot, error: &io::Error) {
    let Slot { host, episode } = slot;
    log::error!(
        "event=lookup_failed host={host} episode={episode} why={:?}",
        error.to_string()
    );
}

/// The system gave no thread for an upload, which is tried again later: raise TasksMax.
pub fn no_thread(error: &io::Error) {
    log::error!("event=no_thread why={:?}", error.to_string());
}

// --- the store ---

/// The store is open: what the index holds, and what the last run had left in incoming/.
pub fn store_opened(dir: &Path, episodes: usize, published: usize, swept: usize) {
    log::info!(
        "event=store_opened episodes={episodes} recovered={published} swept={swept} dir={dir:?}"
    );
}

/// Something was found that we do not understand. It is kept, under another name.
pub fn quarantined(found: &Path, kept_as: &Path, why: impl Display) {
    let why = why.to_string();
    log::warn!("event=quarantined found={found:?} kept_as={kept_as:?} why={why:?}");
}

/// The index ended in the middle of a row, as after a power cut.
pub fn index_tail_cut(bytes: u64, kept_as: &Path) {
    log::warn!(
        "event=index_tail_cut bytes={bytes} kept_as={kept_as:?} why=\"the end was not a whole row; what it named is in incoming/ or for cis490 backfill\""
    );
}

/// A line of the index that is no receipt. It stays; a person may mend it.
pub fn unreadable_row(offset: u64, why: impl Display) {
    let why = why.to_string();
    log::warn!("event=unreadable_row offset={offset} why={why:?}");
}

/// More lines than one wants to read one by one.
pub fn unreadable_rows(count: usize) {
    log::warn!(
        "event=unreadable_rows count={count} why=\"these lines of index.jsonl stay and count for nothing; cis490 backfill writes new rows from the tarballs\""
    );
}

/// The filesystem of the store keeps no extended attributes.
pub fn no_attributes(dir: &Path) {
    log::warn!(
        "event=no_attributes dir={dir:?} why=\"stored files cannot carry their receipt here; a lost index is rebuilt without times and gate places\""
    );
}

/// Our own fault in storing an upload: the sender is told 500 and comes again.
pub fn store_fault(slot: &Slot, doing: &str, error: impl Display) {
    let (Slot { host, episode }, why) = (slot, error.to_string());
    log::error!("event=store_fault host={host} episode={episode} doing={doing:?} why={why:?}");
}

/// Something of the store's own housekeeping failed that the next start does again.
pub fn store_untidy(path: &Path, error: impl Display) {
    let why = error.to_string();
    log::warn!("event=store_untidy path={path:?} why={why:?}");
}

/// A stored file's bytes were not those of its row. It is kept, and the upload took its place.
pub fn damaged_file_replaced(slot: &Slot, kept_as: &Path) {
    let Slot { host, episode } = slot;
    log::error!(
        "event=damaged_file_replaced host={host} episode={episode} kept_as={kept_as:?} why=\"its bytes were not those of its row: look at the disk's health\""
    );
}

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

/// WARN. The compressor failed on this episode's bytes: it is packed again without compressing,
/// which is whole and larger. Nothing to do, but worth a report.
pub fn compressor_failed(episode: &str) {
    log::warn!("event=compressor_failed episode={episode} next=\"packed without compressing\"");
}

/// INFO. The receiver has it. 200: it had it before. `kept` is its name in shipped/.
pub fn shipped(slot: &Slot, status: u16, bytes: u64, seq: Option<u64>, kept: &str, took: Duration) {
    let (Slot { host, episode }, ms) = (slot, took.as_millis());
    let seq = seq.map_or("-".to_owned(), |seq| seq.to_string());
    log::info!(
        "event=shipped host={host} episode={episode} status={status} bytes={bytes} seq={seq} ms={ms} kept={kept:?}"
    );
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
    let head = problem
        .head_commit
        .map_or("-".to_owned(), |head| head.to_string());
    let window = problem
        .window
        .map_or("-".to_owned(), |window| window.to_string());
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
    log::warn!(
        "event=falling_out commit={commit} position={position} window={window} remaining={remaining}"
    );
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
    log::warn!(
        "event=odd_in_episodes path={path:?} why=\"not a directory named as an episode may be: 1-128 of A-Z, a-z, 0-9, . _ -\""
    );
}

/// WARN, once each. It is left alone: nothing that the shipper makes has such a name.
pub fn odd_in_outbox(path: &Path) {
    log::warn!("event=odd_in_outbox path={path:?}");
}

/// WARN, once each. An episode that cannot be looked at: mend its permissions.
pub fn cannot_look(path: &Path, error: &io::Error) {
    log::warn!(
        "event=cannot_look path={path:?} why={:?}",
        error.to_string()
    );
}

/// WARN. state.json is not ours or not whole: it is begun anew.
pub fn state_unreadable(path: &Path, error: &dyn Display) {
    log::warn!(
        "event=state_unreadable path={path:?} why={:?}",
        error.to_string()
    );
}

/// WARN, once. `cis490 status` tells old news until it can be written again.
pub fn state_unwritable(path: &Path, error: &io::Error) {
    log::warn!(
        "event=state_unwritable path={path:?} why={:?}",
        error.to_string()
    );
}

/// ERROR. Something of the shipper's own failed; it goes on and tries again.
pub fn shipper_trouble(why: impl Display) {
    log::error!("event=shipper_trouble why={:?}", why.to_string());
}
