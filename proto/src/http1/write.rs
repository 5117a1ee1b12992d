//! Writing heads. Names, values and phrases may hold what a peer chose: nothing in them can end a line.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::limits::REASON_PHRASE_MAX;

/// Appends a response with `body`.
///
/// `status` is 100 to 999. `reason` loses its control characters and is cut at [`REASON_PHRASE_MAX`] bytes.
/// `Content-Length` is added, except where a response cannot have a body (1xx, 204, 304), which drops `body`
/// too; fields in `headers` that frame the body are left out.
pub fn write_response(out: &mut Vec<u8>, status: u16, reason: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut line = String::new();
    // Writing to a String cannot fail.
    let _ = write!(line, "HTTP/1.1 {status} ");
    out.extend_from_slice(line.as_bytes());
    push_printable(
        out,
        reason
            .get(..reason.floor_char_boundary(REASON_PHRASE_MAX))
            .unwrap_or_default(),
    );
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        if !frames_body(name) {
            write_header(out, name, value);
        }
    }
    if matches!(status, 100..=199 | 204 | 304) {
        out.extend_from_slice(b"\r\n");
        return;
    }
    line.clear();
    let _ = write!(line, "Content-Length: {}\r\n\r\n", body.len());
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(body);
}

/// Appends one header line. `value` loses its control characters; a `name` that is no token (RFC 9110 section
/// 5.6.2) is left out as a whole.
pub fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    if name.is_empty() || !name.bytes().all(is_token) {
        return;
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    push_printable(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Bytes over 0x7f are part of a longer character, or Latin-1 text: both pass.
fn push_printable(out: &mut Vec<u8>, text: &str) {
    out.extend(
        text.bytes()
            .filter(|&byte| byte == b'\t' || !byte.is_ascii_control()),
    );
}

fn frames_body(name: &str) -> bool {
    name.eq_ignore_ascii_case("Content-Length") || name.eq_ignore_ascii_case("Transfer-Encoding")
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::{write_header, write_response};
    use std::string::String;
    use std::vec::Vec;

    fn response(status: u16, reason: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let mut out = Vec::new();
        write_response(&mut out, status, reason, headers, body);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_response() {
        let text = response(404, "Endpoint does not exist", &[("Via", "1.1 ns")], b"gone");
        let want = "HTTP/1.1 404 Endpoint does not exist\r\nVia: 1.1 ns\r\nContent-Length: 4\r\n\r\ngone";
        assert_eq!(text, want);
    }

    #[test]
    fn nothing_ends_a_line_early() {
        let headers = [
            ("A", "b\r\nC: d"),
            ("E\r\nF", "g"),
            ("", "h"),
            ("I J", "k"),
            ("L", "m\tn\0"),
        ];
        let text = response(400, "x\r\nSet-Cookie: y", &headers, b"");
        let want = "HTTP/1.1 400 xSet-Cookie: y\r\nA: bC: d\r\nL: m\tn\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(text, want);
    }

    #[test]
    fn reason_is_cut_between_characters() {
        let text = response(400, &("x".repeat(1023) + "é"), &[], b"");
        assert!(text.starts_with(&std::format!("HTTP/1.1 400 {}\r\n", "x".repeat(1023))));
    }

    #[test]
    fn body_is_framed_once() {
        let headers = [("content-length", "9"), ("Transfer-Encoding", "chunked")];
        assert_eq!(
            response(200, "OK", &headers, b"a"),
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
        );
        assert_eq!(response(204, "", &headers, b"a"), "HTTP/1.1 204 \r\n\r\n");
        assert_eq!(
            response(304, "Not Modified", &[], b""),
            "HTTP/1.1 304 Not Modified\r\n\r\n"
        );
    }

    #[test]
    fn odd_token_characters_pass() {
        let mut out = Vec::new();
        write_header(&mut out, "!#$%&'*+-.^_`~|0aZ", "v");
        assert_eq!(out, b"!#$%&'*+-.^_`~|0aZ: v\r\n");
        for name in ["a(", "a:", "a,", "a\x7f", "a/", "a\"", "é", "a{"] {
            let before = out.len();
            write_header(&mut out, name, "v");
            assert_eq!(out.len(), before, "{name}");
        }
    }
}
