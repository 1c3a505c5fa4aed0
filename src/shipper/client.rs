//! The HTTP client that asks the receiver. This file and `ureq_transport` are the only ones of this
//! side that name ureq.
//!
//! 1. Every whole answer is an [`Answer`], also one that comes in place of `100 Continue`, or in the
//!    middle of our body before the receiver closes (see `ureq_transport`). Anything else, such as an answer
//!    that breaks off, is [`NoAnswer`], and the episode stays in the queue.
//! 2. Each request of a [`ReceiverClient`] has a connection of its own. A [`Line`] keeps its connection
//!    from one upload to the next; if the other side was just closing it, the upload goes once more over
//!    a new one, so that a kept connection never counts as a fault.
//! 3. No redirect is followed and no proxy taken from the environment: the token goes nowhere else.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::{Agent, Body, SendBody, http};

use super::config::Config;
use super::rate::Rate;
use super::receiver_url::ReceiverUrl;
use super::stop::Stop;
use super::upload_body::{Limit, Tarball, UploadBody};
use super::ureq_transport::{CONNECT_WAIT, Exchange, ReceiverResolver, UreqConnector};
use crate::failure::Failure;
use crate::human::without_user;
use crate::names::{CommitHash, Sha256Digest};
use crate::tls::{self, Trust};
use crate::wire::{self, Problem, Slot};

/// For sending the head.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// For `100 Continue`. Then the body is sent without it: a proxy in between may not support it.
const CONTINUE_WAIT: Duration = Duration::from_secs(3);
/// How long the peer may accept no byte of a body.
const STALL: Duration = Duration::from_secs(60);
/// For an answer of [`wire::ANSWER_BYTES_MAX`].
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Slower than this, and the receiver would hang up by its own limit.
const BYTES_PER_SECOND_MIN: u64 = 1024;
/// The slowest sync of the receiver's disk that is waited for; an old card writes a few MB a second.
const SYNC_BYTES_PER_SECOND_MIN: u64 = 2 << 20;
/// The buffers of a connection, for bodies of gigabytes and for small ones.
const OUTPUT_BYTES: usize = 256 << 10;
const INPUT_BYTES: usize = 64 << 10;
const SMALL_BODY_BYTES_MAX: u64 = 1 << 20;
const SMALL_OUTPUT_BYTES: usize = 64 << 10;
const SMALL_INPUT_BYTES: usize = 16 << 10;

/// Asks the receiver that the configuration names; each request has a connection of its own.
pub(crate) struct ReceiverClient {
    url: ReceiverUrl,
    token: Option<String>,
    /// For https:// alone.
    trust: Option<Trust>,
    /// Of the bodies of all uploads together.
    rate: Rate,
    stop: Stop,
}

/// One tarball, and what its head states.
pub(crate) struct Upload<'a> {
    pub slot: &'a Slot,
    pub commit: CommitHash,
    pub dirty: bool,
    pub sha256: Sha256Digest,
    pub bytes: u64,
    pub tarball: Tarball<'a>,
}

/// A whole answer, from the receiver or from a proxy in its place.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// The commit's place in the window, and the window's length.
    pub gate_position: Option<(u32, u32)>,
    /// How much of an upload the receiver has, and how long it takes that upload to be.
    pub upload_offset: Option<u64>,
    pub upload_length: Option<u64>,
    /// Where a redirect points to, which is never followed.
    location: Option<String>,
    /// It answers a HEAD: so it has no body, be it the receiver's or a proxy's.
    is_to_head: bool,
    body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// No connection came about, so it is of no episode.
    Unreachable(Unreached),
    /// The connection broke, or something that is not HTTP came back.
    Broken(String),
    /// Our own file could not be read.
    OwnFile(io::Error),
}

/// Why no connection came about.
#[derive(Debug)]
pub(crate) struct Unreached {
    /// What happened, without a remedy.
    pub why: String,
    /// What to do, where something answered and the TLS handshake failed.
    pub tls_remedy: Option<&'static str>,
}

impl ReceiverClient {
    /// The receiver that the configuration names.
    ///
    /// Errors: the token or the CA cannot be read.
    pub(crate) fn new(config: &Config, stop: Stop) -> Result<ReceiverClient, Failure> {
        Ok(ReceiverClient {
            url: config.parsed_url()?,
            token: config.token()?,
            trust: config.trust()?,
            rate: Rate::new(config.rate_bytes_per_second),
            stop,
        })
    }

