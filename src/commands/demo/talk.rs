//! Prints the demo's lines, and asks its receiver: a small HTTP client with one request for each
//! connection.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::failure::Failure;
use crate::names::CommitHash;
use crate::terminal;

/// How long the demo waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// A line that begins a new part of the story.
pub(super) fn title(what: impl Display) {
    say(format!("\n{what}."));
}

/// A line on stdout.
pub(super) fn say(line: impl Display) {
    terminal::say_line(format_args!("{line}"));
}

pub(super) fn say_indented(lines: &str) {
    for line in lines.lines() {
        say(format!("    {line}"));
    }
}

/// The first eight digits of a commit.
pub(super) fn short(commit: &CommitHash) -> String {
    commit.to_string().chars().take(8).collect()
}

pub(super) struct Answer {
    request: String,
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// This answer, if it has this status.
    pub(super) fn expect(&self, status: u16) -> Result<&Answer, Failure> {
        if self.status != status {
            return Err(self.unexpected(&format!("status {status}")));
        }
        Ok(self)
    }

    /// The answer's body, parsed.
    pub(super) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(self.body.as_bytes()).map_err(|_| self.unexpected("JSON"))
    }

    /// The failure of a request that was answered otherwise than expected.
    pub(super) fn unexpected(&self, wanted: &str) -> Failure {
        let Answer {
            request,
            status,
            body,
        } = self;
        Failure::new(
            format!(
                "{request} was answered {status} and not by {wanted}: {}",
                body.trim()
            ),
            "this should not happen; please report it with the lines above",
        )
    }
}

/// Sends one request on a connection of its own, and reads the whole answer.
pub(super) fn ask(
    address: SocketAddr,
    request: &str,
    headers: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let head = format!("{request} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "that is no HTTP");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(odd)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(Answer {
        request: request.to_owned(),
        status: status.ok_or_else(odd)?,
        body: body.to_owned(),
    })
}

/// The failure of a step on one of the demo's files.
pub(super) fn cannot(verb: &str, what: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot {verb} {}: {error}", what.display()),
        "TMPDIR names another place to work in",
    )
}
