//! Which beginnings and ends of findings are to be reported, and when. It has no clock and does no I/O.
//!
//! 1. None is dropped: what comes while a call of its kind is not due yet, or fails, goes with the next one
//!    of its state. But a finding whose end was not reported yet, and that begins again, still stands as it was reported.
//! 2. What an earlier run has reported ends only once this run can know: some findings rest on what comes
//!    again after a start, and not at once.
//! 3. So a finding has at most a beginning and an end that wait: memory is bounded by the findings.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::receiver::findings::{Finding, Kind, Severity};

/// The waits.
#[derive(Clone, Debug)]
pub(super) struct Times {
    /// How long a finding must stand, or be gone.
    pub stands: Duration,
    /// The least time between two calls of one kind.
    pub pace: Duration,
    /// The waits before a call that failed is tried again.
    pub retries: Vec<Duration>,
    /// How long after its start a run can know that lab hosts report nothing of a finding.
    pub reports: Duration,
    /// How long after its start a run can know that nothing sticks.
    pub queues: Duration,
}

impl Times {
    /// How long after its start a run can know that a finding of this kind is over.
    fn known_after(&self, kind: &str) -> Duration {
        if kind == Kind::HostStuck.name() {
            self.queues
        } else if kind.starts_with(OF_REPORTS) {
            self.reports
        } else {
            Duration::ZERO
        }
    }
}

/// How the kinds begin that rest on the reports of lab hosts.
const OF_REPORTS: &str = "lab-";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Begins,
    Ends,
}

impl State {
    /// As it is reported.
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Begins => "begins",
            State::Ends => "ends",
        }
    }
}

/// A call that is due, and what it reports.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub kind: String,
    pub state: State,
    pub findings: Vec<Finding>,
}

/// A finding's kind and subject.
type Key = (String, String);

fn key(finding: &Finding) -> Key {
    (finding.kind.clone(), finding.subject.clone())
}

pub(super) struct Ledger {
    times: Times,
    /// The first look.
    began: Option<Instant>,
    /// Findings whose beginning was reported, and whose end was not.
    told: BTreeMap<Key, Finding>,
    /// The same, with those whose beginning waits to be reported, and without those whose end does.
    announced: BTreeMap<Key, Finding>,
    /// Findings that are not announced, and since when they stand.
    standing: BTreeMap<Key, Instant>,
    /// Findings that are announced, and since when they are gone.
    gone: BTreeMap<Key, Instant>,
    lines: BTreeMap<String, Line>,
}

/// The calls of one kind.
#[derive(Default)]
struct Line {
    waiting: VecDeque<(State, Finding)>,
    called: Option<Instant>,
    /// How often the call at the head has failed in a row.
    failures: usize,
}

impl Ledger {
    /// `told` is what an earlier run has reported to begin, and not to end.
    pub(super) fn new(times: Times, told: Vec<Finding>) -> Ledger {
        let told: BTreeMap<Key, Finding> = told
            .into_iter()
            .map(|finding| (key(&finding), finding))
            .collect();
        Ledger {
            times,
            began: None,
            announced: told.clone(),
            told,
            standing: BTreeMap::new(),
            gone: BTreeMap::new(),
            lines: BTreeMap::new(),
        }
    }

