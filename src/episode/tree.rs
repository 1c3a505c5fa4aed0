//! The directory of an episode: what lies in it, in one order, and whether it may be packed.
//!
//! Symbolic links are not followed and nothing but regular files is opened, so that neither a link
//! to /etc nor a fifo that nobody writes to can do harm. Below the episode's own directory nothing is
//! named by its path: each directory is opened in the one before. So neither a file nor a directory
//! that is swapped for a link at work leads out of the episode.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::META_NAME;
use super::meta::{BadMeta, META_BYTES_MAX, Meta};
use crate::durable::kind_words;
use crate::sys::{self, Open};

/// An episode that can be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    pub meta: Meta,
    /// All the files' sizes together, `meta.json` included.
    pub bytes: u64,
}

/// Reads the `meta.json` of the episode in `dir`, and looks whether all that lies in it can be
/// packed. Opens no other file, and walks the tree once.
pub fn inspect(dir: &Path) -> Result<Inspected, Unfit> {
    let survey = survey(&Episode::open(dir)?)?;
    Ok(Inspected {
        meta: survey.meta.meta,
        bytes: survey.bytes,
    })
}

/// What the `meta.json` of the episode in `dir` says, whatever else lies there.
pub fn meta_of(dir: &Path) -> Result<Meta, Unfit> {
    Ok(MetaFile::read(&Episode::open(dir)?)?.meta)
}

/// An episode's own directory, held open.
pub(super) struct Episode {
    path: PathBuf,
    dir: File,
}

impl Episode {
    pub(super) fn open(path: &Path) -> Result<Episode, Unfit> {
        let mut options = File::options();
        options
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
        match options.open(path) {
            Ok(dir) => Ok(Episode {
                path: path.to_owned(),
                dir,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Unfit::Unfinished(path.to_owned()))
            }
            Err(error) => Err(match path.symlink_metadata() {
                Ok(found) if !found.is_dir() => Unfit::special(path, kind_words(found.file_type())),
                _ => Unfit::io("open", path, error),
            }),
        }
    }

    /// What lies there under the name of the `meta.json`. It is not read.
    pub(super) fn look_at_meta(&self) -> Result<Metadata, Unfit> {
        look_at(&self.dir, OsStr::new(META_NAME), &self.path.join(META_NAME))
    }
}

/// What is known of an episode before its first byte is packed.
pub(super) struct Survey {
    pub meta: MetaFile,
    /// All the files' sizes together, `meta.json` included.
    pub bytes: u64,
}

pub(super) fn survey(episode: &Episode) -> Result<Survey, Unfit> {
    let meta = MetaFile::read(episode)?;
    let mut bytes = meta.json.len() as u64;
    for found in Walk::new(episode, Vec::new())? {
        let found = found?;
        if found.metadata.is_file() {
            bytes = bytes.saturating_add(found.metadata.len());
        }
    }
    Ok(Survey { meta, bytes })
}

/// The `meta.json` as it was read once: what is told and what is packed.
pub(super) struct MetaFile {
    pub meta: Meta,
    pub json: Vec<u8>,
    pub metadata: Metadata,
}

impl MetaFile {
    fn read(episode: &Episode) -> Result<MetaFile, Unfit> {
        let dir = &episode.path;
        let path = dir.join(META_NAME);
        let opened = open_regular(&episode.dir, OsStr::new(META_NAME), &path);
        let (file, metadata) = opened.map_err(|unfit| match unfit {
            Unfit::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
                Unfit::Unfinished(dir.to_owned())
            }
            other => other,
        })?;
        let mut json = Vec::new();
        file.take(META_BYTES_MAX + 1)
            .read_to_end(&mut json)
            .map_err(|error| Unfit::io("read", &path, error))?;
        if json.len() as u64 > META_BYTES_MAX {
            return Err(Unfit::Meta(dir.to_owned(), BadMeta::TooLarge));
        }
        let meta = Meta::parse(&json).map_err(|bad| Unfit::Meta(dir.to_owned(), bad))?;
        Ok(MetaFile {
            meta,
            json,
            metadata,
        })
    }
}

/// What lies in an open directory under a name, without opening it. `path` is for the words.
fn look_at(dir: &File, name: &OsStr, path: &Path) -> Result<Metadata, Unfit> {
    let looked = sys::open_at(dir, name, Open::Itself).and_then(|itself| itself.metadata());
    looked.map_err(|error| Unfit::io("look at", path, error))
}

/// Opens what must be a regular file in an open directory, without following a link and without
/// waiting for anybody.
fn open_regular(dir: &File, name: &OsStr, path: &Path) -> Result<(File, Metadata), Unfit> {
    let opened = sys::open_at(dir, name, Open::ToRead);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => Unfit::special(path, "a symbolic link"),
        // What open says of a socket.
        Some(libc::ENXIO) => Unfit::special(path, "a socket"),
        _ => Unfit::io("open", path, error),
    })?;
    let metadata = file
        .metadata()
        .map_err(|error| Unfit::io("look at", path, error))?;
    if !metadata.is_file() {
        return Err(Unfit::special(path, kind_words(metadata.file_type())));
    }
    Ok((file, metadata))
}

/// One file or directory of an episode.
pub(super) struct Found {
    pub path: PathBuf,
    /// The name in the tarball: bytes, since a file's name need not be UTF-8. Ends with `/` for a
    /// directory.
    pub name: Vec<u8>,
    pub metadata: Metadata,
}

