//! Which broken uploads are kept, and for how long.

use std::time::Duration;

use crate::wire::RESUMABLE_BYTES_MIN;

/// How long a broken upload is kept after its last byte.
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// With fewer bytes than this a broken upload is not worth a place.
const KEPT_BYTES_MIN: u64 = 16 << 20;

/// The bounds that tests may move: see [`Bounds::in_tests`].
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// The least length of a body.
    pub bytes_min: u64,
    /// The least of it that must be here.
    pub kept_bytes_min: u64,
    pub kept_for: Duration,
}

impl Bounds {
    const USUAL: Bounds = Bounds {
        bytes_min: RESUMABLE_BYTES_MIN,
        kept_bytes_min: KEPT_BYTES_MIN,
        kept_for: KEPT_FOR,
    };

    /// The bounds; in a debug build those that `CIS490_RESUMABLE` names, as `BYTES_MIN,KEPT_BYTES_MIN,KEPT_MS`:
    /// tests need not send 64 MiB, nor wait for an hour.
    #[cfg(debug_assertions)]
    pub(super) fn in_tests() -> Bounds {
        let asked = std::env::var("CIS490_RESUMABLE").unwrap_or_default();
        let numbers = asked.split(',').map_while(|number| number.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        match numbers[..] {
            [bytes_min, kept_bytes_min, kept_ms] => Bounds {
                bytes_min,
                kept_bytes_min,
                kept_for: Duration::from_millis(kept_ms),
            },
            _ => Bounds::USUAL,
        }
    }

    #[cfg(not(debug_assertions))]
    pub(super) fn in_tests() -> Bounds {
        Bounds::USUAL
    }
}
