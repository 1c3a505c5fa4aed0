//! The figures, row by row.

use super::*;
use crate::names::EpisodeId;
use crate::wire::Slot;

const NOW_S: u64 = 1_795_477_572; // 2026-11-23T23:46:12Z

fn row(seq: u64, slot: &str, received_at: &str, commit: char) -> Receipt {
    let slot = Slot::parse(slot).unwrap();
    let commit = commit.to_string().repeat(40);
    serde_json::from_value(serde_json::json!({
        "seq": seq, "host": slot.host, "episode": slot.episode, "bytes": 10, "commit": commit,
        "sha256": "0f".repeat(32), "received_at": received_at,
    }))
    .unwrap()
}

fn refused(host: &str, after_seq: u64) -> Arc<RefusedUpload> {
    Arc::new(
        serde_json::from_value(serde_json::json!({
            "at": "2026-11-23T23:00:00Z", "after_seq": after_seq, "host": host,
            "peer": "10.8.0.11", "status": 412, "reason": "not-in-window", "why": "old",
        }))
        .unwrap(),
    )
}

fn host<'a>(books: &'a StatsTables, name: &str) -> &'a HostStats {
    &books.hosts[&HostId::parse(name).unwrap()]
}

#[test]
fn the_last_upload_is_by_seq_and_a_backfilled_row_is_not_the_last() {
    let mut books = StatsTables::new(std::iter::empty(), HOSTS_MAX, NEWEST_MAX);
    books.enter(row(1, "a/1", "2026-11-23T22:10:00Z", '1'), NOW_S);
    books.enter(row(2, "a/2", "2026-11-23T23:10:00Z", '2'), NOW_S);
    books.enter(row(3, "a/3", "2026-01-01T00:00:00Z", '3'), NOW_S);
    assert_eq!(host(&books, "a").last.as_ref().unwrap().seq, 2);
    // The clock was ahead, then right again.
    books.enter(row(4, "a/4", "2106-01-01T00:00:00Z", '4'), NOW_S);
    assert_eq!(host(&books, "a").last.as_ref().unwrap().seq, 4);
    books.enter(row(5, "a/5", "2026-11-23T23:30:00Z", '5'), NOW_S);
    assert_eq!(host(&books, "a").last.as_ref().unwrap().seq, 5);
    assert_eq!(
        host(&books, "a").all,
        Totals {
            episodes: 5,
            bytes: 50
        }
    );
    assert_eq!(host(&books, "a").today(NOW_S).episodes, 3);
    assert_eq!(books.hour(NOW_S / HOUR_S).episodes, 2);
    assert_eq!(books.hour(NOW_S / HOUR_S - 1).episodes, 1);
    // A row without a time, or with an odd one, counts too.
    books.enter(row(6, "a/6", "yesterday", '6'), NOW_S);
    assert_eq!(books.all.episodes, 6);
}

#[test]
fn invented_names_take_no_memory_and_hide_nobody() {
    let configured = HostId::parse("known").unwrap();
    let mut books = StatsTables::new([configured].into_iter(), HOSTS_MAX, NEWEST_MAX);
    books.enter(row(1, "first/1", "2026-11-23T22:10:00Z", '1'), NOW_S);
    for seq in 2..3000 {
        books.enter(
            row(seq, &format!("h{seq}/1"), "2026-11-23T22:10:00Z", '1'),
            NOW_S,
        );
        books.recall(&refused(&format!("r{seq}"), seq));
    }
    books.enter(row(3000, "known/1", "2026-11-23T22:10:00Z", '1'), NOW_S);
    assert_eq!(books.hosts.len(), HOSTS_MAX + 1);
    assert_eq!(books.all.episodes, 3000);
    assert_eq!(books.others.all.episodes, 3000 - HOSTS_MAX as u64 - 1);
    assert_eq!(host(&books, "first").all.episodes, 1);
    assert_eq!(host(&books, "known").all.episodes, 1);
    assert_eq!(books.unknown_hosts.len(), UNKNOWN_HOSTS_MAX);
    // Each had one refusal; those of the names that were given up are gone with them, but for the hosts that
    // stored later.
    assert!(books.runs().len() <= UNKNOWN_HOSTS_MAX + HOSTS_MAX);
    assert_eq!(books.runs()[0].newest.after_seq, 2999);
    assert_eq!(books.uploads.back().unwrap().host.as_str(), "known");
}

#[test]
fn a_clock_that_jumps_adds_few_hours() {
    let mut books = StatsTables::new(std::iter::empty(), HOSTS_MAX, NEWEST_MAX);
    for hour in 0..5000 {
        let at =
            clock::rfc3339(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(hour * HOUR_S));
        books.enter(row(hour, "a/1", &at, '1'), NOW_S);
    }
    assert_eq!(books.hours.len(), HOURS_MAX);
    assert_eq!(books.hour(4999).episodes, 1);
}

