//! A line that breaks, a receiver that is away or says "later", and what a pull asks for then.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::shelf::{self, Say, Server, Shelf, problem, row};
use super::{Target, ran_within};
use crate::client::{PATIENCE, sha256};
use crate::world::has_steps;

#[test]
fn a_pull_with_nothing_new_costs_one_request() {
    let server = Server::good(Shelf::of(20));
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    for _ in 0..2 {
        server.forget();
        let ran = target.pull_all(&server.url, &server.files());
        assert_eq!(ran.out, "nothing new\n");
        assert_eq!(server.heard().len(), 1, "{:?}", server.heard());
    }
    // One new row: one question for the rows, and one for the bytes.
    server.put("lab-1/new", b"new");
    server.forget();
    target.pull_all(&server.url, &server.files());
    assert_eq!(server.heard().len(), 2, "{:?}", server.heard());
}

#[test]
fn an_empty_receiver_is_all_here() {
    let server = Server::good(Shelf::of(0));
    let target = Target::new();
    assert_eq!(target.pull(&server.url, &[]).code, Some(0));
    server.put("lab-1/first", b"first");
    target.pull_all(&server.url, &server.files());
}

#[test]
fn what_is_here_of_a_tarball_is_not_fetched_again() {
    for (kept, asks_from) in [
        ("good", Some("bytes=3000-")),
        ("bad", Some("bytes=3000-")),
        ("long", None),
    ] {
        let mut shelf = Shelf::of(0);
        let body = crate::dice::noise(5, 9000);
        shelf.put("lab-1/ep", &body);
        let server = Server::good(shelf);
        let target = Target::new();
        fs::create_dir_all(target.file("lab-1")).unwrap();
        let partial = match kept {
            "good" => body[..3000].to_vec(),
            "bad" => vec![0; 3000],
            _ => vec![0; 9001],
        };
        fs::write(target.file("lab-1/ep.tar.zst.partial"), partial).unwrap();
        target.pull_all(&server.url, &server.files());
        let heard = server.heard();
        assert_eq!(heard[1].header("Range"), asks_from, "{kept}");
        assert_eq!(
            heard[1].header("If-Range").is_some(),
            asks_from.is_some(),
            "{kept}"
        );
        // Where the kept bytes were others, the whole is asked for.
        let whole = usize::from(kept == "bad");
        assert_eq!(heard.len(), 2 + whole, "{kept}: {heard:?}");
    }
    // A whole one that was killed before it had its name is not fetched at all.
    let server = Server::good(Shelf::of(3));
    let target = Target::new();
    fs::create_dir_all(target.file("lab-1")).unwrap();
    let body = &server.files()["lab-1/ep-3"];
    fs::write(target.file("lab-1/ep-3.tar.zst.partial"), body).unwrap();
    target.pull_all(&server.url, &server.files());
    let asked: Vec<_> = server
        .heard()
        .iter()
        .map(|head| head.target().to_owned())
        .collect();
    assert!(
        !asked.iter().any(|target| target.ends_with("ep-3.tar.zst")),
        "{asked:?}"
    );
}

#[test]
fn a_line_that_breaks_goes_on_where_it_broke() {
    let mut shelf = Shelf::of(5);
    shelf.put("lab-1/long", &crate::dice::noise(7, 400_000));
    let server = Server::new(shelf, |head, shelf| {
        let Say::Bytes(mut answer) = shelf.answer(head) else {
            unreachable!("the shelf ends its answers");
        };
        if head.target().ends_with("/long.tar.zst") {
            answer.truncate(150_000);
        }
        Say::Bytes(answer)
    });
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    let heard = server.heard();
    let ranges: Vec<_> = heard
        .iter()
        .filter(|head| head.target().ends_with("/long.tar.zst"))
        .map(|head| head.header("Range").is_some())
        .collect();
    assert_eq!(ranges, [false, true, true], "{heard:?}");
}

#[test]
fn a_receiver_that_says_later_is_asked_again_and_the_list_too() {
    let refusals = Arc::new(AtomicUsize::new(0));
    let count = refusals.clone();
    let server = Server::new(Shelf::of(4), move |head, shelf| {
        // The first question for rows, and the first for bytes.
        let n = count.load(Ordering::SeqCst);
        let is_list = head.target().contains('?');
        if (n == 0 && is_list) || (n == 1 && !is_list) {
            count.fetch_add(1, Ordering::SeqCst);
            return Say::Bytes(problem("503 Service Unavailable", "busy"));
        }
        shelf.answer(head)
    });
    let target = Target::new();
    target.pull_all(&server.url, &server.files());
    assert_eq!(refusals.load(Ordering::SeqCst), 2);
}

