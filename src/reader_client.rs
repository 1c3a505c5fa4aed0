//! The HTTP client of those who read from a receiver: `cis490 list --url` and `cis490 pull`. The one who
//! uploads has a client of its own, `shipper::client`.
//!
//! 1. The token goes to the address of `--url` and to no other.
//! 2. No redirect is followed here and no proxy taken from the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::Response;
use ureq::{Agent, Body};

use crate::config;
use crate::failure::Failure;
use crate::human::without_user;
use crate::terminal::one_line;
use crate::tls::{self, Trust};
use crate::wire::{self, Problem};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer that is looked at for its status: one row, or a problem.
const PROBE_BYTES_MAX: u64 = 64 << 10;

/// The buffers of a connection. Small episodes leave theirs open, and come in one piece. No request has a
/// body.
const INPUT_BYTES: usize = 128 << 10;
const OUTPUT_BYTES: usize = 4 << 10;

/// The head of an answer, with its body to be read.
pub(crate) type Answer = Response<Body>;

/// Why there is no answer.
pub(crate) type NoAnswer = ureq::Error;

/// Why there is no whole body.
pub(crate) enum BadBody {
    TooLong,
    Broken(NoAnswer),
}

/// Asks one receiver.
pub(crate) struct ReaderClient {
    agent: Agent,
    limits: Limits,
    /// As the person typed it, without a slash at the end.
    url: String,
    token: Option<String>,
    ca_file: Option<PathBuf>,
}

/// What the requests of one client may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// One request, from its question to its last byte; `None` for no limit.
    pub whole: Option<Duration>,
    /// Without any byte.
    pub silence: Duration,
    /// How many connections are kept for the next requests.
    pub kept_connections: usize,
}

impl ReaderClient {
    /// Reads the token and the CA.
    ///
    /// Errors: the URL is none, or the token or the CA cannot be read.
    pub(crate) fn new(
        url: &str,
        token_file: Option<&Path>,
        ca_file: Option<&Path>,
        limits: Limits,
    ) -> Result<ReaderClient, Failure> {
        check_url(url)?;
        let url = config::with_plain_scheme(url);
        let trust = tls::trust_for("--url", &url, "--ca-file", ca_file)?;
        let token = token_file.map(|file| config::read_secret("--token-file", file));
        Ok(ReaderClient {
            agent: agent(trust.as_ref(), limits),
            limits,
            url: url.trim_end_matches('/').to_owned(),
            token: token.transpose()?,
            ca_file: ca_file.map(Path::to_owned),
        })
    }

