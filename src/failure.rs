//! A failure in words, for the person who typed the command.
//!
//! The error says what happened, and to what; the hint says what to do now. Both begin in lower case and
//! have no full stop. Both go to stderr, so that stdout has only the output.

use std::fmt;

/// Why a command could not do its work, and what the person does now.
#[derive(Debug)]
pub struct Failure {
    error: String,
    hint: String,
    is_usage: bool,
}

impl Failure {
    pub fn new(error: impl fmt::Display, hint: impl fmt::Display) -> Failure {
        Failure {
            error: error.to_string(),
            hint: hint.to_string(),
            is_usage: false,
        }
    }

    /// A mistake on the command line, which ends with an exit status of its own.
    pub fn usage(error: impl fmt::Display, hint: impl fmt::Display) -> Failure {
        Failure {
            is_usage: true,
            ..Failure::new(error, hint)
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

    /// Whether the command line was the mistake.
    pub fn is_usage(&self) -> bool {
        self.is_usage
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
