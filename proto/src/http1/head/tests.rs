use super::{RequestHead, ResponseHead};
use crate::limits::{HEAD_MAX, HEADERS_MAX};
use crate::{Parsed, Violation};
use std::format;
use std::string::String;
use std::vec::Vec;

fn request(bytes: &[u8]) -> RequestHead {
    match RequestHead::parse(bytes) {
        Ok(Parsed::Done(head, len)) if len == bytes.len() => head,
        other => panic!("{other:?}"),
    }
}

fn response(bytes: &[u8]) -> ResponseHead {
    match ResponseHead::parse(bytes) {
        Ok(Parsed::Done(head, len)) if len == bytes.len() => head,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request() {
    let head =
        request(b"GET /$hc/a%2Fb?x=%C3%B8&y HTTP/1.1\r\nHost: ns:443\r\nX-Odd!#$%&'*+-.^_`|~:\t v \r\n\r\n");
    assert_eq!((head.method.as_str(), head.minor_version), ("GET", 1));
    assert_eq!(head.target, "/$hc/a%2Fb?x=%C3%B8&y");
    let fields: Vec<_> = head
        .headers
        .iter()
        .map(|field| (field.name.as_str(), field.value.as_str()))
        .collect();
    assert_eq!(fields, [("Host", "ns:443"), ("X-Odd!#$%&'*+-.^_`|~", "v")]);
}

#[test]
fn query_and_values_are_not_shown() {
    let head = request(b"GET /$hc/a?sb-hc-token=secret HTTP/1.1\r\nAuthorization: secret\r\n\r\n");
    let shown = format!("{head:?}");
    assert!(shown.contains("/$hc/a") && !shown.contains("secret"), "{shown}");
}

#[test]
fn a_response() {
    let head = response(b"HTTP/1.1 404 There are no listeners: x\r\nVia: 1.1 ns\r\n\r\n");
    assert_eq!(
        (head.status, head.reason.as_str()),
        (404, "There are no listeners: x")
    );
    assert_eq!(head.headers.get("via"), Some("1.1 ns"));
    assert_eq!(response(b"HTTP/1.0 200\r\n\r\n").reason, "");
    assert_eq!(response(b"HTTP/1.1 200 \r\n\r\n").reason, "");
}

#[test]
fn text_beyond_ascii() {
    assert_eq!(
        response("HTTP/1.1 400 für  Ñ\r\n\r\n".as_bytes()).reason,
        "für  Ñ"
    );
    assert_eq!(response(b"\r\nHTTP/1.1 400 f\xfcr\r\n\r\n").reason, "für");
    let head = request(b"GET / HTTP/1.1\r\nLatin: f\xfcr\r\nUtf-8: f\xc3\xbcr\r\n\r\n");
    assert_eq!(
        (head.headers.get("Latin"), head.headers.get("Utf-8")),
        (Some("für"), Some("für"))
    );
}

#[test]
fn every_prefix_needs_more() {
    let bytes = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n";
    for cut in 0..bytes.len() {
        assert_eq!(
            RequestHead::parse(&bytes[..cut]),
            Ok(Parsed::Need),
            "cut at {cut}"
        );
    }
    let behind = [bytes, b"rest".as_slice()].concat();
    assert!(matches!(RequestHead::parse(&behind), Ok(Parsed::Done(_, len)) if len == bytes.len()));
}

#[test]
fn garbage() {
    let rows: [&[u8]; 10] = [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nBlank : before\r\n\r\n",
        b"GET / HTTP/1.1\r\nFolded: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\nNul: \0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nA: b\n\r\n",
    ];
    for bytes in rows {
        assert_eq!(
            RequestHead::parse(bytes),
            Err(Violation::BadHead),
            "{}",
            bytes.escape_ascii()
        );
    }
    for bytes in [
        &b"HTTP/1.1 099 x\r\n\r\n"[..],
        b"HTTP/1.1 2000 x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(
            ResponseHead::parse(bytes),
            Err(Violation::BadHead),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn limits() {
    let fields = |count: usize| -> String { (0..count).map(|index| format!("H{index}: v\r\n")).collect() };
    let with = |fields: String| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    assert_eq!(
        request(with(fields(HEADERS_MAX)).as_bytes())
            .headers
            .iter()
            .count(),
        HEADERS_MAX
    );
    let more = with(fields(HEADERS_MAX + 1));
    assert_eq!(RequestHead::parse(more.as_bytes()), Err(Violation::HeadTooLong));

    let padded = |len: usize| {
        with(format!(
            "Pad: {}\r\n",
            "x".repeat(len - with("Pad: \r\n".into()).len())
        ))
    };
    assert_eq!(request(padded(HEAD_MAX).as_bytes()).target, "/");
    let long = padded(HEAD_MAX + 1);
    assert_eq!(RequestHead::parse(long.as_bytes()), Err(Violation::HeadTooLong));
    let unfinished = &padded(HEAD_MAX + 8)[..HEAD_MAX + 1];
    assert_eq!(
        RequestHead::parse(unfinished.as_bytes()),
        Err(Violation::HeadTooLong)
    );
}
