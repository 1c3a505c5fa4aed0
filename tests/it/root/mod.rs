//! Root's commands on a folder of another user, who means harm: what he plants there acts with his own
//! rights and no others. Only root can run these tests; other users skip them.

mod git;
mod install;
mod planted;
mod user;
mod words;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::here;
use crate::world::{TempDir, cis490, is_emulated};

/// The service's user: no account of this machine has the number.
pub const USER: u32 = 64_990;

/// So long may one of these commands take. Nothing here has a second's work.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether these tests can give files away, and the program can become another user: it does so with
/// one thread alone, and an emulator has a second. If not, says that the test is skipped.
pub fn is_root(test: &str) -> bool {
    if is_emulated() {
        skip!("{test}: an emulator has a thread of its own");
        return false;
    }
    here::is_root(test)
}

/// A temporary folder that the user can pass through under every umask.
pub fn open_dir() -> TempDir {
    let dir = TempDir::new();
    set_mode(dir.path(), 0o755);
    dir
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives a path and all below it to the user; links themselves, never what they lead to.
pub fn give(path: &Path) {
    lchown(path, Some(USER), Some(USER)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

/// How a command ended: with what status, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub said: String,
}

/// Runs the program to its end. Panics if it hangs.
pub fn run(arguments: &[&str]) -> Ended {
    run_with(arguments, &[])
}

pub fn run_with(arguments: &[&str], env: &[(&str, &str)]) -> Ended {
    let out = TempDir::new();
    let log = fs::File::create(out.path().join("log")).unwrap();
    let mut child = cis490()
        .args(arguments)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let code = wait(&mut child, &format!("{arguments:?}"));
    let said = fs::read(out.path().join("log")).unwrap();
    Ended {
        code,
        said: String::from_utf8_lossy(&said).into_owned(),
    }
}

/// The exit status of a process that must end by itself.
pub fn wait(child: &mut Child, what: &str) -> i32 {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        if until < Instant::now() {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{what} hangs");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Root's own things, beside the folder: nothing of them may change.
pub struct Victims {
    dir: PathBuf,
    before: String,
}

impl Victims {
    /// In a new folder below `dir`.
    pub fn new(dir: &Path) -> Victims {
        let dir = dir.join("victims");
        fs::create_dir_all(dir.join("folder")).unwrap();
        fs::write(dir.join("secret"), "root's secret\n").unwrap();
        set_mode(&dir.join("secret"), 0o600);
        fs::write(dir.join("readable"), "root's\n").unwrap();
        fs::write(dir.join("folder/inner"), "root's too\n").unwrap();
        let before = picture(&dir);
        Victims { dir, before }
    }

    pub fn secret(&self) -> PathBuf {
        self.dir.join("secret")
    }

    pub fn readable(&self) -> PathBuf {
        self.dir.join("readable")
    }

    pub fn folder(&self) -> PathBuf {
        self.dir.join("folder")
    }

    /// A name in root's folder that nothing has.
    pub fn absent(&self) -> PathBuf {
        self.dir.join("folder/absent")
    }

    pub fn assert_untouched(&self, what: &str) {
        assert_eq!(picture(&self.dir), self.before, "{what}");
    }
}

/// All there is below: names, owners, modes, contents.
fn picture(dir: &Path) -> String {
    let mut text = String::new();
    let mut paths = vec![dir.to_owned()];
    while let Some(path) = paths.pop() {
        let found = path.symlink_metadata().unwrap();
        let (uid, gid, mode) = (found.uid(), found.gid(), found.mode());
        let content = fs::read(&path).unwrap_or_default();
        let content = String::from_utf8_lossy(&content).into_owned();
        writeln!(text, "{path:?} {uid}:{gid} {mode:o} {content:?}").unwrap();
        if found.is_dir() {
            let mut inner: Vec<_> = fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            inner.sort();
            paths.extend(inner);
        }
    }
    text
}
