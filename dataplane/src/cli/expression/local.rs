//! `-L [host:]port[/name]{;...}:relay`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::error::{ExpressionError, Fault, Forwarder};
use super::word::{self, PortWord};
use crate::config::bridge::BindHost;

/// A `-L` expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalExpression {
    /// Relay name.
    pub relay: String,
    /// At least one binding.
    pub bindings: Vec<LocalBinding>,
}

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalBinding {
    /// Where to listen.
    pub endpoint: LocalEndpoint,
    /// Logical port.
    pub port_name: String,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalEndpoint {
    /// TCP; `host` is `None` where none was written.
    Tcp {
        /// Addresses to listen on.
        host: Option<BindHost>,
        /// Port.
        port: u16,
    },
    /// UDP; `host` is `None` where none was written.
    Udp {
        /// Addresses to listen on.
        host: Option<BindHost>,
        /// Port.
        port: u16,
    },
    /// Unix stream socket at this path.
    Unix(String),
}

impl FromStr for LocalExpression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        parse(text).map_err(|fault| ExpressionError {
            forwarder: Forwarder::Local,
            expression: text.to_owned(),
            fault,
        })
    }
}

fn parse(text: &str) -> Result<LocalExpression, Fault> {
    let (list, relay) = text.rsplit_once(':').ok_or(Fault::Shape)?;
    let relay = word::trim_quotes(relay);
    if !word::is_name(relay) {
        return Err(Fault::RelayName(relay.to_owned()));
    }
    let parts = word::split(list, ';').ok_or(Fault::Shape)?;
    let bindings = parts.into_iter().map(binding).collect::<Result<_, _>>()?;
    Ok(LocalExpression {
        relay: relay.to_owned(),
        bindings,
    })
}

fn binding(part: &str) -> Result<LocalBinding, Fault> {
    let part = word::trim_quotes(part);
    if word::starts_as_path(part) {
        return path_binding(part);
    }
    match *word::split(part, ':').ok_or(Fault::Shape)? {
        [port] => {
            let (port, port_name) = port_and_name(port)?;
            let endpoint = match word::port_word(port) {
                PortWord::Tcp(port) => LocalEndpoint::Tcp { host: None, port },
                PortWord::Udp(port) => LocalEndpoint::Udp { host: None, port },
                PortWord::OutOfRange => return Err(Fault::BindPort(port.to_owned())),
                PortWord::Word if word::is_path(port) => LocalEndpoint::Unix(port.to_owned()),
                PortWord::Word => return Err(Fault::Shape),
            };
            Ok(LocalBinding { endpoint, port_name })
        }
        [host, rest] => {
            let host = Some(bind_host(host)?);
            let (port, port_name) = port_and_name(rest)?;
            let endpoint = match word::port_word(port) {
                PortWord::Tcp(port) => LocalEndpoint::Tcp { host, port },
                PortWord::Udp(port) => LocalEndpoint::Udp { host, port },
                PortWord::OutOfRange => return Err(Fault::BindPort(port.to_owned())),
                PortWord::Word => return Err(Fault::NotAPort(rest.to_owned())),
            };
            Ok(LocalBinding { endpoint, port_name })
        }
        _ => Err(Fault::Shape),
    }
}

/// `path` or `path//name`.
fn path_binding(part: &str) -> Result<LocalBinding, Fault> {
    // Searching from the second byte leaves a doubled slash at the very start to the path.
    let name_at = part
        .char_indices()
        .skip(1)
        .find_map(|(at, _)| part[at..].starts_with("//").then_some(at));
    let (path, name) = match name_at {
        Some(at) => (&part[..at], &part[at + 2..]),
        None => (part, part),
    };
    if !word::is_path(path) {
        return Err(Fault::Shape);
    }
    Ok(LocalBinding {
        endpoint: LocalEndpoint::Unix(path.to_owned()),
        port_name: name_of(name)?,
    })
}

/// `P[/N]`; the name is the port as written unless given.
fn port_and_name(text: &str) -> Result<(&str, String), Fault> {
    let mut parts = text.split('/');
    let port = parts.next().unwrap_or_default();
    let name = parts.next().unwrap_or(port);
    if parts.next().is_some() {
        return Err(Fault::Shape);
    }
    // A number that is no port is the more telling mistake than the name it would give.
    if word::port_word(port) == PortWord::OutOfRange {
        return Err(Fault::BindPort(port.to_owned()));
    }
    Ok((port, name_of(name)?))
}

fn name_of(name: &str) -> Result<String, Fault> {
    let name = word::trim_quotes(name);
    if word::is_name(name) {
        Ok(name.to_owned())
    } else {
        Err(Fault::PortName(name.to_owned()))
    }
}

fn bind_host(text: &str) -> Result<BindHost, Fault> {
    let text = word::trim_quotes(text);
    match text {
        "" | "*" => return Ok(BindHost::Any),
        "any" => return Ok(BindHost::Address(IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
        "anyv6" => return Ok(BindHost::Address(IpAddr::V6(Ipv6Addr::UNSPECIFIED))),
        _ => {}
    }
    if let Some(addr) = word::bracketed(text).or_else(|| text.parse().ok()) {
        return Ok(BindHost::Address(addr));
    }
    if word::is_host_name(text) {
        return Ok(BindHost::Name(text.to_owned()));
    }
    Err(Fault::BindAddress(text.to_owned()))
}
