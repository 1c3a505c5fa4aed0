//! Many peers at once that are slow on purpose, and what they can take from others: nothing, as
//! long as the others come from elsewhere; and of their own address no more than their share.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, PATIENCE};
use crate::forgejo::{Forgejo, Mood};
use crate::repository::Repository;
use crate::world::World;

/// Loopback has sixteen million addresses to come from. The slow ones come from 127.0.0.1.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn upload_from(world: &World, source: Ipv4Addr, episode: &str) -> u16 {
    let mut client = Client::connect_from(world.address(), source);
    let _ = client.send(&world.good().episode(episode).bytes());
    client
        .answer()
        .unwrap_or_else(|| panic!("no answer\n{world}"))
        .status
}

#[test]
fn unfinished_heads_make_room_for_uploads() {
    let world = World::with("max_connections = 8\n");
    let mut slow: Vec<Client> = (0..24).map(|_| world.client()).collect();
    for client in &mut slow {
        let _ = client.send(b"PUT /v1/episodes/lab-1/slow HTTP/1.1\r\nHost: pi\r\nX-Drip: ");
    }
    for n in 0..4 {
        assert_eq!(
            upload_from(&world, ELSEWHERE, &format!("else-{n}")),
            201,
            "{world}"
        );
        assert_eq!(
            upload_from(&world, Ipv4Addr::LOCALHOST, &format!("same-{n}")),
            201,
            "{world}"
        );
    }
    assert!(
        world.log().contains("event=crowded peer=127.0.0.1"),
        "{world}"
    );
    // All but the newest of them were let go.
    slow[..8]
        .iter_mut()
        .for_each(|client| assert!(client.is_closed()));
}

/// A host that holds one connection keeps it, however many another host opens.
#[test]
fn who_holds_least_is_not_put_out() {
    let world = World::with("max_connections = 8\n");
    let mut modest = Client::connect_from(world.address(), ELSEWHERE);
    let greedy: Vec<Client> = (0..40).map(|_| world.client()).collect();
    assert_eq!(world.get("/v1/health").status, 200);
    modest.send(&world.good().bytes()).unwrap();
    assert_eq!(modest.answer().unwrap().status, 201, "{world}");
    drop(greedy);
}

#[test]
fn slow_bodies_leave_places_to_other_addresses() {
    let world = World::with("max_uploads = 8\n");
    let put = world.good().body(&[7; 1000]);
    let begin = |n: u32| {
        let mut client = world.client();
        let bytes = put.clone().episode(&format!("slow-{n}")).bytes();
        client.send(&bytes[..bytes.len() - 1]).unwrap();
        client
    };
    let _slow: Vec<Client> = (0..5).map(begin).collect();
    world.wait_until("five are under way", |world| {
        world.names("incoming").len() == 5
    });
    let refused = world.put(&put.clone().episode("sixth"));
    assert_eq!(
        (refused.status, refused.header("Retry-After")),
        (503, Some("10")),
        "{refused:?}"
    );
    assert_eq!(
        refused.json()["type"],
        "urn:cis490:problem:too-many-uploads-of-yours"
    );
    for n in 0..4 {
        assert_eq!(
            upload_from(&world, ELSEWHERE, &format!("else-{n}")),
            201,
            "{world}"
        );
    }
}

