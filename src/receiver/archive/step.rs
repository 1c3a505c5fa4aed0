//! One episode's next step towards a proof. Nothing is remembered from step to step: HEAD says where the
//! episode is, after a crash as after a broken connection.
//!
//!     HEAD: nothing, or of another length          PUT; if an upload of its name is in flight, later
//!     HEAD: there, younger than the wait           later
//!     HEAD: there, old enough                      GET, hash; the receipt's digest: a proof; else PUT again

use std::fs::File;
use std::io;
use std::time::Duration;

use super::Archive;
use super::figures::Place;
use super::key;
use super::ledger::{Entry, State};
use super::s3::{Fault, FaultKind, Object, digest_of};
use super::shelf::Shelf;
use crate::events;
use crate::receiver::config::Verify;
use crate::receiver::local_file::LocalFile;
use crate::wire::Receipt;

/// Where an episode is after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Its object is proven.
    Proven,
    /// So many bytes were read back in this step and have the receipt's digest: its object is proven once
    /// the ledger says so.
    ReadBack(u64),
    /// It was copied in this step.
    Copied,
    /// Its object is there, and can be read back after this time.
    Young(Duration),
    /// An upload of its name is in flight: its file can be copied later.
    InFlight,
    /// There is neither a local file nor an object: nothing can be done.
    Gone,
}

/// Why a step could not be done.
pub(super) enum Trouble {
    /// The store's: everything waits.
    Store(Fault),
    /// The store's, which has failed to store an object: it may show those that it has.
    Put(Fault),
    /// The object cannot be read to its end, though HEAD has shown it just before: its bytes may be gone.
    Read(Fault),
    /// This episode's alone.
    Row(Fault),
    /// Our own disk's: index or ledger.
    Disk(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Disk(error)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Trouble {
        match fault.kind {
            FaultKind::OtherBytes
            | FaultKind::TooLarge
            | FaultKind::NoMultipart
            | FaultKind::Ended
            | FaultKind::OwnFile => Trouble::Row(fault),
            _ => Trouble::Store(fault),
        }
    }
}

/// One episode in one step.
pub(super) struct Step<'a> {
    pub archive: &'a Archive,
    pub shelf: &'a dyn Shelf,
    pub row: &'a Receipt,
    /// Its object is not to be believed: it is copied again without another look.
    pub copies_again: bool,
    pub verify: Verify,
}

impl Step<'_> {
    /// Takes the step.
    pub(super) fn take(&self) -> Result<Stand, Trouble> {
        let key = key::of(&self.row.slot(), &self.row.sha256);
        if self.copies_again {
            let words = "HEAD shows it, and it could not be read back several times";
            self.archive.figures.mismatch(self.row, words);
            events::archive_mismatch(&self.row.slot(), &key, words);
            return self.copy(&key);
        }
        let Some(object) = self.archive.bucket.head(&key)? else {
            return self.copy(&key);
        };
        let bytes = self.row.bytes.unwrap_or(object.bytes);
        if object.bytes != bytes {
            let words = format!("it has {} bytes, and {bytes} in its row", object.bytes);
            self.archive.figures.mismatch(self.row, &words);
            events::archive_mismatch(&self.row.slot(), &key, &words);
            return self.copy(&key);
        }
        let wait = self.archive.verify_after;
        match object.age {
            Some(age) if age >= wait => self.prove(&key, &object),
            Some(age) => Ok(Stand::Young(wait - age)),
            // A store without dates: the object may have been stored just now.
            None => Ok(Stand::Young(wait)),
        }
    }

    /// The object is there and old enough.
    fn prove(&self, key: &str, object: &Object) -> Result<Stand, Trouble> {
        let wanted = &self.row.sha256;
        if !self.believes(object)? {
            let read = self.archive.bucket.read_back(key, object.bytes);
            let found = read.map_err(|fault| match fault.kind {
                FaultKind::Away | FaultKind::Busy => Trouble::Read(fault),
                _ => Trouble::from(fault),
            })?;
            let why = match found {
                Some(found) if found.sha256 == *wanted => None,
                Some(found) => Some(format!(
                    "{} bytes were read back with the digest {}",
                    found.bytes, found.sha256
                )),
                None => Some("HEAD shows it, and GET does not find it".to_owned()),
            };
            if let Some(why) = why {
                self.archive.figures.mismatch(self.row, &why);
                events::archive_mismatch(&self.row.slot(), key, &why);
                return self.copy(key);
            }
        }
        Ok(Stand::ReadBack(object.bytes))
    }

    /// Whether HEAD alone is a proof. It shows the digest of what was sent: of an object that was found wrong
    /// it says nothing, nor of the one that took its place until that one was read.
    fn believes(&self, object: &Object) -> io::Result<bool> {
        let shows_digest = object.sha256 == Some(self.row.sha256);
        if self.verify != Verify::Head || !shows_digest {
            return Ok(false);
        }
        let slot = self.row.slot();
        let known = self.archive.ledger.state(&slot, &self.row.sha256)?;
        Ok(known != Some(State::Lost) && !self.archive.figures.mismatched.has(self.row))
    }

    fn copy(&self, key: &str) -> Result<Stand, Trouble> {
        let whole = self.shelf.whole_file(self.row);
        let whole = whole.map_err(|error| Trouble::Row(Fault::of_file(&error)))?;
        let (file, bytes) = match whole {
            LocalFile::Whole(whole) => whole,
            LocalFile::InFlight => return Ok(Stand::InFlight),
            LocalFile::Nothing => return self.give_up(key),
        };
        let fields = key::Fields::of(self.row, self.archive.id);
        let bucket = &self.archive.bucket;
        let put = bucket.put_file(key, &file, bytes, &self.row.sha256, &fields.as_pairs());
        match put {
            Ok(()) => Ok(Stand::Copied),
            Err(fault) if fault.kind == FaultKind::OtherBytes => {
                Err(Trouble::Row(self.own_bytes(&file, fault)))
            }
            Err(fault) => Err(match Trouble::from(fault) {
                Trouble::Store(fault) => Trouble::Put(fault),
                other => other,
            }),
        }
    }

    /// Neither here nor there.
    fn give_up(&self, key: &str) -> Result<Stand, Trouble> {
        let slot = self.row.slot();
        let known = self.archive.ledger.state(&slot, &self.row.sha256)?;
        if matches!(known, Some(State::Proven | State::Listed)) {
            self.archive.bucket.look()?;
            let lost = Entry::now(self.row, State::Lost);
            self.archive.ledger.append(&lost)?;
            events::archive_lost(&slot, key);
        }
        Ok(Stand::Gone)
    }

    /// The store says that the bytes have another digest: whether they have here too.
    fn own_bytes(&self, file: &File, fault: Fault) -> Fault {
        match digest_of(file) {
            Ok(found) if found == self.row.sha256 => fault,
            Ok(found) => Fault::of_rot(&found),
            Err(error) => Fault::of_file(&error),
        }
    }
}

/// Where an episode is counted after a step; `None` while it waits to be copied.
pub(super) fn place_of(stand: Stand, is_here: bool) -> Option<Place> {
    Some(match stand {
        Stand::Proven if is_here => Place::Archived,
        Stand::Proven => Place::Evicted,
        Stand::Copied | Stand::Young(_) | Stand::ReadBack(_) => Place::Copied,
        Stand::InFlight => return None,
        Stand::Gone => Place::Lost,
    })
}
