//! Uploads one after the other on one connection, each sent as soon as the one before has its answer: they
//! are judged, stored and answered as if each had come alone.

use crate::client::{Client, Put};
use crate::syscalls::{can_trace, whole_log};
use crate::world::{World, is_release_build};

/// Sends one request; its answer, unless the connection ends before.
fn ask(client: &mut Client, bytes: &[u8]) -> Option<u16> {
    // The receiver may have ended the connection: then there is no answer.
    let _ = client.send(bytes);
    client.answer().map(|answer| answer.status)
}

fn numbered(world: &World, number: usize, bytes: usize) -> Put {
    let name = format!("ep-{number}");
    world.good().episode(&name).body(&vec![number as u8; bytes])
}

#[test]
fn each_upload_of_a_stream_is_answered_as_one_alone() {
    let world = World::new();
    let sizes = [1, 5_000, 70_000, 300_000];
    for stream in 0..5 {
        let mut client = world.client();
        for (place, size) in sizes.into_iter().enumerate() {
            let number = 8 * stream + 2 * place;
            let put = numbered(&world, number, size);
            assert_eq!(ask(&mut client, &put.bytes()), Some(201), "{world}");
            // A body that comes later than its head, in two pieces.
            let put = numbered(&world, number + 1, size).extra("Expect: 100-continue\r\n");
            assert_eq!(ask(&mut client, &put.head()), Some(100), "{world}");
            let (first, second) = put.body.split_at(size / 2);
            client.send(first).unwrap();
            assert_eq!(ask(&mut client, second), Some(201), "{world}");
        }
        // Another request is the coroutine's, which has to wake for it.
        let get = b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n";
        assert_eq!(ask(&mut client, get), Some(200), "{world}");
        assert_eq!(ask(&mut client, get), Some(200), "{world}");
    }
    assert_eq!(world.rows().len(), 40);
    for number in 0..40 {
        let stored = world.stored("lab-1", &format!("ep-{number}")).unwrap();
        let sent = vec![number as u8; sizes[number % 8 / 2]];
        assert!(stored == sent, "ep-{number}");
    }
}

/// The thread that has answered an upload reads the head of the next one.
#[test]
fn a_stream_stays_with_one_thread() {
    if !can_trace("a_stream_stays_with_one_thread") {
        return;
    }
    let mut world = World::prepared("");
    let log = world.dir().join("calls");
    let calls = "trace=recvfrom,sendto";
    let strace = ["strace", "-D", "-f", "-q", "-e", calls, "-o"].map(str::to_owned);
    world.run_under([&strace[..], &[log.display().to_string()]].concat());
    world.start();
    let mut client = world.client();
    // All at once: each head is here before its thread looks for it.
    let puts = (0..20).map(|number| numbered(&world, number, 100).bytes());
    client.send(&puts.collect::<Vec<_>>().concat()).unwrap();
    for _ in 0..20 {
        assert_eq!(client.answer().unwrap().status, 201, "{world}");
    }
    let process = world.pid();
    assert_eq!(world.stop(), Some(0), "{world}");
    let log = whole_log(&log, process);
    let threads = |part: &str| -> Vec<&str> {
        let lines = log.lines();
        let lines = lines.filter(|line| line.contains(part) && !line.contains("MSG_PEEK"));
        lines
            .filter_map(|line| line.split_whitespace().next())
            .collect()
    };
    let (heads, answers) = (threads("\"PUT /v1/"), threads("\"HTTP/1.1 201 "));
    assert_eq!((heads.len(), answers.len()), (20, 20), "{log}");
    assert_ne!(heads[0], answers[0], "the first is the coroutine's\n{log}");
    assert_eq!(
        (&heads[1..], &answers[1..]),
        (&[answers[0]; 19][..], &[answers[0]; 19][..])
    );
}

#[test]
fn a_refusal_in_a_stream_is_that_uploads_own() {
    let world = World::with("max_episode_bytes = 100\n");
    let good = world.good().body(b"small");
    assert_eq!(world.put(&good).status, 201);
    let episode = |name: &str| good.clone().episode(name);
    let cases = [
        (good.clone(), 200),
        (good.clone().body(b"other"), 409),
        (episode("old").commit(world.too_old()), 412),
        (episode("none").no_commit(), 400),
        (episode("large").body(&[7; 101]), 413),
        (episode("wrong").sha256(&"0".repeat(64)), 422),
        (episode("odd").length("5x"), 400),
        (good.clone().path("/v2"), 404),
    ];
    for (place, (put, status)) in cases.into_iter().enumerate() {
        let mut client = world.client();
        for number in 0..3 {
            let before = episode(&format!("before-{place}-{number}"));
            assert_eq!(ask(&mut client, &before.bytes()), Some(201), "{world}");
        }
        assert_eq!(ask(&mut client, &put.bytes()), Some(status), "{world}");
        assert!(client.is_closed(), "{status}");
    }
    assert_eq!(world.rows().len(), 25);
    // Each was counted and logged once.
    assert_eq!(world.log().matches("event=refused").count(), 7, "{world}");
}

#[test]
fn a_panic_in_a_stream_is_that_uploads_own() {
    if is_release_build() {
        return skip!("a panic in a stream of uploads: a release build has no place to panic");
    }
    let mut world = World::prepared("max_uploads = 1\n");
    let panics = world.good().episode("panics");
    world.env("CIS490_PANIC_AT", &panics.path);
    world.start();
    for round in 0..5 {
        let mut client = world.client();
        let before = numbered(&world, round, 10);
        assert_eq!(ask(&mut client, &before.bytes()), Some(201), "{world}");
        assert_eq!(ask(&mut client, &panics.bytes()), Some(500), "{world}");
        assert!(client.is_closed());
    }
    assert_eq!(world.rows().len(), 5);
    assert_eq!(world.stop(), Some(0), "{world}");
}

#[test]
fn a_stop_ends_a_stream_and_loses_nothing_of_it() {
    let mut world = World::new();
    let puts: Vec<Put> = (0..10_000).map(|n| numbered(&world, n, 100)).collect();
    let mut client = world.client();
    let stream = std::thread::spawn(move || {
        let answers = puts.iter().map(|put| ask(&mut client, &put.bytes()));
        let stored = answers.take_while(|answer| *answer == Some(201)).count();
        assert!(stored < puts.len(), "nothing has stopped it");
        stored
    });
    world.wait_until("the stream runs", |world| world.rows().len() > 20);
    assert_eq!(world.stop(), Some(0), "{world}");
    let stored = stream.join().unwrap();
    assert_eq!(world.rows().len(), stored, "{world}");
}

/// A connection whose upload was answered waits for its next request, whichever thread looks for that.
#[test]
fn a_stream_makes_room_for_a_newcomer() {
    let world = World::with("max_connections = 1\n");
    for number in 0..20 {
        let mut stream = world.client();
        let put = numbered(&world, number, 10);
        assert_eq!(ask(&mut stream, &put.bytes()), Some(201), "{world}");
        assert_eq!(world.get("/v1/health").status, 200, "{world}");
        assert!(stream.is_closed());
    }
}
