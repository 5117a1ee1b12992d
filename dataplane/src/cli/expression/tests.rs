//! azbridge's own vectors (azbridge.md 6.1), the grammar of 2.2 and the mistakes it names.

use std::net::IpAddr;

use super::*;
use crate::config::bridge::BindHost;

fn local(text: &str) -> LocalExpression {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn local_error(text: &str) -> String {
    text.parse::<LocalExpression>().expect_err(text).to_string()
}

fn remote(forwarder: Forwarder, text: &str) -> RemoteExpression {
    RemoteExpression::parse(forwarder, text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn remote_error(forwarder: Forwarder, text: &str) -> String {
    RemoteExpression::parse(forwarder, text)
        .expect_err(text)
        .to_string()
}

fn tcp(host: Option<&str>, port: u16) -> LocalEndpoint {
    let host = host.map(|host| match (host, host.parse::<IpAddr>()) {
        ("*", _) => BindHost::Any,
        (_, Ok(addr)) => BindHost::Address(addr),
        (name, Err(_)) => BindHost::Name(name.to_owned()),
    });
    LocalEndpoint::Tcp { host, port }
}

fn target(host: &str, port: u16) -> RemoteEndpoint {
    RemoteEndpoint::Tcp {
        host: host.to_owned(),
        port,
    }
}

#[track_caller]
fn assert_local(text: &str, relay: &str, bindings: &[(LocalEndpoint, &str)]) {
    let expression = local(text);
    let seen: Vec<_> = expression
        .bindings
        .iter()
        .map(|b| (b.endpoint.clone(), b.port_name.as_str()))
        .collect();
    assert_eq!(
        (expression.relay.as_str(), seen.as_slice()),
        (relay, bindings),
        "{text}"
    );
}

#[track_caller]
fn assert_remote(forwarder: Forwarder, text: &str, relay: &str, bindings: &[(&str, RemoteEndpoint)]) {
    let expression = remote(forwarder, text);
    let seen: Vec<_> = expression
        .bindings
        .iter()
        .map(|b| (b.port_name.as_str(), b.endpoint.clone()))
        .collect();
    assert_eq!(
        (expression.relay.as_str(), seen.as_slice()),
        (relay, bindings),
        "{text}"
    );
}

#[test]
fn local_forms() {
    assert_local("3000:foobar", "foobar", &[(tcp(None, 3000), "3000")]);
    assert_local("3000/http:foobar", "foobar", &[(tcp(None, 3000), "http")]);
    assert_local(
        "localhost:3000:foobar",
        "foobar",
        &[(tcp(Some("localhost"), 3000), "3000")],
    );
    assert_local(
        "127.0.9.1:8088/test:a1",
        "a1",
        &[(tcp(Some("127.0.9.1"), 8088), "test")],
    );
    assert_local(
        "127.0.100.1:8888/abc;127.0.100.2:8889/def:foo",
        "foo",
        &[
            (tcp(Some("127.0.100.1"), 8888), "abc"),
            (tcp(Some("127.0.100.2"), 8889), "def"),
        ],
    );
    assert_local("'3000':\"foobar\"", "foobar", &[(tcp(None, 3000), "3000")]);
    assert_local("8080:a/b_c.d-e", "a/b_c.d-e", &[(tcp(None, 8080), "8080")]);
}

#[test]
fn local_udp_ports_are_numbers_with_u_or_minus() {
    let udp = |port| LocalEndpoint::Udp { host: None, port };
    assert_local("3000U:foobar", "foobar", &[(udp(3000), "3000U")]);
    assert_local("-53:foobar", "foobar", &[(udp(53), "-53")]);
    assert_local("53U/dns:foobar", "foobar", &[(udp(53), "dns")]);
    let host = Some(BindHost::Name("host".to_owned()));
    assert_local(
        "host:123U:r",
        "r",
        &[(LocalEndpoint::Udp { host, port: 123 }, "123U")],
    );
}

#[test]
fn local_addresses() {
    assert_local("[::1]:80:r", "r", &[(tcp(Some("::1"), 80), "80")]);
    assert_local(
        "[::]:80/web;[::1]:81:r",
        "r",
        &[(tcp(Some("::"), 80), "web"), (tcp(Some("::1"), 81), "81")],
    );
    assert_local(":80:r", "r", &[(tcp(Some("*"), 80), "80")]);
    assert_local("*:80:r", "r", &[(tcp(Some("*"), 80), "80")]);
    assert_local("any:80:r", "r", &[(tcp(Some("0.0.0.0"), 80), "80")]);
    assert_local("anyv6:80:r", "r", &[(tcp(Some("::"), 80), "80")]);
}

#[test]
fn local_sockets() {
    let unix = |path: &str| LocalEndpoint::Unix(path.to_owned());
    assert_local("baz:r", "r", &[(unix("baz"), "baz")]);
    assert_local("baz/name:r", "r", &[(unix("baz"), "name")]);
    assert_local("/run/s:r", "r", &[(unix("/run/s"), "/run/s")]);
    assert_local("./s//db:r", "r", &[(unix("./s"), "db")]);
    assert_local("/run/my sock//db:r", "r", &[(unix("/run/my sock"), "db")]);
}

#[test]
fn local_mistakes_name_the_part() {
    let cases = [
        ("foobar", "Invalid -L expression: foobar"),
        ("a:b:80:r", "Invalid -L expression: a:b:80:r"),
        ("80/a/b:r", "Invalid -L expression: 80/a/b:r"),
        ("[::1:80:r", "Invalid -L expression: [::1:80:r"),
        (
            "[::1]",
            "Invalid -L expression: [::1]; Invalid RelayName value: 1]",
        ),
        (
            "80:foo^^^bar",
            "Invalid -L expression: 80:foo^^^bar; Invalid RelayName value: foo^^^bar",
        ),
        (
            "70000:foobar",
            "Invalid -L expression: 70000:foobar; Invalid BindPort value: 70000",
        ),
        (
            "0:foobar",
            "Invalid -L expression: 0:foobar; Invalid BindPort value: 0",
        ),
        (
            "99999999999:r",
            "Invalid -L expression: 99999999999:r; Invalid BindPort value: 99999999999",
        ),
        (
            "70000U:r",
            "Invalid -L expression: 70000U:r; Invalid BindPort value: 70000U",
        ),
        ("host:abc/x:r", "Invalid -L 'port' expression: abc/x"),
        (
            "ho^st:80:r",
            "Invalid -L expression: ho^st:80:r; Invalid BindAddress value: ho^st",
        ),
        (
            "300.1.1.1:80:r",
            "Invalid -L expression: 300.1.1.1:80:r; Invalid BindAddress value: 300.1.1.1",
        ),
        (
            "80/na^me:r",
            "Invalid -L expression: 80/na^me:r; Invalid PortName value: na^me",
        ),
        ("80:", "Invalid -L expression: 80:; Invalid RelayName value: "),
        ("", "Invalid -L expression: "),
    ];
    for (text, start) in cases {
        let error = local_error(text);
        assert!(error.starts_with(start), "{text}: {error}");
    }
    let long = format!("80/{}:r", "n".repeat(256));
    assert!(local_error(&long).contains("PortName"));
    assert_local(
        &format!("80/{}:r", "n".repeat(255)),
        "r",
        &[(tcp(None, 80), &"n".repeat(255))],
    );
}

#[test]
fn remote_forms() {
    let unix = RemoteEndpoint::Unix("baz".to_owned());
    let t = Forwarder::Remote;
    assert_remote(t, "relay:baz/123", "relay", &[("baz", target("localhost", 123))]);
    assert_remote(t, "relay:baz/foo:123", "relay", &[("baz", target("foo", 123))]);
    assert_remote(t, "relay:123", "relay", &[("123", target("localhost", 123))]);
    assert_remote(t, "name:baz", "name", &[("baz", unix.clone())]);
    assert_remote(t, "relay:foo:123", "relay", &[("123", target("foo", 123))]);
    assert_remote(
        t,
        "r:a/1;b/h:2",
        "r",
        &[("a", target("localhost", 1)), ("b", target("h", 2))],
    );
    assert_remote(t, "r:[::1]:80", "r", &[("80", target("::1", 80))]);
    assert_remote(t, "r:web/[::1]:80", "r", &[("web", target("::1", 80))]);
    assert_remote(
        t,
        "r:db/name",
        "r",
        &[("db", RemoteEndpoint::Unix("name".to_owned()))],
    );
    for relay in ["foo_bar", "foo/bar", "foo.bar", "foo-bar"] {
        assert_remote(
            t,
            &format!("{relay}:3000"),
            relay,
            &[("3000", target("localhost", 3000))],
        );
    }

    let r = Forwarder::RemoteOld;
    assert_remote(r, "relay:baz/123", "relay", &[("baz", target("localhost", 123))]);
    assert_remote(r, "relay:foo:baz/123", "relay", &[("baz", target("foo", 123))]);
    assert_remote(r, "relay:123", "relay", &[("123", target("localhost", 123))]);
    assert_remote(r, "name:baz", "name", &[("baz", unix)]);
    assert_remote(r, "r:[::1]:web/80", "r", &[("web", target("::1", 80))]);
}

#[test]
fn remote_udp_and_paths() {
    let udp = RemoteEndpoint::Udp {
        host: "localhost".to_owned(),
        port: 3000,
    };
    assert_remote(Forwarder::Remote, "foobar:3000U", "foobar", &[("3000U", udp)]);
    let path = |path: &str| RemoteEndpoint::Unix(path.to_owned());
    assert_remote(Forwarder::Remote, "r:/run/s", "r", &[("/run/s", path("/run/s"))]);
    assert_remote(Forwarder::Remote, "r:./s", "r", &[("./s", path("./s"))]);
    assert_remote(Forwarder::Remote, "r:db//run/s", "r", &[("db", path("/run/s"))]);
}

#[test]
fn remote_mistakes_name_the_part() {
    let cases = [
        ("foobar", "Invalid -T expression: foobar"),
        ("r:a/b/c", "Invalid -T expression: r:a/b/c"),
        ("r:a:b:1", "Invalid -T expression: r:a:b:1"),
        (
            "foo^^^bar:80",
            "Invalid -T expression: foo^^^bar:80; Invalid RelayName value: foo^^^bar",
        ),
        (
            "foobar:70000",
            "Invalid -T expression: foobar:70000; Invalid HostPort value: 70000",
        ),
        (
            "foobar:h:70000",
            "Invalid -T expression: foobar:h:70000; Invalid HostPort value: 70000",
        ),
        (
            "foobar:h^^h:80",
            "Invalid -T expression: foobar:h^^h:80; Invalid Host value: h^^h",
        ),
        ("foobar:host:abc", "Invalid -T 'port' expression: abc"),
        ("foobar:", "Invalid -T expression: foobar:"),
    ];
    for (text, start) in cases {
        let error = remote_error(Forwarder::Remote, text);
        assert!(error.starts_with(start), "{text}: {error}");
        let old = remote_error(Forwarder::RemoteOld, text);
        assert!(old.starts_with("Invalid -R"), "{text}: {old}");
    }
}

#[test]
fn http_forms() {
    let http = |secure, host: &str, port, path: &str| {
        RemoteEndpoint::Http(HttpTarget {
            secure,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    };
    let h = Forwarder::Http;
    assert_remote(h, "r:http/host", "r", &[("http", http(false, "host", 80, "/"))]);
    assert_remote(h, "r:https/host", "r", &[("https", http(true, "host", 443, "/"))]);
    assert_remote(
        h,
        "r:http/host/foo:81",
        "r",
        &[("http", http(false, "host", 81, "/foo/"))],
    );
    assert_remote(
        h,
        "r:http/host:81/foo/",
        "r",
        &[("http", http(false, "host", 81, "/foo/"))],
    );
    assert_remote(
        h,
        "r:https/443",
        "r",
        &[("https", http(true, "localhost", 443, "/"))],
    );
    assert_remote(
        h,
        "r:http/[::1]:81",
        "r",
        &[("http", http(false, "::1", 81, "/"))],
    );
    assert_remote(
        h,
        "r:http/a:80;https/b/c/d",
        "r",
        &[
            ("http", http(false, "a", 80, "/")),
            ("https", http(true, "b", 443, "/c/d/")),
        ],
    );
    let cases = [
        ("r:http", "Invalid -H expression: r:http"),
        (
            "r:ftp/h",
            "Invalid -H expression. Must use 'http/' or 'https/' port name: r:ftp/h",
        ),
        ("r:http/h:x", "Invalid -H 'port' expression: x"),
        (
            "r:http/h:70000",
            "Invalid -H expression: r:http/h:70000; Invalid HostPort value: 70000",
        ),
        (
            "r:http/h^h",
            "Invalid -H expression: r:http/h^h; Invalid Host value: h^h",
        ),
    ];
    for (text, start) in cases {
        let error = remote_error(h, text);
        assert!(error.starts_with(start), "{text}: {error}");
    }
}

proptest::proptest! {
    /// No text panics, and what parses has names that fit the wire.
    #[test]
    fn any_text_is_an_answer(text in "[-0-9a-zU:;/\\[\\].*'^é ]{0,40}") {
        if let Ok(expression) = text.parse::<LocalExpression>() {
            assert!(!expression.bindings.is_empty());
            assert!(expression.bindings.iter().all(|b| (1..=255).contains(&b.port_name.len())));
        }
        for forwarder in [Forwarder::Remote, Forwarder::RemoteOld, Forwarder::Http] {
            if let Ok(expression) = RemoteExpression::parse(forwarder, &text) {
                assert!(!expression.bindings.is_empty());
                assert!(expression.bindings.iter().all(|b| (1..=255).contains(&b.port_name.len())));
            }
        }
    }
}
