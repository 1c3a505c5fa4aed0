//! What the room answers: JSON, refusals, the page, the figures; each with its header lines.

use serde::Serialize;

use super::guard::{Answer, static_line};
use super::kept_uploads::Progress;
use super::{page, route};
use crate::receiver::refusal::Refusal;
use crate::wire;

impl Answer {
    pub(super) fn json(status: u16, body: &impl Serialize) -> Answer {
        let headers = vec!["Content-Type: application/json"];
        Answer::new(status, headers, json_line(body))
    }

    pub(super) fn refusal(refusal: &Refusal) -> Answer {
        let mut headers = vec!["Content-Type: application/problem+json"];
        headers.extend(refusal.retry_after_s().map(retry_after));
        match refusal {
            Refusal::NoToken
            | Refusal::UnknownToken
            | Refusal::NoReaderToken
            | Refusal::UnknownReaderToken => headers.push("WWW-Authenticate: Bearer"),
            Refusal::MethodNotAllowed { allow } => headers.push(allow_line(allow)),
            Refusal::NotAPartialUpload(_) => {
                headers.push("Accept-Patch: application/partial-upload");
            }
            _ => {}
        }
        let answer = Answer::new(refusal.status(), headers, json_line(&refusal.problem()));
        match refusal {
            Refusal::OffsetMismatch { right, .. } => {
                answer.with_own_line(format!("{}: {right}", wire::UPLOAD_OFFSET_HEADER))
            }
            _ => answer,
        }
    }

    /// How far a broken upload is, in answer to HEAD.
    pub(super) fn progress(progress: Progress) -> Answer {
        let Progress { offset, bytes } = progress;
        let incomplete = wire::UPLOAD_INCOMPLETE;
        Answer::new(204, vec!["Cache-Control: no-store"], Vec::new())
            .with_own_line(format!("{}: {offset}", wire::UPLOAD_OFFSET_HEADER))
            .with_own_line(format!("{}: {bytes}", wire::UPLOAD_LENGTH_HEADER))
            .with_own_line(format!("{}: {incomplete}", wire::UPLOAD_COMPLETE_HEADER))
    }

    /// What may be asked of a path, in answer to OPTIONS. It has no body, and no length of one (RFC
    /// 9110, 8.6).
    pub(super) fn allowed(allow: &'static str) -> Answer {
        Answer::new(204, vec![allow_line(allow)], Vec::new())
    }

    pub(super) fn metrics(text: Vec<u8>) -> Answer {
        let headers = vec!["Content-Type: text/plain; version=0.0.4; charset=utf-8"];
        Answer::new(200, headers, text)
    }

    /// A page of the index. `lines` are its header lines that vary.
    pub(super) fn list(rows: Vec<u8>, lines: Vec<String>) -> Answer {
        let headers = vec![
            "Content-Type: application/jsonl",
            "X-Content-Type-Options: nosniff",
            "Cache-Control: no-store",
        ];
        Answer {
            own_lines: lines,
            ..Answer::new(200, headers, rows)
        }
    }

    /// The page for people. It runs nothing, loads nothing, and nobody may frame it.
    pub(super) fn page(html: Vec<u8>) -> Answer {
        let headers = vec![
            "Content-Type: text/html; charset=utf-8",
            page::content_security_policy(),
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Cache-Control: no-store",
        ];
        Answer::new(200, headers, html)
    }

    pub(super) fn with_header(mut self, line: Option<&'static str>) -> Answer {
        self.headers.extend(line);
        self
    }

    /// With a header line that is made for this answer alone: the connection ends with it.
    pub(super) fn with_own_line(mut self, line: String) -> Answer {
        self.own_lines.push(line);
        self
    }
}

/// A JSON object and a line break, so that an answer reads well in a terminal.
fn json_line(body: &impl Serialize) -> Vec<u8> {
    // Our own types serialize; were one not to, an empty body with the right status is still true.
    let mut bytes = serde_json::to_vec(body).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn retry_after(seconds: u32) -> &'static str {
    match seconds {
        0..=2 => "Retry-After: 2",
        3..=5 => "Retry-After: 5",
        6..=10 => "Retry-After: 10",
        11..=30 => "Retry-After: 30",
        _ => "Retry-After: 60",
    }
}

fn allow_line(allow: &'static str) -> &'static str {
    match allow {
        route::UPLOAD => "Allow: PUT, GET, HEAD, OPTIONS",
        route::RESUME => "Allow: HEAD, PATCH, OPTIONS",
        route::REPORT => "Allow: PUT, OPTIONS",
        _ => "Allow: GET, HEAD, OPTIONS",
    }
}

/// `X-Cis490-Gate-Position: 37/100` for each place of the configured window: made once, at start.
pub(super) struct PositionLines(Vec<&'static str>);

impl PositionLines {
    pub(super) fn new(window: u32) -> PositionLines {
        let line = |position| format!("{}: {position}/{window}", wire::GATE_POSITION_HEADER);
        PositionLines(
            (1..=window)
                .map(|position| static_line(line(position)))
                .collect(),
        )
    }

    /// `None` for a place outside the window.
    pub(super) fn line(&self, position: Option<u32>) -> Option<&'static str> {
        let index = position?.checked_sub(1)?;
        self.0.get(index as usize).copied()
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
    fn every_refusal_that_says_when_to_come_again_has_its_line() {
        for entry in ENTRIES {
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
