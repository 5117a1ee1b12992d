//! From `-x -e -K -k -s` and the environment to an endpoint and a credential (azbridge.md 2.4, 2.5).
//!
//! Layers from low to high: environment, `-x` (replaces it whole), single options. Each value is checked when it is read
//! ([`Credentials::load`]), their combination only where they are used ([`Credentials::endpoint`]). No text repeats a key,
//! a signature or a connection string.

use std::sync::Arc;
use std::time::Duration;

use viaduct_proto::hybrid::Token;
use viaduct_proto::limits::KEY_MAX;
use viaduct_proto::sas::{self, ConnectionString};

use crate::cli::exit::CliError;
use crate::cli::expression::trim_quotes;
use crate::cli::options::{BridgeArgs, Name};
use crate::config::bridge::{CONNECT_TIMEOUT, Credential, RelayEndpoint};

/// What is known about the relay, from all layers.
#[derive(Debug, Default)]
pub struct Credentials {
    host: Option<String>,
    port: Option<u16>,
    entity_path: Option<String>,
    key_name: Option<String>,
    key: Option<Arc<sas::Key>>,
    signature: Option<Token>,
    anonymous: bool,
    timeout: Option<Duration>,
}

impl Credentials {
    /// Reads the options over `environment`, the value of [`ENVIRONMENT`].
    ///
    /// # Errors
    /// A value that cannot be right on its own; names the option and the azbridge key.
    pub fn load(args: &BridgeArgs, environment: Option<&str>) -> Result<Self, CliError> {
        let mut all = Self {
            anonymous: args.has(Name::NoAuthentication),
            ..Self::default()
        };
        match (args.value(Name::ConnectionString), environment) {
            (Some(text), _) => all.apply_connection_string(text, "-x/AzureRelayConnectionString")?,
            (None, Some(text)) if !text.is_empty() => all.apply_connection_string(text, ENVIRONMENT)?,
            _ => {}
        }
        if let Some(uri) = args.value(Name::EndpointUri) {
            (all.host, all.port) = endpoint_uri(uri)?;
        }
        if let Some(name) = args.value(Name::SharedAccessKeyName) {
            all.key_name = Some(key_name(name)?);
            all.signature = None;
        }
        if let Some(key) = args.value(Name::SharedAccessKey) {
            all.key = Some(Arc::new(shared_key(key)?));
            all.signature = None;
        }
        if let Some(signature) = args.value(Name::Signature) {
            if args.has(Name::SharedAccessKey) || args.has(Name::SharedAccessKeyName) {
                return Err(CliError::usage(
                    "-s/AzureRelaySharedAccessSignature cannot be combined with -k or -K: give a signature or a key",
                ));
            }
            all.signature = Some(Token::new(trim_quotes(signature)));
            (all.key_name, all.key) = (None, None);
        }
        Ok(all)
    }

    /// The hybrid connection `relay`, ready to be used.
    ///
    /// # Errors
    /// What is missing, contradictory, or not meant for this relay name.
    pub fn endpoint(&self, relay: &str, secure: bool) -> Result<RelayEndpoint, CliError> {
        let credential = self.credential()?;
        let Some(host) = &self.host else {
            return Err(CliError::start(
                "The relay endpoint is undefined: give -e/AzureRelayEndpoint, or a connection string with Endpoint.",
            ));
        };
        if let Some(path) = self
            .entity_path
            .as_deref()
            .filter(|path| !path.eq_ignore_ascii_case(relay))
        {
            return Err(CliError::start(format_args!(
                "The connection string is for the relay '{path}' (EntityPath), but a forward names '{relay}': use the \
                 same name, or a connection string of the namespace."
            )));
        }
        let port = self.port.unwrap_or(if secure { 443 } else { 80 });
        let path = self
            .entity_path
            .as_deref()
            .unwrap_or(relay)
            .trim_matches('/')
            .to_owned();
        Ok(RelayEndpoint {
            host: host.clone(),
            port,
            secure,
            path,
            credential,
        })
    }

