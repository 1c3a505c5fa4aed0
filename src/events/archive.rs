//! The lines of the archive.

use std::io;
use std::time::Duration;

use crate::human::without_user;
use crate::wire::Slot;

pub(crate) fn archive_started(endpoint: &str, bucket: &str) {
    let endpoint = without_user(endpoint);
    line!(archive_started, "bucket={bucket} endpoint={endpoint:?}");
}

pub(crate) fn archive_proven(slot: &Slot, bytes: u64) {
    let Slot { host, episode } = slot;
    line!(
        archive_proven,
        "host={host} episode={episode} bytes={bytes}"
    );
}

pub(crate) fn archive_failing(kind: &str, why: &str, remedy: &str, wait: Duration) {
    let wait_s = wait.as_secs();
    line!(
        archive_failing,
        "kind={kind} wait_s={wait_s} why={why:?} do={remedy:?}"
    );
}

pub(crate) fn archive_stopped(kind: &str, why: &str, remedy: &str, wait: Duration) {
    let wait_s = wait.as_secs();
    line!(
        archive_stopped,
        "kind={kind} wait_s={wait_s} why={why:?} do={remedy:?}"
    );
}

pub(crate) fn archive_back() {
    line!(archive_back);
}

pub(crate) fn archive_refused(slot: &Slot, kind: &str, why: &str, remedy: &str) {
    let Slot { host, episode } = slot;
    line!(
        archive_refused,
        "host={host} episode={episode} kind={kind} why={why:?} do={remedy:?}"
    );
}

pub(crate) fn archive_mismatch(slot: &Slot, key: &str, why: &str) {
    let Slot { host, episode } = slot;
    line!(
        archive_mismatch,
        "host={host} episode={episode} key={key:?} why={why:?}"
    );
}

pub(crate) fn archive_lost(slot: &Slot, key: &str) {
    let Slot { host, episode } = slot;
    line!(archive_lost, "host={host} episode={episode} key={key:?}");
}

pub(crate) fn archive_evicted(slot: &Slot, bytes: u64) {
    let Slot { host, episode } = slot;
    line!(
        archive_evicted,
        "host={host} episode={episode} bytes={bytes}"
    );
}

pub(crate) fn archive_no_room(free: u64, wanted: u64) {
    line!(archive_no_room, "free={free} evict_below={wanted}");
}

pub(crate) fn archive_disk(error: &io::Error) {
    let why = error.to_string();
    line!(archive_disk, "why={why:?}");
}
