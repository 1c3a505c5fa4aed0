//! The figures of one host.

use std::collections::VecDeque;
use std::sync::Arc;

use super::DAY_S;
use super::refusal_runs::{RUNS_OF_HOST_MAX, RefusalRuns};
use crate::clock;
use crate::names::{CommitHash, EpisodeId};
use crate::receiver::refused_upload::RefusedUpload;
use crate::refusal_table::passes_by_itself;
use crate::wire::{Receipt, RowBrief};

/// Episodes and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub episodes: u64,
    pub bytes: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.episodes += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl std::iter::Sum for Totals {
    fn sum<I: Iterator<Item = Totals>>(all: I) -> Totals {
        all.fold(Totals::default(), |sum, one| Totals {
            episodes: sum.episodes.saturating_add(one.episodes),
            bytes: sum.bytes.saturating_add(one.bytes),
        })
    }
}

/// The last upload of a host.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    pub seq: u64,
    /// Seconds since 1970, by the receiver's clock; `None` where the row has no time.
    pub at_s: Option<u64>,
    /// The time as the row has it.
    pub received_at: Option<String>,
    pub commit: Option<CommitHash>,
    /// `None` only between `StatsTables::enter_at` and `StatsTables::settle`.
    pub episode: Option<EpisodeId>,
}

/// How many times in a row one episode was refused or broken off. A refusal that passes by itself, such as
/// one of a receiver that stops, is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tries {
    pub count: u32,
    /// Seconds since 1970.
    pub first_at_s: Option<u64>,
}

impl Tries {
    /// The count with `refused`. `before` is the refusal before it, unless an upload was stored since.
    fn with(self, before: Option<&RefusedUpload>, refused: &RefusedUpload) -> Tries {
        if passes_by_itself(&refused.reason) {
            return self;
        }
        let is_again = refused.episode.is_some()
            && before.is_some_and(|before| before.episode == refused.episode);
        if is_again && self.count > 0 {
            return Tries {
                count: self.count.saturating_add(1),
                ..self
            };
        }
        Tries {
            count: 1,
            first_at_s: clock::parse_rfc3339(&refused.at),
        }
    }
}

/// A name that has no upload, and its last refusal.
#[derive(Clone, Debug)]
pub(crate) struct UnknownHost {
    pub refused: Arc<RefusedUpload>,
    pub tries: Tries,
    pub runs: RefusalRuns,
}

/// The figures of one host.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostStats {
    pub all: Totals,
    pub last: Option<Last>,
    /// The last refusal, of this run or an earlier one.
    pub refused: Option<Arc<RefusedUpload>>,
    /// How often its episode was refused in a row.
    pub tries: Tries,
    /// Its refusals of this run and earlier ones, by their reasons.
    pub runs: RefusalRuns,
    /// Its newest rows; the newest is last. None where the figures are read for a report alone.
    pub newest: VecDeque<Arc<Receipt>>,
    /// Since this process began.
    pub stored: Totals,
    pub stored_already: Totals,
    pub refused_uploads: Totals,
    days: Days,
    /// Where the last row lies, if it is not read whole yet.
    pub(super) last_offset: Option<u64>,
    /// Where its newest rows lie, if they are not read whole yet.
    pub(super) newest_offsets: VecDeque<u64>,
}

impl HostStats {
    /// The figures of a host that has stored nothing; with its refusal, if it was refused.
    pub(crate) fn of_unknown_host(unknown: Option<UnknownHost>) -> HostStats {
        let Some(unknown) = unknown else {
            return HostStats::default();
        };
        HostStats {
            refused: Some(unknown.refused),
            tries: unknown.tries,
            runs: unknown.runs,
            ..HostStats::default()
        }
    }

    pub(super) fn refuse(&mut self, refused: &Arc<RefusedUpload>, number: u64) {
        self.runs.add(refused, number, RUNS_OF_HOST_MAX);
        self.tries = self.tries.with(self.open_refusal(), refused);
        self.refused = Some(Arc::clone(refused));
    }

    /// What the host has stored in the UTC day of `now_s`, which is in seconds since 1970.
    pub(crate) fn today(&self, now_s: u64) -> Totals {
        self.days.of(now_s / DAY_S)
    }

    /// The last refusal, if no upload was stored after it.
    pub(crate) fn open_refusal(&self) -> Option<&RefusedUpload> {
        let last_seq = self.last.as_ref().map_or(0, |last| last.seq);
        let refused = self.refused.as_deref();
        refused.filter(|refused| last_seq <= refused.after_seq)
    }

    /// Counts a row. Whether it becomes the last one; then its `last` has only the members that the
    /// figures need.
    pub(super) fn count(&mut self, row: &RowBrief, at_s: Option<u64>, now_s: u64) -> bool {
        let bytes = row.bytes.unwrap_or(0);
        self.all.add(bytes);
        if let Some(at_s) = at_s {
            self.days.add(at_s / DAY_S, bytes);
        }
        let last = self.last.as_ref();
        let is_last = last.is_none_or(|last| becomes_last(row.seq, at_s, last, now_s));
        if is_last {
            self.last = Some(Last {
                seq: row.seq.unwrap_or(0),
                at_s,
                received_at: None,
                commit: None,
                episode: None,
            });
            self.last_offset = None;
        }
        is_last
    }

    /// The rest of the members of the last row.
    pub(super) fn complete_last(&mut self, row: &Receipt) {
        if let Some(last) = &mut self.last {
            last.received_at.clone_from(&row.received_at);
            last.commit = row.commit;
            last.episode = Some(row.episode.clone());
        }
    }
}

/// Whether a row becomes its host's last: see rule 3 of the module above. Uploads that finish together are
/// counted in any order.
fn becomes_last(seq: Option<u64>, at_s: Option<u64>, last: &Last, now_s: u64) -> bool {
    if at_s == last.at_s {
        return seq.is_none_or(|seq| last.seq <= seq);
    }
    at_s > last.at_s || last.at_s.is_some_and(|last_at_s| now_s < last_at_s)
}

/// The sums of the latest three days by number. More than one, since a clock may jump to and fro.
#[derive(Clone, Copy, Debug, Default)]
struct Days([(u64, Totals); 3]);

impl Days {
    fn add(&mut self, day: u64, bytes: u64) {
        let place = match self.0.iter().position(|(known, _)| *known == day) {
            Some(place) => place,
            None => {
                let places = self.0.iter().enumerate();
                let (place, (earliest, _)) = places
                    .min_by_key(|(_, (day, _))| *day)
                    .unwrap_or((0, &self.0[0]));
                if day < *earliest {
                    return;
                }
                self.0[place] = (day, Totals::default());
                place
            }
        };
        self.0[place].1.add(bytes);
    }

    fn of(&self, day: u64) -> Totals {
        let found = self.0.iter().find(|(known, _)| *known == day);
        found.map_or(Totals::default(), |(_, totals)| *totals)
    }
}
