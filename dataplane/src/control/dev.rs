//! State of a development node: an own CA, a certificate for this machine, one key, and the connection string to paste.
//!
//! ```text
//! ca.pem, ca-key.pem            made once; good for loopback names only (name constraints)
//! server.pem, server-key.pem    for localhost, 127.0.0.1 and ::1; made again when near expiry
//! key                           key of the rule RootManageSharedAccessKey, random
//! connection-string             Endpoint=sb://localhost:PORT/;... of the last start
//! ```
//! Invariant: files appear whole (written aside, then renamed), and those with secrets are readable by their owner only.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{ServerName, UnixTime};
use viaduct_proto::sas::{self, ConnectionString};
use zeroize::Zeroizing;

use crate::config::relay::DEV_RULE;
use crate::config::tls::{self, TlsError};

/// Opened state of a development node.
pub struct DevState {
    /// Folder of all files.
    pub dir: PathBuf,
    /// CA certificate that clients have to trust.
    pub ca_pem_path: PathBuf,
    /// Certificate and key for this machine.
    pub tls: Arc<rustls::ServerConfig>,
    key: sas::Key,
}

impl DevState {
    /// Opens `dir`, by default `$XDG_STATE_HOME/viaduct` or `~/.local/state/viaduct`, and makes what is missing in it.
    ///
    /// # Errors
    /// The file that cannot be read or written, or that is not what it should be.
    pub fn open(dir: Option<&Path>) -> Result<Self, DevError> {
        let dir = dir
            .map(Path::to_owned)
            .or_else(default_dir)
            .ok_or(DevError::NoHome)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|error| DevError::File(dir.clone(), error))?;
        let ca_pem_path = dir.join("ca.pem");
        let ca = open_ca(&dir, &ca_pem_path)?;
        let tls = open_server(&dir, &ca_pem_path, &ca)?;
        let key = open_key(&dir.join("key"))?;
        Ok(Self {
            dir,
            ca_pem_path,
            tls,
            key,
        })
    }

    /// Key of the rule [`DEV_RULE`].
    #[must_use]
    pub fn key(&self) -> sas::Key {
        self.key.clone()
    }

    /// Writes the connection string for a relay on `port` of this machine into a file and returns the file's path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_connection_string(&self, port: u16) -> Result<PathBuf, DevError> {
        let path = self.dir.join("connection-string");
        let connection = ConnectionString {
            endpoint_host: "localhost".to_owned(),
            endpoint_port: Some(port),
            entity_path: None,
            key_name: Some(DEV_RULE.to_owned()),
            key: Some(self.key.clone()),
            signature: None,
            operation_timeout_s: None,
            managed_identity: false,
        };
        let text = Zeroizing::new(connection.dangerous_text() + "\n");
        write(&path, text.as_bytes(), SECRET)?;
        Ok(path)
    }
}

impl fmt::Debug for DevState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevState")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// Why a development state cannot be opened.
#[derive(Debug)]
pub enum DevError {
    /// No folder was given and the environment names no home.
    NoHome,
    /// A file or folder cannot be read or written.
    File(PathBuf, io::Error),
    /// A file holds something else than it should.
    Content(PathBuf),
    /// A certificate cannot be made.
    Certificate(rcgen::Error),
    /// A certificate cannot be used.
    Tls(TlsError),
    /// The system gives no random bytes.
    Random(getrandom::Error),
}

impl fmt::Display for DevError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHome => f.write_str("neither XDG_STATE_HOME nor HOME is set: give --state-dir"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Content(path) => {
                write!(
                    f,
                    "{}: is damaged; remove it to have it made again",
                    path.display()
                )
            }
            Self::Certificate(error) => write!(f, "cannot make a certificate: {error}"),
            Self::Tls(error) => error.fmt(f),
            Self::Random(error) => write!(f, "no random bytes: {error}"),
        }
    }
}

impl std::error::Error for DevError {}

fn default_dir() -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("viaduct"))
}

type Ca = Issuer<'static, KeyPair>;

