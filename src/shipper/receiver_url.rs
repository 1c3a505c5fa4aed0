//! `receiver_url` of the configuration, parsed, and the addresses of its host.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// The allowed forms of `receiver_url`, for the hint of an error.
const ALLOWED: &str = "http://HOST:PORT or https://HOST[:PORT] and nothing after it; a receiver listens on port 8490 by default";

/// The URL is shown without its user, and would look right.
const NO_USER: &str = "no user and no password before an @ (they are not shown here); a token belongs in the file that token_file names";

/// `http://HOST:PORT` or `https://HOST[:PORT]`, HOST being a name, an IPv4 address or an IPv6
/// address in brackets, with its interface where it is link-local: `[fe80::1%eth0]`.
///
/// Of http:// the port is asked for: 80, which its absence means, is where a receiver hardly ever
/// listens; a proxy that speaks TLS for it listens on 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceiverUrl {
    pub is_https: bool,
    /// A name or an address, without brackets and zone.
    pub host: String,
    /// The interface of a link-local address.
    zone: Option<String>,
    port: Option<u16>,
}

impl ReceiverUrl {
    /// Errors: a text with the allowed forms.
    pub(crate) fn parse(url: &str) -> Result<ReceiverUrl, String> {
        let (scheme, rest) = url.split_once("://").ok_or(ALLOWED)?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return Err(ALLOWED.to_owned());
        }
        if rest.contains('@') {
            return Err(NO_USER.to_owned());
        }
        let (host, port) = host_and_port(rest.trim_end_matches('/'));
        let port = port
            .map(|text| port_number(text).ok_or(ALLOWED))
            .transpose()?;
        if port.is_none() && !is_https {
            return Err(ALLOWED.to_owned());
        }
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let (host, zone) = match bracketed {
            Some(v6) => v6_and_zone(v6)?,
            None if is_name(host) => (host.to_owned(), None),
            None => return Err(ALLOWED.to_owned()),
        };
        Ok(ReceiverUrl {
            is_https,
            host,
            zone,
            port,
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.is_https { 443 } else { 80 })
    }

    /// The URL without the zone, which is this machine's own affair and goes nowhere.
    pub(crate) fn without_zone(&self) -> String {
        if self.host.contains(':') {
            return self.url_of(&format!("[{}]", self.host));
        }
        self.url_of(&self.host)
    }

    fn url_of(&self, host: &str) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        let port = self.port.map_or(String::new(), |port| format!(":{port}"));
        format!("{scheme}://{host}{port}")
    }

    /// The addresses of the host, for as long as the system takes to find them.
    ///
    /// Errors: a name that is not found, or an interface that is not there, in words.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let host = match &self.zone {
            Some(zone) => format!("{}%{zone}", self.host),
            None => self.host.clone(),
        };
        let found = (host.as_str(), self.port()).to_socket_addrs();
        found
            .map(Iterator::collect)
            .map_err(|error| self.not_found(&error))
    }

    /// `error` in words: why the host has no address.
    pub(crate) fn not_found(&self, error: &io::Error) -> io::Error {
        let host = &self.host;
        let words = match &self.zone {
            Some(zone) => {
                format!("the interface {zone} of {host} is not there (ip link): {error}")
            }
            None => not_found(host, error, cfg!(target_env = "musl")),
        };
        io::Error::new(error.kind(), words)
    }
}

/// As it is written into the configuration.
impl fmt::Display for ReceiverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => f.write_str(&self.url_of(&format!("[{}%{zone}]", self.host))),
            None => f.write_str(&self.without_zone()),
        }
    }
}

/// Why a name has no address. `is_static`: this program brings a C library of its own.
fn not_found(host: &str, error: &io::Error, is_static: bool) -> String {
    let is_mdns = host
        .trim_end_matches('.')
        .to_ascii_lowercase()
        .ends_with(".local");
    let why = match (is_mdns, is_static) {
        (false, _) => "".to_owned(),
        (true, true) => "; this program is static and asks no mDNS, so it knows no .local name: put the address into receiver_url, or the name into /etc/hosts".to_owned(),
        (true, false) => "; a .local name needs mDNS on this machine (Debian: libnss-mdns): else put the address into receiver_url, or the name into /etc/hosts".to_owned(),
    };
    format!("the name {host} is not found: {error}{why}")
}

