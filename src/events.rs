//! Every log line an operator may see, a function each: the log is an interface.
//!
//! A line is `event=NAME key=value ...`, ids first, free text last and quoted. Text that came from
//! outside is quoted with its control bytes escaped (`{text:?}`), so that no peer can forge a line.
//! `ERROR`: act now. `WARN`: act soon. `INFO`: no action.
//!
//! What each line means and what to do about it stands in `events/manual.rs` and nowhere else;
//! `cis490 help events` prints it. A new event takes two steps, and the compiler asks for both:
//!
//! 1. an entry in the manual: `warn my_event "what it means" "what to do";`
//! 2. a function here: `line!(my_event, "host={host} why={why:?}")`, or `line!(my_event)` if there
//!    is nothing to add. Name and level come from the manual.
//!
//! A line that a peer can cause is a `paced_line!(peer, my_event, ...)`: see `events/pace.rs`.
//!
//! How a line reaches its reader is the business of `events/logger.rs`.

pub(crate) mod logger;
pub(crate) mod manual;
pub(crate) mod pace;

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::names::{CommitHash, EpisodeId, HostId};
use crate::wire::{Known, Problem, Receipt, Slot, Source};

/// Writes the line of an event of the manual, followed by the values of this instance.
macro_rules! line {
    ($event:ident) => {
        log::log!(manual::event::$event.level, "event={}", manual::event::$event.name)
    };
    ($event:ident, $($rest:tt)+) => {
        log::log!(
            manual::event::$event.level,
            "event={} {}",
            manual::event::$event.name,
            format_args!($($rest)+)
        )
    };
}

/// The same for what a peer can cause as often as it likes: written no faster than `pace` allows.
macro_rules! paced_line {
    ($peer:expr, $event:ident, $($rest:tt)+) => {
        if pace::admits(manual::event::$event.name, $peer) {
            let text = format!($($rest)+);
            pace::charge(text.len());
            line!($event, "{text}");
        }
    };
}

// --- either side ---

/// The last words of a program that systemd runs. A person at a terminal gets them as two lines.
pub(crate) fn failed(error: &str, hint: &str) {
    line!(failed, "why={error:?} do={hint:?}");
}

/// Root started this on a folder of somebody else.
pub(crate) fn became_user(folder: &Path, uid: u32, gid: u32) {
    line!(became_user, "folder={folder:?} uid={uid} gid={gid}");
}

/// A secret that is not read again.
pub(crate) fn secret_of_root(file: &Path) {
    line!(secret_of_root, "file={file:?}");
}

/// A thread panicked, at this place of the source.
pub(crate) fn panicked(thread: &str, place: &str, why: &str) {
    line!(panic, "thread={thread:?} at={place:?} why={why:?}");
}

// --- the receiver: start, stop, connections ---

pub(crate) fn listening(address: SocketAddr, data_dir: impl Display) {
    line!(
        listening,
        "address={address} data_dir={data_dir:?}",
        data_dir = data_dir.to_string()
    );
}

pub(crate) fn open_to_all() {
    line!(
        open_to_all,
        "why=\"no [[host]] in receiver.toml: anyone who can reach the port may upload under any name; fine behind WireGuard, otherwise add [[host]] tables\""
    );
}

pub(crate) fn draining(uploads: u32, wait_s: u64) {
    line!(draining, "uploads={uploads} wait_s={wait_s}");
}

/// Lines that were not written. At the end of a process, and once a minute.
pub(crate) fn left_out(left_out: &pace::LeftOut) {
    let pace::LeftOut { event, peer, count } = left_out;
    line!(left_out, "of={event} peer={peer} count={count}");
}

pub(crate) fn stopped(cut_off_uploads: u32) {
    pace::left_out().iter().for_each(left_out);
    line!(stopped, "cut_off_uploads={cut_off_uploads}");
}

pub(crate) fn few_files(limit: u64, wanted: u64, connections: u32, uploads: u32) {
    line!(
        few_files,
        "limit={limit} wanted={wanted} connections={connections} uploads={uploads}"
    );
}

