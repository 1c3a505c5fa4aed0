//! Whether the system's clock is right, as far as the kernel knows.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use super::check;

/// Whether something keeps the system's clock right; `None` if the kernel does not say.
pub(crate) fn clock_is_synchronised() -> Option<bool> {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: a zeroed timex asks for nothing to be changed, and lives over the call.
    let result = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    check(result).ok().map(|state| state != libc::TIME_ERROR)
}