fn open_ca(dir: &Path, cert_path: &Path) -> Result<Ca, DevError> {
    let key_path = dir.join("ca-key.pem");
    let params = ca_params()?;
    if cert_path.exists() && key_path.exists() {
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(|_| DevError::Content(key_path))?;
        // The issuer is fully described by its name and key, both of which never change.
        return Ok(Issuer::new(params, key));
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(DevError::Certificate)?;
    let cert = params.self_signed(&key).map_err(DevError::Certificate)?;
    write(&key_path, Zeroizing::new(key.serialize_pem()).as_bytes(), SECRET)?;
    write(cert_path, cert.pem().as_bytes(), PUBLIC)?;
    Ok(Issuer::new(params, key))
}

fn ca_params() -> Result<CertificateParams, DevError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(DevError::Certificate)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Viaduct development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Somebody who adds this CA to a trust store trusts it for this machine only.
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0])),
            GeneralSubtree::IpAddress(CidrSubnet::V6(std::net::Ipv6Addr::LOCALHOST.octets(), [255; 16])),
        ],
        excluded_subtrees: Vec::new(),
    });
    validity(&mut params, CA_LIFETIME);
    Ok(params)
}

fn open_server(dir: &Path, ca_path: &Path, ca: &Ca) -> Result<Arc<rustls::ServerConfig>, DevError> {
    let (cert_path, key_path) = (dir.join("server.pem"), dir.join("server-key.pem"));
    if !is_fresh(&cert_path, ca_path) || !key_path.exists() {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).map_err(DevError::Certificate)?;
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        validity(&mut params, SERVER_LIFETIME);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(DevError::Certificate)?;
        let cert = params.signed_by(&key, ca).map_err(DevError::Certificate)?;
        write(&key_path, Zeroizing::new(key.serialize_pem()).as_bytes(), SECRET)?;
        write(&cert_path, cert.pem().as_bytes(), PUBLIC)?;
    }
    tls::server_from_files(&cert_path, &key_path).map_err(DevError::Tls)
}

fn validity(params: &mut CertificateParams, lifetime: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(UnixTime::now().as_secs());
    params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + (now + lifetime);
}

/// Whether the certificate at `cert` is one of the CA at `ca` and stays valid for a while.
fn is_fresh(cert: &Path, ca: &Path) -> bool {
    let check = || {
        let chain = tls::certificates(cert).ok()?;
        let mut roots = RootCertStore::empty();
        roots.add(tls::certificates(ca).ok()?.first()?.clone()).ok()?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider())
            .build()
            .ok()?;
        let later = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + RENEW_BEFORE);
        let name = ServerName::try_from("localhost").ok()?;
        verifier
            .verify_server_cert(chain.first()?, &[], &name, &[], later)
            .ok()
    };
    check().is_some()
}

fn open_key(path: &Path) -> Result<sas::Key, DevError> {
    if path.exists() {
        let text = Zeroizing::new(read(path)?);
        let key = text.trim_end();
        // As it is read back from a connection string, in which these would end the value.
        let fits = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
        return if fits {
            Ok(sas::Key::new(key))
        } else {
            Err(DevError::Content(path.to_owned()))
        };
    }
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *random).map_err(DevError::Random)?;
    let key = Zeroizing::new(base64(&random));
    write(path, key.as_bytes(), SECRET)?;
    Ok(sas::Key::new(key.as_str()))
}

/// Base64 with padding (RFC 4648 section 4), the form that connection strings carry keys in.
fn base64(bytes: &[u8; 32]) -> String {
    let mut text = String::with_capacity(44);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0_u32, |group, byte| group << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = (group >> (18 - 6 * place)) & 63;
            let is_padding = place > chunk.len();
            text.push(if is_padding {
                '='
            } else {
                BASE64[digit as usize] as char
            });
        }
    }
    text
}

