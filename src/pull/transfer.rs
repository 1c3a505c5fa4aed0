//! One tarball from the receiver to its name in the folder.
//!
//! 1. The bytes gather in `.partial`, and their name is made once length and SHA-256 are those of the
//!    row and the file is on the disk: `fsync`, then a rename that replaces nothing. For a small file
//!    `batch` does both, since it has more of them to sync.
//! 2. A connection that breaks costs only what did not arrive: the next try asks for the rest.
//! 3. No more than the row's length is written, whatever the peer sends.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::end::End;
use super::folder::{Folder, digest_of, read_into};
use super::list::retry_after;
use super::patience::Patience;
use super::row::Row;
use crate::backoff::Backoff;
use crate::durable;
use crate::names::Sha256Digest;
use crate::reader_client::{self, Answer, ReaderClient, header, read_body};

/// How often a tarball may be wrong, or not be had, before it counts as missing.
const WRONG_MAX: u32 = 2;
/// How often in a row an answer may break off without a new byte before it counts as wrong.
const BREAKS_MAX: u32 = 8;
pub(super) const CHUNK_BYTES: usize = 128 << 10;
/// Of the body of an answer that says no.
const PROBLEM_BYTES_MAX: u64 = 64 << 10;
/// The longest body without a length that is accepted for a row without one: none is without end.
const UNKNOWN_BYTES_MAX: u64 = 1 << 40;

/// A file of at most so many bytes is synced together with others.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// What a transfer came to.
pub(super) enum Fetched {
    /// The file has its name; the folder is not synced.
    Here,
    /// The partial file is whole, and neither synced nor named.
    Whole(File),
    /// The receiver does not give it, for this reason.
    Missing(String),
    /// Something else stands under its name, and stays.
    InTheWay(String),
}

/// What fetching needs besides the row.
pub(super) struct Line<'a> {
    pub folder: &'a Folder,
    pub client: &'a ReaderClient,
    pub patience: &'a Patience,
}

/// What one try came to.
enum Tried {
    Whole,
    /// The peer answered, and not with the right bytes.
    Wrong(String),
    /// No answer, or one that broke off.
    Away(Option<Duration>, String),
    /// An answer broke off without a byte that was not here.
    BrokeOff(String),
}

/// The partial file, and what is in it.
pub(super) struct Partial {
    path: PathBuf,
    pub file: File,
    pub bytes: u64,
    hasher: Sha256,
}

