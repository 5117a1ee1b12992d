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

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use viaduct_proto::limits::KEY_MAX;
use viaduct_proto::sas;

use crate::config::document::{self, ConfigError, Located, Report, Section};
use crate::config::limits::RelayLimits;
use crate::config::relay::{Entity, Namespace, RelayConfig};
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
    let namespace = read_namespace(
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

fn read_namespace(
    section: Option<Section<'_>>,
    entities: Vec<Section<'_>>,
    report: &mut Report<'_>,
) -> Namespace {
    let mut namespace = Namespace {
        hosts: Vec::new(),
        rules: Vec::new(),
        entities: BTreeMap::new(),
        autocreate: false,
    };
    if let Some(mut section) = section {
        namespace.hosts = section
            .texts("hosts", report)
            .into_iter()
            .map(|host| host.value.to_ascii_lowercase())
            .collect();
        namespace.autocreate = section.flag("autocreate", report).unwrap_or(false);
        namespace.rules = read_rules(section.sections("rules", report), report);
        section.finish(report);
    }
    for entity in entities {
        let at = entity.at();
        let Some(entity) = read_entity(entity, report) else {
            continue;
        };
        let path = entity.path.to_ascii_lowercase();
        if namespace.entities.insert(path, entity).is_some() {
            report.add(at, "entity.path is used twice (letter case makes no difference)");
        }
    }
    if namespace.entities.is_empty() && !namespace.autocreate {
        report.add(
            0,
            "nothing can be reached: give an [[entity]], or namespace.autocreate = true",
        );
    }
    namespace
}

fn read_entity(mut section: Section<'_>, report: &mut Report<'_>) -> Option<Entity> {
    let path = section.text("path", report);
    let requires = section.flag("requires_client_authorization", report);
    let user_metadata = section
        .text("user_metadata", report)
        .map(|text| text.value)
        .unwrap_or_default();
    let rules = read_rules(section.sections("rules", report), report);
    let Some(path) = path else {
        section.missing("path", "the name of the hybrid connection", report);
        section.finish(report);
        return None;
    };
    section.finish(report);
    let trimmed = path.value.trim_matches('/');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte);
    if trimmed.is_empty() || trimmed.len() > ENTITY_PATH_MAX || !trimmed.bytes().all(fits) {
        report.add(
            path.at,
            "entity.path must be 1 to 260 letters, digits, '/', '_', '-' and '.'",
        );
        return None;
    }
    Some(Entity {
        path: trimmed.to_owned(),
        rules,
        requires_client_authorization: requires.unwrap_or(true),
        user_metadata,
    })
}

fn read_rules(sections: Vec<Section<'_>>, report: &mut Report<'_>) -> Vec<sas::Rule> {
    let mut rules: Vec<sas::Rule> = Vec::new();
    for section in sections {
        let at = section.at();
        let Some(rule) = read_rule(section, report) else {
            continue;
        };
        if rules.iter().any(|known| known.name == rule.name) {
            report.add(
                at,
                "two rules have the same name; a token names its rule, so names must differ",
            );
        }
        rules.push(rule);
    }
    rules
}

fn read_rule(mut section: Section<'_>, report: &mut Report<'_>) -> Option<sas::Rule> {
    let name = section.text("name", report);
    let primary = section.text("primary_key", report);
    let secondary = section.text("secondary_key", report);
    let rights = section.texts("rights", report);
    if rights.is_empty() {
        section.missing("rights", "a list of \"Listen\", \"Send\", \"Manage\"", report);
    }
    if name.is_none() {
        section.missing("name", "tokens name their rule", report);
    }
    if primary.is_none() {
        section.missing("primary_key", "the key that signs tokens", report);
    }
    section.finish(report);
    let rights = rights
        .into_iter()
        .filter_map(|text| read_right(&text, report))
        .reduce(|a, b| a | b)?;
    let secondary = match secondary {
        Some(text) => Some(read_key(text, report)?),
        None => None,
    };
    Some(sas::Rule {
        name: name?.value,
        primary: read_key(primary?, report)?,
        secondary,
        rights,
    })
}

fn read_right(text: &Located<String>, report: &mut Report<'_>) -> Option<sas::Rights> {
    match text.value.to_ascii_lowercase().as_str() {
        "listen" => Some(sas::Rights::LISTEN),
        "send" => Some(sas::Rights::SEND),
        "manage" => Some(sas::Rights::MANAGE),
        _ => {
            report.add(text.at, "a right is \"Listen\", \"Send\" or \"Manage\"");
            None
        }
    }
}

fn read_key(text: Located<String>, report: &mut Report<'_>) -> Option<sas::Key> {
    if text.value.is_empty() || text.value.len() > KEY_MAX {
        report.add(text.at, "a key has 1 to 256 characters");
        return None;
    }
    Some(sas::Key::new(text.value))
}

fn word<T: FromStr>(text: Located<String>, expected: &str, report: &mut Report<'_>) -> Option<T> {
    text.value
        .parse()
        .map_err(|_| report.add(text.at, format_args!("use {expected}")))
        .ok()
}

