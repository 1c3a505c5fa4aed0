//! An address or a network of addresses, as `[[reader]]` names one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};

use super::mistake::ACCEPTS;

const NETWORK: &str = "one IP address, such as \"10.8.0.11\", or a network, such as \"10.8.0.0/24\" or \"fd00:8::/64\"";

/// One address, or all addresses with the same first bits. An IPv4 address in the form of IPv6
/// (`::ffff:10.8.0.11`) is held as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// The bits behind the prefix are zero.
    first: IpAddr,
    prefix_bits: u32,
}

impl Network {
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_of_the_kind = address.is_ipv4() == self.first.is_ipv4();
        is_of_the_kind && first_of(address, self.prefix_bits) == self.first
    }

    fn is_one_address(self) -> bool {
        self.prefix_bits == bits(self.first)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_one_address() {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

impl FromStr for Network {
    type Err = String;

    /// Errors: what is allowed, or which network was probably meant.
    fn from_str(text: &str) -> Result<Network, String> {
        let allowed = || format!("{ACCEPTS}{NETWORK}");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| allowed())?;
        let mut prefix_bits = match prefix {
            Some(digits) => parse_prefix(digits).ok_or_else(allowed)?,
            None => bits(written),
        };
        if prefix_bits > bits(written) {
            return Err(allowed());
        }
        let mut address = written;
        // The 96 bits before an IPv4 address in the form of IPv6 are always the same.
        if let Some(of_ipv4) = prefix_bits.checked_sub(96)
            && written.is_ipv6()
            && written.to_canonical().is_ipv4()
        {
            address = written.to_canonical();
            prefix_bits = of_ipv4;
        }
        let network = Network {
            first: first_of(address, prefix_bits),
            prefix_bits,
        };
        if network.first != address {
            return Err(format!(
                "{ACCEPTS}a network by its first address: {network}, or one address without /{prefix_bits}"
            ));
        }
        Ok(network)
    }
}

/// The value of a key: see [`Network::from_str`].
///
/// Errors: the value is neither an address nor a network.
pub(crate) fn network<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Network>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

fn parse_prefix(digits: &str) -> Option<u32> {
    let is_plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_: &u32| is_plain)
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first address of the network that has so many bits in common with `address`.
fn first_of(address: IpAddr, prefix_bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - prefix_bits).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - prefix_bits).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_of_its_prefix() {
        for (network, address, is_inside) in [
            ("10.8.0.11", "10.8.0.11", true),
            ("10.8.0.11", "::ffff:10.8.0.11", true),
            ("10.8.0.11", "10.8.0.12", false),
            ("10.8.0.0/24", "10.8.0.255", true),
            ("10.8.0.0/24", "10.8.1.0", false),
            ("10.8.0.0/24", "::ffff:10.8.0.7", true),
            ("10.8.0.4/30", "10.8.0.7", true),
            ("10.8.0.4/30", "10.8.0.8", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("fd00:8::/64", "fd00:8::1", true),
            ("fd00:8::/64", "fd00:8:0:1::1", false),
            ("::ffff:10.8.0.0/120", "10.8.0.200", true),
            ("::ffff:10.8.0.9", "10.8.0.9", true),
        ] {
            let parsed: Network = network.parse().unwrap();
            let found = parsed.contains(address.parse().unwrap());
            assert_eq!(found, is_inside, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network_says_what_is_allowed() {
        for (text, words) in [
            ("", "such as"),
            ("pi", "such as"),
            ("10.8.0.0/33", "such as"),
            ("10.8.0.0/", "such as"),
            ("10.8.0.0/+8", "such as"),
            ("fd00::/129", "such as"),
            ("10.8.0/24", "such as"),
            ("10.8.0.5/24", "10.8.0.0/24"),
            ("fd00:8::1/64", "fd00:8::/64"),
        ] {
            let why = text.parse::<Network>().unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn a_network_is_shown_as_it_is_written() {
        for text in ["10.8.0.11", "10.8.0.0/24", "fd00:8::/64", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }
}
