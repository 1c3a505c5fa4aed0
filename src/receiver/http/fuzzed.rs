//! What must hold for every request head, and for the query of every list, for tests and the fuzz targets
//! alone.

use std::mem::MaybeUninit;

use super::download;
use super::guard::{Answer, FIELDS_MAX};
use super::head::Head;
use super::list_query::ListQuery;
use super::route::Route;
use super::target::Target;
use crate::receiver::refusal::Refusal;
use crate::receiver::store::row_pages::{Begin, PageQuestion, ROWS_MAX};
use crate::wire::Slot;

/// Reads a head as the HTTP crate does and judges it as we do.
///
/// 1. What passes our framing means to the crate's body reader what it means to us. (That reader
///    takes the first length it finds and panics over an odd one.)
/// 2. A path that is a slot is that slot's own path, and its parts are safe file names.
/// 3. Every refusal makes one well-formed answer.
pub fn request_head(bytes: &[u8]) {
    let mut headers = [MaybeUninit::uninit(); FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut headers);
    if !parsed.is_ok_and(|status| status.is_complete()) {
        return;
    }
    let method = request.method.expect("the head is complete");
    let target = request.path.expect("the head is complete");
    let version = request.version.expect("the head is complete");
    let pairs = || request.headers.iter().map(|one| (one.name, one.value));
    let head = Head::collect(target, pairs());
    match head.framing(method, version) {
        Ok(framing) => assert_eq!(framing.length, length_for_the_crate(pairs()) as u64),
        Err(refusal) => is_well_formed(&refusal),
    }
    let parts = [head.sha256().err(), head.dirty().err()];
    parts.iter().flatten().for_each(is_well_formed);
    if let Err(why) = head.commit() {
        is_well_formed(&Refusal::BadHead(why));
    }
    let path = match Target::parse(method, target) {
        Ok(Target::Path { path, .. }) => path,
        Ok(Target::Asterisk) => return,
        Err(refusal) => return is_well_formed(&refusal),
    };
    assert!(target.contains(path) || path == "/");
    match Route::parse(method, path) {
        Ok(Route::Upload(slot) | Route::Receipt(slot)) => {
            assert_eq!(format!("/v1/episodes/{slot}"), path);
            are_safe(&slot);
        }
        Ok(Route::Tarball(slot)) => {
            assert_eq!(format!("/v1/episodes/{slot}.tar.zst"), path);
            are_safe(&slot);
            judge_range(&head);
        }
        Ok(Route::List | Route::Bundle) => {
            let (_, query) = target.split_once('?').unwrap_or_default();
            judge_query(query);
        }
        Ok(_) => {}
        Err(refusal) => is_well_formed(&refusal),
    }
}

/// Judges the query of a list as the receiver does.
///
/// 1. What is accepted is what the query spells: written again from the question that it became, it has the
///    same pairs. So no pair is passed over, none counts twice, and no two spellings mean the same. (The two
///    defaults may be spelt: `cursor=0` and `limit=1000`.)
/// 2. The order of the pairs means nothing.
/// 3. The query of the page that follows keeps the host and the number of rows.
/// 4. Every refusal makes one well-formed answer, and shows no value: that might be a secret.
pub fn list_query(bytes: &[u8]) {
    const SECRET: &str = "sesame-of-nobody-else";
    let text = String::from_utf8_lossy(bytes);
    judge_query(&text);
    if text.contains(SECRET) {
        return;
    }
    let (before, behind) = text.split_once('|').unwrap_or((&text, ""));
    for query in [
        format!("{before}={SECRET}{behind}"),
        format!("cursor={SECRET}{behind}"),
        format!("{before}&host={SECRET}|{behind}"),
    ] {
        if let Some(refusal) = judge_query(&query) {
            let answer = Answer::refusal(&refusal).into_closing_bytes(true);
            let answer = String::from_utf8(answer).expect("answers are text");
            assert!(!answer.contains(SECRET), "{answer}");
        }
    }
}

/// Its refusal, if it has one.
fn judge_query(text: &str) -> Option<Refusal> {
    let refusal = match ListQuery::parse(text) {
        Ok(query) => {
            let turned: Vec<&str> = text.rsplit('&').collect();
            let turned = turned.join("&");
            assert_eq!(ListQuery::parse(&turned).ok().as_ref(), Some(&query));
            match query.question() {
                Ok(question) => {
                    means_what_it_spells(text, &question);
                    goes_on(&query, &question);
                    return None;
                }
                Err(refusal) => refusal,
            }
        }
        Err(refusal) => refusal,
    };
    is_well_formed(&refusal);
    Some(refusal)
}

fn means_what_it_spells(text: &str, question: &PageQuestion) {
    let mut meant = match question.begin {
        Begin::At(0) => Vec::new(),
        Begin::At(cursor) => vec![format!("cursor={cursor}")],
        Begin::Tail(rows) => vec![format!("tail={rows}")],
    };
    if let Some(host) = &question.host {
        meant.push(format!("host={host}"));
    }
    if question.rows_max != ROWS_MAX {
        meant.push(format!("limit={}", question.rows_max));
    }
    let default_limit = format!("limit={ROWS_MAX}");
    let is_default = |pair: &&str| *pair == "cursor=0" || *pair == default_limit;
    let mut spelt: Vec<&str> = text.split('&').collect();
    if text.is_empty() {
        spelt.clear();
    }
    spelt.retain(|pair| !is_default(pair));
    spelt.sort_unstable();
    meant.sort_unstable();
    assert_eq!(spelt, meant);
    assert!((1..=ROWS_MAX).contains(&question.rows_max));
}

fn goes_on(query: &ListQuery, question: &PageQuestion) {
    for cursor in [0, 7, u64::MAX] {
        let following = query.following(cursor);
        let following = ListQuery::parse(&following).expect("a query of ours");
        let wanted = PageQuestion {
            begin: Begin::At(cursor),
            ..question.clone()
        };
        assert_eq!(following.question().ok(), Some(wanted));
    }
}

/// The names of a path are safe file names.
fn are_safe(slot: &Slot) {
    for name in [slot.host.as_str(), slot.episode.as_str()] {
        assert!(!name.is_empty() && !name.starts_with('.') && name.len() <= 128);
        assert!(!name.contains(['/', '\\', '%', '\0']) && name.is_ascii());
    }
}

/// Whatever the conditions are, a part of an episode is within it and not empty.
fn judge_range(head: &Head) {
    for bytes in [0, 1, 1000, u64::MAX] {
        if let Some(part) = download::fuzzed_part(head, bytes) {
            assert!(part.start < part.end && part.end <= bytes);
        }
    }
}

/// The crate's `content_length` (of version 0.1.11), panics included.
fn length_for_the_crate<'a>(mut pairs: impl Iterator<Item = (&'a str, &'a [u8])>) -> usize {
    let found = pairs.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    found.map_or(0, |(_, value)| {
        let text = std::str::from_utf8(value).expect("it passed our framing");
        text.parse().expect("it passed our framing")
    })
}

fn is_well_formed(refusal: &Refusal) {
    let status = refusal.status();
    assert!((400..600).contains(&status));
    let answer = Answer::refusal(refusal).into_closing_bytes(true);
    let text = String::from_utf8(answer).expect("answers are text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")));
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    assert!(body.len() < 16 << 10 && !body.trim_end().contains(char::is_control));
    let problem: serde_json::Value = serde_json::from_str(body).expect("a problem is JSON");
    assert_eq!(problem["status"], status);
}
