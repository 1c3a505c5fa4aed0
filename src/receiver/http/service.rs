//! What may_minihttp calls for each request of a connection, and drops when it is done with it.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use may_minihttp::{HttpService, Request, Response};

use super::answer::Answer;
use super::connection::Connection;
use super::connection::intake::Unreadable;
use super::guards::Guarded;
use super::{Exchange, Reply, Shared};
use crate::events;
use crate::receiver::refusal::Refusal;

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

/// One connection's requests, one after the other.
pub(super) struct Service {
    pub shared: Arc<Shared>,
    /// `None` if the system gave us no socket of our own: nothing is answered then.
    pub connection: Option<Arc<Connection>>,
    pub guarded: Option<Guarded>,
    /// Whether there was a place for it when it came, `ConnectionTable` having the word later.
    pub has_place: bool,
}

/// may_minihttp is done with the connection, and closes it after this.
impl Drop for Service {
    fn drop(&mut self) {
        let unreadable = self.connection.as_ref().and_then(|one| one.unreadable());
        if let (Some(connection), Some(unreadable)) = (&self.connection, unreadable) {
            self.shared.answer_unreadable(connection, &unreadable);
        }
        // Before the descriptor is closed: the next connection has its number.
        self.guarded = None;
        self.shared.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    /// What came was no request, and all before it was answered.
    fn answer_unreadable(&self, connection: &Arc<Connection>, unreadable: &Unreadable) {
        let Unreadable { refusal, begins } = unreadable;
        events::unreadable_request(connection.peer(), &refusal.as_event(), begins);
        self.counters.refused_request(refusal);
        let answer = Answer::refusal(refusal).into_closing_bytes(true);
        self.lingering_close.close(connection, &answer, 0);
    }
}

impl HttpService for Service {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        let Some(connection) = self.connection.clone() else {
            // It is shut down already: this is never read.
            response.status_code(503, "Service Unavailable");
            return Ok(());
        };
        if !connection.begin_request() {
            return Ok(());
        }
        let is_head = request.method() == "HEAD";
        let is_upload = request.method() == "PUT";
        let _answering = is_upload.then(|| Answering::begin(&self.shared.answering));
        let exchange = Exchange {
            shared: &self.shared,
            connection: &connection,
            is_probe: false,
        };
        self.has_place = self.has_place || self.shared.connection_table.has_place(&connection);
        let over_cap = !self.has_place;
        let judged = panic::catch_unwind(AssertUnwindSafe(|| exchange.answer(request, over_cap)));
        let reply = judged.unwrap_or_else(|_| Reply::closing(Answer::refusal(&Refusal::Internal)));
        if reply.closes || is_head || !reply.answer.is_for_the_crate() {
            let bytes = reply.answer.into_closing_bytes(!is_head);
            let unread_bytes = reply.unread_bytes;
            self.shared
                .lingering_close
                .close(&connection, &bytes, unread_bytes);
        } else {
            connection.end_request(reply.answer.into_response(response));
        }
        Ok(())
    }
}
