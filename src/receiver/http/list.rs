//! `GET /v1/episodes`: a page of the index, for readers (design, section 11).
//!
//! Judged in this order: the query's grammar (400), the reader (401, 403), a place (503), the cursor
//! (400). A list in memory is bounded by the places: each is held until the answer has left. (A bundle reads such a
//! page too, in a place of its own: `download/bundle.rs`.)
//! The answer ends its connection: its header lines vary, and those of a connection that stays cannot.

use std::sync::Arc;

use super::Exchange;
use super::blocking_pool::BlockingPool;
use super::fair_limiter::{FairLimiter, NoPermit, Permit};
use super::guard::{Answer, Reply};
use super::head::{Framing, Head};
use super::list_query::ListQuery;
use crate::events;
use crate::failure::Failure;
use crate::receiver::critical_thread::{Pong, ShutdownHandle};
use crate::receiver::refusal::Refusal;
use crate::receiver::store::row_pages::Page;
use crate::wire;

/// Lists under way at the same time, each of 1 MiB at most.
const LISTS_MAX: u32 = 8;
/// Threads that read pages of the index.
const LISTERS: usize = 2;

/// What all lists share. Their threads are their own, so that a slow disk under a list holds up no
/// receipt.
pub(super) struct Lists {
    places: Arc<FairLimiter>,
    pool: BlockingPool,
}

impl Lists {
    /// Errors: the system gave no thread.
    pub(super) fn start(shutdown: &ShutdownHandle) -> Result<Lists, Failure> {
        Ok(Lists {
            places: FairLimiter::of_halves(LISTS_MAX),
            pool: BlockingPool::start("lister", LISTERS, 0, shutdown)?,
        })
    }

    /// A lister that is free calls it.
    pub(super) fn ping(&self, pong: Pong) {
        self.pool.ping(pong);
    }
}

impl Exchange<'_> {
    /// Answers a question for the list, whose body, if any, stays unread.
    pub(super) fn list(self, head: &Head, framing: Framing) -> Reply {
        match self.page(head) {
            Ok((answer, place)) => self.reply_unread(answer, framing).holding(place),
            Err(refusal) => {
                self.log_refusal(&refusal);
                self.reply_unread(Answer::refusal(&refusal), framing)
            }
        }
    }

    fn page(self, head: &Head) -> Result<(Answer, Permit), Refusal> {
        let (_, query) = self.request.target.split_once('?').unwrap_or_default();
        let query = ListQuery::parse(query)?;
        self.reader(head)?;
        let place = self.shared.lists.places.take(self.peer());
        let place = place.map_err(|none| Refusal::TooManyLists {
            of_yours: matches!(none, NoPermit::OwnShare(_)),
        })?;
        let page = self.read_page(&query)?;
        let lines = self.page_lines(&page, wire::EPISODES_PATH, &query);
        Ok((Answer::list(page.rows, lines), place))
    }

    /// The page that a query asks for.
    ///
    /// Errors: the cursor is none, or the index cannot be read.
    pub(super) fn read_page(self, query: &ListQuery) -> Result<Page, Refusal> {
        let question = query.question()?;
        let store = Arc::clone(&self.shared.store);
        let read = self.shared.lists.pool.ask(move || store.page(&question));
        match read {
            Some(Ok(Some(page))) => Ok(page),
            Some(Ok(None)) => Err(Refusal::BadCursor),
            Some(Err(error)) => {
                events::list_failed(self.peer(), &error);
                Err(Refusal::Internal)
            }
            None => Err(Refusal::Internal),
        }
    }

    /// The header lines that say whose page it is, and where `path` is asked for the next one.
    pub(super) fn page_lines(self, page: &Page, path: &str, query: &ListQuery) -> Vec<String> {
        let store = self.shared.store.id();
        let mut lines = vec![
            format!("{}: {store}", wire::STORE_HEADER),
            format!("{}: {}", wire::NEXT_HEADER, page.next),
        ];
        if let Some(last) = page.last {
            lines.push(format!("{}: {last}", wire::LAST_HEADER));
        }
        if page.has_more {
            let following = query.following(page.next);
            lines.push(format!("Link: <{path}?{following}>; rel=\"next\""));
        }
        lines
    }
}
