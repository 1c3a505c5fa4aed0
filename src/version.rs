//! What this program is: version, commit, target. `cross/build.rs` sets the last two.

use crate::tls;

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Twelve hex digits of the commit, with `-dirty` after them if the sources differed from it; or
/// `of unknown commit`.
pub(crate) const COMMIT: &str = env!("CIS490_COMMIT");
/// The day of the commit, such as 2026-01-31; empty if it is not known.
pub(crate) const DAY: &str = env!("CIS490_DAY");
/// The target triple.
pub(crate) const TARGET: &str = env!("CIS490_TARGET");

/// One line: `cis490 0.1.0 (0123456789ab, aarch64-unknown-linux-musl)`.
pub(crate) fn line() -> String {
    let without = if tls::SPOKEN { "" } else { ", without TLS" };
    format!("cis490 {VERSION} ({COMMIT}, {TARGET}{without})")
}
