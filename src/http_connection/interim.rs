//! Passes over the receiver's interim answers (1xx), however many there are and whichever fields they
//! carry. Pure: bytes in, the final answer's bytes out.
//!
//! 1. The final answer is known by its status line, and from there on every byte is passed on
//!    unchanged. Bytes that do not begin like HTTP/1.x are passed on too: their reader reports the error.
//! 2. `101 Switching Protocols` is no interim answer: the bytes after it are of another protocol.
//! 3. No more than [`INTERIM_BYTES_MAX`] bytes are passed over, so that the reading ends and the
//!    buffer does not grow.

use std::io;

/// All interim answers of one request together: thousands of `102 Processing`.
const INTERIM_BYTES_MAX: usize = 256 << 10;
/// `HTTP/1.1 412`: enough to see whether an answer is the final one.
const STATUS_BYTES: usize = 12;

/// Removes the interim answers from the bytes of one connection, as they arrive.
#[derive(Debug, Default)]
pub(crate) struct InterimFilter {
    /// Before the final answer: an interim one that has not come whole. After its start: those of its
    /// bytes that were not read yet.
    held: Vec<u8>,
    passed_bytes: usize,
    saw_continue: bool,
    is_final: bool,
}

impl InterimFilter {
    /// Takes bytes in the order in which they arrived.
    ///
    /// Errors: the interim answers do not end.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.held.extend_from_slice(bytes);
        while !self.is_final && self.passes_over()? {}
        Ok(())
    }

    /// Whether the final answer has begun.
    pub(crate) fn is_final(&self) -> bool {
        self.is_final
    }

    /// Whether bytes were pushed that are neither passed over nor taken.
    pub(crate) fn holds_bytes(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether a `100 Continue` has come.
    pub(crate) fn saw_continue(&self) -> bool {
        self.saw_continue
    }

    /// Moves bytes of the final answer into `buffer`; how many.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> usize {
        if !self.is_final {
            return 0;
        }
        let n = self.held.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.held[..n]);
        self.held.drain(..n);
        n
    }

    /// Removes one whole interim answer from the start of the held bytes. True if there was one.
    fn passes_over(&mut self) -> io::Result<bool> {
        let blank = self.held.iter().take_while(|&&b| b"\r\n".contains(&b));
        let blank_bytes = blank.count();
        let start = &self.held[blank_bytes..];
        let known = start.len().min(STATUS_BYTES);
        if !is_interim(&start[..known]) {
            self.is_final = true;
            return Ok(false);
        }
        let end = if known == STATUS_BYTES {
            head_end(start)
        } else {
            None
        };
        let seen_bytes = end.map_or(self.held.len(), |end| blank_bytes + end);
        if self.passed_bytes + seen_bytes > INTERIM_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it sends interim answers (1xx) without end",
            ));
        }
        let Some(end) = end else {
            return Ok(false);
        };
        self.saw_continue |= &start[STATUS_BYTES - 3..STATUS_BYTES] == b"100";
        self.passed_bytes += blank_bytes + end;
        self.held.drain(..blank_bytes + end);
        Ok(true)
    }
}

/// Whether an answer that begins so may still be an interim one.
fn is_interim(start: &[u8]) -> bool {
    let fits = |(at, &byte): (usize, &u8)| match at {
        7 => byte.is_ascii_digit(),
        9 => byte == b'1',
        10 | 11 => byte.is_ascii_digit(),
        _ => byte == b"HTTP/1.. "[at],
    };
    start.iter().enumerate().all(fits) && !start.ends_with(b" 101")
}

/// Where a head ends that begins `text`; `None` if its end has not come.
fn head_end(text: &[u8]) -> Option<usize> {
    let mut line_start = 0;
    for (at, _) in text.iter().enumerate().filter(|(_, b)| **b == b'\n') {
        if matches!(&text[line_start..at], b"" | b"\r") {
            return Some(at + 1);
        }
        line_start = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `text`, and whether the body was asked for; fed in parts of each size.
    fn heard(text: &str) -> (String, bool) {
        let mut seen = Vec::new();
        for part_bytes in [1, 2, 7, 4096] {
            let mut interim = InterimFilter::default();
            let mut left = Vec::new();
            for part in text.as_bytes().chunks(part_bytes) {
                interim.push(part).unwrap();
                let mut buffer = [0; 5];
                while let n @ 1.. = interim.take(&mut buffer) {
                    left.extend_from_slice(&buffer[..n]);
                }
            }
            let left = String::from_utf8(left).unwrap();
            seen.push((left, interim.saw_continue()));
        }
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
        seen.swap_remove(0)
    }

    #[test]
    fn only_the_final_answer_is_left() {
        let last = "HTTP/1.1 412 No\r\nContent-Length: 2\r\n\r\n{}";
        for (before, asked_for) in [
            ("", false),
            ("HTTP/1.1 100 Continue\r\n\r\n", true),
            (
                "HTTP/1.1 100 Continue\r\nServer: x\r\nDate: now\r\n\r\n",
                true,
            ),
            ("HTTP/1.1 100\r\n\r\n", true),
            ("HTTP/1.0 100 Continue\n\n", true),
            ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", false),
            (
                "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\nServer: Caddy\r\n\r\n",
                true,
            ),
            ("\r\nHTTP/1.1 100 Continue\r\n\r\n\r\n", true),
        ] {
            let (left, told) = heard(&format!("{before}{last}"));
            assert_eq!(left.trim_start(), last, "{before:?}");
            assert_eq!(told, asked_for, "{before:?}");
        }
    }

    #[test]
    fn what_is_no_interim_answer_is_given_on() {
        for text in [
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/2 100\r\n\r\n",
            "HTTP/1.1 1x0 Continue\r\n\r\n",
            "no HTTP",
        ] {
            assert_eq!(heard(text), (text.to_owned(), false));
        }
        // Not yet known, or not whole.
        for text in [
            "",
            "HTT",
            "HTTP/1.1 10",
            "HTTP/1.1 100 Continue\r\nA: b\r\n",
        ] {
            assert_eq!(heard(text), (String::new(), false));
        }
    }

    #[test]
    fn a_peer_that_never_answers_is_not_listened_to_for_ever() {
        let processing = b"HTTP/1.1 102 Processing\r\n\r\n";
        let endless_head = [b"HTTP/1.1 100 Continue\r\n".as_slice(), &[b'a'; 4096]].concat();
        for bytes in [processing.as_slice(), &endless_head] {
            let mut interim = InterimFilter::default();
            let heard = (0..INTERIM_BYTES_MAX).find_map(|_| interim.push(bytes).err());
            assert!(heard.unwrap().to_string().contains("without end"));
            assert!(interim.held.len() <= INTERIM_BYTES_MAX + bytes.len());
        }
    }
}
