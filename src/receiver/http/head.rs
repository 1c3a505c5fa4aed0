//! Judging a request's head before anything else is done with the connection: the framing first, and
//! then the headers' grammar. Pure: fields in, a verdict out.
//!
//! The HTTP crate below the guard panics on an odd Content-Length, takes the first of two, and parses
//! the chunks of a Transfer-Encoding as the next request. So a request of any such kind ends its
//! connection here.

use super::guard::HEAD_BYTES_MAX;
use super::target;
use crate::names::{CommitHash, Sha256Digest};
use crate::receiver::refusal::Refusal;
use crate::wire;

/// How the request's bytes end, and what happens to the connection then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Framing {
    /// Bytes of body after the head; 0 without a Content-Length.
    pub length: u64,
    pub expects_continue: bool,
    /// The peer wants the connection closed after the answer, or speaks HTTP/1.0.
    pub closes: bool,
}

/// The headers that mean something to us, each at most once.
#[derive(Default)]
pub(super) struct Head<'a> {
    authorization: Field<'a>,
    commit: Field<'a>,
    sha256: Field<'a>,
    dirty: Field<'a>,
    probe: Field<'a>,
    user_agent: Field<'a>,
    content_length: Field<'a>,
    content_type: Field<'a>,
    upload_offset: Field<'a>,
    upload_complete: Field<'a>,
    expect: Field<'a>,
    host: Field<'a>,
    if_match: Field<'a>,
    if_none_match: Field<'a>,
    if_range: Field<'a>,
    range: Field<'a>,
    connection_closes: bool,
    transfer_encoding: bool,
    content_range: bool,
    origin: bool,
    bytes: usize,
}

/// One header. A peer that sends it twice means one of the two, and we cannot know which. Where the
/// header is judged, in the framing or the grammar, that is an error.
#[derive(Clone, Copy, Default)]
struct Field<'a> {
    value: Option<&'a [u8]>,
    is_repeated: bool,
}

impl<'a> Field<'a> {
    fn take(&mut self, value: &'a [u8]) {
        self.is_repeated = self.value.replace(value).is_some();
    }

    /// The value, or an empty one in the place of several, which is no value that means anything.
    fn single(&self) -> Option<&'a [u8]> {
        let value = self.value?;
        Some(if self.is_repeated { b"" } else { value })
    }

    /// The value; if there is more than one, the text for a 400.
    fn once(&self, name: &str) -> Result<Option<&'a [u8]>, String> {
        if self.is_repeated {
            return Err(format!(
                "the header {name} stands in the request more than once; send it once"
            ));
        }
        Ok(self.value)
    }
}

impl<'a> Head<'a> {
    /// Collects the known headers from name and value pairs.
    pub(super) fn collect(
        target: &str,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Head<'a> {
        let mut head = Head {
            bytes: target.len(),
            ..Head::default()
        };
        for (name, value) in headers {
            head.bytes += name.len() + value.len() + 4;
            head.take(name, value);
        }
        head
    }

    fn take(&mut self, name: &str, value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("Transfer-Encoding") {
            self.transfer_encoding = true;
            return;
        }
        self.content_range |= is("Content-Range");
        self.origin |= is("Origin");
        if is("Connection") {
            let mut tokens = value.split(|&b| b == b',').map(<[u8]>::trim_ascii);
            self.connection_closes |= tokens.any(|token| token.eq_ignore_ascii_case(b"close"));
            return;
        }
        for (known, field) in [
            ("Content-Length", &mut self.content_length),
            ("Content-Type", &mut self.content_type),
            (wire::UPLOAD_OFFSET_HEADER, &mut self.upload_offset),
            (wire::UPLOAD_COMPLETE_HEADER, &mut self.upload_complete),
            ("Expect", &mut self.expect),
            ("Host", &mut self.host),
            ("If-Match", &mut self.if_match),
            ("If-None-Match", &mut self.if_none_match),
            ("If-Range", &mut self.if_range),
            ("Range", &mut self.range),
            ("Authorization", &mut self.authorization),
            (wire::COMMIT_HEADER, &mut self.commit),
            (wire::SHA256_HEADER, &mut self.sha256),
            (wire::DIRTY_HEADER, &mut self.dirty),
            (wire::PROBE_HEADER, &mut self.probe),
            ("User-Agent", &mut self.user_agent),
        ] {
            if is(known) {
                field.take(value);
            }
        }
    }

