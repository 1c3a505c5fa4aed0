//! Values of a configuration that people write in more than one form: sizes and addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::mistake::ACCEPTS;
use crate::human;

const SIZE: &str = "a number of bytes, or text such as \"8GiB\" or \"500MB\"";
const LISTEN: &str = "ADDRESS:PORT, such as \"10.8.0.1:8490\", or \":8490\" for every address";
const ADDRESS: &str = "one IP address, such as \"10.8.0.11\"";

/// A number of bytes: `8589934592` or `"8GiB"`, by [`human::parse_bytes`].
///
/// Errors: the value is neither.
pub(crate) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Size;
    impl Visitor<'_> for Size {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(SIZE)
        }
        fn visit_u64<E: Error>(self, bytes: u64) -> Result<u64, E> {
            Ok(bytes)
        }
        fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
            u64::try_from(bytes).map_err(|_| E::custom(format!("{ACCEPTS}{SIZE}")))
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            human::parse_bytes(text).ok_or_else(|| E::custom(format!("{ACCEPTS}{SIZE}")))
        }
    }
    deserializer.deserialize_any(Size)
}

/// As [`size`], for a key that may be left out.
///
/// Errors: the value is not a size.
pub(crate) fn optional_size<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    size(deserializer).map(Some)
}

/// Where to listen, by [`parse_listen`].
///
/// Errors: the value is not an address with a port.
pub(crate) fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_listen(&text).ok_or_else(|| D::Error::custom(format!("{ACCEPTS}{LISTEN}")))
}

/// `ADDRESS:PORT`, or `:PORT` for every IPv4 address of this machine; else `None`.
pub(crate) fn parse_listen(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            let port = port.parse().ok()?;
            Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        }
        _ => text.parse().ok(),
    }
}

/// As [`parse_listen`], for an option of the command line.
///
/// Errors: what is allowed.
pub(crate) fn listen_option(text: &str) -> Result<SocketAddr, String> {
    parse_listen(text).ok_or_else(|| format!("{ACCEPTS}{}", LISTEN.replace('"', "")))
}

/// A whole number, for an option of the command line.
///
/// Errors: what is allowed.
pub(crate) fn count_option(text: &str) -> Result<usize, String> {
    let allowed = || format!("{ACCEPTS}a whole number, such as 20");
    text.parse().map_err(|_| allowed())
}

/// The address of one lab host.
///
/// Errors: the value is not an address, or is a network.
pub(crate) fn address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    let is_network = text
        .split_once('/')
        .is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok());
    let more = if is_network {
        ", and no network: each lab host has a [[host]] of its own"
    } else {
        ""
    };
    Err(D::Error::custom(format!("{ACCEPTS}{ADDRESS}{more}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_listen_as_people_write_it() {
        for (text, address) in [
            ("10.8.0.1:8490", Some("10.8.0.1:8490")),
            (":8490", Some("0.0.0.0:8490")),
            ("[::]:8490", Some("[::]:8490")),
            ("8490", None),
            (":", None),
            (":+1", None),
            (":99999", None),
            ("pi:8490", None),
            ("10.8.0.1", None),
        ] {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(parse_listen(text), address, "{text}");
        }
    }
}
