//! The steps: each durable effect is preceded by a named one. In debug builds the environment can stop
//! the process at a step, fail it, slow the syncs or write the names down, so that tests walk every crash
//! and compare the order of the effects with the order that the design states. Release builds have none
//! of it.
//!
//! | variable | effect in a debug build |
//! | --- | --- |
//! | `CIS490_CRASH_AT=N` | abort before the Nth step |
//! | `CIS490_FAIL_AT=N`, `CIS490_FAIL_FROM=N` | the Nth step, or every step from it on, is an error |
//! | `CIS490_FAIL_ON=N:TEXT` | the Nth step whose name and paths contain TEXT is an error |
//! | `CIS490_HOLD_SYNCS=FILE` | no sync ends while FILE has a line that the sync's name and path contain |
//! | `CIS490_FAIL_ERRNO=E` | which error (default 5, EIO) |
//! | `CIS490_STEPS=FILE` | append each step's name and paths to FILE, and `synced` where a sync has ended |
//! | `CIS490_SYNC_DELAY_MS=D` | every sync takes D ms longer |

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

#[cfg(debug_assertions)]
pub(super) use self::faults::{slow_sync, step_on, synced};

/// The instant before an effect that is of no path: where a debug build can be made to crash or fail.
pub(crate) fn step(name: &'static str) -> io::Result<()> {
    step_on(name, String::new)
}

/// The instant before an effect on the files that `paths` names.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn step_on(_name: &'static str, _paths: impl FnOnce() -> String) -> io::Result<()> {
    Ok(())
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn slow_sync() {}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn synced(_name: &'static str, _path: impl FnOnce() -> String) {}

/// A path as the names of steps have it.
pub(super) fn name_of(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn names_of(from: &Path, to: &Path) -> String {
    format!("{} {}", from.display(), to.display())
}

pub(super) fn name_of_open(file: &File) -> String {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::read_link(link).map_or("?".to_owned(), |path| name_of(&path))
}

#[cfg(debug_assertions)]
mod faults {
    use std::fs::OpenOptions;
    use std::io::{self, Write};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    /// Steps taken by this process so far.
    static COUNT: AtomicU64 = AtomicU64::new(0);

    /// Steps so far that have the text of `CIS490_FAIL_ON`.
    static MATCHED: AtomicU64 = AtomicU64::new(0);

    struct Plan {
        crash_at: Option<u64>,
        fail_at: Option<u64>,
        fail_from: Option<u64>,
        fail_on: Option<(u64, String)>,
        errno: i32,
        hold_file: Option<String>,
        steps_file: Option<String>,
        sync_delay: Option<Duration>,
    }

    fn plan() -> &'static Plan {
        static PLAN: OnceLock<Plan> = OnceLock::new();
        let text = |name: &str| std::env::var(name).ok();
        let number = |name: &str| text(name)?.parse::<u64>().ok();
        PLAN.get_or_init(|| Plan {
            crash_at: number("CIS490_CRASH_AT"),
            fail_at: number("CIS490_FAIL_AT"),
            fail_from: number("CIS490_FAIL_FROM"),
            fail_on: text("CIS490_FAIL_ON").map(|value| {
                let (nth, text) = value.split_once(':').expect("N:TEXT");
                (nth.parse().expect("N is a number"), text.to_owned())
            }),
            errno: number("CIS490_FAIL_ERRNO").map_or(libc::EIO, |errno| errno as i32),
            hold_file: text("CIS490_HOLD_SYNCS"),
            steps_file: text("CIS490_STEPS"),
            sync_delay: number("CIS490_SYNC_DELAY_MS").map(Duration::from_millis),
        })
    }

    pub(in super::super) fn step_on(
        name: &'static str,
        paths: impl FnOnce() -> String,
    ) -> io::Result<()> {
        let plan = plan();
        let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
        let step = format!("{name} {}", paths());
        if let Some(file) = &plan.steps_file {
            note(file, &step)?;
        }
        if plan.crash_at == Some(number) {
            std::process::abort();
        }
        let fails_from = plan.fail_from.is_some_and(|from| from <= number);
        let is_named = plan.fail_on.as_ref().is_some_and(|(nth, text)| {
            step.contains(text) && MATCHED.fetch_add(1, Ordering::SeqCst) + 1 == *nth
        });
        if fails_from || is_named || plan.fail_at == Some(number) {
            return Err(io::Error::from_raw_os_error(plan.errno));
        }
        Ok(())
    }

    fn note(file: &str, line: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(file)?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// Writes down that a sync is over, once it is not held any more. This is no step: nothing can be
    /// stopped here.
    pub(in super::super) fn synced(name: &'static str, path: impl FnOnce() -> String) {
        let plan = plan();
        if plan.hold_file.is_none() && plan.steps_file.is_none() {
            return;
        }
        let path = path();
        if let Some(file) = &plan.hold_file {
            let sync = format!("{name} {path}");
            while is_held(file, &sync) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if let Some(file) = &plan.steps_file {
            note(file, &format!("synced {path}")).expect("the steps can be written down");
        }
    }

    fn is_held(file: &str, sync: &str) -> bool {
        let held = std::fs::read_to_string(file).unwrap_or_default();
        held.lines().any(|line| sync.contains(line))
    }

    pub(in super::super) fn slow_sync() {
        if let Some(delay) = plan().sync_delay {
            std::thread::sleep(delay);
        }
    }
}
