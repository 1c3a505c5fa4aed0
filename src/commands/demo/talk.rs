//! What the demo says to a person, and one small HTTP client: a request a connection.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::failure::Failure;
use crate::names::CommitHash;
use crate::terminal;

/// No answer of the demo's receiver takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

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

/// As git shows it.
pub(super) fn short(commit: &CommitHash) -> String {
    commit.to_string().chars().take(8).collect()
}

pub(super) struct Answer {
    request: String,
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The answer, if this is its status.
    pub(super) fn expect(&self, status: u16) -> Result<&Answer, Failure> {
        match self.status == status {
            true => Ok(self),
            false => Err(self.unexpected(&format!("status {status}"))),
        }
    }

    /// The answer's body.
    pub(super) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_str(&self.body).map_err(|_| self.unexpected("JSON"))
    }

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

/// One request on a connection of its own, and its whole answer.
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

/// A failure of the demo's own files.
pub(super) fn cannot(verb: &str, what: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot {verb} {}: {error}", what.display()),
        "TMPDIR names another place to work in",
    )
}
