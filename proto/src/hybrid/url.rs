//! Addresses that are built or followed: the rendezvous address of `accept`, and what a bridge asks a relay
//! for.

use alloc::{format, string::String, string::ToString};
use core::{fmt, net::Ipv6Addr};

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use super::address::{Action, AddressError};

/// A `ws://` or `wss://` address, ready to be dialled.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayUrl {
    /// TLS or plain TCP.
    pub secure: bool,
    /// Host name or address literal, IPv6 without brackets.
    pub host: String,
    /// Port, 443 or 80 if the address gave none.
    pub port: u16,
    /// Path and query as sent, starting with `/`. Holds a rendezvous ticket, so it is never printed.
    pub target: String,
}

impl RelayUrl {
    /// `host:port` for the `Host` header, with brackets around an IPv6 literal.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayUrl")
            .field("secure", &self.secure)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Parses a WebSocket address. A fragment is dropped; blanks, control characters and non-ASCII in the target
/// are escaped, so that a request line built from it is always well formed.
///
/// # Errors
/// [`AddressError`]: `BadScheme`, `BadHost` or `BadPort`.
pub fn parse_ws_url(url: &str) -> Result<RelayUrl, AddressError> {
    let (scheme, rest) = url.split_once("://").ok_or(AddressError::BadScheme)?;
    let secure = scheme.eq_ignore_ascii_case("wss");
    if !secure && !scheme.eq_ignore_ascii_case("ws") {
        return Err(AddressError::BadScheme);
    }
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(authority_end);
    let (host, port) = split_authority(authority)?;
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(RelayUrl {
        secure,
        host: host.to_string(),
        port: port.unwrap_or(if secure { 443 } else { 80 }),
        target: format!("{slash}{}", utf8_percent_encode(target, NOT_IN_TARGET)),
    })
}

/// Splits `host[:port]`; an IPv6 literal loses its brackets.
pub(crate) fn split_authority(authority: &str) -> Result<(&str, Option<u16>), AddressError> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(AddressError::BadHost)?;
        host.parse::<Ipv6Addr>().map_err(|_| AddressError::BadHost)?;
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':').ok_or(AddressError::BadHost)?),
        };
        (host, port)
    } else {
        let (host, port) = authority
            .split_once(':')
            .map_or((authority, None), |(host, port)| (host, Some(port)));
        let usable = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if host.is_empty() || !host.bytes().all(usable) {
            return Err(AddressError::BadHost);
        }
        (host, port)
    };
    let port = port.filter(|port| !port.is_empty()).map(parse_port).transpose()?;
    Ok((host, port))
}

/// Address of a rendezvous:
/// `wss://{authority}/$hc/{raw_path}?[{forward_query}&]sb-hc-action=accept&sb-hc-id={id}`.
///
/// `raw_path` and `forward_query` are the sender's bytes ([`super::HcTarget`]).
#[must_use]
pub fn accept_address(
    secure: bool,
    authority: &str,
    raw_path: &str,
    forward_query: &str,
    id: &str,
) -> String {
    let scheme = if secure { "wss" } else { "ws" };
    let own_query = if forward_query.is_empty() { "" } else { "&" };
    let action = Action::Accept.as_str();
    let id = utf8_percent_encode(id, NOT_UNRESERVED);
    format!(
        "{scheme}://{authority}/$hc/{raw_path}?{forward_query}{own_query}sb-hc-action={action}&sb-hc-id={id}"
    )
}

/// Request target of a listener's control channel. `path` is decoded; an empty `id` is left out.
#[must_use]
pub fn listen_target(path: &str, id: &str) -> String {
    target(path, Action::Listen, id)
}

/// Request target of a sender. `path` is decoded; an empty `id` is left out.
#[must_use]
pub fn connect_target(path: &str, id: &str) -> String {
    target(path, Action::Connect, id)
}

fn target(path: &str, action: Action, id: &str) -> String {
    let path = utf8_percent_encode(path.trim_matches('/'), NOT_IN_PATH);
    let action = action.as_str();
    if id.is_empty() {
        return format!("/$hc/{path}?sb-hc-action={action}");
    }
    let id = utf8_percent_encode(id, NOT_UNRESERVED);
    format!("/$hc/{path}?sb-hc-action={action}&sb-hc-id={id}")
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    match text.parse() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(AddressError::BadPort),
    }
}

