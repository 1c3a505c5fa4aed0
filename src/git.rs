//! Running git on a repository that somebody else may have made. No other file starts git.
//!
//! 1. git gets a clean environment and only the repository's own configuration. The settings of it that
//!    start programs are switched off: nothing is fetched, signed, paged, compared or hooked.
//! 2. Root runs git as the repository's owner. So a setting that we did not think of, or a file that the
//!    configuration includes, acts with the rights of that owner only.
//! 3. git has limits on its time and output, and every process that it has started ends with it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child;
pub(crate) use crate::child::Output;
use crate::failure::Failure;
use crate::owner::{self, Owner};
use crate::sys;

/// Settings that start programs or the network. The command line overrides the repository's
/// configuration.
const SWITCHED_OFF: [&str; 13] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "core.sshCommand=false",
    "core.gitProxy=",
    "core.askPass=false",
    "credential.helper=",
    "protocol.allow=never",
    "log.showSignature=false",
    "log.mailmap=false",
    "diff.external=",
    "gc.auto=0",
    "maintenance.auto=false",
];

/// Why git gave no output.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The program cannot be started.
    Missing(io::Error),
    /// git did not end in time, and was killed.
    TimedOut,
    /// Root cannot say whose repository it is.
    Unsafe(Failure),
}

/// Runs git to its end on the repository at `path`, which is a checkout or its `.git`. `arguments` is a
/// command that only reads.
pub(crate) fn run(
    path: &Path,
    arguments: &[&str],
    stdout_bytes_max: u64,
    timeout: Duration,
) -> Result<Output, Fault> {
    let repository = git_dir(path);
    let mut command = command();
    as_its_owner(&mut command, &repository)?;
    let with_path = |text: &str| {
        let mut argument = OsString::from(text);
        argument.push(&repository);
        argument
    };
    command
        .arg(with_path("--git-dir="))
        .arg("-c")
        .arg(with_path("safe.directory="));
    for setting in SWITCHED_OFF {
        command.args(["-c", setting]);
    }
    command.arg("--no-pager").args(arguments);
    end(child::run(&mut command, stdout_bytes_max, timeout))
}

/// The output of `git --version`.
pub(crate) fn version(timeout: Duration) -> Result<Output, Fault> {
    const LINE_BYTES_MAX: u64 = 256;
    end(child::run(
        command().arg("--version"),
        LINE_BYTES_MAX,
        timeout,
    ))
}

fn end(ended: io::Result<Option<Output>>) -> Result<Output, Fault> {
    match ended {
        Ok(Some(output)) => Ok(output),
        Ok(None) => Err(Fault::TimedOut),
        Err(error) => Err(Fault::Missing(error)),
    }
}

/// A git without settings of user or system, without prompts and without network.
fn command() -> Command {
    let search_path = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", search_path)
        .env("LC_ALL", "C")
        .env("HOME", "/") // a service may have none, and git asks for one
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_REPLACE_OBJECTS", "1") // the history that was pushed
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_ALLOW_PROTOCOL", "none") // as the line before, for git before 2.45
        .current_dir("/");
    command
}

/// If root runs this process, git runs as the repository's owner.
fn as_its_owner(command: &mut Command, repository: &Path) -> Result<(), Fault> {
    if sys::effective_user() != 0 {
        return Ok(());
    }
    match owner_of(repository) {
        Ok(Owner::Root) => Ok(()),
        Ok(Owner::User { uid }) => {
            // std also clears root's other groups.
            command.uid(uid).gid(owner::group_of(uid));
            Ok(())
        }
        // git itself reports what is missing.
        Err(owner::Unsafe::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(Fault::Unsafe(owner::refusal(repository, &why))),
    }
}

/// The user who may change what git reads in the repository. That is the owner of its `.git`. If root
/// owns that and it is a worktree's file, it is the owner of the folder that the file names; if root
/// owns that folder too, it is the owner of the configuration in it.
fn owner_of(repository: &Path) -> Result<Owner, owner::Unsafe> {
    let of_itself = owner::owner_or_maker(repository)?;
    if of_itself != Owner::Root {
        return Ok(of_itself);
    }
    let folder = real_git_dir(repository);
    let of_folder = owner::owner_of(&folder)?;
    if of_folder != Owner::Root {
        return Ok(of_folder);
    }
    match owner::owner_of(&folder.join("config")) {
        Err(owner::Unsafe::Io { .. }) => Ok(Owner::Root),
        of_config => of_config,
    }
}

/// The `.git` of a checkout (a directory, or a worktree's file), or the path itself.
fn git_dir(path: &Path) -> PathBuf {
    let inner = path.join(".git");
    if inner.exists() {
        inner
    } else {
        path.to_owned()
    }
}

/// The folder that a worktree's file `.git` names, or the path itself.
fn real_git_dir(repository: &Path) -> PathBuf {
    const LINE_BYTES_MAX: u64 = 4096;
    let is_file = fs::metadata(repository).is_ok_and(|found| found.is_file());
    if !is_file {
        return repository.to_owned();
    }
    let line = crate::durable::read_regular(repository, LINE_BYTES_MAX).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    let named = line.trim().strip_prefix("gitdir:").map(str::trim);
    named.map_or(repository.to_owned(), |named| {
        repository.parent().unwrap_or(Path::new("/")).join(named)
    })
}
