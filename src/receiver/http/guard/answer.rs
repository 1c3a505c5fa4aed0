//! One answer, before it is known which way it leaves: through may_minihttp, which keeps the
//! connection, or on our own socket, from a thread that keeps it too or as the connection's last.
//!
//! may_minihttp takes header lines of `'static` text only. Most headers here are such: the few that vary
//! take their values from small fixed sets. An answer with lines of its own leaves on our own socket.
//! may_minihttp writes `Server` and `Date` by itself; an answer of our own has the same two.

use std::time::SystemTime;

use may_minihttp::Response;

use crate::clock;
use crate::receiver::http::fair_limiter::Permit;

/// Room for the head of most answers.
const HEAD_BYTES: usize = 512;

/// How a request ends.
pub(crate) enum Reply {
    /// With an answer that is still to be sent.
    Answer {
        answer: Answer,
        /// Whether the connection ends with it.
        closes: bool,
        /// Bytes of the request's body that the peer may still send. Where there are any, `closes` is set.
        unread_bytes: u64,
        /// Given back when all of the answer is with the kernel: nothing of it is in our memory then.
        held: Option<Permit>,
    },
    /// Its answer was sent (`Responder`).
    Sent {
        /// Whether the peer has all of it, or will. If not, the connection is cut, so that the peer notices.
        is_whole: bool,
        /// Whether the answer announced the end of the connection.
        closes: bool,
        unread_bytes: u64,
    },
}

impl Reply {
    /// The last answer of its connection, to a request whose end is not known.
    pub(crate) fn closing(answer: Answer) -> Reply {
        Reply::Answer {
            answer,
            closes: true,
            unread_bytes: 0,
            held: None,
        }
    }

    /// The same, which keeps `permit` until its answer has left.
    pub(crate) fn holding(mut self, permit: Permit) -> Reply {
        if let Reply::Answer { held, .. } = &mut self {
            *held = Some(permit);
        }
        self
    }

    /// Whether nothing is left to be sent, and the connection is open for the next request.
    pub(crate) fn goes_on(&self) -> bool {
        matches!(
            self,
            Reply::Sent {
                is_whole: true,
                closes: false,
                ..
            }
        )
    }
}

pub(crate) struct Answer {
    pub status: u16,
    /// Whole lines, `Name: value`.
    pub headers: Vec<&'static str>,
    /// Lines whose text is this answer's alone. may_minihttp cannot write them, so an answer with any ends
    /// its connection, unless bytes of a file follow it (`Outgoing`).
    pub own_lines: Vec<String>,
    pub body: Vec<u8>,
    pub length: Length,
}

/// What the head of an answer says of the length of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// That of `Answer::body`.
    OfBody,
    /// This one: of a body that HEAD does not get, or that is sent from a file (`Outgoing`).
    Stated(u64),
    /// The body comes in chunks, and the last one says that it was the last.
    Chunked,
    /// Nothing: the end of the connection is that of the body, for a peer of HTTP/1.0, which knows no chunks.
    UntilClose,
}

impl Answer {
    pub(crate) fn new(status: u16, headers: Vec<&'static str>, body: Vec<u8>) -> Answer {
        Answer {
            status,
            headers,
            own_lines: Vec::new(),
            body,
            length: Length::OfBody,
        }
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

    /// Whether may_minihttp can write it: it gives every answer the length of its body, and its body.
    pub(super) fn is_for_the_crate(&self) -> bool {
        self.has_length() && self.own_lines.is_empty() && self.length == Length::OfBody
    }

    /// RFC 9110, 8.6: a 204 has none, and a 304 only that of the whole.
    fn has_length(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }

    /// The answer as bytes that announce the end of the connection.
    pub(crate) fn into_closing_bytes(self, with_body: bool) -> Vec<u8> {
        self.to_bytes(with_body, true)
    }

    /// The answer as bytes. `closes`: they announce the end of the connection.
    pub(super) fn to_bytes(&self, with_body: bool, closes: bool) -> Vec<u8> {
        let has_length = self.has_length();
        let Answer {
            status,
            headers,
            own_lines,
            body,
            length,
        } = self;
        let date = clock::http_date(SystemTime::now());
        let first_lines = format!(
            "HTTP/1.1 {status} {}\r\nServer: M\r\nDate: {date}\r\n",
            reason(*status)
        );
        let body_bytes = if with_body { body.len() } else { 0 };
        let mut bytes = Vec::with_capacity(HEAD_BYTES + body_bytes);
        bytes.extend_from_slice(first_lines.as_bytes());
        if has_length {
            let line = match length {
                Length::OfBody => format!("Content-Length: {}\r\n", body.len()),
                Length::Stated(length) => format!("Content-Length: {length}\r\n"),
                Length::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
                Length::UntilClose => String::new(),
            };
            bytes.extend_from_slice(line.as_bytes());
        }
        if closes {
            bytes.extend_from_slice(b"Connection: close\r\n");
        }
        let own_lines = own_lines.iter().map(String::as_str);
        for line in headers.iter().copied().chain(own_lines) {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if with_body {
            bytes.extend_from_slice(body);
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
        206 => "Partial Content",
        304 => "Not Modified",
        307 => "Temporary Redirect",
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
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
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