    /// Judges where the request ends. An error here means that the bytes which follow cannot be
    /// trusted to begin a request.
    pub(super) fn framing(&self, method: &str, version: u8) -> Result<Framing, Refusal> {
        if method.len() + self.bytes > HEAD_BYTES_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        if self.transfer_encoding {
            return Err(Refusal::TransferEncoding);
        }
        let once = |field: &Field<'a>, name| field.once(name).map_err(Refusal::BadHead);
        host(once(&self.host, "Host")?, version)?;
        let length = once(&self.content_length, "Content-Length")?;
        let length = length
            .map(|value| number_of_bytes("Content-Length", value))
            .transpose()?;
        if method == "PUT" && length.is_none() {
            return Err(Refusal::LengthRequired);
        }
        let mut expect = once(&self.expect, "Expect")?;
        if version == 0 {
            // RFC 9110: an expectation from an HTTP/1.0 client is ignored.
            expect = None;
        }
        if let Some(value) = expect
            && !value.eq_ignore_ascii_case(b"100-continue")
        {
            return Err(Refusal::Expectation(lossy(value)));
        }
        Ok(Framing {
            length: length.unwrap_or(0),
            expects_continue: expect.is_some(),
            closes: self.connection_closes || version == 0,
        })
    }

    /// Whether the head states the length of its body.
    pub(super) fn has_length(&self) -> bool {
        self.content_length.value.is_some()
    }

    /// Where the rest of a broken upload begins.
    ///
    /// Errors: 400 for a PATCH that is not the rest to the end, 415 for one of another type.
    pub(super) fn upload_offset(&self) -> Result<u64, Refusal> {
        let once = |field: &Field<'a>, name| field.once(name).map_err(Refusal::BadHead);
        let offset = once(&self.upload_offset, wire::UPLOAD_OFFSET_HEADER)?;
        let offset = offset.ok_or_else(|| {
            let name = wire::UPLOAD_OFFSET_HEADER;
            Refusal::BadHead(format!(
                "the header {name} is missing; HEAD of this path says where the rest begins"
            ))
        })?;
        let offset = number_of_bytes(wire::UPLOAD_OFFSET_HEADER, offset)?;
        let complete = once(&self.upload_complete, wire::UPLOAD_COMPLETE_HEADER)?;
        if complete != Some(wire::UPLOAD_COMPLETE.as_bytes()) {
            return Err(Refusal::BadHead(format!(
                "{} must be {}: the body of a PATCH is all of the rest",
                wire::UPLOAD_COMPLETE_HEADER,
                wire::UPLOAD_COMPLETE
            )));
        }
        let content_type = once(&self.content_type, "Content-Type")?.unwrap_or(b"");
        if !content_type.eq_ignore_ascii_case(wire::PARTIAL_UPLOAD.as_bytes()) {
            return Err(Refusal::NotAPartialUpload(lossy(content_type)));
        }
        Ok(offset)
    }

    /// What a PUT or PATCH may not have at all.
    ///
    /// Errors: 403 for a web page's upload, 400 for a part of a body (RFC 9110, 14.5).
    pub(super) fn is_whole_and_no_web_pages(&self) -> Result<(), Refusal> {
        if self.origin {
            return Err(Refusal::FromABrowser);
        }
        if self.content_range {
            let why = "Content-Range: send all of an upload, without this header; HEAD of /v1/uploads/HOST/EPISODE says whether it may go on where it broke off";
            return Err(Refusal::BadHead(why.to_owned()));
        }
        Ok(())
    }

    /// What a GET for readers may not have. The download of a browser has no `Origin`: only a page's
    /// script sends one with a GET.
    ///
    /// Errors: 403.
    pub(super) fn is_no_web_pages_read(&self) -> Result<(), Refusal> {
        if self.origin {
            return Err(Refusal::PageMayNotRead);
        }
        Ok(())
    }

