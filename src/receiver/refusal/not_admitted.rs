//! Why a peer may not upload under a host's name, and why a peer may not read.

use std::fmt;
use std::net::IpAddr;

use crate::config::network::Network;
use crate::names::HostId;

/// Why a peer may not upload under a host's name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NotYours {
    /// No [[host]] table has this name.
    Unknown,
    Address {
        wanted: IpAddr,
        came_from: IpAddr,
    },
    /// The token is another host's.
    Token,
}

impl NotYours {
    pub(super) fn write(self, host: &HostId, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotYours::Unknown => write!(
                f,
                "this receiver has no [[host]] with the id {host}; add one to receiver.toml, or correct host_id in shipper.toml"
            ),
            NotYours::Address { wanted, came_from } => write!(
                f,
                "{host} may upload only from {wanted}; this came from {came_from}; correct its address in receiver.toml, or send from {wanted}"
            ),
            NotYours::Token => write!(
                f,
                "the token is another host's, not that of {host}; correct token_file or host_id in shipper.toml"
            ),
        }
    }
}

/// Why a peer may not read.
#[derive(Clone, Debug)]
pub(crate) enum NotAReader {
    /// The configuration has no [[reader]].
    NoneAtAll,
    /// No reader may come from this address.
    Address { came_from: IpAddr },
    /// The token is that of a reader who may come only from other addresses.
    OfAnother { wanted: Network, came_from: IpAddr },
}

impl fmt::Display for NotAReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAReader::NoneAtAll => f.write_str(
                "receiver.toml has no [[reader]], so nobody may list or fetch; add a [[reader]] with an id and an address, a network or a token_sha256 (cis490 token --reader ID), then systemctl reload cis490-receiver",
            ),
            NotAReader::Address { came_from } => write!(
                f,
                "no [[reader]] of this receiver may read from {came_from}; add one with address = \"{came_from}\" to receiver.toml, then systemctl reload cis490-receiver"
            ),
            NotAReader::OfAnother { wanted, came_from } => write!(
                f,
                "the reader with this token may read only from {wanted}, and this came from {came_from}; correct address in its [[reader]] in receiver.toml, or read from {wanted}"
            ),
        }
    }
}
