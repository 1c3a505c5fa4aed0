//! How ureq finds a server that is asked again and again.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::sync::lock;

/// How long the addresses of a name are believed.
const KNOWN_FOR: Duration = Duration::from_secs(30);

/// ureq resolves the name before each request, also before one that goes over a kept connection, and
/// starts a thread for it. Here an address needs neither, and a name is asked for once in a while.
#[derive(Debug, Default)]
pub(crate) struct LastingResolver(Mutex<Option<Known>>);

/// The addresses of one name.
#[derive(Debug)]
struct Known {
    host: String,
    port: u16,
    addresses: Vec<SocketAddr>,
    until: Instant,
}

impl LastingResolver {
    fn known(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(vec![SocketAddr::new(address, port)]);
        }
        let known = lock(&self.0);
        let known = known.as_ref()?;
        let is_it = known.host == host && known.port == port && Instant::now() < known.until;
        is_it.then(|| known.addresses.clone())
    }

    fn keep(&self, host: &str, port: u16, addresses: &[SocketAddr]) {
        *lock(&self.0) = Some(Known {
            host: host.to_owned(),
            port,
            addresses: addresses.to_vec(),
            until: Instant::now() + KNOWN_FOR,
        });
    }
}

impl Resolver for LastingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        let is_https = uri.scheme_str() == Some("https");
        let usual_port = if is_https { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(usual_port);
        let Some(known) = self.known(host, port) else {
            let found = DefaultResolver::default().resolve(uri, config, timeout)?;
            self.keep(host, port, &found);
            return Ok(found);
        };
        let mut addresses = self.empty();
        for address in known {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_and_a_name_is_for_a_while() {
        let resolver = LastingResolver::default();
        for (host, address) in [("10.8.0.1", "10.8.0.1:9"), ("[fd00::1]", "[fd00::1]:9")] {
            let known = resolver.known(host, 9).unwrap();
            assert_eq!(known, [address.parse().unwrap()]);
        }
        assert_eq!(resolver.known("store.lan", 9), None);
        let found: [SocketAddr; 1] = ["10.8.0.2:9".parse().unwrap()];
        resolver.keep("store.lan", 9, &found);
        assert_eq!(resolver.known("store.lan", 9).as_deref(), Some(&found[..]));
        assert_eq!(resolver.known("store.lan", 10), None);
        assert_eq!(resolver.known("other.lan", 9), None);
        resolver.0.lock().unwrap().as_mut().unwrap().until = Instant::now();
        assert_eq!(resolver.known("store.lan", 9), None);
    }
}
