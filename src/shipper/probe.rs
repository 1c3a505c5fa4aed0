//! A test upload that stores nothing, for `doctor` and `install`. It goes the same way as episodes, TLS
//! included, and without an HTTP library, so that it sees which packets arrive.
//!
//! 1. `X-Cis490-Probe` makes the receiver judge the upload and store nothing. A receiver that is older
//!    than this header stores nothing either: the stated digest is not the body's.
//! 2. The head is padded to several full packets, so that a path that drops full packets shows whichever
//!    answer comes. The body is sent only once the receiver has asked for it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::ReceiverClient;
use super::config::Config;
use super::stop::Stop;
use crate::doctor::PlainAnswer;
use crate::http_connection::{EarlyResponse, Socket};
use crate::wire::{self, GateState, Problem};

/// For each of: connection, TLS handshake, sending, `100 Continue`, arrival, answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at how many bytes have arrived.
const LOOK: Duration = Duration::from_millis(5);
/// Four packets of a tunnel, and less than any proxy takes for one header.
const PAD_BYTES: usize = 6 << 10;
/// More than any path's packet, and less than any proxy's limit.
const BODY_BYTES: usize = 256 << 10;
/// A digest that no known body has.
const NO_DIGEST: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
/// A commit that does not exist, for when the receiver names none.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// The result of a probe.
#[derive(Debug)]
pub(crate) struct Probe {
    /// `None`: small packets arrived, and not all of the full ones did.
    answer: Option<PlainAnswer>,
    /// Whether the receiver asked for the body, and so got it.
    pub body_was_sent: bool,
    pub took: Duration,
    /// The path MTU that the kernel goes by, in bytes.
    pub mtu: Option<u32>,
}

/// Whether this host may upload, by the answer to a probe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Open,
    /// The receiver refuses this host name or token: why.
    Closed(String),
    /// The receiver did not judge the host name and the token: why.
    Unknown(String),
}

/// Sends a probe to the receiver.
///
/// Errors: no connection, a failed TLS handshake, or an answer that is not HTTP.
pub(crate) fn send(config: &Config, receiver: &ReceiverClient) -> io::Result<Probe> {
    let trust = config.trust().map_err(io::Error::other)?;
    let head = head(config, &head_commit(receiver))?;
    let url = config.parsed_url().map_err(io::Error::other)?;
    let addresses = url.resolve()?;
    let begun = Instant::now();
    let mut socket = Socket::connect(
        &addresses,
        PATIENCE,
        EarlyResponse::default(),
        Arc::new(Stop::default()),
    )?;
    if let Some(trust) = &trust {
        socket.secure(trust, &url.host, PATIENCE)?;
    }
    socket.ignore_early_response();
    socket.send(head.as_bytes(), PATIENCE)?;
    let body_was_sent = match socket.await_continue(PATIENCE) {
        // A slow receiver has the head all the same; `has_arrived` below finds out if it has not.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => false,
        other => other?,
    };
    if body_was_sent {
        // If the receiver accepts no more, `has_arrived` below finds out.
        let _ = socket.send(&vec![0; BODY_BYTES], PATIENCE);
    }
    let arrived = has_arrived(&socket)?;
    let mtu = socket.path_mtu();
    let answer = if arrived {
        Some(PlainAnswer::read(&heard(&mut socket))?)
    } else {
        None
    };
    Ok(Probe {
        answer,
        body_was_sent,
        took: begun.elapsed(),
        mtu,
    })
}

/// The newest commit that the receiver knows, so that the gate admits the probe whichever code this
/// host has.
fn head_commit(receiver: &ReceiverClient) -> String {
    let asked = receiver.get(wire::GATE_PATH).ok();
    let state = asked.and_then(|answer| answer.json::<GateState>());
    let head = state.and_then(|state| state.head_commit);
    head.map_or(NO_COMMIT.to_owned(), |commit| commit.to_string())
}

