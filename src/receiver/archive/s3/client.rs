//! One signed request to the store, and its answer. The only file of the archive that names ureq.
//!
//! 1. A request is signed right before it is sent, by the store's own time as of its last answer. That time
//!    is counted on with the monotonic clock, so neither a Pi that begins in 1970 nor a clock that jumps
//!    stops the archive.
//! 2. No redirect is followed, no proxy taken from the environment, no `Expect` sent and no chunks: the
//!    length is always stated.
//! 3. Every wait has a bound, and an answer that comes before the body is sent is heard
//!    (`http_connection`): one request is sent at a time.
//! 4. A request that the keys were refused for is sent once more if the file has other keys by now; one
//!    that was signed with a wrong time, once more with the store's.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use ureq::http::{self, Response};
use ureq::{Agent, Body, SendBody};

use super::address::Address;
use super::fault::{Fault, FaultKind};
use super::payload::{Payload, PayloadReader};
use super::secret::Keys;
use super::signature::{self, SigningTime, Unsigned};
use super::xml;
use crate::clock;
use crate::failure::Failure;
use crate::http_connection::{CONNECT_WAIT, Exchange, LastingResolver, Unattended, UreqConnector};
use crate::human::without_user;
use crate::receiver::config::ArchiveConfig;
use crate::sync::lock;
use crate::test_times::in_tests;
use crate::tls::{self, Trust};

/// Without any byte, in either direction.
const SILENCE: Duration = Duration::from_secs(60);
/// A slower store is as good as away.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// The slowest disk of a store that is waited for after a body.
const SYNC_BYTES_PER_SECOND_MIN: u64 = 2 << 20;
/// The most that is read of an error's body.
const ERROR_BYTES_MAX: u64 = 16 << 10;
/// A signature whose time is further from the store's was refused for that.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);
/// How much of an object is read at once.
const READ_BYTES: usize = 128 << 10;
/// After an answer of so many bytes the connection ends, since a new one costs little beside them. A store
/// that cannot read on would else say nothing more, and wait for the next request: Ceph's gateway does.
const CLOSING_BYTES_MIN: u64 = 1 << 20;
/// The buffers of a connection: bodies have gigabytes.
const BUFFER_BYTES: usize = 128 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Head,
    Put,
    Post,
    Delete,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Head => "HEAD",
            Verb::Put => "PUT",
            Verb::Post => "POST",
            Verb::Delete => "DELETE",
        }
    }

    fn has_body(self) -> bool {
        matches!(self, Verb::Put | Verb::Post)
    }
}

/// A request, before it is signed.
pub(super) struct Question<'a> {
    pub verb: Verb,
    /// Empty for the bucket itself.
    pub key: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    /// Further fields, names in lower case: all are signed.
    pub fields: &'a [(&'a str, &'a str)],
    pub payload: Payload<'a>,
    /// The payload's digest in hex.
    pub digest: &'a str,
    /// How many bytes of an answer are waited for.
    pub answer_bytes: u64,
    /// How many bytes the store may have to write before it answers, beyond the payload.
    pub settled_bytes: u64,
}

impl Question<'_> {
    /// True of a GET of a large object.
    fn ends_connection(&self) -> bool {
        self.verb == Verb::Get && !self.key.is_empty() && self.answer_bytes >= CLOSING_BYTES_MIN
    }
}

/// Asks one bucket.
pub(super) struct Client {
    address: Address,
    public_address: Address,
    region: String,
    agent: Agent,
    /// Held while a request is sent, until the head of its answer.
    exchange: Mutex<Exchange>,
    access: ArcSwap<Access>,
    silence: Duration,
    store_clock: ArcSwapOption<StoreClock>,
    /// The store's clock minus ours, at the last answer, in seconds.
    difference_s: AtomicI64,
}

/// The keys, and the file that they are from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Access {
    secret_file: PathBuf,
    keys: Keys,
}

