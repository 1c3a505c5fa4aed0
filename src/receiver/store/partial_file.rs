//! A file's name in incoming/: the record that an upload is under way.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::sync::lock;
use crate::{durable, events};

/// At most so many names wait for the thread that removes them. Beyond that each thread removes its own.
const WAITING_MAX: usize = 64;

/// Owning it is owning the name, which is removed when this is dropped: after the upload's answer.
#[derive(Default)]
pub(crate) struct PartialFile {
    /// `None` for an upload that needed no file.
    path: Option<PathBuf>,
    /// Whether nobody knows that the episode is stored or not. Then recovery needs the name.
    is_in_doubt: bool,
}

impl PartialFile {
    pub(super) fn new(path: PathBuf) -> PartialFile {
        PartialFile {
            path: Some(path),
            is_in_doubt: false,
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The file may get its final name from now on. Until [`PartialFile::settled`] the name outlives
    /// this value, also in a panic.
    pub(super) fn in_doubt(&mut self) {
        self.is_in_doubt = true;
    }

    pub(super) fn settled(&mut self) {
        self.is_in_doubt = false;
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if self.is_in_doubt {
            return;
        }
        let Some(path) = &self.path else { return };
        if let Err(error) = durable::unlink(path) {
            events::store_untidy(path, error);
        }
    }
}

/// Removes the names of answered uploads, on one thread at a time: the threads of a whole group that removed theirs
/// side by side would wait for the folder's lock, and keep the next uploads from it.
#[derive(Default)]
pub(super) struct AnsweredFiles(Mutex<Answered>);

#[derive(Default)]
struct Answered {
    waiting: Vec<PartialFile>,
    /// A thread removes names, and looks for more before it ends.
    is_served: bool,
}

impl AnsweredFiles {
    /// Removes the name, or leaves it to the thread that removes others now. Returns what others have left to this
    /// thread meanwhile, if anything.
    pub(super) fn remove(&self, file: PartialFile) -> Option<NamesOfOthers<'_>> {
        file.path.as_ref()?;
        let mut answered = lock(&self.0);
        if !answered.is_served {
            answered.is_served = true;
            drop(answered);
            remove(file);
            return self.names_of_others();
        }
        if answered.waiting.len() < WAITING_MAX {
            answered.waiting.push(file);
            return None;
        }
        drop(answered);
        remove(file);
        None
    }

    /// `None` if there are none: the thread that leaves the next name removes it.
    fn names_of_others(&self) -> Option<NamesOfOthers<'_>> {
        let mut answered = lock(&self.0);
        answered.is_served = !answered.waiting.is_empty();
        answered.is_served.then(|| NamesOfOthers(self))
    }
}

/// Names that other threads have left to this one. When it drops this, it removes them, and those that are left to
/// it until then.
pub(crate) struct NamesOfOthers<'a>(&'a AnsweredFiles);

impl Drop for NamesOfOthers<'_> {
    fn drop(&mut self) {
        let NamesOfOthers(files) = self;
        let mut answered = lock(&files.0);
        while !answered.waiting.is_empty() {
            let names = mem::take(&mut answered.waiting);
            drop(answered);
            remove(names);
            answered = lock(&files.0);
        }
        answered.is_served = false;
    }
}

/// A panic would leave the next names to nobody.
fn remove<T>(files: T) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(files)));
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;

    use super::*;
    use crate::receiver::store::testing::Folder;

    fn made(folder: &Folder, name: &str) -> PartialFile {
        let path = folder.path().join(name);
        File::create(&path).unwrap();
        PartialFile::new(path)
    }

    fn names(folder: &Folder) -> usize {
        folder.path().read_dir().unwrap().count()
    }

    #[test]
    fn names_that_many_threads_leave_all_go() {
        let folder = Folder::new("answered");
        let answered = AnsweredFiles::default();
        thread::scope(|scope| {
            for thread in 0..8 {
                let (folder, answered) = (&folder, &answered);
                scope.spawn(move || {
                    for n in 0..50 {
                        drop(answered.remove(made(folder, &format!("{thread}-{n}"))));
                    }
                });
            }
        });
        assert_eq!(names(&folder), 0);
        assert!(!lock(&answered.0).is_served);
    }

    #[test]
    fn what_others_have_left_goes_with_the_last_of_it() {
        let folder = Folder::new("answered");
        let answered = AnsweredFiles::default();
        lock(&answered.0).is_served = true;
        for n in 0..3 {
            assert!(answered.remove(made(&folder, &n.to_string())).is_none());
        }
        assert_eq!(names(&folder), 3);
        drop(answered.names_of_others().expect("there are three"));
        assert_eq!(names(&folder), 0);
        assert!(answered.remove(made(&folder, "own")).is_none());
        assert_eq!(names(&folder), 0);
    }

    /// It leaves at most `WAITING_MAX` names of others behind.
    #[test]
    fn a_thread_that_hangs_is_not_relied_on() {
        let folder = Folder::new("answered");
        let answered = AnsweredFiles::default();
        lock(&answered.0).is_served = true;
        for n in 0..2 * WAITING_MAX {
            assert!(answered.remove(made(&folder, &n.to_string())).is_none());
        }
        assert_eq!(names(&folder), WAITING_MAX);
    }
}
