//! A panic in one request is that request's 500 and no more, in the program as it is shipped: it
//! unwinds, on a coroutine's stack too, and so must whatever build is tested here.
//!
//! No hook in the program: std's `eprintln!` panics where standard error has gone away, and the log
//! goes through it. A request that is refused is logged by its own coroutine.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::client::Client;
use crate::world::{World, cis490};

#[test]
fn a_panic_in_one_request_leaves_the_process_serving() {
    let world = World::prepared("");
    let mut receiver = cis490()
        .args(["receive", "--config", &world.config_path()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(receiver.stderr.take().unwrap());
    let mut address = None;
    // The window's line is the last one that a receiver at rest writes by itself.
    let mut gate_is_loaded = false;
    while address.is_none() || !gate_is_loaded {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
        let after = line.split("event=listening address=").nth(1);
        let found = after.and_then(|rest| rest.split(' ').next());
        address = address.or(found.map(|text| text.parse().unwrap()));
        gate_is_loaded |= line.contains("source=git");
    }
    let ask = |path: &str| {
        let mut client = Client::connect(address.unwrap());
        let request = format!("GET {path} HTTP/1.1\r\nHost: pi\r\n\r\n");
        client.send(request.as_bytes()).unwrap();
        client.answer()
    };
    assert_eq!(ask("/nowhere").unwrap().status, 404);
    drop(log);
    for round in 0..20 {
        let answer = ask("/nowhere").expect("an answer");
        assert_eq!(answer.status, 500, "{round}: {answer:?}");
        assert!(answer.body.contains("urn:cis490:problem:"), "{answer:?}");
        assert_eq!(ask("/v1/health").expect("an answer").status, 200);
    }
    assert!(receiver.try_wait().unwrap().is_none(), "it ended");
    receiver.kill().unwrap();
    receiver.wait().unwrap();
}
