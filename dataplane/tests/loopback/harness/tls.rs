//! A TLS client on the certificate authority of a test relay.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::tunnel;

/// A connected TLS session.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A configuration that trusts the authority in `ca` and nothing else.
pub(crate) fn config(ca: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).expect("ca.pem") {
        roots
            .add(certificate.expect("certificate in ca.pem"))
            .expect("usable certificate");
    }
    Arc::new(
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// Connects; the handshake happens with the first read or write.
pub(crate) fn connect(config: &Arc<ClientConfig>, address: SocketAddr) -> Tls {
    let name = ServerName::try_from("localhost").expect("a host name");
    let session = ClientConnection::new(Arc::clone(config), name).expect("TLS session");
    StreamOwned::new(session, tunnel::connect(address))
}
