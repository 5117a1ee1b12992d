//! TLS settings for both roles: TLS 1.2 and 1.3, aws-lc-rs, no ALPN.
//!
//! The provider is always named, so no process-wide default is needed or changed. A server without ALPN protocols ignores
//! what a client offers, which is HTTP/1.1: the only protocol spoken here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Trust in relays.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// Settings for connections to relays and their accept addresses.
    pub config: Arc<ClientConfig>,
    /// Number of trusted certificates; 0 means that no relay can be trusted.
    pub roots: usize,
}

impl ClientTls {
    /// Trusts the system's certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` honoured) and those of the PEM file `ca`.
    ///
    /// # Errors
    /// `ca` cannot be read or holds no certificate. System certificates that cannot be read are passed over.
    pub fn load(ca: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = ca {
            for cert in certificates(file)? {
                roots
                    .add(cert)
                    .map_err(|error| TlsError::new(file, Problem::Unusable(error)))?;
            }
        }
        Self::trusting(roots)
    }

    /// Trusts `roots` and nothing else.
    ///
    /// # Errors
    /// The provider lacks a protocol version.
    pub fn trusting(roots: RootCertStore) -> Result<Self, TlsError> {
        let count = roots.len();
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(|error| TlsError::new(Path::new("TLS"), Problem::Unusable(error)))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
            roots: count,
        })
    }
}

/// Server settings from a certificate chain (leaf first) and its private key, both PEM files.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn server_from_files(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(cert)?;
    let pem = fs::read(key).map_err(|error| TlsError::new(key, Problem::Read(error)))?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::new(key, Problem::NoKey),
        _ => TlsError::new(key, Problem::BadPem),
    })?;
    server(chain, private).map_err(|error| TlsError::new(cert, Problem::Unusable(error)))
}

/// Server settings from a certificate chain (leaf first) and its private key.
///
/// # Errors
/// Key and certificate do not belong together, or are of a kind that is not supported.
pub fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // Stateless tickets: a reconnecting client saves a full handshake and the node keeps no session per client.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The cryptography provider of this process.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Why a file cannot be used for TLS. Shows no key material.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    problem: Problem,
}

impl TlsError {
    fn new(file: &Path, problem: Problem) -> Self {
        Self {
            file: file.to_owned(),
            problem,
        }
    }
}

#[derive(Debug)]
enum Problem {
    Read(io::Error),
    NoCertificate,
    NoKey,
    BadPem,
    Unusable(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        match &self.problem {
            Problem::Read(error) => write!(f, "cannot be read: {error}"),
            Problem::NoCertificate => f.write_str("holds no certificate (PEM, BEGIN CERTIFICATE)"),
            Problem::NoKey => f.write_str("holds no private key (PEM, BEGIN PRIVATE KEY)"),
            Problem::BadPem => f.write_str("is not valid PEM"),
            Problem::Unusable(error) => write!(f, "cannot be used: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = fs::read(file).map_err(|error| TlsError::new(file, Problem::Read(error)))?;
    let certs = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::new(file, Problem::BadPem))?;
    if certs.is_empty() {
        Err(TlsError::new(file, Problem::NoCertificate))
    } else {
        Ok(certs)
    }
}

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
