//! The newest report of each lab host on its own queue (design, section 14), in memory alone: after a restart
//! of the receiver each lab host sends another within a minute.
//!
//! 1. Memory is bounded: with `[[host]]` tables by those, else by [`OPEN_MAX`] names. Room is made by the one
//!    that was not heard of for the longest time, first among those that have stored nothing: anybody may invent
//!    names. Each report is cut as it is read.
//! 2. Plain threads read and write under a lock, for microseconds; coroutines never do.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::names::HostId;
use crate::sync::lock;
use crate::wire::{LAB_STATE_OLD_S, LabState};

/// The most names whose reports are kept where anyone may upload under any name.
const OPEN_MAX: usize = 256;

/// A report, and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Reported {
    pub state: Arc<LabState>,
    at: Instant,
}

impl Reported {
    pub(crate) fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// Whether the lab host has sent none for so long that this one may be true no more.
    pub(crate) fn is_old(&self) -> bool {
        self.age() >= Duration::from_secs(LAB_STATE_OLD_S)
    }
}

/// The reports at one moment, by host.
pub(crate) type Reports = BTreeMap<HostId, Reported>;

/// The newest reports, shared by the threads that receive and those that show them.
pub(crate) struct LabStates(Mutex<Kept>);

struct Kept {
    /// Empty where any name may upload.
    configured: HashSet<HostId>,
    reports: Reports,
}

impl LabStates {
    pub(crate) fn new(configured: impl Iterator<Item = HostId>) -> LabStates {
        LabStates(Mutex::new(Kept {
            configured: configured.collect(),
            reports: Reports::new(),
        }))
    }

    /// From here on these are the hosts that may report: the reports of others are forgotten. `has_uploads` says
    /// which hosts have stored something.
    pub(crate) fn configure(
        &self,
        configured: impl Iterator<Item = HostId>,
        has_uploads: impl Fn(&HostId) -> bool,
    ) {
        let mut kept = lock(&self.0);
        let Kept {
            configured: hosts,
            reports,
        } = &mut *kept;
        *hosts = configured.collect();
        if !hosts.is_empty() {
            reports.retain(|host, _| hosts.contains(host));
        }
        while hosts.is_empty() && reports.len() > OPEN_MAX {
            make_room(reports, &has_uploads);
        }
    }

    /// Keeps a report in the place of the one before. Where there is no room for one more name, a host that has
    /// stored something keeps its report, and one that has not gives its own up.
    pub(crate) fn keep(
        &self,
        host: HostId,
        state: LabState,
        has_uploads: impl Fn(&HostId) -> bool,
    ) {
        let mut kept = lock(&self.0);
        let Kept {
            configured,
            reports,
        } = &mut *kept;
        // It was admitted before its host lost its table.
        if !configured.is_empty() && !configured.contains(&host) {
            return;
        }
        let has_place = !configured.is_empty() || reports.contains_key(&host);
        let reported = Reported {
            state: Arc::new(state),
            at: Instant::now(),
        };
        reports.insert(host, reported);
        if !has_place && reports.len() > OPEN_MAX {
            make_room(reports, &has_uploads);
        }
    }

    pub(crate) fn knows(&self, host: &HostId) -> bool {
        lock(&self.0).reports.contains_key(host)
    }

    pub(crate) fn look(&self) -> Reports {
        lock(&self.0).reports.clone()
    }
}

/// Forgets the report that is missed least.
fn make_room(reports: &mut Reports, has_uploads: &impl Fn(&HostId) -> bool) {
    let oldest = reports
        .iter()
        .min_by_key(|(host, reported)| (has_uploads(host), reported.at));
    if let Some(host) = oldest.map(|(host, _)| host.clone()) {
        reports.remove(&host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: usize) -> HostId {
        HostId::parse(&format!("lab-{n}")).unwrap()
    }

    fn no_uploads(_: &HostId) -> bool {
        false
    }

    fn names(states: &LabStates) -> Vec<String> {
        states.look().keys().map(HostId::to_string).collect()
    }

    #[test]
    fn an_open_receiver_keeps_so_many_and_forgets_the_one_that_was_silent_longest() {
        let states = LabStates::new(std::iter::empty());
        for n in 0..OPEN_MAX {
            states.keep(host(n), LabState::default(), no_uploads);
        }
        states.keep(host(0), LabState::default(), no_uploads);
        states.keep(host(OPEN_MAX), LabState::default(), no_uploads);
        let kept = states.look();
        assert_eq!(kept.len(), OPEN_MAX);
        assert!(kept.contains_key(&host(0)) && !kept.contains_key(&host(1)));
        let newest = &kept[&host(OPEN_MAX)];
        assert!(!newest.is_old() && newest.age() < Duration::from_secs(60));
        let earlier = |seconds| Reported {
            at: newest.at.checked_sub(Duration::from_secs(seconds)).unwrap(),
            ..newest.clone()
        };
        assert!(!earlier(240).is_old() && earlier(300).is_old());
    }

    #[test]
    fn invented_names_push_out_no_host_that_has_stored_something() {
        let states = LabStates::new(std::iter::empty());
        let known: HashSet<HostId> = (0..3).map(host).collect();
        let has_uploads = |host: &HostId| known.contains(host);
        for n in 0..3 * OPEN_MAX {
            states.keep(host(n), LabState::default(), has_uploads);
        }
        let kept = states.look();
        assert_eq!(kept.len(), OPEN_MAX);
        assert!(known.iter().all(|host| kept.contains_key(host)));
        // The newest of the invented names are there, and one that stores something is.
        assert!(kept.contains_key(&host(3 * OPEN_MAX - 1)));
        // If all have stored something, a name that has not finds no room, and a known one does.
        let is_old = |other: &HostId| *other != host(OPEN_MAX);
        let full = LabStates::new(std::iter::empty());
        for n in 0..=OPEN_MAX {
            full.keep(host(n), LabState::default(), is_old);
        }
        assert!(!full.look().contains_key(&host(OPEN_MAX)));
        full.keep(host(OPEN_MAX + 1), LabState::default(), is_old);
        let kept = full.look();
        assert!(kept.contains_key(&host(OPEN_MAX + 1)) && !kept.contains_key(&host(0)));
    }

    #[test]
    fn with_tables_only_their_hosts_have_reports() {
        let states = LabStates::new([host(1), host(2)].into_iter());
        for n in 1..4 {
            states.keep(host(n), LabState::default(), no_uploads);
        }
        assert_eq!(names(&states), ["lab-1", "lab-2"]);
        states.configure([host(2), host(3)].into_iter(), no_uploads);
        assert_eq!(names(&states), ["lab-2"]);
        states.configure(std::iter::empty(), no_uploads);
        states.keep(host(9), LabState::default(), no_uploads);
        assert_eq!(names(&states), ["lab-2", "lab-9"]);
    }
}
