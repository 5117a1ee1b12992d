//! `Endpoint=sb://host[:port]/;EntityPath=…;SharedAccessKeyName=…;SharedAccessKey=…`

use alloc::string::{String, ToString};
use core::fmt::{self, Write};

use super::key::Key;
use crate::{
    hybrid::{Token, split_authority},
    limits::{CONNECTION_FIELD_MAX, KEY_MAX, TOKEN_MAX},
};

/// A connection string, taken apart. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct ConnectionString {
    /// Host of the relay, an IPv6 literal without brackets.
    pub endpoint_host: String,
    /// Port of the relay if it is given; 443 otherwise.
    pub endpoint_port: Option<u16>,
    /// Path of the hybrid connection, without leading or trailing `/`.
    pub entity_path: Option<String>,
    /// Name of the rule.
    pub key_name: Option<String>,
    /// Key of the rule.
    pub key: Option<Key>,
    /// A ready token in place of a key.
    pub signature: Option<Token>,
    /// Time limit for connecting, seconds.
    pub operation_timeout_s: Option<u64>,
    /// `Authentication=Managed Identity`: tokens come from an identity provider.
    pub managed_identity: bool,
}

/// What is wrong with a connection string. Holds names of fields and positions, never values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionStringError {
    /// There is no `Endpoint`.
    NoEndpoint,
    /// `Endpoint` is not of the form `sb://host[:port]/`.
    BadEndpoint,
    /// A part without `=`; its position, from 1.
    NotAPair(usize),
    /// A part whose name is not known; its position, from 1. The name is not repeated: in a mangled string it
    /// may be a piece of the key.
    UnknownKey(usize),
    /// A field is there twice.
    Repeated(&'static str),
    /// A field has no value.
    Empty(&'static str),
    /// A field is longer than it may be.
    TooLong(&'static str),
    /// A field has a value that cannot be read.
    Malformed(&'static str),
    /// `SharedAccessKeyName` without `SharedAccessKey` or the other way round; the missing one.
    Incomplete(&'static str),
    /// Both a key and a token.
    KeyAndSignature,
}

impl ConnectionString {
    /// The connection string of a rule for every hybrid connection of a relay.
    #[must_use]
    pub fn of_rule(host: &str, port: Option<u16>, key_name: &str, key: Key) -> Self {
        Self {
            endpoint_host: host.to_string(),
            endpoint_port: port,
            entity_path: None,
            key_name: Some(key_name.to_string()),
            key: Some(key),
            signature: None,
            operation_timeout_s: None,
            managed_identity: false,
        }
    }

    /// Parses a connection string: names in any letter case, each part split at its first `=`, empty parts
    /// ignored.
    ///
    /// # Errors
    /// [`ConnectionStringError`], which is safe to print.
    pub fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let fields = Fields::collect(text)?;
        let endpoint = fields
            .text(Field::Endpoint, CONNECTION_FIELD_MAX)?
            .ok_or(ConnectionStringError::NoEndpoint)?;
        let (endpoint_host, endpoint_port) = parse_endpoint(endpoint)?;
        let key_name = fields.text(Field::SharedAccessKeyName, KEY_MAX)?;
        let key = fields.text(Field::SharedAccessKey, KEY_MAX)?;
        let signature = fields.text(Field::SharedAccessSignature, TOKEN_MAX)?;
        match (key_name, key, signature) {
            (_, Some(_), Some(_)) => return Err(ConnectionStringError::KeyAndSignature),
            (None, Some(_), None) => return Err(Field::SharedAccessKeyName.incomplete()),
            (Some(_), None, None) => return Err(Field::SharedAccessKey.incomplete()),
            _ => {}
        }
        Ok(Self {
            endpoint_host,
            endpoint_port,
            entity_path: fields
                .text(Field::EntityPath, CONNECTION_FIELD_MAX)?
                .map(entity_path)
                .transpose()?,
            key_name: key_name.map(ToString::to_string),
            key: key.map(Key::new),
            signature: signature.map(Token::new),
            operation_timeout_s: fields
                .text(Field::OperationTimeout, CONNECTION_FIELD_MAX)?
                .map(timeout)
                .transpose()?,
            managed_identity: fields
                .text(Field::Authentication, CONNECTION_FIELD_MAX)?
                .map(authentication)
                .transpose()?
                == Some(()),
        })
    }

    /// The whole connection string with its secrets, for a file that only its owner may read. Never for a
    /// log.
    #[must_use]
    pub fn dangerous_text(&self) -> String {
        let mut text = String::new();
        let host = &self.endpoint_host;
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        let mut put = |field: Field, value: fmt::Arguments<'_>| {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{}={value};", field.name());
        };
        match self.endpoint_port {
            Some(port) => put(Field::Endpoint, format_args!("sb://{open}{host}{close}:{port}/")),
            None => put(Field::Endpoint, format_args!("sb://{open}{host}{close}/")),
        }
        if let Some(name) = &self.key_name {
            put(Field::SharedAccessKeyName, format_args!("{name}"));
        }
        if let Some(key) = &self.key {
            put(Field::SharedAccessKey, format_args!("{}", key.dangerous_text()));
        }
        if let Some(signature) = &self.signature {
            put(
                Field::SharedAccessSignature,
                format_args!("{}", signature.as_str()),
            );
        }
        if let Some(path) = &self.entity_path {
            put(Field::EntityPath, format_args!("{path}"));
        }
        if let Some(seconds) = self.operation_timeout_s {
            put(Field::OperationTimeout, format_args!("{seconds}"));
        }
        if self.managed_identity {
            put(Field::Authentication, format_args!("{MANAGED_IDENTITY}"));
        }
        text.pop();
        text
    }
}

impl fmt::Display for ConnectionStringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEndpoint => f.write_str("the connection string has no Endpoint=sb://host[:port]/"),
            Self::BadEndpoint => f.write_str("Endpoint must have the form sb://host[:port]/"),
            Self::NotAPair(at) => write!(f, "part {at} of the connection string has no ="),
            Self::UnknownKey(at) => write!(f, "part {at} of the connection string has an unknown name"),
            Self::Repeated(name) => write!(f, "{name} is in the connection string twice"),
            Self::Empty(name) => write!(f, "{name} of the connection string is empty"),
            Self::TooLong(name) => write!(f, "{name} of the connection string is too long"),
            Self::Malformed(name) => write!(f, "{name} of the connection string cannot be read"),
            Self::Incomplete(name) => write!(f, "the connection string lacks {name}"),
            Self::KeyAndSignature => f.write_str(
                "the connection string has both SharedAccessKey and SharedAccessSignature; use one",
            ),
        }
    }
}

