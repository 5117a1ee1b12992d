//! azbridge's option syntax (azbridge.md 2.1), which no common parser has.
//!
//! * Names are case-sensitive; there is no clustering, because `svc` is a short name of three letters.
//! * A value follows after a blank, `:` or `=`; an attached value starts after the first of them (`-L:8080:r`).
//! * The next argument is always taken as the value, even when it starts with `-`.
//! * A single-value option given twice, positional arguments and `--` are errors.

use std::ffi::OsString;
use std::fmt::{self, Write as _};

/// Options as they were given, by name; see [`OPTIONS`].
#[derive(Clone, Default)]
pub struct BridgeArgs {
    given: Vec<(Name, String)>,
}

impl BridgeArgs {
    /// Reads arguments, without the program's name.
    ///
    /// # Errors
    /// The first argument that does not fit.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, OptionError> {
        let mut parsed = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let arg = arg.into_string().map_err(|_| OptionError::NotUtf8)?;
            let (spec, word, attached) = find(&arg)?;
            let value = match (spec.arity, attached) {
                (Arity::Flag, None) => String::new(),
                (Arity::Flag, Some(value)) => return Err(unexpected(spec, word, value)),
                (Arity::One | Arity::Many, Some(value)) => value.to_owned(),
                (Arity::One | Arity::Many, None) => {
                    let next = args
                        .next()
                        .ok_or_else(|| OptionError::MissingValue(word.to_owned()))?;
                    next.into_string().map_err(|_| OptionError::NotUtf8)?
                }
            };
            if spec.arity == Arity::One && parsed.has(spec.name) {
                return Err(unexpected(spec, word, &value));
            }
            parsed.given.push((spec.name, value));
        }
        Ok(parsed)
    }

    /// Whether an option was given.
    #[must_use]
    pub fn has(&self, name: Name) -> bool {
        self.count(name) > 0
    }

    /// How often an option was given.
    #[must_use]
    pub fn count(&self, name: Name) -> usize {
        self.all(name).count()
    }

    /// Value of a single-value option.
    #[must_use]
    pub fn value(&self, name: Name) -> Option<&str> {
        self.all(name).next()
    }

    /// Values of an option in the order they were given.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &str> {
        self.given
            .iter()
            .filter(move |(given, _)| *given == name)
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for BridgeArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self
            .given
            .iter()
            .map(|(name, value)| (name, if name.is_secret() { "***" } else { value.as_str() }));
        f.debug_map().entries(shown).finish()
    }
}

/// An argument that does not fit; azbridge's texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionError {
    /// A name that no option has (with its dashes, without a value).
    Unrecognized(String),
    /// An argument that belongs to no option.
    Positional(String),
    /// The last argument needs a value.
    MissingValue(String),
    /// A flag with a value, or a single-value option given twice. Values of secret options are `***`.
    Unexpected {
        /// The value that is too much.
        value: String,
        /// The option's name as typed, without dashes.
        option: String,
    },
    /// An argument that is not UTF-8.
    NotUtf8,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Specify --help for a list of available options and commands.\n")?;
        match self {
            Self::Unrecognized(option) => write!(f, "Unrecognized option '{option}'"),
            Self::Positional(argument) => write!(f, "Unrecognized command or argument '{argument}'"),
            Self::MissingValue(option) => write!(f, "Missing value for option '{option}'"),
            Self::Unexpected { value, option } => {
                write!(f, "Unexpected value '{value}' for option '{option}'")
            }
            Self::NotUtf8 => f.write_str("An argument is not valid UTF-8"),
        }
    }
}

impl std::error::Error for OptionError {}

/// Identity of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name is described by its row of OPTIONS")]
pub enum Name {
    ConfigFile,
    EndpointUri,
    ConnectionString,
    SharedAccessKeyName,
    SharedAccessKey,
    Signature,
    LogFile,
    Quiet,
    Verbose,
    Option,
    GatewayPorts,
    BindAddress,
    KeepAliveInterval,
    LocalForward,
    RemoteForward,
    RemoteForwardOld,
    RemoteHttpForward,
    Service,
    Ca,
    NoTls,
    NoAuthentication,
    ExitOnForwardFailure,
    Mux,
    Threads,
    Engine,
    Admin,
    LogFormat,
    Help,
    Version,
}

impl Name {
    /// Whether values of this option may never be shown.
    #[must_use]
    pub const fn is_secret(self) -> bool {
        matches!(
            self,
            Self::ConnectionString | Self::SharedAccessKey | Self::Signature | Self::Option
        )
    }
}

/// The help text.
#[must_use]
pub fn help(program: &str) -> String {
    let mut text = format!(
        "Forwards TCP ports through a relay; options and behaviour of azbridge.\n\nUsage: {program} [options]\n\nOptions:\n"
    );
    for spec in OPTIONS.iter().filter(|spec| !spec.help.is_empty()) {
        let names: Vec<_> = spec
            .short
            .iter()
            .take(1)
            .map(|short| format!("-{short}"))
            .collect();
        let mut names = names
            .into_iter()
            .chain([format!("--{}", spec.long)])
            .collect::<Vec<_>>()
            .join(", ");
        if !spec.value.is_empty() {
            let _ = write!(names, " <{}>", spec.value);
        }
        let _ = writeln!(text, "  {names:<44} {}", spec.help);
    }
    text.push_str(
        "\nEnvironment:\n  AZURE_BRIDGE_CONNECTIONSTRING  connection string where no -x is given; keeps it out of the process list\n\
         \nExit codes: 0 stopped, 1 failed, 2 wrong usage, 3 configuration, credentials or start failed\n",
    );
    text
}

