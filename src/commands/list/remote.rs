//! The list of a receiver, asked for page by page. The token goes to the address of `--url` and nowhere
//! else: what the receiver says about other addresses is not followed.

use std::path::Path;
use std::thread;
use std::time::Duration;

use ureq::http::Response;
use ureq::{Agent, Body};

use crate::config;
use crate::failure::Failure;
use crate::human::without_user;
use crate::names::HostId;
use crate::receiver::store::row_pages::ROWS_MAX;
use crate::receiver::store::rows::{self, Line};
use crate::terminal::one_line;
use crate::tls::{self, Trust};
use crate::wire::{self, Problem};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// One page, from its question to its last byte: of a slow line too.
const PAGE_TIMEOUT: Duration = Duration::from_secs(300);
/// How often a page is asked for.
const TRIES: u32 = 4;
/// The longest wait before a page is asked for again.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A page has 1 MiB at most.
const PAGE_BYTES_MAX: u64 = 2 << 20;

pub(super) struct Receiver {
    agent: Agent,
    /// As the person typed it, without a slash at the end.
    url: String,
    token: Option<String>,
}

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
        check_url(url)?;
        let url = config::with_plain_scheme(url);
        let trust = tls::trust_for("--url", &url, "--ca-file", ca_file)?;
        let token = token_file.map(|file| config::read_secret("--token-file", file));
        Ok(Receiver {
            agent: agent(trust.as_ref()),
            url: url.trim_end_matches('/').to_owned(),
            token: token.transpose()?,
        })
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
                return Err(self.odd("its list does not go on"));
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
        let url = format!("{}{}?{query}", self.url, wire::EPISODES_PATH);
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().map_err(|error| self.no_answer(error))?;
        let status = response.status().as_u16();
        let next = header(&response, wire::NEXT_HEADER);
        let wait_s = header(&response, "Retry-After").and_then(|text| text.parse().ok());
        let has_more = response.headers().contains_key("link");
        let body = response.body_mut().with_config().limit(PAGE_BYTES_MAX);
        let rows = body.read_to_vec().map_err(|error| self.no_answer(error))?;
        if status == 503
            && let Some(wait_s) = wait_s
        {
            return Ok(Answer::Busy {
                wait: Duration::from_secs(wait_s).min(WAIT_MAX),
                failure: self.refused(status, &rows),
            });
        }
        if status != 200 {
            return Err(self.refused(status, &rows));
        }
        let is_cursor =
            |next: &String| !next.is_empty() && next.bytes().all(|b| b.is_ascii_digit());
        let next = next.filter(is_cursor);
        Ok(Answer::Page(Page {
            rows,
            next: next.ok_or_else(|| self.odd("its list has no X-Cis490-Next"))?,
            has_more,
        }))
    }

    fn no_answer(&self, error: ureq::Error) -> Failure {
        if let Some(fault) = Trust::fault(&error) {
            return Failure::new(
                format!("cannot ask {}: {}", self.url, fault.what),
                fault.remedy,
            );
        }
        Failure::new(
            format!("cannot ask {}: {error}", self.url),
            "does the receiver run, is WireGuard up, and are address and port right?",
        )
    }

    fn refused(&self, status: u16, body: &[u8]) -> Failure {
        let url = &self.url;
        let problem: Option<Problem> = serde_json::from_slice(body).ok();
        let Some(problem) = problem.filter(|problem| problem.name().is_some()) else {
            return self.odd(&format!("status {status}"));
        };
        let hint = match problem.name() {
            Some("bad-cursor") => "the index was rebuilt while it was read: run the command again",
            Some("bad-query") => "the receiver is of another version: update the older of the two",
            _ => "cis490 help refusals explains each answer",
        };
        let name = problem.name().unwrap_or_default();
        let words = format!(
            "{url} answered {status} {}: {}",
            one_line(name),
            one_line(&problem.detail)
        );
        Failure::new(words, hint)
    }

    fn odd(&self, what: &str) -> Failure {
        Failure::new(
            format!("{} does not answer as a receiver: {what}", self.url),
            "find out what listens there; a receiver of an older version has no list: update it",
        )
    }
}

fn check_url(url: &str) -> Result<(), Failure> {
    let plain = config::with_plain_scheme(url);
    let has_host = |scheme| {
        let rest = plain.strip_prefix(scheme);
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    };
    let is_plain = url
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"?#@".contains(&b));
    if is_plain && (has_host("http://") || has_host("https://")) {
        return Ok(());
    }
    Err(Failure::new(
        format!("--url {:?} is not a receiver's address", without_user(url)),
        "http://HOST:PORT or https://HOST[:PORT], without user (not shown here) and query; a token belongs in --token-file",
    ))
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    value.to_str().ok().map(str::to_owned)
}

fn agent(trust: Option<&Trust>) -> Agent {
    let agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(PAGE_TIMEOUT))
        .max_idle_connections(0)
        .user_agent(concat!("cis490/", env!("CARGO_PKG_VERSION")));
    let agent = match trust {
        Some(trust) => trust.for_ureq(agent),
        None => agent,
    };
    agent.build().new_agent()
}
