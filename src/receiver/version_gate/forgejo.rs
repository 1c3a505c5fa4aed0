//! Source 1: Forgejo's API. The only file of the receiver that names ureq.
//!
//! 1. Every URL is built here, from the configuration and from hashes. What the server says about
//!    its own addresses (`Link`, `Location`, `url`) is never followed, so the token goes nowhere else.
//! 2. Every wait and every body has a bound.
//! 3. A page is capped at 50 whatever `limit` says, so a short page is not the end: an empty one is.
//! 4. From the first page on, `sha` is the head that was polled, not the branch: a push in between
//!    cannot shift the pages, and a tag of the branch's name cannot take its place.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body, Error};

use super::trouble::Trouble;
use crate::config;
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::receiver::config::GateConfig;
use crate::tls::{self, Trust};

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One request, from its name lookup to the last byte of its answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// All pages of one listing: 200 of them, for the largest window, on a Pi that is busy.
const LIST_TIMEOUT: Duration = Duration::from_secs(120);

/// What Forgejo gives at most unless its administrator says otherwise.
const PAGE_COMMITS: u32 = 50;
/// A page of commits without their files, long messages included.
const PAGE_BYTES_MAX: u64 = 8 << 20;
/// The branch's head, or all branches whose names begin like it.
const HEAD_BYTES_MAX: u64 = 1 << 20;
/// Status line and headers.
const HEADERS_BYTES_MAX: usize = 16 << 10;
/// What is read at once. Headers that fill it would pass for a connection that broke.
const INPUT_BUFFER_BYTES: usize = 32 << 10;
const _: () = assert!(HEADERS_BYTES_MAX < INPUT_BUFFER_BYTES);
/// Of what the server says about itself, so much is repeated in the log.
const QUOTED_CHARS_MAX: usize = 200;

/// One branch of one repository on one Forgejo.
pub struct Forgejo {
    agent: Agent,
    /// `http://HOST/api/v1/repos/OWNER/NAME`.
    repository_url: String,
    branch: String,
    /// `token T`. Never logged.
    authorization: Option<String>,
}

impl Forgejo {
    /// `None` if no Forgejo is configured.
    ///
    /// Errors: an `https://` URL where this build speaks no TLS; a token or a CA that cannot be read.
    pub fn new(config: &GateConfig) -> Result<Option<Forgejo>, Failure> {
        let Some(url) = &config.forgejo_url else {
            return Ok(None);
        };
        let (url_key, ca_key) = ("version_gate.forgejo_url", "version_gate.ca_file");
        let trust = tls::trust_for(url_key, url, ca_key, config.ca_file.as_deref())?;
        let repository_url = format!(
            "{}/api/v1/repos/{}/{}",
            url.trim_end_matches('/'),
            config.repo_owner.as_deref().unwrap_or(""),
            config.repo_name.as_deref().unwrap_or(""),
        );
        Ok(Some(Forgejo {
            agent: agent(trust.as_ref()),
            repository_url,
            branch: config.branch.clone(),
            authorization: token(config)?.map(|token| format!("token {token}")),
        }))
    }

    /// The branch's head: one small request, or two where Forgejo does not answer the first.
    pub fn head(&self) -> Result<CommitHash, Trouble> {
        self.head_by_ref()
            .or_else(|fault| match fault.is_of_this_route() {
                true => self.head_by_branch(),
                false => Err(fault),
            })
            .map_err(|fault| self.trouble(fault))
    }

    /// The newest `size` commits that `head` can reach, newest first; fewer if there are no more.
    pub fn list(&self, head: CommitHash, size: u32) -> Result<Vec<CommitHash>, Trouble> {
        self.pages(head, size).map_err(|fault| self.trouble(fault))
    }

    fn pages(&self, head: CommitHash, size: u32) -> Result<Vec<CommitHash>, Fault> {
        let give_up_at = Instant::now() + LIST_TIMEOUT;
        let (mut commits, mut seen) = (Vec::new(), HashSet::new());
        // Each round adds a commit or is the last, which bounds the rounds.
        for page in 1.. {
            let known = commits.len();
            commits.extend(
                self.page(head, size, page)?
                    .into_iter()
                    .filter(|c| seen.insert(*c)),
            );
            if commits.len() == known || size as usize <= commits.len() {
                break;
            }
            if give_up_at <= Instant::now() {
                return Err(Fault::ListTooSlow);
            }
        }
        commits.truncate(size as usize);
        if commits.is_empty() {
            return Err(Fault::Odd("a list without a single commit".to_owned()));
        }
        Ok(commits)
    }

