//! One answer, before it is known which way it leaves: through may_minihttp, which keeps the
//! connection, or whole on our own socket, which closes it.
//!
//! may_minihttp takes header lines of `'static` text only, so every header here is one: the few
//! that vary take their values from small fixed sets. It writes `Server` and `Date` by itself; an answer
//! of our own has the same two.

use std::time::SystemTime;

use may_minihttp::Response;

use crate::clock;
use crate::receiver::http::fair_limiter::Permit;

/// An answer, and whether the connection ends with it.
pub(crate) struct Reply {
    pub answer: Answer,
    pub closes: bool,
    /// Bytes of the request's body that the peer may still send. Where there are any, `closes` is set.
    pub unread_bytes: u64,
    /// Given back when all of the answer is with the kernel: nothing of it is in our memory then.
    pub held: Option<Permit>,
}

impl Reply {
    /// The last answer of its connection, to a request whose end is not known.
    pub(crate) fn closing(answer: Answer) -> Reply {
        Reply {
            answer,
            closes: true,
            unread_bytes: 0,
            held: None,
        }
    }
}

pub(crate) struct Answer {
    pub status: u16,
    /// Whole lines, `Name: value`.
    pub headers: Vec<&'static str>,
    /// Lines whose text is this answer's alone. may_minihttp cannot write them, so an answer with any ends
    /// its connection.
    pub own_lines: Vec<String>,
    pub body: Vec<u8>,
}

impl Answer {
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

    /// Whether may_minihttp can write it: it gives every answer a length and its body, and has only
    /// lines that stay for good.
    pub(super) fn is_for_the_crate(&self) -> bool {
        self.status != 204 && self.own_lines.is_empty()
    }

    /// The answer as bytes that announce the end of the connection.
    pub(crate) fn into_closing_bytes(self, with_body: bool) -> Vec<u8> {
        let Answer {
            status,
            headers,
            own_lines,
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
        for line in headers
            .into_iter()
            .chain(own_lines.iter().map(String::as_str))
        {
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

/// A header line that is made once, at start, and kept for good.
pub(crate) fn static_line(line: String) -> &'static str {
    line.leak()
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
    fn every_refusal_has_its_reason_phrase() {
        for entry in ENTRIES {
            let is_internal = reason(entry.status) == reason(500);
            assert_eq!(is_internal, entry.status == 500, "{}", entry.name);
        }
    }
}
