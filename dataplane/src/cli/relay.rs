//! From the arguments of `viaduct relay` to [`RelayConfig`].

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::cli::args::RelayArgs;
use crate::cli::credentials::ENVIRONMENT;
use crate::cli::exit::CliError;
use crate::cli::shell::{program_name, quoted};
use crate::config::relay::{self, RelayConfig};
use crate::control::dev::DevState;

/// A relay node ready to start.
#[derive(Debug)]
pub struct RelaySetup {
    /// Settings.
    pub config: RelayConfig,
    /// Keys and certificates of `--dev`.
    pub dev: Option<DevState>,
    /// Lines for the log that tell the operator about risks.
    pub warnings: Vec<String>,
}

/// Reads the configuration file or the development state and puts the arguments over it.
///
/// # Errors
/// The text for standard error and the exit code.
pub fn resolve(args: &RelayArgs) -> Result<RelaySetup, CliError> {
    let (mut config, dev, mut warnings) = match &args.config {
        Some(file) => (load(file)?, None, warnings(file)),
        None => {
            let dev = DevState::open(args.state_dir.as_deref()).map_err(CliError::failed)?;
            (
                RelayConfig::dev(dev.key(), Some(dev.tls.clone())),
                Some(dev),
                Vec::new(),
            )
        }
    };
    apply(args, &mut config)?;
    if dev.is_some() && config.tls.is_some() && !config.is_loopback_only() {
        warnings.push(
            "the development certificate names localhost only; clients elsewhere will refuse it".to_owned(),
        );
    }
    Ok(RelaySetup {
        config,
        dev,
        warnings,
    })
}

impl RelaySetup {
    /// What to do next with a development node that listens on `port`: for a terminal, without secrets. `None` for a
    /// node with a configuration file.
    ///
    /// # Errors
    /// The connection string cannot be written to its file.
    pub fn dev_guide(&self, port: u16) -> Result<Option<String>, CliError> {
        let Some(dev) = &self.dev else { return Ok(None) };
        let file = dev.write_connection_string(port).map_err(CliError::failed)?;
        let trust = match self.config.tls {
            Some(_) => format!("--ca {}", quoted(&dev.ca_pem_path)),
            None => "--no-tls".to_owned(),
        };
        Ok(Some(format!(
            "CA certificate     {ca}\n\
             connection string  {file}\n\n\
             Forward a local service through this relay, in two other terminals:\n\n  \
             export {ENVIRONMENT}=\"$(cat {quoted_file})\"\n  \
             {program} bridge {trust} -T demo:web/localhost:3000    # beside the service\n\n  \
             export {ENVIRONMENT}=\"$(cat {quoted_file})\"\n  \
             {program} bridge {trust} -L 8080/web:demo              # then open http://localhost:8080/\n",
            ca = dev.ca_pem_path.display(),
            file = file.display(),
            quoted_file = quoted(&file),
            program = program_name(),
        )))
    }
}

fn load(file: &Path) -> Result<RelayConfig, CliError> {
    relay::load(file).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        CliError::usage(lines.join("\n"))
    })
}

fn apply(args: &RelayArgs, config: &mut RelayConfig) -> Result<(), CliError> {
    if !args.listen.is_empty() {
        config.listen.clone_from(&args.listen);
    }
    config.admin = args.admin.or(config.admin);
    args.node
        .apply(&mut config.threads, &mut config.engine, &mut config.log);
    // A file that says `no_tls` has no certificate here already, and may listen where it likes.
    if args.no_tls && config.tls.take().is_some() && !config.is_loopback_only() {
        return Err(CliError::usage(
            "--no-tls sends keys and data unencrypted, so it is only for loopback addresses; behind a TLS-terminating \
             load balancer, say no_tls = true in section [tls] of the configuration file.",
        ));
    }
    Ok(())
}

/// Keys stand in the file, so others should not be able to read it.
fn warnings(file: &Path) -> Vec<String> {
    let readable = file
        .metadata()
        .is_ok_and(|data| data.permissions().mode() & 0o004 != 0);
    let line = format!(
        "{}: holds keys and is readable by everybody; chmod o-r it",
        file.display()
    );
    if readable { vec![line] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::*;
    use crate::cli::args::{Invocation, parse};
    use crate::cli::exit::Exit;
    use crate::config::test_folder::test_folder;

    fn resolved(line: &str) -> Result<RelaySetup, CliError> {
        let Ok(Invocation::Relay(args)) = parse(line.split(' ').map(OsString::from)) else {
            panic!("{line}")
        };
        resolve(&args)
    }

    #[test]
    fn dev_state_and_arguments_make_a_node() {
        let folder = test_folder("relay-dev");
        let line = format!(
            "viaduct relay --dev --state-dir {} --threads 2 --engine epoll",
            folder.path().display()
        );
        let setup = resolved(&line).unwrap();
        assert!(setup.dev.is_some() && setup.config.tls.is_some() && setup.config.namespace.autocreate);
        assert_eq!(setup.config.listen, [relay::DEV_LISTEN]);
        assert_eq!(setup.config.admin, Some(relay::DEV_ADMIN));

        assert!(
            resolved(&format!("{line} --no-tls"))
                .unwrap()
                .config
                .tls
                .is_none()
        );
        let error = resolved(&format!("{line} --no-tls --listen 0.0.0.0:80")).unwrap_err();
        assert!(
            error.exit == Exit::Usage && error.message.starts_with("--no-tls"),
            "{error}"
        );
    }

    #[test]
    fn guide_names_files_but_no_secrets() {
        let folder = test_folder("it's here");
        let line = OsString::from(folder.path());
        let args = ["viaduct", "relay", "--dev", "--state-dir"]
            .map(OsString::from)
            .into_iter()
            .chain([line]);
        let Ok(Invocation::Relay(args)) = parse(args) else {
            panic!("a relay")
        };
        let setup = resolve(&args).unwrap();
        let guide = setup.dev_guide(9443).unwrap().unwrap();
        assert!(
            guide.contains("it'\\''s here/connection-string')\"") && guide.contains("--ca '"),
            "{guide}"
        );
        let written = fs::read_to_string(folder.path().join("connection-string")).unwrap();
        assert!(written.contains("sb://localhost:9443/"));
        let dev = setup.dev.as_ref().unwrap();
        assert!(!guide.contains(dev.key().dangerous_text()));
    }

    #[test]
    fn file_may_allow_plain_connections_anywhere() {
        let folder = test_folder("relay-file");
        let file = folder.path().join("relay.toml");
        let text =
            "[relay]\nlisten = [\"0.0.0.0:80\"]\n[tls]\nno_tls = true\n[namespace]\nautocreate = true\n";
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let setup = resolved(&format!("viaduct relay --config {} --no-tls", file.display())).unwrap();
        assert!(setup.config.tls.is_none() && setup.warnings.len() == 1);

        fs::write(&file, "[relay]\nlisten = 3\nfoo = 1\n").unwrap();
        let error = resolved(&format!("viaduct relay --config {}", file.display())).unwrap_err();
        assert!(
            error.exit == Exit::Usage && error.message.lines().count() > 2,
            "{error}"
        );
    }
}
