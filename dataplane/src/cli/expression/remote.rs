//! `-T relay:[name/][host:]port{;...}`, its old form `-R`, and `-H relay:{http|https}/host[/path...][:port]{;...}`.

use super::error::{ExpressionError, Fault, Forwarder};
use super::word::{self, PortWord};

/// A `-T`, `-R` or `-H` expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteExpression {
    /// Relay name.
    pub relay: String,
    /// At least one binding.
    pub bindings: Vec<RemoteBinding>,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteBinding {
    /// Logical port.
    pub port_name: String,
    /// What it leads to.
    pub endpoint: RemoteEndpoint,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteEndpoint {
    /// TCP.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// UDP.
    Udp {
        /// Host name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// Unix stream socket at this path.
    Unix(String),
    /// HTTP server.
    Http(HttpTarget),
}

/// Target of `-H`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Whether it is `https`.
    pub secure: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Base path; starts and ends with `/`.
    pub path: String,
}

impl RemoteExpression {
    /// Reads the value of a `-T` (`Remote`), `-R` (`RemoteOld`) or `-H` (`Http`) option.
    ///
    /// # Errors
    /// The part that is wrong.
    pub fn parse(forwarder: Forwarder, text: &str) -> Result<Self, ExpressionError> {
        parse(forwarder, text).map_err(|fault| ExpressionError {
            forwarder,
            expression: text.to_owned(),
            fault,
        })
    }
}

fn parse(forwarder: Forwarder, text: &str) -> Result<RemoteExpression, Fault> {
    let (relay, list) = text.split_once(':').ok_or(Fault::Shape)?;
    let relay = word::trim_quotes(relay);
    if !word::is_name(relay) {
        return Err(Fault::RelayName(relay.to_owned()));
    }
    let binding = match forwarder {
        Forwarder::Http => http_binding,
        Forwarder::RemoteOld => |part: &str| stream_binding(part, false),
        Forwarder::Remote | Forwarder::Local => |part: &str| stream_binding(part, true),
    };
    let parts = word::split(list, ';').ok_or(Fault::Shape)?;
    let bindings = parts.into_iter().map(binding).collect::<Result<_, _>>()?;
    Ok(RemoteExpression {
        relay: relay.to_owned(),
        bindings,
    })
}

/// `[N/]P` or, with a host, `[N/]H:P` where the name stands with the host and `H:[N/]P` where it stands with the port.
fn stream_binding(part: &str, name_with_host: bool) -> Result<RemoteBinding, Fault> {
    let part = word::trim_quotes(part);
    if word::starts_as_path(part) {
        return unix_binding(part, part);
    }
    if let Some((name, _)) = part.split_once("//") {
        // The second slash belongs to the path: `name//abs/path`.
        return unix_binding(name, &part[name.len() + 1..]);
    }
    match *word::split(part, ':').ok_or(Fault::Shape)? {
        [only] => {
            let (name, port) = name_and_rest(only)?;
            match word::port_word(port) {
                PortWord::Word => unix_binding(name.unwrap_or(port), port),
                _ => numbered(name.unwrap_or(port), LOCALHOST.to_owned(), port),
            }
        }
        [first, second] => {
            let (name, host, port) = if name_with_host {
                let (name, host) = name_and_rest(first)?;
                (name, host, second)
            } else {
                let (name, port) = name_and_rest(second)?;
                (name, first, port)
            };
            let host = word::host(host).ok_or_else(|| Fault::Host(host.to_owned()))?;
            numbered(name.unwrap_or(port), host, port)
        }
        _ => Err(Fault::Shape),
    }
}

fn unix_binding(name: &str, path: &str) -> Result<RemoteBinding, Fault> {
    if !word::is_path(path) {
        return Err(Fault::Shape);
    }
    Ok(RemoteBinding {
        port_name: name_of(name)?,
        endpoint: RemoteEndpoint::Unix(path.to_owned()),
    })
}

fn numbered(name: &str, host: String, port: &str) -> Result<RemoteBinding, Fault> {
    let endpoint = match word::port_word(port) {
        PortWord::Tcp(port) => RemoteEndpoint::Tcp { host, port },
        PortWord::Udp(port) => RemoteEndpoint::Udp { host, port },
        PortWord::OutOfRange => return Err(Fault::HostPort(port.to_owned())),
        PortWord::Word => return Err(Fault::NotAPort(port.to_owned())),
    };
    Ok(RemoteBinding {
        port_name: name_of(name)?,
        endpoint,
    })
}

/// `[N/]X`.
fn name_and_rest(text: &str) -> Result<(Option<&str>, &str), Fault> {
    let mut parts = text.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(rest), None, None) => Ok((None, rest)),
        (Some(name), Some(rest), None) => Ok((Some(name), rest)),
        _ => Err(Fault::Shape),
    }
}

fn name_of(name: &str) -> Result<String, Fault> {
    let name = word::trim_quotes(name);
    if word::is_name(name) {
        Ok(name.to_owned())
    } else {
        Err(Fault::PortName(name.to_owned()))
    }
}

/// `{http|https}/host[/path...][:port]`; the port may also stand with the host, and a lone number is a port of localhost.
fn http_binding(part: &str) -> Result<RemoteBinding, Fault> {
    let (scheme, rest) = word::trim_quotes(part).split_once('/').ok_or(Fault::Shape)?;
    let secure = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err(Fault::Scheme),
    };
    let (host, path, port) = http_parts(rest)?;
    let (host, port) = match (port, word::port_word(host)) {
        (None, PortWord::Word) => (word::host(host), if secure { 443 } else { 80 }),
        (None, _) => (Some(LOCALHOST.to_owned()), http_port(host)?),
        (Some(port), _) => (word::host(host), http_port(port)?),
    };
    let Some(host) = host else {
        return Err(Fault::Host(rest.to_owned()));
    };
    let target = HttpTarget {
        secure,
        host,
        port,
        path: http_path(path)?,
    };
    Ok(RemoteBinding {
        port_name: scheme.to_owned(),
        endpoint: RemoteEndpoint::Http(target),
    })
}

/// Host, path without its first slash, and port of `host[/path][:port]` or `host[:port][/path]`.
fn http_parts(rest: &str) -> Result<(&str, &str, Option<&str>), Fault> {
    match *word::split(rest, ':').ok_or(Fault::Shape)? {
        [only] => {
            let (host, path) = only.split_once('/').unwrap_or((only, ""));
            Ok((host, path, None))
        }
        [host, port] if !host.contains('/') => {
            let (port, path) = port.split_once('/').unwrap_or((port, ""));
            Ok((host, path, Some(port)))
        }
        [first, port] => {
            let (host, path) = first.split_once('/').unwrap_or((first, ""));
            Ok((host, path, Some(port)))
        }
        _ => Err(Fault::Shape),
    }
}

fn http_port(text: &str) -> Result<u16, Fault> {
    match word::port_word(text) {
        PortWord::Tcp(port) => Ok(port),
        PortWord::OutOfRange => Err(Fault::HostPort(text.to_owned())),
        PortWord::Udp(_) | PortWord::Word => Err(Fault::NotAPort(text.to_owned())),
    }
}

fn http_path(path: &str) -> Result<String, Fault> {
    let inner = path.trim_matches('/');
    if inner.is_empty() {
        return Ok("/".to_owned());
    }
    if !word::is_path(inner) || inner.contains([' ', '?', '#']) {
        return Err(Fault::Shape);
    }
    Ok(format!("/{inner}/"))
}

const LOCALHOST: &str = "localhost";
