//! Whether the system's clock is right, as far as the kernel knows, and what it shows in local time.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

use super::check;

/// Whether something keeps the system's clock right; `None` if the kernel does not say.
pub(crate) fn clock_is_synchronised() -> Option<bool> {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: a zeroed timex asks for nothing to be changed, and lives over the call.
    let result = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    check(result).ok().map(|state| state != libc::TIME_ERROR)
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
