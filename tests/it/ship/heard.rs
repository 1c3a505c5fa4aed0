//! A whole answer is heard at once, wherever it comes and whatever stands before it; what breaks off
//! is none. Literal bytes from a stub, since no proxy can be made to say all of it.

use std::time::{Duration, Instant};

use super::stub::{Act, CONTINUE, Reply, Stub, answer, problem, receipt_but};
use super::{A, Lab, noise};
use crate::lab::Ended;

/// Far below the minute after which the shipper would give up, and above a busy machine's pauses.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What `ship --once` makes of these, one after the other for each try; it is asserted that it heard
/// at once.
fn shipped(lab: &Lab, stub: &Stub, acts: Vec<Act>) -> Ended {
    stub.puts([Reply::Acts(acts)]);
    let before = stub.heard().len();
    let ended = lab.ship_once();
    let at = stub.heard()[before].at;
    assert!(at.elapsed() < AT_ONCE, "{:?}\n{ended}", at.elapsed());
    ended
}

fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

/// Without `Connection: close`: the peer means to go on.
fn kept_open(text: String) -> String {
    text.replace("Connection: close\r\n", "")
}

#[test]
fn an_answer_in_place_of_continue_is_heard_while_the_connection_stays_open() {
    for (said, code, there, words) in [
        (
            problem(412, "not-in-window", ""),
            3,
            "episodes",
            "event=held",
        ),
        (
            problem(413, "too-large", ""),
            3,
            "refused",
            "event=set_aside",
        ),
        (problem(409, "taken", ""), 3, "refused", "status=409"),
        (problem(503, "draining", ""), 1, "episodes", "503: words"),
        (
            answer(413, "", "<h1>413 Request Entity Too Large</h1>"),
            1,
            "episodes",
            "<h1>413 Request Entity",
        ),
        (
            answer(403, "", "<h1>403 Forbidden</h1>"),
            1,
            "episodes",
            "event=not_let_in",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n5\r\noh no\r\n0\r\n\r\n"
                .to_owned(),
            1,
            "episodes",
            "oh no",
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            1,
            "episodes",
            "204",
        ),
    ] {
        let stub = Stub::new([]);
        let lab = Lab::new(&stub.url);
        lab.episode_with("ep-1", A, &noise(1 << 20));
        let ended = shipped(&lab, &stub, vec![Act::Say(kept_open(said)), Act::Stay]);
        assert_eq!(ended.code, code, "{words}\n{ended}");
        assert!(ended.log.contains(words), "{words}\n{ended}");
        assert!(lab.path(there).join("ep-1").exists(), "{words}\n{lab}");
    }
}

