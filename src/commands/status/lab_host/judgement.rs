//! What the queue of a lab host shows: the findings that the receiver has of the host's report, and how bad all
//! of it is.

use serde::Serialize;

use crate::receiver::findings::{Finding, exit_status, of_report};
use crate::shipper::Survey;
use crate::shipper::state::GateSeen;
use crate::version::VERSION;
use crate::wire::{HeldCommit, LabState, RefusedName, Waiting};

/// What `--json` prints.
#[derive(Serialize)]
pub(super) struct Judged<'a> {
    #[serde(flatten)]
    survey: &'a Survey,
    findings: Vec<Finding>,
}

impl<'a> Judged<'a> {
    /// `now_s` in seconds since 1970.
    pub(super) fn new(survey: &'a Survey, now_s: u64) -> Judged<'a> {
        Judged {
            survey,
            findings: of_report(&survey.host, report(survey), now_s),
        }
    }

    /// As bad as the worst finding, or as what no report has: 2 if a person has to act before something is
    /// sent, 1 if a try has failed or the next one soon may.
    pub(super) fn how_bad(&self) -> u8 {
        let survey = self.survey;
        let is_stuck = survey.running == Some(false) || survey.overlooked > 0;
        let is_soon_out = survey.gate.as_ref().is_some_and(GateSeen::is_soon_out);
        let is_worth_a_look =
            survey.next_try.is_some() || is_soon_out || !survey.config_waiting.is_empty();
        let own = if is_stuck {
            2
        } else if is_worth_a_look {
            1
        } else {
            0
        };
        exit_status(&self.findings).max(own)
    }
}

/// The report that the shipper would send of this queue, as far as the findings go by it.
fn report(survey: &Survey) -> LabState {
    let held = survey.held.iter().map(|held| HeldCommit {
        commit: held.hold.commit,
        episodes: held.totals.episodes as u64,
        since: held.hold.since.clone(),
    });
    let refused = survey.refused.iter().map(|refused| RefusedName {
        episode: refused.name.clone(),
        reason: refused.why.as_ref().and_then(|why| why.reason()),
        at: refused.why.as_ref().map(|why| why.at.clone()),
    });
    let mut refused: Vec<_> = refused.collect();
    refused.sort_by(|a, b| b.at.cmp(&a.at));
    LabState {
        version: VERSION.to_owned(),
        waiting: Waiting {
            episodes: survey.waiting.episodes as u64,
            bytes: survey.waiting.bytes,
            oldest_at: survey.waiting.oldest.clone(),
        },
        held: held.collect(),
        refused,
        packing_stopped_since: survey.packing_stopped_since.clone(),
        ..LabState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::names::CommitHash;
    use crate::shipper::{RefusedEpisode, Totals};

    fn well() -> Survey {
        Survey {
            running: Some(true),
            host: "lab-1".to_owned(),
            receiver: String::new(),
            root: String::new(),
            waiting: Totals::default(),
            packed: Totals::default(),
            unfinished: 0,
            overlooked: 0,
            held: Vec::new(),
            refused: Vec::new(),
            shipped: Totals::default(),
            last_success: None,
            last_error: None,
            gate: None,
            updated_at: None,
            overlooked_named: Vec::new(),
            uploading: None,
            next_try: None,
            packing_stopped_since: None,
            config_waiting: Vec::new(),
        }
    }

    /// A moment of the tests.
    const NOW: &str = "2026-11-29T09:00:00Z";

    fn judged(survey: &Survey) -> (Vec<String>, u8) {
        let now_s = clock::parse_rfc3339(NOW).unwrap();
        let judged = Judged::new(survey, now_s);
        let status = judged.how_bad();
        let kinds = judged.findings.into_iter().map(|finding| finding.kind);
        (kinds.collect(), status)
    }

    /// The receiver's severities: an error of the lab host there is one here, and so is a warning.
    #[test]
    fn the_exit_status_is_as_bad_as_what_is_shown() {
        assert_eq!(judged(&well()), (vec![], 0));
        let mut stopped = well();
        stopped.packing_stopped_since = Some(NOW.to_owned());
        assert_eq!(judged(&stopped), (vec!["lab-disk-full".to_owned()], 2));
        let mut grows = well();
        grows.waiting = Totals {
            episodes: 2,
            bytes: 2000,
            oldest: Some("2026-11-27T09:00:00Z".to_owned()),
        };
        assert_eq!(judged(&grows), (vec!["lab-queue-growing".to_owned()], 1));
        let mut refuses = well();
        for (name, at) in [("ep-1", "2026-11-28T09:00:00Z"), ("ep-2", NOW)] {
            let why =
                serde_json::json!({ "at": at, "by": "receiver", "reason": "taken", "why": "" });
            refuses.refused.push(RefusedEpisode {
                name: name.to_owned(),
                bytes: 1,
                why: serde_json::from_value(why).unwrap(),
            });
        }
        assert_eq!(judged(&refuses), (vec!["lab-refused".to_owned()], 2));
        assert_eq!(report(&refuses).refused[0].episode, "ep-2", "the newest");
        let mut waits = well();
        waits.config_waiting = vec!["root".to_owned()];
        assert_eq!(judged(&waits), (vec![], 1));
        for (position, status) in [(1, 0), (98, 1)] {
            let mut seen = well();
            seen.gate = Some(GateSeen {
                at: String::new(),
                commit: CommitHash::parse(&"a".repeat(40)).unwrap(),
                position,
                window: 100,
            });
            assert_eq!(judged(&seen), (vec![], status), "{position}");
        }
    }
}
