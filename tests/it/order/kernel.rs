//! The order of the durable steps as the kernel sees it: of any build, and of whatever code takes
//! them. `super` has the same, stricter, from what a debug build writes down.

use std::collections::HashMap;

use crate::client::Put;
use crate::lab::Lab;
use crate::syscalls::shipper::ship_under;
use crate::syscalls::{can_trace, whole_log};
use crate::world::World;

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A call, and the lines of the log at which it began and ended.
struct Call {
    begins: usize,
    ends: usize,
    text: String,
}

/// What strace writes with `-f -y`: calls of several threads, begun and resumed in between.
fn calls(log: &str) -> Vec<Call> {
    let (mut calls, mut begun) = (Vec::new(), HashMap::new());
    for (at, line) in log.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else {
            continue;
        };
        let text = text.trim_start();
        if text.ends_with("<unfinished ...>") {
            begun.insert(thread, (at, text.to_owned()));
        } else if !text.starts_with("<... ") {
            let (begins, ends, text) = (at, at, text.to_owned());
            calls.push(Call { begins, ends, text });
        } else if let Some((begins, text)) = begun.remove(thread) {
            let ends = at;
            calls.push(Call { begins, ends, text });
        }
    }
    calls
}

fn strace(log: &str) -> Vec<String> {
    let calls = "trace=write,writev,pwrite64,sendto,sendmsg,recvfrom,read,fsetxattr,fsync,fdatasync,\
        ?link,linkat,?rename,renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat";
    ["strace", "-D", "-f", "-y", "-q", "-e", calls, "-o", log]
        .map(str::to_owned)
        .into()
}

/// Each stage ends before the next begins; the calls of one stage come in any order. A call is told
/// by the beginning of its name and by parts of its text.
fn check(log: &str, stages: &[&[&[&str]]]) {
    let calls = calls(log);
    let mut over = 0;
    for stage in stages {
        let found = stage.iter().map(|wanted| {
            let is_it = |call: &&Call| {
                let starts = call.text.starts_with(wanted[0]);
                over <= call.begins && starts && wanted.iter().all(|part| call.text.contains(part))
            };
            let found = calls.iter().filter(is_it).min_by_key(|call| call.begins);
            found.unwrap_or_else(|| panic!("{wanted:?} after line {over} of\n{log}"))
        });
        over = found.map(|call| call.ends + 1).max().unwrap_or(over);
    }
}

#[test]
fn the_kernel_sees_a_small_upload_in_the_stated_order() {
    if !can_trace("the_kernel_sees_a_small_upload_in_the_stated_order") {
        return;
    }
    let x = "incoming/lab-1~ep-1~1.partial";
    let log = upload_under_strace(&[7; 70_001]);
    check(
        &log,
        &[
            &[&["pwrite64", x]],
            &[&["fsetxattr", x]],
            &[&["mkdir", "episodes/lab-1"]],
            &[&["link", x, "episodes/lab-1/ep-1.tar.zst"]],
            &[&["write", "index.jsonl>"]],
            &[
                &["fsync", x],
                &["fsync", "data/episodes/lab-1>"],
                &["fsync", "data/episodes>"],
                &["fdatasync", "index.jsonl>"],
            ],
            &[&["", "HTTP/1.1 201"], &["unlink", x]],
        ],
    );
    no_write_after_its_sync(&log, x);
}

#[test]
fn the_kernel_sees_a_large_upload_in_the_stated_order() {
    if !can_trace("the_kernel_sees_a_large_upload_in_the_stated_order") {
        return;
    }
    let body: Vec<u8> = (0..(5 << 20) + 9).map(|i| (i >> 6) as u8).collect();
    let log = upload_under_strace(&body);
    let x = "incoming/lab-1~ep-1~1.partial";
    check(
        &log,
        &[
            &[&["pwrite64", x]],
            &[&["fsetxattr", x]],
            &[&["fsync", x]],
            &[&["mkdir", "episodes/lab-1"]],
            &[&["link", x, "episodes/lab-1/ep-1.tar.zst"]],
            &[&["write", "index.jsonl>"]],
            &[
                &["fsync", "data/episodes/lab-1>"],
                &["fsync", "data/episodes>"],
                &["fdatasync", "index.jsonl>"],
            ],
            // X goes after the committer's answer, which another thread carries to the socket.
            &[&["", "HTTP/1.1 201"], &["unlink", x]],
        ],
    );
    no_write_after_its_sync(&log, x);
}

/// The calls of a receiver that stores one body.
fn upload_under_strace(body: &[u8]) -> String {
    let mut world = World::prepared(GATE_OFF);
    let log = world.dir().join("calls");
    world.run_under(strace(log.to_str().unwrap()));
    world.start();
    let put = Put::sample(COMMIT).body(body);
    assert_eq!(world.put(&put).status, 201, "{world}");
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    let process = world.pid();
    world.kill();
    whole_log(&log, process)
}

fn no_write_after_its_sync(log: &str, x: &str) {
    let calls = calls(log);
    let synced = calls
        .iter()
        .find(|call| call.text.starts_with("fsync") && call.text.contains(x));
    let synced = synced.unwrap().begins;
    let late = calls.iter().find(|call| {
        call.text.starts_with("pwrite64") && call.text.contains(x) && synced < call.ends
    });
    assert!(late.is_none(), "{}", late.unwrap().text);
}

#[test]
fn the_kernel_sees_an_episode_shipped_in_the_stated_order() {
    if !can_trace("the_kernel_sees_an_episode_shipped_in_the_stated_order") {
        return;
    }
    let world = World::with(GATE_OFF);
    let lab = Lab::new(&format!("http://{}", world.address()));
    lab.episode("ep-1", COMMIT);
    let log = lab.dir().join("calls");
    let under = strace(log.to_str().unwrap());
    let (process, status, said) = ship_under(&lab, &under);
    assert_eq!(status, Some(0), "{said}\n{lab}");
    let log = whole_log(&log, process);
    let (partial, receipt) = ("outbox/ep-1.tar.zst.partial", "shipped/ep-1.receipt.json");
    check(
        &log,
        &[
            &[&["write", partial]],
            &[
                &["fsync", "episodes/ep-1/meta.json>"],
                &["fsync", "episodes/ep-1>"],
                &["fsync", "root/episodes>"],
                &["fsetxattr", partial],
            ],
            &[&["fsync", partial]],
            &[&["rename", partial]],
            &[&["fsync", "root/outbox>"]],
            &[&["", "PUT /v1/episodes/lab-1/ep-1"]],
            &[&["", "HTTP/1.1 201"]],
            &[&["write", receipt]],
            &[&["fsync", receipt]],
            &[&["rename", receipt]],
            &[&["fsync", "root/shipped>"]],
            &[&["rename", "episodes/ep-1\"", "shipped/ep-1\""]],
            &[&["fsync", "root/shipped>"], &["fsync", "root/episodes>"]],
            &[&["unlink", "outbox/ep-1.tar.zst\""]],
        ],
    );
}
