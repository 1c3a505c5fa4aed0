//! Every system call on the store's and the queue's files that can fail, failing: the built program
//! under strace, which answers a call in the kernel's place, or kills before it.
//!
//! A call is made to fail the Nth time that a thread makes it, or from then on. Only calls on paths
//! of ours are counted, so that the program's own pipes and sockets stay whole. What strace cannot
//! do is a short write: it would claim bytes that were never written. For those the size of a file
//! is limited (`limits`), and disks are really full.

pub mod receiver;
pub mod shipper;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::PATIENCE;

/// By what name a call may go: musl and glibc differ.
const CALLS: [&str; 15] = [
    "?open,openat",
    "write",
    "pwrite64",
    "?link,linkat",
    "?rename,?renameat,renameat2",
    "fsync",
    "fdatasync",
    "?sync_file_range",
    "fallocate",
    "?statfs,?fstatfs",
    "fsetxattr",
    "?fcntl,?fcntl64",
    "?mkdir,mkdirat",
    "?unlink,unlinkat",
    "ftruncate",
];

const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "EDQUOT"];

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub calls: &'static str,
    /// As strace writes it: `error=EIO`, `signal=KILL`, `delay_enter=100ms`.
    pub what: String,
    /// Which of a thread's calls, counted from 1.
    pub nth: usize,
    pub from_then_on: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = if self.from_then_on { "+" } else { "" };
        write!(f, "{}:{}:when={}{on}", self.calls, self.what, self.nth)
    }
}

impl Fault {
    /// The command that runs a program with the fault on these paths. The fault is reported in `log`.
    fn command(&self, paths: &[String], log: &Path) -> Vec<String> {
        let mut words = strace(self.calls, paths);
        if self.kills() {
            // With it strace 6.1 forgets the signal of all but a thread's first such call.
            words.retain(|word| word != "--seccomp-bpf");
        }
        words.extend(["-o".to_owned(), log.display().to_string()]);
        words.extend(["-e".to_owned(), format!("inject={self}")]);
        words
    }

    /// Whether strace has written that it answered in the kernel's place, or held a call back. It
    /// may be a little behind.
    fn has_struck(&self, log: &Path) -> bool {
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            let text = fs::read_to_string(log).unwrap_or_default();
            if text.contains("(INJECTED)") || text.contains("(DELAYED)") {
                return true;
            }
            if until < Instant::now() {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn kills(&self) -> bool {
        self.what.contains("KILL")
    }

    fn is_full(&self) -> bool {
        self.what.contains("ENOSPC") || self.what.contains("EDQUOT")
    }

    fn is_of(&self, call: &str) -> bool {
        self.calls
            .split(',')
            .any(|name| name.trim_start_matches('?') == call)
    }
}

fn strace(calls: &str, paths: &[String]) -> Vec<String> {
    // With -D our child is the program and not strace, so that what kills one kills the other.
    let mut words = vec!["strace", "-D", "-f", "-q", "--seccomp-bpf", "-e"];
    let trace = format!("trace={calls}");
    words.push(&trace);
    for path in paths {
        words.extend(["-P", path]);
    }
    words.into_iter().map(str::to_owned).collect()
}

/// Whether there is a strace here that may trace; said once for a test that is skipped.
pub fn can_trace(test: &str) -> bool {
    let tried = Command::new("strace")
        .args([
            "-D",
            "-f",
            "-q",
            "-e",
            "trace=write",
            "-o",
            "/dev/null",
            "true",
        ])
        .stderr(Stdio::null())
        .status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        skip!("{test}: no strace that may trace");
    }
    can
}

/// What strace has written of a process and its threads, which has ended.
pub fn whole_log(log: &Path, process: u32) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        let ended = text.lines().any(|line| {
            line.split_once(' ').is_some_and(|(thread, rest)| {
                thread == process.to_string() && rest.trim_start().starts_with("+++ ")
            })
        });
        if ended {
            return text;
        }
        assert!(Instant::now() < until, "strace does not end\n{text}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The faults that a run can meet, by its clean calls in `log`; of these, the ones whose number `wanted`
/// picks.
fn faults(log: &str, wanted: impl Fn(usize) -> bool) -> Vec<Fault> {
    let all = all_faults(log).into_iter().enumerate();
    all.filter(|(number, _)| wanted(*number))
        .map(|(_, fault)| fault)
        .collect()
}

fn all_faults(log: &str) -> Vec<Fault> {
    let counts = counts(log);
    let mut faults = Vec::new();
    for calls in CALLS {
        let names = calls.split(',').map(|name| name.trim_start_matches('?'));
        let most = names.filter_map(|name| counts.get(name)).max();
        for nth in 1..=most.copied().unwrap_or(0) {
            let one = |what: &str, from_then_on| Fault {
                calls,
                what: what.to_owned(),
                nth,
                from_then_on,
            };
            for error in ERRORS {
                faults.push(one(&format!("error={error}"), false));
                faults.push(one(&format!("error={error}"), true));
            }
            faults.push(one("signal=KILL", false));
            faults.push(one("delay_enter=50ms", true));
        }
    }
    faults
}

/// The most calls of one name that one thread made.
fn counts(log: &str) -> BTreeMap<String, usize> {
    let mut by_thread: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        if let Some((name, _)) = call.trim_start().split_once('(')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            *by_thread.entry((thread, name)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, name), count) in by_thread {
        let known = most.entry(name.to_owned()).or_insert(0);
        *known = count.max(*known);
    }
    most
}

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Told {
    pub faults: usize,
    /// Faults that no call met: another thread had made that many.
    pub missed: Vec<String>,
    /// By what the sender, or the shell, heard.
    pub outcomes: BTreeMap<String, usize>,
}

impl Told {
    /// Runs one fault after the other, three at a time, and notes what came of each: whether the
    /// fault has struck, and the outcome.
    fn of(faults: &[Fault], suffer: impl Fn(&Fault) -> (bool, String) + Sync) -> Told {
        let (next, told) = (AtomicUsize::new(0), Mutex::new(Told::default()));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let (has_struck, outcome) = suffer(fault);
                        let mut told = told.lock().unwrap();
                        told.faults += 1;
                        if !has_struck {
                            told.missed.push(fault.to_string());
                        }
                        *told.outcomes.entry(outcome).or_default() += 1;
                    }
                });
            }
        });
        told.into_inner().unwrap()
    }

    /// A sweep whose faults strike nothing proves nothing.
    pub fn assert_struck(&self) {
        assert!(5 * self.missed.len() < self.faults, "{self:?}");
    }
}
