//! The entry point. The commands are in `commands`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cis490::commands::run()
}
