//! The archive: whether the bucket can be used, and what of the episodes is not in it (design, section 12).

use std::sync::Arc;
use std::time::Duration;

use super::{EPISODES_NAMED_MAX, Facts, Find, Finding, Kind, Severity};
use crate::human::{self, counted};
use crate::receiver::archive::{Condition, ObjectTrouble};

/// A store that fails for so long is away, and for so long an error.
const AWAY_S: u64 = 15 * 60;
const AWAY_ERROR_S: u64 = 24 * 3600;
/// Nothing copied for so long, though an episode waits for as long.
const BEHIND_S: u64 = 24 * 3600;

const ARCHIVE: &str = "archive";
const TRY_EACH: &str = "cis490 doctor tries the store step by step and says what to fix";
const MISMATCH_REMEDY: &str = "nothing for the episode while its file is here: it is copied again, and this ends when it is proven. Look at the store: its disks, its log, its own check of the data";
const LOST_REMEDY: &str = "look for the object in the store's own backups or old versions, and for the episode on its lab host: cis490 resend there stores it again. An object that comes back is noticed automatically";

pub(super) fn judge(facts: &Facts, find: &mut Find) {
    let Some(archive) = &facts.archive else {
        return;
    };
    judge_objects(
        Kind::ArchiveLost,
        &archive.lost,
        archive.lost_episodes,
        LOST_REMEDY,
        find,
    );
    let mismatches = archive.mismatched.len() as u64;
    judge_objects(
        Kind::ArchiveMismatch,
        &archive.mismatched,
        mismatches,
        MISMATCH_REMEDY,
        find,
    );
    judge_away(facts.now_s, archive, find);
    judge_behind(facts.now_s, archive, find);
}

/// The first objects have a finding each, and the rest share one.
fn judge_objects(
    kind: Kind,
    objects: &[Arc<ObjectTrouble>],
    count: u64,
    remedy: &str,
    find: &mut Find,
) {
    let named = objects.iter().take(EPISODES_NAMED_MAX);
    let mut left = count;
    for trouble in named {
        left = left.saturating_sub(1);
        let name = name_of(trouble);
        let words = match kind {
            Kind::ArchiveLost => format!("episode {name} is lost: {}", trouble.why),
            _ => format!(
                "the object of {name} is not what was stored: {}",
                trouble.why
            ),
        };
        let finding = Finding::new(kind, format!("episode/{name}"), words, remedy.to_owned());
        find(kind, finding.since(Some(trouble.since_s)));
    }
    if left > 0 {
        let words = format!(
            "{} of this kind: cis490 scrub --archive --deep names them",
            counted(left, "more episode")
        );
        find(kind, Finding::new(kind, ARCHIVE, words, remedy.to_owned()));
    }
}

fn name_of(trouble: &ObjectTrouble) -> String {
    format!("{}/{}", trouble.slot.host, trouble.slot.episode)
}

fn judge_away(now_s: u64, archive: &Condition, find: &mut Find) {
    let Some(failing) = &archive.failing else {
        return;
    };
    if failing.seconds < AWAY_S {
        return;
    }
    let span = human::span(Duration::from_secs(failing.seconds));
    let bucket = &archive.bucket;
    let words = if archive.stores_nothing {
        format!(
            "nothing can be stored in bucket {bucket} for {span}: {}. Uploads are accepted, and nothing is lost",
            failing.why
        )
    } else {
        format!(
            "bucket {bucket} cannot be used for {span}: {}. Uploads are accepted, and nothing is copied or evicted",
            failing.why
        )
    };
    let kind = Kind::ArchiveAway;
    let finding = Finding::new(kind, ARCHIVE, words, failing.remedy.clone());
    let severity = if failing.seconds >= AWAY_ERROR_S {
        Severity::Error
    } else {
        Severity::Warning
    };
    let since_s = now_s.saturating_sub(failing.seconds);
    find(
        kind,
        Finding {
            severity,
            ..finding
        }
        .since(Some(since_s)),
    );
}

fn judge_behind(now_s: u64, archive: &Condition, find: &mut Find) {
    let is_old = |at_s: u64| now_s.saturating_sub(at_s) >= BEHIND_S;
    let age = |at_s: u64| human::span(Duration::from_secs(now_s.saturating_sub(at_s)));
    let kind = Kind::ArchiveBehind;
    let oldest = archive.oldest_waiting_s.filter(|at_s| is_old(*at_s));
    if let Some(oldest_s) = oldest
        && archive.idle_s >= BEHIND_S
    {
        let words = format!(
            "nothing was copied to bucket {} for {}, and {} ({}) to be copied, the oldest for {}",
            archive.bucket,
            human::span(Duration::from_secs(archive.idle_s)),
            verb(archive.waiting.episodes, "episode waits", "episodes wait"),
            human::bytes(archive.waiting.bytes),
            age(oldest_s)
        );
        let failing = archive.failing.as_ref();
        let remedy = failing.map_or(TRY_EACH.to_owned(), |failing| failing.remedy.clone());
        let since_s = now_s.saturating_sub(archive.idle_s);
        let finding = Finding::new(kind, ARCHIVE, words, remedy);
        return find(kind, finding.since(Some(since_s.max(oldest_s))));
    }
    // The others are copied, and these are refused again and again.
    let is_late = |trouble: &&Arc<ObjectTrouble>| trouble.received_at_s.is_some_and(is_old);
    let late: Vec<_> = archive.refused.iter().filter(is_late).collect();
    let Some(first) = late.iter().min_by_key(|trouble| trouble.received_at_s) else {
        return;
    };
    let words = format!(
        "{} to be copied to bucket {} for {}: {}: {}",
        verb(late.len() as u64, "episode waits", "episodes wait"),
        archive.bucket,
        age(first.received_at_s.unwrap_or(now_s)),
        name_of(first),
        first.why
    );
    let finding = Finding::new(kind, ARCHIVE, words, first.remedy.to_owned());
    find(kind, finding.since(Some(first.since_s)));
}

fn verb(count: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        human::count(count),
        if count == 1 { one } else { many }
    )
}