    /// Notes what stands at this moment.
    pub(super) fn look(&mut self, now: Instant, findings: &[Finding]) {
        let began = *self.began.get_or_insert(now);
        let run = now.saturating_duration_since(began);
        let errors = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error);
        let errors: Vec<&Finding> = errors.collect();
        let standing_now: HashSet<Key> = errors.iter().map(|finding| key(finding)).collect();
        self.standing.retain(|key, _| standing_now.contains(key));
        self.gone.retain(|key, _| !standing_now.contains(key));
        for finding in errors {
            let key = key(finding);
            if let Some(announced) = self.announced.get_mut(&key) {
                announced.clone_from(finding);
                if let Some(line) = self.lines.get_mut(&key.0) {
                    line.renew(finding);
                }
                continue;
            }
            let since = *self.standing.entry(key.clone()).or_insert(now);
            if now.saturating_duration_since(since) >= self.times.stands {
                self.standing.remove(&key);
                self.begins(key, finding);
            }
        }
        let away: Vec<Key> = self
            .announced
            .keys()
            .filter(|key| !standing_now.contains(*key))
            .cloned()
            .collect();
        for key in away {
            if run < self.times.known_after(&key.0) {
                continue;
            }
            let since = *self.gone.entry(key.clone()).or_insert(now);
            if now.saturating_duration_since(since) >= self.times.stands {
                self.gone.remove(&key);
                self.ends(&key);
            }
        }
    }

    fn begins(&mut self, key: Key, finding: &Finding) {
        let line = self.lines.entry(key.0.clone()).or_default();
        let is_its_end =
            |(state, other): &(State, Finding)| *state == State::Ends && self::key(other) == key;
        match line.waiting.iter().position(is_its_end) {
            Some(place) => {
                line.waiting.remove(place);
                if line.waiting.is_empty() {
                    line.failures = 0;
                }
            }
            None => line.waiting.push_back((State::Begins, finding.clone())),
        }
        self.announced.insert(key, finding.clone());
    }

    fn ends(&mut self, key: &Key) {
        if let Some(finding) = self.announced.remove(key) {
            let line = self.lines.entry(key.0.clone()).or_default();
            line.waiting.push_back((State::Ends, finding));
        }
    }

    /// A call that may be made now: all that waits of a kind in one state. A finding that has something of
    /// the other state before it waits for that.
    pub(super) fn due(&self, now: Instant) -> Option<Due> {
        let lines = self
            .lines
            .iter()
            .filter(|(_, line)| line.is_due(now, &self.times));
        // The one that was called the longest ago comes first, so that none waits behind one that fails.
        let (kind, line) = lines.min_by_key(|(_, line)| line.called)?;
        let (state, _) = *line
            .waiting
            .front()
            .map(|(state, finding)| (state, finding))
            .as_ref()?;
        let mut behind = HashSet::new();
        let mut findings = Vec::new();
        for (other, finding) in &line.waiting {
            if other != state {
                behind.insert(&finding.subject);
            } else if !behind.contains(&finding.subject) {
                findings.push(finding.clone());
            }
        }
        Some(Due {
            kind: kind.clone(),
            state: *state,
            findings,
        })
    }

    /// Notes how a call ended. True if it is over: it was received, or is given up.
    pub(super) fn called(&mut self, due: &Due, now: Instant, is_received: bool) -> bool {
        let Some(line) = self.lines.get_mut(&due.kind) else {
            return true;
        };
        line.called = Some(now);
        if !is_received && line.failures < self.times.retries.len() {
            line.failures += 1;
            return false;
        }
        line.failures = 0;
        for finding in &due.findings {
            let is_it = |(state, waiting): &(State, Finding)| {
                *state == due.state && waiting.subject == finding.subject
            };
            if let Some(place) = line.waiting.iter().position(is_it) {
                line.waiting.remove(place);
            }
            let key = key(finding);
            match due.state {
                State::Begins => self.told.insert(key, finding.clone()),
                State::Ends => self.told.remove(&key),
            };
        }
        true
    }

    /// Findings whose beginning was reported, and whose end was not.
    pub(super) fn told(&self) -> impl Iterator<Item = &Finding> {
        self.told.values()
    }
}

impl Line {
    /// A beginning that waits is reported in the newest words: they have ages in them.
    fn renew(&mut self, finding: &Finding) {
        for (state, waiting) in &mut self.waiting {
            if *state == State::Begins && waiting.subject == finding.subject {
                waiting.clone_from(finding);
            }
        }
    }

    fn is_due(&self, now: Instant, times: &Times) -> bool {
        let Some(called) = self.called else {
            return !self.waiting.is_empty();
        };
        let wait = match self.failures {
            0 => times.pace,
            failures => times.retries[failures - 1],
        };
        !self.waiting.is_empty() && now.saturating_duration_since(called) >= wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: &str, subject: &str) -> Finding {
        let severity = if kind.starts_with("w-") {
            "warning"
        } else {
            "error"
        };
        serde_json::from_value(serde_json::json!({
            "kind": kind, "severity": severity, "subject": subject, "since": null, "words": "w", "remedy": "r",
        }))
        .unwrap()
    }

    /// A ledger and its clock. What a step tells is `kind state subjects`.
    struct Desk {
        ledger: Ledger,
        start: Instant,
        /// Whether calls are received.
        is_received: bool,
    }

