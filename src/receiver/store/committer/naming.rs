//! How a file gets its name: by a link, by being the file that has it already, or in place of a damaged one.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::end::NotPlaced;
use super::{Committer, Fatal};
use crate::durable;
use crate::events;
use crate::file_identity::{FileIdentity, is_absent};
use crate::receiver::store::StoreError;
use crate::receiver::store::commit_request::{CommitRequest, Placement, SameName};
use crate::wire::{Receipt, Slot};

/// A file that has its name, in a batch whose rows are not appended yet.
pub(super) struct Named {
    pub group: SameName,
    pub kept_row: Option<Box<Receipt>>,
    pub is_linked: bool,
    pub dirs: BTreeSet<PathBuf>,
}

impl Committer {
    /// Gives the first file of the group its name; `None` if the group was answered that it cannot.
    pub(super) fn name(&mut self, group: SameName) -> Result<Option<Named>, Fatal> {
        let mut dirs = BTreeSet::new();
        match self.place(group.request(), &mut dirs) {
            Ok(Some((kept_row, is_linked))) => {
                return Ok(Some(Named {
                    group,
                    kept_row: kept_row.map(Box::new),
                    is_linked,
                    dirs,
                }));
            }
            Ok(None) => group.look_again(),
            Err(NotPlaced::Refused(why)) => group.refuse(why),
            Err(NotPlaced::Fatal(fatal)) => return Err(fatal),
        }
        Ok(None)
    }

    /// Gives the file its name. Returns the row that it has already, and whether the name is new;
    /// `None` if another file than the request says has the name. `dirs` gathers the directories whose
    /// names have changed.
    fn place(
        &mut self,
        request: &CommitRequest,
        dirs: &mut BTreeSet<PathBuf>,
    ) -> Result<Option<(Option<Receipt>, bool)>, NotPlaced> {
        let slot = request.receipt.slot();
        let rows = self.index.rows_of(&slot).map_err(|error| {
            self.condition.failed("read the index", &error);
            StoreError::Io(error)
        })?;
        let has_rows = !rows.is_empty();
        let row = rows
            .into_iter()
            .rfind(|row| row.sha256 == request.receipt.sha256);
        if has_rows && row.is_none() {
            return Err(StoreError::Taken.into());
        }
        if let Placement::Keep(identity) | Placement::Replace(identity) = request.placement
            && !self.has_identity(&slot, identity)?
        {
            return Ok(None);
        }
        if let Placement::Replace(_) = request.placement {
            self.set_aside(&slot)?;
        }
        let is_linked = !matches!(request.placement, Placement::Keep(_));
        if is_linked && !self.link(request, &slot, dirs)? {
            return Ok(None);
        }
        dirs.insert(self.layout.host_dir(&slot.host));
        if !self.known_hosts.contains(&slot.host) {
            dirs.insert(self.layout.episodes());
        }
        Ok(Some((row, is_linked)))
    }

    fn has_identity(&self, slot: &Slot, identity: FileIdentity) -> Result<bool, StoreError> {
        let found = FileIdentity::at(&self.layout.tarball(slot)).map_err(StoreError::Io)?;
        Ok(found == Some(identity))
    }

    /// False if the name is taken.
    fn link(
        &mut self,
        request: &CommitRequest,
        slot: &Slot,
        dirs: &mut BTreeSet<PathBuf>,
    ) -> Result<bool, StoreError> {
        let Some(incoming) = &request.incoming else {
            return Err(StoreError::Io(io::Error::other("there is nothing to link")));
        };
        let tarball = self.layout.tarball(slot);
        let mut linked = if self.known_hosts.contains(&slot.host) {
            durable::link_new(incoming, &tarball)
        } else {
            Err(io::ErrorKind::NotFound.into())
        };
        // A host whose directory was moved away by hand gets a new one, known or not.
        if linked.as_ref().is_err_and(is_absent) {
            // Also if the link fails: the name of the new directory is not known to be on the disk.
            self.known_hosts.remove(&slot.host);
            if durable::mkdir(&self.layout.host_dir(&slot.host)).map_err(StoreError::of)? {
                dirs.insert(self.layout.episodes());
            }
            linked = durable::link_new(incoming, &tarball);
        }
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(StoreError::of(error)),
        }
    }

    fn set_aside(&self, slot: &Slot) -> Result<(), NotPlaced> {
        let tarball = self.layout.tarball(slot);
        let kept_as = self.layout.move_aside(&tarball).map_err(StoreError::of)?;
        events::damaged_file_replaced(slot, &kept_as);
        self.layout
            .sync_moved_aside(&tarball)
            .map_err(|error| Fatal::failed_sync("sync what was set aside", &error))?;
        Ok(())
    }
}
