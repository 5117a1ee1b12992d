//! Opening handshake (RFC 6455 sections 4.1, 4.2), both roles.
//!
//! Answers are plain: exactly one `Connection`, one `Upgrade` and one `Sec-WebSocket-Accept`, a subprotocol
//! only where one was chosen, never an extension. Some clients refuse anything else.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest, Sha1};

use crate::http1::{Headers, RequestHead, ResponseHead, write_header};

/// What a client's upgrade request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOffer {
    /// `Sec-WebSocket-Key`.
    pub key: String,
    /// Subprotocols, the preferred one first.
    pub protocols: Vec<String>,
}

/// Why a request is no WebSocket upgrade: the first of these that is missing or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpgradeRefusal {
    /// The method is not GET.
    Method,
    /// The version is not HTTP/1.1.
    HttpVersion,
    /// Not exactly one `Host`.
    Host,
    /// `Upgrade` does not name websocket.
    Upgrade,
    /// `Connection` does not name upgrade.
    Connection,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
    /// `Sec-WebSocket-Key` is not one base64 text of 16 bytes.
    Key,
}

impl UpgradeRefusal {
    /// The header, or part of the request line, that is missing or wrong.
    #[must_use]
    pub const fn missing(self) -> &'static str {
        match self {
            Self::Method => "GET",
            Self::HttpVersion => "HTTP/1.1",
            Self::Host => "Host",
            Self::Upgrade => UPGRADE,
            Self::Connection => CONNECTION,
            Self::Version => VERSION,
            Self::Key => KEY,
        }
    }
}

impl core::fmt::Display for UpgradeRefusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "not a WebSocket upgrade: {} is missing or wrong",
            self.missing()
        )
    }
}

impl core::error::Error for UpgradeRefusal {}

/// Why a server's answer does not open a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientRefusal {
    /// The server refused.
    Status {
        /// HTTP status.
        status: u16,
        /// Reason phrase: where the relay says why.
        reason: String,
    },
    /// 101 without exactly one `Upgrade: websocket`, or without `Connection: Upgrade`.
    NotUpgraded,
    /// `Sec-WebSocket-Accept` does not answer our key.
    BadAccept,
    /// An extension, although none was offered.
    Extension,
    /// More than one subprotocol.
    Protocol,
}

impl core::fmt::Display for ClientRefusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Status { status, reason } => write!(f, "{status} {reason}"),
            Self::NotUpgraded => f.write_str("the server did not switch to WebSocket"),
            Self::BadAccept => f.write_str("the server's handshake does not answer ours"),
            Self::Extension => f.write_str("the server uses an extension that was not offered"),
            Self::Protocol => f.write_str("the server chose more than one subprotocol"),
        }
    }
}

impl core::error::Error for ClientRefusal {}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2).
#[must_use]
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize())
}

/// A `Sec-WebSocket-Key` from 16 random bytes.
#[must_use]
pub fn client_key(random: [u8; 16]) -> String {
    STANDARD.encode(random)
}

/// Reads an upgrade request (RFC 6455 section 4.2.1).
///
/// # Errors
/// The request does not ask for a WebSocket of version 13.
pub fn server_offer(head: &RequestHead) -> Result<ServerOffer, UpgradeRefusal> {
    let headers = &head.headers;
    if head.method != "GET" {
        return Err(UpgradeRefusal::Method);
    }
    if head.minor_version == 0 {
        return Err(UpgradeRefusal::HttpVersion);
    }
    only(headers, "Host").ok_or(UpgradeRefusal::Host)?;
    if !headers.contains_token(UPGRADE, "websocket") {
        return Err(UpgradeRefusal::Upgrade);
    }
    if !headers.contains_token(CONNECTION, "upgrade") {
        return Err(UpgradeRefusal::Connection);
    }
    if only(headers, VERSION) != Some("13") {
        return Err(UpgradeRefusal::Version);
    }
    let key = only(headers, KEY).ok_or(UpgradeRefusal::Key)?;
    if LENIENT.decode(key).map_or(0, |bytes| bytes.len()) != 16 {
        return Err(UpgradeRefusal::Key);
    }
    let protocols = headers.tokens(PROTOCOL).map(ToOwned::to_owned).collect();
    Ok(ServerOffer {
        key: key.to_owned(),
        protocols,
    })
}

/// Appends the 101 that answers `key`.
pub fn write_switching(out: &mut Vec<u8>, key: &str, protocol: Option<&str>) {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    write_header(out, UPGRADE, "websocket");
    write_header(out, CONNECTION, "Upgrade");
    write_header(out, ACCEPT, &accept_key(key));
    if let Some(protocol) = protocol {
        write_header(out, PROTOCOL, protocol);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends an upgrade request.
///
/// `host` is the `Host` header, `target` the path and query, already percent-encoded (a blank or control
/// character in it is left out); `key` comes from [`client_key`]. `extra` holds further headers, such as
/// `Sec-WebSocket-Protocol`.
pub fn write_client_request(out: &mut Vec<u8>, host: &str, target: &str, key: &str, extra: &[(&str, &str)]) {
    out.extend_from_slice(b"GET ");
    out.extend(target.bytes().filter(|byte| *byte > b' ' && *byte != 0x7f));
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_header(out, "Host", host);
    write_header(out, UPGRADE, "websocket");
    write_header(out, CONNECTION, "Upgrade");
    write_header(out, KEY, key);
    write_header(out, VERSION, "13");
    for (name, value) in extra {
        write_header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Reads the answer to an upgrade request with `key` (RFC 6455 section 4.1) and returns the subprotocol.
/// Whether it was offered is for the caller to check.
///
/// # Errors
/// The server refused, or its answer does not open a WebSocket.
pub fn check_switching(head: &ResponseHead, key: &str) -> Result<Option<String>, ClientRefusal> {
    let headers = &head.headers;
    if head.status != 101 {
        return Err(ClientRefusal::Status {
            status: head.status,
            reason: head.reason.clone(),
        });
    }
    let upgraded = only(headers, UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    if !upgraded || !headers.contains_token(CONNECTION, "upgrade") {
        return Err(ClientRefusal::NotUpgraded);
    }
    if only(headers, ACCEPT) != Some(accept_key(key).as_str()) {
        return Err(ClientRefusal::BadAccept);
    }
    if headers.tokens(EXTENSIONS).next().is_some() {
        return Err(ClientRefusal::Extension);
    }
    let mut protocols = headers.tokens(PROTOCOL);
    match (protocols.next(), protocols.next()) {
        (protocol, None) => Ok(protocol.map(ToOwned::to_owned)),
        (_, Some(_)) => Err(ClientRefusal::Protocol),
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let mut all = headers.all(name);
    all.next().filter(|_| all.next().is_none())
}

/// Takes a last character with bits that belong to no byte, as clients that draw the key's letters send it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);
const UPGRADE: &str = "Upgrade";
const CONNECTION: &str = "Connection";
const KEY: &str = "Sec-WebSocket-Key";
const VERSION: &str = "Sec-WebSocket-Version";
const PROTOCOL: &str = "Sec-WebSocket-Protocol";
const ACCEPT: &str = "Sec-WebSocket-Accept";
const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests;
