//! What a process holds, read from /proc while it rests.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::thread;
use std::time::Duration;

use crate::process;
use crate::world::is_emulated;

/// At one rest, the least of many looks over three seconds: git may be asked just then, or the gate
/// about what is held.
#[derive(Clone, Debug)]
struct Pulse {
    memory_kib: u64,
    /// Of it, what is the process' own: no pages of its program.
    anonymous_kib: u64,
    descriptors: Vec<String>,
    threads: u64,
}

#[derive(Clone, Default)]
pub struct Series(Vec<Pulse>);

impl Series {
    /// The last rest against the first quarter of them, in which what is lazy has warmed up. One
    /// descriptor may come later: refusals.jsonl is opened for the first refusal after a start.
    pub fn assert_flat(&self, who: &str, kib_more: u64, threads_more: u64) {
        let warm = &self.0[..self.0.len().div_ceil(4)];
        let last = self.0.last().unwrap();
        let most = |of: fn(&Pulse) -> u64| warm.iter().map(of).max().unwrap();
        let is_memory_flat = is_emulated() || last.memory_kib <= most(|p| p.memory_kib) + kib_more;
        if is_emulated() {
            skip!("the memory of the {who}: an emulator keeps what it translates");
        }
        assert!(
            is_memory_flat
                && last.descriptors.len() as u64 <= most(|p| p.descriptors.len() as u64) + 1
                && last.threads <= most(|p| p.threads) + threads_more,
            "{who} grows: {self}; open: {}",
            last.open()
        );
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |of: fn(&Pulse) -> u64| {
            let numbers: Vec<String> = self.0.iter().map(|pulse| of(pulse).to_string()).collect();
            numbers.join(" ")
        };
        write!(
            f,
            "KiB {}; of these anonymous {}; descriptors {}; threads {}",
            list(|p| p.memory_kib),
            list(|p| p.anonymous_kib),
            list(|p| p.descriptors.len() as u64),
            list(|p| p.threads)
        )
    }
}

/// Looks at several processes at the same time, and notes one rest of each.
pub fn look(pids: &[u32], series: &mut [&mut Series]) {
    let mut least: Vec<Pulse> = pids.iter().map(|pid| Pulse::of(*pid)).collect();
    for _ in 0..25 {
        thread::sleep(Duration::from_millis(120));
        for (least, pid) in least.iter_mut().zip(pids) {
            let now = Pulse::of(*pid);
            let descriptors = match now.descriptors.len() < least.descriptors.len() {
                true => now.descriptors,
                false => std::mem::take(&mut least.descriptors),
            };
            *least = Pulse {
                memory_kib: least.memory_kib.min(now.memory_kib),
                anonymous_kib: least.anonymous_kib.min(now.anonymous_kib),
                descriptors,
                threads: least.threads.min(now.threads),
            };
        }
    }
    for (series, pulse) in series.iter_mut().zip(least) {
        series.0.push(pulse);
    }
}

impl Pulse {
    fn of(pid: u32) -> Pulse {
        Pulse {
            memory_kib: process::count(pid, "VmRSS:"),
            anonymous_kib: process::count(pid, "RssAnon:"),
            descriptors: descriptors(pid),
            threads: process::count(pid, "Threads:"),
        }
    }

    /// What is open, and how often.
    fn open(&self) -> String {
        let mut counts = BTreeMap::new();
        for what in &self.descriptors {
            *counts.entry(what).or_insert(0) += 1;
        }
        let list: Vec<String> = counts
            .iter()
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        list.join(", ")
    }
}

/// What a process has open, by name; of sockets and pipes without their numbers.
fn descriptors(pid: u32) -> Vec<String> {
    let name = |path: std::path::PathBuf| match fs::read_link(path) {
        Ok(target) => match target.to_string_lossy().split_once(":[") {
            Some((kind, _)) => kind.to_owned(),
            None => target.display().to_string(),
        },
        Err(_) => "closed meanwhile".to_owned(),
    };
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries.map(|entry| name(entry.unwrap().path())).collect()
}
