//! `cis490 backfill`.

use std::process::ExitCode;

use argh::FromArgs;

use crate::failure::Failure;

/// add index rows for stored tarballs that lack one
#[derive(FromArgs)]
#[argh(subcommand, name = "backfill")]
pub struct Backfill {}

impl Backfill {
    pub fn run(self) -> Result<ExitCode, Failure> {
        Err(Failure::new("not here yet", ""))
    }
}
