//! The version gate (design, section 4) against a stand-in Forgejo and real repositories.

mod blind;
mod commands_in_the_repository;
mod costs;
mod doctor;
mod door;
mod failures;
mod fallback;
mod faults;
mod forgejo_rules;
mod known;
mod local_git;
mod memory;
mod on_miss;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use cis490::names::CommitHash;
use cis490::receiver::config::{GateConfig, Secret};
use cis490::receiver::critical_thread::{ShutdownHandle, StopReason};
use cis490::receiver::version_gate::{Heard, Look, Refreshed, VersionGate};

use crate::forgejo::Forgejo;
use crate::repository::Repository;

/// Longer than anything honest takes, on a machine that does other things too.
const DEADLINE: Duration = Duration::from_secs(60);

/// A gate whose timer thread must not die.
struct Gate {
    gate: Arc<VersionGate>,
    stop: Receiver<StopReason>,
}

impl Gate {
    fn start(config: &GateConfig, data_dir: &Path) -> Gate {
        listen_to_the_log();
        let (stopper, stop) = ShutdownHandle::new();
        let gate = VersionGate::start(config, data_dir, &stopper).unwrap();
        Gate { gate, stop }
    }

    /// With a window loaded.
    fn loaded(config: &GateConfig, data_dir: &Path) -> Gate {
        let gate = Gate::start(config, data_dir);
        eventually("a window", || gate.window().is_some());
        gate
    }

    /// Asks, and waits however long it takes. Asks of the head, so that nothing but the refresh is
    /// waited for.
    fn refresh(&self) -> Refreshed {
        let any = || CommitHash::parse(&"5".repeat(40)).unwrap();
        let commit = self.window().map_or_else(any, |window| window.head());
        let (sender, receiver) = mpsc::channel();
        self.ask(
            &commit,
            Box::new(move |heard: Heard| sender.send(heard.ended).unwrap()),
        );
        receiver.recv_timeout(DEADLINE).unwrap()
    }
}

impl Deref for Gate {
    type Target = VersionGate;
    fn deref(&self) -> &VersionGate {
        &self.gate
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Ok(stop) = self.stop.try_recv()
            && !thread::panicking()
        {
            panic!("the gate stopped the receiver: {stop:?}");
        }
    }
}

/// A repository with so many commits on `main`, and a stand-in Forgejo that serves it.
fn served(commits: u64) -> (Repository, Forgejo) {
    let repository = Repository::new(commits);
    let forgejo = Forgejo::serve(repository.path());
    (repository, forgejo)
}

/// As the stand-in serves it. Refreshes only when asked, after the first; no local repository.
fn config_for(forgejo: &Forgejo) -> GateConfig {
    GateConfig {
        forgejo_url: Some(forgejo.url.clone()),
        repo_owner: Some("lab".to_owned()),
        repo_name: Some("cis490".to_owned()),
        auth_token: None::<Secret>,
        local_repo_path: Some(PathBuf::from("/nonexistent/cis490")),
        refresh_seconds: 3600,
        ..GateConfig::default()
    }
}

/// No Forgejo: the repository alone.
fn config_for_git(path: &Path) -> GateConfig {
    GateConfig {
        local_repo_path: Some(path.to_owned()),
        refresh_seconds: 3600,
        ..GateConfig::default()
    }
}

fn is_admitted(look: Look) -> bool {
    matches!(look, Look::Admitted(_))
}

/// Waits for a condition, with a deadline.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up_at = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(
            Instant::now() < give_up_at,
            "never came: {what}\n{:#?}",
            logged(&[])
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// The log lines of the whole test program. Each test looks for its own URL or path in them.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn listen_to_the_log() {
    struct Log;
    impl log::Log for Log {
        fn enabled(&self, _: &log::Metadata) -> bool {
            true
        }
        fn log(&self, record: &log::Record) {
            let line = format!("{} {}", record.level(), record.args());
            LINES.lock().unwrap().push(line);
        }
        fn flush(&self) {}
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_boxed_logger(Box::new(Log)).unwrap();
        // More than the program logs: what a dependency logs must not hold the token either.
        log::set_max_level(log::LevelFilter::Debug);
    });
}

/// Our own lines that hold all of these texts.
fn logged(texts: &[&str]) -> Vec<String> {
    let lines = LINES.lock().unwrap();
    let ours = lines.iter().filter(|line| line.contains("event="));
    ours.filter(|line| texts.iter().all(|text| line.contains(text)))
        .cloned()
        .collect()
}