/// Everything but the unreserved characters of RFC 3986 section 2.3.
pub(crate) const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The same for a path of several segments.
const NOT_IN_PATH: &AsciiSet = &NOT_UNRESERVED.remove(b'/');
/// What would break a request line; everything else of an address is the relay's business.
const NOT_IN_TARGET: &AsciiSet = &CONTROLS.add(b' ');

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn rendezvous_addresses_keep_the_senders_bytes() {
        assert_eq!(
            accept_address(true, "node1.example:443", "A%2fb/x", "a=%2f&&", ID),
            format!("wss://node1.example:443/$hc/A%2fb/x?a=%2f&&&sb-hc-action=accept&sb-hc-id={ID}")
        );
        assert_eq!(
            accept_address(false, "[::1]:80", "a2", "", "x y"),
            "ws://[::1]:80/$hc/a2?sb-hc-action=accept&sb-hc-id=x%20y"
        );
    }

    #[test]
    fn bridges_escape_what_they_ask_for() {
        assert_eq!(
            listen_target("a2", ID),
            format!("/$hc/a2?sb-hc-action=listen&sb-hc-id={ID}")
        );
        assert_eq!(
            connect_target("/dir/my path?/ø/", ""),
            "/$hc/dir/my%20path%3F/%C3%B8?sb-hc-action=connect"
        );
    }

    #[test]
    fn addresses_are_taken_apart() {
        let table = [
            ("wss://h/$hc/a?x=1", true, "h", 443, "/$hc/a?x=1", "h:443"),
            ("WS://h:81", false, "h", 81, "/", "h:81"),
            ("ws://h?x", false, "h", 80, "/?x", "h:80"),
            ("wss://h:/p#frag", true, "h", 443, "/p", "h:443"),
            ("wss://[::1]:8443/a", true, "::1", 8443, "/a", "[::1]:8443"),
            (
                "wss://[fe80::2]/a b\r\nX: y",
                true,
                "fe80::2",
                443,
                "/a%20b%0D%0AX:%20y",
                "[fe80::2]:443",
            ),
            (
                "wss://127.0.0.1:1/ø",
                true,
                "127.0.0.1",
                1,
                "/%C3%B8",
                "127.0.0.1:1",
            ),
        ];
        for (text, secure, host, port, target, authority) in table {
            let url = parse_ws_url(text).expect(text);
            assert_eq!(
                (url.secure, url.host.as_str(), url.port),
                (secure, host, port),
                "{text}"
            );
            assert_eq!(
                (url.target.as_str(), url.authority().as_str()),
                (target, authority),
                "{text}"
            );
        }
    }

    #[test]
    fn unusable_addresses_say_what_is_wrong() {
        let table = [
            ("http://h/", AddressError::BadScheme),
            ("h/a", AddressError::BadScheme),
            ("wss:///a", AddressError::BadHost),
            ("wss://user@h/", AddressError::BadHost),
            ("wss://[::1/", AddressError::BadHost),
            ("wss://[::1]x/", AddressError::BadHost),
            ("wss://[h]/", AddressError::BadHost),
            ("wss://h h/", AddressError::BadHost),
            ("wss://h\r\n/", AddressError::BadHost),
            ("wss://h:0/", AddressError::BadPort),
            ("wss://h:65536/", AddressError::BadPort),
            ("wss://h:+1/", AddressError::BadPort),
            ("wss://h:1:2/", AddressError::BadPort),
        ];
        for (text, error) in table {
            assert_eq!(parse_ws_url(text), Err(error), "{text}");
        }
    }

    #[test]
    fn debug_output_has_no_ticket() {
        let url = parse_ws_url("wss://h/$hc/a?sb-hc-id=ticket").expect("valid");
        assert!(!format!("{url:?}").contains("ticket"));
    }

    const ID: &str = "01010101-0101-4101-8101-010101010101_abababababababababababababababab_G0";
}
