//! From azbridge's options to [`BridgeConfig`].
//!
//! The order of checks is azbridge's (azbridge.md 2.1): values first, then "no forwards", then credentials.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::cli::credentials::{Credentials, ENVIRONMENT};
use crate::cli::exit::CliError;
use crate::cli::expression::{is_host_name, trim_quotes};
use crate::cli::forwards::{Forwards, is_local_address};
use crate::cli::options::{BridgeArgs, Name};
use crate::config::bridge::{BridgeConfig, KEEP_ALIVE, RelayEndpoint};
use crate::config::limits::ShardLimits;
use crate::config::tls::ClientTls;
use crate::config::{EngineChoice, LogFormat, LogLevel, LogSettings, default_threads};

/// A bridge ready to start.
#[derive(Debug)]
pub struct BridgeSetup {
    /// Settings.
    pub config: BridgeConfig,
    /// Lines for the log that tell the operator about risks.
    pub warnings: Vec<String>,
}

/// Checks options and `environment`, the value of [`ENVIRONMENT`], and puts everything together.
///
/// # Errors
/// The text for standard error and the exit code.
pub fn resolve(args: &BridgeArgs, environment: Option<&str>) -> Result<BridgeSetup, CliError> {
    refuse_not_carried(args)?;
    let credentials = Credentials::load(args, environment)?;
    let bind_addresses = match args.value(Name::BindAddress) {
        Some(text) => local_addresses(text, look_up)?,
        None => Vec::new(),
    };
    let keep_alive = keep_alive(args)?;
    let threads = number(args, Name::Threads, 1..=MOST_THREADS)?.map_or_else(default_threads, usize::from);
    let engine: Option<EngineChoice> = word(args, Name::Engine, "engine")?;
    let admin: Option<SocketAddr> = word(args, Name::Admin, "admin")?;
    let log = log_settings(args)?;

    let forwards = Forwards::load(args)?;
    if forwards.is_empty() {
        return Err(CliError::usage(
            "You must specify at least one -L or -T forwarder.",
        ));
    }
    if args.has(Name::NoAuthentication) && !forwards.remotes.is_empty() {
        return Err(CliError::usage(
            "--no-authentication is for -L only: listening at a relay needs a token.",
        ));
    }
    let relays = relays(args, &credentials, &forwards)?;
    let tls = ClientTls::load(args.value(Name::Ca).map(Path::new))
        .map_err(|error| CliError::start(format_args!("--ca: {error}")))?;
    let warnings = warnings(args, &tls, &relays);
    let config = BridgeConfig {
        locals: forwards.locals,
        remotes: forwards.remotes,
        relays,
        tls,
        connect_timeout: credentials.connect_timeout(),
        keep_alive,
        threads,
        engine: engine.unwrap_or_default(),
        exit_on_forward_failure: args.has(Name::ExitOnForwardFailure),
        bind_addresses,
        admin,
        limits: ShardLimits::default(),
        log,
    };
    Ok(BridgeSetup { config, warnings })
}

fn refuse_not_carried(args: &BridgeArgs) -> Result<(), CliError> {
    let refused = [
        (Name::ConfigFile, "-f/--config-file: configuration files"),
        (Name::Option, "-o/--option: configuration overrides"),
        (
            Name::Service,
            "-svc/--svc: service mode is not supported; start the bridge from a service manager. Options",
        ),
    ];
    if let Some((_, what)) = refused.iter().find(|(name, _)| args.has(*name)) {
        return Err(CliError::usage(format_args!(
            "{what} are not supported; give options on the command line."
        )));
    }
    match args.value(Name::Mux) {
        None | Some("auto" | "off") => Ok(()),
        Some("require") => Err(CliError::usage(
            "--mux require: shared tunnels are not supported; use --mux auto or --mux off.",
        )),
        Some(other) => Err(CliError::usage(format_args!(
            "Unexpected value '{other}' for option 'mux': use auto or off"
        ))),
    }
}

fn relays(
    args: &BridgeArgs,
    credentials: &Credentials,
    forwards: &Forwards,
) -> Result<Vec<RelayEndpoint>, CliError> {
    let secure = !args.has(Name::NoTls);
    let relays = forwards
        .relays
        .iter()
        .map(|relay| credentials.endpoint(relay, secure))
        .collect::<Result<Vec<_>, _>>()?;
    match relays
        .iter()
        .find(|relay| !relay.secure && !is_loopback_host(&relay.host))
    {
        Some(relay) => Err(CliError::usage(format_args!(
            "--no-tls sends keys and data unencrypted, so it is only for a relay on a loopback address, not {}",
            relay.host
        ))),
        None => Ok(relays),
    }
}

fn is_loopback_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|addr| addr.is_loopback())
}

