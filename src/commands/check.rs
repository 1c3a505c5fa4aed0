//! `cis490 check`.

use std::process::ExitCode;

use argh::FromArgs;

use crate::failure::Failure;

/// ask the receiver whether the local code's commit would get in
#[derive(FromArgs)]
#[argh(subcommand, name = "check")]
pub struct Check {}

impl Check {
    pub fn run(self) -> Result<ExitCode, Failure> {
        Err(Failure::new("not here yet", ""))
    }
}
