//! The receiver's list, a page at a time.

use std::time::Duration;

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

/// Asks for the rows from `cursor` on, inclusive, or from the start; of one host if one is named.
///
/// Errors: the receiver says no, is no receiver, or is away for too long.
pub(super) fn ask(
    client: &ReaderClient,
    patience: &Patience,
    cursor: Option<&Cursor>,
    host: Option<&HostId>,
) -> Result<Answer, End> {
    let mut query = format!("?limit={PAGE_ROWS}");
    if let Some(host) = host {
        query += &format!("&host={host}");
    }
    if let Some(cursor) = cursor {
        query += &format!("&cursor={}", cursor.as_str());
    }
    let path = format!("{}{query}", wire::EPISODES_PATH);
    let mut backoff = Backoff::default();
    loop {
        match ask_once(client, &path) {
            Ok(answer) => {
                patience.heard();
                return Ok(answer);
            }
            Err(Fault::End(end)) => return Err(end),
            Err(Fault::Away(asked, why)) => patience.wait(&mut backoff, asked, why)?,
        }
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