impl Line<'_> {
    /// Fetches the tarball of a row through `buffer`, which may have any length. `tell` hears how many bytes
    /// have come to the disk.
    ///
    /// Errors: the receiver says no or is away for too long, or this disk fails.
    pub(super) fn fetch(
        &self,
        row: &Row,
        buffer: &mut Vec<u8>,
        tell: &mut dyn FnMut(u64),
    ) -> Result<Fetched, End> {
        let mut partial = Partial::open(self.folder.partial(&row.slot))?;
        if let Some(bytes) = row.bytes.filter(|bytes| *bytes < partial.bytes) {
            partial.restart(&format!("more than its {bytes} bytes"))?;
        }
        tell(partial.bytes);
        let mut most_bytes = partial.bytes;
        let mut backoff = Backoff::default();
        let (mut wrong, mut breaks) = (0, 0);
        loop {
            if self.patience.is_over() {
                return Err(End::Waits(self.client.unreachable("the pull ends")));
            }
            let is_whole = row.bytes == Some(partial.bytes) && partial.bytes > 0;
            let tried = if is_whole && partial.digest() == row.sha256 {
                Tried::Whole
            } else {
                if is_whole {
                    partial.restart("its bytes are other ones")?;
                }
                self.try_once(row, &mut partial, &mut most_bytes, buffer, tell)?
            };
            match tried {
                Tried::Whole if partial.bytes <= SMALL_BYTES_MAX => {
                    return Ok(Fetched::Whole(partial.file));
                }
                Tried::Whole => return self.sync_and_name(row, &partial),
                Tried::Wrong(why) => {
                    wrong += 1;
                    if wrong >= WRONG_MAX {
                        partial.remove()?;
                        return Ok(Fetched::Missing(why));
                    }
                }
                Tried::BrokeOff(why) if breaks + 1 >= BREAKS_MAX => {
                    partial.remove()?;
                    return Ok(Fetched::Missing(why));
                }
                Tried::BrokeOff(why) => {
                    breaks += 1;
                    let why = self.client.unreachable(&why);
                    self.patience.wait(&mut backoff, None, why)?;
                }
                Tried::Away(asked, why) => {
                    breaks = 0;
                    let why = self.client.unreachable(&why);
                    self.patience.wait(&mut backoff, asked, why)?;
                }
            }
        }
    }

    /// Asks once for what the partial file lacks.
    fn try_once(
        &self,
        row: &Row,
        partial: &mut Partial,
        most_bytes: &mut u64,
        buffer: &mut Vec<u8>,
        tell: &mut dyn FnMut(u64),
    ) -> Result<Tried, End> {
        let response = match self.ask(row, partial.bytes) {
            Ok(response) => response,
            Err(tried) => return Ok(tried),
        };
        let status = response.status().as_u16();
        let begins_at = match status {
            200 => 0,
            206 if is_rest(&response, partial.bytes, row.bytes) => partial.bytes,
            206 => return Ok(Tried::Wrong("another part than the asked one came".into())),
            416 => {
                partial.restart("the receiver has no such part of it")?;
                return Ok(Tried::Wrong("it has no such part".into()));
            }
            401 | 403 => {
                return Err(End::Waits(
                    self.client.refused(status, &problem_of(response)),
                ));
            }
            408 | 429 | 502..=504 => {
                let asked = retry_after(header(&response, "Retry-After"));
                let words = self.client.refused(status, &problem_of(response));
                return Ok(Tried::Away(asked, words.error().to_owned()));
            }
            _ => {
                let words = self.client.refused(status, &problem_of(response));
                return Ok(Tried::Wrong(words.error().to_owned()));
            }
        };
        if begins_at == 0 && partial.bytes > 0 {
            partial.restart("the whole comes again")?;
        }
        self.take(row, response, partial, most_bytes, buffer, tell)
    }

    /// Sends the question, and follows one 307 without our token.
    fn ask(&self, row: &Row, have: u64) -> Result<Answer, Tried> {
        let mut fields = Vec::new();
        if have > 0 {
            fields.push(("Range", format!("bytes={have}-")));
            fields.push(("If-Range", format!("\"{}\"", row.sha256)));
        }
        let asked = self.client.get(&row.slot.tarball_path(), &fields);
        let response = asked.map_err(|error| Tried::Away(None, reader_client::words(&error)))?;
        if response.status().as_u16() != 307 {
            return Ok(response);
        }
        let location = header(&response, "Location")
            .ok_or_else(|| Tried::Wrong("a redirect without an address".into()))?;
        // The other address has an ETag of its own; the digest proves the bytes all the same.
        fields.retain(|(name, _)| *name == "Range");
        let response = self
            .client
            .get_elsewhere(&location, &fields)
            .map_err(|why| Tried::Away(None, why))?;
        match response.status().as_u16() {
            200 | 206 | 416 | 429 | 502..=504 => Ok(response),
            status => Err(Tried::Wrong(format!(
                "the address that the receiver redirects to answered with status {status}"
            ))),
        }
    }

    /// Takes the body to the partial file.
    fn take(
        &self,
        row: &Row,
        response: Answer,
        partial: &mut Partial,
        most_bytes: &mut u64,
        buffer: &mut Vec<u8>,
        tell: &mut dyn FnMut(u64),
    ) -> Result<Tried, End> {
        let announced = response.body().content_length();
        let all = row.bytes.unwrap_or(UNKNOWN_BYTES_MAX);
        let left = all.saturating_sub(partial.bytes);
        if row.bytes.is_some()
            && let Some(announced) = announced.filter(|announced| *announced != left)
        {
            let why = format!("the receiver sends {announced} bytes in place of {left}");
            return Ok(Tried::Wrong(why));
        }
        let began_at = *most_bytes;
        // One byte more shows a body that is too long.
        let mut body = response.into_body().into_reader().take(left + 1);
        buffer.resize(CHUNK_BYTES, 0);
        let broke = loop {
            let count = match body.read(buffer) {
                Ok(0) => break None,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break Some(error),
            };
            if all < partial.bytes + count as u64 {
                partial.restart("more bytes came than its row says")?;
                return Ok(Tried::Wrong("more bytes came than its row says".into()));
            }
            partial.write(&buffer[..count])?;
            if *most_bytes < partial.bytes {
                tell(partial.bytes - *most_bytes);
                *most_bytes = partial.bytes;
                self.patience.heard();
            }
            if self.patience.is_over() {
                return Ok(Tried::Away(None, "the pull ends".into()));
            }
        };
        let is_short = row.bytes.is_some_and(|bytes| partial.bytes < bytes);
        if broke.is_some() || is_short {
            let why = match broke {
                Some(error) => format!("the answer broke off: {error}"),
                None => "the answer ended before its last byte".to_owned(),
            };
            return Ok(if began_at < *most_bytes {
                Tried::Away(None, why)
            } else {
                Tried::BrokeOff(why)
            });
        }
        if partial.digest() != row.sha256 {
            partial.restart("its bytes are other ones")?;
            let why = "the bytes that came have another SHA-256 than its row";
            return Ok(Tried::Wrong(why.into()));
        }
        Ok(Tried::Whole)
    }

    /// Makes the name of a whole large file, whose sync the others need not wait for.
    fn sync_and_name(&self, row: &Row, partial: &Partial) -> Result<Fetched, End> {
        let synced = durable::sync_file(&partial.file);
        self.name(row, synced)
    }

    /// Makes the name of a whole file whose sync had this result.
    ///
    /// Errors: the disk's. The partial file is removed if it was not synced.
    pub(super) fn name(&self, row: &Row, synced: io::Result<()>) -> Result<Fetched, End> {
        let partial = self.folder.partial(&row.slot);
        if let Err(error) = synced {
            // The kernel has dropped the pages that it could not write: nothing of the file is trusted.
            let _ = durable::unlink(&partial);
            return Err(End::disk("sync", &partial, &error));
        }
        let tarball = self.folder.tarball(&row.slot);
        match durable::rename_new(&partial, &tarball) {
            Ok(()) => Ok(Fetched::Here),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let why = "something stands under its name now, and was not there before";
                Ok(Fetched::InTheWay(why.to_owned()))
            }
            Err(error) => Err(End::disk("rename", &partial, &error)),
        }
    }

    /// Takes a file without a receipt for the row's, if it is: a pull that was killed has left it.
    pub(super) fn adopt(&self, row: &Row) -> Result<Fetched, End> {
        let tarball = self.folder.tarball(&row.slot);
        if digest_of(&tarball)? != row.sha256 {
            let why = "it has no receipt, and its bytes are not those of the receiver's row";
            return Ok(Fetched::InTheWay(why.to_owned()));
        }
        durable::open_regular(&tarball)
            .and_then(|file| durable::sync_file(&file))
            .map_err(|error| End::disk("sync", &tarball, &error))?;
        Ok(Fetched::Here)
    }
}

