//! Many requests in one segment, and an end that comes with them or at any moment: each request that
//! is due an answer gets it, whole and in order.

use std::net::Shutdown;

use crate::client::Client;
use crate::here::has_tcp_info;
use crate::world::World;

/// What stands in one segment, and the answers that are due for it: all of them, in order, up to one
/// that ends the connection.
#[test]
fn all_of_one_segment_is_answered_in_order() {
    if !has_tcp_info("all of one segment is answered in order") {
        return;
    }
    let world = World::new();
    let get = "GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n".to_owned();
    let none = "GET /nothing HTTP/1.1\r\nHost: pi\r\n\r\n";
    let last = "GET /v1/gate HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n";
    let old = "GET /v1/gate HTTP/1.0\r\n\r\n";
    let head = "HEAD /v1/gate HTTP/1.1\r\nHost: pi\r\n\r\n";
    let put = |name: &str| String::from_utf8(world.good().episode(name).bytes()).unwrap();
    let refused = world.good().commit(world.too_old()).bytes();
    let refused = String::from_utf8(refused).unwrap();
    let stored = world.good().episode("stored");
    assert_eq!(world.put(&stored).status, 201);
    let stored = String::from_utf8(stored.bytes()).unwrap();
    let rows: [(Vec<&str>, &[u16]); 14] = [
        (vec![&get], &[200]),
        (vec![&get, last], &[200, 200]),
        (vec![&get, old], &[200, 200]),
        (vec![&get, none, last], &[200, 404, 200]),
        (vec![&get, head], &[200, 200]),
        (vec![&get, "garbage\r\n\r\n"], &[200, 400]),
        (
            vec![&get, "GET / HTTP/1.1\r\nHost : pi\r\n\r\n", &get],
            &[200, 400],
        ),
        (vec![&get, &refused, &get], &[200, 412]),
        (vec![&stored, last], &[200]), // it closes: its body is not read
        (
            vec![&get, &get, none, &get, "\0"],
            &[200, 200, 404, 200, 400],
        ),
        (vec![last, &get], &[200]),
        (vec![&get, "\r\n\r\n", &get, last], &[200, 200, 200]),
        (
            vec!["\r\n", &get, "POST / HTTP/1.1\r\nHost: pi\r\n\r\n", last],
            &[200, 405, 200],
        ),
        (
            vec![none, "OPTIONS * HTTP/1.1\r\nHost: pi\r\n\r\n"],
            &[404, 204],
        ),
    ];
    for round in 0..4 {
        for (row, want) in &rows {
            check_row(&world, &row.concat(), want, round % 2 == 0);
        }
        let (first, second) = (put(&format!("a-{round}")), put(&format!("b-{round}")));
        let with_end = round % 2 == 0;
        check_row(&world, &[&first, last].concat(), &[201, 200], with_end);
        let row = [&get, &second, "garbage\r\n\r\n"].concat();
        check_row(&world, &row, &[200, 201, 400], with_end);
    }
    let many = get.repeat(200) + last;
    check_row(&world, &many, &[200; 201], true);
    assert_eq!(world.rows().len(), 9, "{world}");
}

fn check_row(world: &World, bytes: &str, want: &[u16], with_end: bool) {
    let mut client = world.client();
    client.send(bytes.as_bytes()).unwrap();
    if with_end {
        client.0.shutdown(Shutdown::Write).unwrap();
    }
    let ends_with_head = bytes.contains("HEAD ");
    let answers: Vec<u16> = (0..want.len())
        .map_while(|place| {
            let is_head = ends_with_head && place + 1 == want.len();
            client.answer_to(if is_head { "HEAD" } else { "GET" })
        })
        .map(|answer| answer.status)
        .collect();
    let shown = &bytes[..bytes.len().min(300)];
    assert_eq!(answers, want, "{shown:?}, end: {with_end}\n{world}");
    if with_end {
        assert!(client.is_closed(), "{shown:?}: more than was due");
    }
}

/// Once, the answer to a request waited until an upload behind it had ended.
#[test]
fn answers_leave_before_a_body_is_waited_for() {
    if !has_tcp_info("answers leave before a body is waited for") {
        return;
    }
    let world = World::new();
    let put = world.good().body(&[7; 1000]);
    let mut client = world.client();
    let get = b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n";
    client.send(&[&get[..], get, &put.head()].concat()).unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.answer().unwrap().status, 200);
    client.send(&put.body).unwrap();
    assert_eq!(client.answer().unwrap().status, 201);
    let asks = put.episode("asks").extra("Expect: 100-continue\r\n");
    client.send(&[&get[..], &asks.head()].concat()).unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.answer().unwrap().status, 100);
    client.send(&asks.body).unwrap();
    assert_eq!(client.answer().unwrap().status, 201);
}

/// Once, half a head that came along with a request had the time of an idle connection.
#[test]
fn half_a_head_behind_a_request_has_a_heads_time() {
    let world = World::with("head_timeout_seconds = 1\nidle_timeout_seconds = 3600\n");
    let mut client = world.client();
    let get = "GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n";
    let half = format!("{get}GET /v1/hea");
    client.send(half.as_bytes()).unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    assert!(client.is_closed());
    assert!(world.log().contains("the head took too long"), "{world}");
}

/// A closing answer and an end that comes at any moment: either whole, or never begun.
#[test]
fn an_end_at_any_moment_costs_no_answer() {
    let world = World::new();
    let get = b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n";
    for _ in 0..100 {
        let mut client = Client::connect(world.address());
        client.send(get).unwrap();
        client.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.answer().map(|answer| answer.status), Some(200));
        assert!(client.is_closed());
    }
    for number in 0..20 {
        let put = world
            .good()
            .episode(&format!("e-{number}"))
            .body(b"0123456789");
        let mut client = Client::connect(world.address());
        client.send(&put.bytes()).unwrap();
        client.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.answer().map(|answer| answer.status), Some(201));
        assert!(client.is_closed());
    }
}
