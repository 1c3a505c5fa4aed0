//! Signature Version 4 of S3: pure functions of a request, the keys and a time.
//!
//! 1. The digest of the payload is signed with the request, so that a store refuses bytes that are not
//!    the ones that were meant.
//! 2. A path is quoted once: all but the unreserved characters of RFC 3986, and `/`.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::secret::Keys;
use crate::clock;

/// The digest of no bytes: the payload of a request without a body.
pub(super) const NO_PAYLOAD: &str =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";
/// Of a hash block of SHA-256.
const BLOCK_BYTES: usize = 64;

/// The time that a request is signed with, in the form of `20130524T000000Z`.
#[derive(Clone)]
pub(super) struct SigningTime(String);

impl SigningTime {
    pub(super) fn of(time: SystemTime) -> SigningTime {
        let text = clock::rfc3339(time);
        SigningTime(text.chars().filter(|c| !"-:".contains(*c)).collect())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn day(&self) -> &str {
        &self.0[..8]
    }
}

/// A request, as far as its signature goes.
pub(super) struct Unsigned<'a> {
    pub method: &'a str,
    /// Quoted already: see [`quote`].
    pub path: &'a str,
    /// Names and values, not quoted, in any order.
    pub query: &'a [(&'a str, &'a str)],
    /// Names in lower case and values, in any order; `host` is among them.
    pub fields: &'a [(&'a str, &'a str)],
    /// The digest of the body in hex, or `UNSIGNED-PAYLOAD`.
    pub payload: &'a str,
}

/// The value of the `Authorization` field. `x-amz-date` is among the request's fields, with the same time.
pub(super) fn authorization(
    request: &Unsigned,
    keys: &Keys,
    region: &str,
    time: &SigningTime,
) -> String {
    let (canonical, signed) = canonical(request);
    let scope = scope(region, time);
    let signature = sign(&canonical, keys, region, time);
    format!(
        "{ALGORITHM} Credential={}/{scope},SignedHeaders={signed},Signature={signature}",
        keys.access_key
    )
}

/// The query of a URL that anybody may GET for this time. `host` is with its port, if that is not the usual one.
pub(super) fn presigned_query(
    path: &str,
    host: &str,
    valid: Duration,
    keys: &Keys,
    region: &str,
    time: &SigningTime,
) -> String {
    let credential = format!("{}/{}", keys.access_key, scope(region, time));
    let valid_s = valid.as_secs().to_string();
    let mut query = vec![
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", time.as_str()),
        ("X-Amz-Expires", &valid_s),
        ("X-Amz-SignedHeaders", "host"),
    ];
    if let Some(token) = &keys.session_token {
        query.push(("X-Amz-Security-Token", token));
    }
    let request = Unsigned {
        method: "GET",
        path,
        query: &query,
        fields: &[("host", host)],
        payload: "UNSIGNED-PAYLOAD",
    };
    let signature = sign(&canonical(&request).0, keys, region, time);
    format!(
        "{}&X-Amz-Signature={signature}",
        canonical_query(request.query)
    )
}

/// Names and values quoted and sorted, as a URL has them.
pub(super) fn canonical_query(query: &[(&str, &str)]) -> String {
    let mut parts: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{}={}", quote(name, false), quote(value, false)))
        .collect();
    parts.sort_unstable();
    parts.join("&")
}

/// `text` with all but the unreserved characters as `%XX`; a slash stays in a path.
pub(super) fn quote(text: &str, is_path: bool) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if is_unreserved || (is_path && byte == b'/') {
            quoted.push(byte as char);
        } else {
            let _ = write!(quoted, "%{byte:02X}");
        }
    }
    quoted
}

/// The text that is signed, and the names of the fields in it.
fn canonical(request: &Unsigned) -> (String, String) {
    let mut fields: Vec<_> = request.fields.to_vec();
    fields.sort_unstable();
    let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = fields
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", single_spaced(value)))
        .collect();
    let Unsigned {
        method,
        path,
        payload,
        ..
    } = request;
    let query = canonical_query(request.query);
    let text = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}");
    (text, names)
}

/// Without spaces at the ends, and with one where there are several.
fn single_spaced(value: &str) -> String {
    let words: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

fn scope(region: &str, time: &SigningTime) -> String {
    format!("{}/{region}/{SERVICE}/aws4_request", time.day())
}

fn sign(canonical: &str, keys: &Keys, region: &str, time: &SigningTime) -> String {
    let digest = hex(&Sha256::digest(canonical));
    let text = format!(
        "{ALGORITHM}\n{}\n{}\n{digest}",
        time.as_str(),
        scope(region, time)
    );
    let mut key = hmac(format!("AWS4{}", keys.secret).as_bytes(), time.day());
    for part in [region, SERVICE, "aws4_request"] {
        key = hmac(&key, part);
    }
    hex(&hmac(&key, &text))
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "examplebucket.s3.amazonaws.com";

    fn keys() -> Keys {
        Keys {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        }
    }

    /// 2013-05-24T00:00:00Z, the time of the published examples.
    fn time() -> SigningTime {
        SigningTime::of(SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600))
    }

    /// The signature of a request of the published examples, all of which have these fields.
    fn signature(
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        fields: &[(&str, &str)],
        payload: &str,
    ) -> String {
        let time = time();
        let mut all = vec![
            ("host", HOST),
            ("x-amz-content-sha256", payload),
            ("x-amz-date", time.as_str()),
        ];
        all.extend(fields);
        let request = Unsigned {
            method,
            path,
            query,
            fields: &all,
            payload,
        };
        let text = authorization(&request, &keys(), "us-east-1", &time);
        text.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// "Signature Calculations for the Authorization Header", in the documentation of Amazon S3.
    #[test]
    fn the_published_examples_of_the_authorization_field() {
        let get = signature(
            "GET",
            "/test.txt",
            &[],
            &[("range", "bytes=0-9")],
            NO_PAYLOAD,
        );
        assert_eq!(
            get,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let payload = hex(&Sha256::digest("Welcome to Amazon S3."));
        let fields = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let path = format!("/{}", quote("test$file.text", true));
        assert_eq!(
            signature("PUT", &path, &[], &fields, &payload),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signature("GET", "/", &[("lifecycle", "")], &[], NO_PAYLOAD),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        let query = [("prefix", "J"), ("max-keys", "2")];
        assert_eq!(
            signature("GET", "/", &query, &[], NO_PAYLOAD),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    /// "Authenticating Requests: Using Query Parameters", in the same documentation.
    #[test]
    fn the_published_example_of_a_presigned_url() {
        let day = Duration::from_secs(86_400);
        let query = presigned_query("/test.txt", HOST, day, &keys(), "us-east-1", &time());
        assert_eq!(
            query,
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    /// The second and the sixth case of RFC 4231: a short key, and one longer than a block.
    #[test]
    fn hmac_is_that_of_the_rfc() {
        assert_eq!(
            hex(&hmac(b"Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac(
                &[0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First"
            )),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn names_of_episodes_are_not_changed_by_quoting() {
        let key = "episodes/lab-1/A.b_c-d~0f.tar.zst";
        assert_eq!(quote(key, true), key);
        assert_eq!(quote("a/b c+d=", false), "a%2Fb%20c%2Bd%3D");
        assert_eq!(single_spaced("  a   b "), "a b");
    }
}
