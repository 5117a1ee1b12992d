//! From `-L`, `-T`, `-R` and `-H` to the forwards that the data plane carries.
//!
//! Expressions for the same relay are merged into one forward, so that a bridge never competes with itself for a relay's
//! connections (azbridge.md 2.6, number 15). Port names of one relay differ.

use std::net::{IpAddr, UdpSocket};

use crate::cli::exit::CliError;
use crate::cli::expression::{
    ExpressionError, Fault, Forwarder, LocalBinding, LocalEndpoint, LocalExpression, RemoteEndpoint,
    RemoteExpression,
};
use crate::cli::options::{BridgeArgs, Name};
use crate::config::bridge::{BindHost, LocalBind, LocalForward, RemoteForward, Target};

/// All forwards of a command line, with the relay names they use.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Forwards {
    /// Relay names; forwards hold indices into them.
    pub relays: Vec<String>,
    /// From here to relays.
    pub locals: Vec<LocalForward>,
    /// From relays to here.
    pub remotes: Vec<RemoteForward>,
}

impl Forwards {
    /// Reads all expressions.
    ///
    /// # Errors
    /// The first one that is wrong or asks for something that is not carried.
    pub fn load(args: &BridgeArgs) -> Result<Self, CliError> {
        let mut all = Self::default();
        let default_host = if args.has(Name::GatewayPorts) {
            BindHost::Any
        } else {
            BindHost::Name("localhost".to_owned())
        };
        for text in args.all(Name::LocalForward) {
            let expression: LocalExpression = text.parse().map_err(CliError::usage)?;
            all.add_local(text, expression, &default_host)?;
        }
        let remotes = [
            (Name::RemoteForwardOld, Forwarder::RemoteOld),
            (Name::RemoteForward, Forwarder::Remote),
            (Name::RemoteHttpForward, Forwarder::Http),
        ];
        for (name, forwarder) in remotes {
            for text in args.all(name) {
                let expression = RemoteExpression::parse(forwarder, text).map_err(CliError::usage)?;
                all.add_remote(forwarder, text, expression)?;
            }
        }
        Ok(all)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.locals.is_empty() && self.remotes.is_empty()
    }

    fn add_local(
        &mut self,
        text: &str,
        expression: LocalExpression,
        default_host: &BindHost,
    ) -> Result<(), CliError> {
        let relay = self.relay(&expression.relay);
        let bind = |binding| local_bind(text, binding, default_host);
        let binds = expression
            .bindings
            .into_iter()
            .map(bind)
            .collect::<Result<Vec<_>, _>>()?;
        match self.locals.iter_mut().find(|forward| forward.relay == relay) {
            Some(forward) => forward.binds.extend(binds),
            None => self.locals.push(LocalForward { relay, binds }),
        }
        Ok(())
    }

    fn add_remote(
        &mut self,
        forwarder: Forwarder,
        text: &str,
        expression: RemoteExpression,
    ) -> Result<(), CliError> {
        let relay = self.relay(&expression.relay);
        if !self.remotes.iter().any(|forward| forward.relay == relay) {
            self.remotes.push(RemoteForward {
                relay,
                targets: Vec::new(),
            });
        }
        let Some(forward) = self.remotes.iter_mut().find(|forward| forward.relay == relay) else {
            return Ok(());
        };
        for binding in expression.bindings {
            let (host, port) = match binding.endpoint {
                RemoteEndpoint::Tcp { host, port } => (host, port),
                RemoteEndpoint::Udp { .. } => return Err(not_carried(forwarder, text, "UDP ports")),
                RemoteEndpoint::Unix(_) => return Err(not_carried(forwarder, text, UNIX)),
                RemoteEndpoint::Http(_) => return Err(not_carried(forwarder, text, "HTTP targets")),
            };
            if forward
                .targets
                .iter()
                .any(|target| target.port_name == binding.port_name)
            {
                return Err(CliError::usage(format_args!(
                    "Invalid {forwarder} expression: {text}; the port name '{}' is used twice on relay '{}'",
                    binding.port_name, expression.relay
                )));
            }
            forward.targets.push(Target {
                port_name: binding.port_name,
                host,
                port,
            });
        }
        Ok(())
    }

    /// Index of a relay name; letter case makes no difference, as on the relay.
    fn relay(&mut self, name: &str) -> usize {
        let name = name.trim_matches('/');
        self.relays
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name))
            .unwrap_or_else(|| {
                self.relays.push(name.to_owned());
                self.relays.len() - 1
            })
    }
}

