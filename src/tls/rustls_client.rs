//! TLS connections by rustls. No other file names rustls.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::SigningKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, OtherError,
    RootCertStore,
};
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

use super::Fault;
use crate::clock;

/// The CAs to trust: one of them must have signed the server's certificate.
#[derive(Clone, Debug)]
pub struct Trust {
    certificates: Arc<Vec<CertificateDer<'static>>>,
    provider: Arc<CryptoProvider>,
    config: Arc<ClientConfig>,
}

impl Trust {
    /// Reads the certificates of a PEM file's content. Anything else in it (keys, text) is ignored.
    ///
    /// Errors: there is no certificate in it, or one is malformed.
    pub fn new(pem: &[u8]) -> Result<Trust, String> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("not PEM: {error}"))?;
        let mut roots = RootCertStore::empty();
        for (i, certificate) in certificates.iter().enumerate() {
            roots
                .add(certificate.clone())
                .map_err(|error| format!("certificate {} is malformed: {error}", i + 1))?;
        }
        if roots.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        let provider = Arc::new(CryptoProvider {
            key_provider: &NoKeys,
            ..ring::default_provider()
        });
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Trust {
            certificates: Arc::new(certificates),
            provider,
            config: Arc::new(config),
        })
    }

    /// Begins a connection to `host`, which is a name or an address without brackets.
    pub fn session(&self, host: &str) -> io::Result<Session> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connection =
            ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        Ok(Session(connection))
    }

    /// The same trust for a connection that ureq makes itself.
    pub fn for_ureq(&self, agent: ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope> {
        let roots = self.certificates.iter();
        let roots: Vec<_> = roots
            .map(|root| Certificate::from_der(root).to_owned())
            .collect();
        let config = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(self.provider.clone())
            .build();
        agent.tls_config(config)
    }

    /// The TLS fault of a connection that ureq made; `None` if the connection failed for another reason.
    pub fn fault(error: &ureq::Error) -> Option<Fault> {
        match error {
            ureq::Error::Rustls(error) => Some(Fault::of(error)),
            ureq::Error::Io(error) => error.get_ref()?.downcast_ref().map(Fault::of),
            _ => None,
        }
    }
}

/// This client has no certificate of its own, so the code that signs with a key is not in the program.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("no keys are used here".to_owned()))
    }
}

/// One TLS connection without its socket. Nothing here waits: the caller waits for the socket, and then
/// calls [`Session::push`] and [`Session::pull`].
#[derive(Debug)]
pub struct Session(ClientConnection);

impl Session {
    /// True until the server has proved its identity. Only after that, [`Session::seal`] encrypts for that
    /// server.
    pub fn is_shaking_hands(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Whether there are encrypted bytes to write to the socket.
    pub fn has_to_push(&self) -> bool {
        self.0.wants_write()
    }

    /// Encrypts as many of the plain bytes as there is room for. Returns how many that were.
    pub fn seal(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.writer().write(bytes)
    }

    /// Writes encrypted bytes, as many as the socket accepts now.
    pub fn push(&mut self, socket: &mut impl Write) -> io::Result<()> {
        self.0.write_tls(socket)?;
        Ok(())
    }

    /// Reads the bytes that the socket has now. 0 is the end of the stream.
    ///
    /// Errors: the socket's; a [`Fault`], for which an alert is sent to the server if possible.
    pub fn pull(&mut self, socket: &mut (impl Read + Write)) -> io::Result<usize> {
        let read = self.0.read_tls(socket)?;
        if let Err(error) = self.0.process_new_packets() {
            let _ = self.0.write_tls(socket);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Fault::of(&error),
            ));
        }
        Ok(read)
    }

    /// Takes decrypted bytes. 0 is the end of the stream; the error `WouldBlock` means that there are none
    /// yet.
    ///
    /// Errors: `UnexpectedEof` if the connection ended without TLS's own end (close_notify): the bytes may
    /// be cut short.
    pub fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.0.reader().read(buffer);
        taken.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection ended without TLS's end (close_notify)",
            ),
            _ => error,
        })
    }
}

impl Fault {
    fn of(error: &Error) -> Fault {
        let clock = || {
            format!(
                "this machine's clock says {}",
                clock::rfc3339(SystemTime::now())
            )
        };
        let (kind, what, remedy) = match error {
            Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before, ..
            }) => (
                "certificate-not-yet-valid",
                format!(
                    "the certificate is valid from {} on, and {}",
                    time(*not_before),
                    clock()
                ),
                "set the clock, which a Pi has to learn from the network after each start (timedatectl)",
            ),
            Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => (
                "certificate-expired",
                format!(
                    "the certificate has expired at {}, and {}",
                    time(*not_after),
                    clock()
                ),
                "renew the server's certificate, unless the clock is wrong (timedatectl)",
            ),
            Error::InvalidCertificate(
                error @ (CertificateError::NotValidForNameContext { .. }
                | CertificateError::NotValidForName),
            ) => (
                "certificate-of-another",
                format!("the certificate is for another name: {error}"),
                "use a name that the certificate has, or put this one among its alternative names",
            ),
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => (
                "certificate-unknown-ca",
                "the certificate is not signed by any CA that is trusted here".to_owned(),
                "name the CA's certificate in ca_file",
            ),
            Error::InvalidCertificate(CertificateError::Other(OtherError(why)))
                if why.to_string().contains("CaUsedAsEndEntity") =>
            {
                (
                    "certificate-of-a-ca",
                    "the server shows a CA's own certificate".to_owned(),
                    "make a certificate for the server (CA:FALSE), signed by that CA, which stays in ca_file",
                )
            }
            Error::InvalidCertificate(error) => (
                "certificate",
                format!("the certificate is not valid: {error}"),
                "renew the server's certificate",
            ),
            Error::InvalidMessage(_) => (
                "not-tls",
                "the server at that address does not speak TLS".to_owned(),
                "write http:// in place of https:// if the server has no TLS: a receiver itself speaks only http, and a proxy in front of it can speak TLS",
            ),
            Error::AlertReceived(
                alert @ (AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure),
            ) => (
                "tls-version",
                format!("the server and this program have no version of TLS in common ({alert:?})"),
                "it needs TLS 1.2 or 1.3",
            ),
            other => (
                "tls",
                format!("TLS failed: {other}"),
                "read the server's log",
            ),
        };
        Fault { kind, what, remedy }
    }
}

fn time(time: UnixTime) -> String {
    clock::rfc3339(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}