    /// `If-Match`, if there is one. Two of them match nothing.
    pub(super) fn if_match(&self) -> Option<&'a [u8]> {
        self.if_match.single()
    }

    /// `If-None-Match`, if there is one. Two of them match nothing.
    pub(super) fn if_none_match(&self) -> Option<&'a [u8]> {
        self.if_none_match.single()
    }

    /// `If-Range`, if there is one. Two of them match nothing.
    pub(super) fn if_range(&self) -> Option<&'a [u8]> {
        self.if_range.single()
    }

    /// `Range`, if there is one. Two of them are no range.
    pub(super) fn range(&self) -> Option<&'a [u8]> {
        self.range.single()
    }

    /// `Authorization`, as it was sent. Two of them prove nothing, like none.
    pub(super) fn authorization(&self) -> Option<&'a [u8]> {
        self.authorization.once("Authorization").ok().flatten()
    }

    /// Whether doctor or install only ask what an upload would get. A doctor of before there was a
    /// header for it is known by its name.
    pub(super) fn is_probe(&self) -> bool {
        self.probe.value == Some(b"1") || self.user_agent.value == Some(b"cis490-doctor")
    }

    /// The digest that the head states for the body.
    pub(super) fn sha256(&self) -> Result<Sha256Digest, Refusal> {
        let value = self.sha256.once(wire::SHA256_HEADER);
        let value = value.map_err(Refusal::BadHead)?.unwrap_or(b"");
        Sha256Digest::parse(&lossy(value))
            .map_err(|bad| Refusal::BadHead(format!("{}: {bad}", wire::SHA256_HEADER)))
    }

    /// The commit of the code that made the episode; the text of an error goes into a 400.
    pub(super) fn commit(&self) -> Result<CommitHash, String> {
        let value = self.commit.once(wire::COMMIT_HEADER)?;
        let value =
            value.ok_or_else(|| format!("the header {} is missing", wire::COMMIT_HEADER))?;
        CommitHash::parse(&lossy(value)).map_err(|bad| format!("{}: {bad}", wire::COMMIT_HEADER))
    }

    /// Whether the episode's code had uncommitted changes.
    pub(super) fn dirty(&self) -> Result<bool, Refusal> {
        let value = self.dirty.once(wire::DIRTY_HEADER);
        match value.map_err(Refusal::BadHead)? {
            None | Some(b"false") => Ok(false),
            Some(b"true") => Ok(true),
            Some(other) => Err(Refusal::BadHead(format!(
                "{}: {:?} is neither true nor false",
                wire::DIRTY_HEADER,
                lossy(other)
            ))),
        }
    }
}

/// HTTP/1.1 names the host that it means (RFC 9112, 3.2).
fn host(value: Option<&[u8]>, version: u8) -> Result<(), Refusal> {
    match value {
        Some(value) if target::is_host(value) => Ok(()),
        Some(value) => Err(Refusal::BadHead(format!(
            "Host: {:?} is neither a name nor an address, with or without a port",
            lossy(value)
        ))),
        None if version == 0 => Ok(()),
        None => Err(Refusal::BadHead(
            "the header Host is missing, which every HTTP/1.1 request has".to_owned(),
        )),
    }
}

/// Digits only, and no more than fit: `+5`, `5, 5`, `0x5` and the empty value are all refused.
fn number_of_bytes(name: &str, value: &[u8]) -> Result<u64, Refusal> {
    // The whole value, and into a usize, as the HTTP crate would parse it.
    let digits = std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse::<usize>().ok());
    number.map(|number| number as u64).ok_or_else(|| {
        let text = lossy(value);
        Refusal::BadHead(format!(
            "{name}: {text:?} is not a number of bytes in digits"
        ))
    })
}

