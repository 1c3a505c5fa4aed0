//! Where the bucket is: the URLs of its objects, in either style.

use super::signature::quote;
use crate::config::with_plain_scheme;
use crate::receiver::config::ArchiveConfig;

/// The bucket's place on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// `http` or `https`.
    scheme: String,
    /// With its port, unless that is the usual one: as the `Host` field has it.
    pub host: String,
    /// What stands before the key in a path: `/BUCKET/` or `/`.
    prefix: String,
}

impl Address {
    /// Of the bucket as the receiver reaches it.
    pub(super) fn of(config: &ArchiveConfig) -> Address {
        Address::at(&config.endpoint, config)
    }

    /// Of the bucket as readers reach it.
    pub(super) fn public(config: &ArchiveConfig) -> Address {
        let endpoint = config.public_endpoint.as_ref().unwrap_or(&config.endpoint);
        Address::at(endpoint, config)
    }

    fn at(endpoint: &str, config: &ArchiveConfig) -> Address {
        let url = with_plain_scheme(endpoint);
        let (scheme, host) = url.split_once("://").unwrap_or(("http", &url));
        let host = host.trim_end_matches('/').to_ascii_lowercase();
        let usual_port = if scheme == "https" { ":443" } else { ":80" };
        let host = host.strip_suffix(usual_port).unwrap_or(&host);
        let bucket = &config.bucket;
        let (host, prefix) = if config.path_style {
            (host.to_owned(), format!("/{bucket}/"))
        } else {
            (format!("{bucket}.{host}"), "/".to_owned())
        };
        Address {
            scheme: scheme.to_owned(),
            host,
            prefix,
        }
    }

    /// The quoted path of an object, or of the bucket itself if the key is empty.
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}{}", self.prefix, quote(key, true))
    }

    pub(super) fn url(&self, path: &str, query: &str) -> String {
        let Address { scheme, host, .. } = self;
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{scheme}://{host}{path}{mark}{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(endpoint: &str, is_path_style: bool) -> Address {
        let text = format!(
            "endpoint = {endpoint:?}\nbucket = \"lab\"\npath_style = {is_path_style}\nsecret_file = \"s\"\n"
        );
        Address::of(&toml::from_str(&text).unwrap())
    }

    #[test]
    fn the_bucket_stands_in_the_path_or_before_the_host() {
        for (endpoint, is_path_style, url) in [
            (
                "http://10.0.0.1:3900",
                true,
                "http://10.0.0.1:3900/lab/a~b?x=",
            ),
            ("HTTP://Pi/", true, "http://pi/lab/a~b?x="),
            ("http://pi:80", true, "http://pi/lab/a~b?x="),
            ("https://pi:443/", true, "https://pi/lab/a~b?x="),
            ("https://pi:80", true, "https://pi:80/lab/a~b?x="),
            ("https://s3.example", false, "https://lab.s3.example/a~b?x="),
            ("http://[::1]:9", true, "http://[::1]:9/lab/a~b?x="),
        ] {
            let address = address(endpoint, is_path_style);
            assert_eq!(address.url(&address.path("a~b"), "x="), url);
        }
    }
}
