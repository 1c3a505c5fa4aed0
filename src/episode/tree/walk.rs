//! The walk through an episode: each file and directory once, always in the same order.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{Episode, look_at, open_regular};
use crate::durable::kind_words;
use crate::episode::META_NAME;
use crate::episode::unfit::Unfit;
use crate::sys::{self, Open};

/// One file or directory of an episode.
pub(in crate::episode) struct Found {
    pub path: PathBuf,
    /// The name in the tarball: bytes, since a file's name need not be UTF-8. Ends with `/` for a
    /// directory.
    pub name: Vec<u8>,
    pub metadata: Metadata,
}

/// The directory itself and everything below it except its `meta.json`: depth first, each
/// directory's names in byte order. A walk holds the names of one directory for each level, and a
/// single open directory: the way up is `..`, which must lead to the directory that the way down
/// came from.
pub(in crate::episode) struct Walk {
    /// The directory itself, until the walk has given it out.
    root: Option<(PathBuf, Vec<u8>)>,
    /// The directory of the innermost level.
    here: File,
    /// The outermost first.
    levels: Vec<Level>,
}

struct Level {
    path: PathBuf,
    /// Ends with `/`.
    name: Vec<u8>,
    /// Device and inode.
    identity: (u64, u64),
    /// The names not yet looked at, the next one last.
    children: Vec<Vec<u8>>,
}

impl Walk {
    /// `root_name` is the tarball's name of the episode, without `/`.
    pub(in crate::episode) fn new(episode: &Episode, root_name: Vec<u8>) -> Result<Walk, Unfit> {
        // Opened again for this walk: listing a directory moves the offset of its open file.
        let here = sys::open_at(&episode.dir, OsStr::new("."), Open::Directory)
            .map_err(|error| Unfit::io("open", &episode.path, error))?;
        Ok(Walk {
            root: Some((episode.path.clone(), root_name)),
            here,
            levels: Vec::new(),
        })
    }

    /// Opens the file that the walk has found last.
    pub(in crate::episode) fn open(&self, found: &Found) -> Result<(File, Metadata), Unfit> {
        let name = found.path.file_name().unwrap_or_default();
        open_regular(&self.here, name, &found.path)
    }

    fn step(&mut self) -> Result<Option<Found>, Unfit> {
        if let Some((path, name)) = self.root.take() {
            let root = self.here.try_clone();
            let root = root.map_err(|error| Unfit::io("open", &path, error))?;
            return self.enter(root, path, name).map(Some);
        }
        while let Some(level) = self.levels.last_mut() {
            if let Some(child) = level.children.pop() {
                let path = level.path.join(OsStr::from_bytes(&child));
                let name = [&level.name[..], &child].concat();
                return self.look_at(&child, path, name).map(Some);
            }
            self.levels.pop();
            self.go_up()?;
        }
        Ok(None)
    }

    fn look_at(&mut self, child: &[u8], path: PathBuf, name: Vec<u8>) -> Result<Found, Unfit> {
        // No program that moves or unpacks the episode by its paths could open such a path.
        if path.as_os_str().len() >= libc::PATH_MAX as usize {
            let error = io::Error::from_raw_os_error(libc::ENAMETOOLONG);
            return Err(Unfit::io("look at", &path, error));
        }
        let child = OsStr::from_bytes(child);
        let metadata = look_at(&self.here, child, &path)?;
        if metadata.is_dir() {
            let below = sys::open_at(&self.here, child, Open::Directory);
            let below = below.map_err(|error| match error.raw_os_error() {
                // The directory has become a link, or something else.
                Some(libc::ENOTDIR | libc::ELOOP) => Unfit::Changed(path.clone()),
                _ => Unfit::io("list", &path, error),
            })?;
            return self.enter(below, path, name);
        }
        if !metadata.is_file() {
            return Err(Unfit::special(&path, kind_words(metadata.file_type())));
        }
        Ok(Found {
            path,
            name,
            metadata,
        })
    }

    /// Goes on in `dir`, unless it is empty.
    fn enter(&mut self, dir: File, path: PathBuf, mut name: Vec<u8>) -> Result<Found, Unfit> {
        name.push(b'/');
        let metadata = dir
            .metadata()
            .map_err(|error| Unfit::io("look at", &path, error))?;
        let mut children = list(&dir).map_err(|error| Unfit::io("list", &path, error))?;
        if self.levels.is_empty() {
            children.retain(|child| child != META_NAME.as_bytes());
        }
        if !children.is_empty() {
            self.levels.push(Level {
                path: path.clone(),
                name: name.clone(),
                identity: identity(&metadata),
                children,
            });
            self.here = dir;
        }
        Ok(Found {
            path,
            name,
            metadata,
        })
    }