    /// Uploads one tarball. `progress` hears how many bytes have left.
    pub(crate) fn put(
        &self,
        upload: &Upload<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Answer, NoAnswer> {
        let exchange = Exchange::default();
        let agent = self.agent(exchange.clone(), upload.bytes, 0);
        self.put_by(&agent, &exchange, upload, progress)
    }

    /// From here on bodies leave at this rate, that of an upload under way too. `None` for no bound.
    pub(super) fn set_rate(&self, bytes_per_second: Option<u64>) {
        self.rate.set(bytes_per_second);
    }

    /// Asks how far a broken upload of this tarball is.
    pub(super) fn kept(&self, upload: &Upload<'_>) -> Result<Answer, NoAnswer> {
        let url = self.url.without_zone() + &upload.slot.upload_path();
        let request =
            http::Request::head(url).header(wire::SHA256_HEADER, upload.sha256.to_string());
        let answer = self.ask(request)?;
        Ok(Answer {
            is_to_head: true,
            ..answer
        })
    }

    /// Uploads the rest of a tarball, from the byte at `offset` on. `progress` hears how many bytes are
    /// there, those before it among them.
    pub(super) fn patch(
        &self,
        upload: &Upload<'_>,
        offset: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Answer, NoAnswer> {
        let exchange = Exchange::default();
        let agent = self.agent(exchange.clone(), upload.bytes, 0);
        let request = http::Request::patch(self.url.without_zone() + &upload.slot.upload_path())
            .header("Content-Type", wire::PARTIAL_UPLOAD)
            .header(wire::UPLOAD_OFFSET_HEADER, offset)
            .header(wire::UPLOAD_COMPLETE_HEADER, wire::UPLOAD_COMPLETE);
        self.send(&agent, &exchange, request, upload, offset, progress)
    }

    /// A way to upload one tarball after the other over one connection. None has more than `bytes_max`.
    pub(super) fn line(&self, bytes_max: u64) -> Line<'_> {
        let exchange = Exchange::default();
        Line {
            client: self,
            agent: self.agent(exchange.clone(), bytes_max, 1),
            exchange,
        }
    }

    fn put_by(
        &self,
        agent: &Agent,
        exchange: &Exchange,
        upload: &Upload<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Answer, NoAnswer> {
        let request = http::Request::put(self.url.without_zone() + &upload.slot.path())
            .header("Content-Type", "application/zstd");
        self.send(agent, exchange, request, upload, 0, progress)
    }

    /// Sends a tarball from the byte at `from` on, under this head.
    fn send(
        &self,
        agent: &Agent,
        exchange: &Exchange,
        head: http::request::Builder,
        upload: &Upload<'_>,
        from: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Answer, NoAnswer> {
        exchange.begin();
        let limit = Limit {
            rate: &self.rate,
            stop: &self.stop,
        };
        let mut body = UploadBody::new(
            upload.tarball,
            from,
            upload.bytes,
            exchange,
            limit,
            progress,
        );
        let mut request = head
            .header("Content-Length", upload.bytes.saturating_sub(from))
            .header("Expect", "100-continue")
            .header(wire::COMMIT_HEADER, upload.commit.to_string())
            .header(wire::SHA256_HEADER, upload.sha256.to_string());
        if upload.dirty {
            request = request.header(wire::DIRTY_HEADER, "true");
        }
        let sent = self
            .with_token(request)
            .body(SendBody::from_reader(&mut body))
            .map_err(ureq::Error::from)
            .and_then(|request| agent.run(request));
        match body.into_fault() {
            Some(error) => Err(NoAnswer::OwnFile(error)),
            None => Self::hear(sent, exchange),
        }
    }

    /// Asks whether the gate would admit a commit.
    pub(crate) fn gate(&self, commit: &CommitHash) -> Result<Answer, NoAnswer> {
        self.get(&format!("{}/{commit}", wire::GATE_PATH))
    }

    /// Sends `GET path`.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        let url = format!("{}{path}", self.url.without_zone());
        self.ask(http::Request::get(url))
    }

    /// Sends a request without a body.
    fn ask(&self, request: http::request::Builder) -> Result<Answer, NoAnswer> {
        let exchange = Exchange::default();
        let agent = self.agent(exchange.clone(), 0, 0);
        let asked = self
            .with_token(request)
            .body(())
            .map_err(ureq::Error::from)
            .and_then(|request| agent.run(request));
        Self::hear(asked, &exchange)
    }

    /// Sends `PUT path` with a short JSON body.
    pub(super) fn put_json(&self, path: &str, json: &[u8]) -> Result<Answer, NoAnswer> {
        let exchange = Exchange::default();
        let agent = self.agent(exchange.clone(), json.len() as u64, 0);
        let request = http::Request::put(format!("{}{path}", self.url.without_zone()))
            .header("Content-Type", wire::JSON)
            .header("Content-Length", json.len());
        let sent = self
            .with_token(request)
            .body(json)
            .map_err(ureq::Error::from)
            .and_then(|request| agent.run(request));
        Self::hear(sent, &exchange)
    }

    /// An agent for one request at a time, with a body of at most `bytes`, that keeps so many connections
    /// for the next one.
    fn agent(&self, exchange: Exchange, bytes: u64, kept: usize) -> Agent {
        let (output_bytes, input_bytes) = if bytes > SMALL_BODY_BYTES_MAX {
            (OUTPUT_BYTES, INPUT_BYTES)
        } else {
            (SMALL_OUTPUT_BYTES, SMALL_INPUT_BYTES)
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(kept)
            .max_idle_connections_per_host(kept)
            .user_agent(concat!("cis490/", env!("CARGO_PKG_VERSION")))
            .accept(format!("{}, {}", wire::JSON, wire::PROBLEM_JSON))
            .output_buffer_size(output_bytes)
            .input_buffer_size(input_bytes)
            .timeout_resolve(Some(CONNECT_WAIT))
            .timeout_connect(Some(CONNECT_WAIT))
            .timeout_send_request(Some(HEAD_WAIT))
            .timeout_await_100(Some(CONTINUE_WAIT))
            .timeout_per_write(Some(STALL))
            .timeout_send_body(Some(STALL + seconds_for(bytes, BYTES_PER_SECOND_MIN)))
            .timeout_recv_response(Some(STALL + seconds_for(bytes, SYNC_BYTES_PER_SECOND_MIN)))
            .timeout_recv_body(Some(ANSWER_WAIT))
            .build();
        let connector = UreqConnector {
            exchange,
            stop: self.stop.clone(),
            trust: self.trust.clone(),
        };
        Agent::with_parts(config, connector, ReceiverResolver(self.url.clone()))
    }

    fn with_token(&self, request: http::request::Builder) -> http::request::Builder {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn hear(
        response: Result<http::Response<Body>, ureq::Error>,
        exchange: &Exchange,
    ) -> Result<Answer, NoAnswer> {
        match response.map(Answer::read) {
            Ok(read) => read,
            Err(error) => {
                let why = words_of(&error);
                if exchange.is_connected() {
                    Err(NoAnswer::Broken(why))
                } else {
                    Err(NoAnswer::Unreachable(match tls_fault(&error) {
                        Some(fault) => Unreached {
                            why: fault.what.clone(),
                            tls_remedy: Some(fault.remedy),
                        },
                        None => Unreached {
                            why,
                            tls_remedy: None,
                        },
                    }))
                }
            }
        }
    }
}

/// Uploads one tarball after the other over one connection, which is closed with the line.
pub(super) struct Line<'a> {
    client: &'a ReceiverClient,
    agent: Agent,
    exchange: Exchange,
}

impl Line<'_> {
    /// As [`ReceiverClient::put`].
    pub(super) fn put(
        &self,
        upload: &Upload<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Answer, NoAnswer> {
        let mut put = || {
            self.client
                .put_by(&self.agent, &self.exchange, upload, progress)
        };
        match put() {
            // The other side closed the kept connection before it heard of this request.
            Err(NoAnswer::Broken(_))
                if self.exchange.was_closed_before() && !self.client.stop.is_set() =>
            {
                put()
            }
            other => other,
        }
    }
}

fn tls_fault(error: &ureq::Error) -> Option<&tls::Fault> {
    match error {
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn words_of(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn seconds_for(bytes: u64, bytes_per_second: u64) -> Duration {
    Duration::from_secs(bytes / bytes_per_second)
}

impl Answer {
    /// An answer of this status and body, for the unit tests of its readers.
    #[cfg(test)]
    pub(crate) fn of(status: u16, body: &str) -> Answer {
        Answer {
            status,
            retry_after: None,
            gate_position: None,
            upload_offset: None,
            upload_length: None,
            location: None,
            is_to_head: false,
            body: body.as_bytes().to_owned(),
        }
    }

    /// A body of more than [`wire::ANSWER_BYTES_MAX`] is cut there.
    ///
    /// Errors: the answer broke off before its end.
    fn read(response: http::Response<Body>) -> Result<Answer, NoAnswer> {
        let (head, body) = response.into_parts();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let status = head.status.as_u16();
        let mut bytes = Vec::new();
        let read = body
            .into_reader()
            .take(wire::ANSWER_BYTES_MAX)
            .read_to_end(&mut bytes);
        read.map_err(|error| {
            NoAnswer::Broken(format!("an answer {status} that broke off: {error}"))
        })?;
        Ok(Answer {
            status,
            retry_after: header("Retry-After").and_then(parse_seconds),
            gate_position: header(wire::GATE_POSITION_HEADER).and_then(parse_position),
            upload_offset: header(wire::UPLOAD_OFFSET_HEADER).and_then(parse_number),
            upload_length: header(wire::UPLOAD_LENGTH_HEADER).and_then(parse_number),
            location: header("Location").map(without_user),
            is_to_head: false,
            body: bytes,
        })
    }

    /// Whether its status says that the request was fulfilled.
    pub(super) fn is_success(&self) -> bool {
        matches!(self.status, 200 | 201)
    }

    /// The body as JSON of this type; `None` if it is not that.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The problem in the receiver's own words. `None` for any other body, such as a proxy's page.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let problem: Problem = self.json()?;
        let is_ours = problem.name().is_some();
        (is_ours && problem.status == self.status).then_some(problem)
    }

    /// The answer in one line, for the log.
    pub(crate) fn words(&self) -> String {
        match self.problem() {
            Some(problem) => format!("{}: {}", self.status, problem.detail),
            None if self.is_to_head && self.location.is_none() => format!(
                "{} to the question how much of it is there (the receiver's log says why)",
                self.status
            ),
            None => {
                let start = self.body.get(..200).unwrap_or(&self.body);
                let text = String::from_utf8_lossy(start);
                let line: Vec<&str> = text.split_whitespace().collect();
                let points_to = match &self.location {
                    Some(location) => format!(" (it points to {location}, and is not followed)"),
                    None => String::new(),
                };
                format!(
                    "{} and not in the receiver's words{points_to}: {}",
                    self.status,
                    line.join(" ")
                )
            }
        }
    }
}

/// Digits alone.
fn parse_number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

fn parse_seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

/// `37/100`.
fn parse_position(text: &str) -> Option<(u32, u32)> {
    let (position, window) = text.trim().split_once('/')?;
    Some((position.parse().ok()?, window.parse().ok()?))
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::Unreachable(unreached) => match unreached.tls_remedy {
                Some(remedy) => write!(f, "no connection: {}; {remedy}", unreached.why),
                None => write!(f, "no connection: {}", unreached.why),
            },
            NoAnswer::Broken(why) => write!(f, "no answer: {why}"),
            NoAnswer::OwnFile(error) => write!(f, "cannot read the tarball: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_positions_and_seconds_count() {
        assert_eq!(parse_position(" 37/100"), Some((37, 100)));
        for bad in ["", "37", "37/", "/100", "a/b", "-1/100", "37/100/1"] {
            assert_eq!(parse_position(bad), None, "{bad:?}");
        }
        assert_eq!(parse_seconds(" 5 "), Some(Duration::from_secs(5)));
        for bad in ["", "-5", "5.5", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(parse_seconds(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_answer_of_a_proxy_is_not_the_receivers() {
        let ours = r#"{"type":"urn:cis490:problem:taken","status":409,"detail":"other bytes"}"#;
        assert_eq!(
            Answer::of(409, ours).problem().unwrap().detail,
            "other bytes"
        );
        for (status, body) in [
            (413, ours),
            (409, "<html>Conflict</html>"),
            (409, "{}"),
            (409, ""),
        ] {
            assert_eq!(Answer::of(status, body).problem(), None, "{status} {body}");
        }
    }
}