#[test]
fn a_receiver_that_gives_nothing_ends_the_pull_and_a_refusal_at_once() {
    if !has_steps("the patience of a pull") {
        return;
    }
    let target = Target::new();
    let begun = Instant::now();
    let nobody = target.pull_impatient("http://127.0.0.1:9", 300);
    assert_eq!(nobody.code, Some(1), "{nobody}");
    assert!(
        nobody.err.contains("cannot ask http://127.0.0.1:9"),
        "{nobody}"
    );
    assert!(Duration::from_millis(300) <= begun.elapsed());
    let busy = Server::new(Shelf::of(3), |head, shelf| {
        if head.target().contains('?') {
            shelf.answer(head)
        } else {
            Say::Bytes(problem("503 Service Unavailable", "busy"))
        }
    });
    let ran = target.pull_impatient(&busy.url, 300);
    assert_eq!(ran.code, Some(1), "{ran}");
    for (status, name) in [
        ("401 Unauthorized", "unauthorized"),
        ("403 Forbidden", "forbidden"),
    ] {
        for of_list in [true, false] {
            let server = Server::new(Shelf::of(3), move |head, shelf| {
                if head.target().contains('?') == of_list {
                    return Say::Bytes(problem(status, name));
                }
                shelf.answer(head)
            });
            let ran = Target::new().pull(&server.url, &[]);
            assert_eq!(ran.code, Some(1), "{ran}");
            assert!(ran.err.contains(name), "{ran}");
        }
    }
}

#[test]
fn a_full_disk_waits_and_what_is_here_stays() {
    if !has_steps("a full disk of a pull") {
        return;
    }
    let server = Server::good(Shelf::of(8));
    let target = Target::new();
    let mut command = target.command(&server.url, &["--jobs", "1"]);
    command.env("CIS490_FAIL_ON", "4:write");
    let ran = super::ran(command.env("CIS490_FAIL_ERRNO", "28"));
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.err.contains("the disk is full: make room"), "{ran}");
    assert_eq!(target.receipts().len(), 3, "{ran}");
    target.pull_all(&server.url, &server.files());
}

/// The disk fills up in the middle of an append to the receipts, and has room again when more files have come.
#[test]
fn receipts_that_could_not_be_appended_are_followed_by_no_others() {
    if !has_steps("a full disk of a pull's receipts") {
        return;
    }
    let mut shelf = Shelf::of(0);
    shelf.store = "00000000000000aa".into();
    // More than are brought to the disk together.
    shelf.page_rows = 1000;
    for n in 0..1000 {
        shelf.put(&format!("lab-1/ep-{n}"), format!("{n}").as_bytes());
    }
    let server = Server::good(shelf);
    let target = Target::new();
    let mut command = target.command(&server.url, &[]);
    command.env("CIS490_FAIL_ON", "1:append");
    let ran = super::ran(command.env("CIS490_FAIL_ERRNO", "28"));
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.err.contains("the disk is full: make room"), "{ran}");
    target.pull_all(&server.url, &server.files());
}

/// The first tarball is not to be had before the third page was asked for. Until it is here, the cursor stays
/// before its page.
#[test]
fn the_next_pages_are_asked_for_while_a_tarball_of_the_first_is_under_way() {
    let target = Target::new();
    let cursor = target.file("pull.json");
    let pages = AtomicUsize::new(0);
    let server = Server::new(Shelf::of(40), move |head, shelf| {
        if head.target().starts_with("/v1/episodes?") {
            // The fourth is asked for when the first has ended.
            let is_early = pages.fetch_add(1, Ordering::SeqCst) < 3;
            if is_early && cursor.exists() {
                return Say::Bytes(problem("403 Forbidden", "cursor-too-early"));
            }
        }
        if head.target().ends_with("/ep-1.tar.zst") && pages.load(Ordering::SeqCst) < 3 {
            return Say::Bytes(problem("503 Service Unavailable", "not-yet"));
        }
        shelf.answer(head)
    });
    target.pull_all(&server.url, &server.files());
    assert!(target.file("pull.json").exists());
}

