//! The program under test: the debug build beside the tests, unless `CIS490_BIN` names another one.

use std::env;
use std::process::Command;

/// A command that runs the program under test.
pub fn cis490() -> Command {
    let program = env::var("CIS490_BIN").unwrap_or(env!("CARGO_BIN_EXE_cis490").to_owned());
    match env::var("CIS490_RUNNER") {
        Ok(runner) => {
            let mut command = Command::new(runner);
            command.arg(program);
            command
        }
        Err(_) => Command::new(program),
    }
}

/// Whether a runner like qemu runs the program: slowly, and without all of the kernel.
pub fn is_emulated() -> bool {
    env::var_os("CIS490_RUNNER").is_some()
}

/// Whether the program is a release build, as one that is named by `CIS490_BIN` always is.
pub fn is_release_build() -> bool {
    !cfg!(debug_assertions) || env::var_os("CIS490_BIN").is_some()
}

/// Whether the program can be made to crash or fail at a durable step, which a release build has none
/// of. If not, says that the test is skipped.
pub fn has_steps(test: &str) -> bool {
    let has = !is_release_build();
    if !has {
        skip!("{test}: a release build has no durable steps to stop at");
    }
    has
}
