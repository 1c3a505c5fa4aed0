//! The list of a receiver, asked for page by page. The token goes to the address of `--url` and nowhere
//! else: what the receiver says about other addresses is not followed.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::failure::Failure;
use crate::names::HostId;
use crate::reader_client::{BadBody, Limits, NoAnswer, ReaderClient, header, read_body};
use crate::receiver::store::row_pages::ROWS_MAX;
use crate::receiver::store::rows::{self, Line};
use crate::wire;

/// One page, from its question to its last byte: of a slow line too.
const PAGE_TIMEOUT: Duration = Duration::from_secs(300);
/// How often a page is asked for.
const TRIES: u32 = 4;
/// The longest wait before a page is asked for again.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A page has 1 MiB at most.
const PAGE_BYTES_MAX: u64 = 2 << 20;

pub(super) struct Receiver(ReaderClient);

enum Answer {
    Page(Page),
    /// A 503 that says when to come again, and the failure to report if it goes on.
    Busy {
        wait: Duration,
        failure: Failure,
    },
}

/// A part of the list.
struct Page {
    rows: Vec<u8>,
    next: String,
    has_more: bool,
}

impl Receiver {
    /// Errors: the URL is none, or the token or the CA cannot be read.
    pub(super) fn new(
        url: &str,
        token_file: Option<&Path>,
        ca_file: Option<&Path>,
    ) -> Result<Receiver, Failure> {
        let limits = Limits {
            whole: Some(PAGE_TIMEOUT),
            silence: PAGE_TIMEOUT,
            kept_connections: 0,
        };
        ReaderClient::new(url, token_file, ca_file, limits).map(Receiver)
    }

    /// Shows each line of the list to `visit`, for as long as that says so: of one host if one is
    /// named, and with `tail` only so many, the newest.
    ///
    /// Errors: the receiver could not be asked, or said no.
    pub(super) fn each_line(
        &self,
        host: Option<&HostId>,
        tail: Option<usize>,
        visit: &mut dyn FnMut(&Line) -> bool,
    ) -> Result<(), Failure> {
        let of_host = host.map_or(String::new(), |host| format!("&host={host}"));
        let mut begin = match tail {
            Some(rows) if (1..=ROWS_MAX).contains(&rows) => format!("&tail={rows}"),
            _ => String::new(),
        };
        loop {
            let page = self.page(&format!("limit={ROWS_MAX}{of_host}{begin}"))?;
            let mut goes_on = true;
            for line in page.rows.split_inclusive(|&b| b == b'\n') {
                goes_on = goes_on && visit(&rows::line_of(0, line));
            }
            let following = format!("&cursor={}", page.next);
            if !page.has_more || !goes_on {
                return Ok(());
            }
            if following == begin {
                return Err(self.0.odd("its list does not go on"));
            }
            begin = following;
        }
    }

    /// A page. Where the receiver is busy (503), it is asked again after the time that it says.
    fn page(&self, query: &str) -> Result<Page, Failure> {
        let mut tries_left = TRIES;
        loop {
            tries_left -= 1;
            match self.try_page(query)? {
                Answer::Page(page) => return Ok(page),
                Answer::Busy { wait, .. } if tries_left > 0 => thread::sleep(wait),
                Answer::Busy { failure, .. } => return Err(failure),
            }
        }
    }

    fn try_page(&self, query: &str) -> Result<Answer, Failure> {
        let no_answer = |error: NoAnswer| self.0.no_answer(&error);
        let path = format!("{}?{query}", wire::EPISODES_PATH);
        let mut response = self.0.get(&path, &[]).map_err(no_answer)?;
        let status = response.status().as_u16();
        let next = header(&response, wire::NEXT_HEADER);
        let wait_s = header(&response, "Retry-After").and_then(|text| text.parse().ok());
        let has_more = response.headers().contains_key("link");
        let rows = read_body(&mut response, PAGE_BYTES_MAX).map_err(|bad| match bad {
            BadBody::TooLong => self.0.odd("a page of its list is too long"),
            BadBody::Broken(error) => no_answer(error),
        })?;
        if status == 503
            && let Some(wait_s) = wait_s
        {
            return Ok(Answer::Busy {
                wait: Duration::from_secs(wait_s).min(WAIT_MAX),
                failure: self.0.refused(status, &rows),
            });
        }
        if status != 200 {
            return Err(self.0.refused(status, &rows));
        }
        let is_cursor =
            |next: &String| !next.is_empty() && next.bytes().all(|b| b.is_ascii_digit());
        let next = next.filter(is_cursor);
        Ok(Answer::Page(Page {
            rows,
            next: next.ok_or_else(|| self.0.odd("its list has no X-Cis490-Next"))?,
            has_more,
        }))
    }
}