impl Access {
    /// Reads the file that `archive.secret_file` names.
    ///
    /// Errors: as [`Keys::read`].
    pub(crate) fn read(secret_file: &Path) -> Result<Access, Failure> {
        Ok(Access {
            keys: Keys::read(secret_file)?,
            secret_file: secret_file.to_owned(),
        })
    }
}

/// What the store's clock said, and when that was.
struct StoreClock {
    said: SystemTime,
    heard: Instant,
}

impl Client {
    /// Reads the keys and the CA.
    ///
    /// Errors: one of them cannot be read.
    pub(super) fn new(config: &ArchiveConfig) -> Result<Client, Failure> {
        let url = crate::config::with_plain_scheme(&config.endpoint);
        let ca_file = config.ca_file.as_deref();
        let trust = tls::trust_for("archive.endpoint", &url, "archive.ca_file", ca_file)?;
        let silence = in_tests("CIS490_ARCHIVE_SILENCE_MS", SILENCE);
        let exchange = Exchange::default();
        Ok(Client {
            address: Address::of(config),
            public_address: Address::public(config),
            region: config.region.clone(),
            agent: agent(exchange.clone(), trust, silence),
            exchange: Mutex::new(exchange),
            access: ArcSwap::from_pointee(Access::read(&config.secret_file)?),
            silence,
            store_clock: ArcSwapOption::empty(),
            difference_s: AtomicI64::new(0),
        })
    }

    /// The store's clock minus ours, in seconds; 0 before the first answer.
    pub(super) fn clock_difference_s(&self) -> i64 {
        self.difference_s.load(Ordering::Relaxed)
    }

    /// Where readers can GET an object for this time.
    pub(super) fn presigned(&self, key: &str, valid: Duration) -> String {
        let address = &self.public_address;
        let path = address.path(key);
        let access = self.access.load();
        let time = SigningTime::of(self.time());
        let query = signature::presigned_query(
            &path,
            &address.host,
            valid,
            &access.keys,
            &self.region,
            &time,
        );
        address.url(&path, &query)
    }

    /// The answer of status 200, 204 or 206; `None` for a 404 that is about the object.
    ///
    /// Errors: any other answer, or none.
    pub(super) fn ask(&self, question: &Question) -> Result<Option<Answer>, Fault> {
        let mut has_new_time = false;
        let mut has_new_keys = false;
        loop {
            let signed_at = self.time();
            let mut answer = self.send(question, signed_at)?;
            let clock = self.hear_clock(&answer);
            let status = answer.status().as_u16();
            if matches!(status, 200 | 206) || (status == 204 && question.verb == Verb::Delete) {
                return Ok(Some(Answer(answer)));
            }
            let is_wrong_time = clock.is_some_and(|said| is_far(said, signed_at));
            if matches!(status, 400 | 403) && is_wrong_time && !has_new_time {
                has_new_time = true;
                continue;
            }
            if matches!(status, 401 | 403) && !has_new_keys && self.read_keys_again() {
                has_new_keys = true;
                continue;
            }
            return refused(question, status, &mut answer);
        }
    }

    fn send(&self, question: &Question, at: SystemTime) -> Result<Response<Body>, Fault> {
        let exchange = lock(&self.exchange);
        exchange.begin();
        let mut body = PayloadReader::new(question.payload, exchange.early_response.clone());
        let request = self.signed(question, at);
        let sent = request
            .and_then(|request| {
                if question.verb.has_body() {
                    let request = request.map(|()| SendBody::from_reader(&mut body));
                    self.agent.run(self.with_waits(request, question))
                } else {
                    self.agent.run(self.with_waits(request, question))
                }
            })
            .map_err(|error| away(&error));
        match body.fault() {
            Some(error) => Err(Fault::of_file(error)),
            None => sent,
        }
    }

