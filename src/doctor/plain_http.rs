//! One request in plain HTTP, for a check that looks at the status and the body of the answer alone.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::wire;

/// The longest wait for each of: the connection, the sending, the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The parts of an HTTP answer that doctor looks at.
#[derive(Debug)]
pub(crate) struct PlainAnswer {
    pub status: u16,
    pub body: String,
}

impl PlainAnswer {
    /// Errors: the text is not an HTTP answer.
    pub(crate) fn read(text: &[u8]) -> io::Result<PlainAnswer> {
        let text = String::from_utf8_lossy(text);
        let status = text.get(9..12).and_then(|digits| digits.parse().ok());
        let status = status
            .ok_or_else(|| io::Error::other("the server that answers does not speak HTTP"))?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok(PlainAnswer {
            status,
            body: body.to_owned(),
        })
    }

    /// The body, parsed from bytes as everywhere in the program: a second reader of JSON, for text, would
    /// make the program larger by 20 KB.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(self.body.as_bytes())
    }
}

/// Sends a request in plain HTTP to the server at `address`; `head` is the whole request.
///
/// Errors: no connection, or the server does not speak HTTP.
pub(crate) fn ask(address: SocketAddr, head: &str) -> io::Result<PlainAnswer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    let mut text = Vec::new();
    let _ = stream.take(wire::ANSWER_BYTES_MAX).read_to_end(&mut text);
    PlainAnswer::read(&text)
}

/// As [`ask`], for a server that is not trusted: all of it takes at most `patience`.
///
/// Errors: as [`ask`]; `TimedOut` if the answer has not ended by then; or the answer is too long.
pub(crate) fn ask_within(
    address: SocketAddr,
    head: &str,
    patience: Duration,
) -> io::Result<PlainAnswer> {
    let until = Instant::now() + patience;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_write_timeout(Some(left(until)?))?;
    stream.write_all(head.as_bytes())?;
    let mut text = Vec::new();
    let mut block = vec![0; 16 << 10];
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        let count = stream.read(&mut block)?;
        if count == 0 {
            return PlainAnswer::read(&text);
        }
        text.extend_from_slice(&block[..count]);
        if wire::ANSWER_BYTES_MAX < text.len() as u64 {
            return Err(io::Error::other(format!(
                "its answer has more than {} bytes",
                wire::ANSWER_BYTES_MAX
            )));
        }
    }
}

/// The time until then.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}
