//! The version gate and its source.

use super::{Facts, Find, Finding, GateFacts, HostFacts, Kind};
use crate::receiver::version_gate::failing_words;
use crate::refusal_table;
use crate::wire::{Failing, Source};

/// After so long its trouble is a finding. A restart of Forgejo takes less.
const FAILING_S: u64 = 60;
const FALLBACK_S: u64 = 300;
const OLD_S: u64 = 3600;

const GATE: &str = "gate";
const ASK_EACH: &str = "cis490 doctor asks each source and says what to fix";

pub(super) fn judge(facts: &Facts, find: &mut Find) {
    let Some(gate) = facts.gate.as_ref().filter(|gate| gate.enabled) else {
        return;
    };
    let mut find = |kind: Kind, words: String, remedy: String, seconds: Option<u64>| {
        let since_s = seconds.map(|seconds| facts.now_s.saturating_sub(seconds));
        let finding = Finding::new(kind, GATE, words, remedy);
        find(kind, finding.since(since_s));
    };
    let detail = gate.failing.as_ref().map(|failing| failing.detail.clone());
    let remedy = detail.unwrap_or_else(|| ASK_EACH.to_owned());
    let failing_s = gate.failing.as_ref().map(|failing| failing.seconds);
    let Some(source) = gate.source else {
        let words = "the version gate knows no commits yet: every upload is answered 503 and waits on its host";
        return find(Kind::GateNotLoaded, words.to_owned(), remedy, failing_s);
    };
    if let Some(failing) = &gate.failing
        && (failing.seconds >= FAILING_S || facts.hosts.iter().any(HostFacts::waits_for_the_gate))
    {
        let words = words_of_failing(gate, failing);
        find(Kind::GateFailing, words, remedy.clone(), failing_s);
    }
    if gate.failing.is_none() && facts.hosts.iter().any(HostFacts::waits_for_the_gate) {
        let words = "it could not ask in time what a commit is";
        let remedy = "nothing: the lab host asks again automatically";
        find(Kind::GateFailing, words.to_owned(), remedy.to_owned(), None);
    }
    let is_fallback = matches!(source, Source::GitFallback | Source::Disk);
    if is_fallback && gate.source_seconds >= FALLBACK_S {
        let words = if source == Source::Disk {
            "its window is the one that an earlier run left on the disk: a new push is not noticed"
        } else {
            "it uses its fallback, the local repository: a push takes effect once it is fetched there"
        };
        let seconds = Some(gate.source_seconds);
        find(
            Kind::GateFallback,
            words.to_owned(),
            remedy.clone(),
            seconds,
        );
    }
    if let Some(age_s) = gate.age_seconds.filter(|age_s| *age_s >= OLD_S) {
        let words =
            "no source has confirmed its window for an hour: what was pushed since then is refused";
        let since = Some(age_s - OLD_S);
        find(Kind::GateOld, words.to_owned(), remedy, since);
    }
}

fn words_of_failing(gate: &GateFacts, failing: &Failing) -> String {
    let how = failing_words(failing);
    let meanwhile = match gate.source {
        Some(Source::GitFallback) => "the local repository is used",
        _ => "known commits are accepted, a new push is not",
    };
    format!("its source {how}: {meanwhile}")
}

impl HostFacts {
    /// Whether its newest upload was refused because the gate could not look its commit up.
    pub(crate) fn waits_for_the_gate(&self) -> bool {
        let name = refusal_table::Kind::GateCannotTell.name();
        self.refusal
            .as_ref()
            .is_some_and(|refusal| refusal.reason == name)
    }
}
