use super::{
    ClientRefusal, ServerOffer, UpgradeRefusal, accept_key, check_switching, client_key, server_offer,
    write_client_request, write_switching,
};
use crate::Parsed;
use crate::http1::{RequestHead, ResponseHead};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const REQUEST: &str = "GET /$hc/path?sb-hc-action=listen HTTP/1.1\r\n\
    Host: localhost\r\n\
    upgrade: WebSocket\r\n\
    connection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    \r\n";

const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    \r\n";

fn request(text: &str) -> RequestHead {
    match RequestHead::parse(text.as_bytes()) {
        Ok(Parsed::Done(head, len)) if len == text.len() => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn response(text: &str) -> ResponseHead {
    match ResponseHead::parse(text.as_bytes()) {
        Ok(Parsed::Done(head, len)) if len == text.len() => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn keys() {
    assert_eq!(accept_key(KEY), ACCEPT);
    assert_eq!(client_key(*b"the sample nonce"), KEY);
}

#[test]
fn offer() {
    let offer = server_offer(&request(REQUEST));
    assert_eq!(
        offer,
        Ok(ServerOffer {
            key: KEY.to_string(),
            protocols: Vec::new()
        })
    );
    let two_headers = "Sec-WebSocket-Protocol: a, b\r\nsec-websocket-protocol: c\r\nHost:";
    let offer = server_offer(&request(&REQUEST.replacen("Host:", two_headers, 1))).unwrap();
    assert_eq!(offer.protocols, ["a", "b", "c"]);
}

#[test]
fn refused_requests_name_what_is_missing() {
    let key_line = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let rows: [(&str, &str, UpgradeRefusal, &str); 12] = [
        ("GET", "POST", UpgradeRefusal::Method, "GET"),
        ("HTTP/1.1", "HTTP/1.0", UpgradeRefusal::HttpVersion, "HTTP/1.1"),
        ("Host", "Hoist", UpgradeRefusal::Host, "Host"),
        (
            "Host: localhost\r\n",
            "Host: a\r\nHost: b\r\n",
            UpgradeRefusal::Host,
            "Host",
        ),
        ("upgrade: WebSocket\r\n", "", UpgradeRefusal::Upgrade, "Upgrade"),
        ("WebSocket", "h2c", UpgradeRefusal::Upgrade, "Upgrade"),
        (
            "keep-alive, Upgrade",
            "keep-alive",
            UpgradeRefusal::Connection,
            "Connection",
        ),
        (": 13", ": 8", UpgradeRefusal::Version, "Sec-WebSocket-Version"),
        (&key_line, "", UpgradeRefusal::Key, "Sec-WebSocket-Key"),
        (
            KEY,
            "dGhlIHNhbXBsZSBub25j",
            UpgradeRefusal::Key,
            "Sec-WebSocket-Key",
        ),
        (KEY, "not base64", UpgradeRefusal::Key, "Sec-WebSocket-Key"),
        (
            &key_line,
            &key_line.repeat(2),
            UpgradeRefusal::Key,
            "Sec-WebSocket-Key",
        ),
    ];
    for (from, to, refusal, missing) in rows {
        assert_eq!(
            server_offer(&request(&REQUEST.replacen(from, to, 1))),
            Err(refusal),
            "{from} -> {to}"
        );
        assert_eq!(refusal.missing(), missing);
    }
}

/// Some clients draw 22 random characters: the last one has bits that no byte takes.
#[test]
fn a_sloppy_key_is_accepted() {
    let sloppy = "dGhlIHNhbXBsZSBub25jZf==";
    assert_eq!(
        server_offer(&request(&REQUEST.replacen(KEY, sloppy, 1)))
            .unwrap()
            .key,
        sloppy
    );
}

#[test]
fn the_101_is_plain() {
    let mut out = Vec::new();
    write_switching(&mut out, KEY, None);
    assert_eq!(String::from_utf8(out).unwrap(), RESPONSE);
    let mut out = Vec::new();
    write_switching(&mut out, KEY, Some("viaduct.mux.v1\r\nX: y"));
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.ends_with("\r\nSec-WebSocket-Protocol: viaduct.mux.v1X: y\r\n\r\n"),
        "{text}"
    );
}

#[test]
fn own_request_is_an_offer() {
    let mut out = Vec::new();
    let extra = [
        ("Sec-WebSocket-Protocol", "a"),
        ("ServiceBusAuthorization", "token"),
    ];
    write_client_request(&mut out, "localhost:8443", "/$hc/p q\r\n?x=1", KEY, &extra);
    let head = request(&String::from_utf8(out).unwrap());
    assert_eq!(
        (head.target.as_str(), head.headers.get("host")),
        ("/$hc/pq?x=1", Some("localhost:8443"))
    );
    assert_eq!(head.headers.get("ServiceBusAuthorization"), Some("token"));
    let offer = ServerOffer {
        key: KEY.to_string(),
        protocols: [String::from("a")].into(),
    };
    assert_eq!(server_offer(&head), Ok(offer));
}

#[test]
fn accepted_answers() {
    assert_eq!(check_switching(&response(RESPONSE), KEY), Ok(None));
    let chosen = RESPONSE.replacen("Upgrade:", "sec-websocket-protocol: a\r\nUpgrade:", 1);
    assert_eq!(
        check_switching(&response(&chosen), KEY),
        Ok(Some("a".to_string()))
    );
    let empty = RESPONSE.replacen("Upgrade:", "Sec-WebSocket-Extensions: \r\nUpgrade:", 1);
    assert_eq!(check_switching(&response(&empty), KEY), Ok(None));
}

#[test]
fn refused_answers() {
    let rows = [
        ("Upgrade: websocket\r\n", "", ClientRefusal::NotUpgraded),
        (
            "Upgrade: websocket",
            "Upgrade: websocket\r\nUpgrade: websocket",
            ClientRefusal::NotUpgraded,
        ),
        (
            "Connection: Upgrade",
            "Connection: close",
            ClientRefusal::NotUpgraded,
        ),
        ("s3pP", "S3pP", ClientRefusal::BadAccept),
        ("Sec-WebSocket-Accept", "X", ClientRefusal::BadAccept),
        (
            "Upgrade:",
            "Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade:",
            ClientRefusal::Extension,
        ),
        (
            "Upgrade:",
            "Sec-WebSocket-Protocol: a, b\r\nUpgrade:",
            ClientRefusal::Protocol,
        ),
    ];
    for (from, to, refusal) in rows {
        let head = response(&RESPONSE.replacen(from, to, 1));
        assert_eq!(check_switching(&head, KEY), Err(refusal), "{from} -> {to}");
    }
    let head = response("HTTP/1.1 404 Endpoint does not exist. TrackingId:1\r\n\r\n");
    let reason = "Endpoint does not exist. TrackingId:1".to_string();
    assert_eq!(
        check_switching(&head, KEY),
        Err(ClientRefusal::Status { status: 404, reason })
    );
}
