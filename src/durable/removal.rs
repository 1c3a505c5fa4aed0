//! Removing a directory with all that is in it, however deep it is: with two open directories at a
//! time, where `std::fs::remove_dir_all` needs one for each level and fails at the limit on open files.
//!
//! 1. No link is followed: a name is opened as a directory and nothing else, or it is unlinked.
//! 2. The way up is `..`, which nobody can forge, and it must lead to the directory that the way down
//!    came from: a directory that was moved elsewhere meanwhile is an error, and the files around its
//!    new place stay.
//! 3. It stays on one filesystem: one that is mounted below is not emptied.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::sys::{self, Open};

/// A directory by its place on the disk, which no rename changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// One step down.
struct Step {
    from: Identity,
    name: OsString,
}

/// Removes `path` and all below it.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
    let mut here = options.open(path)?;
    let device = identity(&here)?.device;
    let mut steps: Vec<Step> = Vec::new();
    loop {
        if let Some(name) = remove_up_to_a_directory(&here)? {
            let below = named(&name, sys::open_at(&here, &name, Open::Directory))?;
            if identity(&below)?.device != device {
                return Err(other(&name, "something is mounted there"));
            }
            let from = identity(&here)?;
            steps.push(Step { from, name });
            here = below;
            continue;
        }
        let Some(step) = steps.pop() else {
            return fs::remove_dir(path);
        };
        let above = named(
            &step.name,
            sys::open_at(&here, OsStr::new(".."), Open::Directory),
        )?;
        if identity(&above)? != step.from {
            return Err(other(&step.name, "it was moved while it was being removed"));
        }
        named(&step.name, sys::remove_dir_at(&above, &step.name))?;
        here = above;
    }
}

/// Removes names from a directory until one is of a directory, and returns that one; `None` if nothing
/// is left.
fn remove_up_to_a_directory(dir: &File) -> io::Result<Option<OsString>> {
    loop {
        (&mut &*dir).seek(SeekFrom::Start(0))?;
        let names = sys::list_some(dir)?;
        let mut removed = 0;
        for name in &names {
            match sys::unlink_at(dir, name) {
                Ok(()) => removed += 1,
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                    return Ok(Some(name.clone()));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return named(name, Err(error)),
            }
        }
        match names.first() {
            None => return Ok(None),
            Some(name) if removed == 0 => return Err(other(name, "it is listed and not there")),
            Some(_) => {}
        }
    }
}

fn identity(dir: &File) -> io::Result<Identity> {
    let metadata = dir.metadata()?;
    Ok(Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

fn named<T>(name: &OsStr, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{name:?} in it: {error}")))
}

fn other(name: &OsStr, why: &str) -> io::Error {
    io::Error::other(format!("{name:?} in it: {why}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let name = format!("cis490-removal-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_tree_of_any_shape_goes_and_the_targets_of_its_links_stay() {
        let dir = folder("tree");
        let outside = dir.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "stays").unwrap();
        let tree = dir.join("tree");
        let deep: PathBuf = (0..300).map(|_| "d").collect();
        fs::create_dir_all(tree.join(&deep)).unwrap();
        fs::write(tree.join(&deep).join("file"), "").unwrap();
        symlink(&outside, tree.join("d/d/link")).unwrap();
        // More than one listing gives at a time.
        for n in 0..600 {
            fs::write(tree.join(format!("d/a-file-with-a-long-name-{n}")), "").unwrap();
        }
        for n in 0..50 {
            fs::create_dir_all(tree.join(format!("wide/{n}/below"))).unwrap();
        }
        remove_all(&tree).unwrap();
        assert!(tree.symlink_metadata().is_err());
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"stays");

        symlink(&outside, &tree).unwrap();
        assert!(remove_all(&tree).is_err(), "a link is no directory");
        assert!(outside.join("file").exists());
        assert_eq!(
            remove_all(&dir.join("none")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        remove_all(&dir).unwrap();
    }

    /// A directory is swapped for a link to elsewhere and back, over and over, while it is removed:
    /// the removal may fail, but touches nothing elsewhere.
    #[test]
    fn a_swap_for_a_link_leads_nowhere() {
        let dir = folder("swap");
        let outside = dir.join("outside");
        fs::create_dir_all(outside.join("sub")).unwrap();
        fs::write(outside.join("sub/file"), "stays").unwrap();
        for _ in 0..5 {
            let tree = dir.join("tree");
            for n in 0..20 {
                fs::create_dir_all(tree.join(format!("{n}/sub/sub"))).unwrap();
            }
            let swaps = std::thread::spawn({
                let tree = tree.clone();
                let outside = outside.clone();
                move || {
                    for n in 0..20 {
                        let victim = tree.join(n.to_string());
                        let aside = tree.join(format!("aside-{n}"));
                        let _ = fs::rename(&victim, &aside);
                        let _ = symlink(&outside, &victim);
                    }
                }
            });
            let _ = remove_all(&tree);
            swaps.join().unwrap();
            assert!(outside.join("sub/file").exists());
            let _ = remove_all(&tree);
        }
        remove_all(&dir).unwrap();
    }
}
