//! The entry point. The commands are in `commands`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: cis490::Allocator = cis490::Allocator;

fn main() -> ExitCode {
    cis490::commands::run()
}
