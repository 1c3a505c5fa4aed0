//! Every log line an operator may see, a function each: the log is an interface.
//!
//! A line is `event=NAME key=value ...`, ids first, free text last and quoted. Text that came from
//! outside is quoted with its control bytes escaped, so that no peer can forge a line.
//! `ERROR` wants a person now, `WARN` soon, `INFO` never.

use std::fmt::Display;

/// A line for a person that belongs to no request: what was found at start, what was mended.
pub fn note(what: impl Display) {
    log::info!("event=note what={:?}", what.to_string());
}

// --- the receiver: start, stop, connections ---

// --- the store ---

// --- the version gate ---

// --- the shipper ---
