//! The small tarballs of a page of the list, which come in one answer: an answer to each costs more than its
//! bytes do, on a fast line in work and on a slow one in waiting.
//!
//! A bundle decides nothing. What has come of it has the length and the digest of its row. Whatever has not,
//! for whatever reason, is asked for by its own path afterwards, and judged there: from its beginning, or the
//! rest of the one in whose middle the answer broke off.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};

use super::end::End;
use super::pages::Task;
use super::patience::Patience;
use super::row::Row;
use super::transfer::{CHUNK_BYTES, Fetched, Line, Partial};
use crate::wire::{BUNDLED_BYTES_MAX, Slot, TARBALL_ENDING};

/// Where fewer than so many are wanted, each is asked for by its own path.
const EPISODES_MIN: usize = 16;
/// A longer name does not fit a header, and comes in a form that is not read here.
const NAME_BYTES_MAX: usize = 100;
/// What an entry of a tar has at most besides the bytes of its file: headers, a long name, the rest of a block.
const ENTRY_BYTES: u64 = 4 << 10;

/// What an answer would have.
pub(super) struct Offer {
    path: String,
    episodes: usize,
    /// Of the tar at most.
    bytes: u64,
}

impl Offer {
    /// The small episodes of a page come together at this path.
    pub(super) fn of(path: String, page: &[Row]) -> Offer {
        let small = page.iter().filter_map(small_bytes);
        let bytes: u64 = small.clone().map(|bytes| bytes + ENTRY_BYTES).sum();
        Offer {
            path,
            episodes: small.count(),
            // The row that the last pull has seen is not among these, and in the tar.
            bytes: bytes + BUNDLED_BYTES_MAX + ENTRY_BYTES,
        }
    }
}

/// Tarballs that are to come in one answer.
pub(super) struct Bundle {
    offer: Offer,
    /// Those that have not come yet, by their names in the tar.
    tasks: HashMap<Vec<u8>, Task>,
}

impl Bundle {
    /// Takes the small ones of a page's tasks, if most of what is offered is wanted; gives back the others.
    pub(super) fn of(offer: Offer, tasks: Vec<Task>) -> (Option<Bundle>, Vec<Task>) {
        let has_name = |row: &Row| name_of(&row.slot).len() <= NAME_BYTES_MAX;
        let is_wanted =
            |task: &Task| !task.is_there && small_bytes(&task.row).is_some() && has_name(&task.row);
        let (wanted, mut others): (Vec<Task>, Vec<Task>) = tasks.into_iter().partition(is_wanted);
        if wanted.len() < EPISODES_MIN || wanted.len() < offer.episodes.div_ceil(2) {
            others.extend(wanted);
            return (None, others);
        }
        let tasks = wanted.into_iter();
        let tasks = tasks.map(|task| (name_of(&task.row.slot), task)).collect();
        (Some(Bundle { offer, tasks }), others)
    }

    /// Those that have not come.
    pub(super) fn into_left(self) -> impl Iterator<Item = Task> {
        self.tasks.into_values()
    }
}

impl Line<'_> {
    /// Asks for a bundle, and takes what comes of it through `buffer`, which may have any length. `put` is
    /// given what has come whole, and the task at which this disk failed. False if the receiver has no bundles.
    pub(super) fn fetch_bundle(
        &self,
        bundle: &mut Bundle,
        buffer: &mut Vec<u8>,
        put: &mut dyn FnMut(Task, Result<Fetched, End>),
    ) -> bool {
        let Ok(answer) = self.client.get(&bundle.offer.path, &[]) else {
            return true;
        };
        match answer.status().as_u16() {
            200 => {}
            404 | 405 => return false,
            _ => return true,
        }
        let tar = UntilOver {
            body: answer.into_body().into_reader().take(bundle.offer.bytes),
            patience: self.patience,
        };
        // An answer that breaks off leaves tasks behind, and needs no other mark.
        let _ = self.take_entries(bundle, tar, buffer, put);
        true
    }

    fn take_entries(
        &self,
        bundle: &mut Bundle,
        tar: impl Read,
        buffer: &mut Vec<u8>,
        put: &mut dyn FnMut(Task, Result<Fetched, End>),
    ) -> io::Result<()> {
        let mut tar = tar::Archive::new(tar);
        // Raw: a name that is too long for its header is not put together in memory, and matches none here.
        for entry in tar.entries()?.raw(true) {
            let mut entry = entry?;
            let name = entry.path_bytes().into_owned();
            let Some(task) = bundle.tasks.get(&name) else {
                continue;
            };
            let fetched = match self.take_entry(&task.row, &mut entry, buffer) {
                Ok(None) => continue,
                Ok(Some(file)) => Ok(Fetched::Whole(file)),
                Err(end) => Err(end),
            };
            let has_failed = fetched.is_err();
            if let Some(task) = bundle.tasks.remove(&name) {
                put(task, fetched);
            }
            if has_failed || bundle.tasks.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// The partial file of a row, if the entry has brought all of it. Whatever else it has brought is of use to
    /// the request for the rest.
    fn take_entry(
        &self,
        row: &Row,
        entry: &mut tar::Entry<impl Read>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<File>, End> {
        if row.bytes != Some(entry.size()) {
            return Ok(None);
        }
        let mut partial = Partial::open(self.folder.partial(&row.slot))?;
        if partial.bytes > 0 {
            return Ok(None);
        }
        buffer.resize(CHUNK_BYTES, 0);
        loop {
            let (count, broke) = read_full(entry, buffer);
            partial.write(&buffer[..count])?;
            if count > 0 {
                self.patience.heard();
            }
            if broke {
                return Ok(None);
            }
            if count < buffer.len() {
                break;
            }
        }
        if row.bytes != Some(partial.bytes) || partial.digest() != row.sha256 {
            return Ok(None);
        }
        Ok(Some(partial.file))
    }
}

/// The body of an answer, which breaks off when the pull ends, whatever of it is being read.
struct UntilOver<'a, R> {
    body: R,
    patience: &'a Patience,
}

impl<R: Read> Read for UntilOver<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.patience.is_over() {
            return Err(io::Error::other("the pull ends"));
        }
        self.body.read(buffer)
    }
}

/// Fills the buffer as far as there are bytes: how many those were, and whether an error ended them.
fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> (usize, bool) {
    let mut count = 0;
    while count < buffer.len() {
        match from.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return (count, true),
        }
    }
    (count, false)
}

/// The length of a tarball that is part of a bundle; `None` if it is not.
fn small_bytes(row: &Row) -> Option<u64> {
    row.bytes.filter(|bytes| *bytes <= BUNDLED_BYTES_MAX)
}

fn name_of(slot: &Slot) -> Vec<u8> {
    format!("{slot}{TARBALL_ENDING}").into_bytes()
}
