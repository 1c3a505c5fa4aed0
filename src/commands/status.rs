//! `cis490 status`.

use std::process::ExitCode;

use argh::FromArgs;

use crate::failure::Failure;

/// show a lab host's queue
#[derive(FromArgs)]
#[argh(subcommand, name = "status")]
pub struct Status {}

impl Status {
    pub fn run(self) -> Result<ExitCode, Failure> {
        Err(Failure::new("not here yet", ""))
    }
}
