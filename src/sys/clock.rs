//! Whether the system's clock is right, as far as the kernel knows, and what it shows in local time.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

use super::check;

/// The largest error that the kernel knows of a clock which something keeps right, in microseconds. It sets
/// this one itself when nothing has steered the clock for long.
const ERROR_MAX_US: libc::c_long = 16_000_000;

/// Whether something keeps the system's clock right, as timedatectl judges it; `None` if the kernel does not
/// say. The kernel's own verdict (STA_UNSYNC) may be set only to keep it from writing the hardware's clock.
pub(crate) fn clock_is_synchronised() -> Option<bool> {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: a zeroed timex asks for nothing to be changed, and lives over the call.
    let result = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    check(result).ok()?;
    // SAFETY: zeroed, it was whole before; the kernel has filled it.
    let state = unsafe { state.assume_init() };
    Some(is_right(&state))
}

fn is_right(state: &libc::timex) -> bool {
    state.maxerror < ERROR_MAX_US
}

/// The minute of the day in local time, as `TZ` says or else /etc/localtime; `None` if the system cannot
/// say it.
pub(crate) fn local_minute(at: SystemTime) -> Option<u16> {
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    let seconds = libc::time_t::try_from(since.as_secs()).ok()?;
    let mut local = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both live over the call; where it does not return null, it has filled `local`.
    let local = unsafe {
        let filled = libc::localtime_r(&raw const seconds, local.as_mut_ptr());
        if filled.is_null() {
            return None;
        }
        local.assume_init()
    };
    u16::try_from(local.tm_hour * 60 + local.tm_min).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_with_a_small_error_is_right_whatever_else_the_kernel_says_of_it() {
        for (maxerror, status, wanted) in [
            (500, 0, true),
            (500, libc::STA_UNSYNC, true),
            (ERROR_MAX_US - 1, libc::STA_UNSYNC, true),
            (ERROR_MAX_US, 0, false),
            (ERROR_MAX_US, libc::STA_UNSYNC, false),
        ] {
            // SAFETY: a timex is numbers alone, for which zero is a value.
            let mut state: libc::timex = unsafe { std::mem::zeroed() };
            (state.maxerror, state.status) = (maxerror, status);
            assert_eq!(is_right(&state), wanted, "{maxerror} {status:#x}");
        }
        assert!(clock_is_synchronised().is_some());
    }

    /// Where the child prints what it sees.
    const ASKED: &str = "CIS490_LOCAL_MINUTES_OF";

    /// Prints the local minutes of the instants that its parent asks for.
    #[test]
    fn local_minutes_of_a_child() {
        let Ok(asked) = std::env::var(ASKED) else {
            return;
        };
        let instants = asked.split(',').filter_map(|text| text.parse().ok());
        let minutes = instants.map(|seconds| {
            let at = UNIX_EPOCH + Duration::from_secs(seconds);
            local_minute(at).map_or("-".to_owned(), |minute| minute.to_string())
        });
        println!("minutes={}", minutes.collect::<Vec<_>>().join(","));
    }

    /// Of instants before and after a clock change, in zones as `TZ` has them.
    #[test]
    fn local_time_follows_the_zone_and_its_clock_changes() {
        const ZONES: [(&str, [u16; 4]); 3] = [
            ("UTC", [30, 90, 30, 90]),
            // One hour is left out in spring and comes twice in autumn.
            ("CET-1CEST,M3.5.0,M10.5.0/3", [90, 210, 150, 150]),
            ("NST3:30", [1260, 1320, 1260, 1320]),
        ];
        // 2026-03-29 and 2026-10-25, at 00:30 and 01:30 UTC.
        let instants = "1774744200,1774747800,1792888200,1792891800";
        for (zone, wanted) in ZONES {
            let child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "--nocapture",
                    "sys::clock::tests::local_minutes_of_a_child",
                ])
                .env("TZ", zone)
                .env(ASKED, instants)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&child.stdout).into_owned();
            let (_, minutes) = said
                .split_once("minutes=")
                .unwrap_or_else(|| panic!("{said}"));
            let minutes = minutes.lines().next().unwrap_or_default();
            assert_eq!(
                minutes,
                wanted.map(|minute| minute.to_string()).join(","),
                "{zone}"
            );
        }
    }
}