    impl Desk {
        fn new(told: Vec<Finding>) -> Desk {
            Desk {
                ledger: Ledger::new(super::super::times(1), told),
                start: Instant::now(),
                is_received: true,
            }
        }

        fn at(&mut self, second: u64, findings: &[Finding]) -> Vec<String> {
            let now = self.start + Duration::from_secs(second);
            self.ledger.look(now, findings);
            let mut said = Vec::new();
            while let Some(due) = self.ledger.due(now) {
                self.ledger.called(&due, now, self.is_received);
                let subjects: Vec<&str> = due
                    .findings
                    .iter()
                    .map(|finding| finding.subject.as_str())
                    .collect();
                said.push(format!(
                    "{} {} {}",
                    due.kind,
                    due.state.name(),
                    subjects.join("+")
                ));
            }
            said
        }
    }

    #[test]
    fn a_beginning_and_an_end_are_told_after_thirty_seconds() {
        let mut desk = Desk::new(Vec::new());
        let a = [finding("k", "a"), finding("w-k", "b")];
        assert_eq!(desk.at(0, &a), [""; 0]);
        assert_eq!(desk.at(29, &a), [""; 0]);
        assert_eq!(desk.at(30, &a), ["k begins a"]);
        assert_eq!(desk.at(500, &a), [""; 0], "once");
        assert_eq!(desk.at(600, &[]), [""; 0]);
        assert_eq!(desk.at(629, &[]), [""; 0]);
        assert_eq!(desk.at(630, &[]), ["k ends a"]);
        assert_eq!(desk.at(900, &[]), [""; 0]);
    }

    #[test]
    fn what_is_over_before_thirty_seconds_is_not_told() {
        let mut desk = Desk::new(Vec::new());
        for second in 0..100 {
            let found = [finding("k", "a")];
            let found = if second % 20 < 10 { &found[..] } else { &[] };
            assert_eq!(desk.at(second, found), [""; 0], "{second}");
        }
        // And a short pause is no end.
        let mut desk = Desk::new(vec![finding("k", "a")]);
        for second in 0..100 {
            let found = [finding("k", "a")];
            let found = if second % 20 < 10 { &found[..] } else { &[] };
            assert_eq!(desk.at(second, found), [""; 0], "{second}");
        }
    }

    #[test]
    fn a_kind_has_one_call_a_minute_and_none_is_dropped() {
        let mut desk = Desk::new(Vec::new());
        let named = |names: &[&str]| -> Vec<Finding> {
            names.iter().map(|name| finding("k", name)).collect()
        };
        desk.at(0, &named(&["a"]));
        assert_eq!(desk.at(30, &named(&["a", "b", "c"])), ["k begins a"]);
        let mut other = named(&["a", "b", "c"]);
        other.push(finding("other", "x"));
        assert_eq!(desk.at(60, &other), [""; 0], "b and c wait for the minute");
        assert_eq!(desk.at(90, &other), ["other begins x", "k begins b+c"]);
        // All end, and the one that began meanwhile is told before.
        assert_eq!(desk.at(91, &named(&["d"])), [""; 0]);
        assert_eq!(desk.at(121, &[]), [""; 0]);
        assert_eq!(desk.at(150, &[]), ["k ends a+b+c", "other ends x"]);
        assert_eq!(desk.at(400, &[]), [""; 0]);
    }

    #[test]
    fn what_waits_in_one_state_goes_in_one_call_though_others_are_between() {
        let mut desk = Desk::new(Vec::new());
        let odd = [finding("k", "1"), finding("k", "3")];
        let even = [finding("k", "2"), finding("k", "4")];
        desk.at(0, &odd);
        assert_eq!(desk.at(30, &odd), ["k begins 1+3"]);
        // Within the minute the one pair ends, the other begins and ends, and the first begins again.
        desk.is_received = false;
        desk.at(31, &even);
        desk.at(61, &even);
        desk.at(62, &odd);
        desk.at(92, &odd);
        desk.is_received = true;
        let said = [desk.at(200, &odd), desk.at(300, &odd)].concat();
        assert_eq!(said, ["k begins 2+4", "k ends 2+4"]);
    }

