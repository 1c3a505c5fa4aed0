//! `PUT /v1/hosts/{host}/state`: a lab host's report on its own queue (design, section 14).
//!
//! Judged in this order: as an upload of that host (403, 401), the length (413), a place (503), the body's
//! content (400). A refused report is logged and counted as a request, and is no refused upload: it changes
//! nothing in what is shown of its host. A plain thread reads the body; uploads have others.

use std::sync::Arc;

use super::Exchange;
use super::fair_limiter::{FairLimiter, Permit};
use super::guard::{Answer, Body, Reply};
use super::head::{Framing, Head};
use super::pace::PaceLimits;
use super::pour;
use super::reply_channel;
use crate::events;
use crate::names::HostId;
use crate::receiver::lab_states::LabStates;
use crate::receiver::refusal::Refusal;
use crate::receiver::stats::Stats;
use crate::thread_pool::{IDLE_MAX, ThreadPool};
use crate::wire::{LAB_STATE_BYTES_MAX, LabState};

/// Reports that are read at the same time.
const REPORTS_MAX: u32 = 16;
/// How far a thread that reads one gives way, in steps of niceness.
const GIVES_WAY: i32 = 10;

/// What all reports share.
pub(super) struct LabReports {
    pub states: Arc<LabStates>,
    /// Who has stored something.
    stats: Arc<Stats>,
    places: Arc<FairLimiter>,
    threads: Arc<ThreadPool>,
    pace: PaceLimits,
}

/// How the reading of a report ended, and how much of its body came.
struct End {
    result: Result<(), Refusal>,
    received_bytes: u64,
}

impl LabReports {
    pub(super) fn new(states: LabStates, stats: Arc<Stats>, pace: PaceLimits) -> LabReports {
        LabReports {
            states: Arc::new(states),
            stats,
            places: FairLimiter::new(REPORTS_MAX),
            threads: ThreadPool::new("report", GIVES_WAY, IDLE_MAX),
            pace,
        }
    }

    /// Has a thread read the report and keep it.
    ///
    /// Errors: the system gives no thread.
    fn start(
        &self,
        permit: Permit,
        host: HostId,
        mut body: Body,
    ) -> std::io::Result<reply_channel::Receiver<End>> {
        let (report, ended) = reply_channel::channel();
        let states = Arc::clone(&self.states);
        let stats = Arc::clone(&self.stats);
        let pace = self.pace;
        self.threads.run(Box::new(move || {
            let result = read(&mut body, pace)
                .map(|state| states.keep(host, state, |host| stats.has_uploads(host)));
            let received_bytes = body.received();
            drop((permit, body)); // before the answer, behind which the next request may come
            // A coroutine that has gone needs no report.
            let _ = report.send(End {
                result,
                received_bytes,
            });
        }))?;
        Ok(ended)
    }
}

fn read(body: &mut Body, pace: PaceLimits) -> Result<LabState, Refusal> {
    let bytes = pour::read_short(body, pace)?;
    LabState::parse(&bytes).map_err(|error| Refusal::BadReport(error.to_string()))
}

impl Exchange<'_> {
    /// Answers a lab host's report.
    pub(super) fn report(self, host: HostId, head: &Head, framing: Framing) -> Reply {
        let permit = match self.judge_report(&host, head, &framing) {
            Ok(permit) => permit,
            Err(refusal) => return self.refuse_report(&refusal, framing, 0),
        };
        let body = self.request.body(framing.length);
        let ended = match self.shared.lab_reports.start(permit, host, body) {
            Ok(ended) => ended,
            Err(error) => {
                events::no_thread(self.peer(), &error);
                return self.refuse_report(&Refusal::TooManyReports, framing, 0);
            }
        };
        if framing.expects_continue {
            self.request.ask_for_the_body();
        }
        let end = ended.recv().unwrap_or(End {
            result: Err(Refusal::Internal),
            received_bytes: 0,
        });
        match end.result {
            Ok(()) => Reply::Answer {
                answer: Answer::new(204, Vec::new(), Vec::new()),
                closes: framing.closes,
                unread_bytes: 0,
                held: None,
            },
            Err(refusal) => self.refuse_report(&refusal, framing, end.received_bytes),
        }
    }

    fn judge_report(
        self,
        host: &HostId,
        head: &Head,
        framing: &Framing,
    ) -> Result<Permit, Refusal> {
        head.is_whole_and_no_web_pages()?;
        let authorization = head.authorization();
        self.shared.access.judge(host, self.peer(), authorization)?;
        if framing.length > LAB_STATE_BYTES_MAX as u64 {
            return Err(Refusal::ReportTooLarge {
                bytes: framing.length,
            });
        }
        let place = self.shared.lab_reports.places.take(self.peer());
        place.map_err(|_| Refusal::TooManyReports)
    }

    fn refuse_report(self, refusal: &Refusal, framing: Framing, received_bytes: u64) -> Reply {
        let method = self.request.method;
        let path = self.request.target;
        events::refused_request(self.peer(), method, path, &refusal.as_event());
        self.shared.counters.refused_request(refusal);
        let is_complete = received_bytes == framing.length;
        Reply::Answer {
            answer: Answer::refusal(refusal),
            closes: framing.closes || !is_complete,
            unread_bytes: framing.length - received_bytes,
            held: None,
        }
    }
}
