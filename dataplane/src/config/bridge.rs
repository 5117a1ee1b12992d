//! What a bridge runs with.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use viaduct_proto::hybrid::Token;
use viaduct_proto::sas;

use crate::config::limits::ShardLimits;
use crate::config::tls::ClientTls;
use crate::config::{EngineChoice, LogSettings};

/// A bridge's settings.
#[derive(Debug, Clone)]
pub struct BridgeConfig {
    /// Listening sockets whose connections go to a relay (`-L`).
    pub locals: Vec<LocalForward>,
    /// Targets that connections from a relay go to (`-T`).
    pub remotes: Vec<RemoteForward>,
    /// Hybrid connections with their credentials, named by index from `locals` and `remotes`.
    pub relays: Vec<RelayEndpoint>,
    /// Trust in relays.
    pub tls: ClientTls,
    /// Limit for connecting to a relay, opening handshake and wait for the listener included.
    pub connect_timeout: Duration,
    /// Distance of pings on control channels, and the time within which a dead one is noticed.
    pub keep_alive: Duration,
    /// Number of shards.
    pub threads: usize,
    /// Ring of the shards.
    pub engine: EngineChoice,
    /// Whether one forward that cannot start ends the process.
    pub exit_on_forward_failure: bool,
    /// Local source addresses for connections to targets, best first; empty: the system chooses.
    pub bind_addresses: Vec<IpAddr>,
    /// Address of `/livez`, `/readyz` and `/metrics`; `None`: not served.
    pub admin: Option<SocketAddr>,
    /// Bounds of one shard's memory.
    pub limits: ShardLimits,
    /// Log output.
    pub log: LogSettings,
}

/// One hybrid connection as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayEndpoint {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether TLS is used.
    pub secure: bool,
    /// Path of the hybrid connection (azbridge: relay name).
    pub path: String,
    /// How to be authorised.
    pub credential: Credential,
}

impl RelayEndpoint {
    /// `host` or `host:port`, as in a `Host` header; an IPv6 address gets its brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let default_port = if self.secure { 443 } else { 80 };
        if self.port == default_port {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

/// How a bridge is authorised at a relay.
#[derive(Clone)]
pub enum Credential {
    /// Tokens are signed with a key.
    Key {
        /// Name of the rule.
        name: String,
        /// Its key.
        key: Arc<sas::Key>,
    },
    /// A token made elsewhere, sent as it is.
    Signature(Token),
    /// No token.
    Anonymous,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { name, .. } => f.debug_struct("Key").field("name", name).finish_non_exhaustive(),
            Self::Signature(_) => f.write_str("Signature(..)"),
            Self::Anonymous => f.write_str("Anonymous"),
        }
    }
}

impl PartialEq for Credential {
    /// Same key *object*, not same key bytes: keys offer no comparison outside a signature check.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key { name: a, key: x }, Self::Key { name: b, key: y }) => a == b && Arc::ptr_eq(x, y),
            (Self::Signature(a), Self::Signature(b)) => a.as_str() == b.as_str(),
            (Self::Anonymous, Self::Anonymous) => true,
            _ => false,
        }
    }
}

impl Eq for Credential {}

/// Listening sockets of one hybrid connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalForward {
    /// Index into [`BridgeConfig::relays`].
    pub relay: usize,
    /// The sockets.
    pub binds: Vec<LocalBind>,
}

/// One listening socket and the logical port it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalBind {
    /// Where to listen.
    pub host: BindHost,
    /// TCP port.
    pub port: u16,
    /// Logical port at the far end.
    pub port_name: String,
}

/// Local addresses to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindHost {
    /// All addresses, IPv4 and IPv6.
    Any,
    /// This address (`0.0.0.0` and `::` included).
    Address(IpAddr),
    /// Every address that the name resolves to.
    Name(String),
}

impl fmt::Display for BindHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Address(IpAddr::V6(addr)) => write!(f, "[{addr}]"),
            Self::Address(IpAddr::V4(addr)) => addr.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Targets of one hybrid connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteForward {
    /// Index into [`BridgeConfig::relays`].
    pub relay: usize,
    /// The targets; their port names differ.
    pub targets: Vec<Target>,
}

/// One target and the logical port that leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Logical port.
    pub port_name: String,
    /// Host name or address, without brackets; resolved at each connection.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Limit for connecting to a relay when nothing else is said (azbridge.md 1.6).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(70);
/// Keep-alive interval when nothing else is said.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_has_brackets_and_only_unusual_ports() {
        let mut relay = RelayEndpoint {
            host: "relay.example".to_owned(),
            port: 443,
            secure: true,
            path: "a1".to_owned(),
            credential: Credential::Anonymous,
        };
        assert_eq!(relay.authority(), "relay.example");
        relay.secure = false;
        assert_eq!(relay.authority(), "relay.example:443");
        relay.host = "::1".to_owned();
        relay.port = 80;
        assert_eq!(relay.authority(), "[::1]");
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let key = Credential::Key {
            name: "root".to_owned(),
            key: Arc::new(sas::Key::new("hush-hush")),
        };
        assert!(!format!("{key:?}").contains("hush"));
        let signature = Credential::Signature(Token::new("SharedAccessSignature sr=hush"));
        assert!(!format!("{signature:?}").contains("hush"));
    }
}
