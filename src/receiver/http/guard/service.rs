//! What may_minihttp calls for each request of a connection, and drops when it is done with it.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use may_minihttp::{HttpService, Request as CrateRequest, Response};

use super::connection::Connection;
use super::connection_table::Entry;
use super::descriptors::Guarded;
use super::{Answers, Guard, Reply, Request};
use crate::sys;

/// One connection's requests, one after the other, but for those that a thread takes (`next_request`).
pub(super) struct Service<A: Answers> {
    pub guard: Arc<Guard>,
    pub answers: Arc<A>,
    pub guarded: Option<Guarded>,
    /// Dropped before our socket is.
    pub entry: Entry,
    /// `None` if the system gave us no socket of our own: nothing is answered then.
    pub connection: Option<Arc<Connection>>,
}

impl<A: Answers> HttpService for Service<A> {
    fn call(&mut self, request: CrateRequest, response: &mut Response) -> io::Result<()> {
        // The threads that coroutines run on live as long as the process.
        sys::keep_freed_blocks();
        let Some(connection) = &self.connection else {
            // It is shut down already: this is never read.
            response.status_code(503, "Service Unavailable");
            return Ok(());
        };
        if !connection.begin_request() {
            return Ok(());
        }
        let request = Request {
            method: request.method(),
            target: request.path(),
            version: request.version(),
            is_over_cap: !self.entry.has_place(),
            fields: request.headers(),
            connection,
        };
        let is_head = request.method == "HEAD";
        let is_upload = matches!(request.method, "PUT" | "PATCH");
        let _answering = is_upload.then(|| Answering::begin(&self.guard.answering));
        let answered = panic::catch_unwind(AssertUnwindSafe(|| self.answers.answer(&request)));
        let reply = answered.unwrap_or_else(|_| Reply::closing(self.answers.failed()));
        let closer = &self.guard.lingering_close;
        match reply {
            Reply::Answer {
                answer,
                closes,
                unread_bytes,
                held,
            } => {
                if closes || is_head || !answer.is_for_the_crate() {
                    let bytes = answer.into_closing_bytes(!is_head);
                    closer.close_holding(connection, bytes, unread_bytes, held);
                } else {
                    connection.end_request(answer.into_response(response));
                }
            }
            Reply::Sent {
                is_whole: false, ..
            } => connection.kill(),
            Reply::Sent {
                closes: true,
                unread_bytes,
                ..
            } => closer.close(connection, Vec::new(), unread_bytes),
            // The bytes that were sent are counted already.
            Reply::Sent { .. } => connection.end_request_answered_elsewhere(),
        }
        Ok(())
    }
}

/// may_minihttp is done with the connection, and closes it after this.
impl<A: Answers> Drop for Service<A> {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection
            && let Some(unreadable) = connection.unreadable()
        {
            // What came was no request, and all before it was answered.
            let answer = self.answers.unreadable(connection.peer(), &unreadable);
            let bytes = answer.into_closing_bytes(true);
            self.guard.lingering_close.close(connection, bytes, 0);
        }
        if let Some(connection) = &self.connection {
            connection.settle_at_its_end(false);
        }
        // Before the descriptor is closed: the next connection has its number.
        self.guarded = None;
    }
}

/// One upload being answered, for as long as this lives.
struct Answering<'a>(&'a AtomicU32);

impl<'a> Answering<'a> {
    fn begin(count: &'a AtomicU32) -> Answering<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Answering(count)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