fn find(arg: &str) -> Result<(&'static Spec, &str, Option<&str>), OptionError> {
    let (body, long) = match arg.strip_prefix("--") {
        Some(body) => (body, true),
        None => (arg.strip_prefix('-').unwrap_or_default(), false),
    };
    if body.is_empty() {
        return Err(OptionError::Positional(redacted(arg)));
    }
    let (word, attached) = match body.split_once([':', '=']) {
        Some((word, value)) => (word, Some(value)),
        None => (body, None),
    };
    let is_it = |spec: &&Spec| {
        if long {
            spec.long == word
        } else {
            spec.short.contains(&word)
        }
    };
    match OPTIONS.iter().find(is_it) {
        Some(spec) => Ok((spec, word, attached)),
        // Without its value: that may be a secret behind a misspelt name.
        None => Err(OptionError::Unrecognized(redacted(
            &arg[..arg.len() - body.len() + word.len()],
        ))),
    }
}

fn unexpected(spec: &Spec, word: &str, value: &str) -> OptionError {
    let value = if spec.name.is_secret() { "***" } else { value };
    OptionError::Unexpected {
        value: value.to_owned(),
        option: word.to_owned(),
    }
}

/// The argument, unless it looks like a connection string or token that lost its option.
fn redacted(arg: &str) -> String {
    if arg.to_ascii_lowercase().contains("sharedaccess") {
        "***".to_owned()
    } else {
        arg.to_owned()
    }
}

/// One option.
struct Spec {
    name: Name,
    /// Without dash; the first one is shown by the help text.
    short: &'static [&'static str],
    long: &'static str,
    arity: Arity,
    /// Name of the value in the help text.
    value: &'static str,
    /// Empty: not shown.
    help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arity {
    Flag,
    One,
    Many,
}

const fn spec(
    name: Name,
    short: &'static [&'static str],
    long: &'static str,
    arity: Arity,
    value: &'static str,
    help: &'static str,
) -> Spec {
    Spec {
        name,
        short,
        long,
        arity,
        value,
        help,
    }
}

