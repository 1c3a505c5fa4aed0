//! CPU time and memory of a process and its descendants.

#![allow(unsafe_code, reason = "one clock that std does not read")]

use std::fs;
use std::process::Command;

#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time.
    pub cpu_s: f64,
    /// The sum of each process's largest resident set.
    pub peak_kib: u64,
    pub rss_kib: u64,
    /// As `rss_kib`, a page that n processes share counted as 1/n.
    pub pss_kib: u64,
}

/// The usage of a process and of all its descendants.
pub fn usage_of_tree(pid: u32) -> Usage {
    let mut usage = Usage::default();
    for pid in tree(pid) {
        let Some(cpu_ns) = cpu_ns_of(pid) else {
            continue;
        };
        usage.cpu_s += cpu_ns as f64 / 1e9;
        usage.peak_kib += field(&format!("/proc/{pid}/status"), "VmHWM:");
        usage.rss_kib += field(&format!("/proc/{pid}/status"), "VmRSS:");
        usage.pss_kib += field(&format!("/proc/{pid}/smaps_rollup"), "Pss:");
    }
    usage
}

/// CPU seconds of this process.
pub fn own_cpu_s() -> f64 {
    cpu_ns(std::process::id()) as f64 / 1e9
}

/// CPU seconds of the children of this process that have ended.
pub fn children_cpu_s() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default();
    let ticks = |n: usize| fields.split_whitespace().nth(n)?.parse::<f64>().ok();
    (ticks(13).unwrap_or(0.0) + ticks(14).unwrap_or(0.0)) / 100.0
}

/// CPU time of a process that runs.
pub fn cpu_ns(pid: u32) -> u64 {
    cpu_ns_of(pid).unwrap_or_else(|| panic!("no CPU-time clock of process {pid}"))
}

/// The same in steps of a nanosecond, by the process's CPU-time clock, whose id is made as clock_getcpuclockid(3) makes
/// it. `None` if it has ended.
fn cpu_ns_of(pid: u32) -> Option<u64> {
    let clock = (!(pid as libc::clockid_t) << 3) | 2;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec, which lives until after the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (result == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// The process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    while at < found.len() {
        let parent = found[at];
        found.extend(all.iter().filter(|one| one.1 == parent).map(|one| one.0));
        at += 1;
    }
    found
}

fn parent_of(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = text.rsplit(')').next()?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |rest| {
        rest.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    })
}

/// Touches so much memory and frees it: the pages that the kernel hands out next have been touched
/// before. On a virtual machine whose host takes free memory away, the first touch of a page can take
/// longer than all that a server does with it.
pub fn warm_memory(bytes: usize) {
    let available = field("/proc/meminfo", "MemAvailable:") as usize * 1024;
    let mut memory = vec![0u8; bytes.min(available / 2)];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
}

pub fn terminate(pid: u32) {
    let _ = Command::new("kill").arg(pid.to_string()).status();
}
