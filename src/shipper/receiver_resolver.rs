//! How ureq finds the receiver: by its URL's host, and by no other name.

use std::io;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::receiver_url::{ReceiverUrl, is_address};

/// Resolves the receiver's addresses, and no others: no redirect is followed.
#[derive(Debug)]
pub(crate) struct ReceiverResolver(pub ReceiverUrl);

impl Resolver for ReceiverResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        // A name may take the system minutes: ureq asks for it on a thread, and waits its time.
        if !is_address(&self.0.host) {
            let found = DefaultResolver::default().resolve(uri, config, timeout);
            return found.map_err(|error| {
                let why = match error {
                    Error::Io(error) => error,
                    Error::Timeout(_) => io::ErrorKind::TimedOut.into(),
                    Error::HostNotFound => io::ErrorKind::NotFound.into(),
                    other => return other,
                };
                Error::Io(self.0.not_found(&why))
            });
        }
        let mut addresses = self.empty();
        for address in self.0.resolve()?.into_iter().take(1) {
            addresses.push(address);
        }
        Ok(addresses)
    }
}