/// Each of these requests holds its connection for two seconds, since Forgejo hangs.
#[test]
fn waiting_for_the_gate_leaves_connections_to_other_addresses() {
    let repository = Repository::new(3);
    let forgejo = Forgejo::serve(repository.path());
    let mut world = World::prepared(&format!(
        "max_connections = 8\n[version_gate]\nforgejo_url = {:?}\nrepo_owner = \"lab\"\nrepo_name = \"cis490\"\nlocal_repo_path = \"/nonexistent/cis490\"\n",
        forgejo.url
    ));
    world.start();
    world.wait_until("the gate has its window", |world| {
        world.get("/v1/gate").json()["loaded"] == true
    });
    forgejo.set_mood(Mood::Hang);
    let before = forgejo.requests().len();
    let asked = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let ask = format!(
        "GET /v1/gate/{} HTTP/1.1\r\nHost: pi\r\n\r\n",
        "5".repeat(40)
    );
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = world.client();
                while !over.load(Ordering::Relaxed) {
                    let is_sent = client.send(ask.as_bytes()).is_ok();
                    asked.fetch_add(usize::from(is_sent), Ordering::Relaxed);
                    if !is_sent || client.answer().is_none() {
                        client = world.client();
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        let until = Instant::now() + PATIENCE;
        let all_wait = || 8 <= asked.load(Ordering::Relaxed) && before < forgejo.requests().len();
        while !all_wait() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let did_wait = all_wait();
        let health = (0..30).map(|_| {
            thread::sleep(Duration::from_millis(50));
            let mut client = Client::connect_from(world.address(), ELSEWHERE);
            client
                .send(b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n")
                .unwrap();
            client.answer().map(|answer| answer.status)
        });
        let told: Vec<_> = health.collect();
        over.store(true, Ordering::Relaxed);
        assert!(did_wait, "they did not wait\n{world}");
        assert!(
            told.iter().all(|status| *status == Some(200)),
            "{told:?}\n{world}"
        );
    });
}

/// Nothing was asked yet, so it is the head's deadline that runs, not the longer idle one.
#[test]
fn a_connection_without_a_request_ends_with_the_heads_deadline() {
    let world = World::with("head_timeout_seconds = 1\nidle_timeout_seconds = 3600\n");
    assert!(world.client().is_closed());
    let mut used = world.client();
    used.send(b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n")
        .unwrap();
    assert_eq!(used.answer().unwrap().status, 200);
    used.0
        .set_read_timeout(Some(Duration::from_millis(1500)))
        .unwrap();
    let waits = std::io::Read::read(&mut used.0, &mut [0]).unwrap_err();
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
}

/// The peer's reset may come at any moment: what it cut off leaves nothing, what was whole is stored.
#[test]
fn a_reset_harms_nobody() {
    let world = World::new();
    let put = world.good().body(&[7; 300_000]);
    let bytes = put.bytes();
    for cut in [
        1,
        30,
        put.head().len(),
        put.head().len() + 1,
        100_000,
        bytes.len() - 1,
    ] {
        let mut client = world.client();
        client.send(&bytes[..cut]).unwrap();
        client.reset();
    }
    world.wait_until("all are swept", |world| world.names("incoming").is_empty());
    assert!(world.rows().is_empty(), "{world}");
    let mut client = world.client();
    client.send(&bytes).unwrap();
    world.wait_until("it is stored", |world| world.rows().len() == 1);
    client.reset();
    assert_eq!(world.put(&put).status, 200, "{world}");
}

/// With few descriptors it serves fewer connections, says so, does not spin, and heals.
#[test]
fn few_descriptors_are_no_fault() {
    let mut world = World::prepared("");
    world.limit_files(300);
    world.start();
    assert!(world.log().contains("event=few_files limit=300"), "{world}");
    let before = world.open_files();
    let crowd: Vec<Client> = (0..400).map(|_| world.client()).collect();
    for n in 0..4 {
        assert_eq!(
            upload_from(&world, ELSEWHERE, &format!("else-{n}")),
            201,
            "{world}"
        );
    }
    assert!(world.open_files() < 290, "{}", world.open_files());
    let ticks = world.cpu_ticks();
    thread::sleep(Duration::from_secs(1));
    let spent = world.cpu_ticks() - ticks;
    assert!(spent < 50, "{spent} ticks of 10 ms in a second: it spins");
    drop(crowd);
    world.wait_until("all are closed", |world| world.open_files() <= before + 2);
    assert_eq!(world.put(&world.good().episode("after")).status, 201);
}

#[test]
fn too_few_descriptors_are_refused_in_words() {
    let mut world = World::prepared("");
    world.limit_files(64);
    assert!(!world.try_start(), "{world}");
    let log = world.log();
    assert!(
        log.contains("cis490: error: ") && log.contains("LimitNOFILE"),
        "{log}"
    );
}
