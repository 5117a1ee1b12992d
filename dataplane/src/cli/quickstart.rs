//! From the arguments of `viaduct quickstart` to a relay and a bridge that meet on this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::QuickstartArgs;
use crate::cli::credentials::ENVIRONMENT;
use crate::cli::exit::CliError;
use crate::cli::shell::{program_name, quoted};
use crate::config::bridge::{
    BindHost, BridgeConfig, CONNECT_TIMEOUT, Credential, KEEP_ALIVE, LocalBind, LocalForward, RelayEndpoint,
    RemoteForward, Target,
};
use crate::config::limits::ShardLimits;
use crate::config::relay::{DEV_RULE, RelayConfig};
use crate::config::tls::ClientTls;
use crate::control::dev::DevState;

/// Relay and bridge of a quickstart. The bridge's target is known once the demo page has its port.
#[derive(Debug)]
pub struct QuickstartSetup {
    /// The relay.
    pub relay: RelayConfig,
    /// Keys and certificates.
    pub dev: DevState,
    /// Address at which the demo page is reached through the tunnel.
    pub page: SocketAddr,
}

/// Opens the development state and makes the relay's settings.
///
/// # Errors
/// The text for standard error and the exit code.
pub fn resolve(args: &QuickstartArgs) -> Result<QuickstartSetup, CliError> {
    let dev = DevState::open(args.state_dir.as_deref()).map_err(CliError::failed)?;
    let mut relay = RelayConfig::dev(dev.key(), Some(dev.tls.clone()));
    if !args.listen.ip().is_loopback() {
        return Err(CliError::usage(
            "quickstart is for trying on one machine: --listen takes a loopback address",
        ));
    }
    relay.listen = vec![args.listen];
    relay.admin = Some(args.admin);
    // Relay and bridge share the processors.
    relay.threads = relay.threads.div_ceil(2);
    args.node
        .apply(&mut relay.threads, &mut relay.engine, &mut relay.log);
    Ok(QuickstartSetup {
        relay,
        dev,
        page: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.port),
    })
}

impl QuickstartSetup {
    /// A bridge with both ends: the page's address leads through the relay at `relay` to the demo page at
    /// `origin`.
    ///
    /// # Errors
    /// The development CA cannot be read.
    pub fn bridge(&self, relay: SocketAddr, origin: SocketAddr) -> Result<BridgeConfig, CliError> {
        let endpoint = RelayEndpoint {
            // The certificate names localhost and the two loopback addresses.
            host: relay.ip().to_string(),
            port: relay.port(),
            secure: true,
            path: DEMO_PATH.to_owned(),
            credential: Credential::Key {
                name: DEV_RULE.to_owned(),
                key: Arc::new(self.dev.key()),
            },
        };
        let bind = LocalBind {
            host: BindHost::Address(self.page.ip()),
            port: self.page.port(),
            port_name: PORT.to_owned(),
        };
        let target = Target {
            port_name: PORT.to_owned(),
            host: origin.ip().to_string(),
            port: origin.port(),
        };
        Ok(BridgeConfig {
            locals: vec![LocalForward {
                relay: 0,
                binds: vec![bind],
            }],
            remotes: vec![RemoteForward {
                relay: 0,
                targets: vec![target],
            }],
            relays: vec![endpoint],
            tls: ClientTls::load(Some(&self.dev.ca_pem_path)).map_err(CliError::failed)?,
            connect_timeout: CONNECT_TIMEOUT.min(Duration::from_secs(20)),
            keep_alive: KEEP_ALIVE,
            threads: self.relay.threads,
            engine: self.relay.engine,
            exit_on_forward_failure: true,
            bind_addresses: Vec::new(),
            admin: None,
            limits: ShardLimits::default(),
            log: self.relay.log.clone(),
        })
    }

    /// Where everything is and what to do next, for a terminal, without secrets. The addresses are those in use.
    #[must_use]
    pub fn guide(&self, relay: SocketAddr, page: SocketAddr, admin: SocketAddr) -> String {
        let (dir, ca) = (&self.dev.dir, quoted(&self.dev.ca_pem_path));
        let command = format!("{} bridge --ca {ca}", program_name());
        let file = quoted(&dir.join("connection-string"));
        format!(
            "A relay, two ends of a bridge and a web page run in this process:\n\n  \
             browser -> {page} -> bridge -> relay wss://localhost:{port} -> bridge -> page\n\n\
             Open      http://{page}/   (live throughput and latency through the tunnel)\n\
             Counters  http://{admin}/metrics\n\
             Keys, CA  {dir}\n\n\
             Next, in another terminal: reach a service of your own through this relay.\n\n  \
             export {ENVIRONMENT}=\"$(cat {file})\"\n  \
             {command} -T mine:ssh/127.0.0.1:22             # beside the service\n  \
             {command} -L 127.0.0.1:2222/ssh:mine           # where you are\n  \
             ssh -p 2222 127.0.0.1\n\n\
             Ctrl+C stops everything.",
            port = relay.port(),
            dir = dir.display(),
        )
    }
}

/// Hybrid connection of the demo.
pub const DEMO_PATH: &str = "demo";
/// Logical port of the demo page.
const PORT: &str = "web";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::args::{Invocation, parse};
    use crate::config::test_folder::test_folder;

    #[test]
    fn relay_and_bridge_meet() {
        let folder = test_folder("quickstart");
        let line = format!(
            "viaduct quickstart --port 8099 --state-dir {}",
            folder.path().display()
        );
        let Ok(Invocation::Quickstart(args)) = parse(line.split(' ').map(OsString::from)) else {
            panic!()
        };
        let setup = resolve(&args).unwrap();
        let bridge = setup
            .bridge(setup.relay.listen[0], "127.0.0.1:4000".parse().unwrap())
            .unwrap();
        assert_eq!(bridge.relays[0].authority(), "127.0.0.1:8443");
        assert_eq!(bridge.locals[0].binds[0].port, 8099);
        assert_eq!(bridge.remotes[0].targets[0].port, 4000);
        let guide = setup.guide(setup.relay.listen[0], setup.page, args.admin);
        assert!(guide.contains("http://127.0.0.1:8099/ ") && guide.contains("http://127.0.0.1:8444/metrics"));
        assert!(!guide.contains(setup.dev.key().dangerous_text()));

        let elsewhere = QuickstartArgs {
            listen: "0.0.0.0:1".parse().unwrap(),
            ..args
        };
        assert!(resolve(&elsewhere).is_err());
    }
}