const ADDRESS: &str = "ADDRESS:PORT with a literal address, like \"0.0.0.0:443\" or \"[::]:443\"";
/// Longest path of a hybrid connection, as Azure has it.
const ENTITY_PATH_MAX: usize = 260;

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
[relay]
listen = ["127.0.0.1:443", "[::1]:443"]
admin = "127.0.0.1:8444"
threads = 2
engine = "epoll"
advertise = "relay.example:443"

[tls]
no_tls = true

[limits]
listeners_per_entity = 5
idle_ping_seconds = 0
queue_mebibytes = 2

[log]
level = "verbose"
format = "json"

[namespace]
hosts = ["Relay.Example"]

[[namespace.rules]]
name = "root"
primary_key = "hush1"
secondary_key = "hush2"
rights = ["Manage"]

[[entity]]
path = "/Factory/Press-1"
requires_client_authorization = false

[[entity.rules]]
name = "press"
primary_key = "hush3"
rights = ["Listen", "Send"]

[[entity]]
path = "second"
user_metadata = "free text"
"#;

    fn errors(text: &str) -> Vec<String> {
        let errors = parse(Path::new("relay.toml"), text).expect_err("mistakes");
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn whole_file_is_read() {
        let config = parse(Path::new("relay.toml"), WHOLE).unwrap();
        assert_eq!(
            config.listen,
            ["127.0.0.1:443".parse().unwrap(), "[::1]:443".parse().unwrap()]
        );
        assert_eq!((config.threads, config.engine), (2, EngineChoice::Epoll));
        assert!(config.tls.is_none() && config.is_loopback_only());
        assert_eq!(config.limits.listeners_per_entity, 5);
        assert_eq!(
            (config.limits.idle_ping, config.limits.queue_bytes),
            (None, 2 * 1024 * 1024)
        );
        assert_eq!(config.limits.rendezvous, Duration::from_secs(30));
        let namespace = &config.namespace;
        assert_eq!(
            (namespace.hosts.as_slice(), namespace.autocreate),
            (&["relay.example".to_owned()][..], false)
        );
        let press = &namespace.entities["factory/press-1"];
        assert_eq!(
            (press.path.as_str(), press.requires_client_authorization),
            ("Factory/Press-1", false)
        );
        assert!(press.rules[0].rights.contains(sas::Rights::LISTEN));
        assert!(!press.rules[0].rights.contains(sas::Rights::MANAGE));
        assert!(namespace.entities["second"].requires_client_authorization);
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let text = WHOLE
            .replace("threads = 2", "threads = 0\nfibres = 3")
            .replace("\"127.0.0.1:443\"", "\"localhost\"")
            .replace("\"Send\"]", "\"Speak\"]")
            .replace("level = \"verbose\"", "level = 3")
            .replace("path = \"second\"", "path = \"FACTORY/press-1\"");
        let expected = [
            "relay.toml:3:11: use ADDRESS:PORT with a literal address, like \"0.0.0.0:443\" or \"[::]:443\"",
            "relay.toml:5:11: relay.threads must be a number from 1 to 1024",
            "relay.toml:6:1: unknown key relay.fibres; possible here: listen, admin, threads, engine, advertise",
            "relay.toml:19:9: log.level must be a text in quotes",
            "relay.toml:38:21: a right is \"Listen\", \"Send\" or \"Manage\"",
            "relay.toml:40:1: entity.path is used twice (letter case makes no difference)",
        ];
        assert_eq!(errors(&text), expected);
    }

    #[test]
    fn syntax_errors_have_lines_and_hide_values() {
        let found =
            errors("[relay]\nlisten = [\"127.0.0.1:1\"]\nprimary_key = \"hush\n[tls]\nno_tls = true\n");
        assert!(
            found.iter().any(|line| line.starts_with("relay.toml:3:")),
            "{found:?}"
        );
        assert!(found.iter().all(|line| !line.contains("hush")), "{found:?}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let found = errors("").join("\n");
        for part in ["[relay]", "[tls]", "[[entity]]"] {
            assert!(found.contains(part), "{found}");
        }
        let found =
            errors("[relay]\n[tls]\n[namespace]\nautocreate = true\n[[namespace.rules]]\n").join("\n");
        for part in [
            "relay.listen is missing",
            "tls needs both",
            "rules.name",
            "rules.primary_key",
            "rules.rights",
        ] {
            assert!(found.contains(part), "{part}: {found}");
        }
    }

    #[test]
    fn missing_file_is_an_error() {
        let found = load(Path::new("no/such/relay.toml")).expect_err("missing");
        assert!(
            found[0]
                .to_string()
                .starts_with("no/such/relay.toml: cannot be read"),
            "{}",
            found[0]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_answer(text in "[\\[\\]a-z_=\"0-9.,\n ]{0,200}") {
            let _ = parse(Path::new("relay.toml"), &text);
        }
    }
}
