//! What is wrong with a source, in words for the operator, and how often the log repeats it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::events::SourceFault;
use crate::human;
use crate::wire::Failing;

/// A trouble that lasts is logged again after this time, not at each refresh.
const REPEAT_AFTER: Duration = Duration::from_secs(600);

/// Why a source did not answer with the commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The kind in one word, by which a repetition is recognised.
    pub kind: &'static str,
    /// What happened, to what.
    pub what: String,
    /// What a person does now.
    pub remedy: String,
}

impl Trouble {
    pub fn as_event(&self) -> SourceFault<'_> {
        SourceFault {
            kind: self.kind,
            what: &self.what,
            remedy: &self.remedy,
        }
    }

    pub fn new(kind: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Trouble {
        Trouble {
            kind,
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// What is wrong with a source that is failing, in words that follow its name. "Has not answered" is
/// said only of a source that was silent.
pub fn failing_words(failing: &Failing) -> String {
    let kind = failing.kind.as_str();
    let span = human::span(Duration::from_secs(failing.seconds));
    match kind {
        "unreachable" | "timeout" | "git-timeout" => {
            format!("has not answered for {span} ({kind})")
        }
        _ => format!("has not reported the newest commits for {span} ({kind})"),
    }
}

/// The troubles of one source that were logged and are not over yet.
#[derive(Default)]
pub(super) struct LastReports {
    at: HashMap<&'static str, Instant>,
}

impl LastReports {
    /// Whether to log this kind now: it is new, or was logged long ago. Counts it as logged now.
    pub(super) fn is_due(&mut self, kind: &'static str, now: Instant) -> bool {
        let due = self
            .at
            .get(kind)
            .is_none_or(|&logged| now.duration_since(logged) >= REPEAT_AFTER);
        if due {
            self.at.insert(kind, now);
        }
        due
    }

    /// Notes that the source is well. True if it was in trouble: then the end is logged too, once.
    pub(super) fn is_over(&mut self) -> bool {
        let was = !self.at.is_empty();
        self.at.clear();
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_source_that_was_silent_has_not_answered() {
        let words = |kind: &str| {
            failing_words(&Failing {
                kind: kind.to_owned(),
                seconds: 120,
                detail: String::new(),
            })
        };
        assert_eq!(words("timeout"), "has not answered for 2 min (timeout)");
        assert_eq!(
            words("renamed"),
            "has not reported the newest commits for 2 min (renamed)"
        );
    }

    #[test]
    fn a_lasting_trouble_is_logged_once_in_ten_minutes() {
        let mut told = LastReports::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!told.is_over());
        assert!(told.is_due("timeout", at(0)));
        assert!(!told.is_due("timeout", at(5)));
        assert!(told.is_due("unreachable", at(10)), "another kind is news");
        assert!(!told.is_due("timeout", at(599)));
        assert!(told.is_due("timeout", at(600)));
        assert!(told.is_over());
        assert!(!told.is_over());
        assert!(told.is_due("timeout", at(601)), "it came back");
    }
}
