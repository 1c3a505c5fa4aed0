//! Who may upload (design, section 6). Without `[[host]]` tables that is every peer that can reach the
//! port; with them only those hosts, each only under its own name.
//!
//! Behind WireGuard the address of a peer proves which host it is, elsewhere a token does; a host with
//! both needs both. Only digests of tokens are held, and they are compared in constant time.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::config::HostRule;
use super::refusal::{NotYours, Refusal};
use crate::names::{HostId, Sha256Digest};

pub(crate) struct Access {
    rules: Vec<HostRule>,
}

impl Access {
    pub(crate) fn new(rules: Vec<HostRule>) -> Access {
        Access { rules }
    }

    /// Whether every peer that can reach the port may upload.
    pub(crate) fn is_open(&self) -> bool {
        self.rules.is_empty()
    }

    /// An error unless `peer` may upload as `host` with this `Authorization` header.
    pub(crate) fn judge(
        &self,
        host: &HostId,
        peer: IpAddr,
        authorization: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        if self.is_open() {
            return Ok(());
        }
        let not_yours = |why| Refusal::NotYourName {
            host: host.clone(),
            why,
        };
        let rule = self
            .rules
            .iter()
            .find(|rule| rule.id == *host)
            .ok_or_else(|| not_yours(NotYours::Unknown))?;
        // A listener on [::] sees an IPv4 peer as ::ffff:a.b.c.d.
        let came_from = peer.to_canonical();
        if let Some(wanted) = rule.address.map(|address| address.to_canonical())
            && wanted != came_from
        {
            return Err(not_yours(NotYours::Address { wanted, came_from }));
        }
        let Some(own) = &rule.token_sha256 else {
            return Ok(());
        };
        let digest = token_digest(bearer_token(authorization).ok_or(Refusal::NoToken)?);
        // Both comparisons are always made, so that the time they take reveals nothing.
        match (same_digest(own, &digest), self.knows(&digest)) {
            (true, _) => Ok(()),
            (false, true) => Err(not_yours(NotYours::Token)),
            (false, false) => Err(Refusal::UnknownToken),
        }
    }

    /// Whether the digest is that of any host's token.
    fn knows(&self, digest: &Sha256Digest) -> bool {
        let known = self.rules.iter().filter_map(|rule| rule.token_sha256);
        known.fold(false, |found, one| found | same_digest(&one, digest))
    }
}

/// The digest of a token, as `token_sha256` has it.
pub(crate) fn token_digest(token: &[u8]) -> Sha256Digest {
    Sha256Digest::from_bytes(Sha256::digest(token).into())
}

fn same_digest(one: &Sha256Digest, other: &Sha256Digest) -> bool {
    let pairs = one.as_bytes().iter().zip(other.as_bytes());
    let difference = pairs.fold(0, |seen, (a, b)| seen | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// The token of `Bearer <token>`. The scheme is matched in any case (RFC 9110).
fn bearer_token(authorization: Option<&[u8]>) -> Option<&[u8]> {
    let (scheme, token) = authorization?.split_at_checked("bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, address: Option<&str>, token: Option<&str>) -> HostRule {
        HostRule {
            id: HostId::parse(id).unwrap(),
            address: address.map(|text| text.parse().unwrap()),
            token_sha256: token.map(|text| token_digest(text.as_bytes())),
        }
    }

    #[test]
    fn each_host_only_under_its_own_name() {
        let access = Access::new(vec![
            rule("by-address", Some("10.0.0.2"), None),
            rule("by-token", None, Some("sesame")),
            rule("by-both", Some("10.0.0.3"), Some("open")),
        ]);
        let second = "10.0.0.2";
        let third = "10.0.0.3";
        let other = "10.0.0.9";
        for (host, peer, header, want) in [
            ("by-address", second, None, 0),
            ("by-address", "::ffff:10.0.0.2", None, 0),
            ("by-address", other, None, 403),
            ("by-token", other, Some("Bearer sesame"), 0),
            ("by-token", other, Some("bearer  sesame "), 0),
            ("by-token", other, None, 401),
            ("by-token", other, Some("Bearer "), 401),
            ("by-token", other, Some("Basic sesame"), 401),
            ("by-token", other, Some("Bearer wrong"), 401),
            ("by-token", other, Some("Bearer open"), 403),
            ("by-both", third, Some("Bearer open"), 0),
            ("by-both", third, None, 401),
            ("by-both", other, Some("Bearer open"), 403),
            ("nobody", second, Some("Bearer sesame"), 403),
        ] {
            let host = HostId::parse(host).unwrap();
            let judged = access.judge(&host, peer.parse().unwrap(), header.map(str::as_bytes));
            let status = judged.err().map_or(0, |refusal| refusal.status());
            assert_eq!(status, want, "{host} from {peer} with {header:?}");
        }
    }

    #[test]
    fn two_hosts_may_share_a_token() {
        let shared = |id, address| rule(id, Some(address), Some("shared"));
        let access = Access::new(vec![
            shared("lab-1", "10.0.0.1"),
            shared("lab-2", "10.0.0.2"),
        ]);
        for (host, peer) in [("lab-1", "10.0.0.1"), ("lab-2", "10.0.0.2")] {
            let host = HostId::parse(host).unwrap();
            let judged = access.judge(&host, peer.parse().unwrap(), Some(b"Bearer shared"));
            assert!(judged.is_ok(), "{host}: {judged:?}");
        }
    }

    #[test]
    fn without_rules_everybody_may() {
        let host = HostId::parse("any").unwrap();
        let peer = "192.0.2.1".parse().unwrap();
        assert!(Access::new(Vec::new()).judge(&host, peer, None).is_ok());
    }
}
