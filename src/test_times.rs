//! Waits of minutes and hours that a test shortens.

use std::time::Duration;

/// `usual`, or in a debug build the milliseconds that this variable of the environment names.
#[cfg(debug_assertions)]
pub(crate) fn in_tests(variable: &str, usual: Duration) -> Duration {
    let asked = std::env::var(variable).ok();
    let asked = asked.and_then(|ms| ms.parse().ok());
    asked.map_or(usual, Duration::from_millis)
}

/// Release builds wait as long as they say.
#[cfg(not(debug_assertions))]
pub(crate) fn in_tests(_variable: &str, usual: Duration) -> Duration {
    usual
}
