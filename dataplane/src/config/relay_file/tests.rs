//! A whole file, and files with mistakes.

use viaduct_proto::sas;

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
    let found = errors("[relay]\nlisten = [\"127.0.0.1:1\"]\nprimary_key = \"hush\n[tls]\nno_tls = true\n");
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
    let found = errors("[relay]\n[tls]\n[namespace]\nautocreate = true\n[[namespace.rules]]\n").join("\n");
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
fn the_documented_file_is_right_but_for_its_certificate() {
    let doc = include_str!("mod.rs");
    let example = doc
        .split("//! ```")
        .nth(1)
        .and_then(|block| block.split_once('\n'))
        .expect("an example")
        .1;
    let text = example.replace("//! ", "").replace("//!", "");
    let found = errors(&text);
    assert!(
        found.len() == 1 && found[0].contains("relay.pem: cannot be read"),
        "{found:?}"
    );
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