    /// After the last name of a directory: back to the directory above it.
    fn go_up(&mut self) -> Result<(), Unfit> {
        let Some(level) = self.levels.last() else {
            return Ok(());
        };
        let above = sys::open_at(&self.here, OsStr::new(".."), Open::Directory);
        let above = above.and_then(|above| Ok((above.metadata()?, above)));
        let (metadata, above) = above.map_err(|error| Unfit::io("open", &level.path, error))?;
        if identity(&metadata) != level.identity {
            // The directory was moved elsewhere.
            return Err(Unfit::Changed(level.path.clone()));
        }
        self.here = above;
        Ok(())
    }
}

impl Iterator for Walk {
    type Item = Result<Found, Unfit>;

    fn next(&mut self) -> Option<Result<Found, Unfit>> {
        self.step().transpose()
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// A directory's names, the last in byte order first.
fn list(dir: &File) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    loop {
        let some = sys::list_some(dir)?;
        if some.is_empty() {
            break;
        }
        names.extend(some.into_iter().map(OsStringExt::into_vec));
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(walk: &mut Walk) -> String {
        match walk.next() {
            None => "the end".to_owned(),
            Some(Ok(found)) => String::from_utf8(found.name).unwrap(),
            Some(Err(unfit)) => unfit.to_string(),
        }
    }

    /// Each directory becomes a link, or is moved elsewhere, when it was found and not yet left.
    #[test]
    fn a_directory_that_is_swapped_for_a_link_leads_nowhere() {
        let name = format!("cis490-tree-swap-{}", std::process::id());
        let top = std::env::temp_dir().join(name);
        let dir = top.join("ep");
        for inner in ["ep/a/b", "ep/z", "elsewhere/b"] {
            fs::create_dir_all(top.join(inner)).unwrap();
        }
        fs::write(dir.join("a/b/file"), "the episode's").unwrap();
        fs::write(dir.join("a/c"), "the episode's").unwrap();
        fs::write(top.join("elsewhere/c"), "a secret").unwrap();
        fs::write(top.join("elsewhere/b/file"), "a secret").unwrap();
        let episode = Episode::open(&dir).unwrap();

        let mut walk = Walk::new(&episode, b"ep".to_vec()).unwrap();
        assert_eq!(found(&mut walk), "ep/");
        assert_eq!(found(&mut walk), "ep/a/");
        // A link replaces the directory: the walk goes on in the directory that it has opened.
        fs::rename(dir.join("a"), dir.join("aside")).unwrap();
        symlink(top.join("elsewhere"), dir.join("a")).unwrap();
        assert_eq!(found(&mut walk), "ep/a/b/");
        assert_eq!(found(&mut walk), "ep/a/b/file");
        assert_eq!(found(&mut walk), "ep/a/c");
        let path = dir.join("a/c");
        let metadata = fs::metadata(top.join("elsewhere/c")).unwrap();
        let last = Found {
            path,
            name: Vec::new(),
            metadata,
        };
        let (mut file, _) = walk.open(&last).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the episode's");
        assert_eq!(found(&mut walk), "ep/z/");
        assert_eq!(found(&mut walk), "the end");

        // The directory is moved out of the episode: `..` leads to another directory than the one that
        // the walk came from.
        fs::remove_file(dir.join("a")).unwrap();
        fs::rename(dir.join("aside"), dir.join("a")).unwrap();
        let mut walk = Walk::new(&episode, b"ep".to_vec()).unwrap();
        for _ in 0..4 {
            found(&mut walk);
        }
        fs::rename(dir.join("a/b"), top.join("moved")).unwrap();
        let said = found(&mut walk);
        assert!(said.contains("changed while it was being packed"), "{said}");

        // The episode itself is a link.
        drop(episode);
        symlink(&dir, top.join("link")).unwrap();
        let said = Episode::open(&top.join("link")).err().unwrap().to_string();
        assert!(said.contains("is a symbolic link"), "{said}");
        fs::remove_dir_all(&top).unwrap();
    }
}