    /// Limit for connecting: the connection string's `OperationTimeout` unless that is .NET's own default of 60 s.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.timeout
            .filter(|timeout| *timeout != Duration::from_secs(60))
            .unwrap_or(CONNECT_TIMEOUT)
    }

    fn credential(&self) -> Result<Credential, CliError> {
        if self.host.is_none() && self.key.is_none() && self.signature.is_none() {
            return Err(CliError::start(UNDEFINED));
        }
        match (&self.key_name, &self.key, &self.signature) {
            _ if self.anonymous => Ok(Credential::Anonymous),
            (None, None, Some(token)) => Ok(Credential::Signature(token.clone())),
            (Some(name), Some(key), None) => Ok(Credential::Key {
                name: name.clone(),
                key: key.clone(),
            }),
            (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => Err(CliError::start(
                "A shared access signature cannot be combined with a key or key name: give one of them.",
            )),
            (Some(_), None, None) | (None, Some(_), None) => Err(CliError::start(
                "Ensure either all or none of the following arguments are defined: \
                 'SharedAccessKeyName,SharedAccessKey' (-K and -k)",
            )),
            (None, None, None) => Err(CliError::start(
                "No credentials: give -K and -k, -s, or a connection string with SharedAccessKeyName and \
                 SharedAccessKey. Signing in with an Azure account is not supported.",
            )),
        }
    }

    fn apply_connection_string(&mut self, text: &str, source: &str) -> Result<(), CliError> {
        let parsed = ConnectionString::parse(trim_quotes(text))
            .map_err(|error| CliError::usage(format_args!("Invalid {source} value. {error}")))?;
        self.host = Some(parsed.endpoint_host);
        self.port = parsed.endpoint_port;
        self.entity_path = parsed.entity_path;
        self.key_name = parsed.key_name;
        self.key = parsed.key.map(Arc::new);
        self.signature = parsed.signature;
        self.timeout = parsed.operation_timeout_s.map(Duration::from_secs);
        Ok(())
    }
}

/// Host and port of `sb://host[:port]/`.
fn endpoint_uri(text: &str) -> Result<(Option<String>, Option<u16>), CliError> {
    let invalid = || {
        CliError::usage(format_args!(
            "Invalid -e/AzureRelayEndpoint value. Use sb://host/ or sb://host:port/: {text}"
        ))
    };
    let uri = trim_quotes(text);
    if uri.contains(';') {
        return Err(invalid());
    }
    let parsed = ConnectionString::parse(&format!("Endpoint={uri}")).map_err(|_| invalid())?;
    Ok((Some(parsed.endpoint_host), parsed.endpoint_port))
}

fn key_name(text: &str) -> Result<String, CliError> {
    let name = trim_quotes(text);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > KEY_MAX || !name.bytes().all(allowed) {
        return Err(CliError::usage(format_args!(
            "Invalid -K/AzureRelaySharedAccessKeyName value: {name} (use letters, digits, '-', '_' and '.')"
        )));
    }
    Ok(name.to_owned())
}

fn shared_key(text: &str) -> Result<sas::Key, CliError> {
    let key = trim_quotes(text);
    if !is_base64(key) || key.len() > KEY_MAX {
        return Err(CliError::usage(
            "Invalid -k/AzureRelaySharedAccessKey value: a key is Base64 text of at most 256 characters",
        ));
    }
    Ok(sas::Key::new(key))
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    !digits.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && digits.bytes().all(is_digit)
}

