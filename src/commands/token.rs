//! `cis490 token`.

use std::process::ExitCode;

use argh::FromArgs;

use crate::failure::Failure;

/// make a token for a lab host
#[derive(FromArgs)]
#[argh(subcommand, name = "token")]
pub struct Token {}

impl Token {
    pub fn run(self) -> Result<ExitCode, Failure> {
        Err(Failure::new("not here yet", ""))
    }
}
