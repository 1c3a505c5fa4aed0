//! `cis490 set-aside`: the episodes of a commit that never gets in again go to refused/.

use std::io;

use super::ending_batch::{Departure, Destination, carry_out_one};
use super::notes::{Judge, SET_ASIDE, Why};
use super::queue::{self, Root, Told};
use crate::episode;
use crate::names::{CommitHash, EpisodeId};

/// Moves every waiting episode of a commit to refused/, by a person's word; a shipper may run.
/// Returns their ids in order. Those whose commit cannot be read now are left.
pub(crate) fn set_aside(root: &Root, commit: CommitHash) -> io::Result<Vec<EpisodeId>> {
    let mut moved = Vec::new();
    for (id, identity) in queue::scan(root, &mut Told::silent())?.finished {
        let found = episode::inspect(&root.episodes().join(id.as_str()));
        if !found.is_ok_and(|found| found.meta.commit == commit) {
            continue;
        }
        let why = "set aside by hand: the receiver does not accept this commit";
        let why = Why {
            commit: Some(commit),
            ..Why::new(Judge::Operator, SET_ASIDE, why)
        };
        let departure = Departure {
            to: Destination::Refused {
                judged: identity,
                why,
            },
            id,
        };
        match carry_out_one(root, &departure) {
            Ok(_) => moved.push(departure.id),
            // The shipper was quicker: the receiver took it after all.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    moved.sort();
    Ok(moved)
}