impl core::error::Error for ConnectionStringError {}

/// The names that a connection string knows.
#[derive(Clone, Copy)]
enum Field {
    Endpoint,
    EntityPath,
    SharedAccessKeyName,
    SharedAccessKey,
    SharedAccessSignature,
    OperationTimeout,
    Authentication,
}

impl Field {
    const ALL: [Self; 7] = [
        Self::Endpoint,
        Self::EntityPath,
        Self::SharedAccessKeyName,
        Self::SharedAccessKey,
        Self::SharedAccessSignature,
        Self::OperationTimeout,
        Self::Authentication,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "Endpoint",
            Self::EntityPath => "EntityPath",
            Self::SharedAccessKeyName => "SharedAccessKeyName",
            Self::SharedAccessKey => "SharedAccessKey",
            Self::SharedAccessSignature => "SharedAccessSignature",
            Self::OperationTimeout => "OperationTimeout",
            Self::Authentication => "Authentication",
        }
    }

    const fn incomplete(self) -> ConnectionStringError {
        ConnectionStringError::Incomplete(self.name())
    }
}

/// Raw values by [`Field`].
struct Fields<'a>([Option<&'a str>; Field::ALL.len()]);

impl<'a> Fields<'a> {
    fn collect(text: &'a str) -> Result<Self, ConnectionStringError> {
        let mut values = [None; Field::ALL.len()];
        for (at, part) in text.split(';').enumerate() {
            if part.trim().is_empty() {
                continue;
            }
            let position = at + 1;
            let (name, value) = part
                .split_once('=')
                .ok_or(ConnectionStringError::NotAPair(position))?;
            let known = Field::ALL.iter().zip(&mut values);
            let (field, slot) = known
                .into_iter()
                .find(|(field, _)| field.name().eq_ignore_ascii_case(name.trim()))
                .ok_or(ConnectionStringError::UnknownKey(position))?;
            if slot.replace(value.trim()).is_some() {
                return Err(ConnectionStringError::Repeated(field.name()));
            }
        }
        Ok(Self(values))
    }

    fn text(&self, field: Field, max: usize) -> Result<Option<&'a str>, ConnectionStringError> {
        match self.0.get(field as usize).copied().flatten() {
            Some("") => Err(ConnectionStringError::Empty(field.name())),
            Some(value) if value.len() > max => Err(ConnectionStringError::TooLong(field.name())),
            value => Ok(value),
        }
    }
}

fn parse_endpoint(endpoint: &str) -> Result<(String, Option<u16>), ConnectionStringError> {
    let bad = ConnectionStringError::BadEndpoint;
    let (scheme, rest) = endpoint.split_once("://").ok_or(bad)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !scheme.eq_ignore_ascii_case("sb") || !path.is_empty() {
        return Err(bad);
    }
    let (host, port) = split_authority(authority).map_err(|_| bad)?;
    Ok((host.to_string(), port))
}

fn entity_path(path: &str) -> Result<String, ConnectionStringError> {
    match path.trim_matches('/') {
        "" => Err(ConnectionStringError::Empty(Field::EntityPath.name())),
        path => Ok(path.to_string()),
    }
}

/// Seconds, or a .NET time span `[d.]hh:mm[:ss[.fraction]]`.
fn timeout(text: &str) -> Result<u64, ConnectionStringError> {
    let malformed = ConnectionStringError::Malformed(Field::OperationTimeout.name());
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let mut parts = text.split(':');
    let (Some(hours), Some(minutes)) = (parts.next(), parts.next()) else {
        return Err(malformed);
    };
    let seconds = parts.next().unwrap_or("0").split('.').next().unwrap_or("0");
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let number = |text: &str, below: u64| text.parse().ok().filter(|n: &u64| *n < below);
    let total = || {
        let whole_hours = number(days, DAYS_MAX)? * 24 + number(hours, 24)?;
        Some((whole_hours * 60 + number(minutes, 60)?) * 60 + number(seconds, 60)?)
    };
    if parts.next().is_some() {
        return Err(malformed);
    }
    total().ok_or(malformed)
}

fn authentication(text: &str) -> Result<(), ConnectionStringError> {
    let plain = |c: &char| !c.is_whitespace();
    let asked = text.chars().filter(plain);
    let known = MANAGED_IDENTITY.chars().filter(plain);
    if asked
        .map(|c| c.to_ascii_lowercase())
        .eq(known.map(|c| c.to_ascii_lowercase()))
    {
        Ok(())
    } else {
        Err(ConnectionStringError::Malformed(Field::Authentication.name()))
    }
}

/// The only kind of authentication besides keys and tokens.
const MANAGED_IDENTITY: &str = "Managed Identity";
/// First number of days that a .NET time span cannot hold.
const DAYS_MAX: u64 = 10_675_200;

#[cfg(test)]
mod tests;