pub(crate) fn parts_silent(parts: &[&str], since: Duration) {
    let (parts, since_s) = (parts.join(","), since.as_secs());
    line!(parts_silent, "parts={parts} since_s={since_s}");
}

pub(crate) fn cannot_probe(address: SocketAddr, error: &io::Error) {
    let why = error.to_string();
    line!(cannot_probe, "address={address} why={why:?}");
}

pub(crate) fn crowded(peer: IpAddr, open: usize, displaced: u64) {
    paced_line!(
        peer,
        crowded,
        "peer={peer} open={open} displaced={displaced}"
    );
}

pub(crate) fn connection_ended(peer: IpAddr, why: &str) {
    paced_line!(peer, connection_ended, "peer={peer} why={why:?}");
}

pub(crate) fn stored(receipt: &Receipt, peer: IpAddr) {
    let Receipt {
        host,
        episode,
        sha256,
        ..
    } = receipt;
    let (seq, bytes) = (receipt.seq.unwrap_or(0), receipt.bytes.unwrap_or(0));
    line!(
        stored,
        "host={host} episode={episode} seq={seq} bytes={bytes} sha256={sha256} peer={peer}"
    );
}

pub(crate) fn stored_already(receipt: &Receipt, peer: IpAddr) {
    let Receipt {
        host,
        episode,
        sha256,
        ..
    } = receipt;
    paced_line!(
        peer,
        stored_already,
        "host={host} episode={episode} sha256={sha256} peer={peer}"
    );
}

pub(crate) fn cannot_sweep(path: &Path, error: &io::Error) {
    line!(cannot_sweep, "path={path:?} why={:?}", error.to_string());
}

/// A refusal as a line names it.
pub(crate) struct Refused<'a> {
    pub status: u16,
    /// The problem's name.
    pub reason: &'a str,
    pub why: String,
}

pub(crate) fn refused_upload(
    slot: &Slot,
    commit: Option<&CommitHash>,
    peer: IpAddr,
    refused: &Refused,
) {
    let Slot { host, episode } = slot;
    let Refused {
        status,
        reason,
        why,
    } = refused;
    let commit = commit.map_or("-".to_owned(), CommitHash::to_string);
    paced_line!(
        peer,
        refused,
        "host={host} episode={episode} commit={commit} peer={peer} status={status} reason={reason} why={why:?}"
    );
}

pub(crate) fn refused_request(peer: IpAddr, method: &str, path: &str, refused: &Refused) {
    let Refused { status, reason, .. } = refused;
    let shown = |text: &str| text.chars().take(200).collect::<String>();
    let (method, path) = (shown(method), shown(path));
    paced_line!(
        peer,
        refused_request,
        "peer={peer} status={status} reason={reason} method={method:?} path={path:?}"
    );
}

/// `reason` is `-` where it would have been let in.
pub(crate) fn probed(peer: IpAddr, path: &str, status: u16, reason: &str) {
    let path: String = path.chars().take(200).collect();
    paced_line!(
        peer,
        probed,
        "peer={peer} status={status} reason={reason} path={path:?}"
    );
}

/// `begins` is how what came begins.
pub(crate) fn unreadable_request(peer: IpAddr, refused: &Refused, begins: &str) {
    let Refused {
        status,
        reason,
        why,
    } = refused;
    paced_line!(
        peer,
        unreadable_request,
        "peer={peer} status={status} reason={reason} begins={begins:?} why={why:?}"
    );
}

pub(crate) fn lookup_failed(slot: &Slot, peer: IpAddr, error: &io::Error) {
    let Slot { host, episode } = slot;
    let why = error.to_string();
    paced_line!(
        peer,
        lookup_failed,
        "host={host} episode={episode} peer={peer} why={why:?}"
    );
}

pub(crate) fn no_thread(peer: IpAddr, error: &io::Error) {
    let why = error.to_string();
    paced_line!(peer, no_thread, "peer={peer} why={why:?}");
}

pub(crate) fn refusals_unreadable(path: &Path, error: &io::Error) {
    line!(
        refusals_unreadable,
        "path={path:?} why={:?}",
        error.to_string()
    );
}

