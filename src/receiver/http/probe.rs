//! A request with `X-Cis490-Probe: 1`, as doctor and install send it: judged on its head as every
//! other, so that its answer says what an upload would get, and then nothing of it is kept. It is not
//! stored, counted, shown, or logged above INFO.

use super::Exchange;
use super::fair_limiter::Permit;
use super::guard::{Answer, Reply};
use super::head::Framing;
use crate::events;
use crate::receiver::refusal::Refusal;
use crate::wire::{self, Slot};

/// How much of a probe's body is read.
const BODY_BYTES_MAX: u64 = 1 << 20;

impl Exchange<'_> {
    /// Answers a probe whose head was found good, once its body is here. Without a permit the body
    /// is left to the close of the connection.
    pub(super) fn take_probe(self, slot: &Slot, permit: Option<Permit>, framing: Framing) -> Reply {
        let bytes = framing.length.min(BODY_BYTES_MAX);
        let drained = match permit {
            Some(permit) if bytes > 0 => self.drain(permit, bytes, framing.expects_continue),
            _ => 0,
        };
        events::probed(self.peer(), &slot.path(), 200, "-");
        Reply::Answer {
            answer: Answer::json(200, &wire::Probed { probe: true }),
            closes: true,
            unread_bytes: framing.length - drained,
            held: None,
        }
    }

    /// Logs a refused probe, and counts it nowhere.
    pub(super) fn log_refused_probe(self, path: &str, refusal: &Refusal) {
        events::probed(self.peer(), path, refusal.status(), refusal.name());
    }

    /// Has a body thread read what comes of the body, `bytes` at most; how many came.
    fn drain(self, permit: Permit, bytes: u64, is_asked_for: bool) -> u64 {
        let body = self.request.body(bytes);
        let Ok(drained) = self.shared.body_threads.drain(permit, body) else {
            return 0;
        };
        if is_asked_for {
            self.request.ask_for_the_body();
        }
        drained.recv().unwrap_or(0)
    }
}
