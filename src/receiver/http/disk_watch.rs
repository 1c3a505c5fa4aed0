//! The thread that looks at the store's disk once a second, so that no request has to: how much is
//! free, whether it can be written, and whether the index is still ours.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Shared;
use crate::failure::Failure;
use crate::receiver::critical_thread::{self, ShutdownHandle};
use crate::receiver::refusal::Refusal;
use crate::receiver::store::Space;
use crate::receiver::store::condition::Unwritable;
use crate::service;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps `Shared::space` and what the store knows of its disk up to date. A thread of its own, since
/// each of these looks may hang with the disk.
///
/// Errors: the system gave no thread.
pub(super) fn start(shared: &Arc<Shared>, shutdown: &ShutdownHandle) -> Result<(), Failure> {
    look(shared);
    let shared = Arc::clone(shared);
    critical_thread::spawn_critical("disk-look", shutdown, move || {
        let mut reported = shared.store.unwell();
        loop {
            thread::sleep(LOOK_EVERY);
            look(&shared);
            shared.observed.look_at_the_clock();
            let unwell = shared.store.unwell();
            if unwell != reported {
                service::status(&shared.status_line());
                reported = unwell;
            }
        }
    })
}

fn look(shared: &Shared) {
    shared.store.look();
    // The disk that is there instead is not the store's: its figures mean nothing here.
    let is_away = shared
        .store
        .unwritable()
        .is_some_and(|unwritable| matches!(*unwritable, Unwritable::Gone | Unwritable::Another));
    let space = if is_away { None } else { space(shared) };
    shared.space.store(space.map(Arc::new));
}

/// The disk, once the broken uploads are given up that are kept for too long or that lie below the floor.
fn space(shared: &Shared) -> Option<Space> {
    let kept = &shared.uploads.kept;
    kept.give_up_old();
    loop {
        let space = shared.store.space().ok()?;
        if space.holds(0) || !kept.make_room() {
            return Some(space);
        }
    }
}

impl From<&Unwritable> for Refusal {
    fn from(unwritable: &Unwritable) -> Refusal {
        Refusal::StoreUnwritable {
            why: unwritable.to_string(),
            remedy: unwritable.remedy(),
        }
    }
}