fn read(path: &Path) -> Result<String, DevError> {
    fs::read_to_string(path).map_err(|error| DevError::File(path.to_owned(), error))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DevError> {
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    written().map_err(|error| DevError::File(path.to_owned(), error))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;
const DAY: u64 = 24 * 60 * 60;
const CLOCK_SKEW: Duration = Duration::from_secs(DAY);
const CA_LIFETIME: Duration = Duration::from_secs(3650 * DAY);
const SERVER_LIFETIME: Duration = Duration::from_secs(365 * DAY);
/// A certificate is made again when it has less than this left.
const RENEW_BEFORE: Duration = Duration::from_secs(60 * DAY);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::test_folder::test_folder;
    use crate::config::tls::ClientTls;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    /// Runs a TLS handshake in memory.
    fn handshake(
        server: &Arc<rustls::ServerConfig>,
        ca: &Path,
        name: &'static str,
    ) -> Result<(), rustls::Error> {
        let client_tls = ClientTls::load(Some(ca)).unwrap();
        let name = ServerName::try_from(name).unwrap();
        let mut client = rustls::ClientConnection::new(client_tls.config, name).unwrap();
        let mut server = rustls::ServerConnection::new(server.clone()).unwrap();
        for _ in 0..4 {
            let mut flight = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut flight).unwrap();
            }
            let mut unread = flight.as_slice();
            while !unread.is_empty() {
                server.read_tls(&mut unread).unwrap();
                server.process_new_packets()?;
            }
            let mut flight = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut flight).unwrap();
            }
            let mut unread = flight.as_slice();
            while !unread.is_empty() {
                client.read_tls(&mut unread).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(())
    }

    #[test]
    fn certificate_is_trusted_through_its_ca_for_all_three_names() {
        let folder = test_folder("dev-tls");
        let state = DevState::open(Some(&folder.path().join("deep/state"))).unwrap();
        for name in ["localhost", "127.0.0.1", "::1"] {
            handshake(&state.tls, &state.ca_pem_path, name).unwrap();
        }
        assert!(handshake(&state.tls, &state.ca_pem_path, "relay.example").is_err());
        let other = test_folder("dev-other");
        let stranger = DevState::open(Some(other.path())).unwrap();
        assert!(handshake(&state.tls, &stranger.ca_pem_path, "localhost").is_err());
    }

    #[test]
    fn state_survives_and_keeps_its_secrets_to_its_owner() {
        let folder = test_folder("dev-again");
        let first = DevState::open(Some(folder.path())).unwrap();
        let connection_string = first.write_connection_string(8443).unwrap();
        let server = fs::read(folder.path().join("server.pem")).unwrap();
        let again = DevState::open(Some(folder.path())).unwrap();
        assert_eq!(first.key.dangerous_text(), again.key.dangerous_text());
        assert_eq!(fs::read(folder.path().join("server.pem")).unwrap(), server);
        handshake(&again.tls, &first.ca_pem_path, "localhost").unwrap();
        for secret in ["key", "ca-key.pem", "server-key.pem", "connection-string"] {
            assert_eq!(mode(&folder.path().join(secret)), 0o600, "{secret}");
        }
        let text = fs::read_to_string(connection_string).unwrap();
        assert!(
            text.starts_with("Endpoint=sb://localhost:8443/;SharedAccessKeyName=RootManageSharedAccessKey;")
        );
        let key = first.key.dangerous_text();
        assert!(text.contains(key) && key.len() == 44);
        assert!(!format!("{first:?}").contains(key));
    }

    #[test]
    fn foreign_or_broken_certificate_is_made_again() {
        let folder = test_folder("dev-renew");
        DevState::open(Some(folder.path())).unwrap();
        let server = folder.path().join("server.pem");
        let other = test_folder("dev-foreign");
        DevState::open(Some(other.path())).unwrap();
        fs::copy(other.path().join("server.pem"), &server).unwrap();
        let state = DevState::open(Some(folder.path())).unwrap();
        handshake(&state.tls, &state.ca_pem_path, "localhost").unwrap();
        fs::write(&server, "rubbish").unwrap();
        let state = DevState::open(Some(folder.path())).unwrap();
        handshake(&state.tls, &state.ca_pem_path, "localhost").unwrap();
    }

    #[test]
    fn damaged_key_is_named() {
        let folder = test_folder("dev-key");
        fs::write(folder.path().join("key"), "two words;").unwrap();
        let error = DevState::open(Some(folder.path())).unwrap_err().to_string();
        assert!(
            error.contains("key: is damaged") && !error.contains("two words"),
            "{error}"
        );
    }

    #[test]
    fn base64_pads_the_last_group() {
        assert_eq!(base64(&[0; 32]), format!("{}=", "A".repeat(43)));
        assert_eq!(base64(&[255; 32]), format!("{}8=", "/".repeat(42)));
    }
}