/// A tarball of the second page is under way, and would be for days, when the first page ends with a refusal.
#[test]
fn an_error_ends_the_pull_while_a_tarball_of_a_later_page_is_under_way() {
    const LONG: usize = 100_000_000;
    let mut shelf = Shelf::of(13);
    shelf.index += &row("lab-0/long", LONG as u64, &sha256(b"long"));
    let is_under_way = AtomicBool::new(false);
    let is_at_last = AtomicBool::new(false);
    let questions = AtomicUsize::new(0);
    let server = Server::new(shelf, move |head, shelf| {
        let target = head.target();
        if target.ends_with("/long.tar.zst") {
            is_under_way.store(true, Ordering::SeqCst);
            return Say::Drips(shelf::head("200 OK", "", LONG).into());
        }
        if target.ends_with("/ep-1.tar.zst") {
            // The first page does not end before the long one is under way.
            return Say::Bytes(if is_under_way.load(Ordering::SeqCst) {
                problem("404 Not Found", "no-episode")
            } else {
                problem("503 Service Unavailable", "not-yet")
            });
        }
        if target.ends_with("/ep-13.tar.zst") {
            // The thread that asks for it has handed over all that it has fetched, and goes on asking.
            is_at_last.store(true, Ordering::SeqCst);
            return Say::Bytes(problem("503 Service Unavailable", "not-yet"));
        }
        let is_list = target.contains('?');
        if is_list && questions.fetch_add(1, Ordering::SeqCst) >= 2 {
            return Say::Bytes(if is_at_last.load(Ordering::SeqCst) {
                problem("403 Forbidden", "no-more-for-you")
            } else {
                problem("503 Service Unavailable", "not-yet")
            });
        }
        shelf.answer(head)
    });
    let target = Target::new();
    let mut command = target.command(&server.url, &["--jobs", "2"]);
    let ran = ran_within(&mut command, PATIENCE);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.err.contains("no-more-for-you"), "{ran}");
    // What came before the error has its receipts, of both pages.
    assert_eq!(target.receipts().len(), 11, "{ran}");
    assert!(!target.file("pull.json").exists(), "{ran}");
}

/// No page waits for more files to be brought to the disk with its own than are under way.
#[test]
fn pages_of_few_rows_do_not_wait_for_a_batch_to_fill() {
    let mut shelf = Shelf::of(30);
    shelf.page_rows = 1;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let times = asked.clone();
    let server = Server::new(shelf, move |head, shelf| {
        if head.target().contains('?') {
            times.lock().unwrap().push(Instant::now());
        }
        shelf.answer(head)
    });
    Target::new().pull_all(&server.url, &server.files());
    let asked = asked.lock().unwrap();
    let mut of_three: Vec<Duration> = asked.windows(4).map(|four| four[3] - four[0]).collect();
    of_three.sort();
    // A batch that waits for more waits a second.
    let median = of_three[of_three.len() / 2];
    assert!(median < Duration::from_millis(700), "{of_three:?}");
}

/// The second page is not to be had before what the first one lists is here, with its receipts and the cursor.
#[test]
fn what_has_come_is_brought_to_the_disk_while_the_list_does_not_answer() {
    let target = Target::new();
    let cursor = target.file("pull.json");
    let server = Server::new(Shelf::of(14), move |head, shelf| {
        if head.target().contains("cursor=") && !cursor.exists() {
            return later();
        }
        shelf.answer(head)
    });
    let ran = target.pull_impatient(&server.url, 10_000);
    assert_eq!(ran.code, Some(0), "{ran}");
    target.check(&server.files(), &ran.to_string());
}

/// An episode of the first page is not to be had, for which the page is asked for again; and that is not answered
/// before all of the second page is here.
#[test]
fn what_has_come_is_brought_to_the_disk_while_the_list_does_not_answer_for_a_missing_episode() {
    let target = Target::new();
    let index = target.file("index.jsonl");
    let of_first = AtomicUsize::new(0);
    let server = Server::new(Shelf::of(14), move |head, shelf| {
        let target = head.target();
        if target.ends_with("/ep-1.tar.zst") {
            return Say::Bytes(problem("404 Not Found", "no-episode"));
        }
        if target.ends_with("/ep-14.tar.zst") && of_first.load(Ordering::SeqCst) < 2 {
            return later();
        }
        let is_of_first = target.contains('?') && !target.contains("cursor=");
        if is_of_first && 0 < of_first.fetch_add(1, Ordering::SeqCst) {
            let receipts = fs::read_to_string(&index).unwrap_or_default();
            if !receipts.contains("\"ep-14\"") {
                return later();
            }
        }
        shelf.answer(head)
    });
    let ran = target.pull_impatient(&server.url, 10_000);
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.err.contains("missing: lab-1/ep-1: "), "{ran}");
    assert_eq!(target.receipts().len(), 13, "{ran}");
    assert!(target.file("pull.json").exists(), "{ran}");
}

fn later() -> Say {
    Say::Bytes(shelf::with_body(
        "503 Service Unavailable",
        "Retry-After: 1\r\n",
        b"",
    ))
}
