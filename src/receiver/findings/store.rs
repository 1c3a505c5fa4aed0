//! The store: its disk, its index, and the files in it.

use std::time::Duration;

use super::{DiskFacts, EPISODES_NAMED_MAX, Facts, Find, Finding, Kind};
use crate::clock;
use crate::human::{self, counted};
use crate::receiver::store::scrub;
use crate::receiver::store::sequence::{INDEX_REMEDY, IndexFault};

/// A disk that is full within so many days is a finding.
const FULL_WITHIN_DAYS: u64 = 7;
const SCRUB_EVERY_S: u64 = 60 * 86_400;

pub(super) fn judge(facts: &Facts, find: &mut Find) {
    match (&facts.unwritable, facts.disk) {
        (Some(trouble), _) => find(
            Kind::StoreUnwritable,
            Finding::new(
                Kind::StoreUnwritable,
                "store",
                format!("the store cannot be written: {}", trouble.words),
                format!("{}; data_dir is {}", trouble.remedy, facts.data_dir),
            ),
        ),
        (None, None) => find(
            Kind::StoreUnwritable,
            Finding::new(
                Kind::StoreUnwritable,
                "store",
                "the free space of the disk cannot be read, and uploads are refused".to_owned(),
                format!(
                    "check that the disk of {} is mounted and healthy (dmesg)",
                    facts.data_dir
                ),
            ),
        ),
        (None, Some(disk)) => judge_space(facts, disk, find),
    }
    judge_index(facts, find);
    for (kind, of) in [
        (
            Kind::EpisodeRotten,
            &[scrub::Kind::Rotten, scrub::Kind::Unreadable][..],
        ),
        (Kind::EpisodeMissing, &[scrub::Kind::Missing]),
        (Kind::EpisodeUnindexed, &[scrub::Kind::Unindexed]),
    ] {
        judge_damage(facts, kind, of, find);
    }
    judge_scrub(facts, find);
    if facts.in_quarantine > 0 {
        let words = format!(
            "{} in {}/quarantine",
            counted(facts.in_quarantine, "unrecognised file"),
            facts.data_dir
        );
        let remedy = "look at what it is; keep what is wanted elsewhere, and remove the rest";
        find(
            Kind::Quarantine,
            Finding::new(Kind::Quarantine, "store", words, remedy.to_owned()),
        );
    }
}

fn judge_space(facts: &Facts, disk: DiskFacts, find: &mut Find) {
    let make_room = format!(
        "make room on the disk of {}: a larger disk, a lower min_free_bytes, or [archive] with evict_below_bytes, which removes only what a bucket has for sure (a file that is moved away by hand is missing to cis490 scrub). Lab hosts resume automatically",
        facts.data_dir
    );
    let room = disk
        .free
        .saturating_sub(disk.floor)
        .saturating_sub(disk.reserved);
    if room == 0 {
        let words = format!(
            "the disk is full: {} free, the limit is {}, and every upload is refused",
            human::bytes(disk.free),
            human::bytes(disk.floor)
        );
        return find(
            Kind::DiskLow,
            Finding::new(Kind::DiskLow, "disk", words, make_room),
        );
    }
    let days = room.checked_div(disk.stored_in_a_day);
    let Some(days) = days.filter(|days| *days < FULL_WITHIN_DAYS) else {
        return;
    };
    let when = if days < 1 {
        "within a day".to_owned()
    } else {
        format!("in about {days} d")
    };
    let words = format!(
        "the disk will be full {when} at the pace of the last day: {} left, {} a day",
        human::bytes(room),
        human::bytes(disk.stored_in_a_day)
    );
    find(
        Kind::DiskFullSoon,
        Finding::new(Kind::DiskFullSoon, "disk", words, make_room),
    );
}

fn judge_index(facts: &Facts, find: &mut Find) {
    let Some(index) = &facts.index else { return };
    let kind = match index.kind {
        IndexFault::IndexMissing => Kind::IndexMissing,
        IndexFault::IndexShort => Kind::IndexShort,
    };
    let words = format!("rows were lost ({}): {}", index.kind.name(), index.why);
    let finding = Finding::new(kind, "store", words, INDEX_REMEDY.to_owned());
    find(kind, finding.since(clock::parse_rfc3339(&index.found_at)));
}

/// The first episodes have a finding each, and the rest share one.
fn judge_damage(facts: &Facts, kind: Kind, of: &[scrub::Kind], find: &mut Find) {
    let since_s = facts.damage_since.as_deref().and_then(clock::parse_rfc3339);
    let damage: Vec<&scrub::Finding> = facts
        .damage
        .iter()
        .filter(|found| of.contains(&found.kind))
        .collect();
    let remedy = damage_remedy(kind);
    for found in damage.iter().take(EPISODES_NAMED_MAX) {
        let words = format!("{}: {}", found.path, found.why);
        let finding = Finding::new(kind, subject_of(&found.path), words, remedy.to_owned());
        find(kind, finding.since(since_s));
    }
    let counted_only = facts.more_damage.iter();
    let counted_only = counted_only.filter(|(kind, _)| of.contains(kind));
    let more: u64 = counted_only.map(|(_, count)| count).sum::<u64>()
        + damage.len().saturating_sub(EPISODES_NAMED_MAX) as u64;
    if more > 0 {
        let words = format!(
            "{} of this kind: cis490 scrub names them",
            counted(more, "more episode")
        );
        let finding = Finding::new(kind, "store", words, remedy.to_owned());
        find(kind, finding.since(since_s));
    }
}

/// The subject of a file in the store.
fn subject_of(path: &str) -> String {
    let episode = path
        .strip_prefix("episodes/")
        .and_then(|path| path.strip_suffix(".tar.zst"));
    episode.map_or("store".to_owned(), |episode| format!("episode/{episode}"))
}

fn damage_remedy(kind: Kind) -> &'static str {
    match kind {
        Kind::EpisodeRotten => {
            "cis490 scrub says what to do: set the file aside, then send the episode again (on the lab host: cis490 resend NAME) or restore it from a backup. Look at the disk: dmesg, smartctl"
        }
        Kind::EpisodeMissing => {
            "nothing if somebody archived it by hand; otherwise send it again (on the lab host: cis490 resend NAME), or restore it from a backup"
        }
        _ => "systemctl stop cis490-receiver && cis490 backfill && systemctl start cis490-receiver",
    }
}

fn judge_scrub(facts: &Facts, find: &mut Find) {
    let Some(last_s) = facts.scrubbed_at_s.or(facts.store_made_at_s) else {
        return;
    };
    let ago_s = facts.now_s.saturating_sub(last_s);
    if facts.episodes == 0 || ago_s < SCRUB_EVERY_S {
        return;
    }
    let ago = human::span(Duration::from_secs(ago_s));
    let words = if facts.scrubbed_at_s.is_some() {
        format!("the stored files were last read again {ago} ago")
    } else {
        format!("the stored files were never read again, and the store is {ago} old")
    };
    let remedy =
        "run cis490 scrub: it reads every file beside the running receiver, with low priority";
    find(
        Kind::ScrubOverdue,
        Finding::new(Kind::ScrubOverdue, "store", words, remedy.to_owned())
            .since(Some(last_s.saturating_add(SCRUB_EVERY_S))),
    );
}
