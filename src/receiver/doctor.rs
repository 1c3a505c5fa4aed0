//! `cis490 doctor` on the receiver: everything that the receiver needs, tried one by one.

mod gate;

use std::io;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use super::archive;
use super::config::{Config, ReaderRule};
use super::store::condition::{Unwritable, unwritable};
use super::store::marker;
use super::store::sequence::{self, INDEX_REMEDY};
use super::store::store_dir;
use super::survey::ask;
use crate::doctor::{self, Finding};
use crate::human::counted;
use crate::wire::{self, Problem};

/// All lines, in the order in which a person would fix them.
pub(crate) fn examine(config: &Config, config_path: &Path) -> Vec<Finding> {
    let mut findings = vec![doctor::versions(), doctor::clock()];
    findings.extend(store(config, config_path));
    findings.push(port(config));
    findings.push(doctor::git());
    findings.extend(gate::examine(config));
    findings.push(access(config));
    findings.push(readers(config));
    if let Some(archive) = &config.archive {
        findings.extend(archive::doctor::examine(
            archive,
            marker::id(&config.data_dir),
        ));
    }
    findings.extend(secrecy(config, config_path));
    findings
}

fn store(config: &Config, config_path: &Path) -> Vec<Finding> {
    if let Err(failure) = store_dir::look(&config.data_dir, config_path) {
        return vec![Finding::of_failure("store", &failure)];
    }
    let dir = config.data_dir.display();
    let mut findings = vec![Finding::ok("store", dir.to_string())];
    findings.extend(doctor::disk(&config.data_dir, config.min_free_bytes));
    findings.extend(condition(config));
    findings.extend(index(config));
    findings
}

/// Why the store cannot be written, found as the receiver itself finds it.
fn condition(config: &Config) -> Option<Finding> {
    let found = unwritable(&config.data_dir)?;
    if matches!(found, Unwritable::ReadOnly(_)) {
        return None; // the line of the filesystem says so
    }
    Some(Finding::fail("store", found.to_string(), found.remedy()))
}

fn index(config: &Config) -> Option<Finding> {
    let found = sequence::finding(&config.data_dir)?;
    let words = format!("{}: {}", found.kind.name(), found.why);
    Some(Finding::fail("index", words, INDEX_REMEDY))
}

/// Whether the receiver answers on its port, or else could listen on it.
fn port(config: &Config) -> Finding {
    let listen = config.listen;
    match store_dir::is_in_use(&config.data_dir) {
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
            let problem: Option<Problem> = answer.json().ok();
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

fn readers(config: &Config) -> Finding {
    const SHOWN_MAX: usize = 6;
    let rules = &config.readers;
    if rules.is_empty() {
        let words = "no [[reader]]: nobody may list or fetch the stored episodes";
        return Finding::ok("readers", words);
    }
    let shown: Vec<String> = rules.iter().take(SHOWN_MAX).map(reader).collect();
    let more = match rules.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let words = format!(
        "{} may list and fetch: {}{more}",
        counted(rules.len(), "reader"),
        shown.join(", ")
    );
    Finding::ok("readers", words)
}

/// A reader, and the proof that it needs.
fn reader(rule: &ReaderRule) -> String {
    let id = &rule.id;
    match (rule.address, &rule.token_sha256) {
        (Some(address), Some(_)) => format!("{id} from {address} with its token"),
        (Some(address), None) => format!("{id} from {address}"),
        (None, _) => format!("{id} with its token"),
    }
}

/// A token that other users can read protects nothing.
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