    fn with_waits<S: ureq::AsSendBody>(
        &self,
        request: http::Request<S>,
        question: &Question,
    ) -> http::Request<S> {
        let seconds = |bytes: u64, per_second: u64| Duration::from_secs(bytes / per_second);
        let silence = self.silence;
        let sent_bytes = question.payload.length();
        // Silent, or with spaces in a body that has begun: stores do either.
        let settling = silence
            + seconds(
                sent_bytes + question.settled_bytes,
                SYNC_BYTES_PER_SECOND_MIN,
            );
        let reading = seconds(question.answer_bytes, BYTES_PER_SECOND_MIN);
        self.agent
            .configure_request(request)
            .timeout_send_body(Some(silence + seconds(sent_bytes, BYTES_PER_SECOND_MIN)))
            .timeout_per_read(Some(settling))
            .timeout_recv_response(Some(settling))
            .timeout_recv_body(Some(settling + reading))
            .build()
    }

    fn signed(
        &self,
        question: &Question,
        at: SystemTime,
    ) -> Result<http::Request<()>, ureq::Error> {
        let keys = &self.access.load().keys;
        let time = SigningTime::of(at);
        let path = self.address.path(question.key);
        let mut fields = vec![
            ("host", self.address.host.as_str()),
            ("x-amz-content-sha256", question.digest),
            ("x-amz-date", time.as_str()),
        ];
        fields.extend(question.fields);
        if let Some(token) = &keys.session_token {
            fields.push(("x-amz-security-token", token));
        }
        let unsigned = Unsigned {
            method: question.verb.as_str(),
            path: &path,
            query: question.query,
            fields: &fields,
            payload: question.digest,
        };
        let authorization = signature::authorization(&unsigned, keys, &self.region, &time);
        let query = signature::canonical_query(question.query);
        let mut request = http::Request::builder()
            .method(question.verb.as_str())
            .uri(self.address.url(&path, &query))
            .header("Authorization", authorization);
        // The host is ureq's to write, from the URL.
        for (name, value) in fields.iter().filter(|(name, _)| *name != "host") {
            request = request.header(*name, *value);
        }
        if question.verb.has_body() {
            request = request.header("Content-Length", question.payload.length());
        }
        if question.ends_connection() {
            request = request.header("Connection", "close");
        }
        request.body(()).map_err(ureq::Error::from)
    }

    /// The store's time, or ours while it is not known.
    pub(super) fn time(&self) -> SystemTime {
        match &*self.store_clock.load() {
            Some(clock) => clock.said + clock.heard.elapsed(),
            None => SystemTime::now(),
        }
    }

    /// The time that the answer states.
    fn hear_clock(&self, answer: &Response<Body>) -> Option<SystemTime> {
        let said = clock::parse_http_date(field(answer, "date")?)?;
        let ours = SystemTime::now();
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        let difference_s = seconds(said) as i64 - seconds(ours) as i64;
        self.difference_s.store(difference_s, Ordering::Relaxed);
        self.store_clock.store(Some(Arc::new(StoreClock {
            said,
            heard: Instant::now(),
        })));
        Some(said)
    }

    /// True if the file has other keys, which are used from now on.
    fn read_keys_again(&self) -> bool {
        let before = self.access.load_full();
        let Ok(access) = Access::read(&before.secret_file) else {
            return false;
        };
        if access == *before {
            return false;
        }
        // A reload that came meanwhile is newer.
        self.access.compare_and_swap(&before, Arc::new(access));
        true
    }

    /// From the next request on these keys are used.
    pub(super) fn set_access(&self, access: Access) {
        self.access.store(Arc::new(access));
    }
}

/// An answer of status 200 or 206, with its body to be read.
#[derive(Debug)]
pub(super) struct Answer(Response<Body>);

