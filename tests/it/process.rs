//! A running process, by its number: what the kernel says of it, and a signal for it.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::PATIENCE;

/// Sends a signal, by its name, to a process that has not been waited for; its end is not waited for.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// SIGSTOP; returns when each thread of the process stands, which is not at once on a busy machine.
pub fn freeze(pid: u32) {
    signal(pid, "STOP");
    let until = Instant::now() + PATIENCE;
    while !all_threads_stand(pid) {
        assert!(Instant::now() < until, "process {pid} does not stand");
        thread::sleep(Duration::from_millis(1));
    }
}

fn all_threads_stand(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.into_iter().all(|thread| {
        let stat = fs::read_to_string(thread.unwrap().path().join("stat"));
        // The state follows the name, which may hold anything but is in brackets.
        stat.is_ok_and(|stat| {
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    })
}

/// A field of /proc/PID/status, such as `Uid:`, its words with one blank between them.
pub fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let line = line.unwrap_or_else(|| panic!("no {field} in {text}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A field of /proc/PID/status that is in kB, such as `VmHWM:`, or a number of things.
pub fn count(pid: u32, field: &str) -> u64 {
    let text = status(pid, field);
    text.trim_end_matches(" kB").parse().unwrap()
}

/// User and system time, in clock ticks (of 10 ms, as a rule).
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name before it may have blanks.
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks = fields.skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// How many descriptors it has open.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// The processes that a process, by any of its threads, has started and not waited for.
pub fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let texts = threads.map(|thread| fs::read_to_string(thread.path().join("children")));
    texts
        .flat_map(|text| {
            let words = text.unwrap_or_default();
            let pids = words.split_whitespace().filter_map(|pid| pid.parse().ok());
            pids.collect::<Vec<u32>>()
        })
        .collect()
}
