//! The commands a person types, and one match.

use std::process::ExitCode;

fn main() -> ExitCode {
    cis490::commands::run()
}
