//! A certificate authority of the test's own, and the certificates it hands out.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// What is wrong with a server's certificate, if anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shows {
    Good,
    Expired,
    NotYetValid,
    AnotherName,
    /// Itself.
    TheAuthority,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// The file that `ca_file` names.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let file = dir.join("ca.pem");
        // As tools write them: text before the certificate.
        let pem = format!("Subject: CN = test\n{}", self.certificate.pem());
        std::fs::write(&file, pem).unwrap();
        file
    }

    /// Certificate and key of a server at `address`, as files for a server that is not ours; then both
    /// in one file.
    pub fn write_server(&self, address: IpAddr, dir: &Path) -> [PathBuf; 3] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([address.to_string()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        let files = ["server.pem", "server.key", "both.pem"].map(|name| dir.join(name));
        let both = format!("{certificate}{key}");
        for (file, text) in files.iter().zip([certificate, key, both]) {
            std::fs::write(file, text).unwrap();
        }
        files
    }

    /// A server for 127.0.0.1 and localhost, unless told otherwise.
    pub fn server(&self, shows: Shows) -> Arc<ServerConfig> {
        let names: &[&str] = match shows {
            Shows::AnotherName => &["forge.example"],
            _ => &["localhost", "127.0.0.1"],
        };
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2090, 1, 1);
        match shows {
            Shows::Expired => params.not_after = date_time_ymd(2021, 2, 3),
            Shows::NotYetValid => params.not_before = date_time_ymd(2089, 2, 3),
            _ => {}
        }
        let (certificate, key) = match shows {
            Shows::TheAuthority => (&self.certificate, self.issuer.key().serialize_der()),
            _ => (
                &params.signed_by(&key, &self.issuer).unwrap(),
                key.serialize_der(),
            ),
        };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key).unwrap(),
            );
        Arc::new(config.unwrap())
    }
}
