//! Which commit this lab host's code is at: what `cis490 check` asks the receiver about.
//!
//! The checkout often belongs to another user and there may be no HOME, so git gets a clean
//! environment, is told that the folder is safe, asks nothing, and is killed if it hangs.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::names::CommitHash;

const GIT_WAIT: Duration = Duration::from_secs(10);

/// The commit that is checked out in `repo` (the checkout or its `.git`).
pub fn local_commit(repo: &Path) -> Result<CommitHash, Failure> {
    let failed = |why: String| {
        Failure::new(
            format!("cannot tell the commit of {}: {why}", repo.display()),
            "name the checkout of the lab host's code with --repo DIR, and install git",
        )
    };
    let repo = repo
        .canonicalize()
        .map_err(|error| failed(error.to_string()))?;
    let dot_git = repo.join(".git");
    let git_dir = if dot_git.exists() { dot_git } else { repo };
    let mut command = Command::new("git");
    command
        .arg("--git-dir")
        .arg(&git_dir)
        .arg("-c")
        .arg(format!("safe.directory={}", git_dir.display()))
        .args(["rev-parse", "--verify", "HEAD^{commit}"])
        .env_clear()
        .env(
            "PATH",
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()),
        )
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("LC_ALL", "C");
    let (told, complaint) = run(command).map_err(|error| failed(error.to_string()))?;
    CommitHash::parse(told.trim()).map_err(|_| failed(complaint.trim().to_owned()))
}

/// What the command printed on stdout and stderr.
fn run(mut command: Command) -> io::Result<(String, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    wait_or_kill(&mut child)?;
    // A hash and a line of complaint fit the pipes, so reading after the end loses nothing.
    let mut told = [String::new(), String::new()];
    if let Some(stdout) = &mut child.stdout {
        stdout.take(4096).read_to_string(&mut told[0])?;
    }
    if let Some(stderr) = &mut child.stderr {
        stderr.take(4096).read_to_string(&mut told[1])?;
    }
    let [stdout, stderr] = told;
    Ok((stdout, stderr))
}

fn wait_or_kill(child: &mut Child) -> io::Result<()> {
    let give_up = Instant::now() + GIT_WAIT;
    while child.try_wait()?.is_none() {
        if Instant::now() >= give_up {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "git did not answer",
            ));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
