//! A disk that this process answers for. The kernel is shown it as one file of a FUSE filesystem, and
//! makes a block device of that file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

const BLOCK: u32 = 4096;
const WRITE_MAX: usize = 1 << 20;

/// What FUSE calls the only folder and the only file.
const FOLDER: u64 = 1;
const FILE: u64 = 2;
/// The file's name in its folder.
pub const NAME: &str = "disk";

pub const EIO: i32 = 5;
const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;

/// The disk behind the file. One request at a time; an error is an errno.
pub trait Backing: Send + 'static {
    fn read(&mut self, offset: u64, size: usize) -> Result<Vec<u8>, i32>;
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), i32>;
    fn flush(&mut self) -> Result<(), i32>;
}

/// The filesystem, served until this is dropped.
pub struct FuseDisk {
    folder: PathBuf,
    server: Option<JoinHandle<()>>,
}

impl FuseDisk {
    /// Shows `backing`, of so many bytes, in `folder`. `None` if this machine does not let us.
    pub fn serve(folder: &Path, bytes: u64, mut backing: impl Backing) -> Option<FuseDisk> {
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .ok()?;
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "none"])
            .arg(folder)
            .args(["-o", "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other"])
            .stdin(Stdio::from(device.try_clone().ok()?))
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            return None;
        }
        let server = thread::spawn(move || answer_all(device, bytes, &mut backing));
        Some(FuseDisk {
            folder: folder.to_owned(),
            server: Some(server),
        })
    }
}

impl Drop for FuseDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

/// Answers the kernel until the filesystem is unmounted.
fn answer_all(mut device: File, bytes: u64, backing: &mut impl Backing) {
    let mut request = vec![0; WRITE_MAX + 4096];
    while let Ok(length) = device.read(&mut request) {
        let request = &request[..length];
        let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let (opcode, unique) = (word(4), &request[8..16]);
        let node = u64::from_le_bytes(request[16..24].try_into().unwrap());
        let Some(answer) = answer(opcode, node, &request[40..], bytes, backing) else {
            continue;
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut reply = (16 + body.len() as u32).to_le_bytes().to_vec();
        reply.extend_from_slice(&i32::to_le_bytes(error));
        reply.extend_from_slice(unique);
        reply.extend_from_slice(&body);
        // An error is a request that was interrupted meanwhile.
        let _ = device.write(&reply);
    }
}

/// Little-endian words, one after the other.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn u64(mut self, words: &[u64]) -> Words {
        for word in words {
            self.0.extend_from_slice(&word.to_le_bytes());
        }
        self
    }

    fn u32(mut self, words: &[u32]) -> Words {
        for word in words {
            self.0.extend_from_slice(&word.to_le_bytes());
        }
        self
    }
}

/// The answer to one request; `None` for those that have none.
fn answer(
    opcode: u32,
    node: u64,
    body: &[u8],
    bytes: u64,
    backing: &mut impl Backing,
) -> Option<Result<Vec<u8>, i32>> {
    let long = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
    let word = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
    Some(match opcode {
        2 | 36 | 42 => return None, // forget, interrupt, forget many
        26 => {
            // init: writes of up to WRITE_MAX bytes.
            let (big_writes, max_pages) = (1 << 5, 1 << 22);
            let mut words = Words::default()
                .u32(&[7, 31, 1 << 20, big_writes | max_pages])
                .u32(&[64 | 48 << 16, WRITE_MAX as u32, 1])
                .u32(&[(WRITE_MAX / 4096) as u32])
                .0;
            words.resize(64, 0);
            Ok(words)
        }
        1 if body.starts_with(NAME.as_bytes()) => {
            let words = Words::default().u64(&[FILE, 0, 3600, 3600]).u32(&[0, 0]);
            Ok(attributes(words, FILE, bytes).0)
        }
        1 => Err(ENOENT),
        3 | 4 => {
            let words = Words::default().u64(&[3600]).u32(&[0, 0]);
            Ok(attributes(words, node, bytes).0)
        }
        14 | 27 => Ok(Words::default().u64(&[0]).u32(&[0, 0]).0), // open, of a folder too
        15 => backing.read(long(8), word(16) as usize),
        16 => {
            let size = word(16);
            let written = backing.write(long(8), &body[40..40 + size as usize]);
            written.map(|()| Words::default().u32(&[size, 0]).0)
        }
        20 => backing.flush().map(|()| Vec::new()),
        17 => Ok(vec![0; 80]),
        18 | 25 | 28 | 29 | 38 => Ok(Vec::new()), // release, flush at close, an empty folder, the end
        _ => Err(ENOSYS),
    })
}

fn attributes(words: Words, node: u64, bytes: u64) -> Words {
    let (mode, size) = match node {
        FOLDER => (0o40700, 0),
        _ => (0o100600, bytes),
    };
    words
        .u64(&[node, size, size / 512, 0, 0, 0])
        .u32(&[0, 0, 0, mode, 1, 0, 0, 0, BLOCK, 0])
}
