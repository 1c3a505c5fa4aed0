//! `cis490 set-aside`.

use std::process::ExitCode;

use argh::FromArgs;

use crate::failure::Failure;

/// move held episodes of a commit to refused/
#[derive(FromArgs)]
#[argh(subcommand, name = "set-aside")]
pub struct SetAside {}

impl SetAside {
    pub fn run(self) -> Result<ExitCode, Failure> {
        Err(Failure::new("not here yet", ""))
    }
}