/// A header value as text for grammar and messages; a value that is not UTF-8 fails every grammar.
fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(256)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &str, version: u8, headers: &[(&str, &str)]) -> u16 {
        let headers = headers.iter().chain(&[("Host", "pi")]);
        let pairs = headers.map(|(name, value)| (*name, value.as_bytes()));
        let framing = Head::collect("/", pairs).framing(method, version);
        framing.map_or_else(|refusal| refusal.status(), |_| 0)
    }

    #[test]
    fn framing_is_judged_before_anything_else() {
        for (name, headers, want) in [
            ("plain", &[("Content-Length", "5")][..], 0),
            ("no length", &[], 411),
            ("a sign", &[("Content-Length", "+5")], 400),
            ("negative", &[("Content-Length", "-1")], 400),
            ("letters", &[("content-length", "abc")], 400),
            ("empty", &[("Content-Length", "")], 400),
            ("a list", &[("Content-Length", "5, 5")], 400),
            (
                "too many digits",
                &[("Content-Length", "99999999999999999999")],
                400,
            ),
            (
                "twice the same",
                &[("Content-Length", "5"), ("CONTENT-LENGTH", "5")],
                400,
            ),
            (
                "twice differing",
                &[("Content-Length", "5"), ("Content-Length", "6")],
                400,
            ),
            ("chunked", &[("Transfer-Encoding", "chunked")], 501),
            (
                "both",
                &[("Content-Length", "5"), ("transfer-encoding", "identity")],
                501,
            ),
            (
                "odd expectation",
                &[("Content-Length", "5"), ("Expect", "a-miracle")],
                417,
            ),
            (
                "expects",
                &[("Content-Length", "5"), ("Expect", "100-Continue")],
                0,
            ),
            ("two hosts", &[("Content-Length", "5"), ("Host", "pi")], 400),
        ] {
            assert_eq!(status("PUT", 1, headers), want, "{name}");
        }
        assert_eq!(status("GET", 1, &[]), 0);
        assert_eq!(
            status("GET", 1, &[("X-Long", &"x".repeat(HEAD_BYTES_MAX))]),
            431
        );
        assert_eq!(
            status("PUT", 0, &[("Content-Length", "1"), ("Expect", "odd")]),
            0
        );
    }

    /// A length was once judged on its first 256 bytes, and the HTTP crate parsed all of it: the body
    /// behind 256 zeros was then parsed as requests.
    #[test]
    fn a_length_is_judged_in_whole() {
        let long = "0".repeat(256) + "40";
        let pairs = [("Content-Length", long.as_bytes())].into_iter();
        let framing = Head::collect("/", pairs).framing("GET", 0);
        assert_eq!(framing.map(|framing| framing.length).unwrap(), 40);
        let odd = "0".repeat(256) + "+5";
        assert_eq!(status("PUT", 1, &[("Content-Length", &odd)]), 400);
    }

    #[test]
    fn a_doubled_header_of_ours_is_no_fault_of_framing() {
        let commit = "a".repeat(40);
        let pairs = [
            ("Host", &b"pi"[..]),
            (wire::COMMIT_HEADER, commit.as_bytes()),
            (wire::COMMIT_HEADER, commit.as_bytes()),
        ];
        let head = Head::collect("/", pairs.into_iter());
        assert!(head.framing("GET", 1).is_ok());
        assert!(head.commit().unwrap_err().contains("more than once"));
    }

    #[test]
    fn close_is_found_among_other_tokens() {
        let closes = |fields: &[(&str, &str)], version| {
            let pairs = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
            let framing = Head::collect("/", pairs).framing("GET", version);
            framing.unwrap().closes
        };
        let host = ("Host", "pi");
        assert!(closes(&[host, ("Connection", "keep-alive, Close")], 1));
        assert!(closes(&[], 0));
        assert!(!closes(&[host], 1));
    }

    #[test]
    fn http_1_1_names_a_host() {
        for (version, fields, want) in [
            (1, &[("Host", "pi:8490")][..], 0),
            (1, &[], 400),
            (1, &[("Host", "")], 400),
            (1, &[("Host", "a b")], 400),
            (1, &[("Host", "/")], 400),
            (0, &[], 0),
            (0, &[("Host", "a b")], 400),
        ] {
            let pairs = fields
                .iter()
                .map(|(name, value): &(&str, &str)| (*name, value.as_bytes()));
            let framing = Head::collect("/", pairs).framing("GET", version);
            let status = framing.map_or_else(|refusal| refusal.status(), |_| 0);
            assert_eq!(status, want, "HTTP/1.{version} {fields:?}");
        }
    }
}
