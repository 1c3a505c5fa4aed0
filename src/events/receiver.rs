//! The receiver's lines: its start and stop, and the connections.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::pace;

pub(crate) fn listening(address: SocketAddr, data_dir: impl Display) {
    let data_dir = data_dir.to_string();
    line!(listening, "address={address} data_dir={data_dir:?}");
}

pub(crate) fn open_to_all() {
    line!(
        open_to_all,
        "why=\"no [[host]] in receiver.toml: anyone who can reach the port may upload under any name; fine behind WireGuard, otherwise add [[host]] tables\""
    );
}

pub(crate) fn readers_reloaded(count: usize) {
    line!(readers_reloaded, "readers={count}");
}

pub(crate) fn notified(kind: &str, state: &str, findings: usize) {
    line!(notified, "kind={kind} state={state} findings={findings}");
}

pub(crate) fn notify_failed(kind: &str, why: &str, is_given_up: bool) {
    line!(
        notify_failed,
        "kind={kind} given_up={is_given_up} why={why:?}"
    );
}

pub(crate) fn notified_unwritable(path: &Path, why: impl Display) {
    let why = why.to_string();
    line!(notified_unwritable, "path={path:?} why={why:?}");
}

pub(crate) fn reloaded(changed: &[&str]) {
    let changed = changed.join(",");
    line!(reloaded, "changed={changed:?}");
}

pub(crate) fn config_waiting(keys: &[&str]) {
    let keys = keys.join(",");
    line!(config_waiting, "keys={keys:?}");
}

pub(crate) fn reload_failed(config: &Path, why: impl Display) {
    let why = why.to_string();
    line!(reload_failed, "config={config:?} why={why:?}");
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
    let parts = parts.join(",");
    let since_s = since.as_secs();
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
