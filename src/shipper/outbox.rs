//! Packing: from an episode's directory to a tarball that is whole and on the disk.
//!
//!     create(partial)  write(partial)  (fsync(meta.json)  fsync(episodes/<id>)  fsync(episodes) | setxattr(partial)  fsync(partial))  rename(partial, tarball)  fsync(outbox)
//!
//! The episode's own names are synced too, since the recorder may not have synced them: a tarball whose
//! episode a power cut took, or left with an empty `meta.json`, would be swept as an orphan, or
//! taken for another episode's, and was all there is.
//!
//! The attribute is the tarball's seal: its digest, the `meta.json` and other files that it was made
//! from, and the boot of the kernel in which it was made. So a shipper that was restarted sends what an earlier one packed without reading gigabytes again,
//! and what lies there of an episode that is gone, whose name another one took, is seen as such.
//! Where the filesystem has no attributes, a tarball outlives its shipper only to be packed again.
//!
//! A small episode that is sent in a burst is packed in memory ([`pack_in_memory`]) and never comes here: see
//! `parcel`.

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::boot::BootId;
use super::queue::{self, Identity, Root};
use super::stop::Stop;
use crate::durable;
use crate::episode::{self, Compressor, Contents, Meta, PackError, Unfit};
use crate::names::{EpisodeId, Sha256Digest};
use crate::service;
use crate::sys;

const SEAL_XATTR: &CStr = c"user.cis490.seal";

/// The slowest disk that is waited for: a USB stick at its worst.
const SYNC_BYTES_PER_SECOND_MIN: u64 = 1 << 20;

/// A tarball in outbox/: its digest, and the files that it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub sha256: Sha256Digest,
    pub bytes: u64,
    pub made_from: Identity,
    /// All the files that it was made from: see [`episode::contents`].
    pub contents: Contents,
    /// When it was made; `None` if the kernel did not say.
    pub boot: Option<BootId>,
}

/// Why there is no tarball.
#[derive(Debug)]
pub(super) enum PackFault {
    /// The episode can never be packed as it is, and one word for why.
    Unfit { why: String, reason: &'static str },
    /// There is no room; nothing was left behind.
    DiskFull(io::Error),
    /// It may go better later.
    Passing(String),
    /// `progress` said that it is to end.
    Stopped,
}

/// Whether the watchdog is pinged while a large file is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// The loop that sends the beats waits for it.
    Watched,
    Unwatched,
}