pub(crate) fn refusals_unwritable(path: &Path, error: &io::Error) {
    line!(
        refusals_unwritable,
        "path={path:?} why={:?}",
        error.to_string()
    );
}

// --- the store ---

pub(crate) fn store_opened(dir: &Path, episodes: usize, published: usize, swept: usize) {
    line!(
        store_opened,
        "episodes={episodes} recovered={published} swept={swept} dir={dir:?}"
    );
}

pub(crate) fn quarantined(found: &Path, kept_as: &Path, why: impl Display) {
    let why = why.to_string();
    line!(
        quarantined,
        "found={found:?} kept_as={kept_as:?} why={why:?}"
    );
}

pub(crate) fn torn_upload(slot: &Slot) {
    let Slot { host, episode } = slot;
    line!(
        torn_upload,
        "host={host} episode={episode} why=\"its bytes do not match its receipt: it was being stored when the last run ended, and was never acknowledged\""
    );
}

pub(crate) fn commit_unknown(slot: &Slot, why: impl Display) {
    let Slot { host, episode } = slot;
    let why = why.to_string();
    line!(commit_unknown, "host={host} episode={episode} why={why:?}");
}

pub(crate) fn index_tail_cut(bytes: u64, kept_as: &Path, looked_like: Option<&Slot>) {
    let row = looked_like.map_or("-".to_owned(), Slot::to_string);
    line!(
        index_tail_cut,
        "bytes={bytes} row={row} kept_as={kept_as:?} why=\"the last row was cut off; its episode is in incoming/, or cis490 backfill writes its row\""
    );
}

pub(crate) fn unreadable_row(offset: u64, why: impl Display) {
    let why = why.to_string();
    line!(unreadable_row, "offset={offset} why={why:?}");
}

pub(crate) fn unreadable_rows(count: usize) {
    line!(
        unreadable_rows,
        "count={count} why=\"these lines of index.jsonl stay where they are and are ignored; cis490 backfill writes new rows from the tarballs\""
    );
}

pub(crate) fn number_too_large(offset: u64, slot: &Slot, seq: u64) {
    let Slot { host, episode } = slot;
    line!(
        number_too_large,
        "host={host} episode={episode} offset={offset} seq={seq}"
    );
}

pub(crate) fn index_fault(kind: &str, why: &str, remedy: &str) {
    line!(index_fault, "kind={kind} why={why:?} do={remedy:?}");
}

pub(crate) fn sequence_unreadable(path: &Path, kept_as: &Path, why: &str) {
    line!(
        sequence_unreadable,
        "path={path:?} kept_as={kept_as:?} why={why:?}"
    );
}

pub(crate) fn sequence_unwritable(path: &Path, error: &io::Error) {
    let why = error.to_string();
    line!(sequence_unwritable, "path={path:?} why={why:?}");
}

pub(crate) fn store_unwritable(dir: &Path, why: &str, remedy: &str) {
    line!(store_unwritable, "dir={dir:?} why={why:?} do={remedy:?}");
}

pub(crate) fn store_writable(dir: &Path) {
    line!(store_writable, "dir={dir:?}");
}

pub(crate) fn no_attributes(dir: &Path) {
    line!(
        no_attributes,
        "dir={dir:?} why=\"stored files cannot carry their receipts here; a lost index would be rebuilt without times and gate positions\""
    );
}

pub(crate) fn store_fault(slot: &Slot, doing: &str, error: impl Display) {
    let (Slot { host, episode }, why) = (slot, error.to_string());
    line!(
        store_fault,
        "host={host} episode={episode} doing={doing:?} why={why:?}"
    );
}

pub(crate) fn store_untidy(path: &Path, error: impl Display) {
    let why = error.to_string();
    line!(store_untidy, "path={path:?} why={why:?}");
}

pub(crate) fn damaged_file_replaced(slot: &Slot, kept_as: &Path) {
    let Slot { host, episode } = slot;
    line!(
        damaged_file_replaced,
        "host={host} episode={episode} kept_as={kept_as:?} why=\"its bytes did not match its row or its own receipt: look at the disk's health\""
    );
}

