//! The connection guard of design section 7: framing, Expect, closing answers, limits, caps.

mod ends;
mod framing;
mod limits;

use crate::world::is_emulated;

/// Under qemu-user the kernel's counters are not told, and what needs them is skipped by name.
pub fn counters_are_told(test: &str) -> bool {
    let emulated = is_emulated();
    if emulated {
        skip!("{test}: qemu-user does not tell TCP_INFO");
    }
    !emulated
}