fn warnings(args: &BridgeArgs, tls: &ClientTls, relays: &[RelayEndpoint]) -> Vec<String> {
    let mut warnings = Vec::new();
    let secrets = [
        (Name::ConnectionString, "-x"),
        (Name::SharedAccessKey, "-k"),
        (Name::Signature, "-s"),
    ];
    for (_, option) in secrets.iter().filter(|(name, _)| args.has(*name)) {
        warnings.push(format!(
            "{option} on the command line is visible in the process list; the environment variable {ENVIRONMENT} is not"
        ));
    }
    if tls.roots == 0 && relays.iter().any(|relay| relay.secure) {
        warnings.push(
            "no trusted certificates found: set --ca or SSL_CERT_FILE, or install ca-certificates".to_owned(),
        );
    }
    warnings
}

fn log_settings(args: &BridgeArgs) -> Result<LogSettings, CliError> {
    let level = match args.count(Name::Verbose) {
        _ if args.has(Name::Quiet) => LogLevel::Quiet,
        0 => LogLevel::Info,
        1 => LogLevel::Verbose,
        2 => LogLevel::Debug,
        _ => LogLevel::Trace,
    };
    let format: Option<LogFormat> = word(args, Name::LogFormat, "log-format")?;
    let file = args
        .value(Name::LogFile)
        .map(|file| PathBuf::from(trim_quotes(file)));
    Ok(LogSettings {
        level,
        format: format.unwrap_or_default(),
        file,
    })
}

fn keep_alive(args: &BridgeArgs) -> Result<Duration, CliError> {
    let seconds = number(args, Name::KeepAliveInterval, 1..=3600)?;
    Ok(seconds.map_or(KEEP_ALIVE, |seconds| Duration::from_secs(u64::from(seconds))))
}

fn number(
    args: &BridgeArgs,
    name: Name,
    range: std::ops::RangeInclusive<u16>,
) -> Result<Option<u16>, CliError> {
    let Some(text) = args.value(name) else {
        return Ok(None);
    };
    let option = if name == Name::Threads { "threads" } else { "a" };
    match text.parse::<u16>() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => Err(CliError::usage(format_args!(
            "Unexpected value '{text}' for option '{option}': use {} to {}",
            range.start(),
            range.end()
        ))),
    }
}

fn word<T: FromStr<Err: std::fmt::Display>>(
    args: &BridgeArgs,
    name: Name,
    option: &str,
) -> Result<Option<T>, CliError> {
    let Some(text) = args.value(name) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|error| {
        CliError::usage(format_args!(
            "Unexpected value '{text}' for option '{option}': {error}"
        ))
    })
}

/// Addresses of this machine that `-b` names, in the order of the resolver; none for "any".
fn local_addresses(
    text: &str,
    look_up: impl FnOnce(&str) -> io::Result<Vec<IpAddr>>,
) -> Result<Vec<IpAddr>, CliError> {
    let invalid = |why: &dyn std::fmt::Display| {
        CliError::usage(format_args!("Invalid -b/BindAddress value: {text} ({why})"))
    };
    let name = trim_quotes(text);
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let found = match (name, literal.map(str::parse::<Ipv6Addr>), name.parse::<IpAddr>()) {
        ("any" | "anyv6", ..) => return Ok(Vec::new()),
        (_, Some(Ok(addr)), _) => vec![IpAddr::V6(addr)],
        (_, _, Ok(addr)) => vec![addr],
        _ if is_host_name(name) => look_up(name).map_err(|error| invalid(&error))?,
        _ => return Err(invalid(&"use a host name or an address of this machine")),
    };
    let mut local: Vec<_> = found.into_iter().filter(|addr| is_local_address(*addr)).collect();
    if local.is_empty() {
        return Err(invalid(&"not an address of this machine"));
    }
    local.retain(|addr| !addr.is_unspecified());
    local.dedup();
    Ok(local)
}

fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|addr| addr.ip()).collect())
}

