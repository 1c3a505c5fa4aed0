//! The version gate's part of `cis490 doctor`: doctor asks each source itself, and asks the running
//! receiver for its gate. A source may answer doctor and not the receiver, which has the configuration
//! and the token of its start.

use std::thread;
use std::time::{Duration, Instant};

use crate::doctor::{self, Finding};
use crate::names::CommitHash;
use crate::receiver::config::{Config, GateConfig};
use crate::receiver::store::store_dir;
use crate::receiver::survey;
use crate::receiver::version_gate::failing_words;
use crate::receiver::version_gate::source_check::{
    Ours, SourceAnswer, Tried, head_now, try_sources,
};
use crate::wire::{self, GateState};

/// A receiver that differs from doctor has the time of one more refresh to catch up, but at most this.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the refresh itself may take, after the interval.
const REFRESH_TAKES: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

const RESTART: &str = "systemctl restart cis490-receiver";

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let gate = &config.version_gate;
    let mut findings = Vec::new();
    if !gate.enabled {
        findings.push(Finding::warn(
            "gate",
            "enabled = false: episodes of any commit are accepted",
            format!("set it to true once you do more than collect, then {RESTART}"),
        ));
    }
    let running = running(config);
    let running_head = running.as_ref().and_then(|state| state.head_commit);
    let ours = Ours::of(gate, &config.data_dir, running_head);
    let begun = Instant::now();
    let tried = match try_sources(gate, &ours) {
        Ok(tried) => tried,
        Err(failure) => {
            findings.push(Finding::of_failure("gate", &failure));
            return findings;
        }
    };
    if tried.is_empty() && gate.enabled {
        findings.push(Finding::fail(
            "gate",
            "neither forgejo_url nor a local repository is configured, so no commit is known",
            format!("set forgejo_url, repo_owner and repo_name in [version_gate], or local_repo_path; then {RESTART}"),
        ));
    }
    let took = doctor::millis(begun.elapsed());
    for one in &tried {
        findings.extend(source(one, &tried, &ours, gate, &took));
    }
    if let Some(state) = running {
        findings.extend(of_running(config, state, &tried));
    }
    findings
}

/// The gate of the receiver that works in this store, if there is one.
fn running(config: &Config) -> Option<GateState> {
    let is_running = store_dir::is_in_use(&config.data_dir) == Some(true);
    is_running.then(|| survey::gate(config))?
}

fn source(one: &Tried, all: &[Tried], ours: &Ours, gate: &GateConfig, took: &str) -> Vec<Finding> {
    // Forgejo decides while it answers; else a checkout that is not older than the receiver's window.
    let newest = all.first().and_then(|first| first.answer.as_ref().ok());
    let counts = |tried: &Tried| tried.answer.as_ref().is_ok_and(|answer| answer.stands_in);
    let found = match (&one.answer, newest) {
        (Ok(answer), Some(newest)) if answer.head != newest.head => Finding::warn(
            one.name,
            format!(
                "its head is {}, which differs from Forgejo's {}",
                answer.head, newest.head
            ),
            "set the checkout to what Forgejo has, regularly (git fetch, then git reset --hard): while Forgejo is away it counts only if it is not behind",
        ),
        (Ok(answer), None) if !answer.stands_in => lags(one.name, answer, ours),
        (Ok(answer), _) => Finding::ok(
            one.name,
            format!(
                "head {}, {} of {} commits, answered within {took}",
                answer.head, answer.commits, gate.window
            ),
        ),
        // With a second source that counts, uploads go on while this one fails.
        (Err(trouble), _) if all.iter().any(counts) => {
            Finding::warn(one.name, &trouble.what, &trouble.remedy)
        }
        (Err(trouble), _) => Finding::fail(one.name, &trouble.what, &trouble.remedy),
    };
    let beware = one.beware.iter();
    let beware = beware.map(|trouble| Finding::warn(one.name, &trouble.what, &trouble.remedy));
    std::iter::once(found).chain(beware).collect()
}

