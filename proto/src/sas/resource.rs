//! Loose comparison of a token's resource with what a peer asks for.
//!
//! Clients differ in scheme, port, letter case, trailing slash and escaping of the same resource, and some
//! sign for the whole namespace. So: without scheme and port and in lower case, the resource must name the
//! host, and its path must be a prefix of the entity's on a segment boundary.

use alloc::{borrow::Cow, string::String};

use percent_encoding::percent_decode_str;

/// Whether `raw_resource`, escaped as in a token, covers `entity` (decoded path) on `host`.
pub(super) fn covers(raw_resource: &str, host: &str, entity: &str) -> bool {
    // The form encoding of .NET and Java writes a blank as `+`; a real plus is escaped.
    let raw = raw_resource.replace('+', " ");
    let Some(once) = decode(&raw) else {
        return false;
    };
    // Clients that take the resource from an address object sign its escaped form, so it is escaped twice in
    // the token.
    is_prefix(&once, host, entity) || decode(&once).is_some_and(|twice| is_prefix(&twice, host, entity))
}

/// `host[:port]` without port and brackets.
fn host_name(authority: &str) -> &str {
    let authority = authority.trim();
    match authority.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or(literal),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

fn is_prefix(resource: &str, host: &str, entity: &str) -> bool {
    let resource = resource.split(['?', '#']).next().unwrap_or(resource);
    let resource = resource.split_once("://").map_or(resource, |(_, rest)| rest);
    let (authority, path) = resource.split_once('/').unwrap_or((resource, ""));
    let asked = host_name(host);
    if asked.is_empty() || fold(host_name(authority)) != fold(asked) {
        return false;
    }
    let mut entity_segments = segments(entity);
    segments(path).all(|segment| {
        entity_segments
            .next()
            .is_some_and(|asked| fold(asked) == fold(segment))
    })
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_that_clients_send() {
        let spellings = [
            "http%3A%2F%2Frelay.example%3A443%2Fa2",
            "http%3a%2f%2frelay.example%3a443%2fa2",
            "http%3A%2F%2Frelay.example%2Fa2",
            "http%3A%2F%2Frelay.example%2F",
            "http%3A%2F%2Frelay.example",
            "http%3A%2F%2FRelay.Example%2FA2%2F",
            "sb%3A%2F%2Frelay.example%2Fa2",
            "sb%3A%2F%2Frelay.example",
            "https%3A%2F%2Frelay.example%2Fa2",
            "relay.example/a2",
            "http://relay.example//a2//",
            "https%3A%2F%2Frelay.example%2Fa2%3Fx%3D1",
        ];
        for raw in spellings {
            assert!(covers(raw, "relay.example", "a2"), "{raw}");
            assert!(covers(raw, "RELAY.example:8443", "A2/suffix"), "{raw}");
        }
    }

    #[test]
    fn other_hosts_and_paths_are_not_covered() {
        let cases = [
            "http%3A%2F%2Fother.example%2Fa2",
            "http%3A%2F%2Frelay.example%2Fa",
            "http%3A%2F%2Frelay.example%2Fa22",
            "http%3A%2F%2Frelay.example%2Fa2%2Fdeeper",
            "http%3A%2F%2Frelay.example.evil.example%2Fa2",
            "",
            "%ff",
            "/a2",
        ];
        for raw in cases {
            assert!(!covers(raw, "relay.example", "a2"), "{raw}");
        }
        assert!(!covers("", "", ""));
    }

    #[test]
    fn blanks_and_double_escapes() {
        for raw in [
            "http%3A%2F%2Fh%2Fa+b",
            "http%3A%2F%2Fh%2Fa%20b",
            "http%3A%2F%2Fh%2Fa%2520b",
        ] {
            assert!(covers(raw, "h", "a b"), "{raw}");
        }
        assert!(covers("http%3A%2F%2Fh%2Fa%2Bb", "h", "a+b"));
        assert!(covers("http%3A%2F%2Fh%2F%C3%B8", "h", "Ø"));
    }

    #[test]
    fn address_literals() {
        assert!(covers("http%3A%2F%2F%5B%3A%3A1%5D%3A8443%2Fa", "[::1]:9000", "a"));
        assert!(covers("http%3A%2F%2F127.0.0.1%2Fa", "127.0.0.1:8443", "a"));
        assert!(!covers("http%3A%2F%2F%5B%3A%3A2%5D%2Fa", "[::1]", "a"));
    }
}
