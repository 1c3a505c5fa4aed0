//! The tar of an episode as a stream to read from. Headers, files and padding are made when they are
//! read, so that memory does not depend on the size of the episode.
//!
//! The format is GNU tar. Of a file its content, time and executable bit are kept; owners, groups and
//! device numbers are zero and modes are 644 or 755, as in git. A directory has the time of `meta.json`:
//! its own time changes when somebody opens an editor in it, and then the same episode would become
//! other bytes.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use tar::{EntryType, Header};

use super::contents::{Contents, Tally};
use super::tree::{Found, MetaFile, Walk};
use super::unfit::Unfit;

const BLOCK_BYTES: usize = 512;

/// The name that GNU tar gives to the entry whose content is the next one's name.
const LONG_NAME: &[u8] = b"././@LongLink";

pub(super) struct TarStream {
    /// Bytes that were made and not yet read: headers, `meta.json`, padding, and the two blocks at the end.
    ready: io::Cursor<Vec<u8>>,
    /// The file whose content comes after `ready`.
    open: Option<OpenFile>,
    walk: Walk,
    /// The time of `meta.json`, Unix seconds.
    meta_time_s: u64,
    ended: bool,
    tally: Tally,
    /// Bytes of files that were read so far.
    pub bytes_read: u64,
}

struct OpenFile {
    file: File,
    path: PathBuf,
    /// The metadata when the file was opened: the header has stated this size.
    opened_as: Metadata,
    left: u64,
}

impl TarStream {
    /// The tar of `root_name`: first its `meta.json`, then every entry of `walk`.
    pub(super) fn new(root_name: &str, meta: &MetaFile, walk: Walk) -> TarStream {
        let name = format!("{root_name}/{}", super::META_NAME);
        let bytes = meta.json.len() as u64;
        let mut ready = entry_head(
            name.as_bytes(),
            EntryType::Regular,
            file_mode(&meta.metadata),
            time_s(&meta.metadata),
            bytes,
        );
        ready.extend_from_slice(&meta.json);
        ready.resize(ready.len() + padding(bytes), 0);
        TarStream {
            ready: io::Cursor::new(ready),
            open: None,
            walk,
            meta_time_s: time_s(&meta.metadata),
            ended: false,
            tally: Tally::new(&meta.metadata),
            bytes_read: bytes,
        }
    }

    /// The contents of everything that was read: equal to those of [`super::contents`].
    pub(super) fn contents(self) -> Contents {
        self.tally.contents()
    }

    /// As `Read::read`: 0 is the end of the tar.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Unfit> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            // A cursor over memory does not fail.
            let n = self.ready.read(buffer).unwrap_or(0);
            if n > 0 {
                return Ok(n);
            }
            if self.open.is_some() {
                let n = self.read_file(buffer)?;
                if n > 0 {
                    return Ok(n);
                }
            } else if self.ended {
                return Ok(0);
            } else {
                self.begin_next()?;
            }
        }
    }

    fn begin_next(&mut self) -> Result<(), Unfit> {
        let head = match self.walk.next() {
            None => {
                self.ended = true;
                vec![0; 2 * BLOCK_BYTES]
            }
            Some(found) => self.begin(found?)?,
        };
        self.ready = io::Cursor::new(head);
        Ok(())
    }

    /// Makes the header of an entry. A file is left open, since its content follows.
    fn begin(&mut self, found: Found) -> Result<Vec<u8>, Unfit> {
        if found.metadata.is_dir() {
            self.tally.add(&found.name, &found.metadata);
            let kind = EntryType::Directory;
            return Ok(entry_head(&found.name, kind, 0o755, self.meta_time_s, 0));
        }
        let (file, opened_as) = self.walk.open(&found)?;
        self.tally.add(&found.name, &opened_as);
        let head = entry_head(
            &found.name,
            EntryType::Regular,
            file_mode(&opened_as),
            time_s(&opened_as),
            opened_as.len(),
        );
        self.open = Some(OpenFile {
            file,
            path: found.path,
            left: opened_as.len(),
            opened_as,
        });
        Ok(head)
    }

    /// Reads from the open file. At its end the file is closed, its padding is made ready, and 0 is
    /// returned.
    fn read_file(&mut self, buffer: &mut [u8]) -> Result<usize, Unfit> {
        let Some(open) = &mut self.open else {
            return Ok(0);
        };
        if open.left == 0 {
            open.check_unchanged()?;
            self.ready = io::Cursor::new(vec![0; padding(open.opened_as.len())]);
            self.open = None;
            return Ok(0);
        }
        let most = buffer
            .len()
            .min(usize::try_from(open.left).unwrap_or(usize::MAX));
        let n = match open.file.read(&mut buffer[..most]) {
            Ok(0) => return Err(Unfit::Changed(open.path.clone())),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return self.read_file(buffer);
            }
            Err(error) => return Err(Unfit::io("read", &open.path, error)),
        };
        open.left -= n as u64;
        self.bytes_read += n as u64;
        Ok(n)
    }
}

impl OpenFile {
    /// An error if the size or time of the file has changed since it was opened.
    fn check_unchanged(&self) -> Result<(), Unfit> {
        let now = self
            .file
            .metadata()
            .map_err(|error| Unfit::io("look at", &self.path, error))?;
        let key = |m: &Metadata| (m.len(), m.mtime(), m.mtime_nsec());
        if key(&now) != key(&self.opened_as) {
            return Err(Unfit::Changed(self.path.clone()));
        }
        Ok(())
    }
}

/// The header of an entry. A name that is too long for it gets an entry of its own before it.
fn entry_head(name: &[u8], kind: EntryType, mode: u32, time_s: u64, bytes: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(BLOCK_BYTES);
    if name.len() > Header::new_gnu().as_old().name.len() {
        let with_nul = name.len() as u64 + 1;
        head.extend(header(LONG_NAME, EntryType::GNULongName, 0o644, 0, with_nul).as_bytes());
        head.extend_from_slice(name);
        head.resize(head.len() + 1 + padding(with_nul), 0);
    }
    head.extend(header(name, kind, mode, time_s, bytes).as_bytes());
    head
}

fn header(name: &[u8], kind: EntryType, mode: u32, time_s: u64, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    let field = &mut header.as_old_mut().name;
    let shown = name.len().min(field.len());
    field[..shown].copy_from_slice(&name[..shown]);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time_s);
    header.set_size(bytes);
    header.set_cksum();
    header
}

fn padding(bytes: u64) -> usize {
    let over = (bytes % BLOCK_BYTES as u64) as usize;
    (BLOCK_BYTES - over) % BLOCK_BYTES
}

fn file_mode(metadata: &Metadata) -> u32 {
    match metadata.permissions().mode() & 0o100 {
        0 => 0o644,
        _ => 0o755,
    }
}

/// Unix seconds; a time before 1970 is 1970.
fn time_s(metadata: &Metadata) -> u64 {
    u64::try_from(metadata.mtime()).unwrap_or(0)
}