    fn page(&self, head: CommitHash, size: u32, page: u64) -> Result<Vec<CommitHash>, Fault> {
        let limit = size.min(PAGE_COMMITS);
        let path = format!(
            "/commits?sha={head}&limit={limit}&page={page}&stat=false&verification=false&files=false"
        );
        let elements: Page = self.get(&path, PAGE_BYTES_MAX)?;
        Ok(commits_of(elements))
    }

    fn head_by_ref(&self) -> Result<CommitHash, Fault> {
        let wanted = format!("refs/heads/{}", self.branch);
        let answer: Value = self.get(&format!("/git/{wanted}"), HEAD_BYTES_MAX)?;
        head_of_refs(&answer, &wanted).ok_or(Fault::NoBranch)
    }

    fn head_by_branch(&self) -> Result<CommitHash, Fault> {
        let answer: Value = self.get(&format!("/branches/{}", self.branch), HEAD_BYTES_MAX)?;
        hash(answer.pointer("/commit/id")).ok_or(Fault::NoBranch)
    }

    fn get<T: DeserializeOwned>(&self, path: &str, bytes_max: u64) -> Result<T, Fault> {
        let mut request = self.agent.get(format!("{}{path}", self.repository_url));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut response = request.call().map_err(Fault::of)?;
        match response.status().as_u16() {
            200 => {}
            300..=399 => return Err(Fault::Redirect(location(&response))),
            status => return Err(Fault::Status(status)),
        }
        let body = response.body_mut().with_config().limit(bytes_max);
        let bytes = body.read_to_vec().map_err(Fault::of)?;
        from_json(&bytes)
    }

    fn trouble(&self, fault: Fault) -> Trouble {
        let (kind, what, remedy) = fault.words(&self.branch);
        let from = format!("{} branch {}", self.repository_url, self.branch);
        Trouble::new(kind, format!("{what} (asked {from})"), remedy)
    }
}

/// The one member of a commit that counts: its parents, tree and message hold hashes too.
#[derive(Deserialize)]
struct Commit {
    #[serde(default)]
    sha: Option<Value>,
}

/// Go writes an empty list as `null` too.
type Page = Option<Vec<Option<Commit>>>;

fn commits_of(page: Page) -> Vec<CommitHash> {
    let sha = |commit: Commit| hash(commit.sha.as_ref());
    page.into_iter()
        .flatten()
        .flatten()
        .filter_map(sha)
        .collect()
}

/// By prefix: `main` brings `maintenance` along. Some versions answer one match bare.
fn head_of_refs(answer: &Value, wanted: &str) -> Option<CommitHash> {
    let refs = answer
        .as_array()
        .map_or(std::slice::from_ref(answer), Vec::as_slice);
    refs.iter()
        .filter(|one| one.get("ref").and_then(Value::as_str) == Some(wanted))
        .find_map(|one| hash(one.pointer("/object/sha")))
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::Odd(not_json(bytes, &error)))
}

/// Reads `bytes` as each of Forgejo's answers: commits or a fault in words that fit a log line.
#[cfg(any(test, fuzzing))]
pub fn fuzzed_answers(bytes: &[u8]) {
    let faults = [
        from_json::<Page>(bytes).map(|page| commits_of(page).len()),
        from_json::<Value>(bytes)
            .map(|answer| usize::from(head_of_refs(&answer, "refs/heads/main").is_some())),
    ];
    for fault in faults.into_iter().filter_map(Result::err) {
        let (_, what, _) = fault.words("main");
        assert!(
            what.len() < 4000 && !what.contains(char::is_control),
            "{what:?}"
        );
    }
}

fn hash(value: Option<&Value>) -> Option<CommitHash> {
    CommitHash::parse(value?.as_str()?).ok()
}

fn agent(trust: Option<&Trust>) -> Agent {
    let agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_resolve(Some(RESOLVE_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(CALL_TIMEOUT))
        // A kept connection may die unseen between two refreshes, and a failure would be told
        // where there is none; a new one costs next to nothing.
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

fn token(config: &GateConfig) -> Result<Option<String>, Failure> {
    if let Some(file) = &config.auth_token_file {
        return config::read_secret("version_gate.auth_token_file", file).map(Some);
    }
    let Some(secret) = &config.auth_token else {
        return Ok(None);
    };
    if secret.0.is_empty() || !secret.0.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Failure::new(
            "version_gate.auth_token is not a token",
            "visible ASCII without spaces, as Forgejo shows it when it makes one",
        ));
    }
    Ok(Some(secret.0.clone()))
}

