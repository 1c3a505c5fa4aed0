//! One request to Forgejo, and the token that goes with it. The only file of the gate that names
//! ureq.
//!
//! 1. Every URL is built in this folder, from the configuration and from hashes. What the server
//!    says about its own addresses (`Link`, `Location`, `url`) is never followed, so the token goes
//!    nowhere else.
//! 2. Every wait and every body has a bound.
//! 3. The body of a 401 is never read: Forgejo repeats the token in it.

use std::path::PathBuf;
use std::time::Duration;

use ureq::http::Response;
use ureq::{Agent, Body, Error};

use super::answers;
use super::fault::{Context, Fault, TokenFrom};
use crate::config::{self, with_plain_scheme};
use crate::events;
use crate::failure::Failure;
use crate::human::without_user;
use crate::receiver::config::GateConfig;
use crate::tls::{self, Trust};

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One request, from its name lookup to the last byte of its answer.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Status line and headers.
const HEADERS_BYTES_MAX: usize = 16 << 10;
/// The read buffer. ureq would report headers that fill it as a broken connection.
const INPUT_BUFFER_BYTES: usize = 32 << 10;
const _: () = assert!(HEADERS_BYTES_MAX < INPUT_BUFFER_BYTES);
/// The most that is read of an error's body. Forgejo's own have a few hundred bytes.
const ERROR_BYTES_MAX: u64 = 8 << 10;

pub(super) struct Client {
    agent: Agent,
    /// `http://HOST/api/v1/repos/OWNER/NAME`.
    repository_url: String,
    credential: Credential,
}

impl Client {
    /// Errors: an `https://` URL where this build speaks no TLS; a token or a CA that cannot be read.
    pub(super) fn new(config: &GateConfig, url: &str) -> Result<Client, Failure> {
        let url = &with_plain_scheme(url);
        let trust = tls::trust_for(
            "version_gate.forgejo_url",
            url,
            "version_gate.ca_file",
            config.ca_file.as_deref(),
        )?;
        let repository_url = format!(
            "{}/api/v1/repos/{}/{}",
            url.trim_end_matches('/'),
            config.repo_owner.as_deref().unwrap_or(""),
            config.repo_name.as_deref().unwrap_or(""),
        );
        Ok(Client {
            agent: agent(trust.as_ref()),
            repository_url,
            credential: Credential::of(config)?,
        })
    }

    /// The body of a 200 at this path below the repository.
    pub(super) fn get(&mut self, path: &str, bytes_max: u64) -> Result<Vec<u8>, Fault> {
        self.get_within(path, bytes_max, CALL_TIMEOUT)
    }

    /// As [`Client::get`], waiting no longer than `timeout`. If the token was refused and the token file
    /// holds another one by now, the request is sent again with that one.
    pub(super) fn get_within(
        &mut self,
        path: &str,
        bytes_max: u64,
        timeout: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let answer = self.call(path, bytes_max, timeout);
        match answer {
            Err(fault) if fault.is_about_the_token() && self.credential.read_again() => {
                self.call(path, bytes_max, timeout)
            }
            answer => answer,
        }
    }

    /// The context that the words of a fault depend on.
    pub(super) fn context<'a>(&'a self, branch: &'a str) -> Context<'a> {
        Context {
            repository_url: &self.repository_url,
            branch,
            token: self.credential.from(),
        }
    }

    fn call(&self, path: &str, bytes_max: u64, timeout: Duration) -> Result<Vec<u8>, Fault> {
        let mut request = self.agent.get(format!("{}{path}", self.repository_url));
        if let Some(token) = &self.credential.token {
            request = request.header("Authorization", format!("token {token}"));
        }
        let request = request.config().timeout_global(Some(timeout)).build();
        let mut response = request.call().map_err(fault_of)?;
        match response.status().as_u16() {
            200 => read(&mut response, bytes_max),
            status @ 300..=399 => Err(Fault::moved(status, &location(&response))),
            401 => Err(Fault::Unauthorized),
            status => {
                let body = read(&mut response, ERROR_BYTES_MAX).unwrap_or_default();
                Err(self.refused(status, &body))
            }
        }
    }

