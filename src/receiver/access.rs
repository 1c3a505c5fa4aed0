//! Who may upload, and who may read (design, section 6). Without `[[host]]` tables every peer that can
//! reach the port may upload; with them only those hosts, each only under its own name. Without
//! `[[reader]]` tables nobody may read.
//!
//! Behind WireGuard the address of a peer proves which host it is, elsewhere a token does; a host with
//! both needs both. Only digests of tokens are held, and they are compared in constant time.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use super::config::{HostRule, ReaderRule};
use super::refusal::{NotAReader, NotYours, Refusal};
use crate::names::{HostId, ReaderId, Sha256Digest};

/// Who may upload. The rules are replaced while requests are judged: each request is judged by the rules of
/// one moment.
pub(crate) struct Access {
    rules: ArcSwap<Vec<HostRule>>,
}

impl Access {
    pub(crate) fn new(rules: Vec<HostRule>) -> Access {
        Access {
            rules: ArcSwap::from_pointee(rules),
        }
    }

    /// From here on these rules are the ones.
    pub(crate) fn replace(&self, rules: Vec<HostRule>) {
        self.rules.store(Arc::new(rules));
    }

    /// Whether every peer that can reach the port may upload.
    pub(crate) fn is_open(&self) -> bool {
        self.rules.load().is_empty()
    }

    /// An error unless `peer` may upload as `host` with this `Authorization` header.
    pub(crate) fn judge(
        &self,
        host: &HostId,
        peer: IpAddr,
        authorization: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let rules = self.rules.load();
        if rules.is_empty() {
            return Ok(());
        }
        let not_yours = |why| Refusal::NotYourName {
            host: host.clone(),
            why,
        };
        let rule = rules
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
        match (same_digest(own, &digest), is_known(&rules, &digest)) {
            (true, _) => Ok(()),
            (false, true) => Err(not_yours(NotYours::Token)),
            (false, false) => Err(Refusal::UnknownToken),
        }
    }
}

/// Whether the digest is that of any host's token.
fn is_known(rules: &[HostRule], digest: &Sha256Digest) -> bool {
    let known = rules.iter().filter_map(|rule| rule.token_sha256);
    known.fold(false, |found, one| found | same_digest(&one, digest))
}

/// Who may list and fetch. The rules are replaced while requests are judged: each request is judged by
/// the rules of one moment.
pub(crate) struct Readers {
    rules: ArcSwap<Vec<ReaderRule>>,
}

impl Readers {
    pub(crate) fn new(rules: Vec<ReaderRule>) -> Readers {
        Readers {
            rules: ArcSwap::from_pointee(rules),
        }
    }

    /// From here on these rules are the ones.
    pub(crate) fn replace(&self, rules: Vec<ReaderRule>) {
        self.rules.store(Arc::new(rules));
    }

    /// Whether anybody may read.
    pub(crate) fn are_any(&self) -> bool {
        !self.rules.load().is_empty()
    }