#[test]
fn a_refusal_is_open_until_the_host_stores_again() {
    let mut books = StatsTables::new(std::iter::empty(), HOSTS_MAX, NEWEST_MAX);
    books.recall(&refused("a", 0));
    assert_eq!(books.unknown_hosts.len(), 1);
    books.enter(row(1, "a/1", "2026-11-23T22:10:00Z", '1'), NOW_S);
    assert!(books.unknown_hosts.is_empty());
    assert!(host(&books, "a").refused.is_some());
    assert!(host(&books, "a").open_refusal().is_none());
    books.recall(&refused("a", 1));
    assert!(host(&books, "a").open_refusal().is_some());
}

/// Tries of one episode, while nothing of its host is stored.
#[test]
fn tries_in_a_row_are_counted_for_known_and_for_new_names() {
    let tried = |host: &str, episode: &str, after_seq: u64, reason: &str| {
        Arc::new(RefusedUpload {
            episode: Some(EpisodeId::parse(episode).unwrap()),
            reason: reason.to_owned(),
            status: 422,
            ..(*refused(host, after_seq)).clone()
        })
    };
    let mut books = StatsTables::new(std::iter::empty(), HOSTS_MAX, NEWEST_MAX);
    let tries = |books: &StatsTables, name: &str| match books.hosts.get(name) {
        Some(host) => host.tries.count,
        None => books.unknown_hosts.back().unwrap().tries.count,
    };
    for count in 1..=6 {
        books.recall(&tried("a", "1", 0, "body-cut-short"));
        assert_eq!(tries(&books, "a"), count);
    }
    // It is another matter that the receiver stopped.
    books.recall(&tried("a", "1", 0, "draining"));
    assert_eq!(tries(&books, "a"), 6);
    books.recall(&tried("a", "2", 0, "body-cut-short"));
    assert_eq!(tries(&books, "a"), 1);
    books.recall(&tried("a", "2", 0, "taken"));
    assert_eq!(tries(&books, "a"), 2);
    // The name is known from now on, and its row ends the count.
    books.enter(row(1, "a/3", "2026-11-23T22:10:00Z", '1'), NOW_S);
    books.last_seq = 1;
    books.recall(&tried("a", "2", 1, "taken"));
    assert_eq!(tries(&books, "a"), 1);
    books.recall(&tried("a", "2", 1, "taken"));
    assert_eq!(tries(&books, "a"), 2);
    let first_at_s = host(&books, "a").tries.first_at_s;
    assert_eq!(first_at_s, clock::parse_rfc3339("2026-11-23T23:00:00Z"));
}

#[test]
fn the_newest_rows_and_refusals_of_each_host_are_its_own() {
    let mut books = StatsTables::new(std::iter::empty(), HOSTS_MAX, NEWEST_MAX);
    let at = "2026-11-23T22:10:00Z";
    books.enter(row(1, "quiet/1", at, '1'), NOW_S);
    books.recall(&refused("quiet", 1));
    for seq in 2..100 {
        books.enter(row(seq, &format!("loud/{seq}"), at, '1'), NOW_S);
        books.recall(&refused("loud", seq));
        books.recall(&refused(&format!("r{seq}"), seq));
    }
    let newest = |name: &str| -> Vec<Option<u64>> {
        let rows = &host(&books, name).newest;
        rows.iter().map(|row| row.seq).collect()
    };
    assert_eq!(newest("quiet"), [Some(1)]);
    assert_eq!(newest("loud"), (90..100).map(Some).collect::<Vec<_>>());
    let counts = |name: &str| -> Vec<u64> {
        let runs = host(&books, name).runs.iter();
        runs.map(|run| run.count).collect()
    };
    assert_eq!((counts("quiet"), counts("loud")), (vec![1], vec![98]));
    let hour = clock::parse_rfc3339("2026-11-23T23:00:00Z").unwrap() / HOUR_S;
    assert_eq!(
        (books.refused_in(hour), books.refused_in(hour - 1)),
        (197, 0)
    );
}

/// As at a start, where the rows are read whole after the pass over the index, and as for a report.
#[test]
fn the_newest_rows_are_read_from_where_they_lie() {
    for (newest_of_host_max, want) in [(NEWEST_MAX, 10), (0, 0)] {
        let mut books = StatsTables::new(std::iter::empty(), HOSTS_MAX, newest_of_host_max);
        let rows: Vec<Receipt> = (0..30)
            .map(|seq| {
                row(
                    seq,
                    &format!("h{}/{seq}", seq % 2),
                    "2026-11-23T22:10:00Z",
                    '1',
                )
            })
            .collect();
        for (offset, row) in (0..).zip(&rows) {
            books.enter_at(&row.brief(), offset, NOW_S);
        }
        let read = |offset| Ok(Some(rows[offset as usize].clone()));
        books.settle(read).unwrap();
        let newest = &host(&books, "h1").newest;
        assert_eq!(newest.len(), want);
        let last = newest.back().map(|row| row.episode.to_string());
        assert_eq!(last, (want > 0).then(|| "29".to_owned()));
    }
}
