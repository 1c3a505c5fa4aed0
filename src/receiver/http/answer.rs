//! One answer, before it is known which way it leaves: through may_minihttp, which keeps the
//! connection, or whole on our own socket, which closes it.
//!
//! may_minihttp takes header lines of `'static` text only, so every header here is one: the few
//! that vary take their values from small fixed sets. It writes `Server` and `Date` by itself; an answer
//! of our own has the same two.

use std::time::SystemTime;

use may_minihttp::Response;
use serde::Serialize;

use super::page;
use crate::clock;
use crate::receiver::refusal::Refusal;
use crate::wire;

pub(super) struct Answer {
    pub status: u16,
    /// Whole lines, `Name: value`.
    headers: Vec<&'static str>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: u16, body: &impl Serialize) -> Answer {
        Answer {
            status,
            headers: vec!["Content-Type: application/json"],
            body: json_line(body),
        }
    }

    pub(super) fn refusal(refusal: &Refusal) -> Answer {
        let mut headers = vec!["Content-Type: application/problem+json"];
        headers.extend(refusal.retry_after_s().map(retry_after));
        match refusal {
            Refusal::NoToken | Refusal::UnknownToken => headers.push("WWW-Authenticate: Bearer"),
            Refusal::MethodNotAllowed { allow } => headers.push(allow_line(allow)),
            _ => {}
        }
        Answer {
            status: refusal.status(),
            headers,
            body: json_line(&refusal.problem()),
        }
    }

    /// What may be asked of a path, in answer to OPTIONS. It has no body, and no length of one (RFC
    /// 9110, 8.6).
    pub(super) fn allowed(allow: &'static str) -> Answer {
        Answer {
            status: 204,
            headers: vec![allow_line(allow)],
            body: Vec::new(),
        }
    }

    pub(super) fn metrics(text: Vec<u8>) -> Answer {
        Answer {
            status: 200,
            headers: vec!["Content-Type: text/plain; version=0.0.4; charset=utf-8"],
            body: text,
        }
    }

    /// The page for people. It runs nothing, loads nothing, and nobody may frame it.
    pub(super) fn page(html: Vec<u8>) -> Answer {
        Answer {
            status: 200,
            headers: vec![
                "Content-Type: text/html; charset=utf-8",
                page::content_security_policy(),
                "X-Content-Type-Options: nosniff",
                "Referrer-Policy: no-referrer",
                "Cache-Control: no-store",
            ],
            body: html,
        }
    }

    pub(super) fn with_header(mut self, line: Option<&'static str>) -> Answer {
        self.headers.extend(line);
        self
    }

    /// Hands the answer to may_minihttp. The bytes that it will write, for the account of what
    /// the connection owes its peer.
    pub(super) fn into_response(self, response: &mut Response) -> u64 {
        let reason = reason(self.status);
        let length = self.body.len();
        response.status_code(usize::from(self.status), reason);
        for line in &self.headers {
            response.header(line);
        }
        response.body_vec(self.body);
        crate_answer_bytes(self.status, reason, &self.headers, length)
    }

    /// Whether may_minihttp can write it: it gives every answer a length and its body.
    pub(super) fn is_for_the_crate(&self) -> bool {
        self.status != 204
    }

    /// The answer as bytes that announce the end of the connection.
    pub(super) fn into_closing_bytes(self, with_body: bool) -> Vec<u8> {
        let Answer {
            status,
            headers,
            body,
        } = self;
        let date = clock::http_date(SystemTime::now());
        let mut bytes = format!(
            "HTTP/1.1 {status} {}\r\nServer: M\r\nDate: {date}\r\n",
            reason(status)
        )
        .into_bytes();
        if status != 204 {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"Connection: close\r\n");
        for line in headers {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if with_body {
            bytes.extend_from_slice(&body);
        }
        bytes
    }
}

/// A JSON object and a line break, so that an answer reads well in a terminal.
fn json_line(body: &impl Serialize) -> Vec<u8> {
    // Our own types serialize; were one not to, an empty body with the right status is still true.
    let mut bytes = serde_json::to_vec(body).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// How many bytes may_minihttp 0.1.11 makes of an answer (its `response::encode`). It writes its
/// own reason for a 200, a `Server: M` and a `Date` of 29 bytes.
fn crate_answer_bytes(status: u16, reason: &str, headers: &[&str], body_bytes: usize) -> u64 {
    let reason = if status == 200 { "Ok" } else { reason };
    let head = "HTTP/1.1 NNN ".len() + reason.len();
    let fixed = "\r\nServer: M\r\nDate: ".len() + 29 + "\r\nContent-Length: ".len();
    let lines: usize = headers.iter().map(|line| "\r\n".len() + line.len()).sum();
    let digits = body_bytes.checked_ilog10().unwrap_or(0) as usize + 1;
    (head + fixed + digits + lines + "\r\n\r\n".len() + body_bytes) as u64
}

fn retry_after(seconds: u32) -> &'static str {
    match seconds {
        0..=5 => "Retry-After: 5",
        6..=10 => "Retry-After: 10",
        11..=30 => "Retry-After: 30",
        _ => "Retry-After: 60",
    }
}

fn allow_line(allow: &'static str) -> &'static str {
    match allow {
        "PUT, GET, HEAD, OPTIONS" => "Allow: PUT, GET, HEAD, OPTIONS",
        _ => "Allow: GET, HEAD, OPTIONS",
    }
}

/// `X-Cis490-Gate-Position: 37/100` for each place of the configured window: made once, at start,
/// and kept for good, because header lines must be `'static`.
pub(super) struct PositionLines(Vec<&'static str>);

impl PositionLines {
    pub(super) fn new(window: u32) -> PositionLines {
        let line = |position| format!("{}: {position}/{window}", wire::GATE_POSITION_HEADER);
        PositionLines(
            (1..=window)
                .map(|position| &*line(position).leak())
                .collect(),
        )
    }

    /// `None` for a place outside the window.
    pub(super) fn line(&self, position: Option<u32>) -> Option<&'static str> {
        let index = position?.checked_sub(1)?;
        self.0.get(index as usize).copied()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal_table::ENTRIES;

    #[test]
    fn positions_are_told_against_the_configured_window() {
        let lines = PositionLines::new(100);
        assert_eq!(lines.line(Some(37)), Some("X-Cis490-Gate-Position: 37/100"));
        assert_eq!(
            lines.line(Some(100)),
            Some("X-Cis490-Gate-Position: 100/100")
        );
        assert_eq!(lines.line(Some(0)), None);
        assert_eq!(lines.line(Some(101)), None);
        assert_eq!(lines.line(None), None);
    }

    #[test]
    fn every_refusal_has_its_reason_phrase_and_its_line() {
        for entry in ENTRIES {
            let is_internal = reason(entry.status) == reason(500);
            assert_eq!(is_internal, entry.status == 500, "{}", entry.name);
            if let Some(seconds) = entry.retry_after_s {
                assert_eq!(retry_after(seconds), format!("Retry-After: {seconds}"));
            }
        }
    }

    #[test]
    fn a_closing_refusal_says_so_and_how_long_it_is() {
        for refusal in [
            Refusal::Internal,
            Refusal::DiskFull,
            Refusal::TransferEncoding,
        ] {
            let bytes = Answer::refusal(&refusal).into_closing_bytes(true);
            let text = String::from_utf8(bytes).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("Content-Length: {}", body.len())),
                "{head}"
            );
            assert!(head.contains("Connection: close"), "{head}");
        }
    }
}