fn head(config: &Config, commit: &str) -> io::Result<String> {
    let token = config.token().map_err(io::Error::other)?;
    let authorization = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let url = config.parsed_url().map_err(io::Error::other)?;
    let url = url.without_zone();
    let (_, authority) = url.split_once("://").unwrap_or(("", &url));
    Ok(format!(
        "PUT {path}/{host}/doctor HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: cis490-doctor\r\nConnection: close\r\n{authorization}Expect: 100-continue\r\nContent-Length: {BODY_BYTES}\r\n{probe}: 1\r\n{commit_header}: {commit}\r\n{sha256}: {NO_DIGEST}\r\nX-Pad: {pad}\r\n\r\n",
        path = wire::EPISODES_PATH,
        host = config.host_id,
        probe = wire::PROBE_HEADER,
        commit_header = wire::COMMIT_HEADER,
        sha256 = wire::SHA256_HEADER,
        pad = "x".repeat(PAD_BYTES),
    ))
}

fn has_arrived(socket: &Socket) -> io::Result<bool> {
    let give_up_at = Instant::now() + PATIENCE;
    while socket.unacked_bytes()? > 0 {
        if Instant::now() >= give_up_at {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

/// The answer, up to its stated length: not every server closes the connection after it.
fn heard(socket: &mut Socket) -> Vec<u8> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while text.len() < wire::ANSWER_BYTES_MAX as usize
        && !is_whole(&text)
        && let Ok(n @ 1..) = socket.receive(&mut buffer, PATIENCE)
    {
        text.extend_from_slice(&buffer[..n]);
    }
    text
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("Content-Length"));
    let length = lengths
        .next()
        .and_then(|(_, value)| value.trim().parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

impl Probe {
    /// Whether all packets arrived, the full ones too.
    pub(crate) fn is_through(&self) -> bool {
        self.answer.is_some()
    }

    /// How much went through in full packets.
    pub(crate) fn bytes(&self) -> usize {
        if self.body_was_sent {
            BODY_BYTES
        } else {
            PAD_BYTES
        }
    }

    pub(crate) fn entry(&self) -> Entry {
        match &self.answer {
            Some(answer) => entry(answer),
            None => Entry::Unknown("no answer came".to_owned()),
        }
    }
}

fn entry(answer: &PlainAnswer) -> Entry {
    let problem: Option<Problem> = answer.json().ok();
    let problem = problem.filter(|problem| problem.name().is_some());
    let words = problem.as_ref().map_or_else(
        || format!("status {}, and not in the receiver's words", answer.status),
        |problem| format!("{}: {}", answer.status, problem.detail),
    );
    match (answer.status, problem) {
        (200 | 201, _) => Entry::Open,
        (401 | 403, Some(_)) => Entry::Closed(words),
        // Judged after the token: the digest by a receiver that knows no probe, the rest by any.
        (400 | 409 | 412 | 422 | 507, Some(_)) => Entry::Open,
        _ => Entry::Unknown(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_a_host_may_upload_is_read_from_the_answer() {
        let entry_of = |status, kind: &str| {
            let body = format!(r#"{{"type":"{kind}","status":{status},"detail":"words"}}"#);
            entry(&PlainAnswer { status, body })
        };
        let ours = |status| entry_of(status, "urn:cis490:problem:x");
        let theirs = |status| entry_of(status, "about:blank");
        for status in [200, 201, 400, 409, 412, 422, 507] {
            assert_eq!(ours(status), Entry::Open, "{status}");
        }
        for status in [401, 403] {
            assert_eq!(ours(status), Entry::Closed(format!("{status}: words")));
        }
        for answer in [
            ours(503),
            theirs(400),
            theirs(403),
            theirs(413),
            theirs(502),
        ] {
            assert!(matches!(answer, Entry::Unknown(_)), "{answer:?}");
        }
    }

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert!(is_whole(whole.as_bytes()));
        assert!(!is_whole(&whole.as_bytes()[..whole.len() - 1]));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\n\r\n{}"));
    }
}
