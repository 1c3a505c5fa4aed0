//! The one judgement of the lab: which things a person should know or do (design, section 14).
//!
//! 1. [`findings`] is pure: it judges [`Facts`], and asks neither clock nor disk.
//! 2. Page, `status`, JSON, metrics, notifications and exit codes show its findings, and judge nothing
//!    themselves.
//! 3. The list is bounded: by the hosts that have figures, and by [`EPISODES_NAMED_MAX`] episodes a kind.

mod archive;
mod facts;
mod gate;
mod hosts;
mod machine;
mod store;

#[cfg(test)]
mod tests;

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub(crate) use self::facts::{
    DiskFacts, Facts, GateFacts, HostFacts, Place, RefusalFacts, ReportFacts, Trouble,
};
use crate::wire::LabState;
use crate::{clock, human};

/// Episodes of one kind that have a finding each. The others share one, with the subject `store`.
pub(crate) const EPISODES_NAMED_MAX: usize = 8;

/// How much a finding matters, the worse first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Something is lost or stopped until a person acts.
    Error,
    /// It will be, or might be.
    Warning,
}

impl Severity {
    /// As programs read it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

macro_rules! kinds {
    ($($kind:ident $name:literal $severity:ident,)*) => {
        /// What is wrong. The names are a promise: programs read them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind {
            $($kind),*
        }

        impl Kind {
            pub(crate) const ALL: &[Kind] = &[$(Kind::$kind),*];

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name),*
                }
            }

            /// `None` for a name that this version does not know.
            pub(crate) fn of(name: &str) -> Option<Kind> {
                Kind::ALL.iter().copied().find(|kind| kind.name() == name)
            }

            /// Of one that grows worse with time, what it begins with.
            pub(crate) fn severity(self) -> Severity {
                match self {
                    $(Kind::$kind => Severity::$severity),*
                }
            }
        }
    };
}

// In the order in which they are listed, among those of one severity.
kinds! {
    StoreUnwritable "store-unwritable" Error,
    DiskLow "disk-low" Error,
    DiskFullSoon "disk-full-soon" Warning,
    IndexMissing "index-missing" Error,
    IndexShort "index-short" Error,
    EpisodeRotten "episode-rotten" Error,
    EpisodeMissing "episode-missing" Error,
    EpisodeUnindexed "episode-unindexed" Warning,
    ArchiveLost "archive-lost" Error,
    ArchiveMismatch "archive-mismatch" Error,
    ArchiveAway "archive-away" Warning,
    ArchiveBehind "archive-behind" Warning,
    Restarts "restarts" Error,
    GateNotLoaded "gate-not-loaded" Error,
    GateOld "gate-old" Error,
    GateFailing "gate-failing" Warning,
    GateFallback "gate-fallback" Warning,
    HostOutOfDate "host-out-of-date" Error,
    HostRefused "host-refused" Error,
    HostStuck "host-stuck" Error,
    LabRefused "lab-refused" Error,
    LabDiskFull "lab-disk-full" Error,
    HostFallingOut "host-falling-out" Warning,
    HostSilent "host-silent" Warning,
    HostGone "host-gone" Warning,
    HostNeverSeen "host-never-seen" Warning,
    LabQueueGrowing "lab-queue-growing" Warning,
    LabHeld "lab-held" Warning,
    LabOldProgram "lab-old-program" Warning,
    ScrubOverdue "scrub-overdue" Warning,
    Quarantine "quarantine" Warning,
    Clock "clock" Warning,
    ConfigWaiting "config-waiting" Warning,
}

/// One thing that a person should know or do. Members are added, never renamed or removed: programs read
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// One of [`Kind::ALL`] by name. A text, so that the command reads what a newer receiver has found.
    pub kind: String,
    pub severity: Severity,
    /// `host/lab-1`, `episode/lab-1/ep`, `gate`, `disk`, `store`, `archive` or `receiver`.
    pub subject: String,
    /// RFC 3339; null if it is not known.
    pub since: Option<String>,
    /// The name of the refusal that it is about; null if it is about none.
    #[serde(default)]
    pub reason: Option<String>,
    /// What is wrong, in plain text. What a peer has sent may be in it.
    pub words: String,
    /// What a person does about it, in plain text.
    pub remedy: String,
}

impl Finding {
    fn new(kind: Kind, subject: impl Into<String>, words: String, remedy: String) -> Finding {
        Finding {
            kind: kind.name().to_owned(),
            severity: kind.severity(),
            subject: subject.into(),
            since: None,
            reason: None,
            words,
            remedy,
        }
    }

    /// `since_s` in seconds since 1970.
    fn since(self, since_s: Option<u64>) -> Finding {
        let time = |since_s| UNIX_EPOCH.checked_add(Duration::from_secs(since_s));
        Finding {
            since: since_s.and_then(time).map(clock::rfc3339),
            ..self
        }
    }

    fn about(self, reason: &str) -> Finding {
        Finding {
            reason: Some(reason.to_owned()),
            ..self
        }
    }

    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.kind == kind.name()
    }

    /// The host that it is about.
    pub(crate) fn host(&self) -> Option<&str> {
        self.subject.strip_prefix("host/")
    }
}

/// All findings, errors first, then by kind and subject.
pub(crate) fn findings(facts: &Facts) -> Vec<Finding> {
    sorted(|find| {
        machine::judge(facts, find);
        store::judge(facts, find);
        archive::judge(facts, find);
        gate::judge(facts, find);
        hosts::judge(facts, find);
    })
}

/// Those of a lab host's report on itself, as the receiver has them of the same report. `now_s` in seconds
/// since 1970, by the lab host's clock.
pub(crate) fn of_report(host: &str, state: LabState, now_s: u64) -> Vec<Finding> {
    let host = HostFacts {
        name: host.to_owned(),
        report: Some(ReportFacts {
            is_old: false,
            state: state.into(),
        }),
        ..HostFacts::default()
    };
    let facts = Facts {
        now_s,
        ..Facts::default()
    };
    sorted(|find| hosts::judge_report(&facts, &host, find))
}

fn sorted(judge: impl FnOnce(&mut Find)) -> Vec<Finding> {
    let mut found: Vec<(Kind, Finding)> = Vec::new();
    judge(&mut |kind: Kind, finding: Finding| found.push((kind, finding)));
    found.sort_by_cached_key(|(kind, one)| (one.severity, *kind, human::natural(&one.subject)));
    found.into_iter().map(|(_, finding)| finding).collect()
}

/// Where the findings of one part go.
type Find<'a> = dyn FnMut(Kind, Finding) + 'a;

/// How bad the worst of them is: 0 there is none, 1 warnings, 2 an error. The exit status of `status
/// --exit-code`.
pub(crate) fn exit_status(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.severity).min() {
        None => 0,
        Some(Severity::Warning) => 1,
        Some(Severity::Error) => 2,
    }
}
