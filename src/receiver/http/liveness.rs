//! Signs of life: what the heartbeat asks of the running server, and its state in one line.

use std::sync::atomic::Ordering;

use super::{Server, Shared, guard};
use crate::human::counted;
use crate::receiver::critical_thread::Pong;

/// The name of the coroutines' threads, and of all that a connection needs.
pub(crate) const CONNECTIONS: &str = "connections";

impl Server {
    /// Asks the threads that all requests share: each calls the function that `pong` makes for its name.
    /// Returns the names, one for each call.
    pub(crate) fn ping(&self, pong: impl Fn(&'static str) -> Pong) -> Vec<&'static str> {
        let parts = ["clerks", "listers", "finders", "committer", "gate-timer"];
        let [blocking, listing, finding, committer, gate_timer] = parts.map(&pong);
        self.shared.lists.ping(listing);
        self.shared.downloads.ping(finding);
        self.shared.blocking.ping(blocking);
        self.shared.store.ping(committer);
        self.shared.gate.ping(gate_timer);
        guard::ping_workers(|| pong(CONNECTIONS));
        [&parts[..], &[CONNECTIONS; guard::WORKERS]].concat()
    }

    /// Whether there are so many connections that a new one is closed without an answer, which is a sign
    /// of life too.
    pub(crate) fn is_crowded(&self) -> bool {
        self.shared.guard.is_crowded()
    }

    /// The state of the receiver in one line, for `systemctl status`.
    pub(crate) fn status_line(&self) -> String {
        self.shared.status_line()
    }
}

impl Shared {
    /// See [`Server::status_line`].
    pub(super) fn status_line(&self) -> String {
        let shared = self;
        let unwell = shared.store.unwell();
        let unwell = unwell.map(|unwell| format!("accepts no uploads, {},", unwell.short()));
        let state = if shared.draining.load(Ordering::Acquire) {
            "stopping"
        } else if let Some(unwell) = &unwell {
            unwell
        } else if !shared.has_room() {
            "accepts no uploads, the disk is full,"
        } else if shared.gate.enabled() && shared.gate.window().is_none() {
            "accepts no uploads, the gate knows no commits yet,"
        } else {
            "accepts uploads"
        };
        let gate = match shared.gate.window() {
            Some(window) => format!(
                "{} from {}, latest {:.8}",
                counted(window.commits().len(), "commit"),
                window.source(),
                window.head().to_string()
            ),
            None => "none".to_owned(),
        };
        let address = shared.config.load().listen;
        let stored = shared.store.episodes();
        let uploads = counted(shared.uploads.running(), "upload");
        format!("{state} on {address}: {uploads} running, {stored} stored; gate: {gate}")
    }
}
