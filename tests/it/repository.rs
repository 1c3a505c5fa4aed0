//! Real git repositories in temporary folders, whose commits are the same in every run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cis490::names::CommitHash;

use crate::git::{EMAIL, NAME, git, git_command, git_with_input};
use crate::here::TempDir;

/// When the first commit of an import was made; each one behind it is a minute later.
const IMPORTED_S: u64 = 1_600_000_000;

/// What `git fast-import` reads of one commit, whose parent is the branch's head as the import knows it.
fn commit_script(branch: &str, number: u64, message: &str) -> String {
    let date = IMPORTED_S + number * 60;
    format!(
        "commit refs/heads/{branch}\ncommitter {NAME} <{EMAIL}> {date} +0000\ndata {}\n{message}\n",
        message.len()
    )
}

/// A repository with a checkout.
pub struct Repository {
    folder: TempDir,
    commits: AtomicU64,
}

impl Repository {
    /// Empty: no branch yet.
    pub fn empty() -> Repository {
        Repository::with_format("sha1")
    }

    pub fn with_format(object_format: &str) -> Repository {
        let folder = TempDir::new();
        let format = format!("--object-format={object_format}");
        git(folder.path(), &["init", "-q", "--template=", &format]);
        Repository {
            folder,
            commits: AtomicU64::new(0),
        }
    }

    /// With so many commits on `main`.
    pub fn new(commits: u64) -> Repository {
        let repository = Repository::empty();
        repository.commit("main", commits);
        repository
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        git(self.path(), arguments)
    }

    /// Adds commits to a branch, in one process however many. Their messages name other hashes.
    pub fn commit(&self, branch: &str, count: u64) {
        let mut script = String::new();
        let exists = git_command(self.path(), &["rev-parse", "-q", "--verify", branch])
            .output()
            .unwrap();
        for n in 0..count {
            let number = self.commits.fetch_add(1, Ordering::Relaxed);
            let message = format!("number {number}, which reverts {}", "ab".repeat(20));
            script += &commit_script(branch, number, &message);
            if n == 0 && exists.status.success() {
                writeln!(script, "from refs/heads/{branch}^0").unwrap();
            }
            writeln!(script, "M 100644 inline file\ndata <<END\n{number}\nEND\n").unwrap();
        }
        git_with_input(self.path(), &["fast-import", "--quiet", "--force"], &script);
    }

    /// The newest `count` commits of a ref.
    pub fn log(&self, reference: &str, count: u32) -> Vec<CommitHash> {
        log(self.path(), reference, count)
    }

    pub fn head(&self) -> CommitHash {
        self.log("refs/heads/main", 1)[0]
    }
}

pub fn log(dir: &Path, reference: &str, count: u32) -> Vec<CommitHash> {
    let count = count.to_string();
    let text = git(dir, &["log", "--format=%H", "-n", &count, reference, "--"]);
    text.lines()
        .map(|line| CommitHash::parse(line).unwrap())
        .collect()
}

/// A repository of a world: `main` alone, in a folder of the world's, with commits that change no file.
pub struct Repo {
    pub dir: PathBuf,
    /// Oldest first.
    pub commits: Vec<String>,
}

impl Repo {
    pub fn new(dir: &Path, commits: usize) -> Repo {
        let made = made_once(commits);
        for (path, bytes) in &made.files {
            let path = dir.join(path);
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::create_dir_all(path).unwrap(),
            }
        }
        Repo {
            dir: dir.to_owned(),
            commits: made.commits.clone(),
        }
    }

    /// Makes one more commit on the branch that is checked out; its hash.
    pub fn commit(&mut self) -> String {
        let message = format!("commit {}", self.commits.len());
        self.git(&["commit", "-q", "--allow-empty", "-m", &message]);
        let hash = self.git(&["rev-parse", "HEAD"]);
        self.commits.push(hash.clone());
        hash
    }

    /// What git prints in the repository.
    pub fn git(&self, arguments: &[&str]) -> String {
        git(&self.dir, arguments)
    }

    pub fn head(&self) -> &str {
        self.commits.last().unwrap()
    }
}

/// The files of a [`Repo`], by their paths in its folder; a folder has no bytes.
struct Made {
    files: Vec<(PathBuf, Option<Vec<u8>>)>,
    /// Oldest first.
    commits: Vec<String>,
}

/// A repository of so many commits. Git makes it once in a run of the tests, and each world gets a
/// copy: hundreds of git processes and thousands of files took longer than the tests themselves.
fn made_once(commits: usize) -> Arc<Made> {
    static MADE: Mutex<BTreeMap<usize, Arc<Made>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made
        .entry(commits)
        .or_insert_with(|| Arc::new(make(commits)));
    Arc::clone(made)
}

fn make(commits: usize) -> Made {
    let dir = TempDir::new();
    git(dir.path(), &["init", "-q", "--template="]);
    let script: String = (0..commits as u64)
        .map(|number| commit_script("main", number, &format!("commit {number}\n")))
        .collect();
    // As one pack: few files to copy.
    let import = ["-c", "fastimport.unpackLimit=1", "fast-import", "--quiet"];
    git_with_input(dir.path(), &import, &script);
    let log = git(dir.path(), &["rev-list", "--reverse", "main"]);
    let mut files = Vec::new();
    gather(dir.path(), Path::new(""), &mut files);
    Made {
        files,
        commits: log.lines().map(str::to_owned).collect(),
    }
}

/// Folders come before what is in them.
fn gather(root: &Path, dir: &Path, files: &mut Vec<(PathBuf, Option<Vec<u8>>)>) {
    files.push((dir.to_owned(), None));
    for entry in fs::read_dir(root.join(dir)).unwrap() {
        let entry = entry.unwrap();
        let path = dir.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            gather(root, &path, files);
        } else {
            files.push((path, Some(fs::read(entry.path()).unwrap())));
        }
    }
}
