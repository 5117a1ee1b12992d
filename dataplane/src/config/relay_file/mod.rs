//! The relay's TOML file.
//!
//! ```toml
//! [relay]
//! listen = ["0.0.0.0:443"]
//! admin = "127.0.0.1:8444"            # optional
//! threads = 4                         # optional: one per processor
//! engine = "auto"                     # auto, io_uring, epoll
//! advertise = "relay.example"         # optional: authority written into accept addresses
//!
//! [tls]
//! cert = "relay.pem"                  # relative to this file
//! key = "relay-key.pem"               # or, behind a TLS-terminating load balancer: no_tls = true
//!
//! [namespace]
//! hosts = ["relay.example"]           # optional: any
//! autocreate = false
//! [[namespace.rules]]
//! name = "RootManageSharedAccessKey"
//! primary_key = "..."
//! rights = ["Listen", "Send"]
//!
//! [[entity]]
//! path = "factory/press-1"
//! requires_client_authorization = true
//! ```
//!
//! Also `[limits]` and `[log]`; the readers below list their keys.

mod namespace;
#[cfg(test)]
mod tests;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::document::{self, ConfigError, Located, Report, Section};
use crate::config::limits::RelayLimits;
use crate::config::relay::RelayConfig;
use crate::config::{EngineChoice, LogSettings, default_threads, tls};

pub(super) fn load(path: &Path) -> Result<RelayConfig, Vec<ConfigError>> {
    let text = fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot be read: {error}");
        vec![ConfigError {
            file: path.to_owned(),
            line: 0,
            column: 0,
            message,
        }]
    })?;
    parse(path, &text)
}

fn parse(file: &Path, text: &str) -> Result<RelayConfig, Vec<ConfigError>> {
    let mut report = Report::new(text);
    let root = document::parse(text, &mut report);
    let mut root = Section::root(&root);
    let report = &mut report;

    let relay = read_relay(root.section("relay", report), report);
    let tls = read_tls(root.section("tls", report), file, report);
    let limits = read_limits(root.section("limits", report), report);
    let log = read_log(root.section("log", report), report);
    let namespace = namespace::read(
        root.section("namespace", report),
        root.sections("entity", report),
        report,
    );
    root.finish(report);

    let errors = std::mem::replace(report, Report::new(text)).into_errors(file);
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(RelayConfig {
        listen: relay.listen,
        admin: relay.admin,
        threads: relay.threads,
        engine: relay.engine,
        tls,
        namespace: Arc::new(namespace),
        limits,
        advertise: relay.advertise,
        log,
    })
}

#[derive(Default)]
struct RelaySection {
    listen: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    threads: usize,
    engine: EngineChoice,
    advertise: Option<String>,
}

fn read_relay(section: Option<Section<'_>>, report: &mut Report<'_>) -> RelaySection {
    let Some(mut section) = section else {
        report.add(
            0,
            "the section [relay] is missing: say at least listen = [\"ADDRESS:PORT\"]",
        );
        return RelaySection::default();
    };
    let listen = section.texts("listen", report);
    if listen.is_empty() {
        section.missing("listen", "a list like [\"0.0.0.0:443\"]", report);
    }
    let relay = RelaySection {
        listen: listen
            .into_iter()
            .filter_map(|text| word(text, ADDRESS, report))
            .collect(),
        admin: section
            .text("admin", report)
            .and_then(|text| word(text, ADDRESS, report)),
        threads: section
            .number("threads", 1..=1024, report)
            .map_or_else(default_threads, |n| usize::try_from(n).unwrap_or(usize::MAX)),
        engine: section
            .text("engine", report)
            .and_then(|text| word(text, EngineChoice::NAMES, report))
            .unwrap_or_default(),
        advertise: section.text("advertise", report).and_then(|text| {
            let fits = !text.value.is_empty() && !text.value.contains(['/', ' ', '@']);
            if !fits {
                report.add(text.at, "relay.advertise must be HOST or HOST:PORT");
            }
            fits.then_some(text.value)
        }),
    };
    section.finish(report);
    relay
}

