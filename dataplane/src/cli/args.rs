//! From arguments to what is asked for.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::cli::exit::CliError;
use crate::cli::options::{self, BridgeArgs, Name};
use crate::config::{EngineChoice, LogFormat, LogLevel, LogSettings};

/// What a command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Relay, bridge and demo page in one process.
    Quickstart(QuickstartArgs),
    /// A relay node.
    Relay(RelayArgs),
    /// A bridge.
    Bridge(BridgeArgs),
    /// A text (help, version) for standard output, then exit 0.
    Show(String),
}

/// Reads a whole command line, program name first. Under the name `azbridge` all arguments are the bridge's.
///
/// # Errors
/// [`Exit::Usage`](crate::cli::exit::Exit::Usage) with the text for standard error.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Invocation, CliError> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    let is_azbridge = argv
        .first()
        .and_then(|name| Path::new(name).file_stem())
        .is_some_and(|stem| stem == AZBRIDGE);
    if is_azbridge {
        return bridge(AZBRIDGE, argv.into_iter().skip(1));
    }
    if argv.get(1).is_some_and(|command| command == "bridge") {
        return bridge("viaduct bridge", argv.into_iter().skip(2));
    }
    match Cli::try_parse_from(argv) {
        Ok(Cli {
            command: Command::Quickstart(args),
        }) => Ok(Invocation::Quickstart(args)),
        Ok(Cli {
            command: Command::Relay(args),
        }) => Ok(Invocation::Relay(args)),
        Ok(Cli {
            command: Command::Bridge,
        }) => bridge("viaduct bridge", std::iter::empty()),
        Err(error) if error.use_stderr() => Err(CliError::usage(error.render().to_string().trim_end())),
        Err(help) => Ok(Invocation::Show(help.render().to_string())),
    }
}

fn bridge(program: &str, args: impl Iterator<Item = OsString>) -> Result<Invocation, CliError> {
    let args = BridgeArgs::parse(args).map_err(CliError::usage)?;
    if args.has(Name::Help) {
        return Ok(Invocation::Show(options::help(program)));
    }
    if args.has(Name::Version) {
        return Ok(Invocation::Show(format!(
            "{program} {}\n",
            env!("CARGO_PKG_VERSION")
        )));
    }
    Ok(Invocation::Bridge(args))
}

/// Self-hosted relay and bridge for Azure Relay Hybrid Connections and azbridge.
#[derive(Debug, Parser)]
#[command(name = "viaduct", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a relay, a bridge and a demo page in one process, ready to click
    Quickstart(QuickstartArgs),
    /// Run a relay node
    Relay(RelayArgs),
    /// Run a bridge with azbridge's options; see `viaduct bridge --help`
    #[command(disable_help_flag = true)]
    Bridge,
}

/// Arguments of `viaduct quickstart`.
#[derive(Debug, Clone, Args)]
pub struct QuickstartArgs {
    /// Where keys and certificates are kept [default: $XDG_STATE_HOME/viaduct or ~/.local/state/viaduct]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Address of the relay
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// Address of /livez, /readyz and /metrics
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8444")]
    pub admin: SocketAddr,
    /// Port on localhost at which the demo page is reached through the tunnel
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "documented on the type; a comment here would become help text"
    )]
    pub node: NodeArgs,
}

/// Arguments of `viaduct relay`.
#[derive(Debug, Clone, Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["dev", "config"])))]
pub struct RelayArgs {
    /// Run with embedded defaults: own CA, one namespace, hybrid connections created on first listen
    #[arg(long)]
    pub dev: bool,
    /// Where --dev keeps keys and certificates [default: $XDG_STATE_HOME/viaduct or ~/.local/state/viaduct]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub state_dir: Option<PathBuf>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on; may be given several times [default: 127.0.0.1:8443 with --dev]
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<SocketAddr>,
    /// Address of /livez, /readyz and /metrics [default: 127.0.0.1:8444 with --dev]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// ws:// instead of wss://; only on loopback addresses unless the configuration says so
    #[arg(long)]
    pub no_tls: bool,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "documented on the type; a comment here would become help text"
    )]
    pub node: NodeArgs,
}

/// Arguments that every node has.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// Shards [default: one per processor]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Kernel interface: auto, io_uring or epoll [default: auto]
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<EngineChoice>,
    /// none, fatal, error, info, verbose, debug or debug3 [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Append log lines to a file
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

impl NodeArgs {
    /// Puts what was given over `threads`, `engine` and `log`.
    pub fn apply(&self, threads: &mut usize, engine: &mut EngineChoice, log: &mut LogSettings) {
        if let Some(given) = self.threads {
            *threads = given.get();
        }
        *engine = self.engine.unwrap_or(*engine);
        log.level = self.log_level.unwrap_or(log.level);
        log.format = self.log_format.unwrap_or(log.format);
        if let Some(file) = &self.log_file {
            log.file = Some(file.clone());
        }
    }
}

const AZBRIDGE: &str = "azbridge";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    fn parsed(line: &str) -> Result<Invocation, CliError> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn clap_shapes_are_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn relay_takes_dev_or_a_file_but_not_both() {
        let line =
            "viaduct relay --dev --listen 127.0.0.1:1 --listen [::1]:2 --threads 3 --engine epoll --no-tls";
        let Ok(Invocation::Relay(args)) = parsed(line) else {
            panic!("a relay")
        };
        assert!(args.dev && args.no_tls && args.listen.len() == 2);
        let (mut threads, mut engine, mut log) = (1, EngineChoice::Auto, LogSettings::default());
        args.node.apply(&mut threads, &mut engine, &mut log);
        assert_eq!((threads, engine), (3, EngineChoice::Epoll));

        for line in [
            "viaduct relay",
            "viaduct relay --dev --config f",
            "viaduct relay --config f --state-dir d",
            "viaduct relay --dev --threads 0",
            "viaduct relay --dev --engine kqueue",
            "viaduct",
            "viaduct ferry",
        ] {
            assert_eq!(parsed(line).expect_err(line).exit, Exit::Usage, "{line}");
        }
    }

    #[test]
    fn quickstart_has_defaults() {
        let Ok(Invocation::Quickstart(args)) = parsed("viaduct quickstart") else {
            panic!("a quickstart")
        };
        assert_eq!(
            (args.listen.to_string().as_str(), args.port),
            ("127.0.0.1:8443", 8080)
        );
    }

    #[test]
    fn bridge_options_are_azbridges_under_both_names() {
        for line in [
            "viaduct bridge -L 80:r -v",
            "/usr/bin/azbridge -L 80:r -v",
            "azbridge.exe -L 80:r -v",
        ] {
            let Ok(Invocation::Bridge(args)) = parsed(line) else {
                panic!("{line}")
            };
            assert_eq!(args.value(Name::LocalForward), Some("80:r"));
        }
        assert_eq!(
            parsed("azbridge relay --dev").expect_err("positional").exit,
            Exit::Usage
        );
        for line in [
            "azbridge -h",
            "azbridge -?",
            "viaduct bridge --help",
            "viaduct --help",
            "viaduct relay --help",
        ] {
            assert!(
                matches!(parsed(line), Ok(Invocation::Show(text)) if text.contains("Usage:")),
                "{line}"
            );
        }
        assert!(
            matches!(parsed("azbridge --version"), Ok(Invocation::Show(text)) if text.starts_with("azbridge "))
        );
    }
}
