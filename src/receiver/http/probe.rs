//! A request with `X-Cis490-Probe: 1`, as doctor and install send it: judged on its head as every
//! other, so that its answer says what an upload would get, and then nothing of it is kept. It is not
//! stored, counted, shown, or logged above INFO.

use std::io::BufRead;
use std::mem::ManuallyDrop;

use may_minihttp::Request;

use super::answer::Answer;
use super::connection::Phase;
use super::head::Framing;
use super::{Exchange, Reply};
use crate::events;
use crate::receiver::refusal::Refusal;
use crate::wire::{self, Slot};

/// How much of a probe's body is taken.
const BODY_BYTES_MAX: u64 = 1 << 20;

impl Exchange<'_> {
    /// Answers a probe whose head was found good, once its body is here.
    pub(super) fn take_probe(self, slot: &Slot, request: Request, framing: Framing) -> Reply {
        self.drain(request, framing);
        events::probed(self.connection.peer(), &slot.path(), 200, "-");
        Reply::closing(Answer::json(200, &wire::Probed { probe: true }))
    }

    /// Tells the log of a probe that was refused, and nobody else.
    pub(super) fn log_refused_probe(self, path: &str, refusal: &Refusal) {
        events::probed(
            self.connection.peer(),
            path,
            refusal.status(),
            refusal.name(),
        );
    }

    /// Takes the body here, in the coroutine: it is small, no disk waits for it, and the watchdog ends
    /// a connection on which it does not come.
    fn drain(self, request: Request, framing: Framing) {
        // Not dropped: its drop would read all that is left of a longer body.
        let mut body = ManuallyDrop::new(request.body());
        let mut left = framing.length.min(BODY_BYTES_MAX);
        if left == 0 || !self.asks_for_body(framing) {
            return;
        }
        self.connection.enter(Phase::FirstBytes);
        while left > 0 {
            let here = body.fill_buf().map_or(0, <[u8]>::len);
            let taken = here.min(usize::try_from(left).unwrap_or(usize::MAX));
            if taken == 0 {
                break;
            }
            body.consume(taken);
            left -= taken as u64;
        }
        self.connection.enter(Phase::Busy);
    }
}
