//! The receiver's lines of uploads and other requests.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::names::{CommitHash, ReaderId};
use crate::wire::{Receipt, Slot};

pub(crate) fn stored(receipt: &Receipt, peer: IpAddr) {
    let Receipt {
        host,
        episode,
        sha256,
        ..
    } = receipt;
    let seq = receipt.seq.unwrap_or(0);
    let bytes = receipt.bytes.unwrap_or(0);
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

/// `offset` of the body's `bytes` bytes are here.
pub(crate) fn upload_kept(slot: &Slot, peer: IpAddr, offset: u64, bytes: u64) {
    let Slot { host, episode } = slot;
    paced_line!(
        peer,
        upload_kept,
        "host={host} episode={episode} offset={offset} bytes={bytes} peer={peer}"
    );
}

/// It goes on at `offset`.
pub(crate) fn upload_resumed(slot: &Slot, peer: IpAddr, offset: u64, bytes: u64) {
    let Slot { host, episode } = slot;
    paced_line!(
        peer,
        upload_resumed,
        "host={host} episode={episode} offset={offset} bytes={bytes} peer={peer}"
    );
}

/// `peer` is the one that had sent it.
pub(crate) fn upload_given_up(slot: &Slot, peer: IpAddr, offset: u64, bytes: u64, reason: &str) {
    let Slot { host, episode } = slot;
    paced_line!(
        peer,
        upload_given_up,
        "host={host} episode={episode} offset={offset} bytes={bytes} peer={peer} reason={reason}"
    );
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
    let method = beginning(method);
    let path = beginning(path);
    paced_line!(
        peer,
        refused_request,
        "peer={peer} status={status} reason={reason} method={method:?} path={path:?}"
    );
}

/// As much of a text from outside as a line shows.
fn beginning(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    text.chars().take(CHARS_MAX).collect()
}

/// `reason` is `-` where the upload would have been let in.
pub(crate) fn probed(peer: IpAddr, path: &str, status: u16, reason: &str) {
    let path = beginning(path);
    paced_line!(
        peer,
        probed,
        "peer={peer} status={status} reason={reason} path={path:?}"
    );
}

/// `begins` is the beginning of the bytes that came.
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

pub(crate) fn list_failed(peer: IpAddr, error: &io::Error) {
    let why = error.to_string();
    paced_line!(peer, list_failed, "peer={peer} why={why:?}");
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

/// How a download ended.
pub(crate) struct DownloadEnd<'a> {
    pub slot: &'a Slot,
    pub reader: &'a ReaderId,
    pub peer: IpAddr,
    /// The first byte that was asked for.
    pub from: u64,
    /// How many were asked for.
    pub of: u64,
    /// How many of them the peer has.
    pub bytes: u64,
    pub seconds: f64,
    pub outcome: &'a str,
}

pub(crate) fn download_ended(end: &DownloadEnd) {
    let Slot { host, episode } = end.slot;
    let DownloadEnd {
        reader,
        peer,
        from,
        of,
        bytes,
        seconds,
        outcome,
        ..
    } = end;
    paced_line!(
        *peer,
        download_ended,
        "host={host} episode={episode} reader={reader} peer={peer} outcome={outcome} from={from} of={of} bytes={bytes} seconds={seconds:.3}"
    );
}

/// How a bundle of small episodes ended.
pub(crate) struct BundleEnd<'a> {
    pub reader: &'a ReaderId,
    pub peer: IpAddr,
    /// That were sent.
    pub episodes: u64,
    /// Of episodes that the peer has.
    pub bytes: u64,
    pub seconds: f64,
    pub outcome: &'a str,
}

pub(crate) fn bundle_ended(end: &BundleEnd) {
    let BundleEnd {
        reader,
        peer,
        episodes,
        bytes,
        seconds,
        outcome,
    } = end;
    paced_line!(
        *peer,
        bundle_ended,
        "reader={reader} peer={peer} outcome={outcome} episodes={episodes} bytes={bytes} seconds={seconds:.3}"
    );
}

pub(crate) fn download_redirected(slot: &Slot, reader: &ReaderId, peer: IpAddr) {
    let Slot { host, episode } = slot;
    paced_line!(
        peer,
        download_redirected,
        "host={host} episode={episode} reader={reader} peer={peer}"
    );
}

pub(crate) fn stored_file_missing(slot: &Slot, peer: IpAddr, why: &str) {
    let Slot { host, episode } = slot;
    paced_line!(
        peer,
        stored_file_missing,
        "host={host} episode={episode} peer={peer} why={why:?}"
    );
}

pub(crate) fn stored_file_odd(slot: &Slot, peer: IpAddr, why: &str) {
    let Slot { host, episode } = slot;
    paced_line!(
        peer,
        stored_file_odd,
        "host={host} episode={episode} peer={peer} why={why:?}"
    );
}

pub(crate) fn no_thread(peer: IpAddr, error: &io::Error) {
    let why = error.to_string();
    paced_line!(peer, no_thread, "peer={peer} why={why:?}");
}

pub(crate) fn refusals_unreadable(path: &Path, error: &io::Error) {
    let why = error.to_string();
    line!(refusals_unreadable, "path={path:?} why={why:?}");
}

pub(crate) fn refusals_unwritable(path: &Path, error: &io::Error) {
    let why = error.to_string();
    line!(refusals_unwritable, "path={path:?} why={why:?}");
}
