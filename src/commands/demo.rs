//! `cis490 demo`.

use std::process::ExitCode;

use argh::FromArgs;

use crate::failure::Failure;

/// show an episode travel, on this machine and without set-up
#[derive(FromArgs)]
#[argh(subcommand, name = "demo")]
pub struct Demo {}

impl Demo {
    pub fn run(self) -> Result<ExitCode, Failure> {
        Err(Failure::new("not here yet", ""))
    }
}