/// A shipper that lost the 201 hears at once that the receiver has the bytes, and goes on.
#[test]
fn a_200_in_place_of_continue_frees_the_sender() {
    let stub = Stub::new([Reply::StoreAndDie]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    lab.ship_once();
    let receipt = receipt_but(200, &stub.heard()[0], str::to_owned);
    let ended = shipped(&lab, &stub, vec![Act::Say(kept_open(receipt)), Act::Stay]);
    assert_eq!(ended.code, 0, "{ended}");
    lab.assert_all_shipped(&["ep-1"]);
}

#[test]
fn interim_answers_are_passed_over_however_many_and_whatever_they_carry() {
    let with_fields = "HTTP/1.1 100 Continue\r\nServer: x\r\nDate: now\r\n\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
    let many = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
    for (before, after) in [
        (with_fields, ""),
        // Caddy: twice, the second after the body and with a field.
        (CONTINUE, "HTTP/1.1 100 Continue\r\nServer: Caddy\r\n\r\n"),
        (&format!("{hints}{CONTINUE}"), hints),
        (&format!("{many}{with_fields}{many}"), &many),
    ] {
        let stub = Stub::new([]);
        let lab = Lab::new(&stub.url);
        lab.episode_with("ep-1", A, &noise(1 << 20));
        let acts = vec![say(before), Act::TakeAll, say(after), Act::Receipt];
        let ended = shipped(&lab, &stub, acts);
        assert_eq!(ended.code, 0, "{before:.60}{after:.60}\n{ended}");
        lab.assert_all_shipped(&["ep-1"]);
    }
    // In the middle of the body, and then the answer: the rest is not sent.
    let refusal = kept_open(problem(412, "not-in-window", ""));
    let stub = Stub::new([]);
    let lab = Lab::new(&stub.url);
    lab.episode_with("ep-1", A, &noise(8 << 20));
    let acts = vec![
        say(CONTINUE),
        Act::TakeSome,
        say(hints),
        Act::TakeSome,
        say(&format!("{with_fields}{refusal}")),
        Act::Stay,
    ];
    let ended = shipped(&lab, &stub, acts);
    assert_eq!((ended.code, ended.count("event=held")), (3, 1), "{ended}");
}

#[test]
fn interim_answers_without_end_are_no_answer() {
    let stub = Stub::new([]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    let many = "HTTP/1.1 102 Processing\r\n\r\n".repeat(20_000);
    let ended = shipped(&lab, &stub, vec![Act::Say(many), Act::Stay]);
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.log.contains("(1xx) without end"), "{ended}");
}

#[test]
fn an_answer_that_breaks_off_is_none() {
    let whole = problem(412, "not-in-window", "");
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    let chunked = |end: &str| {
        format!(
            "HTTP/1.1 412 No\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}{end}",
            body.len()
        )
    };
    for (name, said, is_whole) in [
        ("whole, by its length", whole.clone(), true),
        ("whole, in chunks", chunked("\r\n0\r\n\r\n"), true),
        (
            "whole, to the end of the connection",
            format!("HTTP/1.0 412 No\r\n\r\n{body}"),
            true,
        ),
        ("half of the head", head[..20].to_owned(), false),
        ("the status line", "HTTP/1.1 412 No\r\n".to_owned(), false),
        ("the head alone", format!("{head}\r\n\r\n"), false),
        ("all but a byte", whole[..whole.len() - 1].to_owned(), false),
        ("chunks without an end", chunked("\r\n"), false),
    ] {
        let stub = Stub::new([]);
        let lab = Lab::new(&stub.url);
        lab.episode("ep-1", A);
        let ended = shipped(&lab, &stub, vec![Act::Say(said)]);
        let code = if is_whole { 3 } else { 1 };
        assert_eq!(ended.code, code, "{name}\n{ended}");
        assert_eq!(
            ended.count("event=held"),
            usize::from(is_whole),
            "{name}\n{ended}"
        );
        if !is_whole {
            // One cut is one line, with the true wait.
            assert_eq!(ended.count("WARN"), 1, "{name}\n{ended}");
            assert_eq!(ended.count("event=receiver_away"), 1, "{name}\n{ended}");
            assert_eq!(ended.count("episode=ep-1"), 2, "{name}\n{ended}");
            assert_eq!(ended.count("no answer"), 1, "{name}\n{ended}");
        }
    }
}

/// Who knows no `100 Continue` waits for a body: it goes unasked after three seconds.
#[test]
fn without_a_continue_the_body_goes_unasked() {
    let stub = Stub::new([Reply::Acts(vec![Act::TakeAll, Act::Receipt])]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    let begun = Instant::now();
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}");
    let took = begun.elapsed();
    assert!(
        Duration::from_secs(2) < took && took < Duration::from_secs(10),
        "{took:?}"
    );
}

#[test]
fn sigterm_ends_it_while_it_waits_for_a_continue() {
    let stub = Stub::new([Reply::Acts(vec![Act::Stay])]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    let shipper = lab.ship();
    shipper.wait_until("it asks", || !stub.heard().is_empty());
    let begun = Instant::now();
    assert_eq!(shipper.stop(), 0);
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(2500), "{took:?}");
    assert_eq!(lab.names("episodes"), ["ep-1"]);
}

#[test]
fn a_redirect_says_where_it_points_and_is_not_followed() {
    let said = answer(
        308,
        "Location: https://bob:hunter2@pi.lan/v1\r\n",
        "<h1>moved</h1>",
    );
    let stub = Stub::new([Reply::Say(said)]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    let ended = lab.ship_once();
    assert_eq!((ended.code, stub.lines().len()), (1, 1), "{ended}");
    assert!(
        ended
            .log
            .contains("it points to https://***@pi.lan/v1, and is not followed"),
        "{ended}"
    );
    assert!(!ended.log.contains("hunter2"), "{ended}");
    let status = lab.status();
    let why = status["last_error"]["why"].as_str().unwrap();
    assert!(why.contains("https://***@pi.lan/v1"), "{why}");
}

/// A proxy that loses a header once emptied the whole queue into refused/.
#[test]
fn three_garbled_heads_in_a_row_and_all_wait() {
    for said in [
        problem(400, "bad-head", ""),
        problem(400, "bad-commit", ""),
        answer(400, "", "<h1>400 Bad Request</h1>"),
    ] {
        let stub = Stub::new([Reply::Say(said)]);
        let lab = Lab::new(&stub.url);
        for n in 1..=10 {
            lab.episode(&format!("ep-{n}"), A);
        }
        let ended = lab.ship_once();
        assert_eq!(ended.code, 1, "{ended}");
        assert_eq!(stub.lines().len(), 3, "{ended}");
        assert_eq!(lab.names("episodes").len(), 10, "{lab}");
        assert_eq!(lab.names("refused"), [""; 0]);
        assert_eq!(ended.count("ERROR"), 3, "{ended}");
        assert_eq!(ended.count("event=garbled"), 3, "{ended}");
    }
    // Any other answer in between, and they are not in a row.
    let stub = Stub::new([]);
    let lab = Lab::new(&stub.url);
    for n in 1..=5 {
        lab.episode_with(&format!("ep-{n}"), A, &noise(1000 * n));
    }
    let garbled = || Reply::Say(problem(400, "bad-head", ""));
    stub.puts([garbled(), garbled(), Reply::Store, garbled(), garbled()]);
    let ended = lab.ship_once();
    assert_eq!(stub.lines().len(), 5, "{ended}");
    assert_eq!(lab.names("shipped"), ["ep-3", "ep-3.receipt.json"], "{lab}");

    // A name is the episode's own.
    let stub = Stub::new([Reply::Say(problem(400, "bad-name", ""))]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    assert_eq!(lab.ship_once().code, 3);
    assert!(lab.path("refused/ep-1").exists(), "{lab}");
}

/// The proxy's limit is no word on the episode: what is smaller goes on, and nothing is set aside.
#[test]
fn a_proxys_own_413_waits_and_smaller_ones_pass() {
    let stub = Stub::new([]);
    let lab = Lab::new(&stub.url);
    lab.episode_with("ep-1", A, &noise(10_000));
    lab.episode_with("ep-2", A, &noise(20_000));
    lab.episode_with("ep-3", A, &noise(30_000));
    // Without the field the wait may be over before the next one's turn.
    let page = "<h1>413 Request Entity Too Large</h1>";
    let too_large = answer(413, "Retry-After: 60\r\n", page);
    stub.puts([Reply::Store, Reply::Say(too_large)]);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 1, "{ended}");
    // The largest was not even tried.
    assert_eq!(stub.lines().len(), 2, "{ended}");
    assert_eq!(ended.count("event=too_large_for_proxy"), 1, "{ended}");
    assert_eq!(lab.names("episodes"), ["ep-2", "ep-3"]);
    assert_eq!(lab.names("refused"), [""; 0]);
}
