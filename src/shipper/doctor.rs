//! `cis490 doctor` on a lab host: its queue, its code, and the way to the receiver.

use std::path::Path;

use super::checkout::local_commit;
use super::client::{Answer, NoAnswer, ReceiverClient};
use super::config::Config;
use super::probe::{self, Entry};
use super::root::Root;
use super::state::State;
use super::stop::Stop;
use crate::doctor::{self, Finding};
use crate::human::counted;
use crate::names::CommitHash;
use crate::wire::{self, GateVerdict, Known};

/// All lines, in the order in which a person would fix them. `repo` is the checkout of the code.
pub(crate) fn examine(config: &Config, repo: &Path) -> Vec<Finding> {
    let mut findings = vec![doctor::versions(), doctor::clock()];
    findings.extend(queue(config));
    findings.push(doctor::git());
    if let Err(failure) = config.token() {
        findings.push(Finding::of_failure("token", &failure));
        return findings;
    }
    let receiver = match ReceiverClient::new(config, Stop::default()) {
        Ok(receiver) => receiver,
        Err(failure) => {
            findings.push(Finding::of_failure("receiver", &failure));
            return findings;
        }
    };
    let reached = reach(config, &receiver);
    let is_there = reached.severity != doctor::Severity::Fail;
    findings.push(reached);
    if is_there {
        findings.extend(upload_path(config, &receiver));
        findings.push(code(&receiver, repo));
    }
    findings
}

fn queue(config: &Config) -> Vec<Finding> {
    let root = match Root::open(&config.root) {
        Ok(root) => root,
        Err(failure) => return vec![Finding::of_failure("queue", &failure)],
    };
    let dir = config.root.display();
    let mut findings = vec![match root.is_locked() {
        Some(true) => Finding::ok("queue", format!("{dir}; the shipper is running")),
        Some(false) => Finding::warn(
            "queue",
            format!("{dir}: the shipper is not running, so nothing is sent"),
            "systemctl start cis490-shipper",
        ),
        None => Finding::warn(
            "queue",
            format!("{dir}: this user cannot see whether the shipper runs"),
            "run doctor as the user that runs cis490 ship",
        ),
    }];
    let state = State::read(&root.state_file()).unwrap_or_default();
    if !state.holds.is_empty() {
        findings.push(Finding::warn(
            "held",
            format!(
                "{} held: the episodes of those commits are kept and not sent",
                counted(state.holds.len(), "commit")
            ),
            "cis490 status says why, and what to do",
        ));
    }
    findings.extend(doctor::disk(&config.root, 0));
    findings
}

fn reach(config: &Config, receiver: &ReceiverClient) -> Finding {
    let url = &config.receiver_url;
    match receiver.get(wire::HEALTH_PATH) {
        Ok(answer) if answer.status == 200 => {
            let health: serde_json::Value = answer.json().unwrap_or_default();
            let theirs = health["version"].as_str().unwrap_or("unknown");
            let ours = env!("CARGO_PKG_VERSION");
            let answers = format!("{url} answers, version {theirs}");
            if theirs == ours {
                Finding::ok("receiver", answers)
            } else {
                Finding::ok(
                    "receiver",
                    format!("{answers}; this is {ours}, and either may be upgraded first"),
                )
            }
        }
        Ok(answer) if answer.problem().is_some() => Finding::warn(
            "receiver",
            format!("{url} answers, but accepts nothing now: {}", answer.words()),
            "nothing here, episodes wait; on the receiver: cis490 doctor",
        ),
        Ok(answer) => Finding::fail(
            "receiver",
            format!(
                "the server at {url} is not a cis490 receiver: {}",
                answer.words()
            ),
            "is it a proxy, or another program? receiver_url must name the Pi itself, port 8490",
        ),
        Err(NoAnswer::Unreachable(unreached)) => Finding::fail(
            "receiver",
            format!("cannot reach {url}: {}", unreached.why),
            unreached.tls_remedy.unwrap_or("is WireGuard up (wg show lists a recent handshake)? does ping to that address work? does the receiver run there (cis490 doctor)?"),
        ),
        Err(no_answer) => Finding::fail(
            "receiver",
            format!("{url} accepts connections but did not answer: {no_answer}"),
            "find out which program listens there; on the receiver: journalctl -u cis490-receiver",
        ),
    }
}

