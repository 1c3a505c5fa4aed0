//! The lab hosts: what their uploads and their own reports show.

use std::time::Duration;

use super::{Facts, Find, Finding, GateFacts, HostFacts, Kind, Place, RefusalFacts};
use crate::clock;
use crate::human::{self, counted};
use crate::refusal_table::{self, is_about_the_commit, what_to_do};
use crate::wire::{LabState, remaining_low};

/// A host that has sent nothing for so long is gone, and has no other finding.
const GONE_AFTER_S: u64 = 30 * 86_400;
const NEVER_SEEN_AFTER_S: u64 = 3600;
/// An episode that was refused or broken off so often in a row is stuck.
const STUCK_TRIES: u32 = 5;
const STUCK_QUEUE_S: u64 = 3600;
const OLD_QUEUE_S: u64 = 86_400;

pub(super) fn judge(facts: &Facts, find: &mut Find) {
    for host in &facts.hosts {
        let mut judge = Judge { facts, host, find };
        judge.uploads();
        judge.report();
    }
}

/// What a host's own report shows, and nothing else.
pub(super) fn judge_report(facts: &Facts, host: &HostFacts, find: &mut Find) {
    Judge { facts, host, find }.report();
}

struct Judge<'a, 'b> {
    facts: &'a Facts,
    host: &'a HostFacts,
    find: &'a mut Find<'b>,
}

impl Judge<'_, '_> {
    fn find(&mut self, kind: Kind, words: &str, remedy: &str, since_s: Option<u64>) {
        let finding = self.finding(kind, words, remedy);
        (self.find)(kind, finding.since(since_s));
    }

    fn finding(&self, kind: Kind, words: &str, remedy: &str) -> Finding {
        let name = &self.host.name;
        let words = format!("{name}: {words}");
        Finding::new(kind, format!("host/{name}"), words, remedy.to_owned())
    }

    fn uploads(&mut self) {
        let host = self.host;
        let refused_at_s = host.refusal.as_ref().and_then(|refusal| refusal.at_s);
        let heard_at_s = host.stored_at_s.max(refused_at_s);
        let unheard_s = heard_at_s.map(|at_s| self.facts.now_s.saturating_sub(at_s));
        if unheard_s.is_some_and(|unheard_s| unheard_s > GONE_AFTER_S) {
            // A name that was only ever refused is forgotten.
            if host.has_stored || host.is_configured {
                let remedy = "if it is not in use any more: remove its [[host]], if it has one";
                let words = "nothing has come for 30 days";
                self.find(Kind::HostGone, words, remedy, heard_at_s);
            }
            return;
        }
        self.refusal();
        self.commit();
        let silence = unheard_s.filter(|unheard_s| *unheard_s >= self.facts.silent_after_s);
        if let Some(silent_s) = silence {
            let words = format!("for {}", human::span(Duration::from_secs(silent_s)));
            let remedy =
                "is it recording, and is its shipper running? cis490 status there shows both";
            self.find(Kind::HostSilent, &words, remedy, heard_at_s);
        }
        let run_s = self
            .facts
            .started_at_s
            .map(|at_s| self.facts.now_s.saturating_sub(at_s));
        let is_due = run_s.is_none_or(|run_s| run_s >= NEVER_SEEN_AFTER_S);
        let is_unseen = !host.has_stored && host.refusal.is_none() && host.report.is_none();
        if host.is_configured && is_unseen && is_due {
            let remedy = "set up its shipper (cis490 doctor there tests the path to this receiver), or remove its [[host]]";
            self.find(Kind::HostNeverSeen, "no upload yet", remedy, None);
        }
    }

    fn refusal(&mut self) {
        let Some(refusal) = &self.host.refusal else {
            return;
        };
        if let Some((kind, remedy)) = kind_of_refusal(refusal) {
            let words = self.words_of(refusal);
            let finding = self.finding(kind, &words, remedy);
            let finding = finding.since(refusal.at_s).about(&refusal.reason);
            (self.find)(kind, finding);
        }
        if refusal.tries >= STUCK_TRIES {
            let episode = refusal.episode.as_deref().unwrap_or("an episode");
            let words = format!(
                "{episode} was refused or broken off {} times in a row, the last time with {} {}",
                refusal.tries, refusal.status, refusal.reason
            );
            let remedy = "cis490 refusals shows each try; look at the network between the two and at cis490 status on the lab host";
            let finding = self.finding(Kind::HostStuck, &words, remedy);
            let finding = finding.since(refusal.first_try_at_s);
            (self.find)(Kind::HostStuck, finding.about(&refusal.reason));
        }
    }

    fn words_of(&self, refusal: &RefusalFacts) -> String {
        let ago = refusal.at_s.map_or(String::new(), |at_s| {
            let ago = Duration::from_secs(self.facts.now_s.saturating_sub(at_s));
            format!(", {}", human::ago(ago))
        });
        format!("{} {}{ago}", refusal.status, refusal.reason)
    }

    /// The commit that it has now, if it was not refused for that.
    fn commit(&mut self) {
        let Some(gate) = self.facts.gate.as_ref().filter(|gate| gate.enabled) else {
            return;
        };
        let refusal = self.host.refusal.as_ref();
        if refusal.is_some_and(|refusal| is_about_the_commit(&refusal.reason)) {
            return;
        }
        match self.host.place {
            Place::Outside if may_be_judged(gate) => self.find(
                Kind::HostOutOfDate,
                "its newest commit is no longer accepted",
                "cis490 status on that host shows what to paste",
                None,
            ),
            Place::At(place) if gate.window.saturating_sub(place) < remaining_low(gate.window) => {
                let left = gate.window.saturating_sub(place);
                let words = format!("{} until its code is refused", counted(left, "more commit"));
                self.find(Kind::HostFallingOut, &words, "update it", None);
            }
            _ => {}
        }
    }