/// Packs a finished episode. Nothing is left in outbox/ on an error.
pub(super) fn pack(
    root: &Root,
    id: &EpisodeId,
    made_from: Identity,
    sync: Sync,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(Seal, Meta), PackFault> {
    let partial = partial(root, id);
    let packed = pack_to(root, id, made_from, sync, &partial, progress);
    if packed.is_err() {
        // A partial that stays is swept by the next scan.
        let _ = durable::unlink(&partial);
    }
    packed
}

fn pack_to(
    root: &Root,
    id: &EpisodeId,
    made_from: Identity,
    sync: Sync,
    partial: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(Seal, Meta), PackFault> {
    let mut file = durable::create(partial)?;
    let mut compressor = Compressor::new();
    let (seal, meta) = pack_into(root, id, made_from, &mut file, &mut compressor, progress)?;
    publish(root, id, &file, &seal, sync)?;
    Ok((seal, meta))
}

/// What is packed in memory at most.
#[derive(Clone, Copy)]
pub(super) struct MemoryBounds {
    /// Bytes of the tarball.
    pub packed: u64,
    /// Bytes of the episode's files.
    pub unpacked: u64,
}

/// Packs a finished episode into memory, and writes nothing. `None` if it has more than `most`: its files may have
/// grown since they were inspected, and no more of them is read than that.
pub(super) fn pack_in_memory(
    root: &Root,
    id: &EpisodeId,
    made_from: Identity,
    most: MemoryBounds,
    compressor: &mut Compressor,
    stop: &Stop,
) -> Result<Option<(Seal, Meta, Vec<u8>)>, PackFault> {
    let mut memory = Memory {
        bytes: Vec::new(),
        most: most.packed,
        is_over: false,
    };
    let mut is_grown = false;
    let mut progress = |done: u64, total: u64| {
        is_grown = done.max(total) > most.unpacked;
        if is_grown || stop.is_set() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let packed = pack_into(root, id, made_from, &mut memory, compressor, &mut progress);
    if is_grown || memory.is_over {
        return Ok(None);
    }
    let (seal, meta) = packed?;
    Ok(Some((seal, meta, memory.bytes)))
}

/// A tarball in memory, of at most so many bytes: writing more is an error.
struct Memory {
    bytes: Vec<u8>,
    most: u64,
    is_over: bool,
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > self.most {
            self.is_over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pack_into(
    root: &Root,
    id: &EpisodeId,
    made_from: Identity,
    out: &mut dyn Write,
    compressor: &mut Compressor,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(Seal, Meta), PackFault> {
    let dir = root.episodes().join(id.as_str());
    let packed = episode::pack_by(compressor, &dir, id.as_str(), out, progress)?;
    if Identity::of(root, id)? != made_from {
        return Err(PackFault::Passing(format!(
            "{dir:?} changed while it was being packed"
        )));
    }
    let seal = Seal {
        sha256: packed.sha256,
        bytes: packed.bytes,
        made_from,
        contents: packed.contents,
        boot: BootId::current(),
    };
    Ok((seal, packed.meta))
}

/// Gives a partial tarball its seal and its name. From then on it is on the disk, with its episode's names.
fn publish(root: &Root, id: &EpisodeId, file: &File, seal: &Seal, sync: Sync) -> io::Result<()> {
    let dir = root.episodes().join(id.as_str());
    durable::sync_file(&durable::open_regular(&dir.join(episode::META_NAME))?)?;
    durable::sync_dir(&dir)?;
    durable::sync_dir(&root.episodes())?;
    match durable::set_attribute(file, SEAL_XATTR, seal.to_string().as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
        _ => {}
    }
    match sync {
        Sync::Watched => {
            service::long_step(slowest_sync(seal.bytes), || durable::sync_file(file))?;
        }
        Sync::Unwatched => durable::sync_file(file)?,
    }
    durable::rename(&partial(root, id), &tarball(root, id))?;
    durable::sync_dir(&root.outbox())
}

fn partial(root: &Root, id: &EpisodeId) -> PathBuf {
    root.outbox().join(format!("{id}{}", queue::PARTIAL))
}

/// How long the sync of so many bytes may take.
pub(super) fn slowest_sync(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SYNC_BYTES_PER_SECOND_MIN)
}

/// The seal of a tarball that an earlier shipper left; `None` if it has none, or is not of this
/// very episode.
pub(super) fn read_seal(
    root: &Root,
    id: &EpisodeId,
    made_from: Identity,
) -> io::Result<Option<Seal>> {
    let file = durable::open_regular(&tarball(root, id))?;
    let bytes = file.metadata()?.len();
    let text = sys::get_xattr(&file, SEAL_XATTR)?.and_then(|value| String::from_utf8(value).ok());
    let seal = text.as_deref().and_then(Seal::parse);
    Ok(seal.filter(|seal| seal.bytes == bytes && seal.made_from == made_from))
}

/// Whether the episode in `dir` still is what the tarball was made from, as far as the names, sizes and
/// times of its files tell.
///
/// A power cut may have taken what the recorder had not synced, and then the tarball has what the
/// directory has no more. So of one that was made in an earlier boot it is asked only whether the
/// directory has anything more than it had. Within one boot nothing is lost but by somebody's doing, and
/// any difference counts, as it does where the boot is not known: to pack again is harmless. So a disk
/// that was pulled and mounted again without a boot is packed as it came back.
pub(super) fn is_current(dir: &Path, seal: &Seal) -> io::Result<bool> {
    match episode::contents(dir) {
        Ok(now) if now == seal.contents => Ok(true),
        Ok(now) => Ok(is_of_earlier_boot(seal) && !now.has_more_than(&seal.contents)),
        Err(Unfit::Io { error, .. }) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // Something in it has become what cannot be packed, or was just taken away.
        Err(_) => Ok(false),
    }
}

fn is_of_earlier_boot(seal: &Seal) -> bool {
    match (seal.boot, BootId::current()) {
        (Some(then), Some(now)) => then != now,
        _ => false,
    }
}

/// Whether the tarball still has its digest. Reads all of it.
pub(super) fn is_whole(root: &Root, id: &EpisodeId, seal: &Seal) -> io::Result<bool> {
    let mut file = durable::open_regular(&tarball(root, id))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
        service::alive();
    }
    Ok(Sha256Digest::from_bytes(hasher.finalize().into()) == seal.sha256)
}

pub(super) fn tarball(root: &Root, id: &EpisodeId) -> PathBuf {
    root.outbox().join(format!("{id}{}", queue::TARBALL))
}

/// The bytes of the tarball; `None` if there is none.
pub(super) fn tarball_bytes(root: &Root, id: &EpisodeId) -> Option<u64> {
    let found = tarball(root, id).symlink_metadata().ok()?;
    found.is_file().then_some(found.len())
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity {
            inode,
            modified_ns,
            bytes,
        } = self.made_from;
        write!(
            f,
            "2 {} {} {inode} {modified_ns} {bytes}",
            self.sha256, self.bytes
        )?;
        let Contents {
            digest,
            entries,
            bytes,
            newest_ns,
        } = self.contents;
        write!(f, " {digest} {entries} {bytes} {newest_ns}")?;
        match self.boot {
            Some(boot) => write!(f, " {boot}"),
            None => f.write_str(" -"),
        }
    }
}

impl Seal {
    fn parse(text: &str) -> Option<Seal> {
        let mut words = text.split(' ');
        // The version of this format; what has another is packed again.
        if words.next()? != "2" {
            return None;
        }
        let seal = Seal {
            sha256: Sha256Digest::parse(words.next()?).ok()?,
            bytes: words.next()?.parse().ok()?,
            made_from: Identity {
                inode: words.next()?.parse().ok()?,
                modified_ns: words.next()?.parse().ok()?,
                bytes: words.next()?.parse().ok()?,
            },
            contents: Contents {
                digest: Sha256Digest::parse(words.next()?).ok()?,
                entries: words.next()?.parse().ok()?,
                bytes: words.next()?.parse().ok()?,
                newest_ns: words.next()?.parse().ok()?,
            },
            boot: match words.next()? {
                "-" => None,
                boot => Some(BootId::parse(boot)?),
            },
        };
        words.next().is_none().then_some(seal)
    }
}

impl From<io::Error> for PackFault {
    fn from(error: io::Error) -> PackFault {
        if durable::is_full(&error) {
            return PackFault::DiskFull(error);
        }
        PackFault::Passing(format!("cannot pack: {error}"))
    }
}

impl From<PackError> for PackFault {
    fn from(error: PackError) -> PackFault {
        match error {
            PackError::Io(error) => error.into(),
            PackError::Stopped => PackFault::Stopped,
            PackError::Unfit(unfit) => match unfit.reason() {
                Some(reason) => PackFault::Unfit {
                    why: unfit.to_string(),
                    reason,
                },
                None => PackFault::Passing(unfit.to_string()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes};
    use std::time::SystemTime;

    use super::*;

    const BOOT: &str = "0af13085-bf10-4d18-bbef-8422a5d4ecab";

    fn seal_with(contents: Contents, boot: Option<BootId>) -> Seal {
        Seal {
            sha256: Sha256Digest::from_bytes([0xab; 32]),
            bytes: 1 << 40,
            made_from: Identity {
                inode: 7,
                modified_ns: -1_700_000_000_123_456_789,
                bytes: 99,
            },
            contents,
            boot,
        }
    }

    #[test]
    fn a_seal_is_read_as_it_was_written_or_not_at_all() {
        let contents = Contents {
            digest: Sha256Digest::from_bytes([0xcd; 32]),
            entries: 3,
            bytes: 100,
            newest_ns: -5,
        };
        for boot in [None, BootId::parse(BOOT)] {
            let seal = seal_with(contents, boot);
            let text = seal.to_string();
            assert_eq!(Seal::parse(&text), Some(seal));
            let (without_boot, _) = text.rsplit_once(' ').unwrap();
            for bad in [
                without_boot,
                &format!("{without_boot} 0af13085"),
                &format!("{text} 1"),
                &text.replacen('2', "1", 1),
                "",
            ] {
                assert_eq!(Seal::parse(bad), None, "{bad:?}");
            }
        }
    }

    /// A power cut takes away and makes nothing newer, and there is none without a boot.
    #[test]
    fn only_over_a_boot_may_an_episode_have_less_than_its_tarball() {
        type Change = fn(&Path);
        let changes: [(&str, Change, bool); 4] = [
            ("nothing", |_| (), true),
            (
                "less",
                |dir| fs::remove_file(dir.join("data.bin")).unwrap(),
                true,
            ),
            (
                "an older file in its place",
                |dir| {
                    fs::rename(dir.join("data.bin"), dir.join("other.bin")).unwrap();
                    let other = File::options().write(true).open(dir.join("other.bin"));
                    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
                    other.unwrap().set_times(times).unwrap();
                },
                true,
            ),
            (
                "more",
                |dir| fs::write(dir.join("late.bin"), "late").unwrap(),
                false,
            ),
        ];
        for (what, change, over_a_boot) in changes {
            let unique = format!("cis490-boots-{}", std::process::id());
            let dir = std::env::temp_dir().join(unique);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("data.bin"), "data").unwrap();
            fs::write(dir.join(episode::META_NAME), "{}").unwrap();
            let contents = episode::contents(&dir).unwrap();
            change(&dir);
            let within = what == "nothing";
            for (boot, wanted) in [
                (BootId::current(), within),
                (None, within),
                (BootId::parse(BOOT), over_a_boot),
            ] {
                let found = is_current(&dir, &seal_with(contents, boot)).unwrap();
                assert_eq!(found, wanted, "{what} {boot:?}");
            }
            fs::remove_dir_all(&dir).unwrap();
        }
    }
}