/// Environment variable with a connection string, the lowest layer.
pub const ENVIRONMENT: &str = "AZURE_BRIDGE_CONNECTIONSTRING";
const UNDEFINED: &str = "Connection string(s) undefined; -x/AzureRelayConnectionString and no endpoint defined -e. \
                         azbridge -h for help.";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::exit::Exit;

    fn load_with(args: &[&str], environment: Option<&str>) -> Result<Credentials, CliError> {
        let args = BridgeArgs::parse(args.iter().map(OsString::from)).expect("options");
        Credentials::load(&args, environment)
    }

    fn load(args: &[&str]) -> Result<Credentials, CliError> {
        load_with(args, None)
    }

    const STRING: &str =
        "Endpoint=sb://cvbuild.example:5671/;SharedAccessKeyName=send;SharedAccessKey=YWJjZGVmZ2g=";

    #[test]
    fn connection_string_gives_everything() {
        let endpoint = load(&["-x", STRING]).unwrap().endpoint("a1", true).unwrap();
        assert_eq!(
            (endpoint.host.as_str(), endpoint.port, endpoint.path.as_str()),
            ("cvbuild.example", 5671, "a1")
        );
        assert!(matches!(endpoint.credential, Credential::Key { name, .. } if name == "send"));
    }

    #[test]
    fn single_options_override_the_connection_string_whatever_their_order() {
        let args = ["-e", "sb://other/", "-K", "root", "-k", "\"a2V5\"", "-x", STRING];
        let endpoint = load(&args).unwrap().endpoint("a1", true).unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("other", 443));
        assert!(matches!(endpoint.credential, Credential::Key { name, .. } if name == "root"));
        let endpoint = load(&["-s", "token", "-x", STRING])
            .unwrap()
            .endpoint("a1", true)
            .unwrap();
        assert_eq!(endpoint.credential, Credential::Signature(Token::new("token")));
    }

    #[test]
    fn environment_is_the_lowest_layer() {
        let endpoint = load_with(&[], Some(STRING))
            .unwrap()
            .endpoint("a1", true)
            .unwrap();
        assert_eq!(endpoint.host, "cvbuild.example");
        let over = "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=a2V5";
        let endpoint = load_with(&["-x", over], Some(STRING))
            .unwrap()
            .endpoint("a1", true)
            .unwrap();
        assert_eq!(endpoint.host, "h");
        assert!(
            load_with(&[], Some("nonsense"))
                .unwrap_err()
                .message
                .contains(ENVIRONMENT)
        );
    }

    #[test]
    fn a_value_alone_loads_and_is_missed_only_at_start() {
        for args in [&["-K", "sendlisten"][..], &["-k", "a2V5"], &["-k", "'a2V5'"]] {
            load(args).unwrap();
        }
        let error = load(&["-e", "sb://h/", "-K", "root"])
            .unwrap()
            .endpoint("a1", true)
            .unwrap_err();
        assert!(error.exit == Exit::Start && error.message.contains("SharedAccessKeyName,SharedAccessKey"));
        assert_eq!(
            load(&[]).unwrap().endpoint("a1", true).unwrap_err().message,
            UNDEFINED
        );
        assert!(load(&["-e", "sb://h/"]).unwrap().endpoint("a1", true).is_err());
        let anonymous = load(&["-e", "sb://h/", "--no-authentication"])
            .unwrap()
            .endpoint("a1", true)
            .unwrap();
        assert_eq!(anonymous.credential, Credential::Anonymous);
    }

    #[test]
    fn bad_values_name_their_option_and_keep_secrets() {
        let cases = [
            (&["-x", "Endpoint=total^^^garbage"][..], "-x"),
            (&["-e", "\"^^^^\""], "-e"),
            (&["-e", "http://host/"], "-e"),
            (&["-e", "sb://host/;SharedAccessKey=a"], "-e"),
            (&["-K", "^^^^"], "-K"),
            (&["-k", "not base64 hush"], "-k"),
            (&["-k", "hush-"], "-k"),
            (&["-s", "hush", "-k", "a2V5"], "-s"),
        ];
        for (args, option) in cases {
            let error = load(args).map(|_| ()).unwrap_err();
            assert!(
                error.message.contains(option) && !error.message.contains("hush"),
                "{args:?}: {error}"
            );
            assert_eq!(error.exit, Exit::Usage, "{args:?}");
        }
    }

    #[test]
    fn entity_path_is_the_only_relay_name() {
        let text = format!("{STRING};EntityPath=a1");
        let credentials = load(&["-x", &text]).unwrap();
        assert_eq!(credentials.endpoint("A1", true).unwrap().path, "a1");
        let error = credentials.endpoint("a2", true).unwrap_err();
        assert!(
            error.message.contains("'a1'") && error.message.contains("'a2'"),
            "{error}"
        );
    }
}
