//! The target of a request line and the `Host` beside it (RFC 9112, 3.2 and 3.3): which of the four
//! forms it has, and the path and query in it. Nothing is decoded, so nothing can be smuggled in.
//!
//! Which host the request names decides nothing here. But a request whose host is no name at all is
//! refused: two readers might read it in two ways.

use crate::receiver::refusal::Refusal;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Path {
        path: &'a str,
        /// Behind the first `?`. No path of today has a use for one.
        query: Option<&'a str>,
    },
    /// `*`: the receiver as a whole. OPTIONS alone has it.
    Asterisk,
}

impl<'a> Target<'a> {
    /// Errors: 400 for a target that has none of the forms, 501 for a method that nobody knows, 421 for
    /// another scheme's URL.
    pub(super) fn parse(method: &str, raw: &'a str) -> Result<Target<'a>, Refusal> {
        if let Some(odd) = raw.chars().find(|c| *c == '#' || !c.is_ascii_graphic()) {
            return Err(no_form(&format!("has {odd:?}, which none may have")));
        }
        if !is_known(method) {
            return Err(Refusal::UnknownMethod(method.chars().take(40).collect()));
        }
        if raw == "*" && method == "OPTIONS" {
            return Ok(Target::Asterisk);
        }
        if raw.starts_with('/') {
            return Ok(split(raw));
        }
        if let Some(rest) = strip_scheme(raw, "https://") {
            return of_url(rest).and(Err(Refusal::Misdirected));
        }
        match strip_scheme(raw, "http://") {
            Some(rest) => of_url(rest),
            None => Err(no_form("is neither a path nor an http:// URL")),
        }
    }
}

/// Methods that mean something, though not each to every path. CONNECT asks for a tunnel, which only a
/// proxy makes.
fn is_known(method: &str) -> bool {
    matches!(
        method,
        "GET" | "HEAD" | "PUT" | "OPTIONS" | "POST" | "DELETE" | "PATCH" | "TRACE"
    )
}

fn no_form(why: &str) -> Refusal {
    Refusal::BadHead(format!("the target of the request line {why}"))
}

fn strip_scheme<'a>(raw: &'a str, scheme: &str) -> Option<&'a str> {
    let head = raw.get(..scheme.len())?;
    head.eq_ignore_ascii_case(scheme)
        .then(|| &raw[scheme.len()..])
}

/// A whole URL, as proxies are sent; `rest` is what follows its scheme.
fn of_url(rest: &str) -> Result<Target<'_>, Refusal> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_host(authority.as_bytes()) {
        return Err(no_form("is a URL whose host is none"));
    }
    if path.starts_with('/') {
        return Ok(split(path));
    }
    Ok(Target::Path {
        path: "/",
        query: path.strip_prefix('?'),
    })
}

fn split(path: &str) -> Target<'_> {
    match path.split_once('?') {
        Some((path, query)) => Target::Path {
            path,
            query: Some(query),
        },
        None => Target::Path { path, query: None },
    }
}

/// Whether it is a host and perhaps a port, as `Host` has them (RFC 9110, 7.2). An empty host is
/// none: no http:// URL has one (4.2.1).
pub(super) fn is_host(value: &[u8]) -> bool {
    match value.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(|&byte| byte == b']');
            end.is_some_and(|end| is_address(&rest[..end]) && is_port(&rest[end + 1..]))
        }
        None => {
            let end = value.iter().position(|&byte| byte == b':');
            let (name, port) = value.split_at(end.unwrap_or(value.len()));
            is_name(name) && is_port(port)
        }
    }
}

/// An IPv6 address, perhaps with a zone, or one of a later kind.
fn is_address(bytes: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b":.%-_".contains(byte);
    bytes.contains(&b':') && bytes.iter().all(is_allowed)
}

fn is_name(bytes: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_allowed)
}

/// Nothing, or a colon and a port, which may be left out.
fn is_port(bytes: &[u8]) -> bool {
    match bytes.strip_prefix(b":") {
        Some(digits) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        None => bytes.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_its_path() {
        let path = |path, query| Ok(Target::Path { path, query });
        for (method, raw, want) in [
            ("GET", "/v1/gate", path("/v1/gate", None)),
            ("GET", "/v1/gate?", path("/v1/gate", Some(""))),
            ("GET", "/v1/gate?a=/b?c", path("/v1/gate", Some("a=/b?c"))),
            ("GET", "//v1/gate", path("//v1/gate", None)),
            ("GET", "http://pi:8490/v1/gate", path("/v1/gate", None)),
            ("GET", "HTTP://PI/v1/gate?x", path("/v1/gate", Some("x"))),
            ("GET", "http://pi", path("/", None)),
            ("GET", "http://pi?x=/v1/gate", path("/", Some("x=/v1/gate"))),
            ("GET", "http://[::1]:8490/", path("/", None)),
            ("OPTIONS", "*", Ok(Target::Asterisk)),
            ("GET", "*", Err(400)),
            ("GET", "http://", Err(400)),
            ("GET", "http:///v1/gate", Err(400)),
            ("GET", "http://?/v1/gate", Err(400)),
            ("GET", "http://u:p@pi/v1/gate", Err(400)),
            ("GET", "http://pi\\evil/v1/gate", Err(400)),
            ("GET", "http://pi:84900/", path("/", None)),
            ("GET", "http://pi:port/", Err(400)),
            ("GET", "http://pi:849000/", Err(400)),
            ("GET", "https://pi/v1/gate", Err(421)),
            ("GET", "https://?/v1/gate", Err(400)),
            ("GET", "ftp://pi/v1/gate", Err(400)),
            ("GET", "http:/v1", Err(400)),
            ("GET", "v1/gate", Err(400)),
            ("GET", "/v1/gate#x", Err(400)),
            ("GET", "/v1/\u{e9}", Err(400)),
            ("CONNECT", "pi:80", Err(501)),
            ("BREW", "/", Err(501)),
            ("BREW", "/#x", Err(400)),
            ("get", "/", Err(501)),
        ] {
            let parsed = Target::parse(method, raw).map_err(|refusal| refusal.status());
            assert_eq!(parsed, want, "{method} {raw}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for good in [
            "pi",
            "pi:8490",
            "pi:",
            "PI.local.",
            "10.8.0.1:80",
            "[::1]",
            "[fe80::1%25eth0]:80",
            "a_b",
            "%41",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a b",
            "/",
            "pi/",
            "pi?",
            "u@pi",
            "pi\\x",
            "pi:x",
            "pi:80:80",
            "[::1",
            "[]",
            "[pi]",
            "[::1]x",
            "p\u{e9}",
            "pi:123456",
            "pi,\tpi",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
