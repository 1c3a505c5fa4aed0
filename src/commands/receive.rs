//! `cis490 receive`.

use std::process::ExitCode;

use argh::FromArgs;

use crate::failure::Failure;

/// collect episodes: the Pi's side
#[derive(FromArgs)]
#[argh(subcommand, name = "receive")]
pub struct Receive {}

impl Receive {
    pub fn run(self) -> Result<ExitCode, Failure> {
        Err(Failure::new("not here yet", ""))
    }
}
