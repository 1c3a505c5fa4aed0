//! The demo's receiver, which is a process of its own, and the requests that the demo sends it.
//!
//! The receiver never outlives the demo: `Server` kills it when it is dropped, and if the demo ends
//! without dropping it, the kernel does (`sys::ends_with_us`).

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::stage::{Episode, HOST, Stage};
use super::talk::{self, Answer, ask, cannot};
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::sys;
use crate::wire;

/// How long the demo waits for the receiver. The slowest machines need seconds.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// The receiver's process, killed when this is dropped.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    ready_after: Duration,
}

impl Server {
    pub(super) fn start(stage: &Stage, config: &str) -> Result<Server, Failure> {
        let config = stage.path(config);
        talk::say(format!("$ cis490 receive --config {}", config.display()));
        let log = stage.path("receiver.log");
        let file = File::create(&log).map_err(|error| cannot("write", &log, &error))?;
        let mut command = Command::new(&stage.program);
        command
            .args(["receive", "--config"])
            .arg(config)
            .stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(file);
        sys::ends_with_us(&mut command);
        let begun = Instant::now();
        let child = command
            .spawn()
            .map_err(|error| cannot("start", &stage.program, &error))?;
        let mut server = Server {
            child,
            // Read from its log once it has a port.
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
            ready_after: Duration::ZERO,
        };
        server.wait_until_ready(begun)?;
        server.ready_after = begun.elapsed();
        Ok(server)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    fn wait_until_ready(&mut self, begun: Instant) -> Result<(), Failure> {
        let ready = |server: &mut Server| {
            server.read_address();
            let health = ask(
                server.address,
                &format!("GET {}", wire::HEALTH_PATH),
                "",
                b"",
            );
            health.is_ok_and(|answer| answer.status == 200)
        };
        while !ready(self) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.trouble(&format!("it ended with {status}")));
            }
            if begun.elapsed() > PATIENCE {
                return Err(self.trouble(&format!("it was not ready after {PATIENCE:?}")));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Reads the address from the receiver's log: its port is one that was free.
    fn read_address(&mut self) {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let listening = log.split("event=listening address=").nth(1);
        let address = listening.and_then(|rest| rest.split_once(' ')?.0.parse().ok());
        self.address = address.unwrap_or(self.address);
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Failure> {
        ask(self.address, &format!("GET {path}"), "", b"")
            .map_err(|error| self.trouble(&format!("GET {path}: {error}")))
    }

    /// Sends an episode's stored bytes once more, as the shipper would.
    pub(super) fn put(
        &self,
        stage: &Stage,
        episode: &Episode,
        receipt: &Value,
    ) -> Result<Answer, Failure> {
        let tarball = stage.path(&format!("receiver/episodes/{HOST}/{}.tar.zst", episode.id));
        let body = fs::read(&tarball).map_err(|error| cannot("read", &tarball, &error))?;
        let request = format!("PUT {}/{HOST}/{}", wire::EPISODES_PATH, episode.id);
        talk::say(request.to_string());
        let headers = format!(
            "Content-Length: {}\r\n{}: {}\r\n{}: {}\r\n",
            body.len(),
            wire::COMMIT_HEADER,
            episode.commit.hash,
            wire::SHA256_HEADER,
            receipt["sha256"].as_str().unwrap_or(""),
        );
        ask(self.address, &request, &headers, &body)
            .map_err(|error| self.trouble(&format!("{request}: {error}")))
    }

    /// Waits until the gate's head is this commit; returns how long that took.
    pub(super) fn wait_for_head(&self, head: &CommitHash) -> Result<Duration, Failure> {
        let begun = Instant::now();
        while self.get(wire::GATE_PATH)?.json()?["head_commit"] != head.to_string() {
            if begun.elapsed() > PATIENCE {
                return Err(self.trouble("the gate does not follow the push"));
            }
            thread::sleep(POLL);
        }
        Ok(begun.elapsed())
    }

    /// Sends SIGTERM, as systemd would, and waits until the receiver has ended.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        sys::ask_to_stop(&self.child);
        let begun = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.trouble(&format!("it ended with {status}"))),
                _ if begun.elapsed() > PATIENCE => {
                    return Err(self.trouble("it does not stop when it is asked to"));
                }
                _ => thread::sleep(POLL),
            }
        }
    }

    fn trouble(&self, what: &str) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        Failure::new(
            format!("the receiver: {what}; its log:\n{}", log.trim_end()),
            "this should not happen; please report it with the lines above",
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