/// Forgejo does not answer, and the checkout is older than the receiver's window.
fn lags(name: &'static str, answer: &SourceAnswer, ours: &Ours) -> Finding {
    let known = ours.head.map_or(String::new(), |head| format!(" {head}"));
    Finding::fail(
        name,
        format!(
            "its head is {}: it lacks the newest commit that the receiver knows{known}, or has what a force-push took back, so it is not used; no source reports new commits now",
            answer.head
        ),
        "fix Forgejo, as said above; to have the checkout used meanwhile, fetch into it from a clone that has the branch (git fetch), and after a force-push set it to that (git reset --hard)",
    )
}

/// Compares the running receiver's gate with what doctor found by the configuration.
fn of_running(config: &Config, state: GateState, tried: &[Tried]) -> Vec<Finding> {
    let gate = &config.version_gate;
    let mut findings = Vec::new();
    if (state.enabled, state.window) != (gate.enabled, gate.window) {
        findings.push(Finding::warn(
            "running",
            format!(
                "the receiver runs with enabled = {}, window = {}; the configuration has enabled = {}, window = {}",
                state.enabled, state.window, gate.enabled, gate.window
            ),
            RESTART,
        ));
    }
    findings.extend(tried.first().map(|first| match &first.answer {
        Ok(answer) => agrees(config, state, answer.head),
        Err(_) => shares_the_trouble(config, state),
    }));
    findings
}

/// The source has answered doctor, so the receiver must report the same head.
fn agrees(config: &Config, state: GateState, head: CommitHash) -> Finding {
    let knows = |state: &GateState| state.failing.is_none() && state.commits.contains(&head);
    if !knows(&state) {
        // This question makes the receiver ask its source, as an upload of that commit would.
        let _ = survey::ask(config, &format!("{}/{head}", wire::GATE_PATH));
    }
    let state = settled(config, state, knows);
    // Somebody may have pushed since doctor asked. If not, the receiver follows another branch, which
    // also has this commit.
    let head = if state.head_commit == Some(head) {
        head
    } else {
        head_now(&config.version_gate).unwrap_or(head)
    };
    let is_there = |state: &GateState| state.failing.is_none() && state.head_commit == Some(head);
    let state = settled(config, state, is_there);
    if let Some(failing) = &state.failing {
        return Finding::fail(
            "running",
            format!(
                "the running receiver's source {}, and answers doctor: {}",
                failing_words(failing),
                failing.detail
            ),
            format!(
                "the receiver has the token and the keys of [version_gate] from its start, and they were changed since: {RESTART}"
            ),
        );
    }
    let known = state
        .head_commit
        .map_or("none".to_owned(), |head| head.to_string());
    if is_there(&state) {
        return Finding::ok("running", format!("the receiver's head is {known} too"));
    }
    Finding::fail(
        "running",
        format!(
            "the running receiver's head is {known}, and doctor found {head}: it asks another Forgejo, repository or branch than the configuration names"
        ),
        RESTART,
    )
}

/// The source does not answer doctor either.
fn shares_the_trouble(config: &Config, state: GateState) -> Finding {
    let state = settled(config, state, |state| state.failing.is_some());
    match &state.failing {
        Some(failing) => Finding::warn(
            "running",
            format!(
                "the running receiver's source {} as well",
                failing_words(failing)
            ),
            "as said above: known commits are accepted, and a lab host whose commit is newer needs nothing",
        ),
        None => Finding::fail(
            "running",
            "the running receiver's source answers and doctor's does not: they use different configurations",
            format!(
                "compare the configuration with what the receiver was started with; then {RESTART}"
            ),
        ),
    }
}

/// Asks until the receiver's state is as wanted, or until one refresh must have ended. Returns the last
/// state.
fn settled(
    config: &Config,
    mut state: GateState,
    is_as_wanted: impl Fn(&GateState) -> bool,
) -> GateState {
    let interval = Duration::from_secs(config.version_gate.refresh_seconds);
    let give_up_at = Instant::now() + interval.min(WAIT_MAX) + REFRESH_TAKES;
    while !is_as_wanted(&state) && Instant::now() < give_up_at {
        thread::sleep(LOOK_AGAIN);
        state = survey::gate(config).unwrap_or(state);
    }
    state
}