    fn report(&mut self) {
        let Some(report) = &self.host.report else {
            return;
        };
        let state = &*report.state;
        let now_s = self.facts.now_s;
        let age_of = |at: &Option<String>| {
            let at_s = clock::parse_rfc3339(at.as_deref()?)?;
            Some(now_s.saturating_sub(at_s))
        };
        let oldest_s = age_of(&state.waiting.oldest_at);
        let since = |age_s: Option<u64>| age_s.map(|age_s| now_s.saturating_sub(age_s));
        if state.waiting.episodes > 0 && oldest_s.is_some_and(|oldest_s| oldest_s > OLD_QUEUE_S) {
            let waiting = match state.waiting.episodes {
                1 => "1 episode waits".to_owned(),
                many => format!("{many} episodes wait"),
            };
            let words = format!("{waiting}, the oldest for more than a day");
            let remedy = "look at cis490 status there, and at the network between the two";
            self.find(Kind::LabQueueGrowing, &words, remedy, since(oldest_s));
        }
        if !report.is_old && state.waiting.episodes > 0 && state.uploading.is_none() {
            self.queue_that_stands(oldest_s);
        }
        self.report_of_endings(state);
        let is_older = is_older(&state.version, env!("CARGO_PKG_VERSION"));
        if is_older {
            let words = format!(
                "its program is version {}, older than the receiver's {}",
                state.version,
                env!("CARGO_PKG_VERSION")
            );
            self.find(
                Kind::LabOldProgram,
                &words,
                "install the newer program there",
                None,
            );
        }
    }

    /// Nothing of a queue was stored for an hour. What came here last is known by the receiver's own clock;
    /// since when the oldest waits, the lab host alone says.
    fn queue_that_stands(&mut self, oldest_s: Option<u64>) {
        let now_s = self.facts.now_s;
        let age_s = |at_s: u64| now_s.saturating_sub(at_s);
        let ages = [
            oldest_s,
            self.facts.started_at_s.map(age_s),
            self.host.stored_at_s.map(age_s).or(oldest_s),
        ];
        let is_long = |age_s: Option<u64>| age_s.is_some_and(|age_s| age_s > STUCK_QUEUE_S);
        if !self.facts.accepts_uploads || !ages.into_iter().all(is_long) {
            return;
        }
        let words = "its queue has not moved for an hour, though the receiver accepts uploads";
        let remedy = "cis490 status there says what stops it, cis490 doctor there what to fix";
        self.find(Kind::HostStuck, words, remedy, self.host.stored_at_s);
    }

    fn report_of_endings(&mut self, state: &LabState) {
        if state.held_episodes() > 0 {
            let commits = state.held_commits();
            let words = format!(
                "{} held for {}",
                counted(state.held_episodes(), "episode"),
                counted(commits, "commit")
            );
            let since_s = state
                .held
                .iter()
                .filter_map(|held| clock::parse_rfc3339(&held.since))
                .min();
            let remedy = "cis490 status there shows what to paste; they are sent as soon as the gate accepts their commit";
            self.find(Kind::LabHeld, &words, remedy, since_s);
        }
        if let Some(newest) = state.refused.first() {
            let reason = newest.reason.as_deref().unwrap_or("unknown reason");
            let words = format!(
                "{} in refused/, the newest {} ({reason})",
                counted(state.refused_episodes(), "episode"),
                newest.episode
            );
            let at = state.refused.last().and_then(|oldest| oldest.at.as_deref());
            let remedy = "each has its reason in a file beside it; cis490 requeue there sends them again once the cause is gone";
            self.find(
                Kind::LabRefused,
                &words,
                remedy,
                at.and_then(clock::parse_rfc3339),
            );
        }
        if let Some(since) = &state.packing_stopped_since {
            let words = "its disk is full, and it packs nothing";
            let remedy = "make room on the disk of its queue; it goes on automatically";
            self.find(
                Kind::LabDiskFull,
                words,
                remedy,
                clock::parse_rfc3339(since),
            );
        }
    }
}

/// The finding of a refusal, if a person has to act: its kind, and what to do.
fn kind_of_refusal(refusal: &RefusalFacts) -> Option<(Kind, &'static str)> {
    let reason = refusal.reason.as_str();
    // It is the gate's trouble, and not the host's.
    if reason == refusal_table::Kind::GateCannotTell.name() {
        return None;
    }
    let remedy = what_to_do(reason)?;
    let kind = if refusal.status == 412 {
        Kind::HostOutOfDate
    } else {
        Kind::HostRefused
    };
    Some((kind, remedy))
}

/// While the gate cannot ask its source, a commit outside the window may be newer than the window.
fn may_be_judged(gate: &GateFacts) -> bool {
    gate.failing.is_none()
}

/// Whether a version such as `0.9.1` is older than another. One that is none is not judged.
fn is_older(version: &str, than: &str) -> bool {
    let numbers = |text: &str| -> Option<Vec<u64>> {
        let plain = text.split(['-', '+']).next()?;
        plain.split('.').map(|part| part.parse().ok()).collect()
    };
    match (numbers(version), numbers(than)) {
        (Some(version), Some(than)) => version < than,
        _ => false,
    }
}
