//! What a relay node runs with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use viaduct_proto::sas;

use crate::config::document::ConfigError;
use crate::config::limits::RelayLimits;
use crate::config::{EngineChoice, LogSettings, default_threads, relay_file};

/// A relay node's settings.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Addresses that listeners and senders connect to.
    pub listen: Vec<SocketAddr>,
    /// Address of `/livez`, `/readyz` and `/metrics`; `None`: not served.
    pub admin: Option<SocketAddr>,
    /// Number of shards.
    pub threads: usize,
    /// Ring of the shards.
    pub engine: EngineChoice,
    /// Certificate and protocol versions; `None`: plain `ws://` (`--no-tls`).
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Names, keys and hybrid connections.
    pub namespace: Arc<Namespace>,
    /// Bounds.
    pub limits: RelayLimits,
    /// Authority (`host[:port]`) written into accept addresses; `None`: the `Host` header that the listener sent.
    pub advertise: Option<String>,
    /// Log output.
    pub log: LogSettings,
}

impl RelayConfig {
    /// Settings of `--dev`: loopback, one namespace with one rule, hybrid connections created on first listen.
    #[must_use]
    pub fn dev(key: sas::Key, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self {
            listen: vec![DEV_LISTEN],
            admin: Some(DEV_ADMIN),
            threads: default_threads(),
            engine: EngineChoice::Auto,
            tls,
            namespace: Arc::new(Namespace::dev(key)),
            limits: RelayLimits::default(),
            advertise: None,
            log: LogSettings::default(),
        }
    }

    /// Whether every listening address is a loopback address.
    #[must_use]
    pub fn is_loopback_only(&self) -> bool {
        self.listen.iter().all(|addr| addr.ip().is_loopback())
    }
}

/// What one relay serves: its host names, its keys and its hybrid connections.
#[derive(Debug)]
pub struct Namespace {
    /// Host names that requests may name, lower case; empty: any.
    pub hosts: Vec<String>,
    /// Rules that count for every hybrid connection.
    pub rules: Vec<sas::Rule>,
    /// Hybrid connections by lower-case path.
    pub entities: BTreeMap<String, Entity>,
    /// Whether a listener with the Listen right on the namespace creates the hybrid connection it names.
    pub autocreate: bool,
}

impl Namespace {
    /// A namespace with the one rule [`DEV_RULE`], which may do everything.
    #[must_use]
    pub fn dev(key: sas::Key) -> Self {
        let rule = sas::Rule {
            name: DEV_RULE.to_owned(),
            primary: key,
            secondary: None,
            rights: sas::Rights::MANAGE,
        };
        Self {
            hosts: Vec::new(),
            rules: vec![rule],
            entities: BTreeMap::new(),
            autocreate: true,
        }
    }
}

/// One hybrid connection.
#[derive(Debug)]
pub struct Entity {
    /// Path as it was configured, without leading and trailing `/`.
    pub path: String,
    /// Rules of this hybrid connection, looked at before those of the namespace.
    pub rules: Vec<sas::Rule>,
    /// Whether senders need a token.
    pub requires_client_authorization: bool,
    /// Free text of the operator.
    pub user_metadata: String,
}

/// Reads and validates the TOML file at `path`.
///
/// # Errors
/// Every mistake in the file, each with its line, in the order of the file.
pub fn load(path: &Path) -> Result<RelayConfig, Vec<ConfigError>> {
    relay_file::load(path)
}

/// Rule that a development node makes.
pub const DEV_RULE: &str = "RootManageSharedAccessKey";
/// Listening address of a development node.
pub const DEV_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8443);
/// Admin address of a development node.
pub const DEV_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8444);
