//! `cis490 receive`: the Pi's side. Opens the store, recovers it, serves, drains.
//!
//! Three rooms that see each other only through the types of this file: `http` (who asks and what
//! they are told), `version_gate` (which commits get in), `store` (what is on the disk).

pub mod config;
pub mod refusal;
pub mod store;
pub mod version_gate;
pub mod vital;

use crate::names::{CommitHash, Sha256Digest};
use crate::wire::Slot;

/// What the head of an upload states. Parsed, and not yet believed.
#[derive(Clone, Debug)]
pub struct Claim {
    pub slot: Slot,
    /// `None` only when the gate is disabled and the header missing or odd.
    pub commit: Option<CommitHash>,
    pub dirty: bool,
    pub sha256: Sha256Digest,
    /// The length of the body.
    pub bytes: u64,
}
