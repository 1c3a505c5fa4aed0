//! A lab host's report on its own queue, as the receiver shows it: with its age, and in words.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock;
use crate::human::{self, counted};
use crate::receiver::lab_states::Reported;
use crate::wire::LabState;

/// The report, and whether it is still worth something. Its JSON has the members of all three side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct LabReport {
    pub age_seconds: u64,
    /// The lab host has left out several since.
    pub old: bool,
    #[serde(flatten)]
    pub state: LabState,
}

#[derive(Deserialize)]
struct Age {
    age_seconds: u64,
    old: bool,
}

/// serde's own way back from `flatten` makes the program 20 KiB larger.
impl TryFrom<Value> for LabReport {
    type Error = serde_json::Error;

    fn try_from(members: Value) -> Result<LabReport, serde_json::Error> {
        let Age { age_seconds, old } = Age::deserialize(&members)?;
        Ok(LabReport {
            age_seconds,
            old,
            state: serde_json::from_value(members)?,
        })
    }
}

impl LabReport {
    pub(crate) fn of(reported: &Reported) -> LabReport {
        LabReport {
            age_seconds: reported.age().as_secs(),
            old: reported.is_old(),
            state: LabState::clone(&reported.state),
        }
    }
}

/// The parts of a report as short phrases, the first of them how much waits. Ages are by the clock of the
/// receiver at `now_s`.
///
/// The texts in them are the lab host's own: the caller makes them safe to show.
pub(crate) fn phrases(state: &LabState, now_s: u64) -> Vec<String> {
    let ago = |at: Option<&String>| {
        let at_s = clock::parse_rfc3339(at?)?;
        Some(human::ago(Duration::from_secs(now_s.saturating_sub(at_s))))
    };
    let mut phrases = vec![match state.waiting.episodes {
        0 => "nothing waits".to_owned(),
        episodes => {
            let bytes = human::bytes(state.waiting.bytes);
            let oldest = ago(state.waiting.oldest_at.as_ref());
            let oldest = oldest.map_or(String::new(), |ago| format!(", oldest {ago}"));
            format!("{} waiting ({bytes}{oldest})", human::count(episodes))
        }
    }];
    let held = state.held_episodes();
    if held > 0 {
        let commits = state.held_commits();
        let commits = counted(human::count(commits), "commit");
        phrases.push(format!("{} held ({commits})", human::count(held)));
    }
    let refused = state.refused_episodes();
    if let Some(newest) = state.refused.first() {
        let reason = newest.reason.as_deref().unwrap_or("unknown reason");
        let newest = format!("{}: {reason}", newest.episode);
        phrases.push(match refused {
            1 => format!("1 in refused/ ({newest})"),
            _ => format!("{} in refused/ (newest {newest})", human::count(refused)),
        });
    }
    if let Some(upload) = &state.uploading {
        let rate = human::bytes(upload.bytes_per_second);
        let left = upload.seconds_left().map_or(String::new(), |left| {
            format!(", {} left", human::span(Duration::from_secs(left)))
        });
        phrases.push(format!(
            "sending {}: {} % of {}, {rate}/s{left}",
            upload.episode,
            upload.percent(),
            human::bytes(upload.bytes),
        ));
    }
    if state.packing_stopped_since.is_some() {
        phrases.push("its disk is full, packing stopped".to_owned());
    }
    if let Some(at_s) = state.next_try_at.as_deref().and_then(clock::parse_rfc3339)
        && at_s > now_s
    {
        let wait = human::span(Duration::from_secs(at_s - now_s));
        phrases.push(format!("next try in {wait}"));
    }
    phrases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let json = br#"{"waiting": {"episodes": 3, "bytes": 5}, "next_try_at": "x"}"#;
        let report = LabReport {
            age_seconds: 42,
            old: true,
            state: LabState::parse(json).unwrap(),
        };
        let written = serde_json::to_value(&report).unwrap();
        assert_eq!(written["age_seconds"], 42);
        assert_eq!(written["waiting"]["episodes"], 3);
        let read = |value| serde_json::from_value::<LabReport>(value);
        assert_eq!(read(written.clone()).unwrap(), report);
        let mut without_age = written;
        without_age.as_object_mut().unwrap().remove("age_seconds");
        assert!(read(without_age).is_err());
    }

    #[test]
    fn a_report_is_shown_in_short_phrases() {
        let now = "2026-11-28T12:00:00Z";
        let now_s = clock::parse_rfc3339(now).unwrap();
        assert_eq!(phrases(&LabState::default(), now_s), ["nothing waits"]);
        let json = br#"{
            "waiting": {"episodes": 3, "bytes": 12000000, "oldest_at": "2026-11-28T10:00:00Z"},
            "held": [{"commit": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "episodes": 2, "since": "x"}],
            "refused": [{"episode": "ep-4", "reason": "taken", "at": "y"}, {}],
            "uploading": {"episode": "ep-5", "bytes_sent": 43000000, "bytes": 100000000, "bytes_per_second": 3000000},
            "next_try_at": "2026-11-28T12:00:42Z",
            "packing_stopped_since": "z",
            "more": {"refused": 5}
        }"#;
        assert_eq!(
            phrases(&LabState::parse(json).unwrap(), now_s),
            [
                "3 waiting (12.0 MB, oldest 2 h ago)",
                "2 held (1 commit)",
                "7 in refused/ (newest ep-4: taken)",
                "sending ep-5: 43 % of 100.0 MB, 3.0 MB/s, 19 s left",
                "its disk is full, packing stopped",
                "next try in 42 s",
            ]
        );
    }
}