pub(crate) fn scrub_found(kind: &str, path: &str, why: &str) {
    line!(scrub_found, "kind={kind:?} path={path:?} why={why:?}");
}

pub(crate) fn scrub_cannot_note(path: &Path, why: &str) {
    line!(scrub_cannot_note, "path={path:?} why={why:?}");
}

// --- the version gate ---

/// Of `configured` commits at most, so many are known.
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
    pub what: &'a str,
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

// --- the shipper ---

pub(crate) fn shipper_started(host: &HostId, receiver: &str, root: &Path) {
    line!(
        shipper_started,
        "host={host} receiver={receiver:?} root={root:?}"
    );
}

pub(crate) fn shipper_reloading() {
    line!(shipper_reloading);
}

pub(crate) fn shipper_stopping() {
    line!(shipper_stopping);
}

pub(crate) fn shipper_stopped() {
    line!(shipper_stopped);
}

pub(crate) fn shipper_cut_short() {
    line!(shipper_cut_short);
}

pub(crate) fn packed(episode: &EpisodeId, from_bytes: u64, bytes: u64, took: Duration) {
    let ms = took.as_millis();
    line!(
        packed,
        "episode={episode} from_bytes={from_bytes} bytes={bytes} ms={ms}"
    );
}

pub(crate) fn compressor_failed(episode: &str, blocks: u64) {
    line!(
        compressor_failed,
        "episode={episode} blocks={blocks} next=\"stored without compressing\""
    );
}

pub(crate) fn shipped(
    slot: &Slot,
    status: u16,
    bytes: u64,
    seq: Option<u64>,
    kept: &str,
    took: Duration,
) {
    let (Slot { host, episode }, ms) = (slot, took.as_millis());
    let seq = seq.map_or("-".to_owned(), |seq| seq.to_string());
    line!(
        shipped,
        "host={host} episode={episode} status={status} bytes={bytes} seq={seq} ms={ms} kept={kept:?}"
    );
}

pub(crate) fn deferred(episode: &EpisodeId, attempt: u32, wait: Duration, why: &str) {
    let wait_s = seconds(wait);
    line!(
        deferred,
        "episode={episode} attempt={attempt} wait_s={wait_s} why={why:?}"
    );
}

/// `under_way`: the episode that was being sent, and how long it waits itself.
pub(crate) fn receiver_away(
    attempt: u32,
    wait: Duration,
    under_way: Option<(&EpisodeId, Duration)>,
    why: &str,
) {
    let wait_s = seconds(wait);
    let under_way = under_way.map_or(String::new(), |(episode, wait)| {
        format!("episode={episode} episode_wait_s={} ", seconds(wait))
    });
    line!(
        receiver_away,
        "attempt={attempt} wait_s={wait_s} {under_way}why={why:?}"
    );
}

/// The first waits are parts of a second.
fn seconds(wait: Duration) -> String {
    format!("{:.2}", wait.as_secs_f64())
}

pub(crate) fn garbled(episode: &EpisodeId, in_row: u32, why: &str) {
    line!(garbled, "episode={episode} in_row={in_row} why={why:?}");
}

pub(crate) fn too_large_for_proxy(slot: &Slot, bytes: u64, why: &str) {
    let Slot { host, episode } = slot;
    line!(
        too_large_for_proxy,
        "host={host} episode={episode} bytes={bytes} why={why:?}"
    );
}

pub(crate) fn not_let_in(status: u16, why: &str) {
    line!(not_let_in, "status={status} why={why:?}");
}

pub(crate) fn receipt_wrong(slot: &Slot, status: u16, why: &str) {
    let Slot { host, episode } = slot;
    line!(
        receipt_wrong,
        "host={host} episode={episode} status={status} why={why:?}"
    );
}

pub(crate) fn set_aside(episode: &EpisodeId, kept: &str, status: Option<u16>, why: &str) {
    let status = status.map_or("-".to_owned(), |status| status.to_string());
    line!(
        set_aside,
        "episode={episode} status={status} kept={kept:?} why={why:?}"
    );
}

