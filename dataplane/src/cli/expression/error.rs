//! What can be wrong with a forwarding expression, with azbridge's texts.

use std::fmt;

/// Kind of forwarding expression, by its option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarder {
    /// `-L`
    Local,
    /// `-T`
    Remote,
    /// `-R`
    RemoteOld,
    /// `-H`
    Http,
}

impl fmt::Display for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "-L",
            Self::Remote => "-T",
            Self::RemoteOld => "-R",
            Self::Http => "-H",
        })
    }
}

/// An expression that is not one. Its text starts as azbridge's does and names the offending part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// Option the expression belongs to.
    pub forwarder: Forwarder,
    /// The expression as given.
    pub expression: String,
    /// What is wrong.
    pub fault: Fault,
}

/// The part that is wrong, with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The colons, slashes or brackets do not fit the grammar.
    Shape,
    /// A relay name with characters it may not have.
    RelayName(String),
    /// A logical port name that is too long, or with characters it may not have.
    PortName(String),
    /// A host of a listening socket.
    BindAddress(String),
    /// A port of a listening socket that is 0 or over 65535.
    BindPort(String),
    /// A host of a target.
    Host(String),
    /// A port of a target that is 0 or over 65535.
    HostPort(String),
    /// Something else where `host:` demands a port number.
    NotAPort(String),
    /// `-H` with a scheme that is neither `http` nor `https`.
    Scheme,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            forwarder,
            expression,
            fault,
        } = self;
        let (key, value, hint) = match fault {
            Fault::Shape => return write!(f, "Invalid {forwarder} expression: {expression}"),
            Fault::NotAPort(text) => return write!(f, "Invalid {forwarder} 'port' expression: {text}"),
            Fault::Scheme => {
                return write!(
                    f,
                    "Invalid {forwarder} expression. Must use 'http/' or 'https/' port name: {expression}"
                );
            }
            Fault::RelayName(value) => ("RelayName", value, NAME_HINT),
            Fault::PortName(value) => (
                "PortName",
                value,
                "1 to 255 letters, digits, '/', '_', '-' and '.'",
            ),
            Fault::BindAddress(value) => ("BindAddress", value, HOST_HINT),
            Fault::BindPort(value) => ("BindPort", value, PORT_HINT),
            Fault::Host(value) => ("Host", value, HOST_HINT),
            Fault::HostPort(value) => ("HostPort", value, PORT_HINT),
        };
        write!(
            f,
            "Invalid {forwarder} expression: {expression}; Invalid {key} value: {value} (use {hint})"
        )
    }
}

impl std::error::Error for ExpressionError {}

const NAME_HINT: &str = "letters, digits, '/', '_', '-' and '.'";
const HOST_HINT: &str = "a host name, an IPv4 address or an IPv6 address in brackets";
const PORT_HINT: &str = "1 to 65535";