impl Partial {
    /// Opens the file, or makes it, and reads what an earlier pull has left in it.
    pub(super) fn open(path: PathBuf) -> Result<Partial, End> {
        let mut options = File::options();
        options.read(true).write(true).create(true);
        let mut hasher = Sha256::new();
        let opened = durable::open_regular_with(&path, &mut options);
        let read = opened.and_then(|file| Ok((read_into(&file, &mut hasher)?, file)));
        let (bytes, file) = read.map_err(|error| End::disk("open", &path, &error))?;
        Ok(Partial {
            path,
            file,
            bytes,
            hasher,
        })
    }

    pub(super) fn digest(&self) -> Sha256Digest {
        Sha256Digest::from_bytes(self.hasher.clone().finalize().into())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        durable::write_at(&self.file, bytes, self.bytes)
            .map_err(|error| End::disk("write", &self.path, &error))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Empties the file, since what is in it is not the row's.
    fn restart(&mut self, why: &str) -> Result<(), End> {
        let doing = format!("empty (since {why})");
        durable::truncate(&self.file, 0).map_err(|error| End::disk(&doing, &self.path, &error))?;
        self.bytes = 0;
        self.hasher = Sha256::new();
        Ok(())
    }

    fn remove(&self) -> Result<(), End> {
        durable::unlink(&self.path).map_err(|error| End::disk("remove", &self.path, &error))
    }
}

/// Whether a 206 has the part from `begins_at` to the end, of a whole of `all` bytes.
fn is_rest(response: &Answer, begins_at: u64, all: Option<u64>) -> bool {
    let Some(range) = header(response, "Content-Range") else {
        return false;
    };
    let Some((part, total)) = range
        .strip_prefix("bytes ")
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let begins = part
        .split_once('-')
        .and_then(|(first, _)| first.parse().ok());
    let total: Option<u64> = total.parse().ok();
    begins == Some(begins_at) && (all.is_none() || all == total)
}

/// A body that says why; empty if it is too long for that.
fn problem_of(mut answer: Answer) -> Vec<u8> {
    read_body(&mut answer, PROBLEM_BYTES_MAX).unwrap_or_default()
}