impl Answer {
    /// A field of its head that is text.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        field(&self.0, name)
    }

    /// All of its body, of at most so many bytes.
    ///
    /// Errors: it breaks off, is longer, or is no text.
    pub(super) fn text(mut self, bytes_max: u64) -> Result<String, Fault> {
        let body = self.0.body_mut().with_config().limit(bytes_max);
        body.read_to_string().map_err(|error| away(&error))
    }

    /// Shows its body to `take`, a part after the other, and nothing beyond `bytes_max` bytes; how many
    /// bytes there were.
    ///
    /// Errors: it breaks off.
    pub(super) fn read(self, bytes_max: u64, mut take: impl FnMut(&[u8])) -> Result<u64, Fault> {
        let mut body = self.0.into_body().into_reader().take(bytes_max);
        let mut part = vec![0; READ_BYTES];
        let mut bytes = 0;
        loop {
            match body.read(&mut part) {
                Ok(0) => return Ok(bytes),
                Ok(count) => {
                    take(&part[..count]);
                    bytes += count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let what = format!("the store's answer broke off after {bytes} bytes: {error}");
                    return Err(Fault::new(FaultKind::Away, what));
                }
            }
        }
    }
}

fn refused(
    question: &Question,
    status: u16,
    answer: &mut Response<Body>,
) -> Result<Option<Answer>, Fault> {
    let location = field(answer, "location").map(without_user);
    let location = location.map(|text| text.chars().take(200).collect::<String>());
    let retry_after = field(answer, "retry-after").and_then(|text| text.trim().parse().ok());
    let body = answer.body_mut().with_config().limit(ERROR_BYTES_MAX);
    let body = body.read_to_string().unwrap_or_default();
    let word = |name: &str| xml::text(&body, name).filter(|text| is_word(text));
    let code = word("Code");
    let is_of_object = !question.key.is_empty() && question.verb != Verb::Put;
    if status == 404 && is_of_object && code.as_deref() != Some("NoSuchBucket") {
        return Ok(None);
    }
    let mut fault = Fault::of_answer(
        status,
        code.as_deref(),
        word("Region").as_deref(),
        location.as_deref(),
        retry_after.map(Duration::from_secs),
    );
    // A POST is always about an upload in parts, which not every store knows.
    if status == 501 && question.verb == Verb::Post {
        fault.kind = FaultKind::NoMultipart;
    }
    Err(fault)
}

/// Whether a text of the store's can stand in a log line as it is.
fn is_word(text: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(ok)
}

fn is_far(one: SystemTime, other: SystemTime) -> bool {
    let apart = one
        .duration_since(other)
        .unwrap_or_else(|error| error.duration());
    apart > CLOCK_TOLERANCE
}

fn field<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

fn away(error: &ureq::Error) -> Fault {
    let what = match (Trust::fault(error), fault_of_handshake(error)) {
        (Some(fault), _) => fault.to_string(),
        (None, Some(fault)) => format!("the store does not answer: {}", fault.what),
        (None, None) => format!("the store does not answer: {error}"),
    };
    Fault::new(FaultKind::Away, what)
}

/// The fault of a peer that does not speak TLS. Its remedy is for a receiver.
fn fault_of_handshake(error: &ureq::Error) -> Option<&tls::Fault> {
    match error {
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn agent(exchange: Exchange, trust: Option<Trust>, silence: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .max_idle_connections(1)
        .max_idle_connections_per_host(1)
        .user_agent(concat!("cis490/", env!("CARGO_PKG_VERSION")))
        .output_buffer_size(BUFFER_BYTES)
        .input_buffer_size(BUFFER_BYTES)
        .timeout_resolve(Some(CONNECT_WAIT))
        .timeout_connect(Some(CONNECT_WAIT))
        .timeout_send_request(Some(silence))
        .timeout_per_read(Some(silence))
        .timeout_per_write(Some(silence))
        .build();
    let connector = UreqConnector {
        exchange,
        attendant: Arc::new(Unattended),
        trust,
    };
    Agent::with_parts(config, connector, LastingResolver::default())
}