/// The directory itself and all below it but its `meta.json`, depth first, each directory's
/// names in byte order. Holds the names of one directory for each level, and one open directory, no
/// more: the way up is `..`, which must lead to where the way down came from.
pub(super) struct Walk {
    /// The directory itself, until it was looked at.
    root: Option<(PathBuf, Vec<u8>)>,
    /// The directory of the innermost level.
    here: File,
    /// From the outermost in.
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
    pub(super) fn new(episode: &Episode, root_name: Vec<u8>) -> Result<Walk, Unfit> {
        // Opened anew, since whoever lists a directory moves on in it.
        let here = sys::open_at(&episode.dir, OsStr::new("."), Open::Directory)
            .map_err(|error| Unfit::io("open", &episode.path, error))?;
        Ok(Walk {
            root: Some((episode.path.clone(), root_name)),
            here,
            levels: Vec::new(),
        })
    }

    /// Opens the file that was found last.
    pub(super) fn open(&self, found: &Found) -> Result<(File, Metadata), Unfit> {
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
        // Whoever moves the episode by its path, or unpacks it, could not get there.
        if path.as_os_str().len() >= libc::PATH_MAX as usize {
            let error = io::Error::from_raw_os_error(libc::ENAMETOOLONG);
            return Err(Unfit::io("look at", &path, error));
        }
        let child = OsStr::from_bytes(child);
        let metadata = look_at(&self.here, child, &path)?;
        if metadata.is_dir() {
            let below = sys::open_at(&self.here, child, Open::Directory);
            let below = below.map_err(|error| match error.raw_os_error() {
                // It has become a link, or something else.
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

    /// Goes on in `dir`, unless nothing lies there.
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

    /// After a level's last name: to the directory that it lies in.
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

/// Why an episode cannot be packed, now or ever.
#[derive(Debug)]
pub enum Unfit {
    /// There is no `meta.json` yet.
    Unfinished(PathBuf),
    /// Something that is neither file nor directory, or not the one that it must be.
    Special { path: PathBuf, kind: &'static str },
    /// The `meta.json` of this directory does not say which code made the episode.
    Meta(PathBuf, BadMeta),
    /// A file became another while it was being packed.
    Changed(PathBuf),
    Io {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
}

impl Unfit {
    /// Whether the same directory may be fit later. What is not passing wants a person.
    pub fn is_passing(&self) -> bool {
        match self {
            Unfit::Unfinished(_) | Unfit::Changed(_) => true,
            Unfit::Special { .. } | Unfit::Meta(..) => false,
            // A path that is too long stays so.
            Unfit::Io { error, .. } => error.kind() != io::ErrorKind::InvalidFilename,
        }
    }

    /// For programs: one word for what a person must fix in an episode that is never fit as it is.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Unfit::Unfinished(_) | Unfit::Changed(_) => None,
            Unfit::Special { .. } => Some("not-a-file"),
            Unfit::Meta(_, bad) => Some(bad.reason()),
            Unfit::Io { .. } if self.is_passing() => None,
            Unfit::Io { .. } => Some("path-too-long"),
        }
    }

    pub(super) fn io(doing: &'static str, path: &Path, error: io::Error) -> Unfit {
        Unfit::Io {
            doing,
            path: path.to_owned(),
            error,
        }
    }

    fn special(path: &Path, kind: &'static str) -> Unfit {
        Unfit::Special {
            path: path.to_owned(),
            kind,
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // {:?} escapes control bytes, so a file's name cannot forge a log line.
        match self {
            Unfit::Unfinished(dir) => {
                write!(
                    f,
                    "{dir:?} has no meta.json: it is packed when there is one"
                )
            }
            Unfit::Special { path, kind } => write!(
                f,
                "{path:?} is {kind}, where only a file can be packed: remove it or put the file itself there"
            ),
            Unfit::Meta(dir, bad) => write!(f, "{dir:?}: {bad}: {}", bad.hint()),
            Unfit::Changed(path) => write!(
                f,
                "{path:?} changed while it was being packed: the recorder writes meta.json last, when nothing changes any more"
            ),
            Unfit::Io { doing, path, error } => {
                write!(f, "cannot {doing} {path:?}: {error}")?;
                match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        f.write_str(": let the user that runs cis490 read it")
                    }
                    io::ErrorKind::InvalidFilename => {
                        f.write_str(": give it a shorter path, or less depth")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for Unfit {}

#[cfg(test)]
mod tests {
    use std::fs;
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
        // A link in its place: what was opened is what is read on in.
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

        // Moved out of the episode: the way up is not the way that led there.
        fs::remove_file(dir.join("a")).unwrap();
        fs::rename(dir.join("aside"), dir.join("a")).unwrap();
        let mut walk = Walk::new(&episode, b"ep".to_vec()).unwrap();
        for _ in 0..4 {
            found(&mut walk);
        }
        fs::rename(dir.join("a/b"), top.join("moved")).unwrap();
        let said = found(&mut walk);
        assert!(said.contains("changed while it was being packed"), "{said}");

        // The episode itself.
        drop(episode);
        symlink(&dir, top.join("link")).unwrap();
        let said = Episode::open(&top.join("link")).err().unwrap().to_string();
        assert!(said.contains("is a symbolic link"), "{said}");
        fs::remove_dir_all(&top).unwrap();
    }
}
