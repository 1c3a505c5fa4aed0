//! `cis490 requeue`.

use std::process::ExitCode;

use argh::FromArgs;

use crate::failure::Failure;

/// put a refused episode back into the queue
#[derive(FromArgs)]
#[argh(subcommand, name = "requeue")]
pub struct Requeue {}

impl Requeue {
    pub fn run(self) -> Result<ExitCode, Failure> {
        Err(Failure::new("not here yet", ""))
    }
}