/// More shards than any machine has processors; a guard against a slip of the finger.
const MOST_THREADS: u16 = 1024;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::exit::Exit;
    use crate::config::bridge::Credential;

    fn resolved(args: &[&str]) -> Result<BridgeSetup, CliError> {
        let args = BridgeArgs::parse(args.iter().map(OsString::from)).expect("options");
        resolve(&args, None)
    }

    const STRING: &str = "Endpoint=sb://localhost:8443/;SharedAccessKeyName=root;SharedAccessKey=aHVzaA==";

    #[test]
    fn one_big_command_line() {
        let setup = resolved(&[
            "-b",
            "127.0.0.4",
            "-g",
            "-x",
            STRING,
            "-L",
            "127.0.100.1:8888:foo",
            "-L",
            "8889/web:foo2",
            "-q",
            "-R",
            "foo4:123",
            "-T",
            "foo9:baz/10.1.1.1:123",
            "-v",
            "-a",
            "60",
            "--threads",
            "2",
            "--engine",
            "epoll",
            "-l",
            "'x.log'",
            "--log-format",
            "json",
            "--exit-on-forward-failure",
        ])
        .unwrap();
        let config = &setup.config;
        assert_eq!(
            (config.locals.len(), config.remotes.len(), config.relays.len()),
            (2, 2, 4)
        );
        assert_eq!(config.bind_addresses, ["127.0.0.4".parse::<IpAddr>().unwrap()]);
        assert_eq!((config.keep_alive, config.threads), (Duration::from_secs(60), 2));
        assert_eq!(
            (config.engine, config.connect_timeout),
            (EngineChoice::Epoll, Duration::from_secs(70))
        );
        assert_eq!(
            (config.log.level, config.log.format),
            (LogLevel::Quiet, LogFormat::Json)
        );
        assert_eq!(config.log.file.as_deref(), Some(Path::new("x.log")));
        assert!(config.exit_on_forward_failure);
        assert!(
            config
                .relays
                .iter()
                .all(|relay| relay.secure && relay.port == 8443)
        );
        assert!(matches!(&config.relays[0].credential, Credential::Key { name, .. } if name == "root"));
        assert!(
            setup
                .warnings
                .iter()
                .any(|line| line.starts_with("-x on the command line"))
        );
        assert!(!format!("{setup:?}").contains("aHVzaA"));
    }

    #[test]
    fn checks_come_in_azbridges_order() {
        let cases = [
            (
                &["-a", "abc", "-L", "x"][..],
                Exit::Usage,
                "Unexpected value 'abc' for option 'a'",
            ),
            (
                &[],
                Exit::Usage,
                "You must specify at least one -L or -T forwarder.",
            ),
            (&["-L", "80:r"], Exit::Start, "Connection string(s) undefined;"),
            (
                &["-L", "70000:r"],
                Exit::Usage,
                "Invalid -L expression: 70000:r; Invalid BindPort",
            ),
            (
                &["-x", STRING, "-T", "r:1", "--no-authentication"],
                Exit::Usage,
                "--no-authentication is for -L",
            ),
        ];
        for (args, exit, start) in cases {
            let error = resolved(args).unwrap_err();
            assert!(
                error.exit == exit && error.message.starts_with(start),
                "{args:?}: {error}"
            );
        }
    }

    #[test]
    fn what_is_not_carried_names_its_option() {
        for (args, option) in [
            (&["-f", "foo.txt"][..], "-f"),
            (&["-o", "ConnectTimeout:44"], "-o"),
            (&["-svc"], "-svc"),
            (&["--mux", "require"], "--mux"),
            (&["--mux", "maybe"], "mux"),
        ] {
            let error = resolved(args).unwrap_err();
            assert!(
                error.exit == Exit::Usage && error.message.contains(option),
                "{args:?}: {error}"
            );
        }
        assert!(resolved(&["-x", STRING, "-L", "80:r", "--mux", "off"]).is_ok());
    }

    #[test]
    fn keep_alive_has_a_range() {
        for bad in ["0", "3601", "-1", "x"] {
            assert!(
                resolved(&["-x", STRING, "-L", "80:r", "-a", bad])
                    .unwrap_err()
                    .message
                    .contains("option 'a'")
            );
        }
    }

    #[test]
    fn log_level_follows_the_number_of_v() {
        let level = |flags: &[&str]| {
            let args = BridgeArgs::parse(flags.iter().map(OsString::from)).expect("options");
            log_settings(&args).unwrap().level
        };
        assert_eq!(level(&[]), LogLevel::Info);
        assert_eq!(level(&["-v"]), LogLevel::Verbose);
        assert_eq!(level(&["-v", "-v"]), LogLevel::Debug);
        assert_eq!(level(&["-v", "-v", "-v"]), LogLevel::Trace);
        assert_eq!(level(&["-v", "-q"]), LogLevel::Quiet);
    }

    #[test]
    fn plain_connections_stay_on_loopback() {
        let local = resolved(&["-x", STRING, "-L", "80:r", "--no-tls"]).unwrap();
        assert!(!local.config.relays[0].secure);
        let error = resolved(&[
            "-x",
            STRING,
            "-e",
            "sb://relay.example/",
            "-L",
            "80:r",
            "--no-tls",
        ])
        .unwrap_err();
        assert!(error.message.starts_with("--no-tls") && error.exit == Exit::Usage);
    }

    #[test]
    fn bind_address_is_of_this_machine() {
        let loopback = |_: &str| Ok(vec!["127.0.0.1".parse().unwrap(), "192.0.2.7".parse().unwrap()]);
        let foreign = |_: &str| Ok(vec!["192.0.2.7".parse().unwrap()]);
        let unknown = |_: &str| Err(io::Error::other("no such name"));
        let text = |found: Vec<IpAddr>| {
            found
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(text(local_addresses("localhost", loopback).unwrap()), "127.0.0.1");
        assert_eq!(
            text(local_addresses("\"127.0.1.0\"", unknown).unwrap()),
            "127.0.1.0"
        );
        assert_eq!(text(local_addresses("\"[::1]\"", unknown).unwrap()), "::1");
        assert_eq!(text(local_addresses("any", unknown).unwrap()), "");
        assert_eq!(text(local_addresses("0.0.0.0", unknown).unwrap()), "");
        for error in [
            local_addresses("abc^^$foo", unknown),
            local_addresses("1.1.1.1", unknown),
            local_addresses("bing.com", foreign),
            local_addresses("bing.com", unknown),
        ] {
            assert!(
                error
                    .unwrap_err()
                    .message
                    .starts_with("Invalid -b/BindAddress value")
            );
        }
    }
}
