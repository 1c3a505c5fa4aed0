//! `cis490 doctor` on the receiver: what it needs, tried one by one.

use std::io;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use super::config::Config;
use super::store::threshold;
use super::survey::ask;
use super::version_gate::trial::{Tried, try_sources};
use crate::doctor::{self, Finding};
use crate::human::counted;
use crate::wire::{self, Problem};

/// All lines, in the order in which a person would fix them.
pub fn examine(config: &Config, config_path: &Path) -> Vec<Finding> {
    let mut findings = vec![doctor::versions(), doctor::clock()];
    findings.extend(store(config, config_path));
    findings.push(port(config));
    findings.push(doctor::git());
    findings.extend(gate(config));
    findings.push(access(config));
    findings.extend(secrecy(config, config_path));
    findings
}

fn store(config: &Config, config_path: &Path) -> Vec<Finding> {
    if let Err(failure) = threshold::look(&config.data_dir, config_path) {
        return vec![Finding::of_failure("store", &failure)];
    }
    let dir = config.data_dir.display();
    let mut findings = vec![Finding::ok("store", dir.to_string())];
    findings.extend(doctor::disk(&config.data_dir, config.min_free_bytes));
    findings
}

/// Either the receiver answers there, or it could listen there.
fn port(config: &Config) -> Finding {
    let listen = config.listen;
    match threshold::is_in_use(&config.data_dir) {
        Some(true) => return running(config),
        Some(false) => {}
        None => {
            return Finding::warn(
                "port",
                "this user cannot see whether the receiver runs",
                "run doctor as the user that runs cis490 receive",
            );
        }
    }
    match TcpListener::bind(listen) {
        Ok(_) => Finding::warn(
            "port",
            format!("{listen} is free: the receiver is not running"),
            "systemctl start cis490-receiver",
        ),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::fail(
            "port",
            format!("{listen} is in use by something other than the receiver of this store"),
            format!(
                "find that program (ss -ltnp 'sport = :{}') and stop it, or set another listen",
                listen.port()
            ),
        ),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Finding::fail(
            "port",
            format!("this machine has no address {}", listen.ip()),
            "is WireGuard up (wg show)? otherwise set listen = \":8490\"",
        ),
        Err(error) => Finding::fail(
            "port",
            format!("cannot listen on {listen}: {error}"),
            "a port below 1024 needs root: set another listen",
        ),
    }
}

fn running(config: &Config) -> Finding {
    let address = config.listen;
    let begun = Instant::now();
    match ask(config, wire::HEALTH_PATH) {
        Ok(answer) if answer.status == 200 => {
            let took = doctor::millis(begun.elapsed());
            Finding::ok(
                "port",
                format!("the receiver answers on {address} in {took}"),
            )
        }
        Ok(answer) => {
            let problem: Option<Problem> = serde_json::from_str(&answer.body).ok();
            let words = problem.map_or(String::new(), |problem| format!(": {}", problem.detail));
            Finding::fail(
                "port",
                format!(
                    "the receiver on {address} accepts no uploads now: {}{words}",
                    answer.status
                ),
                "the lines below may say why; cis490 help refusals explains the answer",
            )
        }
        Err(error) => Finding::fail(
            "port",
            format!("a cis490 process works in the store, but {address} does not answer: {error}"),
            "it may be a backfill, or a receiver started with another --listen; otherwise systemctl restart cis490-receiver",
        ),
    }
}

fn gate(config: &Config) -> Vec<Finding> {
    let gate = &config.version_gate;
    let mut findings = Vec::new();
    if !gate.enabled {
        findings.push(Finding::warn(
            "gate",
            "enabled = false: episodes of any commit are accepted",
            "to keep out-of-date hosts out, set it to true and restart the receiver",
        ));
    }
    let begun = Instant::now();
    let tried = match try_sources(gate) {
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
            "set forgejo_url, repo_owner and repo_name in [version_gate], or local_repo_path",
        ));
    }
    // If one of two sources answers, uploads are still accepted.
    let any_answers = tried.iter().any(|tried| tried.told.is_ok());
    let newest = tried.first().and_then(|tried| tried.told.as_ref().ok());
    for Tried { name, told } in &tried {
        findings.push(match told {
            Ok(told) if newest.is_some_and(|newest| told.head != newest.head) => Finding::warn(
                name,
                format!("its head is {}, which differs from Forgejo's", told.head),
                "pull there regularly (git pull): while Forgejo is away, this repository is used only if it is not behind",
            ),
            Ok(told) => Finding::ok(
                name,
                format!("head {}, {} of {} commits, answered within {}", told.head, told.commits, gate.window, doctor::millis(begun.elapsed())),
            ),
            Err(trouble) if any_answers => Finding::warn(name, &trouble.what, &trouble.remedy),
            Err(trouble) => Finding::fail(name, &trouble.what, &trouble.remedy),
        });
    }
    findings
}

fn access(config: &Config) -> Finding {
    match config.hosts.len() {
        0 => Finding::warn(
            "access",
            "no [[host]]: anyone who can reach the port may upload under any name",
            "nothing behind WireGuard; otherwise add [[host]] tables (cis490 token HOST prints one)",
        ),
        count => Finding::ok(
            "access",
            format!(
                "{} may upload, each under its own name",
                counted(count, "host")
            ),
        ),
    }
}

/// A token that others can read protects nothing.
fn secrecy(config: &Config, config_path: &Path) -> Option<Finding> {
    let gate = &config.version_gate;
    let holder = match (&gate.auth_token, &gate.auth_token_file) {
        (Some(_), _) => config_path,
        (None, Some(file)) => file,
        (None, None) => return None,
    };
    let mode = std::fs::metadata(holder).ok()?.mode();
    (mode & 0o004 != 0).then(|| {
        Finding::warn(
            "token",
            format!(
                "{} holds the token for Forgejo, and every user of this machine can read it",
                holder.display()
            ),
            format!("chmod o= {}", holder.display()),
        )
    })
}
