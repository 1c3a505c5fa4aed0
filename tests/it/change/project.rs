//! The lab's project as it changes: pushes, force-pushes, renames. What the branch holds is kept
//! here by parentage; git is changed, never asked.

use std::fs;
use std::path::PathBuf;

use super::WINDOW;
use crate::dice::Dice;
use crate::git::git_with_input;
use crate::repository::Repository;

const MAIN: &str = "refs/heads/main";

pub struct Project {
    pub repository: Repository,
    /// All of the branch, newest first.
    pub branch: Vec<String>,
    /// The branch as it will be after the next push, newest first.
    pub next: Vec<String>,
    /// Branches that a force-push has left behind.
    left: Vec<Vec<String>>,
    /// A checkout that others pull now and then.
    pub checkout: Option<PathBuf>,
}

impl Project {
    pub fn new() -> Project {
        let repository = Repository::new(3 * WINDOW as u64);
        let branch = log(&repository, "main", 3 * WINDOW);
        Project {
            repository,
            next: branch.clone(),
            branch,
            left: Vec::new(),
            checkout: None,
        }
    }

    pub fn window(&self) -> Vec<String> {
        self.branch[..WINDOW.min(self.branch.len())].to_vec()
    }

    /// Commits that nobody has pushed yet.
    pub fn planned(&self) -> Vec<String> {
        let made = self
            .next
            .iter()
            .filter(|commit| !self.branch.contains(commit));
        made.cloned().collect()
    }

    /// Makes what the next push will bring.
    pub fn plan(&mut self, dice: &mut Dice) {
        let most = self.branch.len() as u64 - WINDOW as u64;
        // Of a branch that is a window long nothing can be taken back.
        let kind = if most == 0 { 0 } else { dice.below(10) };
        self.next = match kind {
            // The head alone, a few, or more than a window of them.
            0..4 => self.grown(0, 1),
            4..6 => self.grown(0, 2 + dice.below(4) as usize),
            6 => self.grown(0, WINDOW + 2),
            // A force-push: the last commits are taken back, or replaced by others.
            7 => self.branch[1 + dice.below(most.min(WINDOW as u64 + 3)) as usize..].to_vec(),
            8 => {
                let back = 1 + dice.below(most.min(5)) as usize;
                self.grown(back, 1 + dice.below(4) as usize)
            }
            // What a force-push left behind comes back.
            _ => match dice.one_of(&self.left) {
                Some(left) => left.clone(),
                None => self.grown(0, 1),
            },
        };
    }

    /// The branch with its last `back` commits replaced by `count` new ones.
    fn grown(&self, back: usize, count: usize) -> Vec<String> {
        let base = &self.branch[back..];
        self.repository
            .git(&["update-ref", "refs/heads/plan", &base[0]]);
        self.repository.commit("plan", count as u64);
        let mut grown = log(&self.repository, "plan", count);
        grown.extend_from_slice(base);
        grown
    }

    /// The plan becomes the branch.
    pub fn push(&mut self) {
        self.repository.git(&["update-ref", MAIN, &self.next[0]]);
        let is_forced = !self.next.contains(&self.branch[0]);
        let before = std::mem::replace(&mut self.branch, self.next.clone());
        if is_forced {
            self.left.push(before);
        }
    }

    /// The branch under another name, or back under its own.
    pub fn rename(&self, away: bool) {
        let head = &self.branch[0];
        let script = match away {
            true => format!("create refs/heads/trunk {head}\ndelete {MAIN}\n"),
            false => format!("create {MAIN} {head}\ndelete refs/heads/trunk\n"),
        };
        let script = format!("start\n{script}commit\n");
        git_with_input(self.repository.path(), &["update-ref", "--stdin"], &script);
    }

    /// The repository of the local git, moved out of its sight or back.
    pub fn hide(&self, away: bool) {
        let (there, gone) = (
            self.repository.path().join(".git"),
            self.repository.path().join("gone"),
        );
        match away {
            true => fs::rename(there, gone).unwrap(),
            false => fs::rename(gone, there).unwrap(),
        }
    }

    /// Somebody pulls, so that the fallback knows what was pushed.
    pub fn pull(&self) {
        if let Some(checkout) = &self.checkout {
            let from = self.repository.path().display().to_string();
            let refspec = format!("+{MAIN}:refs/remotes/origin/main");
            crate::git::git(checkout, &["fetch", "-q", &from, &refspec]);
        }
    }

    /// What git does by itself in a repository that is used.
    pub fn housekeeping(&self) {
        self.repository.git(&["pack-refs", "--all"]);
        self.repository.git(&["repack", "-q", "-a", "-k"]);
    }
}

fn log(repository: &Repository, branch: &str, count: usize) -> Vec<String> {
    let commits = repository.log(branch, count as u32);
    commits.iter().map(ToString::to_string).collect()
}
