//! Sends the report on the queue to the receiver, each minute and soon after each change (design, section 14).
//!
//! 1. Nothing of an upload ever waits for a report: it has a thread and a connection of its own, and the loop
//!    never hears of its answer.
//! 2. The watchdog is not fed by this thread: see [`service::set_thread_aside`].
//! 3. While the receiver is away no change is reported: it is asked once a minute at most.
//! 4. A receiver that does not know the path (404, 405) is an older one: it is asked again after an hour, or
//!    after SIGHUP.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Answer, NoAnswer, ReceiverClient};
use super::lab_state::Remembered;
use super::live::Live;
use super::queue::Root;
use super::stop::Stop;
use crate::backoff::Backoff;
use crate::events;
use crate::names::HostId;
use crate::service;
use crate::sync::lock;
use crate::wire::{self, LAB_STATE_EVERY_S};

/// However little has changed.
const EVERY: Duration = Duration::from_secs(LAB_STATE_EVERY_S);
/// However much has changed.
const AT_MOST_EVERY: Duration = Duration::from_secs(5);
/// For how long an older receiver is left alone.
const NOT_KNOWN_FOR: Duration = Duration::from_secs(3600);

/// The loop's end of the thread.
pub(super) struct StateSender {
    receiver: Arc<Mutex<Receiver>>,
    live: Arc<Live>,
}

/// Whom the reports go to.
struct Receiver {
    client: Arc<ReceiverClient>,
    /// It is not asked before then: it is away, or does not know the path of reports.
    not_before: Option<Instant>,
}

impl StateSender {
    /// Starts the thread, which ends with the process. If the system gives none, there are no reports, and the
    /// log says so.
    pub(super) fn start(
        host: &HostId,
        root: &Root,
        client: Arc<ReceiverClient>,
        live: Arc<Live>,
        stop: Stop,
    ) -> StateSender {
        let sender = StateSender {
            receiver: Arc::new(Mutex::new(Receiver {
                client,
                not_before: None,
            })),
            live: Arc::clone(&live),
        };
        let reports = Reports {
            path: wire::lab_state_path(host),
            root: root.clone(),
            receiver: Arc::clone(&sender.receiver),
            live,
            stop,
            remembered: Remembered::default(),
            trouble: None,
        };
        let thread = thread::Builder::new().name("report".to_owned());
        if let Err(error) = thread.spawn(move || reports.send_all()) {
            events::report_not_sent(&format!("the system gave no thread: {error}"));
        }
        sender
    }

    /// From here on the reports go this way, and one goes now.
    pub(super) fn use_client(&self, client: Arc<ReceiverClient>) {
        *lock(&self.receiver) = Receiver {
            client,
            not_before: None,
        };
        self.live.folders_changed();
    }
}

/// The pause after a report that was not accepted: up to a minute, and not the same on every lab host, so that
/// those which failed together do not come back together.
fn calm_wait() -> Duration {
    Backoff::default().fail_calmly(EVERY)
}

/// The thread's own.
struct Reports {
    path: String,
    root: Root,
    receiver: Arc<Mutex<Receiver>>,
    live: Arc<Live>,
    stop: Stop,
    remembered: Remembered,
    /// What the log said last of a report that was not accepted.
    trouble: Option<String>,
}

impl Reports {
    fn send_all(mut self) {
        service::set_thread_aside();
        let mut patience = Duration::ZERO;
        while !self.stop.is_set() {
            let facts = self.live.wait(patience);
            patience = EVERY;
            let client = {
                let receiver = lock(&self.receiver);
                let wait = receiver.not_before.map_or(Duration::ZERO, |at| {
                    at.saturating_duration_since(Instant::now())
                });
                if wait.is_zero() {
                    Some(Arc::clone(&receiver.client))
                } else {
                    patience = wait.min(EVERY);
                    None
                }
            };
            if let Some(client) = client {
                match self.remembered.report(&self.root, facts) {
                    Ok(state) => {
                        let heard = client.put_json(&self.path, &state.into_json());
                        self.hear(&client, heard);
                    }
                    Err(error) => self.note_trouble(format!("the folders cannot be read: {error}")),
                }
            }
            thread::sleep(AT_MOST_EVERY);
        }
    }

    fn hear(&mut self, client: &Arc<ReceiverClient>, heard: Result<Answer, NoAnswer>) {
        // That the receiver is away is reported by the uploads, if any wait.
        let Ok(answer) = heard else {
            return self.pause(client, calm_wait());
        };
        match answer.status {
            200..=299 => self.trouble = None,
            404 | 405 => {
                self.pause(client, NOT_KNOWN_FOR);
                self.note_trouble(format!("{} (an older receiver)", answer.status));
            }
            _ => {
                self.pause(client, calm_wait());
                self.note_trouble(answer.words());
            }
        }
    }

    /// Asks nothing of this receiver for so long, whatever changes meanwhile.
    fn pause(&self, client: &Arc<ReceiverClient>, wait: Duration) {
        let mut receiver = lock(&self.receiver);
        // A client that has come meanwhile may be of another receiver.
        if Arc::ptr_eq(&receiver.client, client) {
            receiver.not_before = Some(Instant::now() + wait);
        }
    }

    /// The same trouble is logged once.
    fn note_trouble(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            events::report_not_sent(&why);
            self.trouble = Some(why);
        }
    }
}
