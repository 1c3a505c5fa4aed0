//! A failure in words, for the person who typed the command.
//!
//! Both texts begin in lower case and have no full stop. The error says what happened, and to what;
//! the hint says what to do now. Both go to stderr, so that stdout has the output alone.

use std::fmt;
use std::process::ExitCode;

use crate::events::{self, logger};
use crate::terminal::warn_user;

/// Why a command could not do its work, and what the person does now.
#[derive(Debug)]
pub struct Failure {
    error: String,
    hint: String,
}

impl Failure {
    pub fn new(error: impl fmt::Display, hint: impl fmt::Display) -> Failure {
        Failure {
            error: error.to_string(),
            hint: hint.to_string(),
        }
    }

    /// What happened, to what.
    pub fn error(&self) -> &str {
        &self.error
    }

    /// What the person does now; may be empty.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Prints both lines to stderr and gives exit status 1. In the journal they are one line, as
    /// all that is there.
    pub fn report(&self) -> ExitCode {
        if logger::is_journal() {
            logger::start();
            events::failed(&self.error, &self.hint);
            return ExitCode::FAILURE;
        }
        warn_user!("cis490: error: {}", self.error);
        if !self.hint.is_empty() {
            warn_user!("cis490: hint: {}", self.hint);
        }
        ExitCode::FAILURE
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