fn location(response: &Response<Body>) -> String {
    let header = response.headers().get("location");
    quotable(header.and_then(|value| value.to_str().ok()).unwrap_or(""))
}

fn not_json(bytes: &[u8], error: &serde_json::Error) -> String {
    let begin = &bytes[..bytes.len().min(4 * QUOTED_CHARS_MAX)];
    let text = quotable(String::from_utf8_lossy(begin).trim_start());
    format!("{error}, in an answer that begins {text:?}")
}

fn quotable(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

/// How one request failed.
enum Fault {
    Tls(tls::Fault),
    /// Refused, reset, cut short, or no such host.
    Unreachable(String),
    TimedOut(String),
    ListTooSlow,
    /// Where to, as the server says.
    Redirect(String),
    Status(u16),
    /// An answer that is not what the API gives.
    Odd(String),
    TooLarge,
    NoBranch,
}

impl Fault {
    fn of(error: Error) -> Fault {
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

    /// Whether the other way to ask for the head may fare better: versions differ in these.
    fn is_of_this_route(&self) -> bool {
        matches!(
            self,
            Fault::Status(404 | 405 | 500) | Fault::Odd(_) | Fault::TooLarge | Fault::NoBranch
        )
    }

    /// One word, what happened, what to do now.
    fn words(&self, branch: &str) -> (&'static str, String, String) {
        let (kind, what, remedy) = match self {
            Fault::Tls(fault) => (
                fault.kind,
                format!("Forgejo could not be reached by TLS: {}", fault.what),
                fault.remedy,
            ),
            Fault::Unreachable(why) => (
                "unreachable",
                format!("Forgejo could not be reached: {why}"),
                "see whether Forgejo runs (systemctl status forgejo) and whether forgejo_url names its address",
            ),
            Fault::TimedOut(which) => (
                "timeout",
                format!("Forgejo did not answer in time ({which})"),
                "see whether Forgejo is overloaded or hangs (systemctl status forgejo), or a firewall swallows packets",
            ),
            Fault::ListTooSlow => (
                "list-too-slow",
                format!(
                    "Forgejo did not list the commits within {} s",
                    LIST_TIMEOUT.as_secs()
                ),
                "lower version_gate.window, or see what keeps Forgejo busy",
            ),
            Fault::Redirect(to) => (
                "redirected",
                format!(
                    "Forgejo says that this is elsewhere: {to:?}; redirects are not followed, for the token's sake"
                ),
                "the repository was renamed or moved: fix forgejo_url, repo_owner and repo_name",
            ),
            Fault::Status(status @ (401 | 403)) => (
                "unauthorized",
                format!("Forgejo answered {status}: it does not take our token"),
                "make a token that may read the repository (read:repository) and put it in auth_token or auth_token_file",
            ),
            Fault::Status(404) => (
                "not-found",
                "Forgejo answered 404: it shows no such repository or branch".to_owned(),
                "fix repo_owner, repo_name and branch; if the repository is private, set auth_token or auth_token_file",
            ),
            Fault::Status(409) => (
                "empty-repository",
                "Forgejo answered 409: the repository is empty".to_owned(),
                "push the branch; until then nothing can be admitted by it",
            ),
            Fault::Status(500) => (
                "server-error",
                "Forgejo answered 500, as old versions do for a branch that does not exist"
                    .to_owned(),
                "see whether the branch is there, else what Forgejo's log says (journalctl -u forgejo)",
            ),
            Fault::Status(status @ (502..=504)) => (
                "proxy",
                format!("a proxy answered {status} in Forgejo's place"),
                "see whether Forgejo runs behind it, or name Forgejo's own address in forgejo_url",
            ),
            Fault::Status(status) => (
                "status",
                format!("Forgejo answered {status}, which this program does not know"),
                "see what Forgejo's log says (journalctl -u forgejo)",
            ),
            Fault::Odd(why) => (
                "not-the-api",
                format!("the answer is not what Forgejo's API gives: {why}"),
                "see whether forgejo_url names Forgejo itself and not a login page or a proxy before it",
            ),
            Fault::TooLarge => (
                "too-large",
                "the answer is larger than any that Forgejo gives".to_owned(),
                "see whether forgejo_url names Forgejo itself",
            ),
            Fault::NoBranch => {
                return (
                    "no-branch",
                    format!("Forgejo names no branch {branch}"),
                    "push the branch, or fix version_gate.branch".to_owned(),
                );
            }
        };
        (kind, what, remedy.to_owned())
    }
}