fn is_name(host: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !host.is_empty() && host.len() <= 253 && host.bytes().all(ok)
}

fn port_number(text: &str) -> Option<u16> {
    let is_digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| is_digits && *port > 0)
}

/// The address in the brackets. A zone is written as `%eth0`, or as RFC 6874 has it: `%25eth0`.
fn v6_and_zone(text: &str) -> Result<(String, Option<String>), String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone.strip_prefix("25").unwrap_or(zone))),
        None => (text, None),
    };
    let parsed: Ipv6Addr = address.parse().map_err(|_| ALLOWED)?;
    let is_zone = |zone: &str| is_name(zone) && zone.len() < 16;
    match zone {
        None if parsed.is_unicast_link_local() => Err(format!(
            "a link-local address with its interface: http://[{address}%eth0]:8490 (ip address shows which)"
        )),
        Some(_) if !parsed.is_unicast_link_local() => Err(
            "an interface (%eth0) after a link-local address alone, which begins with fe80"
                .to_owned(),
        ),
        Some(zone) if !is_zone(zone) => Err(ALLOWED.to_owned()),
        _ => Ok((address.to_owned(), zone.map(str::to_owned))),
    }
}

/// The host, in brackets if it has them, and the port if there is one.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // Colons inside `[..]` are not port separators.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Whether a host is an address, so that no name has to be resolved.
pub(super) fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (good, url, port) in [
            ("http://pi:8490", "http://pi:8490", 8490),
            ("HTTP://pi:8490/", "http://pi:8490", 8490),
            ("http://[fd00::1]:8490", "http://[fd00::1]:8490", 8490),
            ("http://10.8.0.1:1", "http://10.8.0.1:1", 1),
            ("https://pi.lan", "https://pi.lan", 443),
            ("Https://pi.lan/", "https://pi.lan", 443),
            ("https://pi.lan:8490", "https://pi.lan:8490", 8490),
            ("https://[fd00::1]", "https://[fd00::1]", 443),
            ("http://[fe80::1%eth0]:8490", "http://[fe80::1]:8490", 8490),
            ("https://[fe80::1%25wg0]", "https://[fe80::1]", 443),
        ] {
            let parsed = ReceiverUrl::parse(good).unwrap();
            let found = (parsed.without_zone(), parsed.port());
            assert_eq!(found, (url.to_owned(), port), "{good}");
        }
        for bad in [
            "http://",
            "http://:1",
            "http://pi:",
            "http://pi",
            "http://[fd00::1]",
            "https://",
            "https://pi:",
            "https://pi:0",
            "https://pi/x",
            "http://pi:+80",
            "http://a b:1",
            "http://[::g]:1",
            "ftp://pi:1",
            "pi:8490",
            "http://me@pi:1",
            "http://[fe80::1]:8490",
            "http://[fe80::1%]:8490",
            "http://[fe80::1%a/b]:8490",
            "http://[fd00::1%eth0]:8490",
        ] {
            assert!(ReceiverUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_link_local_address_goes_out_by_its_interface() {
        let url = ReceiverUrl::parse("http://[fe80::1%25lo]:8490").unwrap();
        assert_eq!(url.to_string(), "http://[fe80::1%lo]:8490");
        let addresses = url.resolve().unwrap();
        let SocketAddr::V6(address) = addresses[0] else {
            panic!("{addresses:?}");
        };
        assert_ne!(address.scope_id(), 0);
        let nowhere = ReceiverUrl::parse("http://[fe80::1%none7]:8490").unwrap();
        let told = nowhere.resolve().unwrap_err().to_string();
        assert!(told.contains("the interface none7"), "{told}");
    }

    #[test]
    fn a_local_name_says_what_it_needs() {
        let error = io::Error::other("unknown");
        for (host, is_static, words) in [
            ("pi.local", true, "static and asks no mDNS"),
            ("PI.LOCAL.", true, "/etc/hosts"),
            ("pi.local", false, "libnss-mdns"),
        ] {
            let told = not_found(host, &error, is_static);
            assert!(told.contains(words), "{told}");
        }
        assert_eq!(
            not_found("pi.lan", &error, true),
            "the name pi.lan is not found: unknown"
        );
    }
}
