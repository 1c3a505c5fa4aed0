//! TLS on the client's side, for connections to Forgejo and to the receiver.
//!
//! 1. With a `ca_file` its certificates alone are trusted; without one, those that the system trusts.
//! 2. The error for a certificate that is refused says why, and what to do. On a Pi without a clock
//!    battery the reason may well be this machine's clock.
//! 3. In a build without the feature `tls`, `absent` has types of the same names and no values. So no
//!    other module needs to know which build it is in.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::owner;

#[cfg(feature = "tls")]
mod rustls_client;
#[cfg(feature = "tls")]
pub use rustls_client::{Session, Trust};

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(not(feature = "tls"))]
pub use absent::{Session, Trust};

/// Whether this build speaks TLS.
pub const SPOKEN: bool = cfg!(feature = "tls");

/// The files in which systems keep the certificates that they trust.
const SYSTEM_CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why a TLS connection failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind in one word, for the log.
    pub kind: &'static str,
    /// What happened.
    pub what: String,
    /// What to do now.
    pub remedy: &'static str,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for Fault {}

/// The CAs to trust at `url`, the value of `url_key`. `None` if the URL is not `https://`.
///
/// Errors: a `ca_file` that cannot be read or holds no certificate; none given, and the system
/// has none; a build without TLS.
pub fn trust_for(
    url_key: &str,
    url: &str,
    ca_key: &str,
    ca_file: Option<&Path>,
) -> Result<Option<Trust>, Failure> {
    if !url.starts_with("https://") {
        return Ok(None);
    }
    if !SPOKEN {
        return Err(Failure::new(
            format!("{url_key} = {url:?}: this build of cis490 does not speak TLS"),
            "give an http:// address, on this machine or behind WireGuard, or install a build with TLS (cis490 --version says which it is)",
        ));
    }
    let (file, pem) = match ca_file {
        Some(file) => (file.to_owned(), read(ca_key, file)?),
        None => system_certificates(url_key, ca_key)?,
    };
    Trust::new(&pem).map(Some).map_err(|why| {
        Failure::new(
            format!("{}: {why}", file.display()),
            format!("{ca_key} accepts a PEM file with the certificates of the CAs to trust"),
        )
    })
}

fn read(ca_key: &str, file: &Path) -> Result<Vec<u8>, Failure> {
    owner::read_secret(file).map_err(|error| {
        Failure::new(
            format!("cannot read {ca_key} {}: {error}", file.display()),
            "it is a PEM file, readable by the user that runs cis490",
        )
    })
}

fn system_certificates(url_key: &str, ca_key: &str) -> Result<(PathBuf, Vec<u8>), Failure> {
    let mut files = SYSTEM_CA_FILES.iter().map(PathBuf::from);
    let found = files.find_map(|file| fs::read(&file).ok().map(|pem| (file, pem)));
    found.ok_or_else(|| {
        Failure::new(
            format!("{url_key} is https://, and this system has no CA certificates"),
            format!("apt-get install ca-certificates, or name the server's own CA in {ca_key}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_needs_trust_and_a_ca_file_must_be_one() {
        let file = std::env::temp_dir().join(format!("cis490-ca-{}.pem", std::process::id()));
        let trust = |url, ca: &Path| trust_for("url", url, "ca_file", Some(ca));
        assert!(trust("http://pi:1", &file).unwrap().is_none());
        if !SPOKEN {
            let told = trust("https://pi:1", &file).err().unwrap().to_string();
            assert!(told.contains("does not speak TLS"), "{told}");
            return;
        }
        for (content, words) in [
            (None, "cannot read ca_file"),
            (Some("no PEM at all"), "no certificate"),
            (
                Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "certificate 1",
            ),
            (
                Some("-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n"),
                "not PEM",
            ),
        ] {
            if let Some(content) = content {
                fs::write(&file, content).unwrap();
            }
            let told = trust("https://pi:1", &file).err().unwrap().to_string();
            assert!(told.contains(words), "{content:?}: {told}");
        }
        fs::remove_file(&file).unwrap();
    }
}
