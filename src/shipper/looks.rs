//! Looking through the folders: each scan is folded into the backlog, and an episode that this process
//! has not seen is inspected. Between two scans shipped/ is tidied.

use std::io;
use std::time::{Duration, Instant};

use super::backlog::Backlog;
use super::config::Config;
use super::endings::Endings;
use super::entry::Entry;
use super::holds::Holds;
use super::notes::{Judge, Why};
use super::outbox::{self, Seal};
use super::queue::{self, Told};
use super::retention;
use crate::durable;
use crate::episode;
use crate::names::EpisodeId;
use crate::service;

/// Between two looks for episodes that have been in shipped/ long enough.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// What a look leaves for the next one.
pub(super) struct Looks {
    told: Told,
    next_expire: Instant,
}

impl Looks {
    pub(super) fn new() -> Looks {
        Looks {
            told: Told::default(),
            next_expire: Instant::now(),
        }
    }

    /// Scans the folders and folds the result into the backlog. The partial file of the episode
    /// `packing` is being written, and stays.
    pub(super) fn look(
        &mut self,
        packing: Option<&EpisodeId>,
        backlog: &mut Backlog,
        holds: &mut Holds,
        endings: &mut Endings,
    ) {
        if let Err(error) = self.scan(packing, backlog, holds, endings) {
            endings.report.set_failed();
            let dir = endings.root.dir().display();
            let why = format!("cannot look through {dir}: {error}");
            endings.trouble(&why);
        }
    }

    fn scan(
        &mut self,
        packing: Option<&EpisodeId>,
        backlog: &mut Backlog,
        holds: &mut Holds,
        endings: &mut Endings,
    ) -> io::Result<()> {
        let scan = queue::sweep_and_scan(&endings.root, packing, &mut self.told)?;
        endings.report.overlooked(scan.overlooked);
        let known = backlog.len();
        let new = backlog.fold_in(scan.finished);
        if !new.is_empty() || backlog.len() != known {
            endings.report.live().folders_changed();
        }
        for (id, identity) in new {
            service::alive();
            let entry = Entry::new(id, identity, Instant::now());
            if let Some(entry) = endings.inspect(entry) {
                backlog.put(entry);
            }
        }
        // A hold is forgotten only when the commit of every waiting episode is known.
        let all_known = backlog.entries().all(|entry| entry.inspected().is_some());
        if all_known && scan.overlooked == 0 {
            holds.keep_only(&backlog.commits());
        }
        endings.report.keep_holds(holds);
        Ok(())
    }

    /// Removes the episodes from shipped/ that were there long enough, or whose room is needed.
    pub(super) fn tidy_shipped(&mut self, config: &Config, endings: &mut Endings) {
        if let Err(error) = self.try_to_tidy_shipped(config, endings) {
            endings.trouble(&format!("cannot tidy shipped/: {error}"));
        }
    }

    fn try_to_tidy_shipped(&mut self, config: &Config, endings: &Endings) -> io::Result<()> {
        if self.next_expire <= Instant::now() {
            self.next_expire = Instant::now() + EXPIRE_EVERY;
            retention::expire(&endings.root, config.keep_shipped_days)?;
        }
        retention::relieve(&endings.root, config)
    }
}

impl Endings {
    /// Reads the commit, the size and the tarball's seal of an episode that was found. One that can
    /// never be packed goes to refused/, and then this is `None`.
    pub(super) fn inspect(&mut self, mut entry: Entry) -> Option<Entry> {
        let adopted = self.adopt_tarball(&entry).unwrap_or_else(|error| {
            let why = format!("cannot look at its tarball: {error}");
            self.defer(&mut entry, None, &why);
            None
        });
        match episode::inspect(&self.root.episodes().join(entry.id.as_str())) {
            Ok(inspected) => entry.set_inspected(inspected, adopted),
            Err(unfit) => match unfit.reason() {
                Some(reason) => {
                    return self.refuse(entry, Why::new(Judge::Shipper, reason, unfit.to_string()));
                }
                None => self.defer(&mut entry, None, &unfit.to_string()),
            },
        }
        Some(entry)
    }

    /// A tarball of an earlier shipper is sent as it is if its seal names this very episode.
    fn adopt_tarball(&self, entry: &Entry) -> io::Result<Option<Seal>> {
        if outbox::tarball_bytes(&self.root, &entry.id).is_none() {
            return Ok(None);
        }
        let seal = outbox::read_seal(&self.root, &entry.id, entry.identity)?;
        if seal.is_none() {
            durable::unlink(&outbox::tarball(&self.root, &entry.id))?;
        }
        Ok(seal)
    }
}