/// Sends full packets as an upload that is only a question, so nothing is stored. The answer shows
/// whether this host is let in.
fn upload_path(config: &Config, receiver: &ReceiverClient) -> Vec<Finding> {
    let smaller = "lower the MTU on both ends of the tunnel: ip link set mtu 1280 dev wg0, and MTU = 1280 in its configuration";
    let probe = match probe::send(config, receiver) {
        Ok(probe) => probe,
        Err(error) => {
            return vec![Finding::fail(
                "path",
                format!("full packets could not be sent: {error}"),
                "try a lower MTU on both ends of the tunnel: ip link set mtu 1280 dev wg0",
            )];
        }
    };
    let mtu = probe
        .mtu
        .map_or("unknown".to_owned(), |mtu| mtu.to_string());
    if !probe.is_through() {
        return vec![Finding::fail(
            "path",
            format!(
                "small packets arrive and full ones do not (path MTU {mtu}): something on the path drops them"
            ),
            smaller,
        )];
    }
    let kib = probe.bytes() >> 10;
    let took = doctor::millis(probe.took);
    let path = format!("{kib} KiB sent in {took}; path MTU {mtu}");
    vec![Finding::ok("path", path), token(config, probe.entry())]
}

fn token(config: &Config, entry: Entry) -> Finding {
    let host = &config.host_id;
    match (entry, &config.token_file) {
        (Entry::Open, Some(_)) => Finding::ok("token", format!("{host} is let in")),
        (Entry::Open, None) => Finding::ok("token", format!("{host} is let in without a token")),
        (Entry::Closed(why), _) => Finding::fail(
            "token",
            format!("the receiver does not let {host} in: {why}"),
            "put the token that cis490 token printed for this host into token_file, or fix its [[host]] in receiver.toml and systemctl reload cis490-receiver there",
        ),
        (Entry::Unknown(why), _) => Finding::warn(
            "token",
            format!("not tried, the receiver accepts nothing now: {why}"),
            "run doctor again when the receiver accepts uploads; if the answer is a proxy's, look at its limits",
        ),
    }
}

/// Whether the gate admits what this host records now.
fn code(receiver: &ReceiverClient, repo: &Path) -> Finding {
    let commit = match local_commit(repo) {
        Ok(commit) => commit,
        Err(failure) => return Finding::warn("code", failure.error(), failure.hint()),
    };
    let answer = match receiver.gate(&commit) {
        Ok(answer) => answer,
        Err(error) => {
            return Finding::warn(
                "code",
                format!("the gate did not answer: {error}"),
                "try again",
            );
        }
    };
    match (answer.status, answer.json::<GateVerdict>()) {
        (
            200,
            Some(GateVerdict {
                position: Some(position),
                window,
                ..
            }),
        ) => {
            let left = window.saturating_sub(position);
            let found = format!("commit {commit} is accepted, {position} of {window}");
            if left < wire::remaining_low(window) {
                Finding::warn(
                    "code",
                    format!(
                        "{found}: {} until it is refused",
                        counted(left, "more commit")
                    ),
                    "update this lab host now",
                )
            } else {
                Finding::ok("code", found)
            }
        }
        (200, _) => Finding::ok(
            "code",
            format!("commit {commit} is accepted: the gate is disabled"),
        ),
        (412, _) => refused(&commit, &answer),
        _ => unclear(&answer),
    }
}

fn unclear(answer: &Answer) -> Finding {
    Finding::warn(
        "code",
        format!("the gate said neither yes nor no: {}", answer.words()),
        "on the receiver: cis490 doctor",
    )
}

/// 412, by what the receiver knows of the commit.
fn refused(commit: &CommitHash, answer: &Answer) -> Finding {
    let Some(problem) = answer.problem() else {
        return unclear(answer); // a proxy's page
    };
    let found = format!("commit {commit} is refused");
    match problem.known {
        None | Some(Known::Older) => {
            Finding::fail("code", found, "cis490 check shows what to paste")
        }
        Some(Known::Unknown) => Finding::warn(
            "code",
            problem.detail,
            "nothing here; on the receiver: cis490 doctor",
        ),
        Some(Known::NeverPushed) => {
            Finding::fail("code", problem.detail, "git push, from where it was made")
        }
        Some(Known::Elsewhere) => Finding::fail(
            "code",
            problem.detail,
            "git fetch, then git switch or git reset to the branch that the gate follows",
        ),
    }
}
