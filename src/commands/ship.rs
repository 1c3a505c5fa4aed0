//! `cis490 ship`.

use std::process::ExitCode;

use argh::FromArgs;

use crate::failure::Failure;

/// pack and send finished episodes: a lab host's side
#[derive(FromArgs)]
#[argh(subcommand, name = "ship")]
pub struct Ship {}

impl Ship {
    pub fn run(self) -> Result<ExitCode, Failure> {
        Err(Failure::new("not here yet", ""))
    }
}