    /// The reader that `peer` is with this `Authorization` header. It takes no lock.
    ///
    /// Errors: 403 if there are no readers, or none at this address; 401 if a token is missing or
    /// unknown.
    pub(crate) fn judge(
        &self,
        peer: IpAddr,
        authorization: Option<&[u8]>,
    ) -> Result<ReaderId, Refusal> {
        let rules = self.rules.load();
        if rules.is_empty() {
            return Err(Refusal::NotAReader(NotAReader::NoneAtAll));
        }
        // A listener on [::] sees an IPv4 peer as ::ffff:a.b.c.d.
        let came_from = peer.to_canonical();
        let digest = bearer_token(authorization).map(token_digest);
        let mut admitted = None;
        let mut wants_token = false;
        let mut elsewhere = None;
        // Each rule's token is compared, whatever the others have said, so that the time this takes
        // reveals nothing.
        for rule in rules.iter() {
            let has_token = match (&rule.token_sha256, &digest) {
                (Some(own), Some(digest)) => Some(same_digest(own, digest)),
                (Some(_), None) => Some(false),
                (None, _) => None,
            };
            match rule.address.filter(|own| !own.contains(came_from)) {
                None if has_token != Some(false) => admitted = admitted.or(Some(&rule.id)),
                None => wants_token = true,
                Some(wanted) if has_token == Some(true) => elsewhere = Some(wanted),
                Some(_) => {}
            }
        }
        match (admitted, elsewhere) {
            (Some(id), _) => Ok(id.clone()),
            (None, Some(wanted)) => {
                let why = NotAReader::OfAnother { wanted, came_from };
                Err(Refusal::NotAReader(why))
            }
            (None, None) if !wants_token => {
                Err(Refusal::NotAReader(NotAReader::Address { came_from }))
            }
            (None, None) if digest.is_none() => Err(Refusal::NoReaderToken),
            (None, None) => Err(Refusal::UnknownReaderToken),
        }
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

    fn reader(id: &str, address: Option<&str>, token: Option<&str>) -> ReaderRule {
        ReaderRule {
            id: ReaderId::parse(id).unwrap(),
            address: address.map(|text| text.parse().unwrap()),
            token_sha256: token.map(|text| token_digest(text.as_bytes())),
        }
    }

    /// The reader's id, or the status of the refusal.
    fn judged(readers: &Readers, peer: &str, header: Option<&str>) -> String {
        match readers.judge(peer.parse().unwrap(), header.map(str::as_bytes)) {
            Ok(id) => id.to_string(),
            Err(refusal) => refusal.status().to_string(),
        }
    }

    #[test]
    fn a_reader_proves_all_that_its_table_names() {
        let readers = Readers::new(vec![
            reader("by-network", Some("10.0.0.0/30"), None),
            reader("by-token", None, Some("sesame")),
            reader("by-both", Some("10.0.0.9"), Some("open")),
        ]);
        for (peer, header, want) in [
            ("10.0.0.2", None, "by-network"),
            ("::ffff:10.0.0.2", None, "by-network"),
            ("10.0.0.2", Some("Bearer sesame"), "by-network"),
            ("10.0.0.2", Some("Bearer wrong"), "by-network"),
            ("10.0.0.7", None, "401"),
            ("10.0.0.7", Some("Bearer sesame"), "by-token"),
            ("10.0.0.7", Some("bearer  sesame "), "by-token"),
            ("10.0.0.7", Some("Basic sesame"), "401"),
            ("10.0.0.7", Some("Bearer "), "401"),
            ("10.0.0.7", Some("Bearer wrong"), "401"),
            ("10.0.0.9", Some("Bearer open"), "by-both"),
            ("10.0.0.9", None, "401"),
            ("10.0.0.7", Some("Bearer open"), "403"),
            ("::1", Some("Bearer open"), "403"),
        ] {
            assert_eq!(judged(&readers, peer, header), want, "{peer} {header:?}");
        }
    }

    #[test]
    fn where_no_token_would_help_none_is_asked_for() {
        let readers = Readers::new(vec![
            reader("by-address", Some("10.0.0.1"), None),
            reader("by-both", Some("10.0.0.2"), Some("open")),
        ]);
        for (peer, header, want) in [
            ("10.0.0.3", None, "403"),
            ("10.0.0.3", Some("Bearer wrong"), "403"),
            ("10.0.0.3", Some("Bearer open"), "403"),
            ("10.0.0.2", None, "401"),
            ("10.0.0.2", Some("Bearer open"), "by-both"),
            ("10.0.0.1", None, "by-address"),
        ] {
            assert_eq!(judged(&readers, peer, header), want, "{peer} {header:?}");
        }
    }

    #[test]
    fn without_tables_nobody_reads_and_new_tables_hold_at_once() {
        let readers = Readers::new(Vec::new());
        assert_eq!(judged(&readers, "127.0.0.1", Some("Bearer x")), "403");
        readers.replace(vec![reader("here", Some("127.0.0.1"), None)]);
        assert_eq!(judged(&readers, "127.0.0.1", None), "here");
        readers.replace(Vec::new());
        assert_eq!(judged(&readers, "127.0.0.1", None), "403");
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
