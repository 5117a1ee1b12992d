//! Configuration of bridges.

use std::sync::Arc;
use std::time::Duration;

use viaduct::config::bridge::{
    BindHost, BridgeConfig, Credential, KEEP_ALIVE, LocalBind, LocalForward, RelayEndpoint, RemoteForward,
    Target,
};
use viaduct::config::limits::ShardLimits;
use viaduct::config::tls::ClientTls;
use viaduct::config::{EngineChoice, LogSettings};
use viaduct_proto::sas;

use super::{KEY, RELAY_NAME, RELAY_PORT, RULE};

/// Forwards of one bridge over one hybrid connection each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forwards {
    /// TCP port, hybrid connection, logical port.
    pub(crate) locals: Vec<(u16, &'static str, &'static str)>,
    /// Hybrid connection, and its targets.
    pub(crate) remotes: Vec<(&'static str, Vec<Destination>)>,
}

/// Logical port, host and TCP port.
type Destination = (&'static str, &'static str, u16);

pub(crate) fn bridge_config(forwards: &Forwards) -> BridgeConfig {
    let key = Arc::new(sas::Key::new(KEY));
    let relay = |path: &str| RelayEndpoint {
        host: RELAY_NAME.to_owned(),
        port: RELAY_PORT,
        secure: false,
        path: path.to_owned(),
        credential: Credential::Key {
            name: RULE.to_owned(),
            key: Arc::clone(&key),
        },
    };
    let local_paths = forwards.locals.iter().map(|(_, path, _)| *path);
    let remote_paths = forwards.remotes.iter().map(|(path, _)| *path);
    let locals = forwards.locals.iter().enumerate();
    let remotes = forwards.remotes.iter().enumerate();
    BridgeConfig {
        locals: locals
            .map(|(relay, (port, _, name))| LocalForward {
                relay,
                binds: vec![LocalBind {
                    host: BindHost::Any,
                    port: *port,
                    port_name: (*name).to_owned(),
                }],
            })
            .collect(),
        remotes: remotes
            .map(|(index, (_, targets))| RemoteForward {
                relay: forwards.locals.len() + index,
                targets: targets
                    .iter()
                    .map(|(name, host, port)| target(name, host, *port))
                    .collect(),
            })
            .collect(),
        relays: local_paths.chain(remote_paths).map(relay).collect(),
        tls: ClientTls::trusting(rustls::RootCertStore::empty()).expect("the provider has TLS 1.3"),
        connect_timeout: Duration::from_secs(30),
        keep_alive: KEEP_ALIVE,
        threads: 1,
        engine: EngineChoice::Auto,
        exit_on_forward_failure: false,
        bind_addresses: Vec::new(),
        admin: None,
        limits: ShardLimits::default(),
        log: LogSettings::default(),
    }
}

fn target(name: &str, host: &str, port: u16) -> Target {
    Target {
        port_name: name.to_owned(),
        host: host.to_owned(),
        port,
    }
}