#[rustfmt::skip]
const OPTIONS: &[Spec] = &[
    spec(Name::LocalForward, &["L"], "local-forward", Arity::Many, "[host:]port[/name]{;...}:relay", "Listen here, forward through the relay"),
    spec(Name::RemoteForward, &["T"], "remote-forward", Arity::Many, "relay:[name/][host:]port{;...}", "Listen at the relay, forward to here"),
    spec(Name::RemoteForwardOld, &["R"], "remote-forward-old", Arity::Many, "", ""),
    spec(Name::RemoteHttpForward, &["H"], "remote-http-forward", Arity::Many, "", ""),
    spec(Name::ConnectionString, &["x"], "connection-string", Arity::One, "string", "Connection string; -e, -K, -k and -s override its parts"),
    spec(Name::EndpointUri, &["e", "E"], "endpoint-uri", Arity::One, "uri", "Relay endpoint, sb://host[:port]/"),
    spec(Name::SharedAccessKeyName, &["K"], "shared-access-key-name", Arity::One, "name", "Name of the shared access rule"),
    spec(Name::SharedAccessKey, &["k"], "shared-access-key", Arity::One, "key", "Its key"),
    spec(Name::Signature, &["s", "S"], "signature", Arity::One, "token", "Shared access signature to use instead of a key"),
    spec(Name::NoAuthentication, &[], "no-authentication", Arity::Flag, "", "Connect without a token; only with -L"),
    spec(Name::BindAddress, &["b"], "bind-address", Arity::One, "address", "Local source address for connections to targets"),
    spec(Name::GatewayPorts, &["g"], "gateway-ports", Arity::Flag, "", "-L without a host listens on all addresses"),
    spec(Name::KeepAliveInterval, &["a"], "keep-alive-interval", Arity::One, "seconds", "Ping distance on the relay connection, 1 to 3600 (30)"),
    spec(Name::ExitOnForwardFailure, &[], "exit-on-forward-failure", Arity::Flag, "", "End when one forward cannot start"),
    spec(Name::Ca, &[], "ca", Arity::One, "file", "PEM file with certificates to trust besides the system's"),
    spec(Name::NoTls, &[], "no-tls", Arity::Flag, "", "ws:// instead of wss://; only to a loopback address"),
    spec(Name::Mux, &[], "mux", Arity::One, "auto|off|require", "Streams share tunnels where the relay can (auto)"),
    spec(Name::Threads, &[], "threads", Arity::One, "n", "Shards (one per processor)"),
    spec(Name::Engine, &[], "engine", Arity::One, "auto|io_uring|epoll", "Kernel interface (auto)"),
    spec(Name::Admin, &[], "admin", Arity::One, "address:port", "Serve /livez, /readyz and /metrics there"),
    spec(Name::LogFile, &["l"], "log-file", Arity::One, "file", "Append log lines to a file"),
    spec(Name::LogFormat, &[], "log-format", Arity::One, "text|json", "Shape of log lines (text)"),
    spec(Name::Quiet, &["q"], "quiet", Arity::Flag, "", "Log nothing"),
    spec(Name::Verbose, &["v"], "verbose", Arity::Flag, "", "Log more; twice: debug, three times: everything"),
    spec(Name::ConfigFile, &["f"], "config-file", Arity::One, "", ""),
    spec(Name::Option, &["o"], "option", Arity::Many, "", ""),
    spec(Name::Service, &["svc"], "svc", Arity::Flag, "", ""),
    spec(Name::Help, &["h", "?"], "help", Arity::Flag, "", "Show this text"),
    spec(Name::Version, &["V"], "version", Arity::Flag, "", "Show the version"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<BridgeArgs, OptionError> {
        BridgeArgs::parse(args.iter().map(OsString::from))
    }

    fn error(args: &[&str]) -> String {
        let text = parse(args).expect_err("refused").to_string();
        let (hint, text) = text.split_once('\n').expect("two lines");
        assert_eq!(
            hint,
            "Specify --help for a list of available options and commands."
        );
        text.to_owned()
    }

    #[test]
    fn values_follow_after_blank_colon_or_equals() {
        for args in [
            &["-L", "8080:r"][..],
            &["-L:8080:r"],
            &["-L=8080:r"],
            &["--local-forward=8080:r"],
        ] {
            assert_eq!(
                parse(args).unwrap().value(Name::LocalForward),
                Some("8080:r"),
                "{args:?}"
            );
        }
        let args = parse(&["--local-forward:8080:r", "-L", "81:r"]).unwrap();
        assert_eq!(
            args.all(Name::LocalForward).collect::<Vec<_>>(),
            ["8080:r", "81:r"]
        );
    }

    #[test]
    fn next_argument_is_the_value_even_with_a_dash() {
        let args = parse(&["-K", "-v", "-v"]).unwrap();
        assert_eq!(
            (args.value(Name::SharedAccessKeyName), args.count(Name::Verbose)),
            (Some("-v"), 1)
        );
        assert_eq!(
            parse(&["-L", "-53:r"]).unwrap().value(Name::LocalForward),
            Some("-53:r")
        );
    }

    #[test]
    fn names_are_case_sensitive_and_do_not_cluster() {
        let args = parse(&["-K", "name", "-k", "a2V5", "-v", "-v", "-q", "-svc"]).unwrap();
        assert_eq!(args.value(Name::SharedAccessKeyName), Some("name"));
        assert_eq!(args.value(Name::SharedAccessKey), Some("a2V5"));
        assert!(args.count(Name::Verbose) == 2 && args.has(Name::Quiet) && args.has(Name::Service));
        assert_eq!(error(&["-vq"]), "Unrecognized option '-vq'");
        assert_eq!(error(&["-L8080:r"]), "Unrecognized option '-L8080'");
        assert_eq!(error(&["--Quiet"]), "Unrecognized option '--Quiet'");
    }

    #[test]
    fn mistakes_have_azbridges_texts() {
        assert_eq!(error(&["-z"]), "Unrecognized option '-z'");
        assert_eq!(error(&["-q", "x"]), "Unrecognized command or argument 'x'");
        assert_eq!(error(&["--"]), "Unrecognized command or argument '--'");
        assert_eq!(error(&["-x"]), "Missing value for option 'x'");
        assert_eq!(error(&["--log-file"]), "Missing value for option 'log-file'");
        assert_eq!(
            error(&["-l", "a", "-l", "b"]),
            "Unexpected value 'b' for option 'l'"
        );
        assert_eq!(error(&["-q=1"]), "Unexpected value '1' for option 'q'");
    }

    #[test]
    fn secrets_are_never_shown() {
        assert_eq!(
            error(&["-k", "aaaa", "-k", "hush"]),
            "Unexpected value '***' for option 'k'"
        );
        assert_eq!(
            error(&["Endpoint=sb://h/;SharedAccessKey=hush"]),
            "Unrecognized command or argument '***'"
        );
        assert_eq!(
            error(&["--conection-string=SharedAccessKey=hush"]),
            "Unrecognized option '--conection-string'"
        );
        let args = parse(&[
            "-x",
            "hush",
            "-k",
            "hush",
            "-s",
            "hush",
            "-o",
            "AzureRelaySharedAccessKey:hush",
        ]);
        assert!(!format!("{args:?}").contains("hush"));
    }

    #[test]
    fn no_two_options_share_a_name() {
        let names: Vec<_> = OPTIONS
            .iter()
            .flat_map(|o| o.short.iter().copied().chain([o.long]))
            .collect();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        // `svc` is both the short and the long name of its option.
        assert_eq!(distinct.len() + 1, names.len());
        assert!(help("azbridge").contains("-L, --local-forward"));
    }
}