    /// Asks the receiver for a path, with these header fields and the token.
    pub(crate) fn get(&self, path: &str, fields: &[(&str, String)]) -> Result<Answer, NoAnswer> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in fields {
            request = request.header(*name, value);
        }
        request.call()
    }

    /// Asks whether the receiver lets this reader see what is stored.
    ///
    /// Errors: it does not, or cannot be asked.
    pub(crate) fn may_read(&self) -> Result<(), Failure> {
        let path = format!("{}?limit=1", wire::EPISODES_PATH);
        let mut answer = self
            .get(&path, &[])
            .map_err(|error| self.no_answer(&error))?;
        let status = answer.status().as_u16();
        let body = read_body(&mut answer, PROBE_BYTES_MAX).unwrap_or_default();
        if status == 200 {
            return Ok(());
        }
        Err(self.refused(status, &body))
    }

    /// Asks another address that the receiver has named, without the token.
    ///
    /// Errors: as [`ReaderClient::get`], in words; or the address is none.
    pub(crate) fn get_elsewhere(
        &self,
        address: &str,
        fields: &[(&str, String)],
    ) -> Result<Answer, String> {
        let address = config::with_plain_scheme(address);
        if !address.starts_with("http://") && !address.starts_with("https://") {
            return Err("it redirects to an address that is neither http:// nor https://".into());
        }
        let ca_file = self.ca_file.as_deref();
        let trust = tls::trust_for("the redirect", &address, "--ca-file", ca_file)
            .map_err(|failure| failure.to_string())?;
        let mut request = agent(trust.as_ref(), self.limits).get(&address);
        for (name, value) in fields {
            request = request.header(*name, value);
        }
        request
            .call()
            .map_err(|error| format!("the address that it redirects to: {}", words(&error)))
    }

    /// The failure for a request without an answer.
    pub(crate) fn no_answer(&self, error: &NoAnswer) -> Failure {
        if let Some(fault) = Trust::fault(error) {
            return Failure::new(
                format!("cannot ask {}: {}", self.url, fault.what),
                fault.remedy,
            );
        }
        self.unreachable(&words(error))
    }

    /// The failure for a receiver that cannot be asked now, for this reason.
    pub(crate) fn unreachable(&self, why: &str) -> Failure {
        Failure::new(
            format!("cannot ask {}: {why}", self.url),
            "does the receiver run, is WireGuard up, and are address and port right?",
        )
    }

    /// The failure for an answer that says no.
    pub(crate) fn refused(&self, status: u16, body: &[u8]) -> Failure {
        let url = &self.url;
        let Some(problem) = problem(body) else {
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

    /// The failure for an answer that no receiver gives.
    pub(crate) fn odd(&self, what: &str) -> Failure {
        Failure::new(
            format!("{} does not answer as a receiver: {what}", self.url),
            "find out what listens there; a receiver of an older version has no list: update it",
        )
    }
}

/// The problem in a body; `None` for the body of another program.
pub(crate) fn problem(body: &[u8]) -> Option<Problem> {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    problem.filter(|problem| problem.name().is_some())
}

/// The whole body of at most `bytes_max` bytes.
pub(crate) fn read_body(answer: &mut Answer, bytes_max: u64) -> Result<Vec<u8>, BadBody> {
    let body = answer.body_mut().with_config().limit(bytes_max);
    body.read_to_vec().map_err(|error| match error {
        NoAnswer::BodyExceedsLimit(_) => BadBody::TooLong,
        other => BadBody::Broken(other),
    })
}

/// A field of an answer's head; `None` without it, or if it is no text.
pub(crate) fn header(response: &Answer, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    value.to_str().ok().map(str::to_owned)
}

/// Whether the other side is there, and is not trusted.
pub(crate) fn is_of_trust(error: &NoAnswer) -> bool {
    Trust::fault(error).is_some()
}

/// Why there was no answer, and what to do if TLS failed.
pub(crate) fn words(error: &NoAnswer) -> String {
    match Trust::fault(error) {
        Some(fault) => fault.to_string(),
        None => match error {
            // Without the library's "io: ".
            NoAnswer::Io(error) => error.to_string(),
            other => other.to_string(),
        },
    }
}

fn check_url(url: &str) -> Result<(), Failure> {
    // A unit of systemd has it between quotes.
    let is_bare = !url.contains(['?', '#', '@', '"', '\'', '\\']);
    if is_bare && config::is_http_url(&config::with_plain_scheme(url)) {
        return Ok(());
    }
    Err(Failure::usage(
        format!("--url {:?} is not a receiver's address", without_user(url)),
        "http://HOST:PORT or https://HOST[:PORT], without user (not shown here) and query; a token belongs in --token-file",
    ))
}

fn agent(trust: Option<&Trust>, limits: Limits) -> Agent {
    let agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(limits.silence))
        .timeout_per_read(Some(limits.silence))
        .timeout_per_write(Some(limits.silence))
        .timeout_global(limits.whole)
        .input_buffer_size(INPUT_BYTES)
        .output_buffer_size(OUTPUT_BYTES)
        .max_idle_connections(limits.kept_connections)
        .max_idle_connections_per_host(limits.kept_connections)
        .user_agent(concat!("cis490/", env!("CARGO_PKG_VERSION")));
    let agent = match trust {
        Some(trust) => trust.for_ureq(agent),
        None => agent,
    };
    agent.build().new_agent()
}