    #[test]
    fn a_restart_ends_what_lab_hosts_report_only_once_they_had_time_to_report() {
        let (reported, stuck) = (finding("lab-refused", "a"), finding("host-stuck", "b"));
        let mut desk = Desk::new(vec![reported.clone(), stuck.clone(), finding("k", "c")]);
        assert_eq!(desk.at(0, &[]), [""; 0]);
        assert_eq!(desk.at(30, &[]), ["k ends c"]);
        assert_eq!(desk.at(299, &[]), [""; 0]);
        // The report has come, and says the same.
        let both = [reported, stuck];
        assert_eq!(desk.at(310, &both), [""; 0]);
        assert_eq!(desk.at(3000, &both[..1]), [""; 0]);
        assert_eq!(
            desk.at(3031, &[]),
            [""; 0],
            "what sticks needs an hour to be known"
        );
        assert_eq!(desk.at(3061, &[]), ["lab-refused ends a"]);
        assert_eq!(desk.at(3700, &[]), [""; 0]);
        assert_eq!(desk.at(3730, &[]), ["host-stuck ends b"]);
    }

    #[test]
    fn an_end_that_waits_is_taken_back_if_it_begins_again() {
        let mut desk = Desk::new(Vec::new());
        let a = [finding("k", "a")];
        desk.at(0, &a);
        desk.is_received = false;
        assert_eq!(desk.at(30, &a), ["k begins a"]);
        // The call is tried again and again meanwhile, and the findings flap.
        let mut most = 0;
        for second in 31..3000 {
            let found = if second / 100 % 2 == 0 { &a[..] } else { &[] };
            desk.at(second, found);
            most = most.max(desk.ledger.lines["k"].waiting.len());
        }
        assert!(most <= 2, "{most}");
        desk.is_received = true;
        assert_eq!(desk.at(10_000, &a), ["k begins a"]);
        // It begins again before its end was told: it stands as it was told.
        assert_eq!(desk.at(10_030, &a), [""; 0]);
        assert_eq!(desk.at(10_200, &a), [""; 0]);
    }

    /// Words have ages in them: a late call must not say those of the beginning.
    #[test]
    fn a_call_has_the_words_of_the_newest_look() {
        let mut desk = Desk::new(Vec::new());
        let aged = |words: &str| {
            let mut finding = finding("k", "a");
            finding.words = words.to_owned();
            [finding]
        };
        let words_due = |desk: &Desk, second: u64| {
            let now = desk.start + Duration::from_secs(second);
            desk.ledger
                .due(now)
                .map(|due| due.findings[0].words.clone())
        };
        desk.is_received = false;
        desk.at(0, &aged("5 s ago"));
        assert_eq!(desk.at(30, &aged("35 s ago")), ["k begins a"]);
        let at_39 = desk.start + Duration::from_secs(39);
        desk.ledger.look(at_39, &aged("44 s ago"));
        assert_eq!(words_due(&desk, 40).as_deref(), Some("44 s ago"));
        desk.is_received = true;
        assert_eq!(desk.at(40, &aged("45 s ago")), ["k begins a"]);
        desk.at(7200, &aged("2 h ago"));
        let later = [7201, 7231].map(|second| desk.start + Duration::from_secs(second));
        desk.ledger.look(later[0], &[]);
        desk.ledger.look(later[1], &[]);
        assert_eq!(words_due(&desk, 7231).as_deref(), Some("2 h ago"));
    }

    #[test]
    fn a_call_that_fails_is_tried_again_for_an_hour_and_more() {
        let mut desk = Desk::new(Vec::new());
        let a = [finding("k", "a")];
        desk.at(0, &a);
        desk.is_received = false;
        let mut tries = Vec::new();
        for second in 1..8000 {
            if !desk.at(second, &a).is_empty() {
                tries.push(second - 30);
            }
        }
        assert_eq!(tries, [0, 10, 70, 370, 1270, 2170, 3070, 3970]);
        // It is given up, and counts as told.
        desk.is_received = true;
        assert_eq!(desk.at(8000, &a), [""; 0]);
        assert_eq!(desk.at(8001, &[]), [""; 0]);
        assert_eq!(desk.at(8031, &[]), ["k ends a"]);
    }

    #[test]
    fn a_restart_repeats_nothing_and_tells_what_ended_meanwhile() {
        let mut desk = Desk::new(vec![finding("k", "a"), finding("k", "b")]);
        let found = [finding("k", "a")];
        assert_eq!(desk.at(0, &found), [""; 0]);
        assert_eq!(desk.at(30, &found), ["k ends b"]);
        assert_eq!(desk.ledger.told().count(), 1);
    }
}
