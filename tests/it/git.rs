//! git without anybody's settings: no configuration of a user or the system, a name and a date of ours.

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Who commits.
pub const NAME: &str = "cis490 test";
pub const EMAIL: &str = "test@example.invalid";
/// When: hashes are the same in every run.
const COMMITTED_S: u64 = 1_700_000_000;

/// What git prints in a folder, without the line's end. Panics with git's words if it fails.
pub fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = git_command(dir, arguments).output().expect("git runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A git command in a folder, not started yet.
pub fn git_command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "protocol.file.allow=always", "-c", "gc.auto=0"])
        .args(["-c", "safe.directory=*", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", "/")
        .stdin(Stdio::null());
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), NAME)
            .env(format!("GIT_{who}_EMAIL"), EMAIL)
            .env(format!("GIT_{who}_DATE"), format!("{COMMITTED_S} +0000"));
    }
    command
}

/// Gives a git command its input. Panics if it fails.
pub fn git_with_input(dir: &Path, arguments: &[&str], input: &str) {
    let mut child = git_command(dir, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("git runs");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success(), "git {arguments:?}");
}
