//! The receiver's list, a page at a time.

use std::time::{Duration, Instant};

use super::cursor::Cursor;
use super::end::End;
use super::patience::Patience;
use crate::backoff::Backoff;
use crate::failure::Failure;
use crate::names::{HostId, StoreId};
use crate::reader_client::{
    BadBody, NoAnswer, ReaderClient, header, is_of_trust, problem, read_body,
};
use crate::wire;

const PAGE_ROWS: usize = 1000;
/// A page of ours has 1 MiB at most, and one row more.
const PAGE_BYTES_MAX: u64 = 2 << 20;

/// One answer to the question for rows.
pub(super) struct Page {
    pub store: StoreId,
    /// The rows, a line each.
    pub text: Vec<u8>,
    /// Of the last row; `None` without any.
    pub last: Option<Cursor>,
    pub next: Cursor,
    pub has_more: bool,
}

impl Page {
    /// The lines, without their line breaks.
    pub(super) fn lines(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.text
            .split(|&b| b == b'\n')
            .filter(|line| !line.is_empty())
    }
}

/// What a question for rows came to.
pub(super) enum Answer {
    Page(Page),
    /// The cursor is none of this list.
    BadCursor,
}

/// Why a question has no page.
enum Fault {
    /// It is worth another try, after the peer's `Retry-After`.
    Away(Option<Duration>, Failure),
    End(End),
}

/// Asks for pages, one try at a time: the caller has other work while the receiver does not answer.
pub(super) struct Asker<'a> {
    client: &'a ReaderClient,
    patience: &'a Patience,
    /// The only host whose rows are asked for.
    host: Option<&'a HostId>,
    backoff: Backoff,
    /// The last question has no answer yet.
    away: Option<Away>,
}

/// The receiver does not answer.
struct Away {
    /// When the question may be asked again.
    not_before: Instant,
    why: Failure,
}

impl<'a> Asker<'a> {
    pub(super) fn new(
        client: &'a ReaderClient,
        patience: &'a Patience,
        host: Option<&'a HostId>,
    ) -> Asker<'a> {
        Asker {
            client,
            patience,
            host,
            backoff: Backoff::default(),
            away: None,
        }
    }

    /// Whether the last question has no answer yet.
    pub(super) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Whether a question may be asked now.
    pub(super) fn is_due(&self) -> bool {
        let away = self.away.as_ref();
        away.is_none_or(|away| away.not_before <= Instant::now())
    }

    /// Waits until a question may be asked.
    ///
    /// Errors: the pull ends.
    pub(super) fn await_due(&mut self) -> Result<(), End> {
        match self.away.take() {
            Some(away) if !self.patience.wait_until(away.not_before) => Err(End::Waits(away.why)),
            _ => Ok(()),
        }
    }

    /// Asks once for the rows from `cursor` on, inclusive, or from the start. `None` if the receiver does not
    /// answer: the question may be asked again later.
    ///
    /// Errors: the receiver says no, is no receiver, or is away for too long.
    pub(super) fn ask(&mut self, cursor: Option<&Cursor>) -> Result<Option<Answer>, End> {
        self.away = None;
        let (asked, why) = match ask_once(self.client, &self.path(cursor)) {
            Ok(answer) => {
                self.patience.heard();
                self.backoff.reset();
                return Ok(Some(answer));
            }
            Err(Fault::End(end)) => return Err(end),
            Err(Fault::Away(asked, why)) => (asked, why),
        };
        match self.patience.next_try(&mut self.backoff, asked) {
            Some(not_before) => self.away = Some(Away { not_before, why }),
            None => return Err(End::Waits(why)),
        }
        Ok(None)
    }

    fn path(&self, cursor: Option<&Cursor>) -> String {
        self.of_the_page(wire::EPISODES_PATH, cursor)
    }

    /// Where the small episodes of the page at `cursor` come together.
    pub(super) fn bundle_path(&self, cursor: Option<&Cursor>) -> String {
        self.of_the_page(wire::BUNDLE_PATH, cursor)
    }

    fn of_the_page(&self, path: &str, cursor: Option<&Cursor>) -> String {
        let mut path = format!("{path}?limit={PAGE_ROWS}");
        if let Some(host) = self.host {
            path += &format!("&host={host}");
        }
        if let Some(cursor) = cursor {
            path += &format!("&cursor={}", cursor.as_str());
        }
        path
    }
}

fn ask_once(client: &ReaderClient, path: &str) -> Result<Answer, Fault> {
    // A certificate that is not trusted is so a minute later.
    let away = |error: NoAnswer| match client.no_answer(&error) {
        failure if is_of_trust(&error) => Fault::End(End::Waits(failure)),
        failure => Fault::Away(None, failure),
    };
    let mut response = client.get(path, &[]).map_err(away)?;
    let status = response.status().as_u16();
    let field = |name| header(&response, name);
    let store = field(wire::STORE_HEADER).and_then(|text| StoreId::parse(&text).ok());
    let cursor = |name| field(name).and_then(|text| Cursor::try_from(text).ok());
    let (last, next) = (cursor(wire::LAST_HEADER), cursor(wire::NEXT_HEADER));
    let has_more = response.headers().contains_key("link");
    let asked = retry_after(field("Retry-After"));
    let text = read_body(&mut response, PAGE_BYTES_MAX).map_err(|bad| match bad {
        BadBody::TooLong => {
            let what = format!("a page of its list has more than {PAGE_BYTES_MAX} bytes");
            Fault::End(End::Wrong(client.odd(&what)))
        }
        BadBody::Broken(error) => away(error),
    })?;
    match status {
        200 => {}
        400 if problem(&text).is_some_and(|problem| problem.name() == Some("bad-cursor")) => {
            return Ok(Answer::BadCursor);
        }
        408 | 429 | 500.. => return Err(Fault::Away(asked, client.refused(status, &text))),
        _ => return Err(Fault::End(End::Waits(client.refused(status, &text)))),
    }
    let missing = |name: &str| {
        let what = format!("its list has no right {name}");
        Fault::End(End::Wrong(client.odd(&what)))
    };
    Ok(Answer::Page(Page {
        store: store.ok_or_else(|| missing(wire::STORE_HEADER))?,
        next: next.ok_or_else(|| missing(wire::NEXT_HEADER))?,
        last,
        text,
        has_more,
    }))
}

/// A `Retry-After` in seconds.
pub(super) fn retry_after(text: Option<String>) -> Option<Duration> {
    text?.trim().parse().ok().map(Duration::from_secs)
}
