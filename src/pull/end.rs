//! Why a pull ends before all is here.

use std::io;
use std::path::Path;

use crate::durable;
use crate::failure::Failure;
use crate::owner;

/// Why a pull ends early. What is here stays, and the next pull goes on from there.
#[derive(Debug)]
pub(crate) enum End {
    /// Something cannot be had now: the receiver is away or says no, or this disk is full.
    Waits(Failure),
    /// The receiver's answers, or the folder, are not as they should be: a person has to look.
    Wrong(Failure),
}

impl End {
    /// The end by an error of this machine's disk.
    pub(super) fn disk(doing: &str, path: &Path, error: &io::Error) -> End {
        let hint = if durable::is_full(error) {
            "the disk is full: make room, and pull again; what is here stays".to_owned()
        } else {
            owner::hint(error, "look at the folder and at its disk (ls -l, dmesg)")
        };
        End::Waits(Failure::new(
            format!("cannot {doing} {}: {error}", path.display()),
            hint,
        ))
    }

    pub(crate) fn failure(&self) -> &Failure {
        match self {
            End::Waits(failure) | End::Wrong(failure) => failure,
        }
    }
}
