//! `cis490 pull`: what a receiver has stored, in a folder of this machine (design, section 11).
//!
//! 1. The order on the disk: a file's bytes, its name, the folder of the name, its receipt in
//!    `index.jsonl`, and after all rows of a page the cursor. Killed anywhere, the next pull goes on.
//! 2. Names and lengths of the receiver pass the grammar (`row`) before they touch the disk.
//! 3. A file that is not what its receipt says, or without one its row, is never overwritten.
//!
//! `pass` reads the list once, `judge` says what its rows need, `workers` has them fetched; `transfer` fetches one
//! tarball, `bundle` many small ones.

mod batch;
mod bundle;
mod cursor;
pub(crate) mod doctor;
pub(crate) mod end;
mod folder;
mod here;
mod inbox;
mod judge;
mod list;
mod missing;
mod pages;
mod pass;
mod patience;
mod receipts;
mod row;
mod transfer;
mod troubles;
mod workers;

use std::thread;
use std::time::Duration;

pub(crate) use self::end::End;
pub(crate) use self::folder::Folder;
use self::pass::Pass;
use self::patience::Patience;
use self::receipts::Receipts;
use self::troubles::Troubles;
use crate::names::HostId;
use crate::reader_client::{Limits, ReaderClient};
use crate::test_times::in_tests;

/// Between two looks of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(30);
/// How long a connection may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(300);
pub(crate) const JOBS_MAX: usize = 64;

/// What the person asked for.
pub(crate) struct Wish {
    /// Only this host's episodes.
    pub host: Option<HostId>,
    /// How many tarballs are fetched at once: 1 to [`JOBS_MAX`].
    pub jobs: usize,
    /// Goes on for ever.
    pub watch: bool,
    /// Reads the files that are here again.
    pub verify: bool,
}

/// What a pull reports while it runs.
pub(crate) enum Step {
    /// So many bytes more are to be fetched.
    More(u64),
    /// So many have come.
    Bytes(u64),
    /// Something that a person should know.
    Note(String),
    /// With `--watch`: what one look came to.
    Looked(Result<Outcome, End>),
}

/// What a pull, or one look of `--watch`, came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The episodes that came, and their bytes.
    pub episodes: u64,
    pub bytes: u64,
    /// The episodes that the receiver lists and does not give, with the reasons.
    pub missing: Troubles,
    /// What a person has to look at.
    pub wrong: Troubles,
}

/// The limits of a pull's requests.
pub(crate) fn limits(jobs: usize) -> Limits {
    Limits {
        whole: None,
        silence: SILENCE_MAX,
        kept_connections: jobs,
    }
}

/// Fetches what is not here. With `--watch` it returns only on an error that no wait changes.
///
/// Errors: something waits or is wrong; what is here stays.
pub(crate) fn run(
    folder: &Folder,
    client: &ReaderClient,
    wish: &Wish,
    tell: &mut dyn FnMut(Step),
) -> Result<Outcome, End> {
    let mut receipts = None;
    let mut verify = wish.verify;
    loop {
        let looked = look(folder, client, wish, verify, &mut receipts, tell);
        if !wish.watch {
            return looked;
        }
        if looked.is_err() {
            // The next look reads again what the failed one may have left half done.
            receipts = None;
        }
        verify = false;
        tell(Step::Looked(looked));
        thread::sleep(in_tests("CIS490_PULL_WATCH_MS", WATCH_EVERY));
    }
}

fn look(
    folder: &Folder,
    client: &ReaderClient,
    wish: &Wish,
    verify: bool,
    receipts: &mut Option<Receipts>,
    tell: &mut dyn FnMut(Step),
) -> Result<Outcome, End> {
    let patience = Patience::new(wish.watch);
    let pass = Pass::new(folder, client, wish, &patience, receipts)?;
    pass.run(verify, tell)
}
