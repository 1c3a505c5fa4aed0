//! The bounds of a list: its bytes, what is read for it, peers that do not read, and its time.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{NO_GATE, READER, all_pages, next, row, rows, starts, with_index};
use crate::client::{Client, PATIENCE};
use crate::world::World;

/// Rows of 60 KB.
fn wide_rows(count: usize) -> String {
    let sha = "0f".repeat(32);
    let filler = "x".repeat(60_000);
    let wide = |n: usize| {
        format!("{{\"host\":\"a\",\"episode\":\"e{n}\",\"sha256\":\"{sha}\",\"x\":\"{filler}\"}}\n")
    };
    (0..count).map(wide).collect()
}

/// A connection from 127.0.9.`last` that has asked for the list, with so little room in the kernel that
/// most of the answer stays with the receiver.
fn unread_list(world: &World, last: u8) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    // The kernel makes its own buffers in proportion to this.
    socket.set_mss(536).unwrap();
    let source = SocketAddr::from((Ipv4Addr::new(127, 0, 9, last), 0));
    socket.bind(&source.into()).unwrap();
    socket.connect(&world.address().into()).unwrap();
    let mut client = Client(socket.into());
    client.0.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .send(b"GET /v1/episodes HTTP/1.1\r\nHost: pi\r\n\r\n")
        .unwrap();
    client
}

/// Rows of 60 KB: 1 MiB is full before a thousand of them.
#[test]
fn a_page_has_one_mebibyte_at_most() {
    let index = wide_rows(100);
    let world = with_index(&index);
    let first = world.get("/v1/episodes");
    assert!(first.body.len() <= 1 << 20, "{}", first.body.len());
    assert!(
        first.body.len() > (1 << 20) - 61_000,
        "{}",
        first.body.len()
    );
    let (text, pages) = all_pages(&world, "");
    assert!(text == index, "{} of {}", text.len(), index.len());
    assert!((6..=7).contains(&pages), "{pages}");
}

/// A host whose rows are far apart: a page of it ends after 8 MiB of index, with or without rows.
#[test]
fn a_page_reads_8_mib_at_most() {
    let count = 60_000;
    let mut index = row(1, "rare", "first");
    index.reserve(count * 350);
    for seq in 2..count {
        index += &row(seq, "common", &format!("ep-{seq}"));
    }
    let far = index.len() > 2 * (8 << 20);
    assert!(far, "the index has {} bytes", index.len());
    let last = row(count, "rare", "last");
    index += &last;
    let world = with_index(&index);
    let first = world.get("/v1/episodes?host=rare");
    assert_eq!(first.body, row(1, "rare", "first"));
    assert!(next(&first) < (8 << 20) + 1000, "{}", next(&first));
    let second = world.get(&format!("/v1/episodes?host=rare&cursor={}", next(&first)));
    assert_eq!((second.status, &*second.body), (200, ""));
    assert_eq!(second.header("X-Cis490-Last"), None);
    assert!(second.header("Link").is_some());
    let (text, pages) = all_pages(&world, "?host=rare");
    assert_eq!(text, row(1, "rare", "first") + &last);
    assert_eq!(pages, index.len().div_ceil((8 << 20) + 300));
    // Going back from the end stops as far away.
    let tail = world.get("/v1/episodes?host=rare&tail=2");
    assert_eq!(tail.body, last);
}

/// A place was once held until the connection had ended: a client that reads its list and closes late, or
/// asks page after page on a busy machine, was answered 503.
#[test]
fn a_list_that_was_read_holds_no_place() {
    let world = with_index(&rows(2));
    let mut kept = Vec::new();
    for n in 0..30 {
        let mut client = world.client();
        client
            .send(b"GET /v1/episodes HTTP/1.1\r\nHost: pi\r\n\r\n")
            .unwrap();
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 200, "{n} {answer:?}");
        kept.push(client);
    }
}

/// A peer that does not read its list has one of a few places, and not for long.
#[test]
fn peers_that_do_not_read_keep_nobody_out_for_long() {
    let index = wide_rows(40);
    let mut world = World::prepared(&format!("idle_timeout_seconds = 3\n{READER}{NO_GATE}"));
    fs::write(world.data_dir().join("index.jsonl"), &index).unwrap();
    world.start();
    let began = Instant::now();
    let mut idle: Vec<Client> = (0..20).map(|n| unread_list(&world, n % 4 + 1)).collect();
    let busy = idle.iter_mut().filter_map(|client| {
        let mut head = [0; 12];
        client.0.read_exact(&mut head).ok()?;
        Some(head.ends_with(b"503"))
    });
    let refused = busy.filter(|is_refused| *is_refused).count();
    // Eight places; the rest are asked to come again.
    assert!(refused >= 12, "{refused}\n{world}");
    world.wait_until("the places are free again", |world| {
        world.get("/v1/episodes?limit=1").status == 200
    });
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    // Uploads and receipts never waited.
    assert_eq!(world.get("/v1/health").status, 200);
    drop(idle);
}

/// A slow reader gets all of it: longer than an answer that has been written is waited for.
#[test]
fn a_slow_reader_gets_its_whole_page() {
    let index = wide_rows(20);
    let world = with_index(&index);
    let mut client = unread_list(&world, 1);
    let mut answer = Vec::new();
    let mut part = [0; 1500];
    let began = Instant::now();
    loop {
        let count = client.0.read(&mut part).unwrap();
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&part[..count]);
        // A steady slow line; what is waited for is the end of the answer.
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(
        began.elapsed() > Duration::from_secs(6),
        "too fast to prove anything"
    );
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    assert!(
        index.starts_with(body) && body.len() > 900_000,
        "{}",
        body.len()
    );
}

#[test]
fn the_last_page_of_a_long_index_costs_what_the_first_does() {
    let index = rows(200_000);
    let world = with_index(&index);
    let begin = starts(&index)[199_000];
    let took = |target: &str| {
        let times = (0..5).map(|_| {
            let began = Instant::now();
            let answer = world.get(target);
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.body.lines().count(), 1000, "{target}");
            began.elapsed()
        });
        times.min().unwrap()
    };
    let first = took("/v1/episodes");
    let last = took(&format!("/v1/episodes?cursor={begin}"));
    let tail = took("/v1/episodes?tail=1000");
    let most = first * 10 + Duration::from_millis(200);
    assert!(last < most && tail < most, "{first:?} {last:?} {tail:?}");
}

/// One address has half of the places at most: another one is let in beside it.
#[test]
fn one_address_leaves_half_of_the_places_to_others() {
    let index = wide_rows(40);
    let mut world = World::prepared(&format!("{READER}{NO_GATE}"));
    fs::write(world.data_dir().join("index.jsonl"), &index).unwrap();
    world.start();
    let mut unread: Vec<Client> = (0..8).map(|_| unread_list(&world, 1)).collect();
    let statuses = unread.iter_mut().map(|client| {
        let mut head = [0; 12];
        client.0.read_exact(&mut head).unwrap();
        String::from_utf8_lossy(&head[9..]).into_owned()
    });
    let refused = statuses.filter(|status| status == "503").count();
    assert_eq!(refused, 4, "{world}");
    let mut other = unread_list(&world, 2);
    let mut head = [0; 12];
    other.0.read_exact(&mut head).unwrap();
    assert!(head.ends_with(b"200"), "{world}");
}
