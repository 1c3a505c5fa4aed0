//! The shipper's lines.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::names::{CommitHash, EpisodeId, HostId};
use crate::wire::{Known, Problem, Slot};

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

pub(crate) fn report_not_sent(why: &str) {
    line!(report_not_sent, "why={why:?}");
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
    let Slot { host, episode } = slot;
    let ms = took.as_millis();
    let seq = seq.map_or("-".to_owned(), |seq| seq.to_string());
    line!(
        shipped,
        "host={host} episode={episode} status={status} bytes={bytes} seq={seq} ms={ms} kept={kept:?}"
    );
}

/// The receiver has the bytes before `offset`.
pub(crate) fn resumed(episode: &EpisodeId, offset: u64, bytes: u64) {
    let percent = offset.saturating_mul(100).checked_div(bytes).unwrap_or(100);
    line!(
        resumed,
        "episode={episode} offset={offset} bytes={bytes} percent={percent}"
    );
}

pub(crate) fn deferred(episode: &EpisodeId, attempt: u32, wait: Duration, why: &str) {
    let wait_s = seconds(wait);
    line!(
        deferred,
        "episode={episode} attempt={attempt} wait_s={wait_s} why={why:?}"
    );
}

/// `under_way`: the episode that was being sent, and how long that episode waits itself.
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

/// A hold: as `held_unknown` if the receiver does not know the commit.
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
    let wait_s = wait.as_secs();
    let why = why.to_string();
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

pub(crate) fn cannot_sweep(path: &Path, error: &io::Error) {
    let why = error.to_string();
    line!(cannot_sweep, "path={path:?} why={why:?}");
}

pub(crate) fn cannot_look(path: &Path, error: &io::Error) {
    let why = error.to_string();
    line!(cannot_look, "path={path:?} why={why:?}");
}

pub(crate) fn state_unreadable(path: &Path, error: &dyn Display) {
    let why = error.to_string();
    line!(state_unreadable, "path={path:?} why={why:?}");
}

pub(crate) fn state_unwritable(path: &Path, error: &io::Error) {
    let why = error.to_string();
    line!(state_unwritable, "path={path:?} why={why:?}");
}

pub(crate) fn shipper_trouble(why: impl Display) {
    let why = why.to_string();
    line!(shipper_trouble, "why={why:?}");
}