    fn refused(&self, status: u16, body: &[u8]) -> Fault {
        let fault = answers::fault_of_status(status, body);
        match (&fault, &self.credential.token) {
            // Forgejo has never been seen to repeat the token here, but the message goes to the log.
            (Fault::Forbidden(Some(message)), Some(token)) if message.contains(token.as_str()) => {
                Fault::Forbidden(None)
            }
            _ => fault,
        }
    }
}

/// The token, and the file that it is from.
struct Credential {
    /// Never logged.
    token: Option<String>,
    file: Option<PathBuf>,
}

impl Credential {
    fn of(config: &GateConfig) -> Result<Credential, Failure> {
        let token = match (&config.auth_token_file, &config.auth_token) {
            (Some(file), _) => Some(config::read_secret(TOKEN_FILE_KEY, file)?),
            (None, Some(secret)) => Some(checked(&secret.0)?),
            (None, None) => None,
        };
        Ok(Credential {
            token,
            file: config.auth_token_file.clone(),
        })
    }

    fn from(&self) -> TokenFrom {
        match (&self.file, &self.token) {
            (Some(file), _) if file.is_absolute() => TokenFrom::File,
            (Some(_), _) => TokenFrom::SystemdCredential,
            (None, Some(_)) => TokenFrom::Key,
            (None, None) => TokenFrom::Nowhere,
        }
    }

    /// Reads the token file again. True if it holds another token, which is used from now on. A file
    /// that cannot be read changes nothing: the refusal of the old token is reported, with its remedy.
    fn read_again(&mut self) -> bool {
        let Some(file) = &self.file else {
            return false;
        };
        let Ok(token) = config::read_secret(TOKEN_FILE_KEY, file) else {
            return false;
        };
        if self.token.as_ref() == Some(&token) {
            return false;
        }
        events::gate_token_read_again(file);
        self.token = Some(token);
        true
    }
}

const TOKEN_FILE_KEY: &str = "version_gate.auth_token_file";

fn checked(token: &str) -> Result<String, Failure> {
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Failure::new(
            "version_gate.auth_token is not a token",
            "visible ASCII without spaces, as Forgejo shows it when it makes one",
        ));
    }
    Ok(token.to_owned())
}

fn agent(trust: Option<&Trust>) -> Agent {
    let agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_resolve(Some(RESOLVE_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(CALL_TIMEOUT))
        // A kept connection may break unnoticed between two refreshes, and the next request would then
        // report a failure of Forgejo. A new connection costs next to nothing.
        .max_idle_connections(0)
        .max_response_header_size(HEADERS_BYTES_MAX)
        .input_buffer_size(INPUT_BUFFER_BYTES)
        .output_buffer_size(4 << 10)
        .accept("application/json")
        .user_agent(concat!("cis490/", env!("CARGO_PKG_VERSION")));
    let agent = match trust {
        Some(trust) => trust.for_ureq(agent),
        None => agent,
    };
    agent.build().new_agent()
}

fn read(response: &mut Response<Body>, bytes_max: u64) -> Result<Vec<u8>, Fault> {
    let body = response.body_mut().with_config().limit(bytes_max);
    body.read_to_vec().map_err(fault_of)
}

fn location(response: &Response<Body>) -> String {
    let header = response.headers().get("location");
    let target = header.and_then(|value| value.to_str().ok());
    without_user(target.unwrap_or(""))
}

fn fault_of(error: Error) -> Fault {
    if let Some(fault) = Trust::fault(&error) {
        return Fault::Tls(fault);
    }
    match error {
        Error::Timeout(of) => Fault::TimedOut(of.to_string()),
        Error::BodyExceedsLimit(_) | Error::LargeResponseHeader(..) => Fault::TooLarge,
        Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Fault::TimedOut(error.to_string())
        }
        Error::Protocol(error) => Fault::Odd(format!("not HTTP: {error}")),
        other => Fault::Unreachable(other.to_string()),
    }
}
