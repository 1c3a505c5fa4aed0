//! `cis490 init`.

use std::process::ExitCode;

use argh::FromArgs;

use crate::failure::Failure;

/// make or adopt the folder that a configuration names
#[derive(FromArgs)]
#[argh(subcommand, name = "init")]
pub struct Init {}

impl Init {
    pub fn run(self) -> Result<ExitCode, Failure> {
        Err(Failure::new("not here yet", ""))
    }
}