fn read_tls(
    section: Option<Section<'_>>,
    file: &Path,
    report: &mut Report<'_>,
) -> Option<Arc<rustls::ServerConfig>> {
    let Some(mut section) = section else {
        report.add(
            0,
            "the section [tls] is missing: give cert and key, or no_tls = true behind a load balancer",
        );
        return None;
    };
    let at = section.at();
    let no_tls = section.flag("no_tls", report).unwrap_or(false);
    let cert = section.text("cert", report);
    let key = section.text("key", report);
    section.finish(report);
    match (no_tls, cert, key) {
        (true, None, None) => None,
        (true, ..) => {
            report.add(at, "tls.no_tls cannot be combined with tls.cert and tls.key");
            None
        }
        (false, Some(cert), Some(key)) => {
            // Joining leaves absolute paths as they are.
            let folder = file.parent().unwrap_or(Path::new(""));
            let loaded = tls::server_from_files(&folder.join(cert.value), &folder.join(key.value));
            loaded.map_err(|error| report.add(cert.at, error)).ok()
        }
        (false, ..) => {
            report.add(at, "tls needs both cert and key (PEM files), or no_tls = true");
            None
        }
    }
}

fn read_limits(section: Option<Section<'_>>, report: &mut Report<'_>) -> RelayLimits {
    let mut limits = RelayLimits::default();
    let Some(mut section) = section else { return limits };
    let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let seconds = |n: u32| Duration::from_secs(u64::from(n));
    if let Some(n) = section.number("listeners_per_entity", 1..=1_000, report) {
        limits.listeners_per_entity = size(n);
    }
    if let Some(n) = section.number("rendezvous_seconds", 1..=600, report) {
        limits.rendezvous = seconds(n);
    }
    if let Some(n) = section.number("head_seconds", 1..=600, report) {
        limits.head = seconds(n);
    }
    if let Some(n) = section.number("token_grace_seconds", 0..=86_400, report) {
        limits.token_grace = seconds(n);
    }
    if let Some(n) = section.number("ping_seconds", 1..=3_600, report) {
        limits.ping_every = seconds(n);
    }
    if let Some(n) = section.number("idle_ping_seconds", 0..=3_600, report) {
        limits.idle_ping = (n > 0).then(|| seconds(n));
    }
    if let Some(n) = section.number("connections", 16..=10_000_000, report) {
        limits.connections = size(n);
    }
    if let Some(n) = section.number("small_buffers", 64..=1_000_000, report) {
        limits.small_buffers = n;
    }
    if let Some(n) = section.number("large_buffers", 4..=100_000, report) {
        limits.large_buffers = n;
    }
    if let Some(n) = section.number("queue_mebibytes", 1..=1_000_000, report) {
        limits.queue_bytes = size(n).saturating_mul(1024 * 1024);
    }
    section.finish(report);
    limits
}

fn read_log(section: Option<Section<'_>>, report: &mut Report<'_>) -> LogSettings {
    let Some(mut section) = section else {
        return LogSettings::default();
    };
    let level = section
        .text("level", report)
        .and_then(|text| word(text, "none, fatal, error, info, verbose, debug or debug3", report));
    let format = section
        .text("format", report)
        .and_then(|text| word(text, "text or json", report));
    let file = section.text("file", report).map(|text| text.value.into());
    section.finish(report);
    LogSettings {
        level: level.unwrap_or_default(),
        format: format.unwrap_or_default(),
        file,
    }
}

fn word<T: FromStr>(text: Located<String>, expected: &str, report: &mut Report<'_>) -> Option<T> {
    text.value
        .parse()
        .map_err(|_| report.add(text.at, format_args!("use {expected}")))
        .ok()
}

const ADDRESS: &str = "ADDRESS:PORT with a literal address, like \"0.0.0.0:443\" or \"[::]:443\"";