/// Whether sockets of this machine can be bound to `addr`.
#[must_use]
pub fn is_local_address(addr: IpAddr) -> bool {
    addr.is_loopback() || addr.is_unspecified() || UdpSocket::bind((addr, 0)).is_ok()
}

fn local_bind(text: &str, binding: LocalBinding, default_host: &BindHost) -> Result<LocalBind, CliError> {
    let (host, port) = match binding.endpoint {
        LocalEndpoint::Tcp { host, port } => (host.unwrap_or_else(|| default_host.clone()), port),
        LocalEndpoint::Udp { .. } => return Err(not_carried(Forwarder::Local, text, "UDP ports")),
        LocalEndpoint::Unix(_) => return Err(not_carried(Forwarder::Local, text, UNIX)),
    };
    if let BindHost::Address(addr) = host
        && !is_local_address(addr)
    {
        return Err(CliError::usage(ExpressionError {
            forwarder: Forwarder::Local,
            expression: text.to_owned(),
            fault: Fault::BindAddress(format!("{addr}, not an address of this machine")),
        }));
    }
    Ok(LocalBind {
        host,
        port,
        port_name: binding.port_name,
    })
}

fn not_carried(forwarder: Forwarder, text: &str, what: &str) -> CliError {
    CliError::usage(format_args!(
        "{forwarder} {text}: {what} are not supported; use a TCP port (1 to 65535)"
    ))
}

const UNIX: &str = "Unix sockets (a name or path in place of a port)";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::exit::Exit;

    fn load(args: &[&str]) -> Result<Forwards, CliError> {
        let args = BridgeArgs::parse(args.iter().map(OsString::from)).expect("options");
        Forwards::load(&args)
    }

    fn bind(host: BindHost, port: u16, name: &str) -> LocalBind {
        LocalBind {
            host,
            port,
            port_name: name.to_owned(),
        }
    }

    fn target(name: &str, host: &str, port: u16) -> Target {
        Target {
            port_name: name.to_owned(),
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn forwards_of_one_relay_are_one_forward() {
        let forwards = load(&[
            "-T", "a1:x/1", "-L", "8080:a2", "-T", "A1:y/h:2", "-R", "a3:h:z/3", "-L", "81:a2",
        ])
        .unwrap();
        let localhost = BindHost::Name("localhost".to_owned());
        let expected = Forwards {
            relays: vec!["a2".to_owned(), "a3".to_owned(), "a1".to_owned()],
            locals: vec![LocalForward {
                relay: 0,
                binds: vec![bind(localhost.clone(), 8080, "8080"), bind(localhost, 81, "81")],
            }],
            remotes: vec![
                RemoteForward {
                    relay: 1,
                    targets: vec![target("z", "h", 3)],
                },
                RemoteForward {
                    relay: 2,
                    targets: vec![target("x", "localhost", 1), target("y", "h", 2)],
                },
            ],
        };
        assert_eq!(forwards, expected);
    }

    #[test]
    fn gateway_ports_opens_forwards_without_a_host() {
        let forwards = load(&["-g", "-L", "80:r", "-L", "127.0.0.4:81:r"]).unwrap();
        let addr = BindHost::Address("127.0.0.4".parse().unwrap());
        assert_eq!(
            forwards.locals[0].binds,
            [bind(BindHost::Any, 80, "80"), bind(addr, 81, "81")]
        );
    }

    #[test]
    fn what_is_not_carried_is_refused_by_name() {
        let cases = [
            (&["-L", "53U:r"][..], "-L 53U:r: UDP"),
            (&["-L", "/run/s:r"], "-L /run/s:r: Unix sockets"),
            (&["-T", "r:3000U"], "-T r:3000U: UDP"),
            (&["-R", "r:h:name/-53"], "-R r:h:name/-53: UDP"),
            (&["-T", "r:db"], "-T r:db: Unix sockets"),
            (&["-H", "r:http/h"], "-H r:http/h: HTTP targets"),
        ];
        for (args, start) in cases {
            let error = load(args).unwrap_err();
            assert!(
                error.message.starts_with(start) && error.exit == Exit::Usage,
                "{args:?}: {error}"
            );
        }
    }

    #[test]
    fn mistakes_name_the_option() {
        let twice = load(&["-T", "r:1", "-T", "r:1/2"]).unwrap_err();
        assert!(
            twice.message.contains("-T") && twice.message.contains("'1' is used twice"),
            "{twice}"
        );
        let foreign = load(&["-L", "1.1.1.1:80:foobar"]).unwrap_err();
        assert!(
            foreign.message.contains("-L") && foreign.message.contains("BindAddress"),
            "{foreign}"
        );
        assert!(load(&[]).unwrap().is_empty());
    }
}