/// A hold, in the words that fit what the receiver knows of the commit.
pub(crate) fn held(commit: &CommitHash, problem: &Problem) {
    if problem.known == Some(Known::Unknown) {
        return held_unknown(commit, problem);
    }
    let head = problem
        .head_commit
        .map_or("-".to_owned(), |head| head.to_string());
    let window = problem
        .window
        .map_or("-".to_owned(), |window| window.to_string());
    let why = &problem.detail;
    let mut text = format!("commit={commit} head={head} window={window} why={why:?}");
    for line in remediation_lines(problem.remediation.as_deref().unwrap_or("")) {
        text += "\n    ";
        text += &line;
    }
    line!(held, "{text}");
}

fn held_unknown(commit: &CommitHash, problem: &Problem) {
    let since_s = problem.failing_seconds.unwrap_or(0);
    let why = &problem.detail;
    line!(
        held_unknown,
        "commit={commit} failing_s={since_s} why={why:?}"
    );
}

/// The lines of a remediation, without the control bytes that could move a terminal's cursor.
pub(crate) fn remediation_lines(remediation: &str) -> Vec<String> {
    const LINES_MAX: usize = 100;
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect();
    remediation.lines().take(LINES_MAX).map(clean).collect()
}

pub(crate) fn released(commit: &CommitHash) {
    line!(released, "commit={commit}");
}

pub(crate) fn gate_unclear(commit: &CommitHash, why: &str) {
    line!(gate_unclear, "commit={commit} why={why:?}");
}

pub(crate) fn changed_after_packing(id: &EpisodeId) {
    line!(changed_after_packing, "episode={id}");
}

pub(crate) fn changed_after_sending(slot: &Slot, seq: Option<u64>) {
    let Slot { host, episode } = slot;
    let seq = seq.map_or("-".to_owned(), |seq| seq.to_string());
    line!(
        changed_after_sending,
        "host={host} episode={episode} seq={seq}"
    );
}

pub(crate) fn falling_out(commit: &CommitHash, position: u32, window: u32, remaining: u32) {
    line!(
        falling_out,
        "commit={commit} position={position} window={window} remaining={remaining}"
    );
}

pub(crate) fn disk_full(root: &Path, wait: Duration, why: &io::Error) {
    let (wait_s, why) = (wait.as_secs(), why.to_string());
    line!(disk_full, "root={root:?} wait_s={wait_s} why={why:?}");
}

pub(crate) fn short_of_space(root: &Path, free_bytes: u64, floor_bytes: u64, removed: usize) {
    line!(
        short_of_space,
        "root={root:?} free_bytes={free_bytes} min_free_bytes={floor_bytes} removed={removed}"
    );
}

pub(crate) fn shipped_removed(dir: &Path, why: &str) {
    line!(shipped_removed, "dir={dir:?} why={why:?}");
}

pub(crate) fn orphan_swept(path: &Path) {
    line!(orphan_swept, "path={path:?}");
}

pub(crate) fn partial_swept(path: &Path) {
    line!(partial_swept, "path={path:?}");
}

pub(crate) fn odd_in_episodes(path: &Path) {
    line!(
        odd_in_episodes,
        "path={path:?} why=\"not a directory with the name of an episode: 1-128 of A-Z, a-z, 0-9, . _ -\""
    );
}

pub(crate) fn odd_in_outbox(path: &Path) {
    line!(odd_in_outbox, "path={path:?}");
}

pub(crate) fn cannot_look(path: &Path, error: &io::Error) {
    line!(cannot_look, "path={path:?} why={:?}", error.to_string());
}

pub(crate) fn state_unreadable(path: &Path, error: &dyn Display) {
    line!(
        state_unreadable,
        "path={path:?} why={:?}",
        error.to_string()
    );
}

pub(crate) fn state_unwritable(path: &Path, error: &io::Error) {
    line!(
        state_unwritable,
        "path={path:?} why={:?}",
        error.to_string()
    );
}

pub(crate) fn shipper_trouble(why: impl Display) {
    line!(shipper_trouble, "why={:?}", why.to_string());
}
