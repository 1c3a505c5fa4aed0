//! Reports a failure to the person who typed the command, or to the journal.

use std::process::ExitCode;

use crate::events::{self, logger};
use crate::failure::Failure;
use crate::terminal::warn_user;

/// The exit status after a mistake on the command line, as other programs have it.
const EXIT_USAGE: u8 = 2;

/// Prints error and hint to stderr, a line each, and returns the exit status: 1, or 2 if the command line
/// was the mistake. In the journal both are in one line of the log, like everything else there.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    if logger::is_journal() {
        logger::start(logger::Format::Text);
        events::failed(failure.error(), failure.hint());
        return status(failure);
    }
    warn_user!("cis490: error: {}", failure.error());
    if !failure.hint().is_empty() {
        warn_user!("cis490: hint: {}", failure.hint());
    }
    status(failure)
}

fn status(failure: &Failure) -> ExitCode {
    if failure.is_usage() {
        ExitCode::from(EXIT_USAGE)
    } else {
        ExitCode::FAILURE
    }
}
