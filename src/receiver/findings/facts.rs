//! What is known of a receiver and its hosts at one moment, as far as a judgement needs it. All times are
//! seconds since 1970 by the receiver's clock.

use std::sync::Arc;

use crate::receiver::archive::Condition;
use crate::receiver::store::scrub;
use crate::receiver::store::sequence::IndexFinding;
use crate::wire::{Failing, LabState, Source};

/// The facts. The default is a receiver of which nothing is known, and that has no host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub now_s: u64,
    /// When this run began; `None` of a receiver that is stopped.
    pub started_at_s: Option<u64>,
    /// Whether it accepts uploads.
    pub accepts_uploads: bool,
    pub data_dir: String,
    /// `None` of a receiver that is stopped.
    pub gate: Option<GateFacts>,
    pub hosts: Vec<HostFacts>,
    /// A host that sends nothing for so long is silent.
    pub silent_after_s: u64,
    /// `None` if the disk cannot be asked.
    pub disk: Option<DiskFacts>,
    pub unwritable: Option<Trouble>,
    pub index: Option<IndexFinding>,
    pub episodes: u64,
    /// When the store was made, or got its id.
    pub store_made_at_s: Option<u64>,
    /// The newest scrub over the whole store that went to its end.
    pub scrubbed_at_s: Option<u64>,
    /// What the newest scrub found, up to its bound, and what readers found missing or changed.
    pub damage: Vec<scrub::Finding>,
    /// How many more of each kind the scrub has counted and does not name.
    pub more_damage: Vec<(scrub::Kind, u64)>,
    /// When the scrub that found it began, RFC 3339.
    pub damage_since: Option<String>,
    pub in_quarantine: u64,
    /// `None` without `[archive]`, and of a receiver that is stopped.
    pub archive: Option<Condition>,
    pub clock: ClockFacts,
    /// Starts that followed an end which was no clean stop.
    pub restarts_at_s: Vec<u64>,
    /// Keys of the configuration that were changed and need a restart.
    pub waiting_keys: Vec<String>,
}

/// Something that is wrong, and what to do about it, as the part that found it says it.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub words: String,
    pub remedy: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct GateFacts {
    pub enabled: bool,
    /// The configured number of commits.
    pub window: u32,
    /// Where the window is from; `None` while there is none.
    pub source: Option<Source>,
    /// For how long it has been from there.
    pub source_seconds: u64,
    /// Since a source last confirmed it.
    pub age_seconds: Option<u64>,
    /// Why the deciding source cannot be asked.
    pub failing: Option<Failing>,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskFacts {
    pub free: u64,
    /// What must stay free.
    pub floor: u64,
    /// What running uploads have reserved.
    pub reserved: u64,
    /// What was stored in the last day.
    pub stored_in_a_day: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ClockFacts {
    /// When it last jumped, and by how many seconds (back: negative).
    pub jump: Option<(u64, i64)>,
    /// The time of the newest row of the index.
    pub newest_row_at_s: Option<u64>,
}

/// Where a commit stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the window; 1 is the head.
    At(u32),
    Outside,
    /// The gate knows no commits yet, or no commit is named.
    #[default]
    Unknown,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct HostFacts {
    pub name: String,
    /// Whether a `[[host]]` names it.
    pub is_configured: bool,
    /// Whether it has a row in the index, and the time of the last one.
    pub has_stored: bool,
    pub stored_at_s: Option<u64>,
    /// Where the commit of its newest attempt stands, stored or refused.
    pub place: Place,
    /// Its newest upload, if that was refused and counts by now.
    pub refusal: Option<RefusalFacts>,
    /// Its own report on its queue.
    pub report: Option<ReportFacts>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct RefusalFacts {
    pub status: u16,
    /// By what is known now: a refusal for the commit may have another name by now.
    pub reason: String,
    pub at_s: Option<u64>,
    pub episode: Option<String>,
    /// How many times in a row this episode was refused or broken off, with nothing of its host stored since.
    pub tries: u32,
    pub first_try_at_s: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ReportFacts {
    /// The lab host has left out several since.
    pub is_old: bool,
    pub state: Arc<LabState>,
}
