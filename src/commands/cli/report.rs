//! Reports a failure to the person who typed the command, or to the journal.

use std::process::ExitCode;

use crate::events::{self, logger};
use crate::failure::Failure;
use crate::terminal::warn_user;

/// Prints error and hint to stderr, a line each, and returns exit status 1. In the journal both are
/// in one line of the log, like everything else there.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    if logger::is_journal() {
        logger::start(logger::Format::Text);
        events::failed(failure.error(), failure.hint());
        return ExitCode::FAILURE;
    }
    warn_user!("cis490: error: {}", failure.error());
    if !failure.hint().is_empty() {
        warn_user!("cis490: hint: {}", failure.hint());
    }
    ExitCode::FAILURE
}
